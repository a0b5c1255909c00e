# SPDX-License-Identifier: MIT
"""A run directory with a supervisor on it, the zoo, and what to look at: for the tests of amlagent-supervisor.

AMLAGENT_BUILD_DIR      where amlagent-supervisor and strays_driver were built (default: <repo>/build)
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("AMLAGENT_BUILD_DIR") or REPO / "build").resolve()
SUPERVISOR = BUILD / "amlagent-supervisor"
STRAYS_DRIVER = BUILD / "strays_driver"
SECOND = 1_000_000
LIMIT, CANCEL, SHUTDOWN = 1, 2, 3
CANNOT_BEGIN = 64  # plus the errno


def wait_for(condition, what, timeout=20.0):
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout:g} s in vain: {what}"
        time.sleep(0.002)


def is_sanitized():
    return b"libasan" in SUPERVISOR.read_bytes()


def encode(*records):
    return b"".join(key.encode() + b"=" + os.fsencode(str(value)) + b"\0" for key, value in records)


def decode(data):
    pairs = [record.split(b"=", 1) for record in data.split(b"\0")[:-1]]
    return {key.decode(): value.decode() for key, value in pairs}


def state_of(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    threads = int(fields[17])
    return None if fields[0] in "ZX" and threads <= 1 else fields[0]


def environment_of(pid):
    """Of a process whose first thread has ended, another thread tells."""
    places = [f"/proc/{pid}/environ"]
    with contextlib.suppress(OSError):
        places += [f"/proc/{pid}/task/{task}/environ" for task in os.listdir(f"/proc/{pid}/task")]
    for place in places:
        with contextlib.suppress(OSError):
            data = pathlib.Path(place).read_bytes()
            if data:
                return data.split(b"\0")
    return []


class Run:
    """A run directory, and a supervisor on it."""

    def __init__(self, folder):
        self.dir = folder
        self.process = None
        self.cgroup = None
        (folder / "work").mkdir(mode=0o700, parents=True)
        os.mkfifo(folder / "control", 0o600)

    def launch(self, *argv, limit=0.0, grace=0.5, env=(), cwd="work", control=True, cgroup=None, more=()):
        """more: records of a newer kind; a user makes it one of format 2."""
        records = [("format", 2 if "user" in dict(more) else 1), *more]
        records += [("limit_us", int(limit * SECOND)), ("grace_us", int(grace * SECOND)), ("cwd", cwd)]
        records += [("arg", argument) for argument in argv]
        records += [("env", entry) for entry in ("PATH=/usr/bin:/bin", *env)]
        if cgroup:
            self.cgroup = cgroup / self.dir.name
            records.append(("cgroup", self.cgroup))
        (self.dir / "launch").write_bytes(encode(*records))
        if not control:
            (self.dir / "control").unlink()
        return self

    def shell(self, script, **options):
        return self.launch("/bin/sh", "-c", script, **options)

    def start(self, **options):
        self.process = subprocess.Popen(
            [*options.pop("under", []), SUPERVISOR, options.pop("run_dir", self.dir)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **options,
        )
        return self

    def finish(self, timeout=30):
        """The supervisor's own exit status."""
        self.process.wait(timeout)
        self.complaint = self.process.stderr.read().decode()
        self.process.stderr.close()
        return self.process.returncode

    def exit(self, timeout=30):
        """The exit record; nothing of the run is there any more."""
        code = self.finish(timeout)
        assert code == 0, self.complaint + self.notes()
        assert self.members() == []
        record = decode((self.dir / "exit").read_bytes())
        assert list(record)[0] == "format" and list(record)[-1] == "end"
        del record["end"]
        return {key: value if key == "unenforced" else int(value) for key, value in record.items()}

    def result(self, *argv, **options):
        return self.launch(*argv, **options).start().exit()

    def status(self):
        try:
            return decode((self.dir / "status").read_bytes())
        except FileNotFoundError:
            return {}

    def running(self):
        wait_for(lambda: int(self.status().get("child_pid", 0)), "the command runs")
        return int(self.status()["child_pid"])

    def log(self):
        try:
            return (self.dir / "std_log.txt").read_bytes()
        except FileNotFoundError:
            return b""

    def says(self, text=b"ready\n"):
        wait_for(lambda: text in self.log(), f"the log holds {text!r}, not {self.log()!r}")
        return self

    def notes(self):
        with contextlib.suppress(FileNotFoundError):
            return (self.dir / "supervisor.log").read_text()
        return ""

    def stop(self, why=CANCEL, grace=0.2, wake=True):
        temp = self.dir / "stop.new"
        temp.write_bytes(encode(("format", 1), ("why", why), ("grace_us", int(grace * SECOND))))
        temp.rename(self.dir / "stop")
        if wake:
            self.wake()

    def wake(self):
        fd = os.open(self.dir / "control", os.O_WRONLY | os.O_NONBLOCK)
        os.write(fd, b"x")
        os.close(fd)

    def members(self):
        """Who lives and carries the run's mark."""
        mark = b"AMLAGENT_RUN_DIR=" + os.fsencode(self.dir)
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and state_of(name) and mark in environment_of(name):
                found.append(int(name))
        return found

    def close(self):
        """Whatever the test came to: nothing stays."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process and not self.process.stderr.closed:
            self.process.stderr.close()
        kill_all(self.members)
        if self.cgroup and self.cgroup.exists():
            (self.cgroup / "cgroup.kill").write_text("1")
            wait_for(lambda: not populated(self.cgroup), "the cgroup is empty")
            remove_cgroup(self.cgroup)


def kill_all(members):
    while left := members():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Zoo:
    """The programs of tests/zoo, in a folder of our own: their path is in /proc whatever else they hide."""

    def __init__(self, folder):
        self.folder = folder
        for source in sorted((REPO / "tests" / "zoo").glob("*.c")):
            compiler = os.environ.get("CC", "cc").split()
            command = [*compiler, "-O1", "-D_GNU_SOURCE", "-Wall", "-pthread", source, "-o", folder / source.stem]
            subprocess.run(command, check=True, timeout=60)
        for source in (REPO / "tests" / "zoo").glob("*.py"):
            shutil.copy(source, folder)

    def __call__(self, name):
        return str(self.folder / name)

    def command(self, name, *arguments):
        interpreter = ["/usr/bin/python3", "-I"] if name.endswith(".py") else []
        return [*interpreter, self(name), *arguments]

    def _is_member(self, pid):
        """Of a process whose first thread has ended, another thread tells."""
        mark = os.fsencode(self.folder) + b"/"
        texts = []
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(OSError):
                    texts.append(os.fsencode(os.readlink(f"/proc/{pid}/task/{task}/exe")))
                    texts.append(pathlib.Path(f"/proc/{pid}/task/{task}/cmdline").read_bytes())
        return any(mark in text for text in texts)

    def members(self):
        """Who lives and is of the zoo, with or without environment."""
        return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and state_of(pid) and self._is_member(pid)]


def populated(cgroup):
    return "populated 1" in (cgroup / "cgroup.events").read_text()


def remove_cgroup(cgroup):
    for folder, _, _ in os.walk(cgroup, topdown=False):
        os.rmdir(folder)


def strays(*runs, uid=0):
    """How many of each run strays_kill() has found, None of one of which it is in doubt; uid: whose they are."""
    arguments = [str(part) for run in runs for part in (run.dir, run.cgroup or "-", uid)]
    done = subprocess.run([STRAYS_DRIVER, *arguments], stdout=subprocess.PIPE, check=True, timeout=30)
    return [None if line.endswith(b"?") else int(line) for line in done.stdout.split()]
