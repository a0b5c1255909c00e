# SPDX-License-Identifier: MIT
"""The disk that forgets, and the reader of traces, can both be wrong: they are tested with programs that are."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from powerloss_disk import DIRECTORY, FILE, ROOT, VARIANTS, Disk
from powerloss_trace import STRACE, NotUnderstood, record, split_arguments, tree_on_disk, unquote, unusable

RANDOM = ("some", "other")

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def disk():
    return Disk({"old": (FILE, 0o644, b"old bytes"), "folder": (DIRECTORY, 0o755, None)})


def contents(disk, variant, seed=0):
    """{path: bytes, None for what is no file}"""
    return {path: entry[2] for path, entry in disk.tree(variant, seed).items()}


# -- the disk -------------------------------------------------------------------------------------


def test_what_was_there_at_first_is_durable(disk):
    for variant in VARIANTS:
        assert contents(disk, variant) == {"old": b"old bytes", "folder": None}


def test_a_new_file_needs_an_fsync_of_its_own_and_one_of_its_folder(disk):
    file = disk.create(ROOT, "new", FILE, 0o600)
    disk.write(file, 0, b"12345")
    assert "new" not in contents(disk, "lost")
    assert contents(disk, "names")["new"] == b""
    assert contents(disk, "zeros")["new"] == bytes(5)
    assert contents(disk, "kept")["new"] == b"12345"
    disk.fsync(file)
    assert "new" not in contents(disk, "lost")
    assert contents(disk, "names")["new"] == b"12345"
    disk.fsync(ROOT)
    for variant in VARIANTS:
        assert contents(disk, variant)["new"] == b"12345"


def test_fsync_of_a_folder_brings_no_bytes(disk):
    disk.write(disk.create(ROOT, "new", FILE, 0o600), 0, b"12345")
    disk.fsync(ROOT)
    assert contents(disk, "lost")["new"] == b""


def test_a_file_in_a_folder_whose_name_is_not_durable_is_lost(disk):
    folder = disk.create(ROOT, "new", DIRECTORY, 0o700)
    file = disk.create(folder, "file", FILE, 0o600)
    disk.write(file, 0, b"12345")
    disk.fsync(file)
    disk.fsync(folder)
    assert contents(disk, "lost") == {"old": b"old bytes", "folder": None}
    disk.fsync(ROOT)
    assert contents(disk, "lost")["new/file"] == b"12345"


def test_a_rename_onto_a_file_is_all_or_nothing(disk):
    file = disk.create(ROOT, "temp", FILE, 0o600)
    disk.write(file, 0, b"new bytes")
    disk.fsync(file)
    disk.rename(ROOT, "temp", ROOT, "old")
    assert contents(disk, "lost")["old"] == b"old bytes"
    seen = {contents(disk, variant, seed)["old"] for variant in RANDOM for seed in range(50)}
    assert seen == {b"old bytes", b"new bytes"}
    disk.fsync(ROOT)
    assert contents(disk, "lost") == {"old": b"new bytes", "folder": None}


def test_a_rename_to_another_folder_is_two_changes(disk):
    folder = disk.lookup("folder")
    disk.rename(ROOT, "old", folder, "moved")
    assert contents(disk, "kept") == {"folder": None, "folder/moved": b"old bytes"}
    disk.fsync(folder)
    assert contents(disk, "lost") == {"old": b"old bytes", "folder": None, "folder/moved": b"old bytes"}
    other = Disk({"old": (FILE, 0o644, b"old bytes"), "folder": (DIRECTORY, 0o755, None)})
    other.rename(ROOT, "old", folder, "moved")
    other.fsync(ROOT)
    assert contents(other, "lost") == {"folder": None}


def test_an_unlinked_file_comes_back_until_the_folder_is_flushed(disk):
    disk.unlink(ROOT, "old")
    assert contents(disk, "lost")["old"] == b"old bytes"
    assert "old" not in contents(disk, "kept")
    disk.fsync(ROOT)
    assert "old" not in contents(disk, "lost")


def test_a_second_name_shares_the_bytes_and_their_fsync(disk):
    file = disk.create(ROOT, "one", FILE, 0o600)
    disk.write(file, 0, b"12345")
    disk.link(file, ROOT, "two")
    disk.fsync(ROOT)
    assert contents(disk, "lost")["two"] == b""
    disk.fsync(disk.lookup("two"))
    assert contents(disk, "lost")["one"] == b"12345"


def test_truncated_and_written_over_bytes_are_the_old_ones_until_fsync(disk):
    file = disk.lookup("old")
    disk.truncate(file, 0)
    disk.write(file, 2, b"xy")
    assert contents(disk, "kept")["old"] == b"\0\0xy"
    assert contents(disk, "lost")["old"] == b"old bytes"
    seen = {contents(disk, "some", seed)["old"] for seed in range(50)}
    assert seen == {b"old bytes", b"", b"\0\0xy"}


def test_some_keeps_the_order_of_a_file_and_tears_the_last_write(disk):
    file = disk.lookup("old")
    for number in range(4):
        disk.write(file, 1024 * number, bytes([ord("a") + number]) * 1024)
    whole = disk.content(file)
    sizes = set()
    for seed in range(200):
        left = contents(disk, "some", seed)["old"]
        if left != b"old bytes":
            assert left == whole[: len(left)]
            sizes.add(len(left))
    assert sizes >= {512, 1024, 1536, 2048, 2560, 3072, 3584, 4096}


def test_sync_makes_everything_durable(disk):
    folder = disk.create(disk.lookup("folder"), "deep", DIRECTORY, 0o700)
    disk.write(disk.create(folder, "file", FILE, 0o600), 0, b"12345")
    disk.sync()
    assert contents(disk, "lost")["folder/deep/file"] == b"12345"


def test_the_same_calls_and_seed_give_the_same_remains():
    def remains(seed):
        disk = Disk()
        for number in range(20):
            disk.write(disk.create(ROOT, f"file{number}", FILE, 0o600), 0, b"12345")
        return disk.tree("some", seed)

    assert remains(1) == remains(1)
    assert len({tuple(sorted(remains(seed))) for seed in range(20)}) > 10


# -- whole programs -------------------------------------------------------------------------------

HEAD = """
import os, subprocess, sys, threading
def put(path, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, sync=True):
    fd = os.open(path, flags, 0o644)
    os.write(fd, data)
    if sync:
        os.fsync(fd)
    os.close(fd)
