# SPDX-License-Identifier: MIT
"""Nothing of a run escapes: not from its end, its limit or a cancel, and not when its supervisor is killed."""

import os
import signal
import subprocess

import pytest
from supervised import CANCEL, LIMIT, SECOND, populated, state_of, strays, wait_for

ESCAPES = ["setsid", "double_fork", "ignore_term", "stopped", "hold_log", "renamed", "leader_exits"]


@pytest.mark.parametrize("name", ESCAPES)
def test_escape_from_the_limit(run, zoo, name):
    """The command itself stays, whatever its children do."""
    run.launch("/bin/sh", "-c", f"{zoo(name)}; sleep 50", limit=5, grace=0.3).start().says()
    assert run.members()
    record = run.exit()
    assert record["stopped"] == LIMIT
    assert record["gone_us"] - record["start_us"] < 20 * SECOND


@pytest.mark.parametrize("name", ["double_fork", "renamed", "leader_exits"])
def test_escape_from_the_end(run, zoo, name):
    record = run.launch("/bin/sh", "-c", f"{zoo(name)}; while ! grep -q ready ../std_log.txt; do :; done", grace=0.3)
    record = record.start().exit()
    assert (record["stopped"], record["exit_code"], record["leftovers"]) == (0, 0, 1)
    assert record["stop_us"] == 0
    assert 300_000 <= record["gone_us"] - record["end_us"] < 20 * SECOND


def test_the_holder_of_the_log_is_ended_and_the_exit_code_is_kept(run, zoo):
    record = run.launch(zoo("hold_log"), grace=0.3).start().exit()
    assert (record["stopped"], record["exit_code"], record["leftovers"]) == (0, 7, 1)


def test_leftovers_that_end_when_asked(run, zoo):
    record = run.shell(f"{zoo('trap')} & while ! grep -q ready ../std_log.txt; do :; done; exit 9", grace=40)
    record = record.start().exit()
    assert (record["stopped"], record["exit_code"], record["leftovers"]) == (0, 9, 1)
    assert record["gone_us"] - record["end_us"] < 20 * SECOND
    assert run.log() == b"ready\nsaved\n"


def test_a_cancel_while_leftovers_have_their_grace(run, zoo):
    run.launch(zoo("hold_log"), grace=50).start().says()
    command = run.running()
    wait_for(lambda: state_of(command) is None, "the command has ended")
    run.stop(grace=0.1)
    record = run.exit(20)
    assert (record["stopped"], record["exit_code"], record["leftovers"]) == (0, 7, 1)


def test_stopped_processes_hear_the_signal(run, zoo):
    run.launch(zoo("stopped"), grace=40).start().says()
    wait_for(lambda: len(run.members()) == 2 and all(state_of(p) == "T" for p in run.members()), "both are stopped")
    run.stop(grace=40)
    record = run.exit(20)
    assert (record["stopped"], record["exit_code"]) == (CANCEL, 3)
    assert run.log() == b"ready\nasked\nasked\n"


@pytest.mark.parametrize("count, how", [(1, []), (200, []), (1, ["own-sessions"]), (200, ["own-sessions"])])
def test_fork_storm(run, zoo, count, how):
    run.launch(zoo("storm"), str(count), *how, grace=0.1).start().says()
    run.stop(grace=0.1)
    record = run.exit()
    assert record["stopped"] == CANCEL
    assert record["gone_us"] - record["stop_us"] < 20 * SECOND


def test_a_deep_and_wide_tree(run):
    script = "n=$1; [ $n -eq 0 ] && exec sleep 50; n=$((n-1)); setsid sh -c \"$0\" \"$0\" $n & sh -c \"$0\" \"$0\" $n"
    run.launch("/bin/sh", "-c", script, script, "5", grace=0.2).start()
    wait_for(lambda: len(run.members()) >= 63, "the tree has grown")
    run.stop(grace=0.2)
    assert run.exit()["stopped"] == CANCEL


def test_only_its_own_are_signalled(make_run):
    runs = [make_run().launch("/bin/sleep", "40", grace=0.1).start() for _ in range(3)]
    bystander = subprocess.Popen(["/bin/sleep", "40"])
    for run in runs:
        run.running()
    runs[0].stop(grace=0)
    runs[0].exit()
    assert bystander.poll() is None and all(len(run.members()) == 1 for run in runs[1:])
    bystander.kill()
    bystander.wait()
    for run in runs[1:]:
        run.stop()
        run.exit()


# -- the zoo, three ways -----------------------------------------------------------------------------

ANIMALS = [
    "bomb",
    "daemon3",
    "detached.py",
    "double_fork",
    "exec_storm",
    "hold_log",
    "ignore_term",
    "leader_exits",
    "no_environment",
    "own_subreaper",
    "pool.py",
    "renamed",
    "setsid",
    "stopped",
    "storm",
    "sub_cgroup",
    "untraceable",
    "write_on",
]
# Whose parent has ended, and who has neither environment nor session: without a cgroup nothing proves whose they are.
ONLY_IN_A_CGROUP = {"untraceable"}
GRACE = 0.3


