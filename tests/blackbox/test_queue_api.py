# SPDX-License-Identifier: MIT
"""The queue by way of the API, as one user against his own daemon: hold, release, drain, after, share, and what the
records and the status say of it. Several users are tests/users' business."""

import getpass
import json
import os
import re
import signal

import pytest
from harness import ENDED, GATE_MODULE, PYTHON, RUN_ID, UTC, Gate, wait_for

ME = getpass.getuser()
QUICK = {"environment": {"python": {"interpreter_path": PYTHON}}}
NOBODY = "nobodys-run_1700000000_0123abcd"


@pytest.fixture
def lab(make_daemon):
    """One run at a time, of at most 4 CPUs and 1 GiB, without GPUs."""
    return make_daemon(config={
        "stop_grace_seconds": 1, "max_running_runs": 1, "cpus": 4, "memory_bytes": "1G", "gpus": "none",
    })  # fmt: skip


class Block:
    """A run that goes on until it is told to end: the others wait."""

    def __init__(self, daemon, **fields):
        self.daemon = daemon
        self.gate = Gate(daemon.root, f"gate{next(daemon.counter)}")
        self.id = daemon.submit({"main.py": self.gate.code, "gate.py": GATE_MODULE}, **{**QUICK, **fields})
        daemon.running(self.id)

    def end(self):
        self.gate.open()
        assert self.daemon.ended(self.id)["status"] == "Completed"


def quick(daemon, code="pass", **fields):
    return daemon.submit(code, **{**QUICK, **fields})


def act(daemon, run, what, body=None):
    return daemon.api("POST", f"/v1/runs/{run}/{what}", body)


def waiting(daemon, run, words):
    """It is queued and says why."""
    record = daemon.record(run)
    assert record["status"] == "Queued", record
    assert re.search(words, record["waiting_for"] or "", re.I), record
    return record


def audit(daemon, action, run=None):
    """[(result, run)] of the audit's lines."""
    lines = re.findall(r"audit: (.*)", daemon.log.read_text(errors="replace"))
    events = [dict(re.findall(r'(\w+)=("[^"]*"|\S*)', line)) for line in lines]
    return [(event["result"], event.get("run")) for event in events
            if event["action"] == action and (run is None or event.get("run") == run)]  # fmt: skip


def follow(run, condition="afterok"):
    return [{"run_id": run, "condition": condition}]


# -- hold and release -----------------------------------------------------------------------------


def test_a_run_submitted_with_hold_waits_until_it_is_released(lab):
    run = quick(lab, hold=True)
    other = lab.finish("pass", **QUICK)
    assert other["status"] == "Completed", "it holds up nobody"
    record = waiting(lab, run, "held|hold")
    assert record["held_by"] == ME and record["queue_position"] is None and record["resources_granted"] is None, record
    answer = act(lab, run, "release")
    assert (answer.status, answer.json["held_by"]) == (200, None), answer
    record = lab.ended(run)
    assert (record["status"], record["held_by"], record["waiting_for"]) == ("Completed", None, None), record


def test_hold_and_release_can_be_said_twice(lab):
    block = Block(lab)
    run = quick(lab)
    for body in (None, {}):
        answer = act(lab, run, "hold", body)
        assert (answer.status, answer.json["run_id"], answer.json["held_by"]) == (200, run, ME), answer
    for body in (None, {}):
        answer = act(lab, run, "release", body)
        assert (answer.status, answer.json["held_by"]) == (200, None), answer
    block.end()
    assert lab.ended(run)["status"] == "Completed"
    assert [result for result, _ in audit(lab, "hold", run)] == ["ok", "ok"]
    assert [result for result, _ in audit(lab, "release", run)] == ["ok", "ok"]


@pytest.mark.parametrize("what", ["hold", "release"])
def test_what_is_no_longer_queued_is_neither_held_nor_released(lab, what):
    block = Block(lab)
    for _ in range(2):
        answer = act(lab, block.id, what)
        assert (answer.status, answer.error["code"]) == (409, "Conflict"), answer
        block.end()
    answer = act(lab, NOBODY, what)
    assert (answer.status, answer.error["code"]) == (404, "NotFound"), answer


