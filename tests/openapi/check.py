# SPDX-License-Identifier: MIT
"""Hold amlagentd to docs/openapi.yaml: a throw-away daemon, some runs, schemathesis over all operations.

schemathesis sends what the description allows and what it does not, in four phases (examples, boundary values, random
data, sequences along the links), and compares every answer with the description; see schemathesis.toml and hooks.py.
What needs an eye on more than one answer is checked here. The last line is "N passed, N failed".
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "blackbox"))
import harness  # noqa: E402

DESCRIPTION = harness.REPO / "docs" / "openapi.yaml"
SEED = 20240229
EXAMPLES = 150
TIMEOUT = 20
MEMORY_GROWTH_MAX = 32 << 20
DESCRIPTORS_GROWTH_MAX = 16

SCRIPTS = {
    "good.py": """import os
os.makedirs("logs", exist_ok=True)
open("outputs/model.bin", "wb").write(bytes(range(256)))
open("outputs/empty", "w").close()
open("logs/note.txt", "w").write("a note\\n")
print("good")
""",
    "fails.py": "print('it fails')\nraise SystemExit(3)\n",
    "odd.py": """import os
for name in (b"a b", b"line\\nfeed", b"quote\\"'", b"percent%41", b"\\xff\\xfe", "\u00e9\u4e16".encode(), b"?x=1#y", b"-o"):
    open(b"outputs/" + name, "wb").write(name)
""",
    "live.py": """import time
open("logs/now.txt", "w").write("so far\\n")
print("on and on", flush=True)
time.sleep(600)
""",
}


# -- from TCP to the socket -----------------------------------------------------------------------


class Proxy:
    """schemathesis speaks TCP, the daemon does not. One thread carries all connections."""

    def __init__(self, unix_path):
        self.unix_path = unix_path
        self.connections = set()
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(
            asyncio.start_server(self.relay, "127.0.0.1", 0, family=socket.AF_INET))
        self.url = "http://127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    async def relay(self, reader, writer):
        self.connections.add(asyncio.current_task())  # the loop's own hold on a task is weak
        asyncio.current_task().add_done_callback(self.connections.discard)
        with contextlib.suppress(OSError):
            daemon_reader, daemon_writer = await asyncio.open_unix_connection(self.unix_path)
            await asyncio.gather(self.copy(reader, daemon_writer), self.copy(daemon_reader, writer))
            daemon_writer.close()
        writer.close()

    @staticmethod
    async def copy(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()

    def close(self):
        async def stop():
            self.server.close()
            for connection in self.connections:
                connection.cancel()
            await asyncio.gather(*self.connections, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(stop(), self.loop).result(TIMEOUT)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(TIMEOUT)
        self.loop.close()


# -- what there is to talk about ------------------------------------------------------------------


def call(daemon, method, path, body=None, expect=200):
    """The answer's JSON, when it is the one expected."""
    answer = daemon.api(method, path, body, timeout=TIMEOUT)
    assert answer.status == expect, f"{method} {path}: {answer}"
    return answer.json if answer.body else None


def submit(daemon, source, **fields):
    request = {"source_directory": str(source), "submit_environment": {"PATH": "/usr/bin:/bin"}, **fields}
    return call(daemon, "POST", "/v1/runs", request, expect=201)["run_id"]


def paths_of(daemon, run_id):
    """Those that are text: what is not is read by its href alone."""
    paths = [artifact["path"] for artifact in call(daemon, "GET", f"/v1/runs/{run_id}/artifacts")]
    return [path for path in paths if "\ufffd" not in path]


def make_world(daemon, url):
    source = harness.write_tree(daemon.root / "source", SCRIPTS)
    ended = [submit(daemon, source, script=name, experiment_name=name[:-3], tags={"kind": "kept"})
             for name in ("good.py", "fails.py", "odd.py")]
    for run_id in ended:
        record = call(daemon, "GET", f"/v1/runs/{run_id}?wait={TIMEOUT - 1}")
        assert record["status"] in harness.ENDED, record
    live = submit(daemon, source, script="live.py", experiment_name="live")
    note = f"/v1/runs/{live}/logs/logs/now.txt"
    harness.wait_for(lambda: b"so far" in daemon.api("GET", note).body, "the long run begins", TIMEOUT)
    return {
        "url": url, "source": str(source), "answers": str(daemon.root / "answers.json"),
        "ended": ended, "live": live, "keep": ended + [live],
        "ranges": ["bytes=0-3", "bytes=1-", "bytes=-2", "bytes=1000000-"],
        "logs": ["user_logs/std_log.txt", "logs/note.txt"],
        "artifacts": {run_id: paths_of(daemon, run_id) for run_id in ended},
    }


# -- schemathesis ---------------------------------------------------------------------------------


def run_schemathesis(world, folder, seed, examples, options):
    command = [
        Path(sys.executable).parent / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run", DESCRIPTION,
        "--url", world["url"], "--seed", str(seed), "--max-examples", str(examples), "--continue-on-failure",
        "--report", "json", "--report-json-path", folder / "report.json", *options,
    ]
    environment = {
        **os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE), "PYTHONDONTWRITEBYTECODE": "1",
        "AMLAGENT_OPENAPI_WORLD": json.dumps(world), "HYPOTHESIS_STORAGE_DIRECTORY": str(folder / "hypothesis"),
    }
    status = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL).returncode
    print_answers(Path(world["answers"]))
    try:
        cases = json.loads((folder / "report.json").read_text())["test_cases"]
    except FileNotFoundError:
        return 0, 1
    bad = cases["with_failures"] + cases["errored"]
    return cases["generated"] - cases["without_checks"] - bad, bad or int(status != 0)


