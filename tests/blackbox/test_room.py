# SPDX-License-Identifier: MIT
"""No room: the disk, its inodes, descriptors and processes run out under a real daemon, and come back.

The state folder is a real small file system (a tmpfs of a few megabytes; root alone may mount one). Whatever is
missing: the daemon answers GETs, says clearly what it cannot do, loses nothing that it acknowledged, and goes on by
itself once there is room.
"""

import contextlib
import errno
import os
import resource
import shutil
import signal
import subprocess
import time

import harness
import pytest
from harness import ENDED, GATE_MODULE, Daemon, Gate, alive, one_line_error, process_stat, read_when_there, wait_for

OTHER_UID = 54321
NO_SPACE = os.strerror(errno.ENOSPC)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system, or being another user, needs root")


class SmallDaemon(Daemon):
    """A daemon whose state folder is a tmpfs of its own."""

    def __init__(self, size="4m", inodes=None, **options):
        super().__init__(**options)
        what = f"size={size},mode=0700" + (f",nr_inodes={inodes}" if inodes else "")
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", what, "amlagent-test", str(self.state)], capture_output=True, text=True
        )
        if done.returncode != 0:
            harness.remove(self.root)
            pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
        self.ballast = self.state / "ballast"

    def fill(self, leave=0):
        """No more than `leave` bytes stay free."""

        def full():
            """One try: when the daemon takes a page in between, tmpfs gives none of what was asked for."""
            info = os.statvfs(self.state)
            size = (info.f_bavail * info.f_frsize) - leave
            if size <= 0:
                return True
            with contextlib.suppress(OSError):
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
            return False

        with open(self.ballast, "ab") as file:
            wait_for(full, "the disk is full")

    def fill_inodes(self, leave=0):
        folder = self.state / "inodes"
        folder.mkdir(exist_ok=True)

        def full():
            """One try: the daemon may give some back meanwhile."""
            with contextlib.suppress(OSError):
                while True:
                    (folder / str(next(self.counter))).touch(exist_ok=False)
            return os.statvfs(self.state).f_favail == 0

        wait_for(full, "there is no inode left")
        for path in list(folder.iterdir())[:leave]:
            path.unlink()

    def make_room(self):
        """All of it again; also what stands in the folder's way goes."""
        with contextlib.suppress(FileNotFoundError):
            self.ballast.unlink()
        shutil.rmtree(self.state / "inodes", ignore_errors=True)

    def close(self):
        """The file system goes first: what lies below a mount point cannot be removed."""
        self.make_room()
        try:
            if self.process is not None and self.process.poll() is None:
                with contextlib.suppress(Exception):
                    self._cancel_all()
                assert self.terminate() in (0, -signal.SIGTERM), self.last_words()
            wait_for(lambda: not harness.processes_below(self.root), "nothing of its runs is left")
        finally:
            subprocess.run(["umount", str(self.state)], capture_output=True, check=False)
            if os.path.ismount(self.state):
                subprocess.run(["umount", "-l", str(self.state)], check=True)
            super().close()


@pytest.fixture
def make_small():
    """make_small(size="4m", inodes=N, config={...}): a started SmallDaemon."""
    made = []

    def make(start=True, **options):
        options["config"] = {"stop_grace_seconds": 1, **options.get("config", {})}
        daemon = SmallDaemon(**options)
        made.append(daemon)
        return daemon.start() if start else daemon

    yield make
    for daemon in made:
        daemon.close()


def serves(daemon):
    """It answers, and rightly, whatever it is short of."""
    assert daemon.process.poll() is None, f"the daemon has ended: {daemon.last_words()}"
    for path in ("/healthz", "/v1/status", "/v1/runs", "/v1/experiments"):
        answer = daemon.api("GET", path, timeout=20)
        assert answer.status == 200, (path, answer)


