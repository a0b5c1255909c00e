# SPDX-License-Identifier: MIT
"""What is taken of the source directory, and what comes back."""

import io
import os
import re
import shutil
import socket
import stat
import tarfile

import pytest
from harness import GATE_MODULE, Gate, files_of, one_line_error, tree_of, wait_for, write_tree


def restored(daemon, run, name="restored"):
    target = daemon.root / f"{name}-{run}"
    daemon.ok("snapshot", run, "-o", target)
    return target


def snapshot_id(daemon, folder):
    record = daemon.finish(source_directory=str(folder), command="true")
    assert record["status"] == "Completed", record
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", record["snapshot_id"]), record
    return record["snapshot_id"]


ODD = {
    "main.py": "print('hello')\n",
    "empty.txt": "",
    "big.bin": bytes(range(256)) * 8192,
    "tool.sh": ("#!/bin/sh\necho tool\n", 0o755),
    "a/b/c/d/e/deep.txt": "deep",
    "with space": "1",
    "with\nnewline": "2",
    "quote\"'`$(x)": "3",
    b"not-utf8-\xff\xfe": "4",
    "-dash": "5",
    "back\\slash": "6",
    "ünïcode/日本": "7",
    ".hidden/.dot": "8",
    "x" * 255: "9",
    "tab\tname": "10",
    "empty folder/": None,
    "a/ empty too /": None,
}


def test_a_restored_snapshot_is_equal_byte_for_byte_mode_for_mode_link_for_link(shared):
    source = shared.source(ODD)
    os.symlink("b/c", source / "a/link-to-folder")
    os.symlink("main.py", source / "link")
    os.symlink("nowhere", source / "dangling")
    os.symlink("../main.py", source / "a/up")
    os.link(source / "tool.sh", source / "hard.sh")
    record = shared.finish(source_directory=str(source), script="main.py")
    assert record["status"] == "Completed", record
    before, after = tree_of(source), tree_of(restored(shared, record["run_id"]))
    assert {k: v for k, v in after.items() if v != ("dir",)} == {k: v for k, v in before.items() if v != ("dir",)}
    assert set(after) == set(before), "empty folders are part of the whole source directory"


def test_the_tar_of_the_api_holds_the_same(shared):
    source = shared.source(ODD)
    os.symlink("main.py", source / "link")
    run = shared.submit(source_directory=str(source), script="main.py")
    answer = shared.api("GET", f"/v1/runs/{run}/snapshot")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-tar")
    with tarfile.open(fileobj=io.BytesIO(answer.body), encoding="utf-8", errors="surrogateescape") as tar:
        members = {os.fsencode(m.name.removeprefix("./").rstrip("/")): m for m in tar.getmembers()}
        for name, entry in tree_of(source).items():
            if entry[0] == "dir" and name not in members:
                continue
            member = members.pop(name)
            if entry[0] == "file":
                assert tar.extractfile(member).read() == entry[1]
                assert bool(member.mode & 0o100) == bool(entry[2] & 0o100)
            elif entry[0] == "link":
                assert member.issym() and member.linkname == os.fsdecode(entry[1])
        assert not [m for m in members.values() if not m.isdir()], members
    shared.ended(run)


def test_executable_bits_are_kept_in_the_work_folder(shared):
    source = shared.source({"tool.sh": ("#!/bin/sh\necho tool $1\n", 0o755), "main.py": ""})
    done = shared.amlctl("run", "--command", "./tool.sh 1; test -x main.py || echo not", cwd=source)
    assert done.stdout == b"tool 1\nnot\n"


def test_same_content_has_the_same_id_whatever_the_times_and_the_place(shared):
    one = shared.source({"main.py": "1", "d/x": ("y", 0o755)})
    two = shared.source({"d/x": ("y", 0o755), "main.py": "1"})
    os.utime(two / "main.py", (1, 1))
    assert snapshot_id(shared, one) == snapshot_id(shared, two)


