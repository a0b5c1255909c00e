# SPDX-License-Identifier: MIT
"""No room: the disk or its inodes run out under a real daemon, or it takes no writes; and it comes back.

The state folder is a real small file system (a tmpfs of a few megabytes; root alone may mount one). Whatever is
missing: the daemon answers GETs, says clearly what it cannot do, loses nothing that it acknowledged, and goes on by
itself once there is room.
"""

import contextlib
import errno
import os
import shutil
import signal
import subprocess

import harness
import pytest
from harness import ENDED, Daemon, alive, one_line_error, read_when_there, wait_for
from script_runs import blocked, gate_script, run_folders, said_once, serves, waiting

NO_SPACE = os.strerror(errno.ENOSPC)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")


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
        assert daemon.process.wait(20) != 0
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
    assert daemon.process.wait(20) != 0
    daemon.process = None
    assert os.strerror(errno.EROFS) in daemon.last_words() and str(daemon.state) in daemon.last_words()
    subprocess.run(["mount", "-o", "remount,rw", str(daemon.state)], check=True)
    daemon.start()
    assert daemon.std_log(done) == b"kept\n"