def gate_script(daemon, text):
    """A run that waits at WAIT for the gate: (id, gate)."""
    gate = Gate(daemon.root, f"gate{next(daemon.counter)}")
    return daemon.submit({"gate.py": GATE_MODULE, "main.py": text.replace("WAIT", gate.code)}), gate


def blocked(daemon):
    """A run that holds a slot until its gate is opened: (id, gate)."""
    run, gate = gate_script(daemon, "print('up', flush=True)\nWAIT")
    daemon.printed(run)
    return run, gate


def waiting(daemon, run, words):
    """The record, once one of its warnings says what it waits for."""

    def look():
        record = daemon.record(run)
        assert record["status"] not in ENDED, record
        return record if any(words in warning for warning in record["warnings"]) else None

    return wait_for(look, f"{run} says that it waits for room")


def said_once(record, words):
    said = [warning for warning in record["warnings"] if words in warning]
    assert len(said) == 1, record["warnings"]
    return said[0]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run_folders(daemon):
    return sorted(os.listdir(daemon.state / "runs"))


# -- a full disk ----------------------------------------------------------------------------------


@needs_root
def test_a_submit_on_a_full_disk_is_refused_and_leaves_nothing(make_small):
    daemon = make_small()
    first = daemon.finish("print(1)")
    wait_for(lambda: not run_folders(daemon), "the completed run's folder is gone")
    daemon.fill()
    answer = daemon.post({"main.py": "print(2)", "data": b"x" * 100_000})
    assert (answer.status, answer.error["code"]) == (507, "InsufficientStorage"), answer
    assert NO_SPACE in answer.error["message"], answer
    line = one_line_error(daemon.amlctl("run", "main.py", cwd=daemon.source("print(3)")))
    assert NO_SPACE in line, line
    serves(daemon)
    assert not run_folders(daemon) and not os.listdir(daemon.state / "blobs/tmp")
    assert [run["run_id"] for run in daemon.api("GET", "/v1/runs").json] == [first["run_id"]]
    assert daemon.std_log(first["run_id"]) == b"1\n"
    daemon.make_room()
    assert daemon.finish("print(4)")["status"] == "Completed"


@needs_root
def test_however_little_room_is_left_a_submit_is_accepted_or_refused(make_small):
    """The disk fills up at every step of a submit in turn; what is acknowledged survives the death of the daemon."""
    daemon = make_small(size="8m", config={"max_running_runs": 1})  # a write-ahead log alone has up to 4 MB
    _, gate = blocked(daemon)
    kept = []
    for leave in range(0, 128 << 10, 4 << 10):
        daemon.make_room()
        daemon.fill(leave)
        answer = daemon.post({"main.py": f"print({leave})", "data": os.urandom(9000)}, experiment_name="fill")
        assert answer.status in (201, 507), answer
        if answer.status == 201:
            kept.append(answer.json["run_id"])
        else:
            assert answer.error["code"] == "InsufficientStorage", answer
    assert kept and len(kept) < 32, "both have happened"
    serves(daemon)
    daemon.kill()
    daemon.make_room()
    daemon.start()
    listed = [run["run_id"] for run in daemon.api("GET", "/v1/runs?experiment_name=fill").json]
    assert listed == kept[::-1], "all that was acknowledged, and nothing else"
    gate.open()
    for run in kept:
        assert daemon.ended(run)["status"] == "Completed"
    wait_for(lambda: run_folders(daemon) == [], "nothing is left of what was refused")


@needs_root
def test_a_run_that_cannot_be_laid_out_waits_says_why_and_goes_on(make_small):
    daemon = make_small(size="6m", config={"max_running_runs": 1})
    _, gate = blocked(daemon)
    source = daemon.source({"main.py": "import os\nprint(os.path.getsize('data'))", "data": os.urandom(1 << 20)})
    run = daemon.submit(source_directory=str(source), script="main.py")
    small = daemon.submit("print('small')")
    daemon.fill(leave=500 << 10)
    gate.open()
    record = waiting(daemon, run, NO_SPACE)
    assert record["start_time_utc"] is None and record["error"] is None
    # One that fits has its turn meanwhile.
    assert daemon.ended(small)["status"] == "Completed"
    serves(daemon)
    assert NO_SPACE in daemon.ok("show", run)
    daemon.make_room()
    record = daemon.ended(run)
    assert (record["status"], daemon.std_log(run)) == ("Completed", b"1048576\n"), record
    said_once(record, NO_SPACE)