@pytest.mark.parametrize("change", ["content", "name", "executable", "link", "more", "less", "link target"])
def test_other_content_has_another_id(shared, change):
    source = shared.source({"main.py": "1", "d/x": "y"})
    os.symlink("main.py", source / "l")
    before = snapshot_id(shared, source)
    if change == "content":
        (source / "d/x").write_text("z")
    elif change == "name":
        os.rename(source / "d/x", source / "d/y")
    elif change == "executable":
        os.chmod(source / "d/x", 0o755)
    elif change == "link":
        os.remove(source / "d/x")
        os.symlink("y", source / "d/x")
    elif change == "more":
        (source / "more").touch()
    elif change == "less":
        os.remove(source / "d/x")
    else:
        os.remove(source / "l")
        os.symlink("d/x", source / "l")
    assert snapshot_id(shared, source) != before


def test_a_change_that_hides_behind_the_old_size_and_time_is_noticed(shared):
    source = shared.source({"main.py": "print(1)\n"})
    os.utime(source / "main.py", (1000000000, 1000000000))
    first = shared.finish(source_directory=str(source), script="main.py")
    shared.finish(source_directory=str(source), script="main.py")
    (source / "main.py").write_text("print(2)\n")
    os.utime(source / "main.py", (1000000000, 1000000000))
    second = shared.finish(source_directory=str(source), script="main.py")
    assert shared.std_log(second["run_id"]) == b"2\n"
    assert first["snapshot_id"] != second["snapshot_id"]


def test_a_file_replaced_by_an_older_one_is_noticed(shared):
    source = shared.source({"main.py": "print(1)\n"})
    write_tree(source.parent / "older", {"main.py": "print(2)\n"})
    os.utime(source.parent / "older/main.py", (5, 5))
    shared.finish(source_directory=str(source), script="main.py")
    os.rename(source.parent / "older/main.py", source / "main.py")
    assert shared.std_log(shared.finish(source_directory=str(source), script="main.py")["run_id"]) == b"2\n"


def test_edits_in_quick_succession_are_all_noticed(shared):
    """The same size within one clock tick: git's racy case."""
    source = shared.source({"main.py": "print(10)\n"})
    runs = []
    for i in range(10, 40):
        (source / "main.py").write_text(f"print({i})\n")
        runs.append((i, shared.submit(source_directory=str(source), script="main.py")))
    for i, run in runs:
        assert shared.ended(run)["status"] == "Completed"
        assert shared.std_log(run) == b"%d\n" % i


def test_unchanged_files_are_not_read_again(make_daemon):
    daemon = make_daemon(config={"stop_grace_seconds": 1, "max_running_runs": 1})
    gate = Gate(daemon.root, "gate")
    blocker = daemon.submit({"gate.py": GATE_MODULE, "main.py": gate.code})
    daemon.running(blocker)
    source = daemon.source({"main.py": "", **{f"data/{i}": os.urandom(1 << 20) for i in range(40)}})

    def bytes_read(pid):
        with open(f"/proc/{pid}/io") as file:
            return int(file.readline().split()[1])

    costs = []
    for _ in range(3):  # the laying out waits behind the blocker: this is the snapshot alone
        before = bytes_read(daemon.process.pid)
        daemon.submit(source_directory=str(source), script="main.py")
        costs.append(bytes_read(daemon.process.pid) - before)
    assert costs[2] < 4 << 20, f"bytes read for a first, second and third snapshot of 40 MB: {costs}"
    for run in daemon.api("GET", "/v1/runs").json:
        daemon.api("POST", f"/v1/runs/{run['run_id']}/cancel")
    gate.open()


