# SPDX-License-Identifier: MIT
"""The daemon dies and comes back; the supervisor dies and does not."""

import os
import re
import signal
import time

import pytest
from harness import (
    GATE_MODULE,
    Gate,
    alive,
    describe,
    is_connected_and_waits,
    process_stat,
    processes_below,
    read_when_there,
    wait_for,
)


def started(daemon, script, gates=1, **fields):
    """A run that has printed its first line: (id, gates)."""
    doors = [Gate(daemon.root, f"restart{next(daemon.counter)}") for _ in range(gates)]
    text = script
    for i, door in enumerate(doors):
        text = text.replace(f"WAIT{i}", door.code)
    run = daemon.submit({"gate.py": GATE_MODULE, "main.py": text}, **fields)
    daemon.printed(run)
    return run, doors


@pytest.mark.parametrize("status", [0, 3, 255])
def test_a_run_notices_nothing_and_its_exit_status_is_true(daemon, status):
    script = f"import os, sys\nprint('one', os.getppid())\nWAIT0\nprint('two', os.getppid())\nopen('outputs/o', 'w').write('kept')\nsys.exit({status})"
    run, (gate,) = started(daemon, script)
    daemon.kill()
    daemon.start()
    assert daemon.record(run)["status"] == "Running"
    gate.open()
    record = daemon.ended(run)
    assert (record["status"], record["exit_code"]) == ("Failed" if status else "Completed", status), record
    one, two = daemon.std_log(run).split(b"\n")[:2]
    assert one.replace(b"one", b"two") == two, "it has another parent now"
    assert daemon.artifact(run, "outputs/o") == b"kept"
    assert record["resources_used"]["wall_seconds"] > 0


@pytest.mark.parametrize("end, expected", [
    ("sys.exit(0)", ("Completed", 0, None, None)),
    ("sys.exit(7)", ("Failed", 7, None, "UserError")),
    ("os.kill(os.getpid(), 9)", ("Failed", None, 9, "Killed")),
    ("time.sleep(1000)", ("Canceled", None, None, "MaxRunDurationExceeded")),
])  # fmt: skip
def test_a_run_that_ended_while_no_daemon_was_there(daemon, end, expected):
    script = f"import os, sys, time\nprint('up', os.getpid())\nWAIT0\nprint('last words')\nopen('outputs/o', 'w').write('kept')\n{end}"
    run, (gate,) = started(daemon, script, max_run_duration_seconds=8 if "sleep" in end else 600)
    pid = int(daemon.std_log(run).split()[1])
    supervisor = process_stat(pid)[1]
    daemon.kill()
    gate.open()
    wait_for(lambda: not alive(pid), "the script has ended without a daemon", timeout=30)
    wait_for(lambda: not alive(supervisor), "and so has its supervisor")
    ended = time.time()
    daemon.start()
    record = daemon.ended(run)
    got = (record["status"], record["exit_code"], record["signal"], record["error"] and record["error"]["code"])
    assert got[0] == expected[0] and got[3] == expected[3], record
    if expected[3] != "MaxRunDurationExceeded":
        assert got == expected
    assert daemon.std_log(run).endswith(b"last words\n")
    assert daemon.artifact(run, "outputs/o") == b"kept"
    import datetime

    end_time = datetime.datetime.fromisoformat(record["end_time_utc"].rstrip("Z")).replace(tzinfo=datetime.timezone.utc)
    assert end_time.timestamp() <= ended + 0.1, "the end is that of the run, not that of the restart"


def test_a_graceful_stop_of_the_daemon_leaves_runs_alone_too(daemon):
    run, (gate,) = started(daemon, "print('up')\nWAIT0\nprint('done')")
    assert daemon.terminate() in (0, -signal.SIGTERM)
    daemon.start()
    gate.open()
    assert daemon.ended(run)["status"] == "Completed"
    assert daemon.std_log(run) == b"up\ndone\n"


def test_cancel_and_limit_work_on_an_adopted_run(daemon):
    run, _ = started(daemon, "print('up')\nWAIT0")
    daemon.kill()
    daemon.start()
    assert daemon.amlctl("cancel", run).returncode == 0
    assert daemon.ended(run)["error"]["code"] == "CanceledByUser"


def test_a_cancel_that_was_accepted_holds_although_the_daemon_dies(make_daemon):
    daemon = make_daemon(config={"stop_grace_seconds": 3})
    run, _ = started(daemon, "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up')\nWAIT0")
    assert daemon.api("POST", f"/v1/runs/{run}/cancel").status == 202
    daemon.kill()
    daemon.start()
    record = daemon.ended(run)
    assert (record["status"], record["error"]["code"]) == ("Canceled", "CanceledByUser"), record


