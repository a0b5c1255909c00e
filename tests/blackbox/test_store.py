# SPDX-License-Identifier: MIT
"""Artifacts: what becomes one, what does not, and that the bytes come back."""

import hashlib
import json
import os
import re

import pytest
from harness import GATE_MODULE, UTC, Gate, files_of, one_line_error, tree_of, wait_for, write_tree

ODD = [b"with space", b"new\nline", b"quo'te\"s", b"back\\slash", b"\xff\xfe-bytes", b"tab\t", b"-dash", b"%41%2f", b"a?b#c",
       b"semi;colon&x=1", "日本".encode(), b"\x01\x1b[31m", b"x" * 255, b"..dots..", b".hidden", b"+plus", b"\xc3(", b"*"]  # fmt: skip


def ran(daemon, files, **fields):
    record = daemon.finish(files, **fields)
    assert record["status"] == "Completed", record
    return record["run_id"]


# -- what becomes an artifact ---------------------------------------------------------------------

MAKE = """
import os, sys
os.makedirs('outputs/a/b'); os.makedirs('logs/deep')
open('outputs/top.bin', 'wb').write(bytes(range(256)) * 1000)
open('outputs/a/b/c.txt', 'w').write('deep')
open('outputs/empty', 'w').close()
open('logs/train.log', 'w').write('log')
open('logs/deep/x.log', 'w').write('x')
open('not-an-output.txt', 'w').write('no')
print('printed', flush=True)
"""
MADE = {"outputs/top.bin", "outputs/a/b/c.txt", "outputs/empty", "logs/train.log", "logs/deep/x.log",
        "user_logs/std_log.txt"}  # fmt: skip


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "os.kill(os.getpid(), 9)", "os.abort()", "os._exit(0)"])
def test_everything_under_the_three_folders_is_an_artifact_whatever_ended_the_run(shared, end):
    run = shared.finish(MAKE + end)["run_id"]
    artifacts = shared.artifacts(run)
    assert set(artifacts) == MADE
    for path, artifact in artifacts.items():
        assert set(artifact) == {"path", "href", "size", "digest", "modified_utc"}, artifact
        body = shared.api("GET", artifact["href"]).body
        assert len(body) == artifact["size"] and UTC.match(artifact["modified_utc"])
        assert artifact["digest"] == "sha256:" + hashlib.sha256(body).hexdigest()
    assert shared.artifact(run, "outputs/top.bin") == bytes(range(256)) * 1000
    assert shared.artifact(run, "user_logs/std_log.txt") == b"printed\n"


def test_the_list_is_sorted_and_can_be_narrowed(shared):
    run = ran(shared, MAKE)
    paths = [artifact["path"] for artifact in shared.api("GET", f"/v1/runs/{run}/artifacts").json]
    assert paths == sorted(paths)
    assert set(shared.artifacts(run, "outputs/")) == {path for path in MADE if path.startswith("outputs/")}
    assert set(shared.artifacts(run, "outputs/a")) == {"outputs/a/b/c.txt"}
    assert shared.artifacts(run, "nothing/") == {}


def test_what_the_snapshot_had_and_the_run_changed_is_an_artifact(shared):
    run = ran(shared, {"main.py": "open('outputs/changed', 'a').write('more')", "outputs/changed": "was ",
                       "outputs/same": "same", "logs/same.log": "same"})  # fmt: skip
    assert set(shared.artifacts(run)) - {"user_logs/std_log.txt"} == {"outputs/changed"}
    assert shared.artifact(run, "outputs/changed") == b"was more"


def test_a_change_that_keeps_the_size_is_a_change(shared):
    run = ran(shared, {"main.py": "open('outputs/changed', 'w').write('new')", "outputs/changed": "old"})
    assert shared.artifact(run, "outputs/changed") == b"new"


# -- what is not followed -------------------------------------------------------------------------


