# SPDX-License-Identifier: MIT
"""One queue for many users: who is next, why others wait, who may say so."""

import re
import time

import pytest
from harness import ENDED, one_line_error, wait_for
from load import at_best
from users_harness import Job, QUICK, until_ended


def order(records):
    """Run ids by the time they started."""
    return [record["run_id"] for record in sorted(records.values(), key=lambda record: record["start_time_utc"])]


def quick(desk, **fields):
    """A run that is over at once."""
    return desk.submit("pass", **{**QUICK, **fields})


# -- who is next ----------------------------------------------------------------------------------


def test_a_user_who_has_used_much_gives_way_to_one_who_has_used_nothing(make_service, ana, ben):
    service = make_service(config={"max_running_runs": 1, "cpus": 4})
    burn = "import time; end = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"
    assert service.desk(ana).finish(burn, resources={"cpus": 4}, **QUICK)["status"] == "Completed"
    block = Job(service).running()
    hers = [quick(service.desk(ana)) for _ in range(3)]
    his = [quick(service.desk(ben)) for _ in range(3)]
    block.end()
    records = until_ended(service, hers + his, 60)
    assert order(records) == his + hers


def test_what_was_used_counts_after_a_restart_too(make_service, ana, ben):
    service = make_service(config={"max_running_runs": 1, "cpus": 4})
    burn = "import time; end = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass"
    service.desk(ana).finish(burn, resources={"cpus": 4}, **QUICK)
    block = Job(service).running()
    hers, his = quick(service.desk(ana)), quick(service.desk(ben))
    service.terminate()
    service.start()
    block.end()
    assert order(until_ended(service, [hers, his], 60)) == [his, hers]


def test_users_of_equal_use_take_turns_and_neither_starves(make_service, ana, ben):
    service = make_service(config={"max_running_runs": 1})
    block = Job(service).running()
    last = "import time; time.sleep(1.5)"  # a run that is held up for less than two others take changes no turn
    hers = [service.desk(ana).submit(last, **QUICK) for _ in range(4)]
    his = [service.desk(ben).submit(last, **QUICK) for _ in range(4)]
    block.end()
    started = order(until_ended(service, hers + his, 60))
    owners = "".join("a" if run in hers else "b" for run in started)
    assert [run for run in started if run in hers] == hers, "one user's are in the order in which they came"
    assert [run for run in started if run in his] == his
    assert set(owners[:2]) == {"a", "b"} and not re.search("aaaa|bbbb", owners), owners


def test_priority_comes_before_fair_share(make_service, ana, ben):
    service = make_service(config={"max_running_runs": 1})
    block = Job(service).running()
    first = quick(service.desk(ben))
    second = quick(service.desk(ana), priority=-1)
    third = quick(service.desk(ana), priority=5)
    block.end()
    assert order(until_ended(service, [first, second, third], 60)) == [third, first, second]


def test_a_users_priority_is_bounded_and_an_admins_is_not(make_service, ana, eva):
    service = make_service(config={"max_user_priority": 10})
    answer = service.desk(ana).post(priority=11)
    assert answer.status in (400, 403), answer
    assert answer.error["target"] == "priority" and "10" in answer.error["message"], answer
    assert service.desk(ana).post(priority=10).status == 201
    assert service.desk(eva).post(priority=11).status == 201
    assert service.post(priority=1000).status == 201
    until_ended(service, [record["run_id"] for record in service.runs()], 60)


def test_the_highest_priorities_are_for_admins(make_service, ana, eva):
    """Without a configuration."""
    service = make_service()
    assert service.desk(ana).post(priority=100).status == 201
    answer = service.desk(ana).post(priority=101)
    assert (answer.status, answer.error["target"]) == (403, "priority"), answer
    assert service.desk(eva).post(priority=1000).status == 201
    until_ended(service, [record["run_id"] for record in service.runs()], 60)


def test_one_user_runs_no_more_at_once_than_allowed_and_the_rest_is_for_others(make_service, ana, ben):
    service = make_service(config={"max_running_runs": 3, "max_running_runs_per_user": 1})
    hers = [Job(service.desk(ana)) for _ in range(3)]
    hers[0].running()
    for job in hers[1:]:
        job.waits(r"limit|max_running_runs_per_user|at once|your")
    his = Job(service.desk(ben)).running()
    assert [job.status for job in hers] == ["Running", "Queued", "Queued"]
    hers[0].end()
    hers[1].running()
    assert hers[2].status == "Queued"
    for job in (hers[1], hers[2], his):
        job.end()


