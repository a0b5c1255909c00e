# SPDX-License-Identifier: MIT
"""A state folder for amlctl doctor to look at, and what to break of it."""

import contextlib
import hashlib
import json
import os
import sqlite3
import subprocess

import harness

OUTPUTS = "import os\nos.makedirs('outputs', exist_ok=True)\nopen('outputs/model.bin', 'w').write({text!r} * 500)\n"


def tree(folder):
    """What no look may change: names, kinds, modes, sizes, times of the files and their bytes. The folder's own times
    are left out: the trial of its file system makes a folder in it and removes it."""
    found = {}
    for base, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(base, name)
            info = os.lstat(path)
            regular = os.path.isfile(path) and not os.path.islink(path)
            with open(path if regular else os.devnull, "rb") as file:
                content = hashlib.sha256(file.read()).hexdigest()
            found[os.path.relpath(path, folder)] = (info.st_mode, info.st_uid, info.st_mtime_ns, content)
    return found


class Patient:
    """A state folder with two runs that have ended, and no daemon."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.state = daemon.state
        self.database = self.state / "history.db"

    def blob(self, digest):
        return self.state / "blobs" / "sha256" / digest[:2] / digest

    def artifact(self, path="outputs/model.bin"):
        """(run, blob) of one of them."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            query = "SELECT run_id, hex(digest) FROM artifacts JOIN runs USING (seq) WHERE path = ? ORDER BY seq"
            run, digest = db.execute(query, (path.encode(),)).fetchone()
        return run, self.blob(digest.lower())

    def snapshot(self):
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as db:
            run, snapshot = db.execute("SELECT run_id, snapshot_id FROM runs ORDER BY seq").fetchone()
        return run, self.blob(snapshot.removeprefix("sha256:"))

    def sql(self, *statements):
        with contextlib.closing(sqlite3.connect(self.database)) as db, db:
            for statement in statements:
                db.execute(statement)

    def doctor(self, *options, env=None, **more):
        return self.daemon.amlctl(
            "--state-dir", self.state, "--socket", self.daemon.socket, "doctor", *options, env=env, timeout=100, **more
        )

    def checks(self, *options, status, **more):
        """{name: check} of `amlctl doctor -o json`, which must have changed nothing."""
        before = tree(self.state)
        done = self.doctor("-o", "json", *options, **more)
        assert tree(self.state) == before
        assert done.returncode == status, done
        assert done.stderr == b"", done
        answer = json.loads(done.stdout)
        assert set(answer) == {"checks", "problems"}
        for check in answer["checks"]:
            assert set(check) == {"name", "result", "found", "advice"}, check
            assert check["result"] in ("ok", "note", "problem") and check["found"], check
            assert "\n" not in check["found"] + (check["advice"] or ""), check
        assert answer["problems"] == sum(check["result"] == "problem" for check in answer["checks"])
        assert (answer["problems"] > 0) == (status in (1, 125)), answer
        return {check["name"]: check for check in answer["checks"]}

    def problem(self, name, *words, others=(), options=()):
        """The check of this name is the only one (beside others) that finds a problem, in these words."""
        checks = self.checks(*options, status=1)
        bad = {name for name, check in checks.items() if check["result"] == "problem"}
        assert bad - set(others) == {name}, checks
        for word in words:
            assert word in checks[name]["found"], checks[name]
        return checks[name]

    def note(self, name, *words, **more):
        checks = self.checks(status=0, **more)
        assert checks[name]["result"] == "note", checks[name]
        for word in words:
            assert word in checks[name]["found"], checks[name]
        return checks[name]

    def check_state(self, *options):
        return subprocess.run(
            [harness.AMLAGENTD, "--check-state", "--state-dir", self.state, *options], capture_output=True, text=True,
            timeout=60, env=self.daemon.env, stdin=subprocess.DEVNULL, cwd="/",
        )

    def findings(self, *options):
        """All that --check-state tells of."""
        before = tree(self.state)
        done = self.check_state("-o", "json", *options)
        assert tree(self.state) == before
        assert done.stderr == "", done
        report = json.loads(done.stdout)
        assert done.returncode == (1 if report["problems"] else 0), done
        assert report["problems"] == sum(finding["problem"] for finding in report["findings"])
        return report, [finding for finding in report["findings"] if finding["problem"]]


def make_patient(stack, **options):
    daemon = harness.Daemon(config={"stop_grace_seconds": 1, **options})
    stack.callback(daemon.close)
    daemon.start()
    for text in ("first", "second"):
        record = daemon.finish(OUTPUTS.format(text=text))
        assert record["status"] == "Completed", record
    assert daemon.terminate() == 0
    return Patient(daemon)


def flip(path):
    """One bit of it, as a disk might."""
    mode, times = path.stat().st_mode, path.stat()
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    path.chmod(mode)
