# SPDX-License-Identifier: MIT
"""The hostile zoo, the source tree: everything that a file system knows, and races at that.

Two promises are held against all of it: what only root can read (Lab.secret) never gets into the store or an answer,
and what one user does is felt by nobody else.
"""

import json
import os
import re
import shutil
import socket
import stat
import tarfile
import time
from io import BytesIO
from pathlib import Path

import harness
import pytest
from harness import PYTHON
from users_harness import Racer, Service, NAMES, ROUNDS, SWAP_FILES, nothing_of


def test_links_to_what_only_root_reads_stay_links(desk, ana, lab, secret):
    folder = ana.write({"main.py": "print(1)", "d/": None})
    for name, target in (
        ("shadow", "/etc/shadow"),
        ("secret", lab.secret),
        ("d/up", "../../../../etc/shadow"),
        ("state", desk.state),
        ("proc", "/proc/1/environ"),
        ("self", "/proc/self/mem"),
        ("d/loop", "loop"),
    ):
        os.symlink(target, folder / name)
    ana.own(folder)
    record = desk.finish(source_directory=str(folder))
    assert record["status"] == "Completed", record
    tar = tarfile.open(fileobj=BytesIO(desk.api("GET", f"/v1/runs/{record['run_id']}/snapshot").body))
    kinds = {member.name: member.type for member in tar}
    for name in ("shadow", "secret", "d/up", "state", "proc", "self", "d/loop"):
        assert kinds[name] == tarfile.SYMTYPE, name


def test_a_hard_link_to_what_only_root_reads_is_refused(desk, ana, lab):
    """Made by root beforehand, for fs.protected_hardlinks may be on: on some machine it is off."""
    folder = ana.write({"main.py": "print(1)"})
    os.link(lab.secret, folder / "data")
    answer = desk.post(source_directory=str(folder))
    assert answer.status == 400, answer
    assert "data" in answer.error["message"], answer
    assert (
        lab.secret.stat().st_uid == 0 and stat.S_IMODE(lab.secret.stat().st_mode) == 0o600
    ), "its owner and mode are as they were"


@pytest.mark.parametrize("what", ["source_directory", "script", "amlignore", "runconfig"])
def test_a_link_in_the_place_of_what_the_service_opens_is_followed_as_the_user(desk, ana, lab, secret, what):
    folder = ana.write({"main.py": "print(1)"})
    if what == "source_directory":
        link = ana.home / f"link{next(desk.counter)}"
        os.symlink("/root", link)
        answer = desk.post(source_directory=str(link))
    elif what == "script":
        os.unlink(folder / "main.py")
        os.symlink(lab.secret, folder / "main.py")
        answer = desk.post(source_directory=str(folder))
    else:
        os.symlink(lab.secret, folder / (".amlignore" if what == "amlignore" else ".gitignore"))
        answer = desk.post(source_directory=str(folder))
    assert secret not in answer.body
    if answer.status == 201:
        record = desk.ended(answer.json["run_id"])
        assert secret.decode() not in json.dumps(record)
        nothing_of(desk, record["run_id"], secret)
    else:
        assert answer.status == 400, answer


@pytest.mark.parametrize("source", ["/root", "/proc/1/root/root", "/proc/1/cwd", "/proc/self/fd", "/dev", "/proc/self"])
def test_folders_that_are_the_daemons_and_not_the_users_are_not_taken(desk, ana, secret, source):
    """/proc/self is that of who looks: it must not be the daemon's."""
    answer = desk.api(
        "POST",
        "/v1/runs",
        {"source_directory": source, "command": "ls -la", "submit_environment": dict(ana.env)},
        timeout=60,
    )
    if answer.status == 201:
        record = desk.ended(answer.json["run_id"])
        assert Service.canary not in json.dumps(record)
        tar = desk.api("GET", f"/v1/runs/{record['run_id']}/snapshot").body
        assert Service.canary.encode() not in tar and secret not in tar
    else:
        assert answer.status in (400, 413), answer