def test_one_users_cpus_are_bounded(make_service, ana, ben):
    service = make_service(config={"max_running_runs": 8, "cpus": 8, "max_cpus_per_user": 3})
    first = Job(service.desk(ana), resources={"cpus": 2}).running()
    second = Job(service.desk(ana), resources={"cpus": 2})
    second.waits("cpu")
    third = Job(service.desk(ben), resources={"cpus": 3}).running()
    answer = service.desk(ana).post(resources={"cpus": 4})
    assert answer.status == 400 and "cpu" in answer.error["message"].lower() and "3" in answer.error["message"], answer
    for job in (first, second, third):
        job.end()


def test_more_queued_runs_than_a_user_may_have_are_refused(make_service, ana, ben):
    service = make_service(config={"max_running_runs": 1, "max_queued_runs_per_user": 2})
    block = Job(service).running()
    mine = [quick(service.desk(ana)) for _ in range(2)]
    answer = service.desk(ana).post()
    assert answer.status == 429, answer
    assert "2" in answer.error["message"], answer
    done = service.desk(ana).amlctl("run", "main.py", cwd=service.desk(ana).source())
    assert "2" in one_line_error(done)
    theirs = quick(service.desk(ben))
    block.end()
    until_ended(service, [*mine, theirs], 60)
    assert service.desk(ana).finish(**QUICK)["status"] == "Completed"
    assert len(service.desk(ana).runs()) == 3, "a refused submit leaves nothing"


# -- slots ----------------------------------------------------------------------------------------


def test_what_never_fits_is_refused_and_says_what_there_is(make_service, ana):
    service = make_service(config={"cpus": 4, "memory_bytes": "1G", "gpus": "none"})
    for resources, words in (
        ({"cpus": 5}, "cpu.*4|4.*cpu"),
        ({"memory_bytes": 2 << 30}, "memory"),
        ({"gpus": 1}, "gpu"),
    ):
        answer = service.desk(ana).post(resources=resources)
        assert answer.status == 400, answer
        name = next(iter(resources))
        assert name in (answer.error["target"] or "") or name in answer.error["message"], answer
        assert re.search(words, answer.error["message"], re.I), answer


def test_cpus_and_memory_are_given_once(make_service, ana, ben):
    service = make_service(config={"max_running_runs": 8, "cpus": 4, "memory_bytes": "1G"})
    first = Job(service.desk(ana), resources={"cpus": 3, "memory_bytes": 256 << 20}).running()
    second = Job(service.desk(ben), resources={"cpus": 2})
    second.waits("cpu")
    third = Job(service.desk(ben), resources={"cpus": 1, "memory_bytes": 900 << 20}, max_run_duration_seconds=60)
    third.waits("memory")
    assert first.record["resources_granted"] == {"cpus": 3, "memory_bytes": 256 << 20, "gpus": []}
    status = service.status()
    assert status["cpus"] == {"total": 4, "used": 3}
    assert status["memory_bytes"] == {"total": 1 << 30, "used": 256 << 20}
    first.end()
    second.running()
    third.end()
    second.end()
    assert service.status()["cpus"]["used"] == 0
    assert service.status()["memory_bytes"]["used"] == 0
    assert second.record["resources_granted"] in (
        None,
        {"cpus": 2, "memory_bytes": 0, "gpus": []},
        {"cpus": 2, "memory_bytes": None, "gpus": []},
    )


def test_back_fill_takes_what_ends_in_time_and_never_delays_the_head(make_service, ana, ben):
    service = make_service(config={"max_running_runs": 8, "cpus": 4})
    wide = Job(service.desk(ben), resources={"cpus": 3}, max_run_duration_seconds=600).running()
    head = Job(service.desk(ana), resources={"cpus": 4}, max_run_duration_seconds=600)
    head.waits("cpu")
    long = Job(service.desk(ben), resources={"cpus": 1}, max_run_duration_seconds=7200)
    long.waits(".")
    short = Job(service.desk(ben), resources={"cpus": 1}, max_run_duration_seconds=60).running()
    assert (head.status, long.status) == ("Queued", "Queued"), "the long one would delay the head"
    short.end()
    wide.end()
    head.running()
    assert long.status == "Queued"
    head.end()
    long.end()


def test_queue_positions_are_ones_place_in_the_whole_queue(make_service, ana, ben):
    service = make_service(config={"max_running_runs": 1})
    block = Job(service).running()
    jobs = [Job(service.desk(user)) for user in (ana, ben, ana, ben)]
    positions = sorted(job.record["queue_position"] for job in jobs)
    assert positions == [1, 2, 3, 4]
    assert block.record["queue_position"] is None
    assert all(job.why for job in jobs)
    block.end()
    for job in sorted(jobs, key=lambda job: job.record["queue_position"] or 0):
        job.gate.open()
    records = until_ended(service, [job.id for job in jobs], 30)
    assert all(record["queue_position"] is None and record["waiting_for"] is None for record in records.values())