def print_answers(path):
    """How often which operation answered what: where only errors are, nothing was tested."""
    answers = json.loads(path.read_text()) if path.exists() else {}
    print("\nanswers:")
    for operation, statuses in sorted(answers.items()):
        print(f"  {operation:16}", ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items())))


# -- what needs more than one answer --------------------------------------------------------------


def get(daemon, path, **headers):
    answer = daemon.api("GET", path, headers=headers, timeout=TIMEOUT)
    return answer.status, answer.body


def follow_of_an_ended_run_ends(daemon, world):
    for run_id in world["ended"]:
        path = f"/v1/runs/{run_id}/logs/user_logs/std_log.txt"
        _, whole = get(daemon, path)
        assert get(daemon, path + "?follow=1") == (200, whole)
        if len(whole) > 2:
            assert get(daemon, path + "?follow=1&offset=2") == (200, whole[2:])
        assert get(daemon, path + f"?follow=1&offset={len(whole)}") == (200, b"")
        assert get(daemon, path + "?follow=1&offset=9007199254740992")[0] == 416


def every_href_leads_to_its_bytes(daemon, world):
    count = 0
    for run_id in world["ended"]:
        for artifact in call(daemon, "GET", f"/v1/runs/{run_id}/artifacts"):
            status, data = get(daemon, artifact["href"])
            assert status == 200 and len(data) == artifact["size"], artifact
            assert artifact["digest"] == "sha256:" + hashlib.sha256(data).hexdigest(), artifact
            count += 1
        for route in call(daemon, "GET", f"/v1/runs/{run_id}")["log_files"].values():
            assert get(daemon, route)[0] == 200, route
    assert count > 10, f"only {count} artifacts"


def a_range_is_exact(daemon, world):
    path = f"/v1/runs/{world['ended'][0]}/artifacts/outputs/model.bin"
    whole = bytes(range(256))
    for value, expected in (("bytes=0-0", whole[:1]), ("bytes=250-", whole[250:]), ("bytes=-6", whole[-6:]),
                            ("bytes=10-9999", whole[10:]), ("bytes=-9999", whole)):
        assert get(daemon, path, Range=value) == (206, expected), value
    for value in ("bytes=256-", "bytes=-0"):
        assert get(daemon, path, Range=value)[0] == 416, value
    for value in ("bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=x"):
        assert get(daemon, path, Range=value) == (200, whole), value


def a_path_that_leads_elsewhere_is_refused(daemon, world):
    for path in ("..", "a/../b", "/a", "a//b", "a/", ".", "./a", "a/."):
        route = f"/v1/runs/{world['ended'][0]}/artifacts/{path.replace('/', '%2F')}"
        call(daemon, "PUT", route, b"x", expect=400)
        assert get(daemon, route)[0] in (400, 404), route


def a_refused_submit_leaves_nothing(daemon, world):
    before = call(daemon, "GET", "/v1/runs?limit=1000")
    for fields, target in (({"script": "missing.py"}, "script"), ({"script": "../good.py"}, "script"),
                           ({"script": "good.py", "command": "true"}, "command"), ({}, "script"),
                           ({"script": "good.py", "no_such_key": 1}, "no_such_key")):
        body = {"source_directory": world["source"], **fields}
        error = call(daemon, "POST", "/v1/runs", body, expect=400)["error"]
        assert error["target"] == target, error
    assert call(daemon, "GET", "/v1/runs?before=nonsense", expect=400)["error"]["target"] == "before"
    after = call(daemon, "GET", "/v1/runs?limit=1000")
    assert [run["run_id"] for run in after] == [run["run_id"] for run in before]


