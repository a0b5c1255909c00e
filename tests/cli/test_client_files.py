# SPDX-License-Identifier: MIT
"""files, download and snapshot: all bytes under their names, nothing beside them, and no half of anything."""

import hashlib
import io
import os
import signal
import subprocess
import tarfile
import time

import pytest
from client import LIMIT, RUN, amlctl, command, environment
from fake_daemon import record
from harness import files_of, quote, tree_of, wait_for, without_silence

ODD = [b"outputs/a.txt", b"outputs/sub/b c.bin", b"outputs/sub2/x", b"logs/new\nline", b"user_logs/\xff'\"\xc3\xa9",
       b"outputs/empty", b"outputs/%41"]


def serve_artifacts(daemon, contents, extra=None):
    def handle(request):
        if request.target.endswith("/artifacts"):
            request.connection.json([{
                "path": name.decode(errors="replace"), "href": f"/v1/runs/{RUN}/artifacts/{quote(name)}",
                "size": len(data), "digest": "sha256:" + hashlib.sha256(data).hexdigest(),
                "modified_utc": "2026-11-22T20:00:00.250000Z"} for name, data in sorted(contents.items())])
        elif not (extra and extra(request)):
            names = {f"/v1/runs/{RUN}/artifacts/{quote(n)}": n for n in contents}
            request.connection.bytes(contents[names[request.target]])

    daemon.handle = handle


CONTENTS = {name: bytes([i]) * i * 1000 for i, name in enumerate(ODD)}


def test_all_artifacts_come_back_under_their_names(daemon, tmp_path):
    serve_artifacts(daemon, CONTENTS)
    done = amlctl(daemon, "download", RUN, "-o", str(tmp_path / "new/out"))
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "new/out") == CONTENTS
    assert b"downloaded 7 files" in done.stderr and done.stdout == b""
    assert os.stat(tmp_path / "new/out/outputs/a.txt").st_mtime == 1795377600.25
    listed = amlctl(daemon, "files", RUN).stdout.decode().splitlines()
    assert len(listed) == 8 and listed[1].endswith("logs/new\\nline") and listed[-1].endswith("user_logs/\\377'\"é")


@pytest.mark.parametrize("names,expected", [
    (["outputs/a.txt"], [b"outputs/a.txt"]),
    (["outputs/sub"], [b"outputs/sub/b c.bin"]),
    (["outputs/sub/"], [b"outputs/sub/b c.bin"]),
    (["outputs/s"], [b"outputs/sub/b c.bin", b"outputs/sub2/x"]),
    (["logs", b"user_logs/\xff"], [b"logs/new\nline", b"user_logs/\xff'\"\xc3\xa9"]),
])
def test_names_choose_artifacts(daemon, tmp_path, names, expected):
    serve_artifacts(daemon, CONTENTS)
    assert amlctl(daemon, "download", RUN, *names, "-o", str(tmp_path / "out")).returncode == 0
    assert sorted(files_of(tmp_path / "out")) == expected


def test_a_name_that_is_none_downloads_nothing(daemon, tmp_path):
    serve_artifacts(daemon, CONTENTS)
    done = amlctl(daemon, "download", RUN, "outputs/a.txt", "outputs/none", "-o", str(tmp_path / "out"))
    assert done.returncode == 125 and b"outputs/none" in done.stderr
    assert not (tmp_path / "out").exists()


def test_damaged_bytes_are_not_kept(daemon, tmp_path):
    serve_artifacts(daemon, CONTENTS, lambda r: r.connection.bytes(b"wrong") or True)
    done = amlctl(daemon, "download", RUN, "outputs/a.txt", "-o", str(tmp_path / "out"))
    assert done.returncode == 125 and b"damaged" in done.stderr
    assert files_of(tmp_path / "out") == {}


@pytest.mark.parametrize("digest, run_is_there, status", [
    (None, True, 0), (None, False, 125), ("sha256:" + hashlib.sha256(b"x").hexdigest(), True, 125)])
def test_a_file_of_a_run_that_ends_may_be_no_artifact(daemon, tmp_path, digest, run_is_there, status):
    """Listed while the run went on; at its end what it has not changed is none."""
    def handle(request):
        name = request.target.rpartition("/artifacts/")[2]
        if request.target.endswith("/artifacts"):
            request.connection.json([
                {"path": path, "href": f"/v1/runs/{RUN}/artifacts/{path}", "size": 1, "digest": digest,
                 "modified_utc": None} for path in ("logs/a", "logs/b", "logs/c")])
        elif request.target == f"/v1/runs/{RUN}" and run_is_there:
            request.connection.json(record())
        elif name in ("logs/a", "logs/c"):
            request.connection.bytes(b"x")
        else:
            request.connection.error(404, "NotFound", f'nothing of the name "{request.target}"')

    daemon.handle = handle
    done = amlctl(daemon, "download", "latest", "-o", str(tmp_path / "out"))
    assert done.returncode == status, done
    if status:
        assert b"nothing of the name" in done.stderr and files_of(tmp_path / "out") == {b"logs/a": b"x"}
    else:
        assert files_of(tmp_path / "out") == {b"logs/a": b"x", b"logs/c": b"x"}
        assert b"logs/b is no artifact of the run" in done.stderr and b"downloaded 2 files" in done.stderr


