# SPDX-License-Identifier: MIT
"""User A tries X on B's run: every route of docs/openapi.yaml, every command of amlctl, every file on disk.

The routes come from the description and the commands from `amlctl --help`: a new one is tried by itself, or fails here
until somebody says how to try it.
"""

import json
import os
import re

import harness
import pytest
from harness import ENDED, GATE_MODULE, Gate, quote, wait_for
from users_harness import Service, same_but_for

yaml = pytest.importorskip("yaml", reason="the package python3-yaml is not there")

FILE = harness.REPO / "docs" / "openapi.yaml"
PATHS = yaml.safe_load(FILE.read_text())["paths"]
METHODS = ("get", "head", "put", "post", "delete", "patch")
ROUTES = [(method, path) for path, item in PATHS.items() for method in item if method in METHODS]
ROUTES += [("head", path) for method, path in ROUTES if method == "get"]
OF_RUNS = [(method, path) for method, path in ROUTES if "{id}" in path]
OTHERS = [(method, path) for method, path in ROUTES if "{id}" not in path]
READS = ("get", "head")

# What a route of one run is sent, and in which state the run must be that it works for who may. By default: an empty
# object, and a run that has Completed. A changing route that is not here is tried on strangers all the same.
BODIES = {
    ("patch", "/v1/runs/{id}"): {"tags": {"seen": "yes"}},
    ("put", "/v1/runs/{id}/artifacts/{path}"): b"new bytes",
}
STATES = {
    ("post", "/v1/runs/{id}/cancel"): "held",
    ("post", "/v1/runs/{id}/hold"): "held",
    ("post", "/v1/runs/{id}/release"): "held",
}
KNOWN = set(BODIES) | set(STATES) | {("delete", "/v1/runs/{id}")}
FILES = {"{name}": "user_logs/std_log.txt", "{path}": "outputs/model"}
NOBODY = "nobodys-run_1700000000_0123abcd"


def route_of(path, run):
    """The path with a run's name, and a file's where it wants one."""
    path = path.replace("{id}", quote(run))
    for name, value in FILES.items():
        path = path.replace(name, value)
    assert "{" not in path, f"{path}: say in FILES what the other part is"
    return path


def ask(desk, method, path, run, query=""):
    body = BODIES.get((method, path), None if method in (*READS, "delete") else {})
    return desk.api(method.upper(), route_of(path, run) + query, body)


def told(answer, name):
    """All of an answer that could tell something: status, headers, body; without the name that was asked for."""
    headers = sorted((key, value) for key, value in answer.headers.items() if key not in ("Date", "Content-Length"))
    return answer.status, headers, same_but_for(answer.body, name)


def as_of_nobody(desk, method, path, run, query=""):
    """Is the answer the one that a run gets that does not exist? Fails if not."""
    here = ask(desk, method, path, run, query)
    nowhere = ask(desk, method, path, NOBODY, query)
    assert here.status == 404, (desk.who, method, path, here)
    assert told(here, run) == told(nowhere, NOBODY), (here, nowhere)


class Case:
    """Runs of ben's in every state that the matrix needs, made when asked for and known by unique words."""

    def __init__(self, service, owner, **fields):
        self.service = service
        self.desk = service.desk(owner)
        self.fields = fields
        self.word = "bens" + os.urandom(6).hex()
        self.source = str(
            self.desk.source({"main.py": "open('outputs/model', 'w').write('weights')\nprint('said')"}, self.word)
        )
        self.completed = self.run("completed")

    def run(self, state):
        fields = {
            "source_directory": self.source,
            "experiment_name": self.word,
            "display_name": f"{self.word} shown",
            "tags": {self.word: self.word},
            "environment": {"environment_variables": {"SETTING": f"{self.word}-setting"}},
            **self.fields,
        }
        if state == "held":
            return self.desk.submit(hold=True, **fields)
        record = self.desk.finish(**fields)
        assert record["status"] == "Completed", record
        return record["run_id"]

    def fresh(self, method, path):
        """A run on which this route works for who may: changing routes get one of their own."""
        if method in READS:
            return self.completed
        return self.run(STATES.get((method, path), "completed"))

    def forget(self, run):
        if self.desk.api("GET", f"/v1/runs/{run}").status == 200 and self.desk.record(run)["status"] not in ENDED:
            self.desk.cancel(run)


