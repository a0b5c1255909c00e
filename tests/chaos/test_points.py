# SPDX-License-Identifier: MIT
"""Each fail point is on the way of an ordinary run; each mode does there what common/fail_point.h says; an ordinary
build has none of it. tests/unit/test_fail_point.c looks at the modes from within."""

import errno
import os
import re
import signal
import time
from collections import Counter

import harness
import pytest
from chaos import DEATH_OF, PROGRAMS, Died, points
from story import Story, true_fate

# -- where they are -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def passed():
    """How often each point was passed in some runs that nothing happened to."""
    stories = [
        Story("exit-0", true_fate("exit-0"), [""], request="patch"),
        Story("exit-n", true_fate("exit-n"), [""], request="put"),
        Story("cancel", true_fate("cancel"), [""], stubborn=True),
        Story("limit", true_fate("limit"), [""]),
        Story("signal", true_fate("signal"), [""], request="delete"),
        Story("exit-0", true_fate("exit-0"), ["", ""], restart="ready"),
    ]
    for story in stories:
        story.tell()
    return Counter(point for story in stories for point in story.passed)


@pytest.mark.parametrize("point", points())
def test_an_ordinary_run_passes_the_point(passed, point):
    assert passed[point] > 0


def test_no_point_is_passed_that_the_table_does_not_name(passed):
    assert set(passed) <= set(points())


def test_the_code_names_each_point_of_the_table():
    table = (harness.REPO / "common/fail_point.h").read_text()
    names = re.findall(r"X\((\w+),\s*\"", table)
    code = "".join(path.read_text() for folder in ("agent", "common", "supervisor")
                   for path in sorted((harness.REPO / folder).rglob("*.c")) if path.name != "fail_point.c")  # fmt: skip
    assert len(set(names)) == len(names) == len(points())
    assert [name for name in names if not re.search(rf"\bFAIL_{name}\b", code)] == []


def test_an_ordinary_build_knows_nothing_of_it():
    for name in PROGRAMS:
        data = (harness.BUILD / name).read_bytes()
        found = [text for text in ("AMLAGENT_FAIL", *points()) if text.encode() in data]
        assert found == [], f"an ordinary {name} contains {found}"


def test_an_ordinary_daemon_does_not_listen_to_the_variable(tmp_path):
    log = tmp_path / "passed"
    everything = ",".join(f"{name}=kill" for name in points())
    daemon = harness.Daemon(env={"AMLAGENT_FAIL": everything, "AMLAGENT_FAIL_LOG": str(log)})
    try:
        daemon.start()
        record = daemon.finish({"x": ""}, command="echo done")
        assert record["status"] == "Completed", record
        assert not log.exists()
    finally:
        daemon.close()


# -- what they do, in the daemon ------------------------------------------------------------------


def folders(daemon):
    return os.listdir(daemon.state / "runs")


def post(daemon):
    return daemon.ask("POST", "/v1/runs", daemon.request({"x": "y"}, command="true"))


@pytest.mark.parametrize("mode, folder_is_made", [("kill", False), ("kill-after", True), ("abort", False)])
def test_it_dies_before_the_step_or_after_it(make_chaos, mode, folder_is_made):
    daemon = make_chaos()
    daemon.launch(f"submit.make_dir={mode}")
    with pytest.raises(Died) as died:
        post(daemon)
    assert died.value.args[0] == DEATH_OF[mode]
    assert (folders(daemon) != []) == folder_is_made


@pytest.mark.parametrize("name, status", [("ENOSPC", 507), ("EIO", 500), ("EMFILE", 503)])
def test_an_errno_is_the_result_of_the_step_which_is_not_taken(make_chaos, name, status):
    daemon = make_chaos()
    daemon.launch(f"submit.make_dir={name}")
    answer = post(daemon)
    assert answer.status == status, answer
    assert os.strerror(getattr(errno, name)) in answer.error["message"], answer
    assert folders(daemon) == []
    assert post(daemon).status == 201, "once only"


@pytest.mark.parametrize("setting, statuses", [
    ("ENOSPC", [507, 201, 201]),
    ("ENOSPC:2", [201, 507, 201]),
    ("ENOSPC:2:2", [201, 507, 507, 201]),
    ("ENOSPC:1:0", [507] * 5),
])  # fmt: skip
def test_it_happens_from_the_nth_time_on_and_so_many_times(make_chaos, setting, statuses):
    daemon = make_chaos()
    daemon.launch(f"submit.make_dir={setting}")
    assert [post(daemon).status for _ in statuses] == statuses