def follow_of_a_live_run_ends_with_the_run(daemon, world):
    with contextlib.closing(daemon.connect(TIMEOUT)) as connection:
        connection.request("GET", f"/v1/runs/{world['live']}/logs/user_logs/std_log.txt?follow=1")
        answer = connection.getresponse()
        assert answer.readline() == b"on and on\n"
        for _ in range(2):
            call(daemon, "POST", f"/v1/runs/{world['live']}/cancel", expect=202)
        answer.read()
    record = call(daemon, "GET", f"/v1/runs/{world['live']}")
    assert record["status"] == "Canceled" and record["error"]["code"] == "CanceledByUser", record


def weight(daemon):
    """Resident bytes and open descriptors."""
    process = Path(f"/proc/{daemon.process.pid}")
    pages = int((process / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(process / "fd"))


def the_daemon_is_well(daemon, before):
    assert daemon.process.poll() is None, f"it ended with {daemon.process.returncode}"
    assert call(daemon, "GET", "/healthz") == {"status": "ok"}
    after = weight(daemon)
    print(f"memory: {before[0] >> 10} KiB before, {after[0] >> 10} KiB after; descriptors: {before[1]}, {after[1]}")
    if not os.environ.get("AMLAGENT_SANITIZED"):
        assert after[0] - before[0] < MEMORY_GROWTH_MAX, "it has grown"
    assert after[1] - before[1] <= DESCRIPTORS_GROWTH_MAX, "it keeps descriptors open"


def everything_can_be_ended_and_deleted(daemon, _):
    while runs := call(daemon, "GET", "/v1/runs?limit=1000"):
        for run in runs:
            if run["status"] not in harness.ENDED:
                daemon.api("POST", f"/v1/runs/{run['run_id']}/cancel")
        for run in runs:
            path = f"/v1/runs/{run['run_id']}"
            call(daemon, "GET", f"{path}?wait={TIMEOUT - 1}")
            call(daemon, "DELETE", path, expect=204)
            call(daemon, "GET", path, expect=404)
    status = call(daemon, "GET", "/v1/status")
    assert (status["running"], status["queued"], status["runs"]) == (0, 0, {}), status
    assert call(daemon, "GET", "/v1/experiments") == []


def it_ends_and_leaves_no_process(daemon, _):
    daemon.close()


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def run(self, check, *arguments):
        name = check.__name__.replace("_", " ")
        try:
            check(*arguments)
        except Exception as error:
            self.failed += 1
            print(f"FAILED: {name}: {type(error).__name__}: {error}")
        else:
            self.passed += 1
            print(f"ok: {name}")


def check_all(daemon, checks, arguments, options):
    """What schemathesis counted: passed, failed."""
    with contextlib.closing(Proxy(daemon.socket)) as proxy:
        world = make_world(daemon, proxy.url)
        checks.run(follow_of_an_ended_run_ends, daemon, world)
        checks.run(every_href_leads_to_its_bytes, daemon, world)
        checks.run(a_range_is_exact, daemon, world)
        checks.run(a_path_that_leads_elsewhere_is_refused, daemon, world)
        checks.run(a_refused_submit_leaves_nothing, daemon, world)
        before = weight(daemon)
        print(f"seed {arguments.seed} (--seed N for another)", flush=True)
        counted = run_schemathesis(world, daemon.root, arguments.seed, arguments.examples, options)
        checks.run(the_daemon_is_well, daemon, before)
        checks.run(follow_of_a_live_run_ends_with_the_run, daemon, world)
        checks.run(everything_can_be_ended_and_deleted, daemon, world)
    if checks.failed:
        print("the daemon's last words:", daemon.last_words())
    return counted


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="random cases for an operation")
    arguments, options = parser.parse_known_args()  # the others are schemathesis's
    begun = time.monotonic()
    checks = Checks()
    daemon = harness.Daemon(config={"stop_grace_seconds": 1, "max_running_runs": 4})
    try:
        passed, failed = check_all(daemon.start(), checks, arguments, options)
    finally:
        checks.run(it_ends_and_leaves_no_process, daemon, None)
    passed, failed = passed + checks.passed, failed + checks.failed
    print(f"took {time.monotonic() - begun:.0f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