@pytest.fixture(scope="module")
def case(service, ben):
    return Case(service, ben)


@pytest.fixture(scope="module")
def shared_case(service, ben):
    return Case(service, ben, share=True)


def names(routes):
    return [f"{method.upper()} {path}" for method, path in routes]


# -- every route ----------------------------------------------------------------------------------


@pytest.mark.parametrize("method, path", OF_RUNS, ids=names(OF_RUNS))
def test_a_strangers_run_answers_as_one_that_does_not_exist(case, service, ana, otto, method, path):
    run = case.fresh(method, path)
    before = case.desk.record(run)
    for user in (ana, otto):
        as_of_nobody(service.desk(user), method, path, run)
        as_of_nobody(service.desk(user), method, path, run[:-2])
    assert case.desk.record(run) == before, "and nothing has changed"
    case.forget(run)


@pytest.mark.parametrize(
    "path, query",
    [
        ("/v1/runs/{id}", "?wait=5"),
        ("/v1/runs/{id}/logs/{name}", "?follow=1&offset=0"),
        ("/v1/runs/{id}/artifacts", "?prefix=logs/"),
    ],
)
def test_waiting_for_a_strangers_run_is_no_way_to_learn_of_it(case, service, ana, path, query):
    run = case.run("held")
    for name in (run, case.completed):
        as_of_nobody(service.desk(ana), "get", path, name, query)
    case.forget(run)


@pytest.mark.parametrize("method, path", OF_RUNS, ids=names(OF_RUNS))
def test_a_route_works_for_the_owner_an_admin_and_root(case, service, eva, method, path):
    if method not in READS and (method, path) not in KNOWN:
        pytest.fail(f"{method.upper()} {path} is new: say in BODIES and STATES how it is asked")
    for desk in (case.desk, service.desk(eva), service):
        run = case.fresh(method, path)
        answer = ask(desk, method, path, run)
        assert answer.status in (200, 201, 202, 204), (desk.user, method, path, answer)
        case.forget(run)


@pytest.mark.parametrize("method, path", OF_RUNS, ids=names(OF_RUNS))
def test_a_shared_run_is_read_by_all_and_changed_by_none(shared_case, service, ana, otto, method, path):
    run = shared_case.fresh(method, path)
    before = shared_case.desk.record(run)
    for user in (ana, otto):
        answer = ask(service.desk(user), method, path, run)
        if method in READS:
            assert answer.status == 200, (user, method, path, answer)
        else:
            assert answer.status == 403, (user, method, path, answer)
            assert answer.error["code"] == "Forbidden"
    assert shared_case.desk.record(run) == before
    shared_case.forget(run)


@pytest.mark.parametrize("method, path", ROUTES, ids=names(ROUTES))
def test_who_is_not_in_the_users_group_gets_nothing_but_health(closed, ana, eva, otto, method, path):
    service, run = closed
    answer = ask(service.desk(otto), method, path, run)
    if path == "/healthz":
        assert answer.status == 200, answer
        return
    assert answer.status == 403, answer
    nowhere = ask(service.desk(otto), method, path, NOBODY)
    assert told(answer, run) == told(nowhere, NOBODY)
    if method in READS:
        for desk in (service.desk(ana), service.desk(eva), service):
            assert ask(desk, method, path, run).status == 200, (desk.user, method, path)


@pytest.fixture(scope="module")
def closed(lab, ana):
    """A service for the group `research` alone, and a run of ana's on it."""
    service = Service(lab, config={"users_group": lab.research})
    try:
        service.start()
        yield service, Case(service, ana).completed
    finally:
        service.close()


# -- sharing --------------------------------------------------------------------------------------