def test_the_same_bytes_are_stored_once(daemon):
    same = os.urandom(1 << 20)
    source = daemon.source({"main.py": "", "a": same, "b/c": same})
    for _ in range(2):
        daemon.finish(source_directory=str(source), script="main.py")
    blobs = files_of(daemon.state / "blobs")
    assert len([1 for content in blobs.values() if content == same]) == 1
    assert all(re.fullmatch(rb"sha256/[0-9a-f]{2}/[0-9a-f]{64}", name) for name in blobs), list(blobs)[:3]


def test_later_changes_of_the_source_do_not_reach_a_queued_run(make_daemon):
    daemon = make_daemon(config={"max_running_runs": 1, "stop_grace_seconds": 1})
    gate = Gate(daemon.root, "gate")
    daemon.submit({"gate.py": GATE_MODULE, "main.py": gate.code})
    source = daemon.source({"main.py": "print('old', open('d').read())", "d": "old"})
    run = daemon.submit(source_directory=str(source), script="main.py")
    write_tree(source, {"main.py": "print('new', open('d').read())", "d": "new"})
    shutil.rmtree(source)
    gate.open()
    daemon.ended(run)
    assert daemon.std_log(run) == b"old old\n"


# -- links ----------------------------------------------------------------------------------------


def test_links_stay_links(shared):
    source = shared.source({"main.py": "import os\nprint(os.readlink('l'), os.readlink('d'), open('d/x').read())",
                            "dir/x": "through"})  # fmt: skip
    os.symlink("main.py", source / "l")
    os.symlink("dir", source / "d")
    assert shared.amlctl("run", "main.py", cwd=source).stdout == b"main.py dir through\n"


@pytest.mark.parametrize("absolute", [True, False])
def test_a_link_out_of_the_tree_leads_where_it_led_with_a_warning(shared, absolute):
    source = shared.source({"main.py": "print(open('sub/data-link').read().upper(), end='')", "sub/x": ""})
    outside = write_tree(shared.root / "outside-data", {"data.txt": "precious\n"}) / "data.txt"
    os.symlink(outside if absolute else os.path.relpath(outside, source / "sub"), source / "sub/data-link")
    record = shared.finish(source_directory=str(source), script="main.py")
    assert record["status"] == "Completed", record
    assert shared.std_log(record["run_id"]) == b"PRECIOUS\n"
    assert [w for w in record["warnings"] if "sub/data-link" in w], record["warnings"]
    for content in files_of(shared.state / "blobs").values():
        assert content != b"precious\n", "what the link points to is not part of the snapshot"
    entry = tree_of(restored(shared, record["run_id"]))[b"sub/data-link"]
    assert entry[0] == "link"


def test_links_inside_the_tree_get_no_warning(shared):
    source = shared.source({"main.py": "", "a/b/x": ""})
    os.symlink("../../main.py", source / "a/b/l")
    assert shared.finish(source_directory=str(source), script="main.py")["warnings"] == []


def test_a_loop_of_links_hangs_nothing(shared):
    source = shared.source({"main.py": "", "d/x": ""})
    os.symlink("loop", source / "loop")
    os.symlink("..", source / "d/up")
    os.symlink(".", source / "here")
    assert shared.finish(source_directory=str(source), script="main.py")["status"] == "Completed"


def test_a_source_directory_that_is_a_link_is_followed(shared):
    source = shared.source()
    os.symlink(source, shared.root / "src/the-link")
    assert shared.amlctl("run", "-C", shared.root / "src/the-link", "main.py").stdout == b"hello\n"


def test_a_script_that_is_a_link_within_the_folder_runs(shared):
    source = shared.source({"real.py": "print('real')"})
    os.symlink("real.py", source / "main.py")
    assert shared.amlctl("run", "main.py", cwd=source).stdout == b"real\n"


# -- what is not a file ---------------------------------------------------------------------------


