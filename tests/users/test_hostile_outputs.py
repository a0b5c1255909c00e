# SPDX-License-Identifier: MIT
"""The hostile zoo, what runs do to their outputs, logs and working directories.

Two promises are held against all of it: what only root can read (Lab.secret) never gets into the store or an answer,
and what one user does is felt by nobody else.
"""

import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
from io import BytesIO

import harness
import pytest
from harness import ENDED, PYTHON, wait_for
from lab import mounts_below
from users_harness import Racer, Service, NAMES, ROUNDS, SWAP_FILES, at_the_gate, nothing_of, unfinished, until_ended


def test_any_name_of_an_output_is_an_artifact_that_can_be_read(desk, ana):
    code = f"for name in {NAMES!r}:\n    open(b'outputs/' + name, 'wb').write(name)"
    record = desk.finish(code)
    assert record["status"] == "Completed", record
    found = {
        desk.api("GET", item["href"]).body
        for path, item in desk.artifacts(record["run_id"]).items()
        if path.startswith("outputs/")
    }
    assert found == set(NAMES)
    out = ana.home / f"out{next(desk.counter)}"
    desk.ok("download", record["run_id"], "-o", out)
    assert set(harness.files_of(out / "outputs")) == set(NAMES)


def test_deep_outputs_are_kept_or_told(desk, ana):
    code = (
        f"import os\nos.chdir('outputs')\nfor _ in range(40):\n    os.mkdir({'n' * 250!r})\n   "
        f" os.chdir({'n' * 250!r})\nopen('bottom', 'w').write('x')"
    )
    record = desk.finish(code)
    kept = [path for path in desk.artifacts(record["run_id"]) if path.endswith("bottom")]
    if not kept:
        told = json.dumps(record["warnings"]) + json.dumps(record["error"])
        assert re.search("deep|long", told), record
    assert not unfinished(record)


def test_links_in_outputs_bring_nothing_that_only_root_reads(desk, ana, lab, secret):
    code = f"""
import json
import os
import re
for name, target in (("shadow", "/etc/shadow"), ("secret", {str(lab.secret)!r}), ("etc", "/etc"), ("root", "/root"),
                     ("state", {str(desk.state)!r}), ("self", "/proc/self"), ("up", "../../../.."), ("loop", "loop")):
    os.symlink(target, "outputs/" + name)
os.symlink("/etc", "logs/etc")
open("outputs/mine", "w").write("kept")
"""
    record = desk.finish(code)
    paths = desk.artifacts(record["run_id"])
    assert "outputs/mine" in paths, record
    assert not [
        path
        for path in paths
        if path.startswith(("outputs/etc/", "outputs/root/", "outputs/state/", "outputs/self/", "logs/etc/"))
    ]
    nothing_of(desk, record["run_id"], secret)
    for path in ("outputs/shadow", "outputs/secret", "outputs/etc/passwd"):
        assert b"root:" not in desk.api("GET", f"/v1/runs/{record['run_id']}/artifacts/{path}").body


def test_a_hard_link_in_outputs_to_what_only_root_reads_is_no_artifact(desk, ana, lab, secret):
    run, work, gate = at_the_gate(desk, "open('outputs/mine', 'w').write('kept')")
    os.link(lab.secret, work / "outputs/stolen")
    gate.open()
    record = desk.ended(run)
    assert safe_words(record, "outputs/stolen"), record
    assert "outputs/stolen" not in desk.artifacts(run)
    assert desk.artifact(run, "outputs/mine") == b"kept"
    info = lab.secret.stat()
    assert (info.st_uid, stat.S_IMODE(info.st_mode)) == (0, 0o600), "nobody gave it to ana"
    wait_for(lambda: not work.exists(), "its folder, with the link that this test made, is removed")


def safe_words(record, name):
    """Somewhere the record says what was not kept."""
    return name in json.dumps([record["warnings"], record["error"]])