def test_a_run_is_shared_and_taken_back_by_its_owner_alone(case, service, ana, eva):
    run = case.run("completed")
    desk = service.desk(ana)
    assert case.desk.record(run)["shared"] is False
    answer = case.desk.api("PATCH", f"/v1/runs/{run}", {"shared": True})
    assert (answer.status, answer.json["shared"]) == (200, True), answer
    assert desk.record(run)["shared"] is True
    assert desk.api("PATCH", f"/v1/runs/{run}", {"shared": False}).status == 403
    assert run in [record["run_id"] for record in desk.runs()]
    assert case.desk.api("PATCH", f"/v1/runs/{run}", {"shared": False}).status == 200
    as_of_nobody(desk, "get", "/v1/runs/{id}", run)
    assert run not in [record["run_id"] for record in desk.runs()]


def test_a_run_is_shared_and_taken_back_by_amlctl(case, service, ana):
    run = case.run("completed")
    for words, seen in ((["share", run], True), (["share", "--off", run], False)):
        case.desk.ok(*words)
        assert (service.desk(ana).amlctl("show", run).returncode == 0) is seen


def test_a_shared_runs_variables_show_their_names_only(shared_case, service, ana, eva):
    def variables(desk):
        return desk.record(shared_case.completed)["run_definition"]["environment"]["environment_variables"]

    assert variables(service.desk(ana)) == {"SETTING": ""}
    for desk in (shared_case.desk, service.desk(eva), service):
        assert variables(desk) == {"SETTING": f"{shared_case.word}-setting"}
    listed = [record for record in service.desk(ana).runs() if record["run_id"] == shared_case.completed]
    assert f"{shared_case.word}-setting" not in json.dumps(listed), "nor does the list"


def test_runs_of_a_configured_group_are_read_by_its_members(make_service, lab, ana, ben, otto):
    service = make_service(config={"share_with_group": lab.research})
    run = service.desk(ben).finish()["run_id"]
    his = service.desk(otto).finish()["run_id"]
    desk = service.desk(ana)
    assert desk.record(run)["run_id"] == run
    assert desk.std_log(run) == b"hello\n"
    assert desk.api("DELETE", f"/v1/runs/{run}").status == 403
    assert desk.api("PATCH", f"/v1/runs/{run}", {"tags": {"a": "b"}}).status == 403
    as_of_nobody(service.desk(otto), "get", "/v1/runs/{id}", run)
    as_of_nobody(desk, "get", "/v1/runs/{id}", his)
    assert [record["run_id"] for record in desk.runs()] == [run]


def test_who_leaves_a_group_reads_its_runs_no_more(make_service, make_user, lab, ben):
    user = make_user("passer")
    lab.join(user, lab.research)
    service = make_service(config={"share_with_group": lab.research})
    run = service.desk(ben).finish()["run_id"]
    assert service.desk(user).record(run)["run_id"] == run
    lab.leave(user, lab.research)
    as_of_nobody(service.desk(user), "get", "/v1/runs/{id}", run)


# -- names, lists, counts -------------------------------------------------------------------------


@pytest.fixture
def pair(make_service, ana, ben):
    """A service that is ana's and ben's alone, with runs of both; ben's is the newest."""
    service = make_service()
    mine = service.desk(ana).finish(experiment_name="common")["run_id"]
    case = Case(service, ben)
    return service, mine, case


