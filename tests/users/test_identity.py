# SPDX-License-Identifier: MIT
"""A run of the system service is its submitter's: his rights, his limits and his end; and it is nobody else's."""

import json
import re
import shlex
import signal
import subprocess
from pathlib import Path

import harness
import pytest
from harness import GATE_MODULE, PYTHON, Gate, read_when_there, wait_for
from load import CLIENT
from users_harness import WHO_AM_I, held, release, told

# -- who a run is ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ana_s_run(service, ana):
    desk = service.desk(ana)
    return told(desk, desk.submit(WHO_AM_I))


def test_a_run_has_the_submitters_ids_and_groups_and_no_way_back(ana_s_run, ana):
    assert ana_s_run["uids"] == [ana.uid] * 3
    assert ana_s_run["gids"] == [ana.gid] * 3
    assert ana_s_run["groups"] == sorted(ana.groups)
    assert len(ana_s_run["groups"]) > 1, "the test's user is in a second group"


def test_a_run_of_a_user_has_no_capability(ana_s_run):
    assert {int(kind, 16) for kind in ana_s_run["capabilities"]} == {0}


def test_files_that_a_run_makes_are_not_for_others_to_change(ana_s_run):
    assert ana_s_run["umask"] & 0o022 == 0o022, oct(ana_s_run["umask"])


def test_a_run_has_the_submitters_home(ana_s_run, ana):
    assert ana_s_run["home"] == str(ana.home)
    assert ana_s_run["environment"]["HOME"] == str(ana.home)


def test_nothing_of_the_services_environment_or_files_comes_with_a_run(ana_s_run, service):
    assert service.canary not in ana_s_run["environment"]
    assert "AMLAGENT_SOCKET" not in ana_s_run["environment"]
    opened = [
        name
        for name in ana_s_run["descriptors"]
        if name != "/dev/null" and not name.endswith("std_log.txt") and not re.match(r"/proc/\d+/fd$", name)
    ]
    assert opened == []
    assert ana_s_run["session"], "a run is in a session of its own"


def test_the_home_of_a_run_without_submit_environment_is_not_roots(service, ana):
    desk = service.desk(ana)
    found = told(
        desk, desk.submit(WHO_AM_I, submit_environment={}, environment={"python": {"interpreter_path": PYTHON}})
    )
    assert found["environment"].get("HOME") in (None, str(ana.home))
    assert found["home"] == str(ana.home)
    assert service.canary not in found["environment"]


def test_root_s_own_run_is_root_s(service):
    record = service.finish("import os; print(os.getresuid(), os.getgid())")
    assert record["status"] == "Completed", record
    assert service.std_log(record["run_id"]) == b"(0, 0, 0) 0\n"
    assert record["submitted_by"] == "root"


def test_the_record_says_who_submitted_it(service, ana, ben):
    for user in (ana, ben):
        desk = service.desk(user)
        assert desk.finish()["submitted_by"] == user.name


def test_a_run_is_limited_as_the_shell_was_that_submitted_it(service, ana):
    desk = service.desk(ana)
    folder = desk.source(WHO_AM_I)
    limits = "ulimit -n 321; ulimit -c 0; ulimit -f 4000000; ulimit -St 777"
    command = f"{limits}; exec {shlex.quote(harness.AMLCTL)} run main.py"
    printed = ana.ok("/bin/bash", "-c", command, cwd=folder, env=desk.env)
    limits = json.loads(printed)["limits"]
    assert limits["RLIMIT_NOFILE"] == [321, 321]
    assert limits["RLIMIT_CORE"] == [0, 0]
    assert limits["RLIMIT_FSIZE"] == [4000000 * 1024] * 2
    assert limits["RLIMIT_CPU"][0] == 777