def test_pipes_sockets_and_devices_are_left_out_with_a_warning(shared):
    source = shared.source("import os; print(sorted(os.listdir('.')))")
    os.mkfifo(source / "a-pipe")
    here = os.open(source, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"/proc/self/fd/{here}/a-socket")
    os.close(here)
    names = ["a-pipe", "a-socket"]
    if os.getuid() == 0:
        os.mknod(source / "a-device", stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero
        names.append("a-device")
    record = shared.finish(source_directory=str(source), script="main.py")
    assert record["status"] == "Completed", record
    for name in names:
        assert [w for w in record["warnings"] if name in w], record["warnings"]
        assert name.encode() not in shared.std_log(record["run_id"])


def test_git_folder_is_never_taken(shared):
    source = shared.source({"main.py": "", ".git/HEAD": "x", "sub/.git/objects/x": "x", "sub/y": "", ".github/z": ""})
    for ignore in ({}, {".amlignore": "!.git\n!**/.git/**\n"}):
        write_tree(source, ignore)
        record = shared.finish(source_directory=str(source), script="main.py")
        names = set(tree_of(restored(shared, record["run_id"])))
        assert not [name for name in names if b".git" in name.split(b"/")], names
        assert {b"sub/y", b".github/z"} <= names


def test_a_git_file_of_a_worktree_is_not_taken_either(shared):
    source = shared.source({"main.py": "", ".git": "gitdir: /nowhere\n", "sub/.git": "gitdir: /nowhere\n"})
    record = shared.finish(source_directory=str(source), script="main.py")
    assert record["status"] == "Completed", record
    assert set(tree_of(restored(shared, record["run_id"]))) - {b"sub"} == {b"main.py"}


# -- limits ---------------------------------------------------------------------------------------


def test_many_files_are_a_warning_that_names_the_largest_offenders(shared):
    source = shared.source({"main.py": "", **{f"images/{i}.png": "" for i in range(1995)}, "few/a": "", "few/b": ""})
    assert shared.finish(source_directory=str(source), command="true")["warnings"] == []
    write_tree(source, {f"images/more{i}.png": "" for i in range(10)})
    record = shared.finish(source_directory=str(source), command="true")
    assert record["status"] == "Completed"
    assert [w for w in record["warnings"] if "images" in w], record["warnings"]


def test_many_bytes_are_a_warning_that_names_the_largest_offenders(make_daemon):
    daemon = make_daemon(config={"snapshot_warn_bytes": "1M"})
    source = daemon.source({"main.py": "", "small": "x", "data/huge.bin": bytes(2 << 20)})
    record = daemon.finish(source_directory=str(source), script="main.py")
    assert record["status"] == "Completed"
    assert [w for w in record["warnings"] if "data/huge.bin" in w or "data" in w], record["warnings"]


def test_the_warning_is_shown_by_amlctl_run_on_stderr(shared):
    source = shared.source("print('out')")
    os.mkfifo(source / "a-pipe")
    done = shared.amlctl("run", "main.py", cwd=source)
    assert done.stdout == b"out\n" and b"a-pipe" in done.stderr, done


@pytest.mark.parametrize(
    "limit, files, offender",
    [
        ({"snapshot_max_bytes": "1M"}, {"small": "x", "data/huge.bin": bytes(2 << 20)}, "data/huge.bin"),
        ({"snapshot_max_files": 100}, {"few/a": "", **{f"images/{i}": "" for i in range(200)}}, "images"),
    ],
)
def test_a_snapshot_over_the_hard_limit_is_an_error_that_names_the_offenders(make_daemon, limit, files, offender):
    daemon = make_daemon(config=limit)
    source = daemon.source({"main.py": "", **files})
    answer = daemon.post(source_directory=str(source), script="main.py")
    assert answer.status == 413 and answer.error["code"] == "TooLarge", answer
    assert offender in answer.error["message"], answer
    message = one_line_error(daemon.amlctl("run", "main.py", cwd=source))
    assert offender in message
    assert daemon.api("GET", "/v1/runs").json == []
    assert os.listdir(daemon.state / "runs") == []
    write_tree(source, {".amlignore": "data\nimages\n"})
    assert daemon.amlctl("run", "main.py", cwd=source).returncode == 0


def test_a_very_deep_tree_works_or_is_refused_by_name(daemon):
    source = daemon.source()
    here = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(600):  # far beyond PATH_MAX
        os.mkdir("deepdeep", dir_fd=here)
        below = os.open("deepdeep", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("bottom", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=here))
    os.close(here)
    answer = daemon.post(source_directory=str(source), script="main.py")
    assert answer.status in (201, 400, 413), answer
    if answer.status == 201:
        record = daemon.ended(answer.json["run_id"])
        assert record["status"] == "Completed", record
        wait_for(lambda: not list(daemon.state.glob("runs/*/work")), "its folder is cleaned up")
    else:
        assert "deepdeep" in answer.error["message"], answer
    assert daemon.api("GET", "/healthz").status == 200
    import subprocess

    subprocess.run(["rm", "-rf", source, *daemon.state.glob("runs/*/work")], check=True)


def test_an_empty_folder_with_a_command_is_a_snapshot_too(shared):
    folder = shared.root / "src" / "void"
    folder.mkdir(parents=True)
    record = shared.finish(source_directory=str(folder), command="true")
    assert record["status"] == "Completed" and record["snapshot_id"]
    assert tree_of(restored(shared, record["run_id"])) == {}


def test_the_folders_of_a_run_in_the_source_are_part_of_it(shared):
    """An outputs/ that was there before is laid out like all else; only what the run changed is an artifact."""
    source = shared.source({"main.py": "open('outputs/new', 'w').write('n')\nprint(open('outputs/old').read())",
                            "outputs/old": "was here"})  # fmt: skip
    record = shared.finish(source_directory=str(source), script="main.py")
    assert shared.std_log(record["run_id"]) == b"was here\n"
    names = set(shared.artifacts(record["run_id"]))
    assert "outputs/new" in names and "outputs/old" not in names


def test_snapshot_into_a_folder_that_has_something_does_not_destroy_it(shared):
    run = shared.submit({"main.py": "1"})
    target = write_tree(shared.root / "occupied", {"mine.txt": "mine", "main.py": "my own"})
    done = shared.amlctl("snapshot", run, "-o", target)
    assert (target / "mine.txt").read_text() == "mine"
    if done.returncode:
        one_line_error(done)
        assert (target / "main.py").read_text() == "my own"
    else:
        assert (target / "main.py").read_text() == "1"
    shared.ended(run)


def test_snapshot_does_not_write_through_links_that_lie_in_wait(shared):
    run = shared.submit({"sub/file": "from the snapshot", "main.py": ""})
    victim = write_tree(shared.root / "victim", {"file": "mine"})
    target = shared.root / "trapped"
    target.mkdir()
    os.symlink(victim, target / "sub")
    shared.amlctl("snapshot", run, "-o", target)
    assert (victim / "file").read_text() == "mine"
    shared.ended(run)


def test_a_file_that_grows_while_it_is_read_does_not_hang_or_break_the_submit(shared):
    source = shared.source({"main.py": "print('fine')"})
    with open(source / "growing.log", "wb", buffering=0) as file:
        import threading

        stop = threading.Event()

        def grow():
            while not stop.is_set() and file.tell() < 200 << 20:
                file.write(b"x" * 65536)
                stop.wait(0.0005)

        thread = threading.Thread(target=grow)
        thread.start()
        try:
            wait_for(lambda: file.tell() > 1 << 20, "the log grows")
            answer = shared.post(source_directory=str(source), script="main.py")
        finally:
            stop.set()
            thread.join()
    if answer.status == 201:
        assert shared.ended(answer.json["run_id"])["status"] == "Completed"
    else:
        assert 400 <= answer.status < 500 and "growing.log" in answer.error["message"], answer