def test_a_prefix_and_latest_name_ones_own_runs(pair, ana, otto):
    service, mine, case = pair
    desk = service.desk(ana)
    theirs = case.desk.finish(experiment_name="common")["run_id"]
    common = os.path.commonprefix([mine, theirs])
    assert common.startswith("common_")
    assert desk.record(common)["run_id"] == mine, "ben's run makes no prefix ambiguous"
    assert case.desk.record(common)["run_id"] == theirs
    assert desk.record("latest")["run_id"] == mine
    assert case.desk.record("latest")["run_id"] == theirs
    as_of_nobody(desk, "get", "/v1/runs/{id}", theirs)
    as_of_nobody(desk, "get", "/v1/runs/{id}", theirs[:-1])
    as_of_nobody(desk, "get", "/v1/runs/{id}", case.word)
    nothing = service.desk(otto).api("GET", "/v1/runs/latest")
    assert nothing.status == 404, nothing
    assert service.api("GET", f"/v1/runs/{common}").status == 409, "to an admin it is ambiguous"
    assert case.desk.api("PATCH", f"/v1/runs/{theirs}", {"shared": True}).status == 200
    assert desk.record(theirs)["run_id"] == theirs
    assert desk.record("latest")["run_id"] == mine, "whoever shares a newer one"
    assert service.api("POST", "/v1/runs/latest/cancel").status == 404, "an admin's is not anybody's"


def queries(case):
    """Every way to ask for ben's runs by a query."""
    run = quote(case.completed)
    yield from ("", "?limit=1000", f"?before={run}", f"?before={run[:-3]}", f"?experiment_name={case.word}")
    yield from (
        f"?tag={case.word}",
        f"?tag={case.word}={case.word}",
        "?status=" + ",".join(ENDED),
        f"?prefix={case.word}",
    )


def test_nothing_that_is_not_of_one_run_speaks_of_anothers(pair, ana, otto):
    service, _, case = pair
    held = case.run("held")
    for user in (ana, otto):
        desk = service.desk(user)
        for method, path in OTHERS:
            if method not in READS or path == "/v1/events":
                continue
            for query in queries(case):
                answer = desk.api(method.upper(), path + query)
                said = same_but_for(same_but_for(answer.body, case.completed), case.completed[:-3])
                if "=" in query and answer.status != 200:
                    said = said.replace(query.split("=", 1)[1].encode(), b"")
                assert case.word.encode() not in said, (user, method, path, query, answer)
        for run in (case.completed, case.completed[:-3]):
            answers = [desk.api("GET", f"/v1/runs?before={name}") for name in (run, NOBODY)]
            assert told(answers[0], run) == told(answers[1], NOBODY), answers
    case.forget(held)


def test_lists_and_counts_are_of_ones_own_runs(pair, ana, otto, eva):
    service, mine, case = pair
    desk = service.desk(ana)
    assert [record["run_id"] for record in desk.runs()] == [mine]
    assert [item["name"] for item in desk.api("GET", "/v1/experiments").json] == ["common"]
    assert desk.api("GET", "/v1/experiments").json[0]["runs"] == 1
    assert service.desk(otto).runs() == []
    assert service.desk(otto).api("GET", "/v1/experiments").json == []
    assert sum(desk.status()["runs"].values()) == 1
    assert sum(service.desk(otto).status()["runs"].values()) == 0
    assert {record["run_id"] for record in service.desk(eva).runs()} == {mine, case.completed}
    assert {item["name"] for item in service.api("GET", "/v1/experiments").json} == {"common", case.word}


def test_a_held_gpus_and_a_queues_holder_is_named_but_not_his_run(pair, ana):
    service, _, case = pair
    gate = Gate(case.desk.home, "holds")
    run = case.desk.submit({"main.py": gate.code, "gate.py": GATE_MODULE}, experiment_name=case.word)
    try:
        case.desk.running(run)
        status = service.desk(ana).status()
        assert case.word not in json.dumps(status)
        mine = {entry["user"]: entry for entry in status["users"]}
        assert mine[case.desk.who.name]["running"] == 1
    finally:
        gate.open()
    case.desk.ended(run)
    gate.path.unlink()


def test_events_tell_a_stranger_nothing(service, case, ana):
    if "/v1/events" not in PATHS:
        answer = service.desk(ana).api("GET", "/v1/events")
        assert answer.status == 404, "there is such a route: describe it in docs/openapi.yaml"
        return
    connection = service.desk(ana).connect(timeout=5)
    connection.request("GET", "/v1/events")
    run = case.run("completed")
    mine = service.desk(ana).finish()["run_id"]
    heard = b""
    while mine.encode() not in heard:
        heard += connection.sock.recv(65536)
    connection.close()
    assert run.encode() not in heard and case.word.encode() not in heard