# A child connects and ends; its parent, who has the socket from it, submits.
SUBMIT_OF_A_DEAD_CLIENT = """
import os, socket, sys
path, body = sys.argv[1:]
ours, theirs = socket.socketpair()
child = os.fork()
if child == 0:
    line = socket.socket(socket.AF_UNIX)
    line.connect(path)
    socket.send_fds(theirs, [b"x"], [line.fileno()])
    os._exit(0)
line = socket.socket(fileno=socket.recv_fds(ours, 1, 1)[1][0])
os.waitpid(child, 0)
line.sendall(f"POST /v1/runs HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}".encode())
print(line.recv(65536).decode())
"""


def test_limits_are_not_shed_by_a_client_that_has_gone(service, ana):
    desk = service.desk(ana)
    before = desk.runs()
    body = json.dumps(desk.request(source_directory=str(desk.source(WHO_AM_I))))
    answer = ana.ok(PYTHON, "-c", SUBMIT_OF_A_DEAD_CLIENT, service.socket, body)
    assert answer.startswith("HTTP/1.1 403 ") and "ulimit" in answer, answer
    assert desk.runs() == before


def test_limits_are_those_at_the_submit_also_when_it_starts_later(service, ana):
    desk = service.desk(ana)
    folder = desk.source(WHO_AM_I)
    command = f"ulimit -n 222; exec {shlex.quote(harness.AMLCTL)} run -d --hold main.py"
    run = ana.ok("/bin/bash", "-c", command, cwd=folder, env=desk.env).strip()
    answer = desk.api("POST", f"/v1/runs/{run}/release")
    assert answer.status == 200, answer
    assert told(desk, run)["limits"]["RLIMIT_NOFILE"] == [222, 222]


# -- nobody else ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field",
    ["user", "uid", "gid", "groups", "submitted_by", "run_as", "as", "owner", "identity", "submitter", "shared_gid"],
)
def test_no_field_of_a_request_says_who_one_is(service, ana, field):
    desk = service.desk(ana)
    for value in ("root", 0, {"uid": 0}):
        answer = desk.post(**{field: value})
        assert answer.status == 400, answer
        assert field in answer.error["target"], answer


def test_no_header_says_who_one_is(service, ana):
    desk = service.desk(ana)
    headers = {name: "root" for name in ("X-Remote-User", "X-Forwarded-User", "User", "From", "X-Uid", "Remote-User")}
    headers["Authorization"] = "Basic cm9vdDo="
    answer = desk.api("POST", "/v1/runs", desk.request("import os; print(os.getuid())"), headers=headers)
    assert answer.status == 201, answer
    run = answer.json["run_id"]
    assert desk.ended(run)["submitted_by"] == ana.name
    assert desk.std_log(run) == b"%d\n" % ana.uid


def test_variables_that_name_root_make_nobody_root(service, ana):
    desk = service.desk(ana)
    root = {"USER": "root", "LOGNAME": "root", "HOME": "/root", "UID": "0", "EUID": "0", "SUDO_UID": "0"}
    record = desk.finish(
        "import os; print(os.getuid())",
        submit_environment={**ana.env, **root},
        environment={"environment_variables": root},
    )
    assert record["status"] == "Completed", record
    assert desk.std_log(record["run_id"]) == b"%d\n" % ana.uid
    assert record["submitted_by"] == ana.name


def test_root_of_a_user_namespace_is_who_made_it(service, ana):
    desk = service.desk(ana)
    if ana.run("unshare", "--user", "--map-root-user", "true").returncode != 0:
        pytest.skip("users may make no user namespaces here")
    code = CLIENT + """
line = Line(sys.argv[1])
print(json.loads(ask(line, "GET", "/v1/status")[1])["admin"], ask(line, "POST", "/v1/drain", "{}")[0])
status, data, _ = ask(line, "POST", "/v1/runs", sys.argv[2])
print(status, json.loads(data)["run_id"])
"""
    request = json.dumps(desk.request("import os; print(os.getuid())"))
    told = ana.ok("unshare", "--user", "--map-root-user", PYTHON, "-c", code, service.socket, request).split()
    assert told[:3] == ["False", "403", "201"], told
    assert desk.ended(told[3])["submitted_by"] == ana.name
    assert desk.std_log(told[3]) == b"%d\n" % ana.uid