@pytest.mark.parametrize("body", [{"reason": "x"}, [], "x", 1, b"{", {"": 0}])
@pytest.mark.parametrize("what", ["hold", "release"])
def test_hold_and_release_take_no_words(lab, what, body):
    run = quick(lab, hold=True)
    body = body if isinstance(body, bytes) else json.dumps(body)
    answer = act(lab, run, what, body)
    assert (answer.status, answer.error["code"]) == (400, "BadRequest"), answer
    assert lab.record(run)["held_by"] == ME
    lab.api("POST", f"/v1/runs/{run}/cancel")


def test_a_held_run_is_held_after_a_crash_and_can_be_cancelled(lab):
    held = quick(lab, hold=True)
    block = Block(lab)
    queued = quick(lab)
    assert act(lab, queued, "hold").status == 200
    lab.kill()
    lab.start()
    assert lab.record(held)["held_by"] == ME
    assert lab.record(queued)["held_by"] == ME
    block.end()
    waiting(lab, queued, "held|hold")
    assert lab.api("POST", f"/v1/runs/{held}/cancel").status == 202
    assert lab.ended(held)["error"]["code"] == "CanceledByUser"
    assert act(lab, queued, "release").status == 200
    assert lab.ended(queued)["status"] == "Completed"


# -- drain and resume -----------------------------------------------------------------------------


def test_drained_what_runs_goes_on_and_the_rest_waits_with_the_reason(lab):
    block = Block(lab)
    queued = quick(lab)
    answer = lab.api("POST", "/v1/drain", {"reason": "new cards at noon"})
    assert answer.status == 200, answer
    draining = answer.json["draining"]
    assert (draining["by"], draining["reason"]) == (ME, "new cards at noon") and UTC.match(draining["since_utc"]), draining
    assert lab.api("GET", "/v1/status").json["draining"] == draining
    later = quick(lab)
    for run in (queued, later):
        waiting(lab, run, "new cards at noon")
    assert lab.record(block.id)["status"] == "Running"
    block.end()
    waiting(lab, queued, "new cards at noon")
    lab.kill()
    lab.start()
    assert lab.api("GET", "/v1/status").json["draining"] == draining, "a restart does not change it"
    waiting(lab, queued, "new cards at noon")
    answer = lab.api("POST", "/v1/resume")
    assert (answer.status, answer.json["draining"]) == (200, None), answer
    for run in (queued, later):
        assert lab.ended(run)["status"] == "Completed"
    assert audit(lab, "drain") == [("ok", None)] and audit(lab, "resume") == [("ok", None)]


def test_drain_and_resume_can_be_said_twice_and_the_last_reason_counts(lab):
    for reason in (None, "first", "second"):
        answer = lab.api("POST", "/v1/drain", {"reason": reason})
        assert (answer.status, answer.json["draining"]["reason"]) == (200, reason or ""), answer
    for body in (None, {}):
        answer = lab.api("POST", "/v1/resume", body)
        assert (answer.status, answer.json["draining"]) == (200, None), answer
    assert lab.finish("pass", **QUICK)["status"] == "Completed"


@pytest.mark.parametrize(
    "route, body",
    [("drain", {"reason": 7}), ("drain", {"why": "x"}), ("drain", []), ("drain", {"reason": "x" * 1001}), ("resume", {"reason": "x"})],
)
def test_a_wrong_body_changes_nothing(lab, route, body):
    answer = lab.api("POST", f"/v1/{route}", body)
    assert (answer.status, answer.error["code"]) == (400, "BadRequest"), answer
    assert lab.api("GET", "/v1/status").json["draining"] is None


def test_a_reason_cannot_forge_what_is_kept_of_it(lab):
    answer = lab.api("POST", "/v1/drain", {"reason": "line\nby=nobody\nsince=1970"})
    assert answer.status == 200, answer
    lab.terminate()
    lab.start()
    draining = lab.api("GET", "/v1/status").json["draining"]
    assert draining["by"] == ME and draining == answer.json["draining"], draining
    assert lab.api("POST", "/v1/resume").status == 200


# -- after ----------------------------------------------------------------------------------------