def test_metrics_are_numbers_without_names(service, case, ana, ben):
    answer = service.desk(ana).api("GET", "/metrics")
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    text = answer.body.decode()
    assert text.endswith("# EOF\n")
    for word in (case.word, case.completed, ben.name, ana.name, str(service.state)):
        assert word not in text


def test_a_run_comes_after_visible_runs_only(service, case, shared_case, ana):
    desk = service.desk(ana)
    answers = {}
    for name in (case.completed, NOBODY):
        answer = desk.post(after=[{"run_id": name, "condition": "afterok"}])
        assert answer.status in (400, 404), answer
        answers[name] = told(answer, name)
    assert answers[case.completed] == answers[NOBODY]
    record = desk.finish(after=[{"run_id": shared_case.completed, "condition": "afterok"}])
    assert record["status"] == "Completed", record
    assert record["after"] == [{"run_id": shared_case.completed, "condition": "afterok"}]


def test_the_same_blob_of_two_users_is_stored_once_and_says_so_to_neither(service, ana, ben):
    content = os.urandom(3000).hex()
    files = {"main.py": "print(1)", "data": content}
    first = service.desk(ana).finish(files)
    blobs = {name for name in service.files_with(content) if "/blobs/" in name}
    assert len(blobs) == 1
    second = service.desk(ben).finish(files)
    assert {name for name in service.files_with(content) if "/blobs/" in name} == blobs
    assert first["snapshot_id"] == second["snapshot_id"]
    assert second["warnings"] == first["warnings"] == []
    as_of_nobody(service.desk(ana), "get", "/v1/runs/{id}/snapshot", second["run_id"])
    digest = next(iter(blobs)).rsplit("/", 1)[1]
    for path in (f"/v1/blobs/{digest}", f"/v1/blobs/sha256/{digest[:2]}/{digest}", f"/v1/runs/{digest}"):
        assert service.desk(ana).api("GET", path).status == 404
    assert service.api("DELETE", f"/v1/runs/{first['run_id']}").status == 204
    tar = service.desk(ben).api("GET", f"/v1/runs/{second['run_id']}/snapshot")
    assert content.encode() in tar.body, "what one deletes the other still has"


def test_a_submit_of_another_users_digest_gives_nothing_away(service, ana, ben):
    """The names of blobs are no keys: a source folder of digests, links to the store, is only that."""
    secret = os.urandom(2000).hex()
    service.desk(ben).finish({"main.py": "print(1)", "data": secret})
    blob = next(name for name in service.files_with(secret) if "/blobs/" in name)
    folder = ana.write({"main.py": f"print(open({blob!r}).read())"})
    os.symlink(blob, folder / "data")
    ana.own(folder)
    desk = service.desk(ana)
    record = desk.finish(source_directory=str(folder))
    assert record["status"] == "Failed", record
    assert b"PermissionError" in desk.std_log(record["run_id"])
    assert secret.encode() not in desk.api("GET", f"/v1/runs/{record['run_id']}/snapshot").body


# -- admin's routes -------------------------------------------------------------------------------

OF_ADMINS = [("post", "/v1/drain"), ("post", "/v1/resume")]


@pytest.mark.parametrize("method, path", OF_ADMINS, ids=names(OF_ADMINS))
def test_an_admins_route_is_an_admins(make_service, ana, eva, method, path):
    assert (method, path) in ROUTES, "it is described"
    service = make_service()
    answer = service.desk(ana).api(method.upper(), path, {})
    assert (answer.status, answer.error["code"]) == (403, "Forbidden"), answer
    assert service.status()["draining"] is None
    for desk in (service.desk(eva), service):
        assert desk.api(method.upper(), path, {}).status == 200
    refused = [event for event in service.events(path.rsplit("/", 1)[1]) if event["result"] == "denied"]
    assert [event["user"] for event in refused] == [ana.name]