def test_links_pipes_sockets_and_devices_are_not_followed_and_hang_nothing(shared):
    script = f"""
import os, socket
os.symlink('/etc/passwd', 'outputs/absolute-link')
os.symlink('../main.py', 'outputs/inner-link')
os.symlink('/etc', 'outputs/folder-link')
os.symlink('nowhere', 'outputs/dangling')
os.symlink('loop', 'outputs/loop')
os.mkfifo('outputs/pipe'); os.mkfifo('logs/pipe.log')
s = socket.socket(socket.AF_UNIX); os.chdir('outputs'); s.bind('socket'); os.chdir('..')
if os.getuid() == 0:
    os.mknod('outputs/zero', 0o20666, os.makedev(1, 5))
open('outputs/real', 'w').write('real')
"""
    record = shared.finish(script)
    assert record["status"] == "Completed", record
    paths = set(shared.artifacts(record["run_id"]))
    assert "outputs/real" in paths
    for name in ("absolute-link", "folder-link", "pipe", "socket", "zero", "dangling", "loop"):
        assert not [path for path in paths if path.startswith(f"outputs/{name}")], paths
    passwd = open("/etc/passwd", "rb").read()
    assert passwd not in files_of(shared.state / "blobs").values()


@pytest.mark.parametrize("folder", ["outputs", "logs", "user_logs"])
def test_a_folder_that_became_a_link_is_not_followed(shared, folder):
    victim = write_tree(shared.root / f"victim-{folder}", {"secret.txt": f"secret of {folder}"})
    record = shared.finish(
        f"import os, shutil\nshutil.rmtree({folder!r}, ignore_errors=True)\nos.symlink({str(victim)!r}, {folder!r})\n"
    )
    assert record["status"] in ("Completed", "Failed"), record
    assert not [path for path in shared.artifacts(record["run_id"]) if "secret" in path]
    assert f"secret of {folder}".encode() not in files_of(shared.state / "blobs").values()
    assert (victim / "secret.txt").exists()


def test_a_log_that_became_a_link_leads_nowhere(shared):
    """std_log.txt is the log: replaced by a link, it must not become a way to read other files."""
    victim = write_tree(shared.root / "victim-log", {"key": "top secret key"}) / "key"
    record = shared.finish(
        f"import os\nprint('mine')\nos.remove('user_logs/std_log.txt')\nos.symlink({str(victim)!r}, 'user_logs/std_log.txt')\n"
    )
    answer = shared.api("GET", f"/v1/runs/{record['run_id']}/logs/user_logs/std_log.txt")
    assert b"top secret" not in answer.body
    answer = shared.api("GET", f"/v1/runs/{record['run_id']}/artifacts/user_logs/std_log.txt")
    assert b"top secret" not in answer.body


def test_a_log_file_that_is_a_link_is_not_read_while_the_run_goes_on(shared):
    victim = write_tree(shared.root / "victim-live", {"key": "top secret live"}) / "key"
    gate = Gate(shared.root, "live-link")
    main = f"import os\nos.symlink({str(victim)!r}, 'logs/x.log'); os.mkfifo('logs/p.log')\nprint('up')\n{gate.code}"
    run = shared.submit({"gate.py": GATE_MODULE, "main.py": main})
    shared.printed(run)
    for kind in ("logs", "artifacts"):
        for name in ("x.log", "p.log"):
            answer = shared.api("GET", f"/v1/runs/{run}/{kind}/logs/{name}", timeout=20)
            assert answer.status in (400, 403, 404, 409), answer
    gate.open()
    shared.ended(run)


def test_a_hard_link_in_outputs_is_stored_as_a_file(shared):
    run = ran(shared, "import os\nopen('outputs/a', 'w').write('linked')\nos.link('outputs/a', 'outputs/b')")
    assert shared.artifact(run, "outputs/a") == shared.artifact(run, "outputs/b") == b"linked"


def test_files_without_any_rights_and_read_only_folders(shared):
    script = (
        "import os\nopen('outputs/locked', 'w').write('x')\nos.chmod('outputs/locked', 0)\n"
        "os.mkdir('outputs/ro')\nopen('outputs/ro/f', 'w').write('y')\nos.chmod('outputs/ro', 0o555)\n"
    )
    record = shared.finish(script)
    assert shared.artifact(record["run_id"], "outputs/ro/f") == b"y"
    if record["status"] == "Completed":
        wait_for(lambda: not shared.work(record["run_id"]).exists(), "work/ goes")


def test_a_sparse_file_of_many_gigabytes_is_no_trouble_to_the_disk(shared):
    run = ran(shared, "f = open('outputs/sparse', 'wb'); f.truncate(64 << 20); f.seek(5); f.write(b'x')")
    assert shared.artifacts(run)["outputs/sparse"]["size"] == 64 << 20
    body = shared.artifact(run, "outputs/sparse")
    assert len(body) == 64 << 20 and body[5:6] == b"x" and body.count(b"\0") == (64 << 20) - 1