def sync(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
def tell(text):
    put(sys.argv[1], text, os.O_WRONLY | os.O_CREAT | os.O_APPEND, sync=False)
"""
NEW = b"new" * 500
RIGHT = "put('temp', b'new' * 500); os.rename('temp', 'file'); sync('.'); tell(b'done')"
TOYS = {
    "right": RIGHT,
    "right, with descriptors": """
dir = os.open('.', os.O_RDONLY)
fd = os.open('temp', os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=dir)
copy = os.dup(fd); os.close(fd)
os.write(copy, b'new' * 250); os.pwrite(copy, b'new' * 250, 750); os.fdatasync(copy)
os.rename('temp', 'file', src_dir_fd=dir, dst_dir_fd=dir); os.fsync(dir); tell(b'done')""",
    "right, in a thread and a child": """
thread = threading.Thread(target=put, args=('temp', b'new' * 500)); thread.start(); thread.join()
subprocess.run(['mv', 'temp', 'file'], check=True); sync('.'); tell(b'done')""",
    "right, copied": """
put('/tmp/' + os.path.basename(os.getcwd()) + '.from', b'new' * 500)
source = os.open('/tmp/' + os.path.basename(os.getcwd()) + '.from', os.O_RDONLY)
fd = os.open('temp', os.O_WRONLY | os.O_CREAT)
os.sendfile(fd, source, 0, 700); os.copy_file_range(source, fd, 5000, 700); os.fsync(fd)
os.rename('temp', 'file'); sync('.'); tell(b'done')""",
    "right, by sync": """
put('temp', b'new' * 500, sync=False); os.sync(); os.rename('temp', 'file'); os.sync(); tell(b'done')""",
    "no fsync": "put('temp', b'new' * 500, sync=False); os.rename('temp', 'file'); sync('.'); tell(b'done')",
    "no fsync of the folder": "put('temp', b'new' * 500); os.rename('temp', 'file'); tell(b'done')",
    "fsync of the folder before the rename": """
put('temp', b'new' * 500); sync('.'); os.rename('temp', 'file'); tell(b'done')""",
    "fsync before the last write": """
put('temp', b'new' * 499); put('temp', b'new', os.O_WRONLY | os.O_APPEND, sync=False)
os.rename('temp', 'file'); sync('.'); tell(b'done')""",
    "told too early": "put('temp', b'new' * 500); os.rename('temp', 'file'); tell(b'done'); sync('.')",
    "in place": "put('file', b'new' * 500); tell(b'done')",
}
BROKEN = [name for name in TOYS if not name.startswith(("right", "in place"))]


@pytest.fixture
def recorded():
    """recorded(code): the Recording of a Python program in a folder with an old `file`."""
    if reason := unusable():
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="pl-toy-", dir="/tmp"))
    root, witness = folder / folder.name, folder / "witness"

    def run(code):
        root.mkdir()
        (root / "file").write_bytes(b"old")
        before = tree_on_disk(root)
        program = [sys.executable, "-B", "-S", "-c", HEAD + code, witness]
        subprocess.run([*STRACE, "-o", folder / "trace", *program], cwd=root, check=True, timeout=30)
        lines = (folder / "trace").read_text().splitlines()
        recording = record(lines, root, before, str(witness), str(root))
        after = tree_on_disk(root)
        assert contents(recording.disk, "kept") == {path: entry[2] for path, entry in after.items()}
        return recording

    yield run
    Path(f"/tmp/{folder.name}.from").unlink(missing_ok=True)
    shutil.rmtree(folder)


def broken_promises(recording):
    """Where `file` is neither old nor new, or not new after that had been told: (variant, after how many steps)."""
    disk, told, found = Disk(recording.tree), False, []
    for count, step in enumerate(recording.steps):
        told = told or step[0] == "witness"
        if step[0] == "disk":
            getattr(disk, step[1])(*step[2])
        for variant in VARIANTS:
            for seed in range(8 if variant in RANDOM else 1):
                left = contents(disk, variant, seed).get("file")
                if left != NEW and (told or left != b"old"):
                    found.append((variant, count))
    return found


@pytest.mark.parametrize("toy", [name for name in TOYS if name.startswith("right")])
def test_a_program_that_does_it_right_passes(recorded, toy):
    recording = recorded(TOYS[toy])
    assert ("witness", b"done") in recording.steps
    assert broken_promises(recording) == []


@pytest.mark.parametrize("toy", BROKEN)
def test_a_program_that_forgets_something_is_caught(recorded, toy):
    recording = recorded(TOYS[toy])
    assert ("witness", b"done") in recording.steps
    assert broken_promises(recording)


def test_a_file_written_in_place_may_be_torn_or_empty(recorded):
    variants = {variant for variant, _ in broken_promises(recorded(TOYS["in place"]))}
    assert variants & {"kept", "some"}
    assert "lost" not in variants


# -- the reader -----------------------------------------------------------------------------------


def test_strings_and_arguments_of_a_trace():
    assert unquote(r'[{iov_base="\x61\x2c\x22", iov_len=3}, {iov_base="\x62", iov_len=1}]') == [b'a,"', b"b"]
    parts = split_arguments(r'3, [{a="\x61", b=[1, 2]}, {c}], {d, e}, 0')
    assert parts == ["3", r'[{a="\x61", b=[1, 2]}, {c}]', "{d, e}", "0"]
    with pytest.raises(NotUnderstood):
        unquote(r'"\x61"...')


def test_a_call_that_is_not_understood_is_an_error():
    root = os.path.realpath(tempfile.gettempdir()) + "/pl-not-there"
    path = "".join(f"\\x{byte:02x}" for byte in f"{root}/file".encode())
    opened = f'7 openat(AT_FDCWD, "{path}", O_RDWR|O_CREAT, 0600) = 3'
    with pytest.raises(NotUnderstood):
        record([opened, "7 fallocate(3, FALLOC_FL_PUNCH_HOLE, 0, 10) = 0"], root, {})
    with pytest.raises(NotUnderstood):
        record(["7 this is no call"], root, {})
    assert len(record([opened], root, {}).steps) == 1