def test_every_route_without_a_run_is_sorted_here():
    known = {"/v1/runs", "/v1/experiments", "/v1/status", "/v1/openapi.yaml", "/v1/events", "/healthz", "/metrics"}
    new = [path for _, path in OTHERS if path not in known | {path for _, path in OF_ADMINS}]
    assert not new, f"{new}: say here whose they are"


def test_status_says_who_is_an_admin(service, ana, eva):
    assert service.desk(ana).status()["admin"] is False
    assert service.desk(eva).status()["admin"] is True
    assert service.status()["admin"] is True


def test_a_refusal_is_in_the_audit(make_service, ana, ben):
    service = make_service()
    run = service.desk(ben).finish(share=True)["run_id"]
    assert service.desk(ana).api("DELETE", f"/v1/runs/{run}").status == 403
    events = service.events("delete", run=run)
    assert [(event["user"], event["result"]) for event in events] == [(ana.name, "denied")]


@pytest.mark.parametrize(
    "action, method, path, body, status",
    [
        ("submit", "POST", "/v1/runs", b"[[[", 400),
        ("submit", "POST", "/v1/runs", b"x" * (5 << 20), 413),
        ("submit", "POST", "/v1/runs?x=1", b"{}", 400),
        ("delete", "DELETE", "/v1/runs/never_1700000000_00000000", None, 404),
        ("put", "PUT", "/v1/runs/%s/artifacts/a/../b", b"x", 400),
    ],
    ids=["no JSON", "too large", "a query", "no such run", "no such name"],
)
def test_a_change_that_came_to_nothing_is_in_the_audit_once(make_service, ana, action, method, path, body, status):
    service = make_service()
    desk = service.desk(ana)
    path = path % desk.finish()["run_id"] if "%s" in path else path
    before = len(service.events(action))
    assert desk.api(method, path, body).status == status
    events = wait_for(lambda: service.events(action)[before:], "the audit has been told")
    assert [(event["uid"], event["result"]) for event in events] == [(str(ana.uid), "error")]


def test_a_name_that_means_nothing_to_a_user_accuses_him_of_nothing(make_service, ana, ben):
    service = make_service()
    run = service.desk(ben).finish()["run_id"]
    for name in ("latest", run[:3]):
        assert service.desk(ana).api("GET", f"/v1/runs/{name}").status == 404
    assert service.events("read") == []
    assert service.desk(ana).api("GET", f"/v1/runs/{run}").status == 404
    assert [event["run"] for event in service.events("read", result="denied")] == [run]


# -- every command --------------------------------------------------------------------------------

# How each command names a run; None: it names none. %s is the run.
COMMANDS = {
    "run": ["--after", "%s", "main.py"],
    "list": None,
    "show": ["%s"],
    "logs": ["%s"],
    "wait": ["%s"],
    "cancel": ["%s"],
    "files": ["%s"],
    "download": ["%s", "-o", "got"],
    "snapshot": ["%s", "-o", "got"],
    "tag": ["%s", "a=b"],
    "delete": ["%s"],
    "status": None,
    "doctor": None,
    "version": None,
    "hold": ["%s"],
    "release": ["%s"],
    "share": ["%s"],
    "drain": None,
    "resume": None,
    "metrics": ["%s"],
    "diff": ["%s", "%s"],
    "rerun": ["%s"],
    "gc": None,
}
CHANGES = ("cancel", "delete", "tag", "hold", "release", "share")


def commands():
    """What `amlctl --help` lists."""
    import subprocess

    text = subprocess.run([harness.AMLCTL, "--help"], stdout=subprocess.PIPE, timeout=20, check=True, text=True).stdout
    return re.findall(r"^  (\w[\w-]*) +\S", text.split("Commands:")[1].split("\n\n")[0], re.M)


def test_every_command_of_amlctl_is_tried_here():
    assert set(commands()) <= set(COMMANDS), "say in COMMANDS how it names a run"


def amlctl(desk, command, run):
    done = desk.amlctl(command, *(word.replace("%s", run) for word in COMMANDS[command]), cwd=desk.source())
    return done.returncode, same_but_for(done.stdout, run), same_but_for(done.stderr, run)