# -- odd names ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def odd_run(shared):
    script = f"import os\nfor name in {ODD!r}:\n    open(b'outputs/' + name, 'wb').write(b'content of ' + name)\n"
    return ran(shared, script)


def test_odd_names_survive_the_way_through_href(shared, odd_run):
    answer = shared.api("GET", f"/v1/runs/{odd_run}/artifacts?prefix=outputs/")
    artifacts = json.loads(answer.body.decode("utf-8", errors="strict"))
    bodies = {shared.api("GET", artifact["href"]).body for artifact in artifacts}
    assert bodies == {b"content of " + name for name in ODD}
    assert {artifact["path"] for artifact in artifacts} == {
        "outputs/" + name.decode("utf-8", errors="replace") for name in ODD
    }
    for artifact in artifacts:
        assert re.fullmatch(r"[A-Za-z0-9/%._~!$'()*,;=:@&+-]+", artifact["href"]), artifact


def test_odd_names_survive_the_way_through_download(shared, odd_run):
    target = shared.root / "odd-download"
    shared.ok("download", odd_run, "-o", target)
    files = {name: body for name, body in files_of(target).items() if name.startswith(b"outputs/")}
    assert files == {b"outputs/" + name: b"content of " + name for name in ODD}


@pytest.mark.parametrize("name", ODD)
def test_one_odd_name_can_be_asked_for(shared, odd_run, name):
    target = shared.root / f"odd-{ODD.index(name)}"
    done = shared.amlctl("download", odd_run, b"outputs/" + name, "-o", target)
    assert done.returncode == 0, done
    assert files_of(target) == {b"outputs/" + name: b"content of " + name}


def test_odd_names_do_not_reach_a_terminal_raw(shared, odd_run):
    done = shared.amlctl("files", odd_run)
    assert done.returncode == 0 and b"\x1b" not in done.stdout and b"\x01" not in done.stdout, done
    assert len(done.stdout.splitlines()) <= len(ODD) + 3, "a newline in a name must not make two lines"


# -- stored once ----------------------------------------------------------------------------------


def test_the_same_bytes_are_stored_once(daemon):
    script = "data = b'the same' * 100000\nfor i in range(5): open(f'outputs/{i}', 'wb').write(data)"
    for _ in range(2):
        ran(daemon, script)
    content = b"the same" * 100000
    blobs = files_of(daemon.state / "blobs")
    name = hashlib.sha256(content).hexdigest().encode()
    assert [key for key, body in blobs.items() if body == content] == [b"sha256/" + name[:2] + b"/" + name]
    for key, body in blobs.items():
        assert key.split(b"/")[-1].decode() == hashlib.sha256(body).hexdigest()


def test_damaged_bytes_are_not_handed_out_as_if_they_were_right(daemon):
    run = ran(daemon, "open('outputs/x', 'w').write('precious' * 1000)")
    name = hashlib.sha256(b"precious" * 1000).hexdigest()
    path = daemon.state / "blobs/sha256" / name[:2] / name
    os.chmod(path, 0o600)
    path.write_bytes(b"Precious" + b"precious" * 999)
    connection = daemon.connect()
    connection.request("GET", f"/v1/runs/{run}/artifacts/outputs/x")
    response = connection.getresponse()
    try:
        body = response.read()
    except Exception:  # cut: something is missing, and says so
        return
    finally:
        connection.close()
    assert response.status >= 500 or hashlib.sha256(body).hexdigest() == name, (response.status, body[:50])


def test_work_goes_when_completed_and_stays_when_not(daemon):
    completed = ran(daemon, "open('x', 'w')")
    wait_for(lambda: not daemon.work(completed).exists(), "work/ of a Completed run goes")
    failed = daemon.finish("open('left-for-a-look', 'w')\nraise SystemExit(1)")["run_id"]
    canceled = daemon.finish("open('left-for-a-look', 'w')\nimport time; time.sleep(100)", max_run_duration_seconds=5)
    for run in (failed, canceled["run_id"]):
        assert (daemon.work(run) / "left-for-a-look").exists()


# -- download -------------------------------------------------------------------------------------


