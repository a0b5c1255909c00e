# SPDX-License-Identifier: MIT
"""A system service for throw-away users, and what each of them sees of it.

Service is amlagentd as root, on folders of its own. Desk is the service as one user has it before him: the same
calls as harness.Daemon, made with that user's rights. The users are lab.py's. Everything needs root.
"""

import contextlib
import json
import mmap
import os
import re
import select
import stat
import subprocess
import time
from unittest import mock

import harness
from harness import ENDED, GATE_MODULE, PYTHON, Gate, Daemon, UnixConnection, wait_for

# -- the service ----------------------------------------------------------------------------------


class Calls(Daemon):
    """What Service and Desk can do beside harness.Daemon."""

    def cancel(self, run):
        answer = self.api("POST", f"/v1/runs/{run}/cancel")
        assert answer.status == 202, answer
        return answer.json

    def runs(self, query="limit=1000"):
        answer = self.api("GET", f"/v1/runs?{query}")
        assert answer.status == 200, answer
        return answer.json

    def status(self):
        answer = self.api("GET", "/v1/status")
        assert answer.status == 200, answer
        return answer.json


class Service(Calls):
    """amlagentd as root: the system service, on a state folder and a socket of its own. Its calls are root's."""

    canary = "AMLAGENT_TEST_OF_THE_SERVICE"

    def __init__(self, lab, config=None, env=None):
        with mock.patch.dict(os.environ, AMLAGENT_TEST_DIR=str(lab.root)):  # found and removed with the lab
            super().__init__(
                config={"stop_grace_seconds": 1, "max_running_runs": 4, "admin_group": lab.admins, **(config or {})},
                env=env,
            )
        os.chmod(self.root, 0o755)
        self.state.rmdir()  # whoever makes it says who may enter
        for name in [name for name in self.env if name.startswith("XDG_")]:
            del self.env[name]
        self.env[self.canary] = "the service's own environment"
        self.desks = {}

    def start(self, *options):
        assert self.process is None
        reader, writer = os.pipe()
        command = [harness.AMLAGENTD, "--state-dir", self.state, "--socket", self.socket, "--config", self.config]
        try:
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    [*map(os.fspath, command), "--ready-fd", str(writer), *options],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self.env,
                    pass_fds=[writer],
                    cwd="/",
                    start_new_session=True,
                    preexec_fn=harness.end_with_parent,
                )
        finally:
            os.close(writer)
        with open(reader, "rb", buffering=0) as ready:
            if not (select.select([ready], [], [], 20)[0] and ready.read(16)):
                raise AssertionError(f"amlagentd was not ready: {self.last_words()}")
        return self

    def desk(self, user):
        """What this user sees."""
        if user.name not in self.desks:
            self.desks[user.name] = Desk(self, user)
        return self.desks[user.name]

    @property
    def pid(self):
        return self.process.pid

    def files_with(self, needle):
        """The names of the regular files below the state folder, and the daemon's log, that hold these bytes."""
        needle = needle if isinstance(needle, bytes) else needle.encode()
        found = [str(self.log)] if needle in self.log.read_bytes() else []
        for base, _, names in os.walk(os.fsencode(str(self.state))):
            for path in [os.path.join(base, name) for name in names]:
                with contextlib.suppress(FileNotFoundError):
                    if stat.S_ISREG((info := os.lstat(path)).st_mode) and info.st_size >= len(needle):
                        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as content:
                            if content.find(needle) >= 0:
                                found.append(os.fsdecode(path))
        return found

    def events(self, action, **fields):
        """The audit lines of an action, as {key: value}."""
        lines = re.findall(r"audit: (.*)", self.log.read_text(errors="replace"))
        found = [dict(re.findall(r'(\w+)=("[^"]*"|\S*)', line)) for line in lines]
        found = [{key: value.strip('"') for key, value in event.items()} for event in found]
        return [
            event
            for event in found
            if event.get("action") == action and all(event.get(key) == str(value) for key, value in fields.items())
        ]


class UserConnection(UnixConnection):
    """The raw API as one user."""

    def __init__(self, path, user, timeout):
        super().__init__(path, timeout)
        self.user = user

    def connect(self):
        self.sock = self.user.connect(self.path)
        self.sock.settimeout(self.timeout)


class Desk(Calls):
    """The service as one user sees it: harness.Daemon's calls (api, submit, ended, artifacts ...), with his rights."""

    def __init__(self, service, user):  # nothing of a daemon's own: that is the service's
        self.service = service
        self.who = user
        self.user = user.uid
        self.state = service.state
        self.socket = service.socket
        self.home = user.home
        self.root = user.home
        self.env = {**user.env, "AMLAGENT_SOCKET": service.socket}

    def connect(self, timeout=30):
        return UserConnection(self.socket, self.who, timeout)

    def popen(self, *arguments, cwd=None, env=None, user=None, **options):
        assert user is None
        return self.who.popen(
            [harness.AMLCTL, *arguments], cwd=cwd or self.home, env={**self.env, **(env or {})}, **options
        )

    def source(self, files=None, name=None):
        if isinstance(files, str):
            files = {"main.py": files}
        return self.who.write(files or {"main.py": "print('hello')\n"}, name or f"exp{next(self.counter)}")

    def request(self, files=None, **fields):
        """A submit as amlctl makes it: the environment is the user's."""
        fields.setdefault("submit_environment", dict(self.who.env))
        return super().request(files, **fields)

    def start(self, *options):
        raise NotImplementedError("a desk is no daemon")

    terminate = kill = close = start


def until_ended(desk, runs, timeout):
    """{id: record} of many runs, once all have ended."""
    records = {}
    deadline = time.monotonic() + timeout
    for run in runs:
        left = max(1, int(deadline - time.monotonic()))
        records[run] = desk.ended(run, left)
    return records


