# SPDX-License-Identifier: MIT
"""The HTTP API over the raw socket, well treated and badly."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import time

import pytest
from harness import GATE_MODULE, UTC, Gate, wait_for


def bad(answer, status, code, target=None):
    assert answer.status == status, answer
    assert answer.error["code"] == code, answer
    if target is not None:
        assert answer.error["target"] == target, answer
    return answer.error


@pytest.fixture(scope="module")
def source(shared):
    return str(shared.source({"main.py": "print('hello')\n"}))


@pytest.fixture(scope="module")
def done(shared):
    """A run that has Completed and printed ten lines."""
    record = shared.finish("for i in range(10): print('line', i)", tags={"kind": "done"}, experiment_name="finished")
    assert record["status"] == "Completed", record
    return record["run_id"]


LOG = b"".join(b"line %d\n" % i for i in range(10))


def refused(shared, source, target, **fields):
    """A submit that is refused, names the field, and leaves nothing."""
    name = f"refused{os.urandom(4).hex()}"
    request = {"source_directory": source, "script": "main.py", "experiment_name": name, **fields}
    request = {k: v for k, v in request.items() if v is not ...}
    error = bad(shared.api("POST", "/v1/runs", request), 400, "BadRequest")
    assert error["target"] is not None and target in error["target"], error
    assert target.split(".")[-1] in error["message"] or target in error["target"], error
    assert shared.api("GET", f"/v1/runs?experiment_name={name}").json == []
    return error


# -- submit: what is wrong is named ---------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, target",
    [
        ({"scirpt": "main.py"}, "scirpt"),
        ({"environment": {"pyhton": {}}}, "pyhton"),
        ({"environment": {"python": {"interpreterPath": "x"}}}, "interpreterPath"),
        ({"resources": {"cpu": 1}}, "cpu"),
        ({"": 1}, ""),
        ({"source_directory": ...}, "source_directory"),
        ({"source_directory": None}, "source_directory"),
        ({"source_directory": 5}, "source_directory"),
        ({"source_directory": ""}, "source_directory"),
        ({"source_directory": "relative/folder"}, "source_directory"),
        ({"source_directory": "/nowhere/at/all"}, "source_directory"),
        ({"source_directory": "/etc/passwd"}, "source_directory"),
        ({"script": ...}, "script"),
        ({"script": ["main.py"]}, "script"),
        ({"script": ""}, "script"),
        ({"script": "absent.py"}, "script"),
        ({"script": "."}, "script"),
        ({"script": "/etc/passwd"}, "script"),
        ({"script": "../main.py"}, "script"),
        ({"script": "a/../../main.py"}, "script"),
        ({"command": "true"}, "command"),
        ({"script": None, "command": 7}, "command"),
        ({"script": None, "command": ""}, "command"),
        ({"arguments": "--lr 1"}, "arguments"),
        ({"arguments": {"a": 1}}, "arguments"),
        ({"arguments": [None]}, "arguments"),
        ({"arguments": [["x"]]}, "arguments"),
        ({"experiment_name": "has space"}, "experiment_name"),
        ({"experiment_name": "-dash"}, "experiment_name"),
        ({"experiment_name": "x" * 257}, "experiment_name"),
        ({"experiment_name": ""}, "experiment_name"),
        ({"experiment_name": 5}, "experiment_name"),
        ({"experiment_name": "../x"}, "experiment_name"),
        ({"display_name": 5}, "display_name"),
        ({"compute_target": "cloud"}, "compute_target"),
        ({"compute_target": 1}, "compute_target"),
        ({"environment": "mine"}, "environment"),
        ({"environment": {"environment_variables": ["A=1"]}}, "environment_variables"),
        ({"environment": {"environment_variables": {"A": 1}}}, "environment_variables"),
        ({"environment": {"environment_variables": {"A=B": "1"}}}, "environment_variables"),
        ({"environment": {"environment_variables": {"": "1"}}}, "environment_variables"),
        ({"environment": {"python": {"interpreter_path": 5}}}, "interpreter_path"),
        ({"environment": {"python": []}}, "python"),
        ({"max_run_duration_seconds": 0}, "max_run_duration_seconds"),
        ({"max_run_duration_seconds": -5}, "max_run_duration_seconds"),
        ({"max_run_duration_seconds": "1h"}, "max_run_duration_seconds"),
        ({"max_run_duration_seconds": 1e300}, "max_run_duration_seconds"),
        ({"max_run_duration_seconds": True}, "max_run_duration_seconds"),
        ({"resources": []}, "resources"),
        ({"resources": {"cpus": "1"}}, "cpus"),
        ({"resources": {"cpus": -1}}, "cpus"),
        ({"resources": {"cpus": 1.5}}, "cpus"),
        ({"resources": {"gpus": -1}}, "gpus"),
        ({"resources": {"memory_bytes": -1}}, "memory_bytes"),
        ({"priority": "high"}, "priority"),
        ({"priority": 0.5}, "priority"),
        ({"tags": []}, "tags"),
        ({"tags": {"a": 1}}, "tags"),
        ({"tags": {"a": None}}, "tags"),
        ({"properties": {"a": 1}}, "properties"),
        ({"submit_environment": []}, "submit_environment"),
        ({"submit_environment": {"A": 5}}, "submit_environment"),
        ({"submit_environment": {"A=": "x"}}, "submit_environment"),
    ],
)
def test_a_wrong_request_is_refused_by_the_name_of_the_field(shared, source, fields, target):
    refused(shared, source, target, **fields)


def test_a_value_of_submit_environment_is_never_in_an_error(shared, source):
    error = refused(shared, source, "submit_environment", submit_environment={"TOKEN": ["hunter2"]})
    assert "hunter2" not in str(error)
    for value in ("hunter2\0", "\0hunter2"):
        answer = shared.post(source_directory=source, script="main.py", submit_environment={"TOKEN": value})
        assert "hunter2" not in str(bad(answer, 400, "BadRequest"))


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b"}", b"null", b"[]", b"5", b'"x"', b"{}", b"nonsense", b"{'a': 1}", b'{"a": NaN}', b'{"a": 1,}',
        b'{"script": "\xff\xfe"}', b'{"script": "\xed\xa0\x80"}', b'\xef\xbb\xbf{}', b'{"a": 1e999}', b'{"a": "\\ud800"}',
        b'{"a": "\\x"}', b'{"a": 01}', b"{}{}", b'{"a": 1} x', b"\0", b'{"script": "a\nb"}',
        b'{"source_directory": "/a", "source_directory": "/b", "script": "x"}',
    ],
)  # fmt: skip
def test_a_body_that_is_no_request_is_refused(shared, body):
    bad(shared.api("POST", "/v1/runs", body), 400, "BadRequest")


@pytest.mark.parametrize(
    "fields",
    [{"source_directory": "/tmp/\0x"}, {"arguments": ["a\0b"]}, {"environment": {"environment_variables": {"A": "\0"}}},
     {"submit_environment": {"A\0": "x"}}, {"tags": {"\0": "x"}}, {"display_name": "a\0"}],
)  # fmt: skip
def test_a_nul_anywhere_is_refused(shared, source, fields):
    request = {"source_directory": source, "script": "main.py", **fields}
    error = bad(shared.api("POST", "/v1/runs", request), 400, "BadRequest")
    assert error["target"] or "u0000" in error["message"], error


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"arguments":[', b"[{}, ["])
def test_json_nested_100000_deep_is_refused(shared, opening):
    bad(shared.api("POST", "/v1/runs", opening * 100000), 400, "BadRequest")
    close = {b"[": b"]", b'{"a":': b"}", b'{"arguments":[': b"]}", b"[{}, [": b"]]"}[opening]
    middle = b"1" if opening.endswith(b":") else b""
    bad(shared.api("POST", "/v1/runs", opening * 100000 + middle + close * 100000), 400, "BadRequest")
    assert shared.api("GET", "/healthz").status == 200


def test_a_client_that_ends_in_the_middle_of_a_request_is_not_kept_waiting(shared):
    """It closed its half (shutdown): nothing more can come, so the answer is an error or the end, and not that of a
    request that took too long."""
    for request in (b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", b"\x16\x03\x01\x02", b"GET /he"):
        for _ in range(15):
            answer = shared.raw(request, half_close=True)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer
            assert not answer.startswith(b"HTTP/1.1 408"), answer


def test_clients_that_leave_in_the_middle_of_anything_leave_nothing_behind(shared, done):
    def descriptors():
        return len(os.listdir(f"/proc/{shared.process.pid}/fd"))

    before = descriptors()
    for data in (b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", b"\x16", b"GET /hea", b"",
                 b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
                 f"PUT /v1/runs/{done}/artifacts/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc".encode()):  # fmt: skip
        for _ in range(50):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(shared.socket)
                sock.sendall(data)
    wait_for(lambda: descriptors() <= before + 2, f"{descriptors()} descriptors, {before} before")
    assert "x" not in shared.artifacts(done)


@pytest.mark.parametrize("half_close", [True, False])
def test_a_body_cut_short_makes_nothing(shared, source, half_close):
    name = f"cut{half_close}"
    body = json.dumps({"source_directory": source, "script": "main.py", "experiment_name": name}).encode()
    head = f"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body) + 100}\r\n\r\n".encode()
    if half_close:
        with contextlib.suppress(TimeoutError):  # how long it takes is another test's
            answer = shared.raw(head + body, timeout=2, half_close=True)
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), answer
    else:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(shared.socket)
            sock.sendall(head + body)
    assert shared.api("GET", "/healthz").status == 200
    assert shared.api("GET", f"/v1/runs?experiment_name={name}").json == []


def test_a_body_in_chunks_is_a_body(shared, source):
    body = json.dumps({"source_directory": source, "script": "main.py"}).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, body[i : i + 1]) for i in range(len(body))) + b"0\r\n\r\n"
    head = b"POST /v1/runs HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    answer = shared.raw(head + chunks)
    assert answer.startswith(b"HTTP/1.1 201"), answer
    shared.ended(json.loads(answer.partition(b"\r\n\r\n")[2])["run_id"] if b"chunked" not in answer else "latest")


def test_a_megabyte_of_arguments_is_refused(shared, source):
    for arguments in (["x" * 1000] * 1050, ["x" * (1 << 20)], [1] * 300000):
        request = {"source_directory": source, "script": "main.py", "arguments": arguments}
        answer = shared.api("POST", "/v1/runs", request)
        assert answer.status in (400, 413), answer
        assert "argument" in (answer.error["target"] or "") + answer.error["message"], answer


def test_a_body_beyond_the_limit_is_too_large(shared):
    connection = shared.connect()
    try:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request("POST", "/v1/runs", body=b'{"x": "' + b"x" * (64 << 20) + b'"}')
        response = connection.getresponse()
        assert response.status == 413 and json.loads(response.read())["error"]["code"] == "TooLarge"
    finally:
        connection.close()
    assert shared.api("GET", "/healthz").status == 200


def test_a_body_that_only_promises_to_be_huge_is_refused_before_it_comes(shared):
    head = b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\nConnection: close\r\n\r\n{"
    assert shared.raw(head, half_close=True)[:12] in (b"HTTP/1.1 413", b"HTTP/1.1 400")


# -- HTTP itself ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v2/runs", "/v1/runs/", "/v1/nothing", "/v1/runs/latest/nothing", "//v1/runs", "/V1/runs", "/v1/runs/a/b/c"]
)
def test_an_unknown_route_is_not_found(shared, path):
    bad(shared.api("GET", path), 404, "NotFound")


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        ("PUT", "/v1/runs", {"GET", "POST"}),
        ("DELETE", "/v1/status", {"GET"}),
        ("POST", "/healthz", {"GET"}),
        ("GET", "/v1/runs/latest/cancel", {"POST"}),
        ("POST", "/v1/runs/latest", {"GET", "PATCH", "DELETE"}),
        ("PATCH", "/v1/experiments", {"GET"}),
        ("TRACE", "/v1/runs", {"GET", "POST"}),
        ("BREW", "/v1/runs", {"GET", "POST"}),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(shared, done, method, path, allowed):
    answer = shared.api(method, path)
    bad(answer, 405, "MethodNotAllowed")
    assert {name.strip() for name in answer.headers["Allow"].split(",")} - {"HEAD", "OPTIONS"} == allowed


@pytest.mark.parametrize("path", ["/healthz", "/v1/runs", "/v1/status"])
def test_head_is_get_without_the_body(shared, path):
    connection = shared.connect()
    try:
        for _ in range(2):
            connection.request("HEAD", path)
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"")
        connection.request("GET", "/healthz")
        assert json.loads(connection.getresponse().read()) == {"status": "ok"}
    finally:
        connection.close()


def test_a_connection_serves_many_requests(shared):
    connection = shared.connect()
    try:
        for _ in range(50):
            connection.request("GET", "/healthz")
            assert connection.getresponse().read()
            connection.request("GET", "/v1/runs/absent")
            assert connection.getresponse().read()
    finally:
        connection.close()


def test_requests_sent_ahead_are_answered_in_order(shared):
    one = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    two = b"GET /v1/nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = shared.raw(one + one + two)
    assert answer.count(b"HTTP/1.1 200") == 2 and answer.count(b"HTTP/1.1 404") == 1, answer
    assert answer.rindex(b"HTTP/1.1 200") < answer.index(b"HTTP/1.1 404")


@pytest.mark.parametrize(
    "noise",
    [
        b"\r\n\r\n", b"\0" * 5000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20000 + b"\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)  # fmt: skip
def test_noise_on_the_socket_harms_nobody(shared, noise):
    with contextlib.suppress(TimeoutError):
        shared.raw(noise, timeout=2, half_close=True)
    assert shared.api("GET", "/healthz").status == 200


def test_many_idle_connections_do_not_keep_others_out(shared):
    idle = []
    try:
        for _ in range(200):
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(10)
            sock.connect(shared.socket)
            sock.sendall(b"GET /healthz HT")
            idle.append(sock)
        assert shared.api("GET", "/healthz").status == 200
    finally:
        for sock in idle:
            sock.close()


@pytest.mark.parametrize(
    "path, status",
    [
        ("/v1/runs/%6catest", 200),
        ("/v1/runs/%zz", 400),
        ("/v1/runs/%", 400),
        ("/v1/runs/%0", 400),
        ("/v1/runs/a%00b", 400),
        ("/v1/runs/%ff", 404),
        ("/v1/runs/a%2Fb", 404),
    ],
)
def test_percent_escapes(shared, done, path, status):
    answer = shared.api("GET", path)
    assert answer.status == status or (status, answer.status) in ((400, 404), (404, 400)), answer
    if status != 200:
        assert answer.error["message"]


def test_an_unknown_query_parameter_is_named(shared, done):
    for path in ("/v1/runs?limti=5", f"/v1/runs/{done}?wiat=1", f"/v1/runs/{done}/artifacts?prefx=a", "/v1/status?x"):
        error = bad(shared.api("GET", path), 400, "BadRequest")
        name = path.split("?")[1].split("=")[0]
        assert error["target"] == name or name in error["message"], error


def test_curl_does_all_that_amlctl_does(shared, source):
    def curl(*arguments):
        command = ["curl", "-sS", "--fail-with-body", "--max-time", "20", "--unix-socket", shared.socket, *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout

    request = json.dumps({"source_directory": source, "script": "main.py", "submit_environment": {"PATH": "/usr/bin"}})
    run = json.loads(curl("-d", request, "http://localhost/v1/runs"))["run_id"]
    assert curl(f"http://localhost/v1/runs/{run}/logs/user_logs/std_log.txt?follow=1") == b"hello\n"
    assert json.loads(curl(f"http://localhost/v1/runs/{run}"))["status"] == "Completed"
    assert curl("-X", "DELETE", f"http://localhost/v1/runs/{run}") == b""


# -- reading runs ---------------------------------------------------------------------------------


def test_healthz_and_status(shared):
    assert shared.api("GET", "/healthz").json == {"status": "ok"}
    status = shared.api("GET", "/v1/status").json
    assert set(status) == {"version", "pid", "uid", "user", "system", "state_directory", "configuration_file", "started_utc", "max_running_runs",
                           "running", "queued", "runs", "admin", "cpus", "memory_bytes", "gpus", "users", "draining"}  # fmt: skip
    assert status["pid"] == shared.process.pid and status["uid"] == os.getuid()
    assert status["system"] is False and status["configuration_file"] == str(shared.config)
    assert status["state_directory"] == str(shared.state) and UTC.match(status["started_utc"])
    assert status["max_running_runs"] == 4
    assert all(isinstance(count, int) for count in status["runs"].values())


def test_openapi_is_served(shared):
    answer = shared.api("GET", "/v1/openapi.yaml")
    assert answer.status == 200 and b"openapi: 3.1" in answer.body.replace(b'"', b"").replace(b"'", b"")


def test_a_run_is_found_by_id_prefix_and_latest(daemon):
    first = daemon.finish("", experiment_name="alpha")["run_id"]
    second = daemon.finish("", experiment_name="beta")["run_id"]
    for name in (first, first[:-3], "al", "alpha_"):
        assert daemon.record(name)["run_id"] == first
    assert daemon.record("latest")["run_id"] == second
    assert daemon.ok("show", "be", "-o", "json")
    third = daemon.finish("", experiment_name="beta")["run_id"]
    error = bad(daemon.api("GET", "/v1/runs/beta_"), 409, "Conflict")
    assert "beta_" in error["message"]
    assert daemon.record(third[:-1] if not second.startswith(third[:-1]) else third)["run_id"] == third
    bad(daemon.api("GET", "/v1/runs/gamma"), 404, "NotFound")


def test_a_whole_id_wins_over_being_a_prefix_of_another(daemon):
    daemon.finish("", experiment_name="latest")
    last = daemon.finish("", experiment_name="zzz")["run_id"]
    assert daemon.record("latest")["run_id"] == last


def test_latest_of_nothing_is_not_found(daemon):
    bad(daemon.api("GET", "/v1/runs/latest"), 404, "NotFound")
    assert daemon.api("GET", "/v1/runs").json == []
    assert daemon.api("GET", "/v1/experiments").json == []


@pytest.mark.parametrize("name", ["%25", "_", "*", "'", "%27%20OR%201=1--", "a%27", "%5F%5F", "%"])
def test_wildcards_of_other_languages_mean_nothing(shared, done, name):
    assert shared.api("GET", f"/v1/runs/{name}").status in (400, 404)


def test_the_list_filters_and_pages(daemon):
    runs = []
    for i in range(7):
        script = "raise SystemExit(1)" if i % 3 == 0 else ""
        tags = {"i": str(i), **({"even": "yes"} if i % 2 == 0 else {})}
        runs.append(daemon.finish(script, experiment_name=f"e{i % 2}", tags=tags)["run_id"])
    newest = runs[::-1]

    def ids(query):
        answer = daemon.api("GET", f"/v1/runs{query}")
        assert answer.status == 200, answer
        return [run["run_id"] for run in answer.json]

    assert ids("") == newest
    assert ids("?experiment_name=e1") == [run for run in newest if runs.index(run) % 2]
    assert ids("?status=Failed") == [run for run in newest if runs.index(run) % 3 == 0]
    assert ids("?status=Failed,Completed") == newest
    assert ids("?status=Running") == []
    assert ids("?tag=even") == [run for run in newest if runs.index(run) % 2 == 0]
    assert ids("?tag=i=3") == ids("?tag=i%3D3") == [runs[3]]
    assert ids("?tag=i=99") == []
    assert ids("?experiment_name=e0&status=Failed&tag=i=6") == [runs[6]]
    assert ids("?limit=2") == newest[:2]
    assert ids(f"?limit=3&before={newest[1]}") == newest[2:5]
    assert ids(f"?before={runs[0]}") == []
    paged, last = [], None
    while page := ids("?limit=3" + (f"&before={last}" if last else "")):
        paged += page
        last = page[-1]
    assert paged == newest
    names = daemon.api("GET", "/v1/experiments").json
    assert [(e["name"], e["runs"]) for e in names] == [("e0", 4), ("e1", 3)]
    assert all(UTC.match(e["last_run_utc"]) and set(e) == {"name", "runs", "last_run_utc"} for e in names)


@pytest.mark.parametrize(
    "query, target",
    [("limit=0", "limit"), ("limit=1001", "limit"), ("limit=x", "limit"), ("limit=", "limit"), ("limit=-1", "limit"),
     ("limit=1e2", "limit"), ("status=Finished", "status"), ("status=completed", "status"), ("before=absent", "before")],
)  # fmt: skip
def test_a_wrong_query_value_is_named(shared, done, query, target):
    answer = shared.api("GET", f"/v1/runs?{query}")
    assert answer.status in (400, 404), answer
    assert answer.error["target"] == target or target in answer.error["message"], answer


def test_wait_answers_when_the_run_has_ended(shared):
    gate = Gate(shared.root, "wait.gate")
    run = shared.submit({"gate.py": GATE_MODULE, "main.py": gate.code})
    shared.running(run)
    began = time.monotonic()
    assert shared.api("GET", f"/v1/runs/{run}?wait=0").json["status"] == "Running"
    assert shared.api("GET", f"/v1/runs/{run}?wait=1").json["status"] == "Running"
    assert time.monotonic() - began > 0.9
    gate.open()
    began = time.monotonic()
    assert shared.api("GET", f"/v1/runs/{run}?wait=30", timeout=40).json["status"] == "Completed"
    assert time.monotonic() - began < 20
    for wait in ("3601", "-1", "x", ""):
        bad(shared.api("GET", f"/v1/runs/{run}?wait={wait}"), 400, "BadRequest")


def test_a_hundred_waiting_clients_all_hear_of_the_end(shared):
    gate = Gate(shared.root, "hundred.gate")
    run = shared.submit({"gate.py": GATE_MODULE, "main.py": gate.code})
    connections = []
    for _ in range(100):
        connection = shared.connect()
        connection.request("GET", f"/v1/runs/{run}?wait=30")
        connections.append(connection)
    gate.open()
    for connection in connections:
        assert json.loads(connection.getresponse().read())["status"] == "Completed"
        connection.close()


def test_a_waiting_client_that_leaves_harms_nobody(shared):
    gate = Gate(shared.root, "leaver.gate")
    run = shared.submit({"gate.py": GATE_MODULE, "main.py": "print('up')\n" + gate.code})
    shared.running(run)
    for path in (f"/v1/runs/{run}?wait=60", f"/v1/runs/{run}/logs/user_logs/std_log.txt?follow=1"):
        for _ in range(10):
            connection = shared.connect()
            connection.request("GET", path)
            connection.close()
    gate.open()
    assert shared.ended(run)["status"] == "Completed"


# -- logs -----------------------------------------------------------------------------------------


def test_a_log_can_be_read_from_an_offset(shared, done):
    path = f"/v1/runs/{done}/logs/user_logs/std_log.txt"
    for follow in ("", "follow=1&"):
        for offset in (0, 1, 35, len(LOG) - 1, len(LOG)):
            answer = shared.api("GET", f"{path}?{follow}offset={offset}")
            assert (answer.status, answer.body) == (200, LOG[offset:]), (follow, offset, answer)
        answer = shared.api("GET", f"{path}?{follow}offset={len(LOG) + 1}")
        assert (answer.status, answer.error["code"], answer.error["target"]) == (416, "RangeNotSatisfiable", "offset"), answer
    for offset in ("-1", "x", "", "99999999999999999999999"):
        bad(shared.api("GET", f"{path}?offset={offset}"), 400, "BadRequest")
    bad(shared.api("GET", f"{path}?follow=maybe"), 400, "BadRequest")


def test_the_stream_of_a_log_that_is_truncated_is_cut_and_its_offset_refused(shared):
    gate = Gate(shared.root, "truncate.gate")
    text = f"import os\nprint('x' * 99, flush=True)\n{gate.code}\nos.truncate('user_logs/std_log.txt', 0)\nprint('new', flush=True)"
    end = Gate(shared.root, "truncate-end.gate")
    run = shared.submit({"gate.py": GATE_MODULE, "main.py": f"{text}\n{end.code}"})
    path = f"/v1/runs/{run}/logs/user_logs/std_log.txt?follow=1&offset="
    connection = shared.connect()
    connection.request("GET", path + "0")
    response = connection.getresponse()
    assert response.read(100) == b"x" * 99 + b"\n"
    gate.open()
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        response.read()
    connection.close()
    bad(shared.api("GET", path + "100"), 416, "RangeNotSatisfiable", "offset")
    end.open()
    answer = shared.api("GET", path + "0")
    assert (answer.status, answer.body) == (200, b"new\n"), answer
    assert shared.ended(run)["status"] == "Completed"


def test_a_log_that_is_not_there(shared, done):
    for name in ("user_logs/absent.txt", "std_log.txt", "outputs/x", "../request.json", "work/main.py"):
        bad(shared.api("GET", f"/v1/runs/{done}/logs/{name}"), 404, "NotFound")


def test_follow_streams_until_the_record_is_final(shared):
    gates = [Gate(shared.root, f"follow{i}") for i in range(3)]
    main = "".join(f"print('line', {i})\n{gate.code}\n" for i, gate in enumerate(gates)) + "raise SystemExit(5)"
    run = shared.submit({"gate.py": GATE_MODULE, "main.py": main})
    connection = shared.connect()
    try:
        connection.request("GET", f"/v1/runs/{run}/logs/user_logs/std_log.txt?follow=1")
        response = connection.getresponse()
        assert response.status == 200
        for i, gate in enumerate(gates):
            assert response.readline() == b"line %d\n" % i
            gate.open()
        assert response.read() == b""
        record = shared.record(run)
        assert (record["status"], record["exit_code"]) == ("Failed", 5)
    finally:
        connection.close()


def test_follow_of_a_queued_run_waits_for_its_log(make_daemon):
    daemon = make_daemon(config={"max_running_runs": 1, "stop_grace_seconds": 1})
    gate = Gate(daemon.root, "gate")
    daemon.submit({"gate.py": GATE_MODULE, "main.py": gate.code})
    run = daemon.submit("print('at last')")
    connection = daemon.connect()
    try:
        connection.request("GET", f"/v1/runs/{run}/logs/user_logs/std_log.txt?follow=1")
        gate.open()
        assert connection.getresponse().read() == b"at last\n"
    finally:
        connection.close()


def test_follow_of_a_queued_run_that_is_cancelled_ends(make_daemon):
    daemon = make_daemon(config={"max_running_runs": 1, "stop_grace_seconds": 1})
    daemon.submit("import time; time.sleep(1000)")
    run = daemon.submit("print('never')")
    connection = daemon.connect()
    try:
        connection.request("GET", f"/v1/runs/{run}/logs/user_logs/std_log.txt?follow=1")
        daemon.api("POST", f"/v1/runs/{run}/cancel")
        assert connection.getresponse().read().find(b"never") < 0
    finally:
        connection.close()


def test_a_slow_reader_holds_neither_the_run_nor_the_daemon_up(shared):
    run = shared.submit("import sys\nfor i in range(30): sys.stdout.write('x' * (1 << 20))")
    connection = shared.connect()
    try:
        connection.request("GET", f"/v1/runs/{run}/logs/user_logs/std_log.txt?follow=1")
        response = connection.getresponse()
        response.read(10)
        assert shared.ended(run)["status"] == "Completed"
        assert shared.api("GET", "/healthz").status == 200
        assert len(response.read()) == (30 << 20) - 10
    finally:
        connection.close()


# -- changing -------------------------------------------------------------------------------------


def test_tags_are_added_changed_and_removed(shared):
    run = shared.finish("", tags={"keep": "1", "change": "2", "gone": "3"})["run_id"]
    body = {"tags": {"change": "two", "gone": None, "new": "é\n"}, "display_name": "now named"}
    answer = shared.api("PATCH", f"/v1/runs/{run}", body)
    assert answer.status == 200, answer
    assert answer.json["tags"] == {"keep": "1", "change": "two", "new": "é\n"}
    assert answer.json["display_name"] == "now named"
    assert shared.record(run) == answer.json
    assert shared.api("PATCH", f"/v1/runs/{run}", {}).json == answer.json
    assert shared.api("PATCH", f"/v1/runs/{run}", {"tags": {"absent": None}}).json == answer.json


@pytest.mark.parametrize(
    "body, target",
    [({"tags": []}, "tags"), ({"tags": {"a": 1}}, "tags"), ({"tag": {}}, "tag"), ({"display_name": 5}, "display_name"),
     ({"status": "Completed"}, "status"), ({"properties": {"a": "b"}}, "properties"), ({"run_id": "x"}, "run_id"),
     ({"tags": None}, "tags"), ({"tags": {"": "x"}}, "tags")],
)  # fmt: skip
def test_a_wrong_patch_changes_nothing(shared, done, body, target):
    before = shared.record(done)
    error = bad(shared.api("PATCH", f"/v1/runs/{done}", body), 400, "BadRequest")
    assert target in (error["target"] or ""), error
    assert shared.record(done) == before


def test_delete_removes_the_run_and_its_folder(daemon):
    run = daemon.finish("open('outputs/x', 'w').write('x')\nraise SystemExit(1)")["run_id"]
    answer = daemon.api("DELETE", f"/v1/runs/{run}")
    assert (answer.status, answer.body) == (204, b"")
    bad(daemon.api("GET", f"/v1/runs/{run}"), 404, "NotFound")
    bad(daemon.api("DELETE", f"/v1/runs/{run}"), 404, "NotFound")
    assert daemon.api("GET", "/v1/runs").json == []
    wait_for(lambda: not (daemon.state / "runs" / run).exists(), "its folder goes")
    daemon.terminate()
    daemon.start()
    bad(daemon.api("GET", f"/v1/runs/{run}"), 404, "NotFound")


def test_delete_of_a_live_run_is_a_conflict(daemon):
    run = daemon.submit("import time; time.sleep(1000)")
    daemon.running(run)
    bad(daemon.api("DELETE", f"/v1/runs/{run}"), 409, "Conflict")
    assert daemon.record(run)["status"] == "Running"


def test_deleting_one_run_leaves_the_bytes_it_shares_with_another(daemon):
    script = "open('outputs/x', 'w').write('shared bytes')"
    first, second = daemon.finish(script)["run_id"], daemon.finish(script)["run_id"]
    daemon.api("DELETE", f"/v1/runs/{first}")
    assert daemon.artifact(second, "outputs/x") == b"shared bytes"
    assert daemon.api("GET", f"/v1/runs/{second}/snapshot").status == 200


def test_states_only_ever_go_forward(shared):
    order = ["NotStarted", "Queued", "Preparing", "Starting", "Running", "Finalizing", "Completed"]
    gate = Gate(shared.root, "forward.gate")
    run, seen = shared.submit({"gate.py": GATE_MODULE, "main.py": gate.code}), []
    while not seen or seen[-1] != "Completed":
        status = shared.record(run)["status"]
        if not seen or seen[-1] != status:
            seen.append(status)
        if status == "Running":
            gate.open()
    assert seen == sorted(seen, key=order.index) and "Running" in seen, seen


def test_a_submit_is_durable_before_it_is_answered(daemon):
    for _ in range(5):
        run = daemon.submit("print(1)")
        daemon.kill()
        daemon.start()
        assert daemon.ended(run)["status"] == "Completed"
        assert daemon.std_log(run) == b"1\n"