def test_download_gives_back_all_one_and_many(shared):
    run = ran(shared, MAKE)
    everything = shared.root / f"all-{run}"
    shared.ok("download", run, "-o", everything)
    assert {name.decode() for name in files_of(everything)} == MADE
    assert files_of(everything)[b"outputs/top.bin"] == bytes(range(256)) * 1000
    one = shared.root / f"one-{run}"
    shared.ok("download", run, "outputs/a/b/c.txt", "-o", one)
    assert files_of(one) == {b"outputs/a/b/c.txt": b"deep"}
    two = shared.root / f"two-{run}"
    shared.ok("download", run, "outputs/empty", "logs/train.log", "-o", two)
    assert files_of(two) == {b"outputs/empty": b"", b"logs/train.log": b"log"}
    for prefix in ("outputs/", "outputs"):
        many = shared.root / f"many-{prefix.replace('/', '_')}-{run}"
        shared.ok("download", run, prefix, "-o", many)
        assert {name.decode() for name in files_of(many)} == {p for p in MADE if p.startswith("outputs/")}


def test_download_of_a_name_that_is_not_there_is_an_error_that_names_it(shared):
    run = ran(shared, MAKE)
    assert "outputs/absent" in one_line_error(shared.amlctl("download", run, "outputs/absent", "-o", shared.root / "none"))
    assert not (shared.root / "none").exists() or tree_of(shared.root / "none") == {}


def test_download_does_not_write_through_links_that_lie_in_wait(shared):
    run = ran(shared, "open('outputs/file', 'w').write('from the run')")
    victim = write_tree(shared.root / "victim", {"file": "mine"})
    target = shared.root / "trapped"
    target.mkdir()
    os.symlink(victim, target / "outputs")
    shared.amlctl("download", run, "outputs/file", "-o", target)
    assert (victim / "file").read_text() == "mine"


def test_download_twice_into_the_same_folder_gives_the_bytes_of_the_store(shared):
    run = ran(shared, "open('outputs/file', 'w').write('right')")
    target = shared.root / "twice"
    shared.ok("download", run, "-o", target)
    (target / "outputs/file").write_text("spoiled by the user")
    done = shared.amlctl("download", run, "-o", target)
    assert (target / "outputs/file").read_text() == "right" or done.returncode != 0


def test_files_lists_what_download_gives(shared):
    run = ran(shared, MAKE)
    text = shared.ok("files", run)
    for path in MADE:
        assert path in text
    assert {artifact["path"] for artifact in shared.json("files", run)} == MADE


# -- reading --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def letters(shared):
    """A run with an artifact of 26 letters."""
    return ran(shared, "open('outputs/letters', 'w').write('abcdefghijklmnopqrstuvwxyz')")


@pytest.mark.parametrize(
    "header, body, content_range",
    [
        ("bytes=0-3", b"abcd", "bytes 0-3/26"),
        ("bytes=-3", b"xyz", "bytes 23-25/26"),
        ("bytes=20-", b"uvwxyz", "bytes 20-25/26"),
        ("bytes=0-0", b"a", "bytes 0-0/26"),
        ("bytes=25-999", b"z", "bytes 25-25/26"),
        ("bytes=-999", b"abcdefghijklmnopqrstuvwxyz", "bytes 0-25/26"),
    ],
)
def test_ranges(shared, letters, header, body, content_range):
    answer = shared.api("GET", f"/v1/runs/{letters}/artifacts/outputs/letters", headers={"Range": header})
    assert (answer.status, answer.body) == (206, body)
    assert answer.headers["Content-Range"] == content_range and answer.headers["Content-Length"] == str(len(body))


@pytest.mark.parametrize("header", ["bytes=26-", "bytes=100-200", "bytes=-0"])
def test_a_range_beyond_the_end(shared, letters, header):
    answer = shared.api("GET", f"/v1/runs/{letters}/artifacts/outputs/letters", headers={"Range": header})
    assert answer.status == 416 and answer.error["code"] == "RangeNotSatisfiable", answer


@pytest.mark.parametrize("header", ["bytes=", "bytes=x-y", "lines=1-2", "bytes=5-2", "bytes=99999999999999999999999-", "=", "-"])
def test_a_range_that_is_none_is_ignored_or_refused(shared, letters, header):
    answer = shared.api("GET", f"/v1/runs/{letters}/artifacts/outputs/letters", headers={"Range": header})
    assert answer.status in (200, 400, 416), answer
    if answer.status == 200:
        assert answer.body == b"abcdefghijklmnopqrstuvwxyz"


