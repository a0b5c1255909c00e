# SPDX-License-Identifier: MIT
"""Long lists are whole, what single GETs say, and keep nobody else waiting; and what a run carries has bounds."""

import contextlib
import json
import threading
import time

import pytest

FILES = 5000
RUNS = 300


@contextlib.contextmanager
def another_client(daemon):
    """Asks /healthz all the time. Its slowest answer, in seconds, is the last of the list."""
    slowest = [0.0]
    over = threading.Event()
    failures = []

    def ask():
        try:
            while not over.is_set():
                began = time.monotonic()
                assert daemon.api("GET", "/healthz").json == {"status": "ok"}
                slowest[0] = max(slowest[0], time.monotonic() - began)
        except Exception as failure:  # shown by the test, not by the thread
            failures.append(failure)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield slowest
    finally:
        over.set()
        thread.join(60)
    assert not failures and not thread.is_alive(), failures


def compact(value):
    """As the daemon writes JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.fixture(scope="module")
def many_files(shared):
    return shared.finish(f"for i in range({FILES}): open(f'outputs/{{i:05}}-{'n' * 150}', 'w').close()")["run_id"]


@pytest.fixture(scope="module")
def many_runs(shared):
    """Held runs whose records are large, oldest first."""
    source = str(shared.source())
    tags = {f"k{i}": "é" * 300 for i in range(99)}
    runs = [shared.submit(source_directory=source, tags=tags, hold=True, experiment_name="large") for _ in range(RUNS)]
    yield runs
    for run in runs:
        shared.api("POST", f"/v1/runs/{run}/cancel")


@pytest.mark.timeout(120)
def test_a_long_list_of_artifacts_is_whole(shared, many_files):
    with another_client(shared) as slowest:
        answer = shared.api("GET", f"/v1/runs/{many_files}/artifacts")
    assert answer.status == 200 and answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Transfer-Encoding"] == "chunked"
    paths = [artifact["path"] for artifact in answer.json]
    outputs = [f"outputs/{i:05}-{'n' * 150}" for i in range(FILES)]
    assert paths == outputs + [path for path in paths if not path.startswith("outputs/")]
    assert "user_logs/std_log.txt" in paths and len(paths) == len(set(paths))
    assert answer.body == compact(answer.json)
    assert slowest[0] < 20


@pytest.mark.timeout(120)
def test_a_prefix_of_a_long_list_is_the_same_artifacts(shared, many_files):
    whole = shared.api("GET", f"/v1/runs/{many_files}/artifacts").json
    for prefix in ("outputs/", "outputs/01", "outputs/01234", "outputs/x", "user_logs/"):
        part = shared.api("GET", f"/v1/runs/{many_files}/artifacts?prefix={prefix}")
        assert part.json == [artifact for artifact in whole if artifact["path"].startswith(prefix)], prefix
        assert part.body == compact(part.json)


@pytest.mark.timeout(120)
def test_a_live_run_has_a_long_list_too(shared):
    """What history does not know yet is merged in, in order."""
    run = shared.submit(
        "import time\nfor i in range(1500): open(f'logs/{i:05}', 'w').close()\n"
        "open('logs/whole', 'w').close()\ntime.sleep(1000)"
    )
    try:
        shared.running(run)
        for name in ("logs/00700", "outputs/put", "logs/00000-put"):
            assert shared.api("PUT", f"/v1/runs/{run}/artifacts/{name}", b"put").status == 201
        deadline = time.monotonic() + 30
        while True:
            answer = shared.api("GET", f"/v1/runs/{run}/artifacts")
            if "logs/whole" in [artifact["path"] for artifact in answer.json]:
                break
            assert time.monotonic() < deadline, len(answer.json)
        paths = [artifact["path"] for artifact in answer.json]
        made = [f"logs/{i:05}" for i in range(1500)]
        expected = sorted([*made, "logs/00000-put", "logs/whole", "outputs/put", "user_logs/std_log.txt"])
        assert paths == expected
        assert {a["path"] for a in answer.json if a["digest"]} == {"logs/00000-put", "logs/00700", "outputs/put"}
        assert shared.api("GET", f"/v1/runs/{run}/artifacts?prefix=logs/000").json == [
            artifact for artifact in answer.json if artifact["path"].startswith("logs/000")
        ]
    finally:
        shared.api("POST", f"/v1/runs/{run}/cancel")
    shared.ended(run)


@pytest.mark.timeout(240)
def test_a_long_list_of_runs_is_what_each_of_them_says(shared, many_runs):
    with another_client(shared) as slowest:
        answer = shared.api("GET", "/v1/runs?limit=1000&experiment_name=large")
    assert answer.status == 200 and answer.headers["Transfer-Encoding"] == "chunked"
    assert [record["run_id"] for record in answer.json] == many_runs[::-1]
    # queue_position of a held run is null, so nothing in it changes.
    singles = [shared.api("GET", f"/v1/runs/{run}").body for run in many_runs[::-1]]
    assert answer.body == b"[" + b",".join(singles) + b"]"
    assert slowest[0] < 20


@pytest.mark.timeout(120)
def test_a_list_of_runs_in_pages_is_the_same_list(shared, many_runs):
    pages, before = [], ""
    while page := shared.api("GET", f"/v1/runs?limit=70&experiment_name=large{before}").json:
        pages += page
        before = f"&before={page[-1]['run_id']}"
    assert [record["run_id"] for record in pages] == many_runs[::-1]


@pytest.mark.timeout(120)
def test_short_lists_have_a_length_and_head_says_it_too(shared, many_files):
    for path in ("/v1/runs?limit=1", f"/v1/runs/{many_files}/artifacts?prefix=user_logs/", "/v1/experiments",
                 "/v1/runs?experiment_name=nobodys"):  # fmt: skip
        answer = shared.api("GET", path)
        assert int(answer.headers["Content-Length"]) == len(answer.body), path
        head = shared.api("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == answer.headers["Content-Length"]
    assert shared.api("GET", "/v1/runs?experiment_name=nobodys").body == b"[]"


@pytest.mark.timeout(120)
def test_head_of_a_long_list_has_no_body(shared, many_files):
    connection = shared.connect()
    try:
        for _ in range(3):
            connection.request("HEAD", f"/v1/runs/{many_files}/artifacts")
            head = connection.getresponse()
            assert (head.status, head.read(), head.headers["Content-Type"]) == (200, b"", "application/json")
    finally:
        connection.close()
    assert shared.api("GET", "/healthz").status == 200


@pytest.mark.timeout(120)
def test_http_1_0_gets_the_whole_list(shared, many_files):
    """Without chunks: the end of the connection is the end of the list."""
    whole = shared.api("GET", f"/v1/runs/{many_files}/artifacts").body
    got = shared.raw(f"GET /v1/runs/{many_files}/artifacts HTTP/1.0\r\n\r\n".encode())
    head, _, body = got.partition(b"\r\n\r\n")
    assert b" 200 " in head.split(b"\r\n")[0] and b"chunked" not in head.lower()
    assert body == whole


@pytest.mark.timeout(120)
def test_errors_come_before_the_list(shared, many_files):
    for path, status, target in (
        ("/v1/runs?limit=1000&before=nobody", 400, "before"),
        ("/v1/runs?limit=1001", 400, "limit"),
        ("/v1/runs/nobody/artifacts", 404, "run_id"),
    ):
        answer = shared.api("GET", path)
        assert (answer.status, answer.error["target"]) == (status, target), path


@pytest.mark.timeout(120)
def test_clients_that_leave_in_the_middle_leave_nothing_behind(shared, many_files):
    """A slow reader keeps a piece, and its end is noticed."""
    for _ in range(20):
        connection = shared.connect()
        connection.request("GET", f"/v1/runs/{many_files}/artifacts")
        assert connection.getresponse().read(1000).startswith(b"[{")
        connection.close()
    assert len(shared.api("GET", f"/v1/runs/{many_files}/artifacts").json) > FILES


@pytest.mark.timeout(120)
def test_amlctl_takes_long_lists(shared, many_files, many_runs):
    assert len(shared.json("files", many_files)) > FILES
    listed = shared.json("list", "-e", "large", "-n", str(RUNS))
    assert [record["run_id"] for record in listed] == many_runs[::-1]


@pytest.mark.timeout(120)
def test_a_run_deleted_while_the_list_is_read_is_left_out(make_daemon):
    daemon = make_daemon()
    source = str(daemon.source())
    tags = {f"k{i}": "x" * 600 for i in range(99)}
    runs = [daemon.submit(source_directory=source, tags=tags, hold=True) for _ in range(60)]
    connection = daemon.connect()
    try:
        connection.request("GET", "/v1/runs?limit=1000")
        response = connection.getresponse()
        begin = response.read(1000)
        daemon.api("POST", f"/v1/runs/{runs[0]}/cancel")
        daemon.ended(runs[0])
        assert daemon.api("DELETE", f"/v1/runs/{runs[0]}").status == 204
        records = json.loads(begin + response.read())
    finally:
        connection.close()
    assert [record["run_id"] for record in records] == runs[:0:-1]


# -- bounds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "target"),
    [
        ({"tags": {"k": "x" * 65536}}, "tags"),
        ({"tags": {f"k{i:03}": "x" * 400 for i in range(199)}}, "tags"),
        ({"properties": {"x" * 65536: "v"}}, "properties"),
        ({"environment": {"environment_variables": {"A": "x" * 262144}}}, "environment.environment_variables"),
        ({"environment": {"name": "x" * 4097}}, "environment.name"),
        ({"environment": {"python": {"interpreter_path": "/" * 4097}}}, "environment.python.interpreter_path"),
        ({"script": "x" * 4097}, "script"),
        ({"source_directory": "/" * 4097}, "source_directory"),
    ],
)
def test_what_a_run_carries_has_bounds(shared, fields, target):
    answer = shared.post(**fields)
    assert (answer.status, answer.error["target"]) == (400, target)
    assert "at most" in answer.error["message"] or "longer than" in answer.error["message"]


def test_patches_add_up_to_the_same_bounds(shared):
    run = shared.finish("", tags={"kept": "1"})["run_id"]
    fits = {f"a{i}": "x" for i in range(199)}
    assert shared.api("PATCH", f"/v1/runs/{run}", {"tags": fits}).status == 200
    for tags in ({"one": "more"}, {"one": "x" * 65000}, {f"b{i}": "x" for i in range(199)}):
        answer = shared.api("PATCH", f"/v1/runs/{run}", {"tags": tags, "display_name": "no"})
        assert (answer.status, answer.error["target"]) == (400, "tags")
    record = shared.record(run)
    assert record["tags"] == {"kept": "1", **fits} and record["display_name"] is None
    # One goes, one comes.
    answer = shared.api("PATCH", f"/v1/runs/{run}", {"tags": {"a0": None, "one": "more"}})
    assert answer.status == 200 and len(answer.json["tags"]) == 200


def test_what_git_says_is_not_counted(shared):
    """The daemon adds it to properties that are as large as may be."""
    record = shared.finish(
        properties={"p": "x" * 65535},
        submit_environment={"PATH": "/usr/bin:/bin", "AZUREML_GIT_BRANCH": "b" * 4000, "AZUREML_GIT_COMMIT": "c" * 5000},
    )
    assert record["properties"]["azureml.git.branch"] == "b" * 4000
    assert "azureml.git.commit" not in record["properties"]