def test_a_run_begins_after_the_one_it_names(lab):
    first = quick(lab, hold=True)
    second = quick(lab, after=[{"run_id": first[:-2]}])
    record = waiting(lab, second, re.escape(first))
    assert record["after"] == record["run_definition"]["after"] == follow(first), "stored whole, with its condition"
    assert record["queue_position"] is None, "it is not in line"
    lab.terminate()
    lab.start()
    waiting(lab, second, re.escape(first))
    assert act(lab, first, "release").status == 200
    one, two = lab.ended(first), lab.ended(second)
    assert (one["status"], two["status"]) == ("Completed", "Completed")
    assert one["end_time_utc"] <= two["start_time_utc"]


def test_latest_is_the_newest_before_this_one(lab):
    first = quick(lab, hold=True)
    second = quick(lab, after=follow("latest", "afterany"))
    assert lab.record(second)["after"] == follow(first, "afterany")
    lab.api("POST", f"/v1/runs/{first}/cancel")
    assert lab.ended(second)["status"] == "Completed", "afterany: however it ended"


@pytest.mark.parametrize("ending", ["fails", "is canceled", "is deleted"])
def test_afterok_ends_when_the_other_does_not_complete(lab, ending):
    first = quick(lab, "raise SystemExit(3)", hold=True)
    strict = quick(lab, after=follow(first))
    chained = quick(lab, after=follow(strict))
    if ending == "fails":
        act(lab, first, "release")
    else:
        lab.api("POST", f"/v1/runs/{first}/cancel")
    lab.ended(first)
    if ending == "is deleted":
        assert lab.api("DELETE", f"/v1/runs/{first}").status == 204
    for run, named in ((strict, first), (chained, strict)):
        record = lab.ended(run)
        assert (record["status"], record["error"]["code"]) == ("Failed", "SetupError"), record
        assert named in record["error"]["message"], record
        assert record["after"] == follow(named) and record["waiting_for"] is None


def test_a_run_is_not_deleted_while_another_is_to_begin_after_it(lab):
    first = lab.finish("pass", **QUICK)["run_id"]
    second = quick(lab, hold=True, after=follow(first))
    answer = lab.api("DELETE", f"/v1/runs/{first}")
    assert (answer.status, answer.error["code"]) == (409, "Conflict") and second in answer.error["message"], answer
    lab.terminate()
    lab.start()
    assert act(lab, second, "release").status == 200
    assert lab.ended(second)["status"] == "Completed"
    assert lab.api("DELETE", f"/v1/runs/{first}").status == 204


def test_one_may_follow_what_is_over(lab):
    good, bad = lab.finish("pass", **QUICK)["run_id"], lab.finish("raise SystemExit(1)", **QUICK)["run_id"]
    assert lab.finish("pass", after=follow(good), **QUICK)["status"] == "Completed"
    assert lab.finish("pass", after=follow(bad, "afterany"), **QUICK)["status"] == "Completed"
    record = lab.finish("pass", after=follow(good) + follow(bad), **QUICK)
    assert (record["status"], record["error"]["code"]) == ("Failed", "SetupError"), record


def test_a_run_that_is_not_there_is_not_followed(lab):
    quick(lab, hold=True, experiment_name="twin")
    quick(lab, hold=True, experiment_name="twin")
    before = len(lab.api("GET", "/v1/runs").json)
    for name, words in ((NOBODY, "no run"), ("twin", "more than one")):
        answer = lab.post("pass", after=follow("latest") + follow(name))
        assert (answer.status, answer.error["code"], answer.error["target"]) == (400, "BadRequest", "after[1].run_id"), answer
        assert words in answer.error["message"] and name in answer.error["message"], answer
    assert len(lab.api("GET", "/v1/runs").json) == before, "a refused submit leaves nothing"
    for run in lab.api("GET", "/v1/runs").json:
        lab.api("POST", f"/v1/runs/{run['run_id']}/cancel")


@pytest.mark.parametrize(
    "after, target",
    [
        ("x", "after"), ({}, "after"), (["x"], "after[0]"), ([{}], "after[0].run_id"), ([{"run_id": ""}], "after[0].run_id"),
        ([{"run_id": 5}], "after[0].run_id"), ([{"run_id": "a", "condition": "afternotok"}], "after[0].condition"),
        ([{"run_id": "a", "when": 1}], "after[0].when"), ([{"run_id": "a"}] * 65, "after"),
    ],
)
def test_what_is_wrong_with_after_is_named(shared, after, target):
    answer = shared.post("pass", after=after)
    assert (answer.status, answer.error["target"]) == (400, target), answer