def follower(daemon, command, source):
    """amlctl, as it shows the log of a new run: by `run`, or by `logs`."""
    if command == "run":
        return daemon.popen("--no-autostart", "run", "main.py", cwd=source)
    run = daemon.submit(source_directory=str(source), script="main.py")
    return daemon.popen("--no-autostart", "logs", "-f", run)


@pytest.mark.parametrize("command", ["run", "logs"])
def test_followers_reconnect_without_losing_or_repeating_a_byte(daemon, command):
    script = (
        "import sys\n"
        "for i in range(20000): print('before', i)\nWAIT0\n"
        "for i in range(20000): print('away', i)\nWAIT1\n"
        "for i in range(20000): print('after', i)\nsys.exit(4)\n"
    )
    doors = [Gate(daemon.root, f"follow{i}") for i in range(2)]
    text = script.replace("WAIT0", doors[0].code).replace("WAIT1", doors[1].code)
    source = daemon.source({"gate.py": GATE_MODULE, "main.py": text})
    process = follower(daemon, command, source)
    expected = [f"{word} {i}\n".encode() for word in ("before", "away", "after") for i in range(20000)]
    got = [process.stdout.readline() for _ in range(20000)]
    run = daemon.api("GET", "/v1/runs").json[0]["run_id"]
    daemon.kill()
    doors[0].open()
    work = daemon.work(run)
    wait_for(lambda: b"away 19999\n" in (work / "user_logs/std_log.txt").read_bytes()[-100:], "it prints on")
    daemon.start()
    doors[1].open()
    rest, err = process.communicate(timeout=30)
    assert got + rest.splitlines(keepends=True) == expected, err
    assert process.returncode == (4 if command == "run" else 0), err
    assert daemon.record(run)["exit_code"] == 4


TRUNCATES = """
import os
for i in range(1000): print('old', i)
WAIT0
os.truncate('user_logs/std_log.txt', 0)
for i in range(6): print('new', i)
WAIT1
print('last')
"""


@pytest.mark.parametrize("seen_by", ["the daemon", "the next daemon", "nobody before its end"])
@pytest.mark.parametrize("command", ["run", "logs"])
def test_followers_of_a_log_that_is_truncated_begin_anew_and_say_so(daemon, command, seen_by):
    """As `tail -F` does it: what was there has been seen, what is there follows, whole."""
    doors = [Gate(daemon.root, f"truncate{i}") for i in range(2)]
    text = TRUNCATES.replace("WAIT0", doors[0].code).replace("WAIT1", doors[1].code)
    source = daemon.source({"gate.py": GATE_MODULE, "main.py": text})
    process = follower(daemon, command, source)
    assert [process.stdout.readline() for _ in range(1000)] == [b"old %d\n" % i for i in range(1000)]
    run = daemon.api("GET", "/v1/runs").json[0]["run_id"]
    log = daemon.work(run) / "user_logs/std_log.txt"
    if seen_by != "the daemon":
        daemon.kill()
    doors[0].open()
    wait_for(lambda: log.read_bytes().endswith(b"new 5\n"), "it prints on")
    if seen_by == "nobody before its end":
        doors[1].open()
        wait_for(lambda: (daemon.state / "runs" / run / "exit").exists(), "it has ended")
    if seen_by != "the daemon":
        daemon.start()
    rest = [b"new %d\n" % i for i in range(6)]
    assert [process.stdout.readline() for _ in range(6)] == rest, "before its end"
    doors[1].open()
    assert process.stdout.readline() == b"last\n"
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b""), err
    assert err.count(b"amlctl: the log was truncated; ") == 1, err
    assert daemon.std_log(run) == b"".join(rest) + b"last\n"


def test_a_follower_puts_no_other_daemon_in_the_place_of_the_one_that_died(daemon):
    """It was talked to by its socket ($AMLAGENT_SOCKET) and has a state folder of its own: one with the user's state
    folder in its place knows nothing of the run, and keeps the right one from coming back."""
    gate = Gate(daemon.root, "no-other.gate")
    source = daemon.source({"gate.py": GATE_MODULE, "main.py": f"print('up')\n{gate.code}\nprint('done')"})
    process = daemon.popen("run", "main.py", cwd=source)
    assert process.stdout.readline() == b"up\n"
    daemon.kill()
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline and process.poll() is None:
        others = [pid for pid in processes_below(daemon.root) if "amlagentd" in describe(pid)]
        assert not others, [describe(pid) for pid in others]
        time.sleep(0.05)
    daemon.start()
    gate.open()
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"done\n"), err


def test_wait_survives_a_restart(daemon):
    run, (gate,) = started(daemon, "print('up')\nWAIT0\nraise SystemExit(6)")
    process = daemon.popen("--no-autostart", "wait", run)
    wait_for(lambda: is_connected_and_waits(process.pid), "wait waits")
    daemon.kill()
    daemon.start()
    gate.open()
    process.communicate(timeout=30)
    assert process.returncode == 6