def test_pipes_devices_and_sockets_in_outputs_neither_hang_nor_read(desk, ana):
    code = """
import os, socket
os.mkfifo("outputs/pipe")
os.chdir("outputs")
socket.socket(socket.AF_UNIX).bind("sock")
open("mine", "w").write("kept")
"""
    run, work, gate = at_the_gate(desk, code.replace("os.chdir", "here = os.getcwd(); os.chdir") + "os.chdir(here)")
    os.mknod(work / "outputs/zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    os.mknod(work / "outputs/disk", 0o666 | stat.S_IFBLK, os.makedev(254, 0))
    for name in ("zero", "disk"):
        os.chown(work / "outputs" / name, ana.uid, ana.gid)
    gate.open()
    record = desk.ended(run)
    assert not unfinished(record)
    paths = desk.artifacts(run)
    assert desk.artifact(run, "outputs/mine") == b"kept"
    for name in ("pipe", "sock", "zero", "disk"):
        assert f"outputs/{name}" not in paths
        assert safe_words(record, name), (name, record)


def test_a_setuid_bit_survives_nowhere(desk, safe, ana):
    folder = ana.write(
        {
            "main.py": "import os, shutil\nshutil.copy('tool', 'outputs/made')\nos.chmod('outputs/made', 0o6755)",
            "tool": "#!/bin/sh\n",
        }
    )
    os.chmod(folder / "tool", 0o6755)
    assert (folder / "tool").stat().st_mode & stat.S_ISUID
    record = desk.finish(source_directory=str(folder))
    assert record["status"] == "Completed", record
    for words in (["download", record["run_id"]], ["snapshot", record["run_id"]]):
        out = ana.home / f"out{next(desk.counter)}"
        desk.ok(*words, "-o", out)
        for path in out.rglob("*"):
            assert not path.lstat().st_mode & (stat.S_ISUID | stat.S_ISGID), path
    tar = tarfile.open(fileobj=BytesIO(desk.api("GET", f"/v1/runs/{record['run_id']}/snapshot").body))
    assert not [member.name for member in tar if member.mode & 0o7000 or member.uid or member.gid]
    for base, _, names in os.walk(safe.state):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # the run's folder is on its way out
                assert not os.lstat(os.path.join(base, name)).st_mode & (stat.S_ISUID | stat.S_ISGID), name


def test_a_blob_is_not_what_the_submitter_still_has_open(desk, safe, ana):
    """Outputs of another user's run are copied: who keeps a descriptor, or a link, writes into no blob."""
    run, work, gate = at_the_gate(desk, "open('outputs/model', 'w').write('hon' 'est')")
    code = (
        "import sys; f = open(sys.argv[1], 'r+'); print('open', flush=True); sys.stdin.read(); f.write('forged');"
        " f.flush()"
    )
    writer = ana.popen([PYTHON, "-c", code, work / "outputs/model"], stdin=subprocess.PIPE)
    assert writer.stdout.readline() == b"open\n"
    ana.ok("ln", work / "outputs/model", ana.home / "second-name")
    gate.open()
    assert desk.ended(run)["status"] == "Completed"
    writer.communicate(b"now", timeout=20)
    assert (ana.home / "second-name").read_text() == "forged"
    assert desk.artifact(run, "outputs/model") == b"honest"
    assert [os.stat(name).st_uid for name in safe.files_with("honest")] == [0]
    assert (ana.home / "second-name").stat().st_uid == ana.uid


@pytest.mark.timeout(400)
@pytest.mark.parametrize("what", ["file", "folder", "outputs"])
def test_a_race_in_outputs_is_never_won(desk, safe, ana, lab, secret, what):
    """A process of ana's outside of any run swaps files of her runs' outputs/ for links while they are collected."""
    theirs = lab.root / "roots-outputs"
    if not theirs.exists():
        theirs.mkdir(mode=0o755)
        for name in ("a", "d/a"):
            (theirs / name).parent.mkdir(exist_ok=True)
            shutil.copy(lab.secret, theirs / name)
            os.chmod(theirs / name, 0o600)
    target = {"file": lab.secret, "folder": theirs, "outputs": theirs}[what]
    path = {"file": "outputs/a", "folder": "outputs/d", "outputs": "outputs"}[what]
    door = str(ana.home / f"racer{next(desk.counter)}")
    code = """
door, path = sys.argv[1:3]
sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
sock.bind(door)
sock.setblocking(False)
pairs = []
while go():
    with contextlib.suppress(BlockingIOError):
        work = sock.recv(4096).decode()
        pairs = pairs[-3:] + [(work + "/" + path, work + "/link")]
    for pair in pairs:
        exchange(*pair)
"""
    script = f"""
import os, socket
os.makedirs("outputs/d")
for name in ("outputs/a", "outputs/d/a"):
    open(name, "w").write("mine" * 1000)
os.symlink({str(target)!r}, "link")
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(os.getcwd().encode(), {door!r})
"""
    folder = desk.source(script)
    with Racer(ana, code, door, path):
        wait_for(lambda: os.path.exists(door), "the racer listens")
        runs = [
            desk.submit(source_directory=str(folder), environment={"python": {"interpreter_path": PYTHON}})
            for _ in range(ROUNDS)
        ]
        records = until_ended(desk, runs, 300)
    odd = [
        record
        for record in records.values()
        if record["status"] == "Failed" and record["error"]["code"] != "OutputError"
    ]
    assert odd == [], odd[0]
    assert safe.files_with(secret) == []
    for run in runs[:20]:
        nothing_of(desk, run, secret)


GAMES = {
    "outputs is a link": "import os, shutil; shutil.rmtree('outputs'); os.symlink({secret_folder!r}, 'outputs')",
    "outputs is a file": "import os; os.rmdir('outputs'); open('outputs', 'w').write('x')",
    "outputs is a pipe": "import os; os.rmdir('outputs'); os.mkfifo('outputs')",
    "outputs is closed": "import os; open('outputs/x', 'w').write('x'); os.chmod('outputs', 0)",
    "a file is closed": "import os; open('outputs/x', 'w').write('x'); os.chmod('outputs/x', 0)",
    "work is closed": "import os; open('outputs/x', 'w').write('x'); os.chmod('.', 0)",
    "work is empty": (
        "import os, shutil; [shutil.rmtree(n) if os.path.isdir(n) else os.unlink(n) for n in os.listdir('.')]"
    ),
    "user_logs is a link": "import os, shutil; shutil.rmtree('user_logs'); os.symlink({secret_folder!r}, 'user_logs')",
    "logs is a link": "import os, shutil; shutil.rmtree('logs'); os.symlink({secret_folder!r}, 'logs')",
    "the log is a link": (
        "import os; os.unlink('user_logs/std_log.txt'); os.symlink({secret!r}, 'user_logs/std_log.txt')"
    ),
    "the log is gone": "import os; os.unlink('user_logs/std_log.txt')",
    "the log is cut": "import os; os.truncate('user_logs/std_log.txt', 0)",
    "the log is closed": "import os; os.chmod('user_logs/std_log.txt', 0)",
    "the log has another name": (
        "import os; os.link('user_logs/std_log.txt', 'outputs/log'); os.rename('user_logs', 'elsewhere')"
    ),
    "the log is a pipe": "import os; os.unlink('user_logs/std_log.txt'); os.mkfifo('user_logs/std_log.txt')",
    "work is moved": "import os; [os.rename(n, n + '-moved') for n in ('outputs', 'logs', 'user_logs')]",
    "work itself is moved": (
        "import contextlib, os\nwith contextlib.suppress(OSError):\n    os.rename('.', '../elsewhere')\n"
        "with contextlib.suppress(OSError):\n    os.rename('../work', '../elsewhere')"
    ),
    "open to all": (
        "import os; os.umask(0); os.chmod('.', 0o777); open('outputs/x', 'w').write('x'); os.chmod('outputs', 0o7777)"
    ),
}


@pytest.mark.parametrize("game", GAMES, ids=[name.replace(" ", "-") for name in GAMES])
def test_games_with_the_working_directory_end_as_the_script_did(desk, safe, ana, lab, secret, game):
    """The exit status stays the script's, or its outputs are told not to be kept; and nothing follows the links."""
    code = GAMES[game].format(secret=str(lab.secret), secret_folder=str(lab.root))
    for ending, status in (("", "Completed"), ("\nraise SystemExit(7)", "Failed")):
        record = desk.finish(f"print('before', flush=True)\n{code}{ending}\n")
        run = record["run_id"]
        if record["status"] == "Failed" and not ending:
            assert record["error"]["code"] == "OutputError", record
        else:
            assert record["status"] == status, record
        assert record["exit_code"] == (7 if ending else 0), record
        nothing_of(desk, run, secret)
        place = safe.state / "runs" / run
        assert not place.with_name("elsewhere").exists()
        assert desk.api("DELETE", f"/v1/runs/{run}").status == 204, "and it can be deleted"
        wait_for(lambda: not place.exists(), "its folder goes")


def test_a_log_that_is_replaced_while_it_is_followed_shows_nothing_else(desk, ana, lab, secret):
    code = (
        f"print('first', flush=True)\nimport os\nos.unlink('user_logs/std_log.txt')\nos.symlink({str(lab.secret)!r},"
        " 'user_logs/std_log.txt')"
    )
    run, _, gate = at_the_gate(desk, code, after="print('second', flush=True)")
    path = f"/v1/runs/{run}/logs/user_logs/std_log.txt"
    assert secret not in desk.api("GET", path).body
    connection = desk.connect()
    connection.request("GET", f"{path}?follow=1")
    gate.open()
    followed = connection.getresponse().read()
    connection.close()
    assert secret not in followed
    assert desk.ended(run)["status"] == "Completed"


def test_files_below_logs_are_served_while_it_runs_with_the_users_rights(desk, ana, lab, secret):
    code = f"""
import json
import os
import re
os.symlink({str(lab.secret)!r}, "logs/link.txt")
os.symlink({str(lab.root)!r}, "logs/folder")
os.mkfifo("logs/pipe.txt")
open("logs/mine.txt", "w").write("mine")
"""
    run, work, gate = at_the_gate(desk, code)
    os.link(lab.secret, work / "logs/hard.txt")
    try:
        assert desk.api("GET", f"/v1/runs/{run}/logs/logs/mine.txt").body == b"mine"
        listed = desk.artifacts(run)
        assert "logs/mine.txt" in listed
        for kind in ("logs", "artifacts"):
            for name in ("link.txt", "folder/only-root", "hard.txt", "pipe.txt"):
                answer = desk.api("GET", f"/v1/runs/{run}/{kind}/logs/{name}")
                assert answer.status in (400, 403, 404, 409), (name, answer)
                assert secret not in answer.body
    finally:
        gate.open()
    assert not unfinished(desk.ended(run))
    wait_for(lambda: not work.exists(), "its folder, with the link that this test made, is removed")


@pytest.mark.timeout(300)
def test_a_race_below_logs_is_never_won_by_who_reads_them(desk, safe, ana, lab, secret):
    run, work, gate = at_the_gate(
        desk, f"import os; open('logs/a.txt', 'w').write('mine'); os.symlink({str(lab.secret)!r}, 'link')"
    )
    try:
        with Racer(ana, SWAP_FILES, work / "logs/a.txt", work / "link"):
            for _ in range(ROUNDS):
                answer = desk.api("GET", f"/v1/runs/{run}/logs/logs/a.txt")
                assert secret not in answer.body
                assert answer.status in (200, 400, 403, 404, 409, 503), answer
                assert secret not in desk.api("GET", f"/v1/runs/{run}/artifacts/logs/a.txt").body
    finally:
        gate.open()
    desk.ended(run)


@pytest.fixture
def small(lab):
    """A service whose state folder is on a small file system."""
    service = Service(lab)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64M,mode=711", "amlt", str(service.root)], check=True, timeout=20
    )
    try:
        (service.root / "home").mkdir()
        service.config.write_text(f"admin_group = {lab.admins}\nstop_grace_seconds = 1\nmax_running_runs = 4\n")
        yield service.start()
    finally:
        try:
            service.close()
        finally:
            for point in mounts_below(service.root):
                subprocess.run(["umount", "--lazy", point], check=True, timeout=20)
            harness.remove(service.root)