def test_a_uid_that_is_nobodys_is_refused_in_words(service, lab):
    """As from a container, or of a user who was deleted while he was logged in."""
    folder = harness.write_tree(lab.root / "anybodys", {"main.py": "print(1)"})
    done = subprocess.run(
        [harness.AMLCTL, "run", "main.py"],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "AMLAGENT_SOCKET": service.socket},
        user=54321,
        group=54321,
        extra_groups=[],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        timeout=30,
    )
    assert "54321" in harness.one_line_error(done)
    assert not [record for record in service.runs() if record["submitted_by"] == "54321" and record["exit_code"] == 0]


SPY = r"""
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void tell(void)
{
	char line[64];
	int size = snprintf(line, sizeof(line), "%d %d %d\n", getuid(), geteuid(), getgid());
	int fd = open(getenv("SPY_TELLS"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);

	if (fd < 0 || write(fd, line, (size_t)size) != size)
		_exit(86);
	close(fd);
}
"""


def test_code_that_a_submitters_environment_loads_never_runs_as_root(service, ana):
    """LD_PRELOAD, BASH_ENV, PYTHONPATH, a python of his own on PATH: all that the service starts with them is his."""
    desk = service.desk(ana)
    told_to = ana.home / "who-loaded-the-spy"
    tell = f"""id -u >>{told_to}; id -g >/dev/null\n"""
    folder = ana.write(
        {
            "spy.c": SPY,
            "bin/python": (f'#!/bin/sh\n{tell}exec {PYTHON} "$@"\n', 0o755),
            "bin/git": (f'#!/bin/sh\n{tell}exec /usr/bin/git "$@"\n', 0o755),
            "rc": tell,
            "site/sitecustomize.py": f"import os; print(os.getuid(), file=open({str(told_to)!r}, 'a'))\n",
        }
    )
    ana.ok("gcc", "-shared", "-fPIC", "-o", folder / "spy.so", folder / "spy.c")
    env = {
        **ana.env,
        "PATH": f"{folder}/bin:{ana.env['PATH']}",
        "LD_PRELOAD": str(folder / "spy.so"),
        "BASH_ENV": str(folder / "rc"),
        "ENV": str(folder / "rc"),
        "PYTHONPATH": str(folder / "site"),
        "SPY_TELLS": str(told_to),
        "LD_LIBRARY_PATH": str(folder),
        "LD_AUDIT": str(folder / "spy.so"),
    }
    record = desk.finish("import os; print(os.getuid())", submit_environment=env)
    assert record["status"] == "Completed", (record, desk.std_log(record["run_id"]))
    seen = told_to.read_text().splitlines()
    assert seen, "the spy was loaded at all"
    assert {word for line in seen for word in line.split()} <= {str(ana.uid), str(ana.gid)}, seen
    assert told_to.stat().st_uid == ana.uid


# -- the end --------------------------------------------------------------------------------------

FAMILY = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for depth in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 3)
            os.environ.clear()
            while True:
                time.sleep(60)
        os._exit(0)
    os.wait()
open("outputs/ready", "w")
while True:
    time.sleep(60)
