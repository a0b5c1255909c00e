# SPDX-License-Identifier: MIT
"""A run of the system service is its submitter's: his rights, his limits, his files; and it is nobody else's."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import fuse_folder
import harness
import pytest
from harness import GATE_MODULE, PYTHON, Gate, read_when_there, wait_for
from lab import admin_tool, end_processes_of, processes_of, user_database
from load import CLIENT
from users_harness import at_the_gate

WHO_AM_I = """
import json, os, resource
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
os.umask(mask := os.umask(0o077))
print(json.dumps({
    "uids": os.getresuid(), "gids": os.getresgid(), "groups": sorted(os.getgroups()), "umask": mask,
    "capabilities": [status[f"Cap{kind}"].strip() for kind in ("Inh", "Prm", "Eff", "Amb")],
    "limits": {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name[:7] == "RLIMIT_"},
    "environment": dict(os.environ), "home": os.path.expanduser("~"), "cwd": os.getcwd(),
    "descriptors": sorted(os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
                          if os.path.lexists(f"/proc/self/fd/{fd}")),
    "session": os.getsid(0) == os.getpid(),
}))
"""


def told(desk, run):
    """What WHO_AM_I found in a run that Completed."""
    record = desk.ended(run)
    assert record["status"] == "Completed", record
    return json.loads(desk.std_log(run))


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


# -- his files ------------------------------------------------------------------------------------


def test_a_source_folder_that_only_the_submitter_can_enter_is_taken(service, ana):
    desk = service.desk(ana)
    folder = ana.write({"main.py": ("print(open('data/x').read())", 0o600), "data/x": ("mine", 0o400)})
    os.chmod(folder, 0o700)
    os.chmod(folder / "data", 0o500)
    record = desk.finish(source_directory=str(folder))
    assert record["status"] == "Completed", record
    assert desk.std_log(record["run_id"]) == b"mine\n"


def test_another_users_folder_is_refused_as_the_shell_would(service, ana, ben):
    folder = ben.write({"main.py": "print('private')", "nested/main.py": "print('private')"})
    for path in (folder, folder / "nested"):
        answer = service.desk(ana).post(source_directory=str(path))
        assert answer.status == 400, answer
        assert answer.error["target"] == "source_directory", answer
        assert re.search("permission|denied|may not", answer.error["message"], re.I), answer
    gone = service.desk(ana).post(source_directory=str(folder / "not-there"))
    assert gone.error["message"].replace("not-there", "nested") == answer.error["message"], "tells whether it is there"


def test_a_file_that_only_root_can_read_is_not_read_for_a_user(service, ana, lab):
    desk = service.desk(ana)
    folder = ana.write({"main.py": "print(1)", "data/theirs": "x"})
    shutil.copy(lab.secret, folder / "data/theirs")
    os.chown(folder / "data/theirs", 0, 0)
    os.chmod(folder / "data/theirs", 0o600)
    answer = desk.post(source_directory=str(folder))
    assert answer.status == 400, answer
    assert "data/theirs" in answer.error["message"], answer
    assert service.files_with(lab.secret.read_bytes().strip()) == []


def test_what_the_submitter_can_read_by_a_group_alone_is_taken(service, ana, ben, lab):
    folder = ben.write({"main.py": "print('ours')"}, "for-research")
    os.chmod(ben.home, 0o711)
    try:
        admin_tool("chgrp", "-R", lab.research, str(folder))
        os.chmod(folder, 0o750)
        os.chmod(folder / "main.py", 0o640)
        record = service.desk(ana).finish(source_directory=str(folder))
        assert record["status"] == "Completed", record
    finally:
        os.chmod(ben.home, 0o700)


def test_what_one_user_had_at_a_path_is_not_taken_for_what_another_has_there_now(service, ana, ben, lab):
    """Same path, same size, same time: a snapshot remembers files, but only the user's own."""
    place = lab.root / "everybodys"
    place.mkdir()
    place.chmod(0o1777)
    for user, word in ((ana, "hers"), (ben, "his!")):
        code = (
            "import os; os.mkdir('p'); open('p/main.py', 'w').write('print(open(\\'data\\').read())'); open('p/data',"
            f" 'w').write({word!r})"
        )
        user.python(f"{code}; [os.utime('p/' + name, (10 ** 9, 10 ** 9)) for name in ('main.py', 'data')]", cwd=place)
        for _ in range(2):
            desk = service.desk(user)
            record = desk.finish(source_directory=str(place / "p"))
            assert desk.std_log(record["run_id"]).decode() == f"{word}\n", record
        user.ok("rm", "-r", place / "p")