def disk_used(service):
    room = os.statvfs(service.state)
    return (room.f_blocks - room.f_bfree) * room.f_frsize


SPARSE = ["outputs/huge", "user_logs/std_log.txt"]


@pytest.mark.parametrize("where", SPARSE)
def test_a_sparse_terabyte_is_told_and_fills_nothing(small, ana, ben, where):
    desk = small.desk(ana)
    used = disk_used(small)
    record = desk.ended(desk.submit(f"open('{where}', 'w').truncate(1 << 40)"))
    assert record["error"]["code"] == "OutputError", record
    assert where in record["error"]["message"] and "larger than the disk" in record["error"]["message"], record
    assert disk_used(small) - used < 4 << 20
    assert small.desk(ben).finish()["status"] == "Completed", "others go on"


@pytest.mark.parametrize("where", SPARSE)
def test_holes_of_a_file_are_kept_and_take_no_room(small, ana, where):
    desk = small.desk(ana)
    used = disk_used(small)
    record = desk.ended(desk.submit(f"open('{where}', 'r+b' if 'log' in '{where}' else 'wb').truncate(40 << 20)"))
    assert record["status"] == "Completed", record
    assert disk_used(small) - used < 8 << 20
    assert desk.artifact(record["run_id"], where) == bytes(40 << 20)


def test_who_fills_the_disk_of_the_state_stops_nobody_s_reading(small, ana, ben):
    done = small.desk(ben).finish()["run_id"]
    desk = small.desk(ana)
    run, _, gate = at_the_gate(
        desk,
        "import contextlib\nwith contextlib.suppress(OSError), open('filler', 'wb', 0) as f:\n    while f.write(b'x' *"
        " 65536): pass",
    )
    assert small.desk(ben).record(done)["status"] == "Completed"
    answer = small.desk(ben).post()
    assert answer.status in (201, 507), answer
    os.unlink(desk.work(run) / "filler")
    gate.open()
    assert not unfinished(desk.ended(run))
    assert small.desk(ben).finish()["status"] == "Completed"