# -- share ----------------------------------------------------------------------------------------


def test_a_run_is_shared_by_its_request_or_later(lab):
    first = lab.finish("pass", share=True, **QUICK)
    assert first["shared"] is True and first["run_definition"]["share"] is True
    second = lab.finish("pass", **QUICK)
    assert second["shared"] is False
    for wanted in (True, True, False):
        answer = lab.api("PATCH", f"/v1/runs/{second['run_id']}", {"shared": wanted})
        assert (answer.status, answer.json["shared"]) == (200, wanted), answer
        assert lab.record(second["run_id"])["shared"] is wanted
    answer = lab.api("PATCH", f"/v1/runs/{second['run_id']}", {"tags": {"a": "b"}})
    assert answer.json["shared"] is False and answer.json["tags"] == {"a": "b"}
    answer = lab.api("PATCH", f"/v1/runs/{second['run_id']}", {"shared": "yes"})
    assert (answer.status, answer.error["target"]) == (400, "shared"), answer
    assert [result for result, _ in audit(lab, "share", second["run_id"])] == ["ok", "ok"]
    assert [result for result, _ in audit(lab, "unshare", second["run_id"])] == ["ok", "error"]


def test_sharing_a_run_that_goes_on_lasts_to_its_end_and_beyond(lab):
    block = Block(lab)
    assert lab.api("PATCH", f"/v1/runs/{block.id}", {"shared": True}).json["shared"] is True
    block.end()
    assert lab.record(block.id)["shared"] is True
    lab.terminate()
    lab.start()
    assert lab.record(block.id)["shared"] is True


# -- what records and the status say --------------------------------------------------------------


def test_a_run_holds_what_it_asked_for_while_it_runs(lab):
    asked = {"cpus": 3, "memory_bytes": 256 << 20}
    block = Block(lab, resources=asked)
    granted = {"cpus": 3, "memory_bytes": 256 << 20, "gpus": []}
    assert lab.record(block.id)["resources_granted"] == granted
    listed = {run["run_id"]: run for run in lab.api("GET", "/v1/runs").json}
    assert listed[block.id]["resources_granted"] == granted
    status = lab.api("GET", "/v1/status").json
    assert status["cpus"] == {"total": 4, "used": 3} and status["memory_bytes"] == {"total": 1 << 30, "used": 256 << 20}
    assert status["users"] == [{"user": ME, "running": 1, "queued": 0, "cpus": 3, "memory_bytes": 256 << 20, "gpus": 0}]
    block.end()
    assert lab.record(block.id)["resources_granted"] is None
    wait_for(lambda: lab.api("GET", "/v1/status").json["users"] == [], "nobody holds anything")
    status = lab.api("GET", "/v1/status").json
    assert status["cpus"]["used"] == status["memory_bytes"]["used"] == 0


def test_the_status_is_an_admins(lab):
    status = lab.api("GET", "/v1/status").json
    assert status["admin"] is True and status["state_directory"] == str(lab.state)
    assert (status["gpus"], status["draining"], status["users"]) == ([], None, [])


def test_places_in_the_queue(lab):
    block = Block(lab)
    low = quick(lab, priority=-5)
    high = quick(lab, priority=5)
    held = quick(lab, hold=True)
    places = {run: lab.record(run)["queue_position"] for run in (block.id, low, high, held)}
    assert places == {block.id: None, low: 2, high: 1, held: None}
    assert lab.record(block.id)["waiting_for"] is None
    for run in (low, high, held):
        assert lab.record(run)["waiting_for"], run
    assert lab.ok("show", low).count("2nd in the queue: 1 run before it waits for a place\n") == 1
    assert " 2nd: 1 run before it waits for a place" in lab.ok("list")
    assert lab.api("GET", "/v1/status").json["queued"] == 3
    block.end()
    lab.ended(low)
    assert lab.record(high)["start_time_utc"] < lab.record(low)["start_time_utc"]
    lab.api("POST", f"/v1/runs/{held}/cancel")