@needs_root
def test_a_run_that_waits_for_room_can_be_canceled_and_outlives_the_daemon(make_small):
    daemon = make_small(size="6m", config={"max_running_runs": 1})
    _, gate = blocked(daemon)
    source = daemon.source({"main.py": "print('ran')", "data": os.urandom(1 << 20)})
    runs = [daemon.submit(source_directory=str(source), script="main.py") for _ in range(2)]
    daemon.fill(leave=500 << 10)
    gate.open()
    for run in runs:
        waiting(daemon, run, NO_SPACE)
    assert daemon.amlctl("cancel", runs[0]).returncode == 0
    assert daemon.ended(runs[0])["error"]["code"] == "CanceledByUser"
    daemon.kill()
    daemon.start()
    wait_for(lambda: daemon.record(runs[1])["status"] in ("Queued", "Preparing"), "it waits again")
    serves(daemon)
    daemon.make_room()
    assert daemon.ended(runs[1])["status"] == "Completed"
    assert daemon.std_log(runs[1]) == b"ran\n"
    assert daemon.record(runs[0])["status"] == "Canceled"


STUBBORN = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\n"
    "end = time.monotonic() + 60\nwhile time.monotonic() < end: time.sleep(0.05)\n"
)


def stubborn(daemon):
    """A running run that takes SIGTERM for nothing."""
    run = daemon.submit(STUBBORN)
    daemon.printed(run)
    return run


@needs_root
def test_a_cancel_on_a_full_disk_stops_the_run(make_small):
    daemon = make_small(size="8m", config={"max_running_runs": 1})
    run, _ = blocked(daemon)
    daemon.fill()
    for _ in range(2):
        result = daemon.amlctl("cancel", run)
        assert result.returncode == 0, result
    below = daemon.state / "runs" / run
    wait_for(lambda: not harness.processes_below(below / "work"), "nothing of it goes on")
    serves(daemon)
    daemon.make_room()
    record = daemon.ended(run, timeout=45)
    assert (record["status"], record["error"]["code"]) == ("Canceled", "CanceledByUser"), record
    assert f"canceled by {record['submitted_by']}" in record["error"]["message"], record


@needs_root
def test_a_cancel_that_was_accepted_on_a_full_disk_stays(make_small):
    daemon = make_small(size="8m", config={"max_running_runs": 1, "stop_grace_seconds": 20})
    run = stubborn(daemon)
    daemon.fill()
    assert daemon.api("POST", f"/v1/runs/{run}/cancel").status == 202
    assert daemon.record(run)["status"] == "CancelRequested"
    daemon.kill()
    daemon.make_room()
    daemon.start()
    assert wait_for(lambda: daemon.record(run)["status"] != "Running", "it is known to be asked to stop")
    assert daemon.record(run)["status"] == "CancelRequested"
    record = daemon.ended(run, timeout=45)
    assert (record["status"], record["error"]["code"]) == ("Canceled", "CanceledByUser"), record


@needs_root
def test_a_cancel_that_cannot_be_kept_is_refused_and_the_run_is_as_it_was(make_small):
    """As of a run that an older build started: nothing was set aside for its stop."""
    daemon = make_small(size="8m", config={"max_running_runs": 1})
    run, gate = blocked(daemon)
    (daemon.state / "runs" / run / "stop.spare").unlink(missing_ok=True)
    daemon.fill()
    answer = daemon.api("POST", f"/v1/runs/{run}/cancel")
    assert (answer.status, answer.error["code"]) == (507, "InsufficientStorage"), answer
    assert NO_SPACE in answer.error["message"] and "goes on" in answer.error["message"], answer
    assert NO_SPACE in one_line_error(daemon.amlctl("cancel", run))
    assert daemon.record(run)["status"] == "Running"
    daemon.kill()
    daemon.make_room()
    daemon.start()
    assert daemon.record(run)["status"] == "Running"
    gate.open()
    assert daemon.ended(run)["status"] == "Completed"