def test_etag_is_the_digest(shared, letters):
    answer = shared.api("GET", f"/v1/runs/{letters}/artifacts/outputs/letters")
    assert hashlib.sha256(answer.body).hexdigest() in answer.headers["ETag"]
    assert re.fullmatch(r'"[^"]+"', answer.headers["ETag"])


def test_an_empty_artifact(shared):
    run = ran(shared, "open('outputs/nothing', 'w')")
    answer = shared.api("GET", f"/v1/runs/{run}/artifacts/outputs/nothing")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")


# -- live -----------------------------------------------------------------------------------------


def test_logs_are_artifacts_while_the_run_goes_on(shared):
    gate = Gate(shared.root, "live.gate")
    main = f"""
import os
open('logs/train.log', 'w').write('epoch 1\\n')
open('outputs/model', 'w').write('half')
print('up')
{gate.code}
open('logs/train.log', 'a').write('epoch 2\\n')
"""
    run = shared.submit({"gate.py": GATE_MODULE, "main.py": main})
    shared.printed(run)
    artifacts = shared.artifacts(run)
    assert {"logs/train.log", "user_logs/std_log.txt"} <= set(artifacts)
    assert artifacts["logs/train.log"]["digest"] is None
    assert shared.artifact(run, "logs/train.log") == b"epoch 1\n"
    assert shared.artifact(run, "user_logs/std_log.txt") == b"up\n"
    gate.open()
    shared.ended(run)
    assert shared.artifact(run, "logs/train.log") == b"epoch 1\nepoch 2\n"
    assert shared.artifacts(run)["logs/train.log"]["digest"]


# -- writing --------------------------------------------------------------------------------------


def test_an_artifact_can_be_put_and_read(shared):
    run = ran(shared, "")
    body = os.urandom(300000)
    answer = shared.api("PUT", f"/v1/runs/{run}/artifacts/outputs/put%20here.bin", body=body)
    assert answer.status == 201 and answer.json["path"] == "outputs/put here.bin", answer
    assert answer.json["digest"] == "sha256:" + hashlib.sha256(body).hexdigest()
    assert shared.api("GET", answer.json["href"]).body == body
    assert "outputs/put here.bin" in shared.artifacts(run)


@pytest.mark.parametrize("path", ["", "/", "..", "../x", "a/../../x", "a/./b", "a//b", "%2e%2e/x", "a/%2e%2e/b", "x%00y", "%2Fetc/x", "a/"])
def test_an_artifact_cannot_be_put_outside(shared, path):
    run = ran(shared, "")
    before = set(shared.artifacts(run))
    answer = shared.api("PUT", f"/v1/runs/{run}/artifacts/{path}", body=b"evil")
    assert answer.status in (400, 404, 405), answer
    assert set(shared.artifacts(run)) == before


@pytest.mark.parametrize("path", ["../../../../etc/passwd", "%2e%2e/%2e%2e/%2e%2e/etc/passwd", "outputs/..%2f..%2fx", "/etc/passwd", "outputs//letters"])
def test_nothing_outside_can_be_read(shared, letters, path):
    for kind in ("artifacts", "logs"):
        answer = shared.api("GET", f"/v1/runs/{letters}/{kind}/{path}")
        assert answer.status in (400, 404), answer


def test_many_small_outputs(shared):
    run = ran(shared, "for i in range(3000): open(f'outputs/{i:04}', 'w').write(str(i))")
    assert len(shared.artifacts(run, "outputs/")) == 3000
    target = shared.root / "many-small"
    shared.ok("download", run, "outputs/", "-o", target)
    assert files_of(target) == {b"outputs/%04d" % i: b"%d" % i for i in range(3000)}


def test_damaged_bytes_are_not_downloaded_in_silence(daemon):
    run = ran(daemon, "open('outputs/x', 'w').write('precious' * 1000)")
    name = hashlib.sha256(b"precious" * 1000).hexdigest()
    path = daemon.state / "blobs/sha256" / name[:2] / name
    os.chmod(path, 0o600)
    path.write_bytes(b"Precious" + b"precious" * 999)
    done = daemon.amlctl("download", run, "outputs/x", "-o", daemon.root / "damaged")
    assert done.returncode == 125 and b"outputs/x" in done.stderr, done