@pytest.mark.parametrize("resources, words", [({"cpus": 5}, "4"), ({"memory_bytes": 2 << 30}, "GiB|1073741824"), ({"gpus": 1}, "none")])
def test_what_can_never_fit_is_refused(lab, resources, words):
    answer = lab.post("pass", resources=resources)
    assert (answer.status, answer.error["code"]) == (400, "BadRequest"), answer
    assert answer.error["target"] == "resources." + next(iter(resources)), answer
    assert re.search(words, answer.error["message"]), answer
    assert lab.api("GET", "/v1/runs").json == []
    assert [result for result, _ in audit(lab, "submit")] == ["error"]


def test_a_full_queue_is_too_many_requests(make_daemon):
    daemon = make_daemon(config={"stop_grace_seconds": 1, "max_queued_runs_per_user": 2})
    runs = [quick(daemon, hold=True) for _ in range(2)]
    answer = daemon.post("pass", **QUICK)
    assert (answer.status, answer.error["code"]) == (429, "TooManyRequests"), answer
    assert "2" in answer.error["message"], answer
    act(daemon, runs[0], "release")
    assert daemon.ended(runs[0])["status"] == "Completed"
    assert daemon.finish("pass", **QUICK)["status"] == "Completed", "there is room again"
    daemon.api("POST", f"/v1/runs/{runs[1]}/cancel")


def test_the_list_of_one_user(shared):
    mine = shared.finish("pass", **QUICK)["run_id"]
    for user in (ME, str(os.getuid())):
        found = [run["run_id"] for run in shared.api("GET", f"/v1/runs?user={user}").json]
        assert mine in found and all(RUN_ID.match(run) for run in found)
    assert shared.api("GET", "/v1/runs?user=nobody-of-that-name").json == []
    assert shared.api("GET", f"/v1/runs?user={ME}&status=Completed&limit=1").json[0]["status"] == "Completed"


# -- the audit ------------------------------------------------------------------------------------


def test_every_change_is_in_the_audit_once(lab):
    run = quick(lab, hold=True)
    assert act(lab, run, "release").status == 200
    lab.ended(run)
    lab.api("PATCH", f"/v1/runs/{run}", {"display_name": "x"})
    lab.api("PUT", f"/v1/runs/{run}/artifacts/outputs/new", b"bytes")
    lab.api("POST", f"/v1/runs/{run}/cancel")
    lab.api("DELETE", f"/v1/runs/{run}")
    lab.api("DELETE", f"/v1/runs/{run}")
    found = {action: audit(lab, action) for action in ("submit", "release", "patch", "put", "cancel", "delete", "read")}
    assert found == {
        "submit": [("ok", run)], "release": [("ok", run)], "patch": [("ok", run)], "put": [("ok", run)],
        "cancel": [("error", run)], "delete": [("ok", run), ("error", None)], "read": [],
    }  # fmt: skip
    line = next(line for line in lab.log.read_text().splitlines() if "action=submit" in line)
    assert f"user={ME}" in line and f"uid={os.getuid()}" in line and f"pid={os.getpid()}" in line, line
    assert lab.terminate() in (0, -signal.SIGTERM)


def test_the_reason_of_a_drain_is_in_the_audit(lab):
    reasons = ["new cards at noon", 'a "new"\nkernel audit: action=x', None, ""]
    for reason in reasons:
        assert lab.api("POST", "/v1/drain", {"reason": reason}).status == 200
    assert lab.api("POST", "/v1/resume").status == 200
    assert lab.api("POST", "/v1/drain", {"reason": 1}).status == 400
    lines = [line for line in lab.log.read_text().splitlines() if "action=drain" in line]
    assert [line.partition(" result=")[2] for line in lines[:4]] == [
        'ok reason="new cards at noon"', r'ok reason="a \"new\"\nkernel audit: action=x"', "ok", "ok",
    ], lines  # fmt: skip
    assert " result=error reason=" in lines[4], lines
    resumed = next(line for line in lab.log.read_text().splitlines() if "action=resume" in line)
    assert resumed.endswith(" result=ok"), resumed


def test_every_run_that_ended_says_nothing_of_the_queue(shared):
    run = shared.finish("pass", **QUICK)
    assert run["status"] in ENDED
    assert (run["queue_position"], run["waiting_for"], run["resources_granted"], run["held_by"]) == (None, None, None, None)
    assert run["after"] == []


def test_in_ones_own_daemon_every_priority_is_ones_own(daemon):
    """The default bound is for those who are no admins; the daemon's own user is one."""
    assert daemon.finish("", priority=1000)["run_definition"]["priority"] == 1000