def test_pipes_sockets_and_devices_of_the_source_are_left_out_with_a_warning(desk, ana):
    folder = ana.write({"main.py": "import os; print(sorted(os.listdir('.')))"})
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as sock:
        cwd = os.open(folder, os.O_RDONLY)
        try:
            sock.bind(f"/proc/self/fd/{cwd}/sock")
        finally:
            os.close(cwd)
    os.mknod(folder / "device", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(folder / "disk", 0o666 | stat.S_IFBLK, os.makedev(7, 0))
    ana.own(folder)
    record = desk.finish(source_directory=str(folder))
    assert record["status"] == "Completed", record
    for name in ("pipe", "sock", "device", "disk"):
        assert any(name in warning for warning in record["warnings"]), (name, record["warnings"])
        assert f"'{name}'" not in desk.std_log(record["run_id"]).decode()


def test_any_name_goes_into_a_snapshot_and_out_again(desk, ana):
    folder = ana.write({"main.py": "print(1)"})
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(name)
    ana.own(folder)
    record = desk.finish(source_directory=str(folder))
    assert record["status"] == "Completed", record
    out = ana.home / f"out{next(desk.counter)}"
    desk.ok("snapshot", record["run_id"], "-o", out)
    assert {name: data for name, data in harness.files_of(out).items() if name != b"main.py"} == {
        name: name for name in NAMES
    }


def make_deep(user, folder, levels, name):
    """A tree deeper than any path is long."""
    user.python(
        "import os, sys\nos.chdir(sys.argv[1])\nfor _ in range(int(sys.argv[2])):\n    os.mkdir(sys.argv[3])\n   "
        " os.chdir(sys.argv[3])\nopen('bottom', 'w').write('reached')",
        folder,
        str(levels),
        name,
        timeout=60,
    )


@pytest.mark.parametrize("levels, name", [(1000, "d"), (40, "n" * 250)])
def test_a_tree_deeper_than_a_path_is_taken_or_refused_in_words(desk, ana, levels, name):
    folder = ana.write({"main.py": "print(1)"})
    make_deep(ana, folder, levels, name)
    answer = desk.post(source_directory=str(folder))
    if answer.status == 201:
        assert desk.ended(answer.json["run_id"])["status"] == "Completed"
    else:
        assert answer.status in (400, 413), answer
        assert re.search("deep|long", answer.error["message"]), answer
    ana.ok("rm", "-rf", folder)
    assert desk.finish()["status"] == "Completed"


@pytest.mark.timeout(600)
def test_a_hundred_thousand_tiny_files_hold_up_nobody_else(desk, safe, ana, ben):
    ana.python(
        "import os\nos.makedirs('many', exist_ok=True)\nopen('many/main.py', 'w').write('print(1)')\nfor d in"
        " range(100):\n    os.makedirs(f'many/{d}')\n    for i in range(1000):\n        open(f'many/{d}/{i}',"
        " 'w').write(str(i % 10))\n",
        timeout=150,
    )
    theirs = safe.desk(ben)
    connection = desk.connect(timeout=100)
    body = json.dumps(desk.request(source_directory=str(ana.home / "many"), hold=True))
    connection.request("POST", "/v1/runs", body=body)
    asked = time.monotonic()
    slowest, rounds = 0.0, 0
    import select

    while not select.select([connection.sock], [], [], 0)[0] and rounds < 200:
        began = time.monotonic()
        theirs.status()
        if rounds % 10 == 0:
            assert theirs.finish()["status"] == "Completed"
        slowest = max(slowest, time.monotonic() - began)
        rounds += 1
    answer = harness.Answer(connection.getresponse())
    took = time.monotonic() - asked
    connection.close()
    assert answer.status == 201, answer
    assert rounds, "somebody else was served meanwhile"
    # Held up he would have waited for the whole of it; a busy machine makes both slower.
    assert slowest < max(5, took / 2), f"another user's request took {slowest:.1f} of {took:.1f} s meanwhile"
    desk.cancel(answer.json["run_id"])
    ana.ok("rm", "-rf", ana.home / "many", timeout=300)


def test_a_file_that_grows_while_it_is_read_does_not_keep_the_submit_for_ever(desk, ana):
    folder = ana.write({"main.py": "print(1)", "data": "x" * 65536})
    code = """
with open(sys.argv[1], "ab") as file:
    while go():
        file.write(b"x" * 65536)
        file.flush()
        if file.tell() > 32 << 20:
            file.truncate(65536)
            file.seek(0, 2)
"""
    with Racer(ana, code, folder / "data"):
        for _ in range(5):
            answer = desk.post(source_directory=str(folder), hold=True)
            if answer.status == 201:
                desk.cancel(answer.json["run_id"])
            else:
                assert answer.status in (400, 413, 503), answer
                assert "data" in answer.error["message"], answer


def test_a_file_that_shrinks_while_it_is_read_crashes_nothing(desk, ana):
    folder = ana.write({"main.py": "print(1)", "data": "x"})
    code = """
with open(sys.argv[1], "r+b") as file:
    while go():
        file.truncate(32 << 20)
        file.truncate(1)
"""
    with Racer(ana, code, folder / "data"):
        for _ in range(10):
            answer = desk.post(source_directory=str(folder), hold=True)
            if answer.status == 201:
                desk.cancel(answer.json["run_id"])
            else:
                assert "data" in answer.error["message"], answer


def test_a_sparse_terabyte_is_refused_at_once_and_names_itself(desk, ana):
    folder = ana.write({"main.py": "print(1)"})
    ana.ok("truncate", "-s", "1T", folder / "huge")
    began = time.monotonic()
    answer = desk.post(source_directory=str(folder))
    assert answer.status in (400, 413), answer
    assert "huge" in answer.error["message"] and "10.0 GiB" in answer.error["message"], answer
    assert time.monotonic() - began < 20


# -- races in the source tree ---------------------------------------------------------------------


def submit_often(desk, folder, rounds):
    """Submits of a folder that changes under the service: the runs that were taken."""
    taken, refused = [], []
    for _ in range(rounds):
        answer = desk.post(source_directory=str(folder), hold=True, script="main.py")
        if answer.status == 201:
            taken.append(answer.json["run_id"])
        else:
            assert answer.status in (400, 413, 503), answer
            refused.append(answer.error["message"])
    return taken, refused


@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", ["file", "folder", "source", "parent"])
def test_a_race_between_a_file_and_a_link_to_the_secret_is_never_won(desk, safe, ana, lab, secret, what):
    """renameat2(EXCHANGE) as fast as it goes, while ROUNDS snapshots are taken."""
    theirs = lab.root / "roots-folder"
    if not theirs.exists():
        theirs.mkdir(mode=0o755)
        for name in ("data", "main.py", "d/data", "d/main.py"):
            (theirs / name).parent.mkdir(exist_ok=True)
            shutil.copy(lab.secret, theirs / name)
            os.chmod(theirs / name, 0o600)
    top = ana.write({"s/main.py": "print(1)", "s/data": "mine", "s/d/data": "mine", "spare/": None})
    folder = top / "s"
    pair = {
        "file": (folder / "data", top / "spare/link", lab.secret),
        "folder": (folder / "d", top / "spare/link", theirs),
        "source": (folder, top / "spare/link", theirs),
        "parent": (top, ana.home / f"swap-{top.name}", theirs),
    }[what]
    os.symlink(pair[2], pair[1])
    if what == "parent":
        (theirs / "s").mkdir(exist_ok=True)
        shutil.copy(lab.secret, theirs / "s/main.py")
        os.chmod(theirs / "s/main.py", 0o600)
    ana.own(top)
    os.chown(pair[1], ana.uid, ana.gid, follow_symlinks=False)
    with Racer(ana, SWAP_FILES, pair[0], pair[1]) as racer:
        taken, refused = submit_often(desk, folder, ROUNDS)
    assert racer.turns > ROUNDS
    assert len(taken) + len(refused) == ROUNDS
    assert safe.files_with(secret) == []
    for run in taken[:10]:
        nothing_of(desk, run, secret)
    for run in taken:
        desk.cancel(run)


@pytest.mark.timeout(300)
def test_a_race_between_a_file_and_a_hard_link_or_a_pipe_hangs_nothing(desk, ana):
    folder = ana.write({"main.py": "print(1)", "data": "mine"})
    spare = folder.with_name(folder.name + "-pipe")
    os.mkfifo(spare)
    os.chown(spare, ana.uid, ana.gid)
    with Racer(ana, SWAP_FILES, folder / "data", spare):
        taken, _ = submit_often(desk, folder, 50)
    for run in taken:
        desk.cancel(run)


def test_arguments_that_grow_without_end_end_the_run_and_nothing_else(desk, ana):
    """Each `$A` becomes a megabyte: 60 GB, were it done."""
    request = desk.request(
        source_directory=str(desk.source("pass")),
        arguments=["$A" * 60000],
        environment={"python": {"interpreter_path": PYTHON}, "environment_variables": {"A": "x" * 200000}},
    )
    answer = desk.api("POST", "/v1/runs", request)
    assert answer.status == 201, answer
    record = desk.ended(answer.json["run_id"])
    assert (record["status"], record["error"]["code"]) == ("Failed", "SetupError"), record
    assert "arguments[0]" in record["error"]["message"]
    assert desk.finish()["status"] == "Completed"