FILLER = """
import os, sys
COUNT = {count!r}
def accepted(text):
    try:
        n = os.write(1, text)
    except OSError as error:
        return error.errno
    with open(COUNT, 'ab') as file:
        file.write(text[:n])
    return None
accepted(b'begin\\n')
fd = os.open('big', os.O_WRONLY | os.O_CREAT)
got = None
try:
    while True:
        os.write(fd, b'x' * 4096)
except OSError as error:
    got = error.errno
for i in range(2000):
    accepted(b'line %d ' % i + b'y' * 200 + b'\\n')
with open(COUNT + '.errno', 'w') as file:
    file.write(str(got))
{then}
sys.exit(7)
"""


@needs_root
@pytest.mark.parametrize("then", ["os.unlink('big')", "pass"], ids=["it-makes-room", "it-leaves-the-disk-full"])
def test_the_script_s_own_writes_fail_as_they_would_and_its_verdict_is_its_own(make_small, then):
    daemon = make_small()
    count = str(daemon.root / "accepted")
    run = daemon.submit(FILLER.format(count=count, then=then))
    wait_for(lambda: os.path.exists(count + ".errno"), "the script has met the full disk")
    serves(daemon)
    if then == "pass":
        below = harness.processes_below(daemon.state / "runs" / run)
        script = [pid for pid in below if "main.py" in harness.describe(pid)]
        wait_for(lambda: not [pid for pid in script if alive(pid)], "the script has ended")
        serves(daemon)
        (daemon.work(run) / "big").unlink(missing_ok=True)
    record = daemon.ended(run)
    assert read_when_there(count + ".errno") == str(errno.ENOSPC)
    assert (record["status"], record["exit_code"], record["error"]["code"]) == ("Failed", 7, "UserError"), record
    with open(count, "rb") as file:
        assert daemon.std_log(run) == file.read(), "every byte that was accepted is there, and no other"


@needs_root
def test_outputs_that_do_not_fit_wait_without_a_slot_and_go_on(make_small):
    """Those of a run that failed are copied (its folder stays for a look), and need room."""
    daemon = make_small(config={"max_running_runs": 1})
    text = "import os, sys\nopen('outputs/o', 'wb').write(b'o' * 400000)\nprint('up', flush=True)\nWAIT\nsys.exit(3)"
    run, gate = gate_script(daemon, text)
    daemon.printed(run)
    daemon.fill(leave=128 << 10)
    gate.open()
    waiting(daemon, run, NO_SPACE)
    assert daemon.record(run)["status"] == "Finalizing"
    assert daemon.api("GET", "/v1/status").json["running"] == 0, "its slot is free"
    serves(daemon)
    assert NO_SPACE in daemon.ok("show", run)
    daemon.make_room()
    record = daemon.ended(run, timeout=45)
    assert (record["status"], record["exit_code"], record["error"]["code"]) == ("Failed", 3, "UserError"), record
    assert daemon.artifact(run, "outputs/o") == b"o" * 400000
    assert daemon.std_log(run) == b"up\n"
    said_once(record, NO_SPACE)


@needs_root
def test_a_run_that_ends_when_nothing_at_all_can_be_written_has_its_true_end_later(make_small):
    daemon = make_small(config={"max_running_runs": 1})
    text = "import os\nopen('outputs/o', 'w').write('kept')\nprint(os.getpid(), flush=True)\nWAIT"
    run, gate = gate_script(daemon, text)
    daemon.printed(run)
    pid = int(daemon.std_log(run))
    daemon.fill()
    gate.open()
    wait_for(lambda: not alive(pid), "the script has ended")
    serves(daemon)
    assert daemon.record(run)["status"] not in ENDED, "an end is told when it is durable"
    daemon.kill()
    daemon.make_room()
    daemon.start()
    record = daemon.ended(run, timeout=45)
    assert (record["status"], record["exit_code"]) == ("Completed", 0), record
    assert daemon.artifact(run, "outputs/o") == b"kept"