def test_work_and_all_in_it_is_the_submitters(service, ana):
    desk = service.desk(ana)
    gate = Gate(ana.home, "look-at-work")
    files = {
        "main.py": f"import gate\nprint('up', flush=True)\n{gate.code}",
        "gate.py": GATE_MODULE,
        "run.sh": ("#!/bin/sh\n", 0o755),
        "a/b/c": "deep",
        "link": "x",
        "setuid": ("#!/bin/sh\n", 0o755),
    }
    folder = desk.source(files)
    os.unlink(folder / "link")
    os.symlink("a/b/c", folder / "link")
    os.chmod(folder / "setuid", 0o6755)
    run = desk.submit(source_directory=str(folder))
    try:
        desk.printed(run)  # and it is Running: nothing comes and goes there any more
        place = service.state / "runs" / run
        info = place.stat()
        assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (0, ana.gid, 0o710)
        for base, folders, names in os.walk(place / "work"):
            for path in [Path(base)] + [Path(base) / name for name in folders + names]:
                info = path.lstat()
                assert (info.st_uid, info.st_gid) == (ana.uid, ana.gid), path
                assert not info.st_mode & (stat.S_ISUID | stat.S_ISGID), path
        assert stat.S_IMODE((place / "work").stat().st_mode) == 0o700
        assert (place / "work/run.sh").stat().st_mode & 0o100
        for path in [path for path in place.iterdir() if path.name not in ("work", "std_log.txt")]:
            assert path.stat().st_uid == 0, path
            assert not path.stat().st_mode & 0o077, path
    finally:
        gate.open()
    assert desk.ended(run)["status"] == "Completed"


def test_outputs_are_the_submitters_to_read_and_are_collected(service, ana):
    desk = service.desk(ana)
    code = """
import os
os.makedirs("outputs/deep/er", exist_ok=True)
for name, mode in (("outputs/a", 0o600), ("outputs/deep/er/b", 0o400), ("logs/c", 0o640)):
    with open(name, "w") as file:
        file.write(name)
    os.chmod(name, mode)
os.chmod("outputs/deep", 0o500)
"""
    record = desk.finish(code)
    assert record["status"] == "Completed", record
    for name in ("outputs/a", "outputs/deep/er/b", "logs/c"):
        assert desk.artifact(record["run_id"], name) == name.encode()
    out = ana.home / "got"
    desk.ok("download", record["run_id"], "-o", out)
    assert (out / "outputs/deep/er/b").read_text() == "outputs/deep/er/b"
    assert (out / "outputs/a").stat().st_uid == ana.uid
    wait_for(lambda: not (service.state / "runs" / record["run_id"]).exists(), "a Completed run's folder goes")


def test_a_run_that_failed_leaves_its_work_to_its_submitter(service, ana, ben):
    desk = service.desk(ana)
    record = desk.finish("open('outputs/x', 'w').write('kept')\nraise SystemExit(3)")
    work = desk.work(record["run_id"])
    assert ana.ok("cat", work / "outputs/x") == "kept"
    assert ben.run("cat", work / "outputs/x").returncode != 0
    ana.ok("touch", work / "a-note")


def test_the_interpreter_may_be_in_a_private_home(service, ana):
    desk = service.desk(ana)
    ana.ok(PYTHON, "-m", "venv", "--without-pip", "envs/mine", timeout=60)
    interpreter = str(ana.home / "envs/mine/bin/python")
    record = desk.finish(
        "import os, sys; print(sys.prefix, os.environ['VIRTUAL_ENV'])",
        environment={"python": {"user_managed_dependencies": True, "interpreter_path": interpreter}},
    )
    assert record["status"] == "Completed", record
    assert desk.std_log(record["run_id"]).decode().split() == [str(ana.home / "envs/mine")] * 2
    assert record["interpreter"]["path"] == interpreter
    assert record["interpreter"]["version"], record


def test_another_users_private_interpreter_is_refused(service, ana, ben):
    ben.ok(PYTHON, "-m", "venv", "--without-pip", "envs/his", timeout=60)
    interpreter = str(ben.home / "envs/his/bin/python")
    desk = service.desk(ana)
    answer = desk.post(environment={"python": {"interpreter_path": interpreter}})
    if answer.status == 201:
        record = desk.ended(answer.json["run_id"])
        assert record["status"] == "Failed" and record["error"]["code"] == "SetupError", record
        assert interpreter in record["error"]["message"], record
    else:
        assert answer.status == 400, answer


def git(user, folder, *words):
    user.ok("git", "-c", "user.name=ana", "-c", "user.email=ana@example.org", *words, cwd=folder)


def test_git_properties_come_from_a_private_repository(service, ana):
    desk = service.desk(ana)
    folder = ana.write({"main.py": "print(1)\n", "sub/other.py": "print(2)\n"})
    git(ana, folder, "init", "-q", "-b", "trunk")
    git(ana, folder, "add", ".")
    git(ana, folder, "commit", "-q", "-m", "first")
    commit = ana.ok("git", "rev-parse", "HEAD", cwd=folder).strip()
    (folder / "main.py").write_text("print('changed')\n")
    ana.own(folder)
    record = desk.finish(source_directory=str(folder))
    assert record["properties"]["azureml.git.commit"] == commit, record
    assert record["properties"]["azureml.git.branch"] == "trunk"
    assert record["properties"]["azureml.git.dirty"] == "True"
    patches = [path for path in desk.artifacts(record["run_id"]) if path.endswith((".patch", ".diff"))]
    assert len(patches) == 1, record
    assert b"+print('changed')" in desk.artifact(record["run_id"], patches[0])