"""


@pytest.mark.parametrize("how", ["cancel", "limit"])
def test_all_processes_of_a_run_end_though_they_are_another_users(service, ana, how):
    desk = service.desk(ana)
    before = set(ana.strays())
    run = desk.submit(FAMILY, **({"max_run_duration_seconds": 10} if how == "limit" else {}))
    wait_for(lambda: (desk.work(run) / "outputs/ready").exists(), "the family is there")
    wait_for(lambda: len(set(ana.strays()) - before) == 4, "and nothing else of hers")
    if how == "cancel":
        desk.cancel(run)
    record = desk.ended(run)
    assert record["status"] == "Canceled", record
    assert record["error"]["code"] == {"cancel": "CanceledByUser", "limit": "MaxRunDurationExceeded"}[how]
    wait_for(lambda: not set(ana.strays()) - before, "no process of the run is left")


def test_a_user_may_end_his_own_processes_and_it_is_told(service, ana):
    desk = service.desk(ana)
    run = desk.submit("import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)")
    pid = wait_for(lambda: (desk.work(run) / "pid").exists() and (desk.work(run) / "pid").read_text(), "it runs")
    ana.ok("kill", "-KILL", pid)
    record = desk.ended(run)
    assert (record["status"], record["signal"]) == ("Failed", signal.SIGKILL), record


def memory_is_limited():
    """Is there a cgroup v2 hierarchy with the memory controller?"""
    return any(
        "memory" in Path(line.split()[1], "cgroup.controllers").read_text().split()
        for line in Path("/proc/mounts").read_text().splitlines()
        if line.split()[2] == "cgroup2"
    )


def test_a_memory_limit_is_in_force_or_the_record_says_that_it_was_not(service, ana):
    desk = service.desk(ana)
    record = desk.finish("x = bytearray(200 << 20); print(len(x))", resources={"memory_bytes": 64 << 20})
    if memory_is_limited():
        assert (record["status"], record["error"]["code"]) == ("Failed", "OutOfMemory"), record
    else:
        assert record["status"] == "Completed", record
        said = [text for text in record["warnings"] if "memory" in text]
        assert len(said) == 1 and re.search("not (enforced|in force|limited)", said[0]), record


def test_a_run_that_asked_for_no_limit_is_not_told_of_any(service, ana):
    record = service.desk(ana).finish()
    assert record["warnings"] == []


# -- what was written down ------------------------------------------------------------------------


def test_a_submit_and_a_cancel_are_in_the_audit_with_who_did_it(make_service, ana, eva):
    service = make_service()
    run = held(service.desk(ana))
    service.desk(eva).cancel(run)
    submits = service.events("submit", run=run)
    cancels = service.events("cancel", run=run)
    assert [(event["user"], event["uid"], event["result"]) for event in submits] == [(ana.name, str(ana.uid), "ok")]
    assert [(event["user"], event["uid"], event["result"]) for event in cancels] == [(eva.name, str(eva.uid), "ok")]


def test_the_service_comes_back_to_the_runs_of_all_users(make_service, ana, ben):
    service = make_service()
    gates, runs = {}, {}
    for user in (ana, ben):
        gates[user.name] = Gate(user.home, "restart")
        source = {
            "main.py": f"import os\n{gates[user.name].code}\nprint(os.getuid())\nopen('outputs/x', 'w')",
            "gate.py": GATE_MODULE,
        }
        runs[user.name] = service.desk(user).submit(source)
    queued = {user.name: held(service.desk(user), WHO_AM_I) for user in (ana, ben)}
    for user in (ana, ben):
        service.desk(user).running(runs[user.name])
    service.kill()
    service.start()
    for user in (ana, ben):
        gates[user.name].open()
    for user in (ana, ben):
        desk = service.desk(user)
        assert desk.ended(runs[user.name])["status"] == "Completed"
        assert desk.std_log(runs[user.name]) == b"%d\n" % user.uid
        release(service, queued[user.name])
        assert told(desk, queued[user.name])["uids"] == [user.uid] * 3
        gates[user.name].path.unlink()


def test_a_restart_cannot_be_used_to_become_root(make_service, ana):
    """What the service reads again at its start is nothing that a user could have written."""
    service = make_service()
    desk = service.desk(ana)
    run = held(desk, "import os; print(os.getuid())")
    assert read_when_there(service.log)
    service.kill()
    place = service.state / "runs" / run
    done = ana.run(
        "/bin/sh",
        "-c",
        f"echo x >>{place}/launch; echo x >{place}/exit; mv {place} {place}x; rm -rf {place}; ls {place}",
    )
    assert done.returncode != 0
    service.start()
    release(service, run)
    assert desk.ended(run)["status"] == "Completed"
    assert desk.std_log(run) == b"%d\n" % ana.uid