@needs_root
def test_a_run_that_fills_the_disk_itself_ends_and_holds_no_slot(make_small):
    """Nobody makes room for it: what it wrote is what fills the disk."""
    daemon = make_small(size="8m", config={"max_running_runs": 1})
    text = "import os\nprint(os.getpid(), flush=True)\nwith open('work', 'wb', 0) as f:\n    while f.write(bytes(4096)): pass"
    run = daemon.submit(text, max_run_duration_seconds=20)
    wait_for(lambda: daemon.std_log(run).endswith(b"\n"), "it is up")
    pid = int(daemon.std_log(run).split()[0])
    wait_for(lambda: not alive(pid), "the script has ended")
    wait_for(lambda: daemon.json("status")["running"] == 0, "it holds no slot")
    folder = daemon.state / "runs" / run
    assert b"exit_code=1" in (folder / "exit").read_bytes(), "its end had its room from the start"
    (folder / "work" / "work").unlink()
    record = daemon.ended(run, timeout=45)
    assert (record["status"], record["exit_code"]) == ("Failed", 1), record
    assert "No space left" in record["error"]["message"], record


@needs_root
def test_ends_that_history_has_no_room_for_are_not_lost(make_small):
    daemon = make_small(config={"max_running_runs": 3})
    doors = [gate_script(daemon, f"import sys\nprint('up', flush=True)\nWAIT\nsys.exit({code})") for code in (0, 4, 5)]
    for run, _ in doors:
        daemon.printed(run)
    daemon.fill()
    for _, gate in doors:
        gate.open()
    for run, _ in doors:
        assert daemon.record(run)["status"] not in ENDED, "an end is told when it is durable"
    serves(daemon)
    daemon.kill()
    daemon.make_room()
    daemon.start()
    for (run, _), code in zip(doors, (0, 4, 5), strict=True):
        record = daemon.ended(run)
        assert record["exit_code"] == code and daemon.std_log(run) == b"up\n", record


@needs_root
def test_a_daemon_starts_on_a_full_disk_or_says_why_not(make_small):
    daemon = make_small()
    done = daemon.finish("print('kept')")["run_id"]
    daemon.kill()
    daemon.fill()
    try:
        daemon.start()
    except AssertionError:
        assert daemon.process.wait(10) != 0
        daemon.process = None
        last = daemon.last_words().strip().splitlines()[-1]
        assert NO_SPACE in last and str(daemon.state) in last, last
        daemon.make_room()
        daemon.start()
    serves(daemon)
    daemon.make_room()
    assert daemon.std_log(done) == b"kept\n"
    assert daemon.finish("print('more')")["status"] == "Completed"


# -- inodes ---------------------------------------------------------------------------------------


@needs_root
def test_without_inodes_submits_are_refused_and_runs_wait(make_small):
    daemon = make_small(size="8m", inodes=700, config={"max_running_runs": 1})
    _, gate = blocked(daemon)
    run = daemon.submit({"main.py": "print('ran')", **{f"f{i}": str(i) for i in range(20)}})
    daemon.fill_inodes(leave=10)  # the end of the other one needs some
    answer = daemon.post({"main.py": "print('new')", **{f"g{i}": f"new {i}" for i in range(20)}})
    assert (answer.status, answer.error["code"]) == (507, "InsufficientStorage"), answer
    gate.open()
    waiting(daemon, run, NO_SPACE)

    def refused():
        """What a start that failed meanwhile has given back may be enough for one more submit."""
        daemon.fill_inodes()
        done = daemon.amlctl("run", "-d", "main.py", cwd=daemon.source("print(3)"))
        return done if done.returncode else None

    assert NO_SPACE in one_line_error(wait_for(refused, "there is no inode left"))
    serves(daemon)
    daemon.make_room()
    assert daemon.ended(run)["status"] == "Completed" and daemon.std_log(run) == b"ran\n"


