# SPDX-License-Identifier: MIT
"""A throw-away amlagentd of our own, its command line and its API."""

import datetime
import http.client
import json
import os
import selectors
import signal
import socket
import time

from . import proc
from .data import PYTHON
from .proc import BenchError

ENDED = ("Completed", "Failed", "Canceled")
READY = 20  # seconds for the daemon to answer, for a run to start


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Daemon:
    """with Daemon(bench, max_running_runs=1) as daemon: ...

    Its state lies in the bench's folder and goes with it. At the end the daemon is stopped first, so that
    nothing queued starts any more, then the runs that hold a pipe of ours, then whatever is left."""

    def __init__(self, bench, name="daemon", **settings):
        self.bench = bench
        self.folder = os.path.join(bench.folder, name)
        self.state = os.path.join(self.folder, "state")
        self.socket = os.path.join(self.folder, "s")
        self.settings = settings
        self.pid = None
        self.connection = None
        self.pipe = None

    # -- its life ----------------------------------------------------------

    def __enter__(self):
        bench = self.bench
        os.makedirs(self.state, mode=0o700)
        if len(self.socket) > 100:
            raise BenchError(f"{self.socket}: too long for a socket; give a shorter --work-dir")
        config = os.path.join(self.folder, "amlagentd.conf")
        with open(config, "w") as file:
            file.writelines(f"{key} = {value}\n" for key, value in self.settings.items())
        self.fifo = os.path.join(self.folder, "hold.fifo")
        os.mkfifo(self.fifo)
        self.pipe = os.open(self.fifo, os.O_RDWR | os.O_CLOEXEC)
        self.argv = [bench.program("amlagentd"), "--user", "--socket", self.socket, "--state-dir", self.state]
        self.argv += ["--config", config]
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        """Returns the seconds to its first answer."""
        begun = time.monotonic()
        self.pid = self.bench.commands.start(self.argv, stdout=os.path.join(self.folder, "log"))
        self.stderr = os.path.join(self.folder, "stderr")
        os.rename(self.bench.commands.stderr_path(), self.stderr)
        self._wait_until_it_answers()
        return time.monotonic() - begun

    def kill(self):
        """kill -9, as a crash would."""
        if self.connection:
            self.connection.close()
            self.connection = None
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = None

    def _wait_until_it_answers(self):
        ask = self.amlctl("--no-autostart", "status")
        deadline = time.monotonic() + READY
        while True:
            if os.waitpid(self.pid, os.WNOHANG)[0]:
                self.pid = None
                raise BenchError(f"amlagentd did not start: {self.last_words()}")
            if os.path.exists(self.socket):
                try:
                    self.bench.commands.time(ask)
                    return
                except BenchError as error:
                    reason = str(error)
            else:
                reason = "it made no socket"
            if time.monotonic() > deadline:
                raise BenchError(f"amlagentd does not answer after {READY} s: {reason}")
            time.sleep(0.002)

    def __exit__(self, *_):
        if self.connection:
            self.connection.close()
        if self.pid and not proc.stop_child(self.pid):
            self.bench.say("amlagentd did not end within 10 s of SIGTERM and was killed")
        self.pid = None
        if self.pipe is not None:
            os.close(self.pipe)
        proc.wait_until(lambda: not proc.processes_in(self.folder), 15, pause=0.05)
        left = proc.kill_left_over(self.folder)
        if left:
            self.bench.say(f"killed what the runs left behind: {', '.join(left)}")
        self.bench.discard(self.folder)

    def last_words(self):
        with open(self.stderr, errors="replace") as file:
            lines = file.read().strip().splitlines()
        return lines[-1] if lines else "it printed no error"

    # -- its command line --------------------------------------------------

    def amlctl(self, *words):
        return [self.bench.program("amlctl"), "--socket", self.socket, *words]

    def run_command(self, folder, script, *arguments, detach=True):
        """The argv of amlctl run."""
        words = ["run"] + (["-d"] if detach else [])
        return self.amlctl(*words, "-C", folder, "--python", PYTHON, script, *arguments)

    def submit(self, argv):
        """Run an amlctl run -d. Returns the run id and the seconds it took."""
        text, seconds = self.bench.commands.output(argv)
        run_id = text.strip()
        if not run_id or len(run_id.split()) != 1:
            raise BenchError(f"amlctl run -d printed {text!r} in place of a run id")
        return run_id, seconds

    # -- its API -----------------------------------------------------------

    def request(self, method, path, body=None):
        """The status and the JSON of the answer, over a connection that is kept."""
        if not self.connection:
            self.connection = UnixConnection(self.socket)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            self.connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            raise BenchError(f"{method} {path}: {error or type(error).__name__}") from None
        try:
            return answer.status, json.loads(text or b"null")
        except ValueError:
            raise BenchError(f"{method} {path} did not answer JSON: {text[:80]!r}") from None

    def record(self, run_id):
        status, record = self.request("GET", f"/v1/runs/{run_id}")
        if status != 200:
            raise BenchError(f"GET /v1/runs/{run_id} answered {status}: {record}")
        return record

    def wait_for(self, run_id, condition, seconds, pause=0.01):
        """The first record that fulfils the condition; BenchError when the run has failed or takes too long."""

        def look():
            record = self.record(run_id)
            if record["status"] in ("Failed", "Canceled"):
                raise BenchError(f"{run_id} is {record['status']}: {record.get('error')}")
            return record if condition(record) else None

        record = proc.wait_until(look, seconds, pause)
        if not record:
            raise BenchError(f"{run_id} is still {self.record(run_id)['status']} after {seconds} s")
        return record

    def wait_until_ended(self, run_id, seconds=300):
        """Its last record, however it ended."""
        record = proc.wait_until(lambda: self._if_ended(run_id), seconds)
        if not record:
            raise BenchError(f"{run_id} has not ended after {seconds} s")
        return record

    def _if_ended(self, run_id):
        record = self.record(run_id)
        return record if record["status"] in ENDED else None

    def wait_until_completed(self, run_id, seconds=300, pause=0.01):
        return self.wait_for(run_id, lambda record: record["status"] == "Completed", seconds, pause)

    def hold(self):
        """A run that lives as long as this object does."""
        run_id, _ = self.submit(self.run_command(self.bench.scripts["hold.py"], "hold.py", self.fifo))
        self.wait_for(run_id, lambda record: record["status"] == "Running", READY)
        return run_id

    def supervisors(self):
        program = os.path.realpath(self.bench.program("amlagent-supervisor"))
        found = []
        for pid in proc.processes_in(self.state):
            try:
                if os.readlink(f"/proc/{pid}/exe") == program:
                    found.append(pid)
            except OSError:
                pass
        return found