def test_followers_survive_ten_deaths(daemon):
    doors = [Gate(daemon.root, f"ten{i}") for i in range(10)]
    text = "".join(f"print('line', {i}, 'x' * 5000)\n{door.code}\n" for i, door in enumerate(doors))
    source = daemon.source({"gate.py": GATE_MODULE, "main.py": text + "print('end')"})
    process = daemon.popen("--no-autostart", "run", "main.py", cwd=source)
    for i, door in enumerate(doors):
        assert process.stdout.readline().startswith(b"line %d x" % i)
        daemon.kill()
        door.open()
        daemon.start()
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"end\n"), err


def test_queued_runs_stay_queued_and_run_in_their_order(make_daemon):
    daemon = make_daemon(config={"max_running_runs": 1, "stop_grace_seconds": 1})
    order = daemon.root / "order"
    blocker, (gate,) = started(daemon, "print('up')\nWAIT0")
    runs = [daemon.submit(f"import os\nfd = os.open({str(order)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
                          f"os.write(fd, b'{i} ')") for i in range(5)]  # fmt: skip
    daemon.kill()
    daemon.start()
    assert [daemon.record(run)["status"] for run in runs] == ["Queued"] * 5
    assert daemon.record(blocker)["status"] == "Running"
    gate.open()
    for run in runs:
        assert daemon.ended(run)["status"] == "Completed"
    assert order.read_text() == "0 1 2 3 4 ", "each once, in the order of their submits"


def test_a_queued_run_keeps_its_environment_over_a_restart(make_daemon):
    daemon = make_daemon(config={"max_running_runs": 1, "stop_grace_seconds": 1})
    _, (gate,) = started(daemon, "print('up')\nWAIT0")
    run = daemon.submit("import os; print(os.environ['CARRIED'])", submit_environment={"PATH": "/usr/bin", "CARRIED": "yes"})
    daemon.kill()
    daemon.start()
    gate.open()
    assert daemon.ended(run)["status"] == "Completed"
    assert daemon.std_log(run) == b"yes\n"


def test_the_daemon_killed_right_after_submits_loses_and_doubles_none(make_daemon):
    daemon = make_daemon(config={"max_running_runs": 4, "stop_grace_seconds": 1})
    traces = daemon.root / "traces"
    source = daemon.source(
        f"import os\nfd = os.open({str(traces)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
        "os.write(fd, (os.environ['AZUREML_RUN_ID'] + '\\n').encode())"
    )
    runs = []
    for _ in range(6):
        runs += [daemon.submit(source_directory=str(source), script="main.py", experiment_name="d") for _ in range(5)]
        daemon.kill()
        daemon.start()
    for run in runs:
        record = daemon.ended(run)
        assert record["status"] == "Completed", record
    assert sorted(traces.read_text().split()) == sorted(runs), "every run exactly once"


@pytest.mark.timeout(180)
def test_a_daemon_that_was_killed_can_be_started_again_at_once(daemon):
    """Nothing that it left behind (a child on its way to exec) may hold the state folder's lock for long."""

    def live():
        names = "Queued,Preparing,Starting,Running,Finalizing"
        return {run["run_id"] for run in daemon.api("GET", f"/v1/runs?status={names}&limit=1000").json}

    source = daemon.source("")
    left = set()
    for _ in range(25):
        answers = [daemon.popen("run", "-d", "main.py", cwd=source) for _ in range(3)]
        answers[0].wait(20)
        daemon.kill()
        daemon.start()
        for process in answers:
            process.communicate(timeout=40)
        # A run during whose preparation a daemon has died too often is given up.
        wait_for(lambda left=left: not left & live(), "those of the round before have ended", timeout=60)
        left = live()
    wait_for(lambda: not live(), "all end", timeout=60)
    assert {run["status"] for run in daemon.api("GET", "/v1/runs?limit=1000").json} == {"Completed"}


# -- the supervisor -------------------------------------------------------------------------------