# -- a disk that takes no writes ------------------------------------------------------------------


@needs_root
def test_a_read_only_disk_is_an_error_until_it_is_not(make_small):
    """A file system with open files cannot be made read-only in the usual way; a second look at runs/ can."""
    daemon = make_small(config={"max_running_runs": 1})
    runs = str(daemon.state / "runs")
    blocker, gate = blocked(daemon)
    queued = daemon.submit("print('ran')")
    before = run_folders(daemon)
    subprocess.run(["mount", "--bind", runs, runs], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", runs], check=True)
        answer = daemon.post("print(2)")
        assert answer.status >= 500, answer
        assert os.strerror(errno.EROFS) in answer.error["message"], answer
        line = one_line_error(daemon.amlctl("run", "main.py", cwd=daemon.source("print(3)")))
        assert os.strerror(errno.EROFS) in line, line
        assert run_folders(daemon) == before
        serves(daemon)
        assert daemon.record(blocker)["status"] == "Running"
    finally:
        # The daemon may be looking into it.
        umount = ["umount", runs]
        wait_for(lambda: subprocess.run(umount, capture_output=True, check=False).returncode == 0, "it is not mounted")
    gate.open()
    assert daemon.ended(blocker)["status"] == "Completed"
    assert daemon.ended(queued)["status"] == "Completed"
    assert daemon.finish("print(4)")["status"] == "Completed"


@needs_root
def test_a_state_folder_that_is_read_only_is_refused_at_the_start(make_small):
    daemon = make_small()
    done = daemon.finish("print('kept')")["run_id"]
    daemon.terminate()
    subprocess.run(["mount", "-o", "remount,ro", str(daemon.state)], check=True)
    with pytest.raises(AssertionError, match="not ready"):
        daemon.start()
    assert daemon.process.wait(10) != 0
    daemon.process = None
    assert os.strerror(errno.EROFS) in daemon.last_words() and str(daemon.state) in daemon.last_words()
    subprocess.run(["mount", "-o", "remount,rw", str(daemon.state)], check=True)
    daemon.start()
    assert daemon.std_log(done) == b"kept\n"


# -- descriptors ----------------------------------------------------------------------------------


@contextlib.contextmanager
def limited(daemon, what, soft):
    """The soft limit of the running daemon, and back. As its own user: root may lack the capability for others."""

    def limit(value):
        subprocess.run(
            ["prlimit", f"--{what}={value}:", "--pid", str(daemon.process.pid)], check=True, cwd="/",
            user=daemon.user, group=daemon.user, extra_groups=None if daemon.user is None else [],
        )

    name = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}[what]
    before = resource.prlimit(daemon.process.pid, name)[0] if daemon.user is None else resource.getrlimit(name)[0]
    limit(soft)
    try:
        yield
    finally:
        if daemon.process.poll() is None:
            limit("unlimited" if before == resource.RLIM_INFINITY else before)


def ask_on(connection, method, path, body=None):
    connection.request(method, path, body=body)
    return harness.Answer(connection.getresponse())