def test_a_download_that_is_cut_begins_anew(daemon, tmp_path):
    def cut_twice(request):
        if len(daemon.requests) > 3:
            return False
        request.connection.head(200, "Content-Length: 5000")
        request.connection.raw(b"half")
        request.connection.cut()
        return True

    serve_artifacts(daemon, CONTENTS, cut_twice)
    assert amlctl(daemon, "download", RUN, "outputs/%41", "-o", str(tmp_path / "out")).returncode == 0
    assert files_of(tmp_path / "out") == {b"outputs/%41": CONTENTS[b"outputs/%41"]}


@pytest.mark.parametrize("name", [b"../evil", b"/etc/evil", b"a/../../evil", b"a//b"])
def test_nothing_is_written_outside_of_the_folder(daemon, tmp_path, name):
    serve_artifacts(daemon, {name: b"x"})
    done = amlctl(daemon, "download", RUN, "-o", str(tmp_path / "deep/out"))
    assert done.returncode == 125 and b"refusing" in done.stderr
    assert files_of(tmp_path / "deep") == {}


def test_links_in_the_folder_are_not_followed(daemon, tmp_path):
    (tmp_path / "out/outputs").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "out/outputs/sub").symlink_to(tmp_path / "outside")
    (tmp_path / "out/outputs/a.txt").symlink_to(tmp_path / "outside/kept")
    (tmp_path / "outside/kept").write_text("kept")
    serve_artifacts(daemon, CONTENTS)
    done = amlctl(daemon, "download", RUN, "outputs/sub", "-o", str(tmp_path / "out"))
    assert done.returncode == 125 and b"outputs/sub is in the way" in done.stderr
    assert amlctl(daemon, "download", RUN, "outputs/a.txt", "-o", str(tmp_path / "out")).returncode == 0
    assert files_of(tmp_path / "outside") == {b"kept": b"kept"}
    assert not (tmp_path / "out/outputs/a.txt").is_symlink()


def test_an_interrupted_download_leaves_no_part(daemon, tmp_path):
    def stall(request):
        request.connection.head(200, "Content-Length: 5000")
        request.connection.raw(b"half")
        time.sleep(20)
        return True

    serve_artifacts(daemon, CONTENTS, stall)
    process = subprocess.Popen(command(daemon, "download", RUN, "outputs/a.txt", "-o", str(tmp_path / "out")),
                               stderr=subprocess.PIPE, env=environment())
    wait_for(lambda: list((tmp_path / "out").glob("outputs/.amlctl-*")), "the download has begun")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=LIMIT) == 130
    assert without_silence(process.stderr.read()) == b"amlctl: interrupted\n"
    assert files_of(tmp_path / "out") == {}


def tar_of(folder):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        tar.add(folder, ".")
    return data.getvalue()


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "sub").mkdir(parents=True)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "sub/link").symlink_to("../run.sh")
    (folder / "sub/big").write_bytes(os.urandom(300000))
    return folder


def serve_snapshot(daemon, answer):
    daemon.handle = lambda r: answer(r) if r.target.endswith("/snapshot") else r.connection.json(record())


def test_a_snapshot_is_laid_out_whole(daemon, tmp_path, source):
    serve_snapshot(daemon, lambda r: r.connection.bytes(tar_of(source)))
    done = amlctl(daemon, "snapshot", "latest", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert tree_of(tmp_path / RUN) == tree_of(source)
    assert os.readlink(tmp_path / RUN / "sub/link") == "../run.sh"
    assert os.access(tmp_path / RUN / "run.sh", os.X_OK)


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("fault", ["cut", "error", "garbage"])
def test_a_failed_snapshot_leaves_nothing(daemon, tmp_path, source, fault, exists):
    data = tar_of(source)

    def answer(request):
        if fault == "error":
            request.connection.error(404, "NotFound", "no snapshot")
        elif fault == "garbage":
            request.connection.bytes(b"no tar at all" * 1000)
        else:
            request.connection.head(200, f"Content-Length: {len(data)}")
            request.connection.raw(data[:-1000])
            request.connection.cut()

    serve_snapshot(daemon, answer)
    out = tmp_path / "out"
    if exists:
        out.mkdir()
    done = amlctl(daemon, "snapshot", RUN, "-o", str(out))
    assert done.returncode == 125 and done.stderr
    assert list(out.iterdir()) == [] if exists else not out.exists()


def test_a_snapshot_does_not_mix_with_other_files(daemon, tmp_path, source):
    serve_snapshot(daemon, lambda r: r.connection.bytes(tar_of(source)))
    before = tree_of(source)
    done = amlctl(daemon, "snapshot", RUN, "-o", str(source))
    assert done.returncode == 125 and b"not empty" in done.stderr
    assert tree_of(source) == before
