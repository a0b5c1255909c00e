# SPDX-License-Identifier: MIT
"""docs/openapi.yaml and docs/api.md against the sources and a daemon: the same routes, codes and fields, in all of them.

What the daemon answers is held to the description by check.py.
"""

import re
import subprocess

import harness
import pytest

yaml = pytest.importorskip("yaml", reason="the package python3-yaml is not there")

FILE = harness.REPO / "docs" / "openapi.yaml"
DESCRIPTION = yaml.safe_load(FILE.read_text())
PAGE = (harness.REPO / "docs" / "api.md").read_text()
ROUTES = (harness.REPO / "agent" / "api" / "routes.c").read_text()
METHODS = ("get", "put", "post", "patch", "delete")
REST = re.compile(r"\{(name|path)\}$")  # parts with slashes in them

pytestmark = pytest.mark.timeout(60)


def described():
    """{(method, path): operation}, with the parameters of the whole path in each operation."""
    found = {}
    for path, item in DESCRIPTION["paths"].items():
        for method in METHODS:
            if method in item:
                operation = dict(item[method])
                operation["parameters"] = item.get("parameters", []) + operation.get("parameters", [])
                found[method.upper(), REST.sub("{rest}", path)] = operation
    return found


def section(title):
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def rows(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if re.match(r"\| [`\d]", line)]


def schema(name):
    return DESCRIPTION["components"]["schemas"][name]


# -- the same routes ------------------------------------------------------------------------------


def test_the_description_has_the_routes_of_the_source_and_no_others():
    table = set(re.findall(r'\{ "([A-Z]+)",\s+"(/[^"]*)"', ROUTES))
    assert len(table) > 10
    assert set(described()) == table


def test_the_description_has_the_query_parameters_of_the_source_and_no_others():
    lists = {
        name: set(re.findall(r'"(\w+)"', body))
        for name, body in re.findall(r"static const char \*const (\w+)\[\] = \{([^}]*)\}", ROUTES)
    }
    for (method, path), operation in described().items():
        row = re.search(rf'\{{ "{method}",\s+"{re.escape(path)}",[^\n]*', ROUTES)[0]
        used = re.search(r"\.queries = (\w+)", row)
        queries = {p["name"] for p in operation["parameters"] if p.get("in") == "query"}
        assert queries == (lists[used[1]] if used else set()), (method, path)


def test_the_page_has_the_routes_of_the_description():
    on_page = {}
    for cells in rows(PAGE.split("\n## Errors\n")[0]):
        method, url = cells[0].strip("`").split(" ", 1)
        path, _, query = url.partition("?")
        on_page[method, REST.sub("{rest}", path)] = set(re.findall(r"\d+", cells[1])), set(re.findall(r"(\w+)=", query))
    assert set(on_page) == set(described())
    for route, operation in described().items():
        good = {status for status in operation["responses"] if status < "300"}
        queries = {p["name"] for p in operation["parameters"] if p.get("in") == "query"}
        assert on_page[route] == (good, queries), route


# -- the same errors ------------------------------------------------------------------------------


def test_the_page_and_the_description_have_the_same_errors():
    on_page = {cells[1].strip("`"): cells[0] for cells in rows(section("Errors"))}
    responses = DESCRIPTION["components"]["responses"]
    codes = schema("Error")["properties"]["error"]["properties"]["code"]["enum"]
    assert set(on_page) == set(responses) == set(codes)
    for name, response in responses.items():
        parts = response["content"]["application/json"]["schema"]["allOf"]
        assert {"properties": {"error": {"properties": {"code": {"const": name}}}}} in parts, name
    for route, operation in described().items():
        for status, response in operation["responses"].items():
            if status >= "300":
                assert on_page[response["$ref"].rsplit("/", 1)[1]] == status, (route, status)


def test_every_operation_has_the_errors_that_any_request_can_have():
    for route, operation in described().items():
        expected = {"400", "403", "408", "429", "500"} | ({"404", "409"} if "{id}" in route[1] else set())
        assert expected <= set(operation["responses"]), route


# -- the same fields ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "title, name", [("The run record", "Run"), ("An artifact", "Artifact"), ("The daemon's status", "Status")]
)
def test_the_page_names_every_field(title, name):
    fields = schema(name)["properties"]
    assert set(schema(name)["required"]) == set(fields)
    missing = [field for field in fields if not re.search(rf"\b{field}\b", section(title))]
    assert not missing


def test_the_states_are_those_of_the_source():
    source = (harness.REPO / "common" / "run_state.c").read_text()
    assert set(schema("State")["enum"]) <= set(re.findall(r'"([A-Z]\w+)"', source))


def test_the_request_has_the_keys_of_the_source():
    source = (harness.REPO / "common" / "run_request.c").read_text()
    table = source.split("request_fields[] = {", 1)[1].split("};", 1)[0]
    assert set(schema("RunRequest")["properties"]) == set(re.findall(r'\{ "(\w+)"', table))


# -- the daemon -----------------------------------------------------------------------------------


def test_the_daemon_serves_the_description(make_daemon):
    answer = make_daemon().api("GET", "/v1/openapi.yaml")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/yaml")
    assert answer.body == FILE.read_bytes()


def test_every_curl_example_of_the_page_works(make_daemon):
    daemon = make_daemon(start=False)
    daemon.socket = str(daemon.root / "run" / "amlagent" / "amlagentd.sock")
    daemon.start()
    folder = daemon.root / "project"
    harness.write_tree(folder, {"train.py": "print('trained')\nopen('outputs/model.bin', 'wb').write(bytes(1000))\n"})
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.M | re.S)
    count = sum(block.count("curl --unix-socket") for block in blocks)
    assert count > 12 and count == PAGE.count("curl --unix-socket \"$S\"")
    script = 'set -euo pipefail\ncurl() { command curl --fail-with-body -sS "$@" && echo "ok $?" >&2; }\n' + "".join(blocks)
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env={**daemon.env, "LC_ALL": "C.UTF-8"}, stdin=subprocess.DEVNULL,
        capture_output=True, timeout=50,
    )
    assert done.returncode == 0, done
    assert done.stderr.count(b"ok 0") == count, done.stderr
    assert b"trained\n" in done.stdout and b"train.py\n" in done.stdout
    assert (folder / "model.bin").read_bytes() == bytes(1000)
    assert (folder / "last-100-bytes").read_bytes() == bytes(100)
    held, canceled = [run["run_id"] for run in daemon.api("GET", "/v1/runs?limit=2").json]
    assert daemon.api("GET", f"/v1/runs/{canceled}?wait=10").json["status"] == "Canceled"
    record = daemon.api("GET", f"/v1/runs/{held}?wait=10").json
    assert (record["status"], record["shared"]) == ("Completed", True), record
