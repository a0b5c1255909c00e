# SPDX-License-Identifier: MIT
"""The files of a run are its submitter's: what he may read is taken, and what is made of it is his."""

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
from pathlib import Path

import fuse_folder
import harness
import pytest
from harness import GATE_MODULE, PYTHON, Gate, wait_for
from lab import admin_tool
from users_harness import at_the_gate


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