def test_a_delay_is_waited_for(make_chaos):
    daemon = make_chaos()
    daemon.launch("submit.make_dir=delay-400")
    start = time.monotonic()
    assert post(daemon).status == 201
    assert time.monotonic() - start >= 0.4


@pytest.mark.parametrize("mode", ["interrupt", "short"])
def test_what_is_written_in_pieces_or_interrupted_is_whole(make_chaos, mode):
    """With an environment of 100 KB, from the submit to the script."""
    daemon = make_chaos()
    daemon.launch(",".join(f"{point}={mode}:1:0" for point in ("submit.environment", "blob.write", "prepare.launch")))
    environment = {"PATH": "/usr/bin:/bin", **{f"VARIABLE_{i}": "x" * 1000 for i in range(100)}}
    run = daemon.submit({"text": "kept\n"}, command="env | sort; cat text", submit_environment=environment)
    assert daemon.wait_ended(run)["status"] == "Completed"
    lines = daemon.std_log(run).decode().splitlines()
    assert set(f"{key}={value}" for key, value in environment.items()) <= set(lines)
    assert lines[-1] == "kept"


def test_many_points_may_be_set_at_once(make_chaos):
    daemon = make_chaos()
    daemon.launch("submit.make_dir=ENOSPC,submit.sync_dir=EIO,history.insert=EMFILE")
    assert [post(daemon).status for _ in range(4)] == [507, 500, 503, 201]


def test_each_passing_is_a_line_of_the_log(make_chaos):
    daemon = make_chaos()
    daemon.launch("")
    daemon.wait_ended(post(daemon).json["run_id"])
    daemon.wait_ended(post(daemon).json["run_id"])
    assert daemon.passed().count("submit.make_dir") == 2
    assert daemon.passed().count("start.spawn") == 2


@pytest.mark.parametrize("setting", [
    "no.such=kill", "submit.make_dir", "submit.make_dir=", "submit.make_dir=explode", "submit.make_dir=kill:",
    "submit.make_dir=kill:x", "submit.make_dir=" + "9" * 100,
])  # fmt: skip
def test_a_setting_that_says_nothing_is_no_silent_success(make_chaos, setting):
    daemon = make_chaos()
    with pytest.raises(Died) as died:
        daemon.launch(setting)
    assert died.value.args[0] == DEATH_OF["abort"]
    assert "AMLAGENT_FAIL" in daemon.last_words() and "says nothing" in daemon.last_words()


# -- and in the supervisor ------------------------------------------------------------------------


def test_the_supervisor_has_the_settings_and_the_command_does_not(make_chaos):
    daemon = make_chaos()
    daemon.launch("exit.write=delay-1")
    run = daemon.submit({"x": ""}, command="env; tr '\\0' '\\n' </proc/$PPID/environ >outputs/parent")
    assert daemon.wait_ended(run)["status"] == "Completed"
    assert b"AMLAGENT_FAIL" not in daemon.std_log(run)
    parent = daemon.artifact(run, "outputs/parent").decode()
    assert f"AMLAGENT_FAIL=exit.write=delay-1\nAMLAGENT_FAIL_LOG={daemon.passed_log}\n" == parent


def test_the_settings_count_in_each_supervisor_anew(make_chaos):
    daemon = make_chaos()
    daemon.launch("exit.write=kill")
    for _ in range(2):
        record = daemon.wait_ended(daemon.submit({"x": ""}, command="true"))
        assert (record["status"], record["error"]["code"]) == ("Failed", "Lost"), record
    assert daemon.passed().count("exit.write") == 2


def test_a_supervisor_that_was_killed_is_not_said_to_have_failed_with_an_errno(make_chaos):
    """Its exit status tells an errno as 64 + errno; death by signal 9 is 137 to a shell, and no errno 73."""
    daemon = make_chaos()
    daemon.launch("supervisor.begin=kill")
    run = daemon.submit({"x": ""}, command="true")
    record = harness.wait_for(lambda: (seen := daemon.record(run))["warnings"] and seen, "its start is put off")
    assert os.strerror(128 + signal.SIGKILL - 64) not in record["warnings"][0], record["warnings"]
    daemon.wait_ended(run)
