# SPDX-License-Identifier: MIT
"""What nobody else may see: files below the state folder, processes, submitters' environments."""

import json
import os
import re
import shlex
import stat
import threading

import harness
import pytest
from harness import GATE_MODULE, PYTHON, Gate, wait_for

# -- on disk --------------------------------------------------------------------------------------

# Which of these paths can this process open, list, or write in?
PROBE = r"""
import os, stat, sys
for path in sys.stdin.buffer.read().split(b"\0"):
    try:
        info = os.lstat(path)
    except OSError:
        continue
    if stat.S_ISDIR(info.st_mode):
        for what, mode in (("list", os.R_OK), ("write", os.W_OK)):
            if os.access(path, mode):
                sys.stdout.buffer.write(what.encode() + b" " + path + b"\0")
    elif not stat.S_ISLNK(info.st_mode):
        for what, flags in (("read", os.O_RDONLY), ("write", os.O_WRONLY)):
            try:
                os.close(os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW))
            except OSError:
                continue
            sys.stdout.buffer.write(what.encode() + b" " + path + b"\0")
"""


def everything_below(folder):
    top = os.fsencode(str(folder))
    return [top] + [os.path.join(base, name) for base, folders, files in os.walk(top) for name in folders + files]


def allowed(user, service):
    """What this user can do on disk: {"read PATH", ...} of all that is there, found by root, tried by him."""
    paths = b"\0".join(everything_below(service.state))
    done = user.run(PYTHON, "-c", PROBE, input=paths)
    assert done.returncode == 0, done
    return {os.fsdecode(entry) for entry in done.stdout.split(b"\0") if entry}


def found_by_find(user, service):
    done = user.run("find", service.state, "-mindepth", "1", "(", "-readable", "-o", "-writable", ")", "-print0")
    return [entry for entry in done.stdout.split(b"\0") if entry]


@pytest.fixture
def busy(make_service, ana, ben):
    """A service with runs of ben's in every state; the gate of the running one."""
    service = make_service()
    desk = service.desk(ben)
    gate = Gate(ben.home, f"busy{next(service.counter)}")
    source = {
        "main.py": f"open('outputs/x', 'w').write('o'); print('words', flush=True)\n{gate.code}",
        "gate.py": GATE_MODULE,
    }
    runs = {
        "completed": desk.finish(source | {"main.py": "print(1)"})["run_id"],
        "failed": desk.finish(source | {"main.py": "open('outputs/x', 'w'); raise SystemExit(3)"})["run_id"],
        "running": desk.submit(source),
        "held": desk.submit(source, hold=True),
    }
    desk.printed(runs["running"])
    wait_for(lambda: not desk.work(runs["completed"]).parent.exists(), "the folder of the completed one goes")
    wait_for(lambda: not (desk.work(runs["failed"]).parent / "exit").exists(), "what is spent of the failed one goes")
    yield service, runs
    gate.open()
    desk.ended(runs["running"])
    desk.cancel(runs["held"])
    gate.path.unlink()


def test_a_stranger_can_do_nothing_below_the_state_folder(busy, ana, otto):
    service, _ = busy
    for user in (ana, otto):
        assert allowed(user, service) == set()
        assert found_by_find(user, service) == []


def test_an_owner_can_touch_his_work_and_his_log_alone(busy, ben):
    service, runs = busy
    running, failed = (str(service.state / "runs" / runs[name]) for name in ("running", "failed"))
    mine = allowed(ben, service)
    rest = {
        entry
        for entry in mine
        if not re.match(rf"\w+ (?:{re.escape(running)}|{re.escape(failed)})/(?:work(?:/.*)?|std_log\.txt)$", entry)
    }
    assert rest == set()
    assert f"read {running}/work/outputs/x" in mine
    assert f"read {running}/std_log.txt" in mine


def test_folders_of_the_state_are_as_the_design_says(busy):
    service, runs = busy
    modes = {"": 0o711, "runs": 0o711, "blobs": 0o700, "index": 0o700, "history.db": 0o600}
    for name, mode in modes.items():
        info = os.stat(service.state / name)
        assert (info.st_uid, stat.S_IMODE(info.st_mode)) == (0, mode), name
    for name in everything_below(service.state):
        info = os.lstat(name)
        assert stat.S_ISLNK(info.st_mode) or not info.st_mode & 0o022, (name, oct(info.st_mode))


def test_the_state_of_a_stranger_is_safe_against_a_new_umask_of_his(make_service, ana, ben):
    service = make_service()
    ben.ok(
        "/bin/sh",
        "-c",
        f"umask 0; exec {shlex.quote(harness.AMLCTL)} run main.py",
        cwd=service.desk(ben).source(),
        env=service.desk(ben).env,
    )
    ben.run(
        "/bin/sh",
        "-c",
        f"umask 0; exec {shlex.quote(harness.AMLCTL)} run main.py",
        cwd=service.desk(ben).source("raise SystemExit(1)"),
        env=service.desk(ben).env,
    )
    assert allowed(ana, service) == set()


