# SPDX-License-Identifier: MIT
"""Many clients at once: nothing is lost, and who floods the socket slows himself.

AMLAGENT_LOAD_RUNS says how many runs the load test submits (500 when absent; 10000 is the figure of the design).
"""

import contextlib
import json
import os
import select
import socket
import subprocess
import time

import harness
import pytest
from harness import PYTHON, wait_for
from load import CLIENT, Reader, at_best, load
from users_harness import until_ended

RUNS = int(os.environ.get("AMLAGENT_LOAD_RUNS", "500"))


@pytest.mark.timeout(60 + RUNS)
def test_of_many_submits_of_several_users_none_is_lost_and_none_runs_twice(make_service, ana, ben, otto, eva):
    service = make_service(config={"max_running_runs": 8, "cpus": 8})
    desks = [service.desk(user) for user in (ana, ben, otto)]
    for desk in desks:
        with contextlib.suppress(FileNotFoundError):
            (desk.home / "ran").unlink()
    report = load(service, desks, service.desk(eva), RUNS, 64, timeout=50 + RUNS)
    print(report)
    assert report.trouble == []
    assert report.taken == RUNS
    assert report.beside.p50 < 1, "somebody else can still read"


# As a user: so many connections, asking for the same thing as fast as it goes, until told to end.
FLOOD = CLIENT + """
import select
path, connections, data = json.loads(sys.stdin.readline())
counts, stop = {}, threading.Event()
def flood():
    while not stop.is_set():
        try:
            line = Line(path)
            line.connect()
            while not stop.is_set():
                line.sock.sendall(data.encode())
                answer = line.sock.recv(65536)
                if not answer:
                    raise ConnectionError
                word = answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/1.1 ") else "?"
                counts[word] = counts.get(word, 0) + 1
        except OSError as error:
            counts["closed"] = counts.get("closed", 0) + 1
            stop.wait(0.005)
        finally:
            line.close()
threads = [threading.Thread(target=flood) for _ in range(connections)]
[thread.start() for thread in threads]
print("on", flush=True)
sys.stdin.readline()
stop.set()
[thread.join() for thread in threads]
print(json.dumps(counts))
"""