def seconds_of(iso):
    """2026-01-31T12:00:00.123456Z as seconds since 1970."""
    try:
        moment = datetime.datetime.strptime(iso, "%Y-%m-%dT%H:%M:%S.%fZ")
    except (TypeError, ValueError):
        raise BenchError(f"the record holds a malformed time: {iso!r}") from None
    return moment.replace(tzinfo=datetime.timezone.utc).timestamp()


def submit_rate(path, body, clients, count):
    """Submits per second over so many keep-alive connections, each with one request on its way. One thread
    and no HTTP library: what the client costs is taken from the daemon on a small machine."""
    request = (
        b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    selector = selectors.EpollSelector()
    sockets = []
    buffers = {}
    try:
        for _ in range(clients):
            one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            one.connect(path)
            sockets.append(one)
            buffers[one] = b""
            selector.register(one, selectors.EVENT_READ)
        began = time.perf_counter()
        for one in sockets:
            one.sendall(request)
        sent, done = clients, 0
        while done < count:
            ready = selector.select(60)
            if not ready:
                raise BenchError("no answer to POST /v1/runs for 60 s")
            for key, _ in ready:
                one = key.fileobj
                piece = one.recv(65536)
                if not piece:
                    raise BenchError("the daemon closed a connection")
                buffers[one] += piece
                if not _answer_is_whole(buffers[one]):
                    continue
                if not buffers[one].startswith(b"HTTP/1.1 201"):
                    raise BenchError(f"POST /v1/runs answered {buffers[one][:300]!r}")
                buffers[one] = b""
                done += 1
                if sent < count:
                    sent += 1
                    one.sendall(request)
        return count / (time.perf_counter() - began)
    except OSError as error:
        raise BenchError(f"POST /v1/runs: {error}") from None
    finally:
        selector.close()
        for one in sockets:
            one.close()


def _answer_is_whole(data):
    head, gap, body = data.partition(b"\r\n\r\n")
    if not gap:
        return False
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    raise BenchError("an answer without Content-Length")