def test_a_dead_supervisor_is_a_lost_run_and_its_tree_goes(daemon):
    pids = daemon.root / "tree"
    script = f"""
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(1000)'],
                         start_new_session=True)
open('outputs/kept', 'w').write('kept')
print('up', flush=True)
open({str(pids)!r} + '.new', 'w').write(f'{{os.getpid()}} {{os.getppid()}} {{child.pid}}')
os.rename({str(pids)!r} + '.new', {str(pids)!r})
time.sleep(1000)
"""
    run = daemon.submit(script)
    script_pid, supervisor, child = map(int, read_when_there(pids).split())
    starts = {pid: process_stat(pid)[2] for pid in (script_pid, child)}
    os.kill(supervisor, signal.SIGKILL)
    record = daemon.ended(run)
    assert not [pid for pid, start in starts.items() if alive(pid, start)], "stopped first, then told"
    assert (record["status"], record["error"]["code"]) == ("Failed", "Lost"), record
    assert record["exit_code"] is None and record["signal"] is None, "no exit status is invented"
    assert re.search(r"\d\d:\d\d|20\d\d|seen", record["error"]["message"]), record["error"]
    assert daemon.std_log(run) == b"up\n" and daemon.artifact(run, "outputs/kept") == b"kept"
    assert daemon.amlctl("wait", run).returncode == 125
    assert daemon.finish("print(1)")["status"] == "Completed"


def test_a_supervisor_that_died_while_no_daemon_was_there(daemon):
    run, _ = started(daemon, "import os\nprint(os.getpid(), os.getppid())\nWAIT0")
    script_pid, supervisor = map(int, daemon.std_log(run).split())
    start = process_stat(script_pid)[2]
    daemon.kill()
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not alive(supervisor), "the supervisor is gone")
    daemon.start()
    record = daemon.ended(run)
    assert (record["status"], record["error"]["code"]) == ("Failed", "Lost"), record
    assert not alive(script_pid, start)


def test_sigterm_to_the_supervisor_does_not_lose_the_run(daemon):
    """What a shutdown or an over-eager `kill` sends: it ends told, not lost, or goes on."""
    run, (gate,) = started(daemon, "import os\nprint(os.getppid())\nWAIT0")
    os.kill(int(daemon.std_log(run)), signal.SIGTERM)
    gate.open()
    record = daemon.ended(run)
    assert record["error"] is None or record["error"]["code"] != "Lost", record


FORGERY = """
import os, signal, sys, time
root = os.path.dirname(os.getcwd())
fields = dict(format=1, stopped=0, exit_code=0, signal=0, exec_errno=0, oom=0, leftovers=0, start_us=1, end_us=2, gone_us=2,
              stop_us=0, wall_us=1, user_us=0, system_us=0, peak_bytes=0, peak_of_all=0, oom_kills=-1, disk_free_bytes=-1,
              end="")
open(root + "/exit.new", "w").write("".join(f"{key}={value}\\0" for key, value in fields.items()))
os.rename(root + "/exit.new", root + "/exit")
"""


def test_a_script_that_forges_its_exit_record_is_told_by_its_supervisor_all_the_same(daemon):
    """Whoever writes beside work/ does not stay the last: the supervisor's record takes the place of any other."""
    record = daemon.finish(FORGERY + "sys.exit(3)")
    assert (record["status"], record["exit_code"]) == ("Failed", 3), record
    run, (gate,) = started(daemon, FORGERY + "print('up', flush=True)\nWAIT0\nsys.exit(4)")
    daemon.kill()
    daemon.start()
    assert daemon.record(run)["status"] == "Running", "it lives: that comes before what is written"
    gate.open()
    assert daemon.ended(run)["exit_code"] == 4


def test_a_script_of_the_daemons_own_user_that_kills_its_supervisor_is_believed(daemon):
    """What docs/reliability.md names: nothing keeps a process from the files and processes of its own user. That holds
    for a daemon of one user; tests/users/test_hostile_runs.py shows that of the system service it does not."""
    record = daemon.finish(FORGERY + "os.kill(os.getppid(), signal.SIGKILL)\nsys.exit(3)")
    assert (record["status"], record["exit_code"]) == ("Completed", 0), record
    assert daemon.finish("print(1)")["status"] == "Completed"


def test_garbage_in_the_state_folder_does_not_keep_the_daemon_from_starting(daemon):
    good = daemon.finish("print(1)")["run_id"]
    daemon.terminate()
    runs = daemon.state / "runs"
    (runs / "not-a-run").mkdir()
    (runs / "x_1700000000_0123abcd").mkdir()
    (runs / "a-file").write_text("?")
    (runs / "x_1700000000_0123abce").symlink_to("/etc")
    daemon.start()
    assert daemon.record(good)["status"] == "Completed"
    assert daemon.finish("print(2)")["status"] == "Completed"
    assert os.path.exists("/etc/passwd")


def test_a_history_of_a_newer_build_or_of_noise_is_refused_and_left_alone(make_daemon):
    daemon = make_daemon(start=False)
    noise = b"this is no database" * 1000
    (daemon.state / "history.db").write_bytes(noise)
    with pytest.raises(AssertionError, match="not ready"):
        daemon.start()
    assert "history.db" in daemon.last_words(), daemon.last_words()
    assert daemon.process.wait(20) != 0
    daemon.process = None
    assert (daemon.state / "history.db").read_bytes() == noise