def same_but_for(text, name):
    """An answer with the name that was asked for taken out, in every way it may be written."""
    text = text if isinstance(text, bytes) else text.encode()
    for spelling in (name, json.dumps(name)[1:-1], harness.quote(name)):
        text = text.replace(spelling.encode(), b"<run>")
    return text


class Racer:
    """A process of a user's that swaps things on disk as fast as it can until it is told to end.

    The code is Python; it gets `exchange(a, b)` (renameat2), `go()` (true until the end) and sys.argv.
    """

    PRELUDE = """
import contextlib, ctypes, os, select, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def exchange(a, b):
    return libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), 2) == 0
turns = 0
def go():
    global turns
    turns += 1
    return not (turns % 16 == 0 and select.select([0], [], [], 0)[0])
"""

    def __init__(self, user, code, *arguments):
        self.process = user.popen(
            [PYTHON, "-c", self.PRELUDE + code + "\nprint(turns, flush=True)", *arguments], stdin=subprocess.PIPE
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            out, err = self.process.communicate(b"end", timeout=20)
        except BaseException:
            self.process.kill()
            self.process.communicate()
            raise
        assert self.process.returncode == 0, err
        self.turns = int(out.split()[-1])


# How often a race is run.
ROUNDS = 200

# For a Racer: two paths, exchanged again and again.
SWAP_FILES = """
file, link = sys.argv[1:3]
while go():
    exchange(file, link)
"""

# What a file may be called.
NAMES = [
    b"new\nline",
    b"\xff\xfe",
    b"tab\there",
    b" lead",
    b"trail ",
    b"-rf",
    b"\x1b[31mred",
    b"'quote\"",
    b"a\\b",
    b"\x01",
    "ü\u202e".encode(),
    b"...",
    b"..a",
    b"n" * 255,
]


# -- runs -----------------------------------------------------------------------------------------


def unfinished(record):
    return record["status"] not in ENDED


def nothing_of(desk, run, secret):
    """The secret is in no artifact, log or snapshot of a run."""
    for item in desk.artifacts(run).values():
        assert secret not in desk.api("GET", item["href"]).body, item
    assert secret not in desk.api("GET", f"/v1/runs/{run}/logs/user_logs/std_log.txt").body
    assert secret not in desk.api("GET", f"/v1/runs/{run}/snapshot").body


def at_the_gate(desk, code, after="", **fields):
    """A run that has done `code` and waits: (id, its work folder, the gate); then it does `after`."""
    gate = Gate(desk.home, f"gate{next(desk.counter)}")
    source = {"main.py": f"{code}\nopen('ready', 'w')\n{gate.code}\n{after}", "gate.py": GATE_MODULE}
    run = desk.submit(source, **fields)
    work = desk.work(run)
    wait_for(lambda: (work / "ready").exists(), "the run waits at the gate")
    return run, work, gate


WHO_AM_I = """
import json, os, resource
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
os.umask(mask := os.umask(0o077))
print(json.dumps({
    "uids": os.getresuid(), "gids": os.getresgid(), "groups": sorted(os.getgroups()), "umask": mask,
    "capabilities": [status[f"Cap{kind}"].strip() for kind in ("Inh", "Prm", "Eff", "Amb")],
    "limits": {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name[:7] == "RLIMIT_"},
    "environment": dict(os.environ), "home": os.path.expanduser("~"), "cwd": os.getcwd(),
    "descriptors": sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                          if os.path.lexists(f"/proc/self/fd/{fd}")),
    "session": os.getsid(0) == os.getpid(),
}))
"""


def told(desk, run):
    """What WHO_AM_I found in a run that Completed."""
    record = desk.ended(run)
    assert record["status"] == "Completed", record
    return json.loads(desk.std_log(run))


def held(desk, files=None, **fields):
    """A run that is queued and stays there."""
    run = desk.submit(files, hold=True, **fields)
    assert desk.record(run)["status"] == "Queued"
    return run


def release(service, run):
    answer = service.api("POST", f"/v1/runs/{run}/release")
    assert answer.status == 200, answer


QUICK = {"environment": {"python": {"interpreter_path": PYTHON}}}


class Job:
    """A run that notes its start and then waits at a gate of its own."""

    def __init__(self, desk, **fields):
        self.desk = desk
        self.gate = Gate(desk.home, f"job{next(desk.counter)}")
        source = {
            "main.py": f"import os\nprint(os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True)\n{self.gate.code}",
            "gate.py": GATE_MODULE,
        }
        self.id = desk.submit(source, **{**QUICK, **fields})

    @property
    def record(self):
        return self.desk.record(self.id)

    @property
    def status(self):
        return self.record["status"]

    @property
    def why(self):
        """Why it waits, in words."""
        record = self.record
        assert record["status"] == "Queued", record
        return record["waiting_for"]

    def running(self):
        self.desk.running(self.id)
        return self

    def waits(self, words):
        """It is queued, and the reason matches."""
        return wait_for(
            lambda: self.status == "Queued" and re.search(words, self.why or "", re.I), f"{self.id} waits for {words}"
        )

    def end(self):
        self.gate.open()
        record = self.desk.ended(self.id)
        assert record["status"] == "Completed", record
        return record

    @property
    def gpus(self):
        """CUDA_VISIBLE_DEVICES as the run saw it."""
        wait_for(lambda: self.desk.std_log(self.id).endswith(b"\n"), "it has printed")
        return self.desk.std_log(self.id).decode().strip()


def order(records):
    """Run ids by the time they started."""
    return [record["run_id"] for record in sorted(records.values(), key=lambda record: record["start_time_utc"])]


def quick(desk, **fields):
    """A run that is over at once."""
    return desk.submit("pass", **{**QUICK, **fields})
