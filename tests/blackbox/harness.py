# SPDX-License-Identifier: MIT
"""What the tests hold in their hands: a throw-away amlagentd, amlctl, and the raw API.

Nothing here knows how the programs are made: they are found in $AMLAGENT_BUILD_DIR (default: build/ of
this repository), talked to as a user would, and looked at through /proc.
"""

import atexit
import contextlib
import ctypes
import fcntl
import http.client
import itertools
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import time
import urllib.parse
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def programs_for_all(build):
    """The folder of the programs, one that every user can reach: some tests run them as another user, and a clone in
    a home (root's is mode 0700 on Debian) is nobody else's. Copied beside a docs/ then, as in the sources."""
    if all(parent.stat().st_mode & 0o001 for parent in (build, *build.parents)):
        return build
    folder = Path(tempfile.mkdtemp(prefix="amlagent-programs-", dir="/var/tmp"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "build").mkdir(mode=0o755)
    for name in ("amlctl", "amlagentd", "amlagent-supervisor", "amlagent-git-info", "amlagent-user-helper"):
        shutil.copy(build / name, folder / "build" / name)
    shutil.copytree(REPO / "docs", folder / "docs")
    return folder / "build"


BUILD = programs_for_all(Path(os.environ.get("AMLAGENT_BUILD_DIR") or REPO / "build").resolve())
AMLCTL = str(BUILD / "amlctl")
AMLAGENTD = str(BUILD / "amlagentd")
PYTHON = "/usr/bin/python3"  # pyenv's shim costs 100 ms a start

ENDED = ("Completed", "Failed", "Canceled")
RUN_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*_\d{9,11}_[0-9a-f]{8}$")
UTC = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")
ESCAPE = b"\x1b"
LIBC = ctypes.CDLL(None)

# What the tests start gets signals from them and must not be born deaf: a shell without job control starts what goes to
# the background with SIGINT ignored, nohup does so with SIGHUP, and all below inherits it. A handler is none after exec.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, lambda *_: None)


# -- waiting --------------------------------------------------------------------------------------


def wait_for(condition, what, timeout=20.0, interval=0.01):
    """The first true value of condition(); fails, saying what was waited for."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain: {what}")
        time.sleep(interval)
        interval = min(interval * 1.5, 0.1)


def read_when_there(path, what=None, timeout=20.0):
    """The text of a file that a script writes (whole: written beside, then renamed), once it is there."""

    def there():
        with contextlib.suppress(FileNotFoundError):
            return Path(path).read_text()
        return None

    return wait_for(there, what or f"{path} appears", timeout)


# -- amlctl's words -------------------------------------------------------------------------------

SILENCE = re.compile(rb"amlctl: amlagentd (does not answer at .*; waiting for it|answers again)\r?\n")


def without_silence(said):
    """What amlctl said, without the lines of a daemon that answers late: on a busy machine any may."""
    return SILENCE.sub(b"", said)


def on_terminal(start, columns=None):
    """(status, all that came) of a process whose standard files are a terminal; start(stdin=, ...) makes it."""
    ours, theirs = pty.openpty()
    if columns:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = start(stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    text = b""
    with contextlib.suppress(OSError):  # EIO: the other side is closed
        while select.select([ours], [], [], 50)[0] and (piece := os.read(ours, 65536)):
            text += piece
    os.close(ours)
    return process.wait(20), text


# -- processes ------------------------------------------------------------------------------------


def process_stat(pid):
    """(state, parent, start time) of a process, None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[1]), int(fields[19])


def alive(pid, start_time=None):
    """Zombies are gone; so is a process whose number another one has now."""
    stat = process_stat(pid)
    return stat is not None and stat[0] not in "ZX" and (start_time is None or stat[2] == start_time)


def is_connected_and_waits(pid):
    """Sleep alone says little: one that is being loaded sleeps now and then, too."""
    with contextlib.suppress(OSError):
        files = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
        return process_stat(pid)[0] == "S" and any(file.startswith("socket:") for file in files)
    return False


def processes_below(folder):
    """Processes (no zombies) whose cwd, command line or environment names something in the folder."""
    needle = os.fsencode(str(folder))
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        stat = process_stat(entry)
        if stat is None or stat[0] in "ZX":
            continue
        hay = []
        with contextlib.suppress(OSError):
            hay.append(os.fsencode(os.readlink(f"/proc/{entry}/cwd")))
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError):
                hay.append(Path(f"/proc/{entry}/{name}").read_bytes())
        if any(needle in straw for straw in hay):
            found.append(int(entry))
    return found


