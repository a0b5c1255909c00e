# SPDX-License-Identifier: MIT
"""Users who are deleted, renumbered, moved or leave a group while their runs wait or run."""

import contextlib
import os
import re
import shutil

from harness import GATE_MODULE, PYTHON, Gate, wait_for
from lab import admin_tool, end_processes_of, processes_of, user_database
from users_harness import WHO_AM_I, held, release, told


@contextlib.contextmanager
def deleted(user):
    """The user is gone, whatever of his still runs; tests beside this one give nobody his number meanwhile."""
    user.forget_login()
    with user_database():
        admin_tool("userdel", "--force", user.name)
        yield


def test_a_run_whose_submitter_was_deleted_meanwhile_is_a_setup_error_in_words(make_service, make_user):
    service = make_service()
    gone = make_user("gone")
    run = held(service.desk(gone), "open('/tmp/never', 'w')")
    uid, name = gone.uid, gone.name
    with deleted(gone):
        end_processes_of(uid)
        release(service, run)
        record = service.ended(run)
    assert (record["status"], record["error"]["code"]) == ("Failed", "SetupError"), record
    assert str(uid) in record["error"]["message"] or name in record["error"]["message"], record
    assert re.search(r"gone|no longer|no such user|does not exist", record["error"]["message"]), record
    assert service.finish()["status"] == "Completed", "the queue goes on"


def test_a_run_whose_submitters_number_is_another_users_by_now_is_not_started(make_service, make_user):
    service = make_service()
    gone, heir = make_user("gone"), make_user("heir")
    run = held(service.desk(gone), "import os; os.system('id')")
    uid, name = gone.uid, gone.name
    with deleted(gone):
        end_processes_of(uid)
        admin_tool("usermod", "--uid", str(uid), heir.name)
    release(service, run)
    record = service.ended(run)
    assert (record["status"], record["error"]["code"]) == ("Failed", "SetupError"), record
    assert name in record["error"]["message"] and heir.name in record["error"]["message"], record
    assert record["start_time_utc"] is None, "nothing of it has run"


def test_a_run_whose_submitter_is_deleted_while_it_runs_ends_with_its_outputs(make_service, make_user):
    service = make_service()
    gone = make_user("leaver")
    desk = service.desk(gone)
    gate = Gate("/var/tmp", f"amlt-gate-{os.getpid()}")
    source = {
        "main.py": f"open('outputs/x', 'w').write('mine')\nopen('ready', 'w')\n{gate.code}",
        "gate.py": GATE_MODULE,
    }
    run = desk.submit(source)
    try:
        wait_for(lambda: (desk.work(run) / "ready").exists(), "the run waits at the gate")
        with deleted(gone):
            gate.open()
            record = service.ended(run)
            wait_for(lambda: not processes_of(gone.uid), "nothing of his is left")
    finally:
        gate.open()
        gate.path.unlink()
    assert record["status"] == "Completed", record
    assert service.artifact(run, "outputs/x") == b"mine"


def test_a_group_that_was_left_before_the_start_is_not_had_any_more(service, make_user, lab):
    user = make_user("member")
    group = lab.group("projects", user)
    desk = service.desk(user)
    run = held(desk, WHO_AM_I)
    lab.leave(user, group)
    release(service, run)
    assert told(desk, run)["groups"] == sorted(user.groups) == [user.gid]


def test_a_run_finds_the_home_that_the_submitter_has_when_it_starts(service, make_user, lab):
    """The home moves while the run is queued: what was submitted is in the snapshot, and the run starts."""
    user = make_user("mover")
    desk = service.desk(user)
    sent = held(desk, WHO_AM_I)
    bare = held(desk, WHO_AM_I, submit_environment={}, environment={"python": {"interpreter_path": PYTHON}})
    new = lab.root / "home/moved"
    user.forget_login()
    wait_for(lambda: not processes_of(user.uid), "he uses nothing that is moved")
    with user_database():
        admin_tool("usermod", "--home", str(new), "--move-home", user.name)
    for run in (sent, bare):
        release(service, run)
    assert told(desk, sent)["environment"]["HOME"] == str(user.home), "the environment is the submitter's own"
    found = told(desk, bare)
    assert found["environment"].get("HOME") in (None, str(new))
    assert found["home"] == str(new)


def test_a_user_without_a_home_can_run(service, make_user):
    user = make_user("homeless")
    desk = service.desk(user)
    run = held(desk, WHO_AM_I)
    shutil.rmtree(user.home)
    try:
        release(service, run)
        assert told(desk, run)["uids"] == [user.uid] * 3
    finally:
        user.home.mkdir(mode=0o700)
        user.own(user.home)