def test_with_few_descriptors_requests_are_refused_and_nothing_is_lost(make_daemon):
    """From as many as it uses to enough for a run: each submit is accepted or refused, what was accepted completes."""
    daemon = make_daemon(config={"stop_grace_seconds": 1, "max_running_runs": 2})
    daemon.finish("print('warm')")
    pid = daemon.process.pid
    used = len(os.listdir(f"/proc/{pid}/fd"))
    kept = []
    for room in range(1, 24):
        with limited(daemon, "nofile", used + room):
            with contextlib.suppress(OSError, AssertionError):
                answer = daemon.api("POST", "/v1/runs", harness.json.dumps(daemon.request(f"print({room})")), timeout=5)
                assert answer.status in (201, 503), answer
                if answer.status == 201:
                    kept.append(answer.json["run_id"])
                else:
                    assert os.strerror(errno.EMFILE) in answer.error["message"], answer
        serves(daemon)
    assert kept, "with the most room a run is accepted"
    for run in kept:
        record = daemon.ended(run)
        assert record["status"] == "Completed", record
    listed = {run["run_id"] for run in daemon.api("GET", "/v1/runs").json}
    assert set(kept) < listed and all(daemon.ended(run)["status"] == "Completed" for run in listed)


def test_without_descriptors_open_connections_are_served_and_nothing_spins(make_daemon):
    """What cannot be looked at is not declared dead: the run that ends meanwhile ends when it can be looked at."""
    daemon = make_daemon(config={"stop_grace_seconds": 1, "max_running_runs": 1})
    blocker, gate = blocked(daemon)
    queued = daemon.submit("print('ran')")
    pid = daemon.process.pid
    connection = daemon.connect(timeout=20)
    assert ask_on(connection, "GET", "/healthz").status == 200
    with limited(daemon, "nofile", 3):
        knock = harness.socket.socket(harness.socket.AF_UNIX)
        knock.connect(daemon.socket)  # in the queue of the kernel: to be accepted when there is room
        gate.open()
        spent, began = cpu_seconds(pid), time.monotonic()
        wait_for(lambda: time.monotonic() - began > 2, "two seconds of want")
        spent = cpu_seconds(pid) - spent
        assert spent < 1, f"{spent} s of CPU in {time.monotonic() - began} s"
        for run in (blocker, queued):
            assert ask_on(connection, "GET", f"/v1/runs/{run}").json["status"] not in ENDED
        answer = ask_on(connection, "POST", "/v1/runs", harness.json.dumps(daemon.request("print(1)")))
        assert answer.status == 503 and os.strerror(errno.EMFILE) in answer.error["message"], answer
    knock.close()
    connection.close()
    assert daemon.ended(blocker, timeout=45)["status"] == "Completed"
    assert daemon.ended(queued)["status"] == "Completed" and daemon.std_log(queued) == b"ran\n"


def test_a_daemon_that_starts_with_too_few_descriptors_says_so(make_daemon):
    daemon = make_daemon(config={"stop_grace_seconds": 1})
    run, gate = blocked(daemon)
    daemon.kill()
    for number in range(4, 16, 2):
        done = subprocess.run(
            ["prlimit", f"--nofile={number}:{number}", harness.AMLAGENTD, "--user", "--state-dir", str(daemon.state),
             "--socket", daemon.socket, "--idle-exit", "1"],
            env=daemon.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False,
        )  # fmt: skip
        assert done.returncode == 1, done
        assert "open files" in done.stderr.decode(), done
    daemon.start()
    assert daemon.record(run)["status"] == "Running", "nothing was declared dead for want of a look"
    gate.open()
    assert daemon.ended(run)["status"] == "Completed"


# -- processes ------------------------------------------------------------------------------------


@needs_root
def test_without_processes_a_run_waits_and_goes_on(make_daemon):
    daemon = make_daemon(config={"stop_grace_seconds": 1}, user=OTHER_UID)
    assert daemon.finish("print('warm')")["status"] == "Completed"
    with limited(daemon, "nproc", 1):
        run = daemon.submit("print('ran')")
        record = waiting(daemon, run, os.strerror(errno.EAGAIN))
        assert record["start_time_utc"] is None
        serves(daemon)
    record = daemon.ended(run)
    assert (record["status"], daemon.std_log(run)) == ("Completed", b"ran\n"), record
    said_once(record, os.strerror(errno.EAGAIN))