def test_the_socket_is_there_for_all_and_nobody_can_replace_it(service, ana):
    info = os.stat(service.socket)
    assert stat.S_ISSOCK(info.st_mode) and info.st_uid == 0
    done = ana.run("/bin/sh", "-c", f"rm -f {service.socket}; mv {service.socket} {service.socket}2")
    assert done.returncode != 0 and os.path.exists(service.socket)
    assert service.desk(ana).api("GET", "/healthz").status == 200


def doctor(desk):
    """{name: check} of `amlctl doctor`."""
    done = desk.amlctl("doctor", "--quick", "-o", "json", timeout=100)
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_the_doctor_knows_the_system_service_by_what_it_says_and_not_by_its_paths(service, ana, lab):
    for who in (service, service.desk(ana)):
        checks = doctor(who)
        assert checks["socket"]["result"] == "ok" and checks["socket"]["advice"] is None, checks["socket"]
        assert "one user's" not in checks["service"]["found"] + checks["groups"]["found"], checks
        assert who.status()["system"] is True
    checks = doctor(service)
    assert str(service.config) in checks["configuration"]["found"], checks["configuration"]
    assert f"root and the group {lab.admins}" in checks["groups"]["found"], checks["groups"]
    assert (service.status()["configuration_file"], service.desk(ana).status()["configuration_file"]) == (
        str(service.config), None)


def test_processes_of_a_run_are_not_a_strangers_to_look_into(busy, ana, ben):
    service, runs = busy
    pids = [pid for pid in ben.strays()]
    assert pids, "ben's run is running"
    look = (
        "import os, sys\nfor name in ('environ', 'cwd', 'fd', 'maps', 'root', 'mem'):\n    try:\n        p ="
        " f'/proc/{sys.argv[1]}/{name}'\n        print(name, os.readlink(p) if name in ('cwd', 'root') else"
        " os.listdir(p) if name == 'fd' else open(p, 'rb').read(1))\n    except OSError:\n        pass\n"
    )
    for pid in [*pids, service.pid]:
        assert ana.python(look, str(pid)) == "", pid


# -- what is secret -------------------------------------------------------------------------------


def test_a_submitters_environment_is_nowhere_once_the_run_is_over(make_service, ana, eva):
    """However it ended; and at no time in history, the log, an answer or a command line."""
    service = make_service()
    desk = service.desk(ana)
    secret = "s3cret" + os.urandom(12).hex()
    env = {**ana.env, "API_TOKEN": secret}
    seen, stop = set(), threading.Event()

    def watch_command_lines():
        while not stop.is_set():
            for entry in filter(str.isdigit, os.listdir("/proc")):
                try:
                    with open(f"/proc/{entry}/cmdline", "rb") as file:
                        if secret.encode() in file.read():
                            seen.add(entry)
                except OSError:
                    pass

    watcher = threading.Thread(target=watch_command_lines)
    watcher.start()
    try:
        runs = {
            "Completed": desk.submit("import os; assert os.environ['API_TOKEN']", submit_environment=env),
            "Failed": desk.submit("import os; os.environ['API_TOKEN'][10000]", submit_environment=env),
            "SetupError": desk.submit(submit_environment={**env, "PATH": "/nonexistent"}),
            "Canceled": desk.submit("import time; time.sleep(60)", submit_environment=env),
            "never": desk.submit(submit_environment=env, hold=True),
            "limit": desk.submit("import time; time.sleep(60)", submit_environment=env, max_run_duration_seconds=1),
            "after": desk.submit(submit_environment=env, hold=True),
        }
        desk.running(runs["Canceled"])
        history = {
            name
            for name in service.files_with(secret)
            if not re.search(r"/runs/[^/]+/(launch|environment|request)", name)
        }
        assert history == set(), "while runs wait and run it is only where nobody else reads it"
        for name in ("Canceled", "never", "after"):
            desk.cancel(runs[name])
        for name, run in runs.items():
            record = desk.ended(run)
            for viewer in (desk, service.desk(eva), service):
                assert secret not in json.dumps(viewer.record(run)), (name, record)
            assert secret.encode() not in desk.amlctl("show", run).stdout
        assert desk.record(runs["SetupError"])["error"]["code"] == "SetupError"
    finally:
        stop.set()
        watcher.join()
    assert seen == set()
    wait_for(lambda: service.files_with(secret) == [], "it goes with what is spent of the last run")
    assert secret not in json.dumps(service.desk(eva).runs())
    service.terminate()
    assert service.files_with(secret) == [], "nor after the service has closed its history"
    service.start()


def test_a_request_that_is_refused_leaves_nothing_of_its_environment(service, ana):
    desk = service.desk(ana)
    secret = "s3cret" + os.urandom(12).hex()
    env = {**ana.env, "API_TOKEN": secret}
    for fields in (
        {"source_directory": "/nowhere"},
        {"script": "absent.py"},
        {"nonsense": 1},
        {"resources": {"gpus": 900}},
    ):
        answer = desk.post(submit_environment=env, **fields)
        assert answer.status == 400, answer
        assert secret.encode() not in answer.body
    for body in (json.dumps({"submit_environment": {secret: secret}}), '{"submit_environment": {"A": "%s' % secret):
        assert secret.encode() not in desk.api("POST", "/v1/runs", body).body
    assert service.files_with(secret) == []