def test_status_says_who_holds_what(make_service, ana, ben):
    service = make_service(config={"max_running_runs": 2, "cpus": 4})
    jobs = [
        Job(service.desk(ana), resources={"cpus": 2}).running(),
        Job(service.desk(ben)).running(),
        Job(service.desk(ben)),
    ]
    for desk in (service, service.desk(ana)):
        users = {entry["user"]: entry for entry in desk.status()["users"]}
        assert (users[ana.name]["running"], users[ana.name]["queued"], users[ana.name]["cpus"]) == (1, 0, 2)
        assert (users[ben.name]["running"], users[ben.name]["queued"], users[ben.name]["cpus"]) == (1, 1, 1)
    text = service.desk(ana).ok("status")
    assert ana.name in text and ben.name in text, text
    assert jobs[2].id not in text, "a stranger's run is not named"
    listed = service.desk(ben).ok("list")
    assert re.search("waits for", listed, re.I), listed
    for job in jobs:
        job.gate.open()
    for job in jobs:
        job.end()


def test_a_thousand_queued_runs_leave_the_service_quick(make_service, ana, ben):
    service = make_service(config={"max_running_runs": 1})

    def status_takes():
        took = []
        for _ in range(20):
            began = time.monotonic()
            service.status()
            took.append(time.monotonic() - began)
        return sorted(took)[10]

    before = status_takes()
    block = Job(service).running()
    desks = [service.desk(user) for user in (ana, ben)]
    bodies = [desk.request("pass", **QUICK) for desk in desks]
    runs = []
    for number in range(1000):
        answer = desks[number % 2].api("POST", "/v1/runs", bodies[number % 2])
        assert answer.status == 201, answer
        runs.append(answer.json["run_id"])
    during = at_best(status_takes, lambda took: took < 10 * before + 0.2)
    assert during < 10 * before + 0.2, (before, during)
    began = time.monotonic()
    block.end()
    wait_for(lambda: service.record(runs[0])["status"] in ENDED, "the head goes on")
    assert time.monotonic() - began < 20
    assert service.api("POST", "/v1/drain", {}).status == 200
    for run in runs:
        service.api("POST", f"/v1/runs/{run}/cancel")
    until_ended(service, runs, 60)


# -- hold, release, drain -------------------------------------------------------------------------


def act(desk, run, what):
    return desk.api("POST", f"/v1/runs/{run}/{what}")


def test_a_run_is_held_and_released_by_its_owner_and_an_admin(make_service, ana, ben, eva):
    service = make_service()
    for who in (service.desk(ana), service.desk(eva), service):
        job = Job(service.desk(ana), hold=True)
        job.waits("held|hold")
        assert job.record["held_by"], job.record
        answer = act(who, job.id, "release")
        assert (answer.status, answer.json["held_by"]) == (200, None), answer
        job.running()
        assert act(who, job.id, "hold").status == 409, "it is not queued any more"
        job.end()
    job = Job(service.desk(ana), hold=True)
    for what in ("hold", "release"):
        assert act(service.desk(ben), job.id, what).status == 404
    job.waits("held|hold")
    act(service, job.id, "release")
    job.end()


def test_a_held_run_holds_up_nobody_and_keeps_its_place(make_service, ana):
    service = make_service(config={"max_running_runs": 1})
    block = Job(service).running()
    desk = service.desk(ana)
    first, second, third = quick(desk), quick(desk), quick(desk)
    for _ in range(2):
        answer = act(desk, first, "hold")
        assert (answer.status, answer.json["held_by"]) == (200, ana.name), answer
    act(desk, second, "hold")
    for _ in range(2):
        assert act(desk, second, "release").status == 200
    block.end()
    assert order(until_ended(service, [second, third], 30)) == [second, third]
    assert desk.record(first)["status"] == "Queued"
    act(desk, first, "release")
    assert desk.ended(first)["status"] == "Completed"


def test_what_an_admin_holds_its_owner_does_not_release(make_service, ana, eva):
    service = make_service(config={"max_running_runs": 1})
    block = Job(service).running()
    run = quick(service.desk(ana))
    answer = act(service.desk(eva), run, "hold")
    assert answer.json["held_by"] == eva.name
    assert act(service.desk(ana), run, "release").status == 403
    record = service.desk(ana).record(run)
    assert record["held_by"] == eva.name
    told = f"held by {eva.name}: only an admin may release it; ask {eva.name} or another"
    assert record["waiting_for"] == told
    assert service.desk(ana).amlctl("release", run).stderr.decode() == f"amlctl: {run} is {told}\n"
    assert act(service.desk(eva), run, "release").status == 200
    block.end()
    assert service.desk(ana).ended(run)["status"] == "Completed"


def test_a_held_run_is_held_after_a_restart_and_can_be_cancelled(make_service, ana):
    service = make_service()
    job = Job(service.desk(ana), hold=True)
    service.terminate()
    service.start()
    job.waits("held|hold")
    service.desk(ana).cancel(job.id)
    assert service.desk(ana).ended(job.id)["error"]["code"] == "CanceledByUser"