@pytest.mark.parametrize("command", [name for name, words in COMMANDS.items() if words])
def test_a_command_on_a_strangers_run_says_what_it_says_of_none(case, service, ana, command):
    if command not in commands():
        pytest.skip(f"amlctl has no `{command}` (yet)")
    state = "held" if command in ("cancel", "hold", "release") else "completed"
    run = case.run(state)
    before = case.desk.record(run)
    here, nowhere = (amlctl(service.desk(ana), command, name) for name in (run, NOBODY))
    assert here == nowhere
    assert here[0] not in (0, 2), here
    assert case.word.encode() not in here[1] + here[2]
    assert case.desk.record(run) == before
    case.forget(run)


@pytest.mark.parametrize("command", CHANGES)
def test_a_command_that_changes_a_shared_run_says_that_it_is_not_ones_own(shared_case, service, ana, ben, command):
    if command not in commands():
        pytest.skip(f"amlctl has no `{command}` (yet)")
    run = shared_case.run("held" if command in ("cancel", "hold", "release") else "completed")
    before = shared_case.desk.record(run)
    code, out, err = amlctl(service.desk(ana), command, run)
    assert (code, out) == (125, b""), err
    assert ben.name.encode() in err or b"not yours" in err or b"may not" in err, err
    assert shared_case.desk.record(run) == before
    shared_case.forget(run)


@pytest.mark.parametrize("command", ["list", "status"])
def test_a_command_without_a_run_shows_nothing_of_a_strangers(pair, ana, command):
    service, _, case = pair
    held = case.run("held")
    for words in ([], ["-o", "json"], ["--all-users"] if command == "list" else []):
        done = service.desk(ana).amlctl(command, *words)
        assert case.word.encode() not in done.stdout + done.stderr, done
    case.forget(held)


@pytest.mark.parametrize("command", ["drain", "resume"])
def test_an_admins_command_is_refused_to_others_in_words(service, ana, eva, command):
    done = service.desk(ana).amlctl(command)
    message = harness.one_line_error(done)
    assert re.search("admin", message), message
    service.desk(eva).ok(command)
    service.desk(eva).ok("resume")


# -- not by other ways ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../{}", "./{}", "{}/", "{}%00", "%2e%2e/{}", "{}%2f", "*", "{}?x=1", "_", "%", "a_1_b'%20OR%20'1'='1"]
)
def test_no_spelling_of_a_run_s_name_gets_around_the_check(case, service, ana, name):
    desk = service.desk(ana)
    path = "/v1/runs/" + name.format(case.completed)
    answer = desk.api("GET", path)
    assert answer.status in (400, 404), answer
    assert (
        case.word.encode() not in same_but_for(same_but_for(answer.body, case.completed), case.word + "_")
        or answer.status == 404
    )


@pytest.mark.parametrize(
    "path", ["../../{}/std_log.txt", "outputs/../../../{}/work/outputs/model", "/etc/shadow", "%2e%2e%2f{}%2fexit"]
)
@pytest.mark.parametrize("kind", ["artifacts", "logs"])
def test_no_path_leads_from_ones_own_run_to_anothers(case, service, ana, kind, path):
    desk = service.desk(ana)
    mine = desk.finish()["run_id"]
    for method, body in (("GET", None), ("PUT", b"x")):
        answer = desk.api(method, f"/v1/runs/{mine}/{kind}/{path.format(case.completed)}", body)
        assert answer.status in (400, 404, 405), answer
        assert b"weights" not in answer.body and b"said" not in answer.body


def test_one_connection_that_is_handed_over_stays_whose_it_was(case, service, ana):
    """Who asks is who connected: root speaking on ana's connection is ana."""
    connection = service.desk(ana).connect()
    for _ in range(2):
        connection.request("GET", f"/v1/runs/{case.completed}")
        response = connection.getresponse()
        response.read()
        assert response.status == 404
    connection.close()