def test_a_git_folder_that_points_to_what_only_root_reads_tells_nothing(service, ana, lab):
    """.git as a file, a link, an alternate: followed with the submitter's rights."""
    theirs = lab.root / "roots-repository"
    theirs.mkdir(mode=0o700)
    (theirs / "main.py").write_text("print(0)\n")
    for words in (["init", "-q", "-b", "secret-branch"], ["add", "."], ["commit", "-q", "-m", "x"]):
        command = ["git", "-c", "user.name=r", "-c", "user.email=r@example.org", *words]
        subprocess.run(command, cwd=theirs, check=True, timeout=30, env={"PATH": "/usr/bin:/bin", "HOME": str(theirs)})
    head = (theirs / ".git/refs/heads/secret-branch").read_text().strip()
    for kind in ("file", "link"):
        folder = ana.write({"main.py": "print(1)\n"})
        if kind == "file":
            (folder / ".git").write_text(f"gitdir: {theirs}/.git\n")
        else:
            os.symlink(theirs / ".git", folder / ".git")
        ana.own(folder)
        record = service.desk(ana).finish(source_directory=str(folder))
        assert record["status"] == "Completed", record
        assert head not in json.dumps(record) and "secret-branch" not in json.dumps(record)


# -- a folder that root cannot read ---------------------------------------------------------------


@pytest.fixture
def squashed(lab, ana):
    """A mounted folder of ana's that root has no right to: as on NFS with root squash."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")
    point = ana.home / "nfs"
    point.mkdir(exist_ok=True)
    ana.own(point)
    backing = ana.write(
        {"main.py": "import helper; helper.say()", "helper.py": "def say(): print('from far away')", "d/e": "f" * 5000}
    )
    with fuse_folder.mounted(backing, point, ana.uid, ana.gid):
        with pytest.raises(PermissionError):
            os.listdir(point)
        yield point


def test_a_source_folder_that_root_cannot_read_is_taken_as_its_user(service, ana, squashed):
    desk = service.desk(ana)
    record = desk.finish(source_directory=str(squashed))
    assert record["status"] == "Completed", record
    assert desk.std_log(record["run_id"]) == b"from far away\n"
    assert record["experiment_name"] == "nfs"
    out = ana.home / "from-nfs"
    desk.ok("snapshot", record["run_id"], "-o", out)
    assert (out / "d/e").read_text() == "f" * 5000
    again = desk.finish(source_directory=str(squashed))
    assert again["snapshot_id"] == record["snapshot_id"]


def test_outputs_that_root_cannot_read_are_collected_as_their_user(service, ana):
    if not os.path.exists("/dev/fuse"):
        pytest.skip("there is no /dev/fuse")
    desk = service.desk(ana)
    run, work, gate = at_the_gate(desk, "import os\nos.mkdir('outputs/far')")
    backing = ana.write({"model": "m" * 70000, "d/e": "f"})
    with fuse_folder.mounted(backing, work / "outputs/far", ana.uid, ana.gid):
        with pytest.raises(PermissionError):
            os.listdir(work / "outputs/far")
        gate.open()
        record = desk.ended(run)
        assert record["status"] == "Completed", record
    assert desk.artifact(run, "outputs/far/model") == b"m" * 70000
    assert desk.artifact(run, "outputs/far/d/e") == b"f"


def test_amlctl_takes_a_folder_that_root_cannot_read(service, ana, squashed):
    command = f"cd {squashed} && exec {shlex.quote(harness.AMLCTL)} run main.py"
    assert ana.ok("/bin/sh", "-c", command, env=service.desk(ana).env) == "from far away\n"


def test_a_folder_that_root_cannot_read_is_nobody_elses(service, ben, squashed):
    answer = service.desk(ben).post(source_directory=str(squashed))
    assert answer.status == 400, answer


def test_an_interpreter_that_root_cannot_read_runs(service, ana, squashed):
    desk = service.desk(ana)
    ana.ok(
        "/bin/sh",
        "-c",
        f"mkdir nfs/bin && printf '#!/bin/sh\\nexec {PYTHON} \"$@\"\\n' >nfs/bin/python && chmod 755 nfs/bin/python",
    )
    record = desk.finish("print('yes')", environment={"python": {"interpreter_path": str(squashed / "bin/python")}})
    assert record["status"] == "Completed", record


# -- users change while runs wait -----------------------------------------------------------------


def held(desk, files=None, **fields):
    """A run that is queued and stays there."""
    run = desk.submit(files, hold=True, **fields)
    assert desk.record(run)["status"] == "Queued"
    return run


def release(service, run):
    answer = service.api("POST", f"/v1/runs/{run}/release")
    assert answer.status == 200, answer


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
    wait_for(lambda: not set(ana.strays()) - before, "no process of the run is left", 10)


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
