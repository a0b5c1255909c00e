# SPDX-License-Identifier: MIT
"""amlctl in front of a queue: what it asks of the daemon, and what it tells people who wait."""

import json
import os
import pathlib
import pwd
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from client import LIMIT, RUN, amlctl, command, environment, on_terminal, submitted
from fake_daemon import FakeDaemon, record
from harness import without_silence

ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="a socket of root's and a user who is not root")


@pytest.fixture
def service():
    """A fake system service that a plain user can reach: pytest's own folders are for one user."""
    with tempfile.TemporaryDirectory(prefix="amlctl-service-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        fake = FakeDaemon(pathlib.Path(folder) / "s.sock")
        os.chmod(fake.path, 0o666)
        fake.handle = lambda request: request.connection.json(record())
        yield fake
        fake.close()


def queued(position=2, why="waits for 1 GPU: the only one is held by ben", run=RUN, **fields):
    """A record of a run in the queue, as the daemon sends it."""
    made = {"status": "Queued", "start_time_utc": None, "end_time_utc": None, "exit_code": None, "shared": False,
            "held_by": None, "after": [], "queue_position": position, "waiting_for": why, "resources_granted": None,
            "run_definition": {"resources": {"cpus": 2, "gpus": 1, "memory_bytes": 1 << 30}, "priority": 0}}
    return record(run, **{**made, **fields})


# run: what is asked for

def test_a_request_names_the_resources_and_what_it_follows(daemon):
    body, _ = submitted(daemon, "--cpus", "2", "--gpus", "1", "--memory", "1.5G", "--priority", "-5", "--hold",
                        "--share", "--after", "a,afterany:b", "--after", "afterok:latest", "a.py")
    assert body["resources"] == {"cpus": 2, "gpus": 1, "memory_bytes": 3 << 29}
    assert body["priority"] == -5 and body["hold"] is True and body["share"] is True
    assert body["after"] == [{"run_id": "a", "condition": "afterok"}, {"run_id": "b", "condition": "afterany"},
                             {"run_id": "latest", "condition": "afterok"}]


def test_what_is_not_asked_for_is_not_sent(daemon):
    body, _ = submitted(daemon, "--gpus", "0", "--priority", "0", "a.py")
    assert not {"resources", "priority", "hold", "share", "after"} & set(body)


# hold, release, share

@pytest.mark.parametrize("name,method,route,sent,said", [
    ("hold", "POST", "/hold", None, "is held; 2nd in the queue: held by ana"),
    ("release", "POST", "/release", None, "is released; 2nd in the queue: held by ana"),
    ("share", "PATCH", "", {"shared": True}, "is shared with every user of this daemon"),
])
def test_several_runs_are_changed_in_their_order(daemon, name, method, route, sent, said):
    def handle(request):
        run = request.target.split("/")[3]
        request.connection.json(queued(run=run if run.endswith("_full") else run + "_full", why="held by ana"))

    daemon.handle = handle
    done = amlctl(daemon, name, "a", "b", "a", "-o", "json")
    assert done.returncode == 0
    changes = [r for r in daemon.requests if r.method == method and r.method != "GET"]
    assert [r.target for r in changes] == [f"/v1/runs/a_full{route}", f"/v1/runs/b_full{route}"]
    assert all((r.json if r.body else None) == sent for r in changes)
    assert [r["run_id"] for r in json.loads(done.stdout)] == ["a_full", "b_full"]
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 2 and lines[0].startswith(f"amlctl: run a_full {said}")
    one = amlctl(daemon, name, "a", "-o", "json")
    assert json.loads(one.stdout)["run_id"] == "a_full"
    assert amlctl(daemon, name, "a").stdout == b""


def test_a_share_is_taken_back(daemon):
    daemon.handle = lambda request: request.connection.json(record())
    done = amlctl(daemon, "share", "--off", RUN)
    assert daemon.requests[-1].json == {"shared": False}
    assert done.stderr.decode() == f"amlctl: run {RUN} is not shared\n"


@pytest.mark.parametrize("name", ["hold", "release", "share"])
def test_a_name_that_is_none_changes_nothing(daemon, name):
    def handle(request):
        if request.target.endswith("/none"):
            request.connection.error(404, "NotFound", 'no run "none"')
        else:
            request.connection.json(queued())

    daemon.handle = handle
    done = amlctl(daemon, name, "a", "none")
    assert (done.returncode, done.stdout, done.stderr) == (125, b"", b'amlctl: no run "none"\n')
    assert {r.method for r in daemon.requests} == {"GET"}


def test_what_was_done_before_a_refusal_is_told(daemon):
    def handle(request):
        if request.method == "POST" and "/b/" in request.target:
            request.connection.error(409, "Conflict", "it is Running; only a run that waits can be held")
        else:
            request.connection.json(queued(run=request.target.split("/")[3]))

    daemon.handle = handle
    done = amlctl(daemon, "hold", "a", "b", "c", "-o", "json")
    assert done.returncode == 125
    assert json.loads(done.stdout)["run_id"] == "a"
    lines = done.stderr.decode().splitlines()
    assert lines[0].startswith("amlctl: run a is held")
    assert lines[1:] == ["amlctl: b: it is Running; only a run that waits can be held"]


@pytest.mark.parametrize("name", ["hold", "release", "cancel"])
@pytest.mark.parametrize("message", [f"{RUN} is held by eva: only an admin may release it", f'no run "{RUN}"'])
def test_a_refusal_names_the_run_once(daemon, name, message):
    def handle(request):
        if request.method == "POST":
            request.connection.error(403, "Forbidden", message)
        else:
            request.connection.json(queued())

    daemon.handle = handle
    done = amlctl(daemon, name, RUN)
    assert (done.returncode, done.stderr.decode()) == (125, f"amlctl: {message}\n")


# drain, resume

STATUS = {
    "version": "0.1.0", "pid": 7, "uid": 0, "user": "root", "system": True, "state_directory": "/var/lib/amlagent",
    "started_utc": "2026-11-22T20:00:00.000000Z", "max_running_runs": 16, "running": 2, "queued": 3,
    "runs": {"Completed": 5, "Failed": 0}, "admin": False,
    "cpus": {"total": 16, "used": 5}, "memory_bytes": {"total": 64 << 30, "used": 24 << 30},
    "gpus": [
        {"id": "GPU-1", "name": "A100", "state": "held", "user": "ana", "run_id": "exp_1_a", "reason": None},
        {"id": "GPU-2", "name": "A100", "state": "aside", "user": None, "run_id": None,
         "reason": "in use by python (pid 77) of ben, outside the queue"},
        {"id": "GPU-3", "name": "A100", "state": "free", "user": None, "run_id": None, "reason": None}],
    "users": [{"user": "ana", "running": 1, "queued": 2, "cpus": 4, "memory_bytes": 24 << 30, "gpus": 1},
              {"user": "ben", "running": 1, "queued": 1, "cpus": 1, "memory_bytes": 0, "gpus": 0}],
    "draining": None,
}


def test_drain_says_why_and_what_goes_on(daemon):
    daemon.handle = lambda request: request.connection.json(STATUS)
    done = amlctl(daemon, "drain", "--reason", "a new kernel", "-o", "json")
    assert (daemon.requests[0].method, daemon.requests[0].target) == ("POST", "/v1/drain")
    assert daemon.requests[0].json == {"reason": "a new kernel"}
    assert json.loads(done.stdout) == STATUS
    assert done.stderr.decode() == \
        "amlctl: drained: nothing is started until `amlctl resume`; 2 running, 3 queued\n"
    assert amlctl(daemon, "drain").returncode == 0
    assert daemon.requests[1].json == {}
    done = amlctl(daemon, "resume")
    assert daemon.requests[2].target == "/v1/resume" and done.stdout == b""
    assert done.stderr.startswith(b"amlctl: resumed: ")


def test_who_may_not_drain_is_told_so(daemon):
    daemon.handle = lambda request: request.connection.error(403, "Forbidden", "only admins may drain")
    for name in ("drain", "resume"):
        done = amlctl(daemon, name)
        assert (done.returncode, done.stderr) == (125, b"amlctl: only admins may drain\n")


# status

def serve_status(daemon, status, runs):
    def handle(request):
        request.connection.json(runs if request.target.startswith("/v1/runs") else status)
    daemon.handle = handle


def table(text, first):
    """The lines of the table whose first title is `first`."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == [first])
    end = next((i for i in range(start, len(lines)) if not lines[i]), len(lines))
    return lines[start + 1:end]


def test_status_shows_who_holds_what_and_why_others_wait(daemon):
    running = record("exp_1_a", "Running", end_time_utc=None, start_time_utc=None,
                     resources_granted={"cpus": 4, "memory_bytes": 24 << 30, "gpus": ["GPU-1"]})
    serve_status(daemon, {**STATUS, "draining": {"by": "root", "since_utc": "2026-11-22T20:00:00.000000Z",
                                                 "reason": "a new kernel"}},
                 [queued(2, "held by ana", "exp_3_c"), running, queued(1, "waits for 1 GPU", "exp_2_b")])
    text = amlctl(daemon, "status").stdout.decode()
    for line in ("CPUs:     5 of 16 in use", "Memory:   24.0 GiB of 64.0 GiB in use",
                 "GPUs:     1 of 3 in use, 1 set aside"):
        assert line in text.splitlines(), text
    assert "a new kernel" in text and "by root" in text
    assert table(text, "USER")[0].split() == ["ana", "1", "2", "4", "24.0", "GiB", "1"]
    gpus = table(text, "GPU")
    assert gpus[0].split() == ["GPU-1", "A100", "held", "ana", "exp_1_a", "-"]
    assert gpus[1].endswith("in use by python (pid 77) of ben, outside the queue") and "set aside" in gpus[1]
    assert table(text, "RUN")[0].split() == ["exp_1_a", "ana", "Running", "-", "4", "24.0", "GiB", "1"]
    waiting = table(text, "QUEUE")
    assert waiting[0].split()[:3] == ["1", "exp_2_b", "ana"]
    assert "2 CPUs, 1.0 GiB memory, 1 GPU" in waiting[0] and waiting[0].endswith("waits for 1 GPU")
    assert waiting[1].endswith("held by ana")
    assert waiting[2] == "and 1 that you may not see"
    assert json.loads(amlctl(daemon, "status", "-o", "json").stdout)["draining"]["by"] == "root"


def test_status_of_a_long_queue_is_a_page(daemon):
    runs = [queued(n, "waits for 2 CPUs", f"exp_{n:03}") for n in range(1, 101)]
    serve_status(daemon, {**STATUS, "queued": 100}, runs[::-1])
    shown = table(amlctl(daemon, "status").stdout.decode(), "QUEUE")
    assert [line.split()[1] for line in shown[:20]] == [f"exp_{n:03}" for n in range(1, 21)]
    assert shown[20].startswith("... and 80 more") and len(shown) == 21


def test_status_asks_for_no_runs_when_there_are_none(daemon):
    serve_status(daemon, {**STATUS, "running": 0, "queued": 0, "users": [], "gpus": []}, [])
    text = amlctl(daemon, "status").stdout.decode()
    assert [r.target for r in daemon.requests] == ["/v1/status"]
    assert "GPU" not in text and "USER" not in text and "QUEUE" not in text


# list and show

def test_list_has_a_column_for_those_who_wait(daemon):
    runs = [queued(11, run="exp_3_c"), queued(None, "held by ana", "exp_2_b"), record("exp_1_a")]
    daemon.handle = lambda request: request.connection.json(runs)
    lines = amlctl(daemon, "list").stdout.decode().splitlines()
    assert "WAITS FOR" in lines[0] and "USER" not in lines[0]
    assert "11th: 1 GPU: the only one is held by ben" in lines[1] and "held by ana" in lines[2]
    runs[:2] = []
    assert b"WAITS FOR" not in amlctl(daemon, "list").stdout


def test_places_are_numbered_as_people_do(daemon):
    places = {1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 10: "10th", 11: "11th", 12: "12th", 13: "13th", 21: "21st",
              111: "111th", 122: "122nd"}
    daemon.handle = lambda request: request.connection.json([queued(place) for place in places])
    lines = amlctl(daemon, "list").stdout.decode().splitlines()[1:]
    assert [f" {text}: " in line for text, line in zip(places.values(), lines)] == [True] * len(places), lines


def test_a_long_reason_fits_the_terminal(daemon):
    daemon.handle = lambda request: request.connection.json([queued(1, "waits for " + "x" * 300)])
    _, out = on_terminal(daemon, "list", width=100)
    assert max(map(len, out.splitlines())) <= 100 and "1st: xxx" in out and "…" in out


def test_list_has_a_column_for_users_when_there_are_several(daemon):
    daemon.handle = lambda request: request.connection.json([record("b", submitted_by="ben"), record("a")])
    lines = amlctl(daemon, "list").stdout.decode().splitlines()
    assert "USER" in lines[0].split() and "ben" in lines[1].split() and "ana" in lines[2].split()
    daemon.handle = lambda request: request.connection.json([record("a")])
    assert b"USER" not in amlctl(daemon, "list").stdout
    assert b"USER" in amlctl(daemon, "list", "-a").stdout
    assert "user=" not in daemon.requests[-1].target
    amlctl(daemon, "list", "--user", "ben")
    assert daemon.requests[-1].target.endswith("&user=ben")


@needs_root
def test_list_is_of_ones_own_runs_where_the_daemon_has_others_too(service):
    service.handle = lambda request: request.connection.json([])
    done = amlctl(service, "list", user=65534, group=65534, extra_groups=[], cwd="/")
    assert done.returncode == 0 and b"--all-users" in done.stderr
    assert service.requests[-1].target.endswith("&user=65534")
    amlctl(service, "list", "-a", user=65534, group=65534, extra_groups=[], cwd="/")
    assert "user=" not in service.requests[-1].target
    amlctl(service, "list")
    assert "user=" not in service.requests[-1].target


def test_show_tells_the_place_in_the_queue_and_what_was_given(daemon):
    waiting = queued(3, "held by ana", shared=True, held_by="ana",
                     after=[{"run_id": "exp_0_z", "condition": "afterany"}])
    daemon.handle = lambda request: request.connection.json(waiting)
    lines = amlctl(daemon, "show", RUN).stdout.decode().splitlines()
    for line in ("Waits:         3rd in the queue: held by ana", "Held by:       ana",
                 "After:         afterany:exp_0_z", "Asks for:      2 CPUs, 1.0 GiB memory, 1 GPU",
                 "Shared:        with every user of this daemon"):
        assert line in lines, "\n".join(lines)
    running = record(status="Running", resources_granted={"cpus": 2, "memory_bytes": None, "gpus": ["GPU-a"]})
    daemon.handle = lambda request: request.connection.json(running)
    lines = amlctl(daemon, "show", RUN).stdout.decode().splitlines()
    assert lines[lines.index("Granted:       2 CPUs, 1 GPU") + 1] == "               GPU-a"
    assert not [line for line in lines if line.startswith(("Waits", "Held", "After", "Shared"))]


# waiting

def serve_waiting(daemon, looks):
    """A run whose record is each of `looks` in turn; its log comes when all but the last have been seen."""
    seen = []

    def look():
        seen.append(None)
        return looks[min(len(seen), len(looks)) - 1]

    def handle(request):
        if request.method == "POST":
            request.connection.json(looks[0], 201)
        elif "/logs/" in request.target:
            deadline = time.monotonic() + LIMIT / 2
            while len(seen) < len(looks) - 1 and time.monotonic() < deadline:
                time.sleep(0.02)
            request.connection.chunked(b"output\n")
        else:
            request.connection.json(look())

    daemon.handle = handle


def test_run_says_once_what_it_waits_for_where_nobody_watches(daemon):
    serve_waiting(daemon, [queued(), record()])
    done = amlctl(daemon, "run", "a.py")
    assert (done.returncode, done.stdout) == (0, b"output\n")
    assert done.stderr.decode().splitlines() == [
        f"amlctl: run {RUN}",
        f"amlctl: run {RUN}: 2nd in the queue: waits for 1 GPU: the only one is held by ben"]


def test_run_keeps_a_terminal_up_to_date(daemon):
    serve_waiting(daemon, [queued(3, "waits for 2 CPUs"), queued(1, "x" * 500), record(status="Running"), record()])
    status, out = on_terminal(daemon, "run", "a.py", width=60)
    assert status == 0
    assert "amlctl: 3rd in the queue: waits for 2 CPUs ...\r\033[Kamlctl: 1st in the queue: xxx" in out
    line = out.split("amlctl: 1st")[1].split("\r\033[K")[0]
    assert len("amlctl: 1st" + line) == 59 and line.endswith("…")
    assert out.endswith("\r\033[Koutput\n")


def test_wait_says_what_for(daemon):
    looks = iter([queued(), queued(4, None), queued(4), queued(4)])
    daemon.handle = lambda request: request.connection.json(next(looks, record()))
    done = amlctl(daemon, "wait", RUN)
    assert (done.returncode, done.stdout.decode()) == (0, f"{RUN} Completed\n")
    assert done.stderr.decode() == \
        f"amlctl: run {RUN}: 4th in the queue: waits for 1 GPU: the only one is held by ben\n"
    pauses = [r.target.split("wait=")[1] for r in daemon.requests if "wait=" in r.target]
    assert pauses == ["1", "1", "3600", "3600"]


def test_a_reason_cannot_send_control_characters(daemon):
    serve_waiting(daemon, [queued(1, "waits for \033[31m\n"), record()])
    assert b"\033" not in amlctl(daemon, "run", "a.py").stderr


# a system service that restarts

def stop_listening(fake):
    """The socket stays, as after a kill: connecting is refused."""
    fake.listener.shutdown(socket.SHUT_RDWR)
    fake.listener.close()


def listen_again(fake):
    os.unlink(fake.path)
    before = os.umask(0)  # a client may be there before a chmod() is
    fake.listen()
    os.umask(before)


def as_nobody(fake, *args):
    return subprocess.Popen(command(fake, *args), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            stdin=subprocess.DEVNULL, env=environment(HOME="/nonexistent"), cwd="/", user=65534,
                            group=65534, extra_groups=[])


@needs_root
def test_a_service_that_is_restarting_is_waited_for(service):
    stop_listening(service)
    process = as_nobody(service, "show", RUN, "-o", "json")
    said = process.stderr.readline().decode()
    assert said == f"amlctl: the system's amlagentd does not answer at {service.path} (is it restarting?); " \
                   "waiting up to 10 s\n"
    listen_again(service)
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, json.loads(out), without_silence(err)) == (0, record(), b"")


@needs_root
def test_a_service_that_does_not_come_back_is_an_error_and_none_is_started(service):
    stop_listening(service)
    start = time.monotonic()
    process = as_nobody(service, "list")
    out, err = process.communicate(timeout=LIMIT)
    assert time.monotonic() - start > 9
    assert (process.returncode, out) == (125, b"")
    assert err.decode().splitlines()[-1] == f"amlctl: the system's amlagentd does not answer at {service.path}; " \
                                            "`systemctl status amlagentd` says why"
    assert sorted(os.listdir(os.path.dirname(service.path))) == ["s.sock"]
    listen_again(service)


@needs_root
def test_waiting_for_a_service_can_be_interrupted(service):
    stop_listening(service)
    process = as_nobody(service, "list")
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=LIMIT) == -signal.SIGINT
    process.communicate()
    listen_again(service)


def test_where_there_never_was_a_daemon_nothing_is_waited_for(tmp_path):
    done = amlctl(type("None", (), {"path": str(tmp_path / "none.sock")}), "--no-autostart", "list")
    assert done.returncode == 125
    assert len(done.stderr.splitlines()) == 1, "who waits says so first"


def test_what_anothers_script_printed_does_not_talk_to_the_terminal(daemon):
    printed = b"a\tb\r\x1b]0;title\x07\x1b[2J\xc2\x9b31m\xc3\xa9\x7f\n"

    def handle(request):
        if "/logs/" in request.target:
            request.connection.chunked(printed[:12], printed[12:])
        else:
            request.connection.json(record(submitted_by=who))

    daemon.handle = handle
    for options in ([], ["--tail", "5"]):
        who = "somebody"
        _, shown = on_terminal(daemon, "logs", RUN, *options)
        assert shown == "a\tb\r?]0;title??[2J\xc2?31m\xe9?\n".replace("\xc2", "\ufffd"), ascii(shown)
        who = pwd.getpwuid(os.geteuid()).pw_name
        assert "\x1b[2J" in on_terminal(daemon, "logs", RUN, *options)[1]
        who = "somebody"
        assert amlctl(daemon, "logs", RUN, *options).stdout == printed  # no terminal: the bytes as they are