def describe(pid):
    with contextlib.suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        return f"{pid} ({os.fsdecode(command).strip()}, {process_stat(pid)})"
    return f"{pid} (gone)"


def end_all(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def end_with_parent():
    """For a child before exec: SIGTERM when the test process is killed and cannot clean up any more."""
    LIBC.prctl(1, int(signal.SIGTERM), 0, 0, 0)  # PR_SET_PDEATHSIG


# -- folders --------------------------------------------------------------------------------------


def scratch():
    """A new folder with a short name (sockets have 107 bytes), on a real disk, in no git work tree."""
    candidates = [os.environ.get("AMLAGENT_TEST_DIR"), "/tmp", "/var/tmp"]
    for base in filter(None, candidates):
        if os.path.isdir(base) and os.stat(base).st_dev == os.stat(REPO).st_dev:
            break
    else:
        base = os.environ.get("AMLAGENT_TEST_DIR") or "/var/tmp"
    return Path(tempfile.mkdtemp(prefix="bb-", dir=base))


def remove(folder):
    def insist(function, path, _):
        for name in (os.path.dirname(path), path):
            if Path(folder) in (Path(name), *Path(name).parents):  # nothing above it
                with contextlib.suppress(OSError):
                    os.chmod(name, 0o700)
        with contextlib.suppress(OSError):
            function(path)

    shutil.rmtree(folder, onerror=insist)


def write_tree(folder, files):
    """{"a/b.txt": "text" or b"bytes", "run.sh": ("text", 0o755), "empty/": None}"""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        if content is None:
            os.makedirs(path, exist_ok=True)
            continue
        mode = None
        if isinstance(content, tuple):
            content, mode = content
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
        if mode is not None:
            os.chmod(path, mode)
    return folder


def tree_of(folder):
    """{name in bytes: ("file", bytes, mode) | ("link", target) | ("dir",) | ("other",)}"""
    top = os.fsencode(str(folder))
    found = {}
    for base, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(base, name)
            key = os.path.relpath(path, top)
            info = os.lstat(path)
            kind = info.st_mode & 0o170000
            if kind == 0o120000:
                found[key] = ("link", os.readlink(path))
            elif kind == 0o100000:
                with open(path, "rb") as file:
                    found[key] = ("file", file.read(), info.st_mode & 0o777)
            elif kind == 0o040000:
                found[key] = ("dir",)
            else:
                found[key] = ("other",)
    return found


def files_of(folder):
    """{name in bytes: bytes} of the regular files."""
    return {name: entry[1] for name, entry in tree_of(folder).items() if entry[0] == "file"}


# -- HTTP -----------------------------------------------------------------------------------------


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=30):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The error object; its shape is checked on the way."""
        assert self.headers.get("Content-Type", "").startswith("application/json"), self.headers.items()
        body = self.json
        assert set(body) == {"error"}, body
        error = body["error"]
        assert set(error) == {"code", "message", "target"}, error
        assert isinstance(error["code"], str) and error["code"]
        assert isinstance(error["message"], str) and error["message"]
        assert error["target"] is None or isinstance(error["target"], str)
        assert "\n" not in error["message"].strip(), error
        return error

    def __repr__(self):
        return f"<{self.status} {self.body[:600]!r}>"


def quote(path):
    return urllib.parse.quote(path, safe="/")


# -- the daemon -----------------------------------------------------------------------------------


class Daemon:
    """amlagentd --user with a state folder, a socket and a home of its own, all below .root."""

    counter = itertools.count()

    def __init__(self, config=None, user=None, env=None):
        self.root = scratch()
        self.state = self.root / "state"
        self.socket = str(self.root / "s")
        self.log = self.root / "daemon.log"
        self.home = self.root / "home"
        self.home.mkdir()
        (self.root / "run").mkdir(mode=0o700)
        self.state.mkdir(mode=0o700)
        self.user = user
        if user is not None:
            for path in (self.root, self.home, self.root / "run", self.state):
                os.chown(path, user, user)
        self.config = None
        if config is not None:
            self.config = self.root / "amlagentd.conf"
            text = config if isinstance(config, str) else "".join(f"{k} = {v}\n" for k, v in config.items())
            self.config.write_text(text)
        self.env = {
            "PATH": "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "XDG_STATE_HOME": str(self.root / "xdg-state"),
            "XDG_CONFIG_HOME": str(self.root / "xdg-config"),
            "AMLAGENT_SOCKET": self.socket,
            "GIT_CONFIG_NOSYSTEM": "1",
            **(env or {}),
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]
        self.process = None
        self.expect_clean_end = True
        self.programs = {}

    # its life

    def start(self, *options):
        assert self.process is None
        reader, writer = os.pipe()
        command = [AMLAGENTD, "--user", "--state-dir", str(self.state), "--socket", self.socket]
        command += ["--ready-fd", str(writer), *options]
        if self.config:
            command += ["--config", str(self.config)]
        try:
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env, pass_fds=[writer],
                    cwd="/", start_new_session=True, user=self.user, group=self.user,
                    extra_groups=None if self.user is None else [], preexec_fn=end_with_parent,
                )
        finally:
            os.close(writer)
        try:
            ready = select.select([reader], [], [], 20)[0] and os.read(reader, 16)
        finally:
            os.close(reader)
        if not ready:
            raise AssertionError(f"amlagentd was not ready: {self.last_words()}")
        return self

    def last_words(self):
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else "(no log)"

    def kill(self):
        """kill -9, as a crash would."""
        self.process.kill()
        self.process.wait(20)
        self.process = None

    def terminate(self):
        self.process.terminate()
        status = self.process.wait(20)
        self.process = None
        return status

    def close(self):
        """End everything and see that nothing is left."""
        trouble = []
        try:
            if self.process is not None:
                if self.process.poll() is not None:
                    trouble.append(f"amlagentd ended by itself with {self.process.returncode}: {self.last_words()}")
                else:
                    with contextlib.suppress(Exception):
                        self._cancel_all()
                    self.process.terminate()
                    try:
                        status = self.process.wait(30)
                        if status not in (0, -signal.SIGTERM):
                            trouble.append(f"amlagentd ended with {status}: {self.last_words()}")
                    except subprocess.TimeoutExpired:
                        self.process.kill()
                        self.process.wait()
                        trouble.append(f"amlagentd did not end on SIGTERM: {self.last_words()}")
            deadline = time.monotonic() + 20
            while (left := processes_below(self.root)) and time.monotonic() < deadline:
                time.sleep(0.02)
            if left:
                trouble.append("processes left over: " + "; ".join(map(describe, left)))
                end_all(left)
            words = self.log.read_text(errors="replace") if self.log.exists() else ""
            if re.search(r"AddressSanitizer|LeakSanitizer|runtime error:|ThreadSanitizer", words):
                trouble.append(f"a sanitizer spoke: {words[-6000:]}")
        finally:
            end_all(processes_below(self.root))
            remove(self.root)
        assert not trouble, "\n".join(trouble)

    def _cancel_all(self):
        live = [run for run in self.api("GET", "/v1/runs?limit=1000").json if run["status"] not in ENDED]
        for run in live:
            self.api("POST", f"/v1/runs/{run['run_id']}/cancel")
        for run in live:
            self.api("GET", f"/v1/runs/{run['run_id']}?wait=15", timeout=20)

    # amlctl

    def popen(self, *arguments, cwd=None, env=None, user=None, **options):
        user = self.user if user is None else user
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen(
            [AMLCTL, *map(os.fspath, arguments)], cwd=cwd or self.home, env={**self.env, **(env or {})},
            user=user, group=user, extra_groups=None if user is None else [], **options,
        )

    def amlctl(self, *arguments, cwd=None, env=None, input=None, timeout=50, user=None):
        """Run it to its end: an object with returncode, stdout, stderr (bytes; without_silence())."""
        process = self.popen(
            *arguments, cwd=cwd, env=env, user=user, stdin=subprocess.DEVNULL if input is None else subprocess.PIPE
        )
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, without_silence(err))

    def on_terminal(self, *arguments, columns=None, env=None):
        """What it writes to a terminal, when it must work."""
        env = {"TERM": "xterm", **(env or {})}
        status, text = on_terminal(lambda **files: self.popen(*arguments, env=env, **files), columns)
        assert status == 0, text
        return text

    def ok(self, *arguments, **options):
        """The same as amlctl(), when it must work: what it printed, as text."""
        done = self.amlctl(*arguments, **options)
        assert done.returncode == 0, done
        return done.stdout.decode()

    def json(self, *arguments, **options):
        return json.loads(self.ok(*arguments, "-o", "json", **options))

    # the API

    def connect(self, timeout=30):
        return UnixConnection(self.socket, timeout)

    def api(self, method, path, body=None, headers=None, timeout=30):
        if body is not None and not isinstance(body, (bytes, str)):
            body = json.dumps(body)
        connection = self.connect(timeout)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def raw(self, data, timeout=20, half_close=False):
        """Bytes to the socket; all that comes back until the other side closes."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.connect(self.socket)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sock.sendall(data)
                if half_close:
                    sock.shutdown(socket.SHUT_WR)
            got = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := sock.recv(65536):
                    got += piece
            return got

    # runs

    def source(self, files=None, name=None):
        """A new source folder with these files. A string is the text of main.py."""
        folder = self.root / "src" / (name or f"exp{next(self.counter)}")
        if isinstance(files, str):
            files = {"main.py": files}
        write_tree(folder, files or {"main.py": "print('hello')\n"})
        if self.user is not None:
            for base, folders, names in os.walk(folder):
                for entry in [base] + [os.path.join(base, x) for x in names]:
                    os.lchown(entry, self.user, self.user)
            os.chown(self.root / "src", self.user, self.user)
        return folder

    def request(self, files=None, **fields):
        if "source_directory" not in fields:
            fields["source_directory"] = str(self.source(files))
        if "command" not in fields and "script" not in fields:
            fields["script"] = "main.py"
        fields.setdefault("submit_environment", {"PATH": "/usr/bin:/bin", "HOME": str(self.home)})
        return fields

    def post(self, files=None, **fields):
        """POST /v1/runs: the answer, whatever it is."""
        return self.api("POST", "/v1/runs", self.request(files, **fields))

    def submit(self, files=None, **fields):
        """The id of a new run."""
        answer = self.post(files, **fields)
        assert answer.status == 201, answer
        return answer.json["run_id"]

    def record(self, run):
        answer = self.api("GET", f"/v1/runs/{run}")
        assert answer.status == 200, answer
        return answer.json

    def ended(self, run, timeout=30):
        """The record, once the run has ended."""
        answer = self.api("GET", f"/v1/runs/{run}?wait={timeout}", timeout=timeout + 10)
        assert answer.status == 200, answer
        assert answer.json["status"] in ENDED, f"has not ended in {timeout} s: {answer}"
        return answer.json

    def running(self, run):
        """The record, once the run is Running."""

        def look():
            record = self.record(run)
            assert record["status"] not in ENDED, record
            return record if record["status"] == "Running" else None

        return wait_for(look, f"{run} is Running")

    def printed(self, run):
        """What a run that is Running has printed, once that is whole lines: a print() may be several writes."""
        self.running(run)

        def look():
            log = self.std_log(run)
            return log if log.endswith(b"\n") else None

        return wait_for(look, f"{run} has printed a line")

    def finish(self, files=None, **fields):
        """Submit and wait for the end: the record."""
        return self.ended(self.submit(files, **fields))

    def std_log(self, run):
        answer = self.api("GET", f"/v1/runs/{run}/logs/user_logs/std_log.txt")
        assert answer.status == 200, answer
        return answer.body

    def artifacts(self, run, prefix=None):
        """{path: artifact}"""
        query = f"?prefix={quote(prefix)}" if prefix else ""
        answer = self.api("GET", f"/v1/runs/{run}/artifacts{query}")
        assert answer.status == 200, answer
        return {artifact["path"]: artifact for artifact in answer.json}

    def artifact(self, run, path):
        answer = self.api("GET", f"/v1/runs/{run}/artifacts/{quote(path)}")
        assert answer.status == 200, answer
        return answer.body

    def work(self, run):
        return self.state / "runs" / run / "work"


class Gate:
    """A door in a script: it waits there until the test opens it."""

    def __init__(self, folder, name):
        self.path = Path(folder) / name

    @property
    def code(self):
        """Python that waits for the door."""
        return f"__import__('gate').wait({str(self.path)!r})"

    def open(self):
        self.path.touch()


GATE_MODULE = """
import os, time
def wait(path):
    while not os.path.exists(path):
        time.sleep(0.01)
"""


def one_line_error(done, status=125):
    """amlctl's single line on stderr, as text."""
    assert done.returncode == status, done
    text = without_silence(done.stderr).decode(errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    assert len(lines) == 1, f"not one line: {done}"
    assert ESCAPE not in done.stderr, done
    return lines[0]