def arguments_of(name, cgroup):
    if name == "sub_cgroup" and cgroup and os.geteuid() == 0:
        return [cgroup]
    return ["8"] if name == "storm" else []


@pytest.fixture(params=["with a cgroup", "without"])
def place(request):
    """The cgroup below which the run has its own, or None."""
    return request.getfixturevalue("cgroups") if request.param == "with a cgroup" else None


def let_loose(run, zoo, name, place, grace):
    """The command itself stays, so that nobody is asked to end before he is ready not to."""
    cgroup = place and place / run.dir.name
    command = zoo.command(name, *arguments_of(name, cgroup))
    run.launch("/bin/sh", "-c", '"$@"; exec sleep 50', "sh", *command, cgroup=place, grace=grace).start().says()
    assert zoo.members()
    if place:
        assert populated(cgroup) and run.status()["cgroup"] == str(cgroup)


@pytest.mark.parametrize("name", ANIMALS)
def test_nothing_escapes(run, zoo, place, name):
    let_loose(run, zoo, name, place, GRACE)
    run.stop(grace=GRACE)
    record = run.exit()
    assert zoo.members() == []
    assert not place or not run.cgroup.exists()
    asked = record["stop_us"] or record["end_us"]
    assert record["gone_us"] - asked < 20 * SECOND
    assert run.notes() == ""


@pytest.mark.parametrize("name", ANIMALS)
def test_nothing_outlives_a_supervisor_that_was_killed(run, zoo, place, name):
    if not place and name in ONLY_IN_A_CGROUP:
        pytest.skip("nothing proves whose it is: runs/strays.h says so")
    let_loose(run, zoo, name, place, 30)
    run.process.kill()
    run.finish()
    assert zoo.members()
    wait_for(lambda: strays(run) == [0], "nothing is found any more")
    assert zoo.members() == [] and run.members() == []
    assert not place or not run.cgroup.exists()
    assert not (run.dir / "exit").exists()


def test_strays_of_many_runs_are_found_at_once_and_of_no_other(make_run, zoo, cgroups):
    runs = [make_run().launch(zoo("setsid"), cgroup=cgroups if i % 2 else None).start().says() for i in range(4)]
    lives, *lost = runs
    bystander = subprocess.Popen(["/bin/sleep", "40"], env={"AMLAGENT_RUN_DIR": f"{lost[0].dir}x"})
    for one in lost:
        one.process.kill()
        one.finish()
    assert all(found > 0 for found in strays(*lost))
    wait_for(lambda: strays(*lost) == [0, 0, 0], "nothing is found any more")
    assert all(one.members() == [] for one in lost) and len(lives.members()) == 3
    assert bystander.poll() is None and lives.process.poll() is None
    bystander.kill()
    bystander.wait()
    lives.stop(grace=0)
    lives.exit()


def session_of(pid):
    try:
        return os.getsid(int(pid))
    except ProcessLookupError:
        return None


def test_a_session_is_only_a_proof_when_its_leader_is_of_the_run(run):
    """Somebody tries a command with the run's variable in his own terminal: the terminal is not of the run."""
    script = f"AMLAGENT_RUN_DIR='{run.dir}' sleep 41 & sleep 42 & echo; wait; exec sleep 43"
    shell = subprocess.Popen(["/bin/sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE)
    shell.stdout.readline()
    wait_for(run.members, "the marked one is there")
    wait_for(lambda: strays(run) == [0], "nothing is found any more")
    assert run.members() == [] and shell.poll() is None
    assert [session_of(pid) for pid in os.listdir("/proc") if pid.isdigit() and state_of(pid)].count(shell.pid) == 2
    os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()
    shell.stdout.close()


def test_one_between_two_programs_is_a_doubt_until_he_can_be_asked(run, zoo):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    environment = {"AMLAGENT_RUN_DIR": str(run.dir)}
    process = subprocess.Popen(zoo.command("between.py"), env=environment, start_new_session=True, **pipes)
    if not process.stdout.readline():
        pytest.skip("this kernel lets nobody look like that")
    assert strays(run) == [None] and process.poll() is None
    process.stdin.write(b"x")
    process.stdin.close()
    wait_for(lambda: strays(run) == [1], "it is found")
    assert process.wait(20) == -signal.SIGKILL
    process.stdout.close()
    wait_for(lambda: strays(run) == [0], "nothing is found any more")


def test_a_cgroup_that_is_not_named_after_the_run_is_left_alone(make_run, zoo, cgroups):
    lost, other = make_run(), make_run()
    other.launch(zoo("ignore_term"), cgroup=cgroups).start().says()
    lost.cgroup = other.cgroup
    wait_for(lambda: strays(lost) == [0], "nothing is found")
    assert other.cgroup.exists() and other.members()
    lost.cgroup = None
    other.stop(grace=0)
    other.exit()