def test_hold_and_release_by_amlctl(make_service, ana):
    service = make_service()
    desk = service.desk(ana)
    run = desk.ok("run", "-d", "--hold", "main.py", cwd=desk.source()).strip()
    assert desk.record(run)["held_by"] == ana.name
    desk.ok("release", run)
    assert desk.ended(run)["status"] == "Completed"
    assert desk.amlctl("hold", run).returncode == 125


def test_drained_nothing_starts_what_runs_goes_on_and_a_restart_does_not_change_that(make_service, ana, eva):
    service = make_service()
    desk = service.desk(ana)
    running = Job(desk).running()
    service.desk(eva).ok("drain", "--reason", "new cards at noon")
    draining = desk.status()["draining"]
    assert (draining["by"], draining["reason"]) == (eva.name, "new cards at noon"), draining
    waiting = Job(desk)
    waiting.waits("new cards at noon")
    assert running.status == "Running"
    service.kill()
    service.start()
    assert desk.status()["draining"] == draining
    waiting.waits("new cards at noon")
    running.end()
    waiting.waits("new cards at noon")
    assert act(desk, waiting.id, "release").status == 200 and waiting.status == "Queued"
    assert desk.api("POST", "/v1/resume", {}).status == 403
    service.desk(eva).ok("resume")
    waiting.running().end()
    assert desk.status()["draining"] is None
    service.terminate()
    service.start()
    assert desk.finish(**QUICK)["status"] == "Completed"
    actions = [
        (event["action"], event["user"]) for name in ("drain", "resume") for event in service.events(name, result="ok")
    ]
    assert actions == [("drain", eva.name), ("resume", eva.name)]


# -- after ----------------------------------------------------------------------------------------


def follow(run, condition="afterok"):
    return [{"run_id": run, "condition": condition}]


def test_a_run_comes_after_the_one_it_names(make_service, ana):
    service = make_service()
    desk = service.desk(ana)
    first = Job(desk).running()
    second = Job(desk, after=follow(first.id))
    second.waits(first.id)
    service.terminate()
    service.start()
    second.waits(first.id)
    first.end()
    second.running().end()


@pytest.mark.parametrize("ending", ["Failed", "Canceled", "deleted"])
def test_afterok_ends_with_the_run_it_waits_for_and_afterany_starts(make_service, ana, ending):
    service = make_service()
    desk = service.desk(ana)
    first = desk.submit("raise SystemExit(3)", hold=True, **QUICK)
    strict, loose = quick(desk, after=follow(first)), quick(desk, after=follow(first, "afterany"))
    chained = quick(desk, after=follow(strict))
    if ending == "Failed":
        act(desk, first, "release")
    else:
        desk.cancel(first)
    desk.ended(first)
    if ending == "deleted":
        assert desk.api("DELETE", f"/v1/runs/{first}").status == 204
    for run in (strict, chained):
        record = desk.ended(run)
        assert (record["status"], record["error"]["code"]) == ("Failed", "SetupError"), record
    assert first in desk.record(strict)["error"]["message"]
    assert desk.ended(loose)["status"] == "Completed"


def test_after_an_other_users_shared_run(make_service, ana, ben):
    service = make_service()
    first = Job(service.desk(ben), share=True).running()
    second = Job(service.desk(ana), after=follow(first.id[:-2]))
    assert second.record["after"] == follow(first.id), "stored whole"
    second.waits(first.id)
    first.end()
    second.running().end()


def test_how_a_run_ended_that_is_shared_no_more_is_not_told_to_who_follows_it(make_service, ana, ben):
    service = make_service()
    owner, follower = service.desk(ben), service.desk(ana)
    first = quick(owner, share=True, hold=True)
    second = quick(follower, after=follow(first))
    owner.ok("share", "--off", first)
    owner.cancel(first)
    record = follower.ended(second)
    assert record["error"]["code"] == "SetupError", record
    assert "did not complete" in record["error"]["message"], record
    assert "cancel" not in record["error"]["message"].lower(), record


def test_after_on_the_command_line(make_service, ana):
    service = make_service()
    desk = service.desk(ana)
    folder = desk.source("print('done')")
    first = desk.ok("run", "-d", "--hold", "main.py", cwd=folder).strip()
    second = desk.ok("run", "-d", "--after", first, "main.py", cwd=folder).strip()
    third = desk.ok("run", "-d", "--after", f"afterany:{first},afterok:{second}", "main.py", cwd=folder).strip()
    assert desk.record(third)["after"] == follow(first, "afterany") + follow(second)
    desk.ok("release", first)
    records = until_ended(desk, [first, second, third], 30)
    assert order(records) == [first, second, third]
