# SPDX-License-Identifier: MIT
"""A life of the daemon: recorded while a client uses it, or begun on what a loss of power has left."""

import contextlib
import hashlib
import http.client
import io
import json
import os
import shutil
import signal
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from harness import AMLAGENTD, ENDED, Answer, UnixConnection, quote, wait_for
from powerloss_disk import Disk
from powerloss_trace import STRACE, Recording, Reader, tree_on_disk
from powerloss_world import World

# SQLite's shared memory is written through mmap and means nothing after a crash.
NOT_LOOKED_AT = ("-shm",)
LOG = "user_logs/std_log.txt"

JOB = b"""# job.sh MODE WITNESS: says that it was started, where no loss of power reaches, and does something
printf '%s\\n' "$AZUREML_RUN_ID" >>"$2/started"
echo "begin $1 $TOKEN"
cp data.bin outputs/copy.bin
case $1 in
fail) echo "no good"; exit 3 ;;
hang) [ -e "$2/second-life" ] || exec sleep 1000 ;;
esac
echo "end $1"
"""
TOKEN = "of the submitter alone"
LOGS = {
    "ok": f"begin ok {TOKEN}\nend ok\n".encode(),
    "fail": f"begin fail {TOKEN}\nno good\n".encode(),
    "hang": f"begin hang {TOKEN}\nend hang\n".encode(),
}
# How a run ends that nobody disturbs; one that hangs does not when it is started in its second life.
ENDS = {"ok": ("Completed", None), "fail": ("Failed", "UserError"), "hang": ("Completed", None)}

# Opened for writing too: there is always a reader, and never an end.
LAUNCHER = """exec 3<>"$0"
while read -r word <&3 && [ "$word" = start ]; do
	"$@" 3<&- &
done
wait"""