@needs_root
def test_a_daemon_that_never_had_threads_survives_the_want_of_them(make_daemon):
    """Nothing was submitted before: all that it starts at the first submit cannot be started."""
    daemon = make_daemon(config={"stop_grace_seconds": 1}, user=OTHER_UID)
    with limited(daemon, "nproc", 1):
        answer = daemon.post("print('ran')")
        assert answer.status in (201, 503), answer
        serves(daemon)
    if answer.status == 201:
        assert daemon.ended(answer.json["run_id"])["status"] == "Completed"
    assert daemon.finish("print('more')")["status"] == "Completed"


# -- folders that go ------------------------------------------------------------------------------


def test_a_state_folder_that_is_removed_is_an_error_and_no_crash(make_daemon):
    daemon = make_daemon(config={"stop_grace_seconds": 1})
    daemon.finish("print(1)")
    wait_for(lambda: not run_folders(daemon), "its folder is cleaned up")
    shutil.rmtree(daemon.state)
    answer = daemon.post("print(2)")
    assert answer.status >= 400 and answer.error["message"], answer
    assert str(daemon.state) in answer.error["message"] or os.strerror(errno.ENOENT) in answer.error["message"], answer
    assert one_line_error(daemon.amlctl("run", "main.py", cwd=daemon.source("print(3)")))
    assert daemon.api("GET", "/healthz").status == 200
    for path in ("/v1/runs", "/v1/status"):
        answer = daemon.api("GET", path, timeout=20)
        assert answer.status == 200 or answer.error["message"], answer
    assert daemon.process.poll() is None
    assert daemon.terminate() in (0, -signal.SIGTERM)
    daemon.state.mkdir(mode=0o700)
    daemon.start()
    assert daemon.finish("print(4)")["status"] == "Completed", "a new beginning"


def removed_run(daemon, text="import os\nprint(os.getpid(), os.getppid(), flush=True)\nWAIT\nprint('done')"):
    """A running run whose folder has been removed: (id, gate, (pid, start), supervisor)."""
    run, gate = gate_script(daemon, text)
    daemon.printed(run)
    pid, supervisor = map(int, daemon.std_log(run).split())
    folder = daemon.state / "runs" / run
    # The script may be writing what its import compiled.
    wait_for(lambda: harness.remove(folder) or not folder.exists(), "the folder has been removed")
    return run, gate, (pid, process_stat(pid)[2]), supervisor


@pytest.mark.parametrize("end", ["by itself", "canceled", "supervisor killed"])
def test_a_run_whose_folder_is_removed_comes_to_an_end(make_daemon, end):
    """Its verdict has nowhere to be: it is lost, when nothing of it is left."""
    daemon = make_daemon(config={"stop_grace_seconds": 1, "max_running_runs": 1})
    run, gate, script, supervisor = removed_run(daemon)
    serves(daemon)
    if end == "supervisor killed":
        os.kill(supervisor, signal.SIGKILL)
    elif end == "canceled":
        assert daemon.api("POST", f"/v1/runs/{run}/cancel").status == 202
    if end != "supervisor killed":
        gate.open()
    record = daemon.ended(run, timeout=20)
    assert (record["status"], record["error"]["code"]) == ("Failed", "Lost"), record
    assert record["error"]["message"] and record["exit_code"] is None, record
    assert not alive(*script), "nothing of it goes on"
    assert daemon.finish("print('next')")["status"] == "Completed", "its slot is free"


def test_a_run_whose_folder_was_removed_while_no_daemon_was_there_is_lost(make_daemon):
    daemon = make_daemon(config={"stop_grace_seconds": 1, "max_running_runs": 1})
    run, gate, script, supervisor = removed_run(daemon)
    daemon.kill()
    daemon.start()
    record = daemon.ended(run)
    assert (record["status"], record["error"]["code"]) == ("Failed", "Lost"), record
    gate.open()
    wait_for(lambda: not alive(*script) and not alive(supervisor), "its processes have ended")
    assert daemon.finish("print('next')")["status"] == "Completed", "its slot is free"