@contextlib.contextmanager
def flood(desk, connections, data, processes=2):
    """A user's processes that flood the socket; .counts of what they were answered, afterwards."""

    class Result:
        counts = {}

    started = []
    try:
        for _ in range(processes):
            process = desk.who.popen([PYTHON, "-c", FLOOD], stdin=subprocess.PIPE)
            started.append(process)
            process.stdin.write(json.dumps([desk.socket, connections // processes, data]).encode() + b"\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"on\n"
        yield Result
        for process in started:
            out, err = process.communicate(b"end\n", timeout=60)
            assert process.returncode == 0, err
            for word, count in json.loads(out.splitlines()[-1]).items():
                Result.counts[word] = Result.counts.get(word, 0) + count
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.communicate()


GET = "GET /v1/runs?limit=100 HTTP/1.1\r\nHost: localhost\r\n\r\n"
BAD = "GET /v1/runs/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
SUBMIT_BAD = "POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"


def reads(desk, path="/v1/status", count=300):
    return Reader(desk, path, count).end()


@pytest.mark.parametrize("data", [GET, BAD, SUBMIT_BAD], ids=["list", "missing", "refused"])
def test_who_floods_the_socket_slows_himself_and_not_another(make_service, ana, ben, data):
    limits = {"max_connections_per_user": 32, "max_requests_per_second_per_user": 600}
    service = make_service(config=limits)
    mine, theirs = service.desk(ana), service.desk(ben)
    before = reads(theirs, count=150)

    def is_quick(times):
        return times.p50 < 10 * before.p50 + 0.05 and times.p99 < 20 * before.p99 + 0.25

    with flood(mine, 64, data) as result:
        during = at_best(lambda: reads(theirs, count=150), is_quick)
        assert theirs.finish()["status"] == "Completed"
    print(
        f"{result.counts}\nbefore: {before}\nduring: {during}\np50 x {during.p50 / before.p50:.1f}, p99 x"
        f" {during.p99 / before.p99:.1f}"
    )
    refused = result.counts.get("429", 0) + result.counts.get("503", 0) + result.counts.get("closed", 0)
    assert refused > 10, f"the flood is turned away: {result.counts}"
    assert is_quick(during), (before, during)


def test_a_flood_without_any_limit_set_still_lets_others_in(make_service, ana, ben):
    service = make_service()
    before = reads(service.desk(ben), count=100)

    def is_quick(times):
        return times.p50 < 0.5 and times.p99 < 2

    with flood(service.desk(ana), 64, GET) as result:
        during = at_best(lambda: reads(service.desk(ben), count=100), is_quick)
        assert service.desk(ben).finish()["status"] == "Completed"
    print(f"{result.counts}\nbefore: {before}\nduring: {during}")
    assert is_quick(during), during


def test_a_rate_is_a_users_and_is_over_when_he_is_quiet(make_service, ana, ben):
    service = make_service(config={"max_requests_per_second_per_user": 5})
    desk = service.desk(ana)
    answers = []

    def ask_too_often(path):
        answers.append(desk.api("GET", path))
        return answers[-1] if answers[-1].status == 429 else None

    wait_for(lambda: ask_too_often("/healthz"), "so many are too many", interval=0)
    assert {answer.status for answer in answers} == {200, 429}, answers
    refused = wait_for(lambda: ask_too_often("/v1/status"), "one more is too many", interval=0)
    assert refused.error["message"] and "second" in refused.error["message"], refused
    assert service.desk(ben).api("GET", "/v1/status").status == 200
    assert service.api("GET", "/v1/status").status == 200
    wait_for(lambda: desk.api("GET", "/v1/status").status == 200, "and then it goes on", interval=0.3)
    told = [(event["uid"], event["result"]) for event in service.events("request")]
    assert told == [(str(ana.uid), "denied")], "once a minute, and of nobody else"


def can_speak(sock):
    """Is a request on this connection answered with 200?"""
    try:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        return sock.recv(4096).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def test_connections_of_a_user_are_bounded_and_anothers_are_not_counted(make_service, ana, ben):
    service = make_service(config={"max_connections_per_user": 8})
    with contextlib.ExitStack() as stack:

        def opened(user):
            sock = stack.enter_context(user.connect(service.socket))
            sock.settimeout(10)
            return sock

        hers = [opened(ana) for _ in range(8)]
        assert all(can_speak(sock) for sock in hers)
        assert not can_speak(opened(ana)), "one too many"
        assert can_speak(opened(ben))
        assert all(can_speak(sock) for sock in hers), "those that are open stay"
        hers.pop().close()
        wait_for(lambda: can_speak(opened(ana)), "one has left, another comes")


def is_closed(sock):
    """Has the other side ended this connection (whatever it said before)?"""
    while select.select([sock], [], [], 0)[0]:
        try:
            if not sock.recv(65536):
                return True
        except OSError:
            return True
    return False


@pytest.mark.parametrize("how", ["header", "line", "nothing after the first byte", "lines without end"])
def test_a_client_that_never_ends_its_headers_is_dropped(make_service, ana, ben, how):
    service = make_service(config={"request_timeout_seconds": 1, "max_connections_per_user": 64})
    before = reads(service.desk(ben), count=50)

    def is_quick(times):
        return times.p50 < 10 * before.p50 + 0.05

    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(ana.connect(service.socket)) for _ in range(40)]
        for sock in slow:
            with contextlib.suppress(OSError):  # its second may be over
                sock.sendall(b"G" if how == "nothing after the first byte" else b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        began = time.monotonic()
        piece = {"header": b"X", "line": b"X-A: b\r\n", "lines without end": b"X-A: " + b"b" * 100 + b"\r\n"}.get(how)
        left = list(slow)
        while left and time.monotonic() - began < 30:
            for sock in left:
                if piece:
                    with contextlib.suppress(OSError):
                        sock.send(piece, socket.MSG_DONTWAIT)
            during = at_best(lambda: reads(service.desk(ben), count=20), is_quick)
            assert is_quick(during), (before, during)
            left = [sock for sock in left if not is_closed(sock)]
        assert not left, f"{len(left)} of {len(slow)} are still there after {time.monotonic() - began:.0f} s"
    assert service.desk(ana).api("GET", "/healthz").status == 200, "she can come again"


def test_slow_bodies_and_readers_that_do_not_read_hold_up_nobody(make_service, ana, ben):
    service = make_service(config={"max_connections_per_user": 128})
    run = service.desk(ana).finish("print('x' * (8 << 20))")["run_id"]
    before = reads(service.desk(ben), count=50)

    def beside_them():
        with contextlib.ExitStack() as stack:
            for number in range(40):
                sock = stack.enter_context(ana.connect(service.socket))
                if number % 2:
                    sock.sendall(b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{")
                else:
                    sock.sendall(
                        f"GET /v1/runs/{run}/logs/user_logs/std_log.txt HTTP/1.1\r\nHost: x\r\n\r\n".encode()
                    )
            times = reads(service.desk(ben), count=100)
            assert service.desk(ben).finish()["status"] == "Completed"
        return times

    def is_quick(times):
        return times.p99 < 20 * before.p99 + 0.25

    during = at_best(beside_them, is_quick)
    assert is_quick(during), (before, during)


def test_waiting_clients_of_one_user_take_no_turn_of_anothers(make_service, ana, ben):
    service = make_service(config={"max_connections_per_user": 64})
    desk = service.desk(ana)
    run = desk.submit("import time; time.sleep(100)")
    desk.running(run)
    before = reads(service.desk(ben), count=50)

    def is_quick(times):
        return times.p99 < 20 * before.p99 + 0.25

    waiting = []
    for number in range(50):
        connection = desk.connect()
        connection.request(
            "GET", f"/v1/runs/{run}?wait=60" if number % 2 else f"/v1/runs/{run}/logs/user_logs/std_log.txt?follow=1"
        )
        waiting.append(connection)
    during = at_best(lambda: reads(service.desk(ben), count=100), is_quick)
    assert is_quick(during), (before, during)
    desk.cancel(run)
    desk.ended(run)
    for connection in waiting:
        assert connection.getresponse().read() is not None
        connection.close()


@pytest.mark.parametrize(
    "body",
    [
        "[" * 200000,
        '{"a":' * 100000,
        '{"tags": {' + ",".join(f'"k{n}": "v"' for n in range(50000)) + "}}",
        '"' + "x" * (5 << 20) + '"',
        '{"arguments": [' + ",".join(["1"] * 400000) + "]}",
        "\0" * 1000,
        "{}" * 1000,
        '{"source_directory": "/' + "a/" * 100000 + '"}',
    ],
    ids=["deep arrays", "deep objects", "many tags", "large", "many arguments", "zeros", "many objects", "long path"],
)
def test_a_request_is_bounded_in_size_and_depth(make_service, ana, body):
    service = make_service()
    answer = service.desk(ana).api("POST", "/v1/runs", body)
    assert answer.status in (400, 413), answer
    assert answer.error["message"]
    assert service.desk(ana).api("GET", "/healthz").status == 200


DEAR = {
    "tags": '{"tags": {' + ",".join(f'"k{n}": "v"' for n in range(50000)) + "}}",
    "properties": '{"properties": {' + ",".join(f'"k{n}": "v"' for n in range(50000)) + "}}",
    "variables": '{"submit_environment": {' + ",".join(f'"k{n}": "v"' for n in range(250000)) + "}}",
    "environment": (
        '{"environment": {"environment_variables": {' + ",".join(f'"k{n}": "v"' for n in range(250000)) + "}}}"
    ),
    "keys": "{" + ",".join(f'"k{n}": 1' for n in range(250000)) + "}",
    "arguments": '{"arguments": [' + ",".join(["1"] * 1000000) + "]}",
    "after": '{"after": [' + ",".join(['{"run_id": "a"}'] * 100000) + "]}",
}


@pytest.mark.parametrize("what", DEAR)
def test_a_request_that_is_dear_to_read_holds_up_nobody_else(make_service, ana, ben, what):
    service = make_service()
    before = reads(service.desk(ben), "/healthz", 50)

    def slowest():
        reader = Reader(service.desk(ben), "/healthz", 50)
        answer = service.desk(ana).api("POST", "/v1/runs", DEAR[what], timeout=100)
        assert answer.status in (400, 413), answer
        return max(reader.end().seconds)

    def is_quick(seconds):
        return seconds < 20 * before.p99 + 0.5

    during = at_best(slowest, is_quick)
    assert is_quick(during), f"another user's request took {during:.2f} s meanwhile"


def test_a_flood_of_submits_by_one_user_delays_the_first_of_another_by_one_turn(make_service, ana, ben):
    """200 of ana's wait; ben's only one is next, not last."""
    service = make_service(config={"max_running_runs": 1})
    mine = service.desk(ana)
    body = mine.request("pass", environment={"python": {"interpreter_path": PYTHON}})
    service.api("POST", "/v1/drain", {})
    hers = []
    for _ in range(200):
        answer = mine.api("POST", "/v1/runs", body)
        assert answer.status == 201, answer
        hers.append(answer.json["run_id"])
    his = service.desk(ben).submit("pass")
    assert service.api("POST", "/v1/resume", {}).status == 200
    record = service.desk(ben).ended(his)
    started = [
        run for run in mine.runs("limit=1000&status=Completed") if run["start_time_utc"] < record["start_time_utc"]
    ]
    assert len(started) <= 2, f"{len(started)} of ana's came first"
    service.api("POST", "/v1/drain", {})
    for run in hers:
        mine.api("POST", f"/v1/runs/{run}/cancel")
    until_ended(mine, hers, 60)


def test_the_service_takes_new_connections_when_one_user_has_used_up_his(make_service, ana, ben, lab):
    """With the default bound: ana opens as many as she can; ben comes in."""
    service = make_service()
    holder = ana.popen(
        [
            PYTHON,
            "-c",
            """
import socket, sys
kept = []
try:
    while len(kept) < 2000:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(2)
        sock.connect(sys.argv[1])
        sock.sendall(b"GET /healthz HTTP/1.1\\r\\nHost: x\\r\\n")
        kept.append(sock)
except OSError as error:
    print("stopped by", error, file=sys.stderr)
print("on", flush=True)
sys.stdin.read()
"""[1:],
            service.socket,
        ],
        stdin=subprocess.PIPE,
    )
    try:
        assert holder.stdout.readline() == b"on\n"
        for _ in range(20):
            assert service.desk(ben).api("GET", "/healthz").status == 200
        assert service.desk(ben).finish()["status"] == "Completed"
        assert harness.alive(service.pid)
    finally:
        holder.communicate(b"", timeout=20)