class Place:
    """Where the worlds of one test are: their disks are mounted on .root, the rest is the same for all of them."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="pl-", dir="/tmp"))
        self.root = self.folder / "w"
        self.root.mkdir()
        self.disk = self.root / "disk"
        self.config = self.folder / "amlagentd.conf"
        self.sources = {}

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def configure(self, **settings):
        settings = {"stop_grace_seconds": 1, "max_running_runs": 2, **settings}
        self.config.write_text("".join(f"{key} = {value}\n" for key, value in settings.items()))

    def source(self, name, files):
        """A source folder; its files are remembered."""
        folder = self.folder / name
        folder.mkdir()
        self.sources[str(folder)] = files = {"job.sh": JOB, **files}
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        return str(folder)

    def command(self):
        return [
            AMLAGENTD, "--user", "--state-dir", str(self.disk / "state"), "--socket", str(self.root / "s"),
            "--config", str(self.config),
        ]

    def environment(self):
        passed = {name: os.environ[name] for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS") if name in os.environ}
        return {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LANG": "C.UTF-8", **passed}


class Client:
    """The API of the daemon in a world."""

    def __init__(self, world):
        self.world = world

    def api(self, method, path, body=None, tag=None, timeout=30):
        headers = {"Connection": "close"}
        if tag is not None:
            headers["X-Tag"] = str(tag)
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body)
        connection = UnixConnection(f"{self.world.path}/s", timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=headers)
            return Answer(connection.getresponse())

    def answers(self):
        """Is there a daemon?"""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.api("GET", "/v1/status", timeout=5).status == 200
        return False

    def artifacts(self, run):
        """{path: bytes}; of those that are handed out with other bytes than their digest says: None."""
        found = {}
        for item in self.api("GET", f"/v1/runs/{run}/artifacts").json:
            answer = self.api("GET", f"/v1/runs/{run}/artifacts/{quote(item['path'])}")
            if answer.status != 200:
                found[item["path"]] = answer.status
            elif item["digest"] in (None, "sha256:" + hashlib.sha256(answer.body).hexdigest()):
                found[item["path"]] = answer.body
            else:
                found[item["path"]] = None
        return found

    def snapshot(self, run):
        """{path: bytes} of the files of its snapshot; None when it cannot be had."""
        try:
            answer = self.api("GET", f"/v1/runs/{run}/snapshot")
            if answer.status != 200:
                return None
            with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
                files = [item for item in archive if item.isfile()]
                return {item.name.removeprefix("./"): archive.extractfile(item).read() for item in files}
        except (OSError, http.client.HTTPException, tarfile.TarError):
            return None


@dataclass
class Facts:
    """What a client had been told, and what had happened outside, up to some moment."""

    acknowledged: set = field(default_factory=set)
    ended: dict = field(default_factory=dict)
    deleted: set = field(default_factory=set)
    tags: dict = field(default_factory=dict)
    put: dict = field(default_factory=dict)
    started: list = field(default_factory=list)
    heard: bytes = b""

    def learn(self, step, requests):
        if step[0] == "witness":
            self.heard += step[1]
            *lines, self.heard = self.heard.split(b"\n")
            self.started += [line.decode() for line in lines]
        elif step[0] == "answer" and step[1] in requests:
            self._told(*requests[step[1]])

    def _told(self, method, run, body, answer):
        if method == "DELETE" and answer.status == 204:
            self.deleted.add(run)
            return
        if answer.status not in (200, 201, 202) or not answer.body.startswith(b"{"):
            return
        told = answer.json
        if method == "PUT":
            self.put[run, told["path"]] = body
        if "status" not in told:
            return
        run = told["run_id"]
        if method == "POST" and answer.status == 201:
            self.acknowledged.add(run)
        if method == "PATCH":
            self.tags[run] = told["tags"]
        if told["status"] in ENDED:
            self.ended[run] = told


class Session(Client):
    """A life that is recorded.

    tree      what is on its disk, if it does not go on with that of
    before    a session, and after how many of its steps the daemon died there; the machine did not
    earlier   a session, and after how many of its steps the machine died there and left tree
    """

    def __init__(self, place, tree=None, before=None, earlier=None, boot_id=None):
        self.place = place
        self.requests, self.modes, self.truth, self.known = {}, {}, {}, {}
        self.tree = before[0].tree if before else tree
        self.recording = Recording(self.tree)
        if before or earlier:
            self._remember(*(before or earlier), disk_too=before is not None)
        self.first_step = len(self.recording.steps)
        super().__init__(World(place.root, self.recording.disk.tree("kept"), boot_id=boot_id))
        self.control = f"{self.world.path}/control"
        os.mkfifo(self.control)
        strace = [shutil.which("strace"), *STRACE[1:], "-o", f"{place.root}/trace"]
        launch = ["/bin/sh", "-c", LAUNCHER, f"{place.root}/control", *place.command()]
        self.tracer = self.world.start(strace + launch, place.environment(), f"{place.root}/log")
        self.start()

    def _remember(self, session, count, disk_too):
        for step in session.recording.steps[:count]:
            if step[0] != "disk":
                self.recording.steps.append(step)
            elif disk_too:
                self.recording.do(step[1], *step[2])
        for name in ("requests", "modes", "truth", "known"):
            getattr(self, name).update(getattr(session, name))

    # its life

    def _tell_launcher(self, word):
        def told():
            with contextlib.suppress(OSError):
                fd = os.open(self.control, os.O_WRONLY | os.O_NONBLOCK)
                with open(fd, "w") as stream:
                    return stream.write(word + "\n")

        wait_for(told, "strace and the launcher are there")

    def start(self):
        self._tell_launcher("start")
        wait_for(self.answers, "the recorded daemon answers")

    def kill(self):
        """The daemon alone."""
        (pid,) = self.world.named("amlagentd")
        self.world.kill(pid, signal.SIGKILL)
        wait_for(lambda: not self.answers(), "the recorded daemon is gone")

    def finish(self):
        """Ends the daemon; reads what was recorded and compares it with what is there."""
        (pid,) = self.world.named("amlagentd")
        self.world.kill(pid, signal.SIGTERM)
        self._tell_launcher("stop")
        ended = wait_for(lambda: [self.world.look(self.tracer)["ended"]] != [None], "strace ends", timeout=30)
        assert ended
        lines = self.world.read("trace").decode().splitlines()
        Reader(self.recording, self.place.disk, str(self.place.root / "witness/started")).read(lines)
        ours = self.recording.disk.tree("kept", leave_out=NOT_LOOKED_AT)
        there = tree_on_disk(f"{self.world.path}/disk", NOT_LOOKED_AT)
        assert without_modes(ours) == without_modes(there), "the recording does not give what is on the disk"
        self.world.close()
        return self

    # its client

    def ask(self, method, path, body=None, run=None, timeout=30):
        tag = len(self.requests) + 1
        self.requests[tag] = None
        answer = self.api(method, path, body, tag, timeout)
        self.requests[tag] = method, run, body, answer
        return answer

    def submit(self, mode, source, **fields):
        command = f"exec sh job.sh {mode} {self.place.root}/witness"
        request = {"source_directory": source, "command": command, **fields}
        request.setdefault("submit_environment", {"PATH": "/usr/bin:/bin", "TOKEN": TOKEN})
        answer = self.ask("POST", "/v1/runs", request)
        assert answer.status == 201, answer
        run = answer.json["run_id"]
        self.modes[run] = mode, source
        return run

    def running(self, run):
        """Once its script has begun."""

        def begun():
            with contextlib.suppress(FileNotFoundError):
                return run.encode() in self.world.read("witness/started")

        wait_for(begun, f"{run} has begun")
        status = lambda: self.api("GET", f"/v1/runs/{run}").json["status"]  # noqa: E731
        wait_for(lambda: status() == "Running", f"{run} is Running")

    def ended(self, *runs):
        """When they have: how, and all that is kept of them."""
        for run in runs:
            answer = self.ask("GET", f"/v1/runs/{run}?wait=20", run=run)
            assert answer.status == 200 and answer.json["status"] in ENDED, answer
            self.truth[run] = answer.json
            self.known[run] = self.artifacts(run)


def without_modes(tree):
    return {path: (kind, content) for path, (kind, _, content) in tree.items()}


class Life(Client):
    """A life on what is left, after the machine has started again."""

    def __init__(self, place, tree, strangers=()):
        super().__init__(World(place.root, tree, strangers=strangers))
        try:
            Path(f"{self.world.path}/witness/second-life").touch()
            self.pid = self.world.start(place.command(), place.environment(), f"{place.root}/log")
        except BaseException:
            self.world.close()
            raise

    def log(self):
        with contextlib.suppress(OSError):
            return self.world.read("log").decode(errors="replace")[-1500:]
        return ""

    def started(self):
        """The runs that were started in this life."""
        with contextlib.suppress(FileNotFoundError):
            return self.world.read("witness/started").decode().split()
        return []

    def kill(self):
        self.world.kill(self.pid, signal.SIGKILL)
        wait_for(lambda: self.world.look(self.pid)["ended"] is not None, "the daemon is gone")

    def close(self):
        self.world.close()


def empty_state(place):
    """The tree of a daemon that has been started and ended once, nothing else."""
    world = World(place.root)
    try:
        pid = world.start(place.command(), place.environment(), f"{place.root}/log")
        wait_for(Client(world).answers, "the first daemon answers")
        world.kill(pid, signal.SIGTERM)
        wait_for(lambda: world.look(pid)["ended"] is not None, "the first daemon ends")
        return tree_on_disk(f"{world.path}/disk", NOT_LOOKED_AT)
    finally:
        world.close()


def disk_after(session, count):
    """The disk after so many steps."""
    disk = Disk(session.tree)
    for step in session.recording.steps[:count]:
        if step[0] == "disk":
            getattr(disk, step[1])(*step[2])
    return disk
