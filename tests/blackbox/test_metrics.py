# SPDX-License-Identifier: MIT
"""GET /metrics: OpenMetrics by the letter, and numbers that are true."""

import re

import openmetrics
import pytest
from harness import BUILD, REPO, wait_for


def metrics(daemon):
    answer = daemon.api("GET", "/metrics")
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"] == openmetrics.CONTENT_TYPE
    return openmetrics.parse(answer.body.decode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# EOF",
        "# TYPE a gauge\n# HELP a b\na 1\n",
        "# TYPE a gauge\n# HELP a b\na 1\n# EOF\n# EOF\n",
        "# TYPE a counter\n# HELP a b\na 1\n# EOF\n",
        "# TYPE a counter\n# HELP a b\na_total -1\n# EOF\n",
        "# TYPE a gauge\na 1\n# EOF\n",
        "# TYPE a gauge\n# HELP a b\n# EOF\n",
        "# TYPE a gauge\n# HELP a b\na 1\na 2\n# EOF\n",
        "# TYPE a gauge\n# UNIT a bytes\n# HELP a b\na 1\n# EOF\n",
        "# TYPE a gauge\n# HELP a b\na{x=\"1\",} 1\n# EOF\n",
        "# TYPE a gauge\n# HELP a b\na{x=\"1\",x=\"2\"} 1\n# EOF\n",
        "# TYPE a gauge\n# HELP a b\na{x=\"\\t\"} 1\n# EOF\n",
        "# TYPE a gauge\n# HELP a b\na one\n# EOF\n",
        "# TYPE a gauge\n# HELP a b\n\na 1\n# EOF\n",
        "# TYPE a gauge\n# HELP a b\na 1\n# TYPE b gauge\n# HELP b c\nb 1\na 2\n# EOF\n",
    ],
)
def test_the_reader_refuses_what_the_specification_forbids(text):
    with pytest.raises(AssertionError):
        openmetrics.parse(text)


def test_metrics_are_openmetrics_and_say_what_build_it_is(shared):
    found = metrics(shared)
    version = re.search(r"version: '([^']+)'", (REPO / "meson.build").read_text())[1]
    assert found["amlagent_build"].value(version=version) == 1, BUILD
    assert found["process_start_time_seconds"].value() > 1.7e9
    assert found["process_resident_memory_bytes"].value() > 1 << 20
    assert found["amlagent_history_bytes"].unit == "bytes"
    assert found["amlagent_history_bytes"].value() > 4096


def test_runs_are_counted_by_state(daemon):
    states = {dict(labels)["state"] for _, labels in metrics(daemon)["amlagent_runs"].samples}
    assert {"Queued", "Running", "Completed", "Failed", "Canceled"} <= states and "NotStarted" not in states
    assert daemon.finish("print(1)")["status"] == "Completed"
    assert daemon.finish("raise SystemExit(3)")["status"] == "Failed"
    found = metrics(daemon)
    assert found["amlagent_runs"].value(state="Completed") == 1
    assert found["amlagent_runs"].value(state="Failed") == 1
    ended = found["amlagent_runs_ended"]
    assert ended.value(status="Completed", code="") == 1
    assert ended.value(status="Failed", code="UserError") == 1
    assert ended.value(status="Failed", code="Lost") == 0
    assert found["amlagent_run_slots_used"].value() == 0
    assert found["amlagent_run_slots"].value() == daemon.api("GET", "/v1/status").json["max_running_runs"]
    run = daemon.submit("import time; time.sleep(60)")
    daemon.running(run)
    assert metrics(daemon)["amlagent_run_slots_used"].value() == 1


def test_requests_are_counted_by_class(daemon):
    before = metrics(daemon)["amlagent_http_requests"]
    for _ in range(3):
        assert daemon.api("GET", "/no/such/route").status == 404
    assert daemon.api("GET", "/healthz").status == 200
    after = metrics(daemon)["amlagent_http_requests"]
    risen = {c: after.value(**{"class": c}) - before.value(**{"class": c}) for c in ("2xx", "4xx", "5xx")}
    assert risen == {"2xx": 2, "4xx": 3, "5xx": 0}, risen  # the first look itself was answered meanwhile


def test_connections_are_counted(daemon):
    def is_open():
        return metrics(daemon)["amlagent_http_connections"].value()

    before = is_open()
    held = [daemon.connect() for _ in range(5)]
    for connection in held:
        connection.request("GET", "/healthz")
        connection.getresponse().read()
    found = metrics(daemon)
    assert found["amlagent_http_connections"].value() == before + 5
    assert found["amlagent_http_connections_limit"].value() >= 100
    for connection in held:
        connection.close()
    wait_for(lambda: is_open() == before, "the connections' end to be seen")


def test_metrics_name_nobody(daemon):
    """Names of runs, experiments and users are nobody else's business."""
    daemon.finish("print(1)", experiment_name="secret-experiment", display_name="secret-name", tags={"secret-tag": "x"})
    answer = daemon.api("GET", "/metrics")
    user = daemon.api("GET", "/v1/status").json["user"]
    assert b"secret" not in answer.body
    assert not re.search(rf'"{re.escape(user)}"', answer.body.decode())


def test_metrics_are_documented(shared):
    """docs/metrics.md has every one, and none that is not."""
    rows = (REPO / "docs" / "metrics.md").read_text()
    told = re.findall(r"^\| `([a-z_]+?)(?:_total|_info)?(?:\{[a-z, ]+\})?` \|", rows, re.M)
    assert len(told) == len(set(told))
    assert set(metrics(shared)) == set(told)
