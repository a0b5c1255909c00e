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
import http.client
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
DESCRIPTION = HERE.parent.parent / "docs" / "openapi.yaml"
SEED = 20240229
EXAMPLES = 150
TIMEOUT = 20
ENDED = ("Completed", "Failed", "Canceled")
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


# -- the daemon -----------------------------------------------------------------------------------


class Daemon:
    def __init__(self, build, folder):
        self.socket = str(folder / "s")
        self.log = folder / "daemon.log"
        config = folder / "amlagentd.conf"
        config.write_text("stop_grace_seconds = 1\nmax_running_runs = 4\nlog_level = warning\n")
        reader, writer = os.pipe()
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [build / "amlagentd", "--user", "--state-dir", folder / "state", "--socket", self.socket,
                 "--config", config, "--ready-fd", str(writer)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", pass_fds=[writer],
            )
        os.close(writer)
        ready = select.select([reader], [], [], TIMEOUT)[0] and os.read(reader, 16)
        os.close(reader)
        if not ready:
            self.end()
            raise SystemExit(f"amlagentd was not ready: {self.log.read_text(errors='replace')}")

    def connect(self, timeout=TIMEOUT):
        connection = http.client.HTTPConnection("localhost", timeout=timeout)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(timeout)
        connection.sock.connect(self.socket)
        return connection

    def call(self, method, path, body=None, headers=None):
        with contextlib.closing(self.connect()) as connection:
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body)
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def json(self, method, path, body=None, expect=200):
        status, text = self.call(method, path, body)
        assert status == expect, f"{method} {path}: {status} {text[:300]}"
        return json.loads(text) if text else None

    def memory(self):
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def end(self):
        self.process.terminate()
        try:
            return self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


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


def submit(daemon, source, **fields):
    request = {"source_directory": str(source), "submit_environment": {"PATH": "/usr/bin:/bin"}, **fields}
    return daemon.json("POST", "/v1/runs", request, expect=201)["run_id"]


def paths_of(daemon, run_id):
    """Those that are text: what is not is read by its href alone."""
    paths = [artifact["path"] for artifact in daemon.json("GET", f"/v1/runs/{run_id}/artifacts")]
    return [path for path in paths if "\ufffd" not in path]


def make_world(daemon, proxy, folder):
    source = folder / "source"
    source.mkdir()
    for name, text in SCRIPTS.items():
        (source / name).write_text(text)
    ended = [submit(daemon, source, script=name, experiment_name=name[:-3], tags={"kind": "kept"})
             for name in ("good.py", "fails.py", "odd.py")]
    for run_id in ended:
        record = daemon.json("GET", f"/v1/runs/{run_id}?wait={TIMEOUT - 1}")
        assert record["status"] in ENDED, record
    live = submit(daemon, source, script="live.py", experiment_name="live")
    deadline = time.monotonic() + TIMEOUT
    while b"so far" not in daemon.call("GET", f"/v1/runs/{live}/logs/logs/now.txt")[1]:
        assert time.monotonic() < deadline, "the long run does not begin"
        time.sleep(0.02)
    return {
        "url": proxy.url, "source": str(source), "answers": str(folder / "answers.json"),
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


def follow_of_an_ended_run_ends(daemon, world):
    for run_id in world["ended"]:
        path = f"/v1/runs/{run_id}/logs/user_logs/std_log.txt"
        _, whole = daemon.call("GET", path)
        assert daemon.call("GET", path + "?follow=1") == (200, whole)
        assert daemon.call("GET", path + "?follow=1&offset=2") == (200, whole[2:])
        assert daemon.call("GET", path + "?follow=1&offset=9007199254740992") == (200, b"")


def every_href_leads_to_its_bytes(daemon, world):
    count = 0
    for run_id in world["ended"]:
        for artifact in daemon.json("GET", f"/v1/runs/{run_id}/artifacts"):
            status, data = daemon.call("GET", artifact["href"])
            assert status == 200 and len(data) == artifact["size"], artifact
            assert artifact["digest"] == "sha256:" + hashlib.sha256(data).hexdigest(), artifact
            count += 1
        for route in daemon.json("GET", f"/v1/runs/{run_id}")["log_files"].values():
            assert daemon.call("GET", route)[0] == 200, route
    assert count > 10, f"only {count} artifacts"


def a_range_is_exact(daemon, world):
    path = f"/v1/runs/{world['ended'][0]}/artifacts/outputs/model.bin"
    whole = bytes(range(256))
    for value, expected in (("bytes=0-0", whole[:1]), ("bytes=250-", whole[250:]), ("bytes=-6", whole[-6:]),
                            ("bytes=10-9999", whole[10:]), ("bytes=-9999", whole)):
        assert daemon.call("GET", path, headers={"Range": value}) == (206, expected), value
    for value in ("bytes=256-", "bytes=-0"):
        assert daemon.call("GET", path, headers={"Range": value})[0] == 416, value
    for value in ("bytes=5-2", "bytes=0-1,3-4", "lines=1-2", "bytes=x"):
        assert daemon.call("GET", path, headers={"Range": value}) == (200, whole), value


def a_path_that_leads_elsewhere_is_refused(daemon, world):
    for path in ("..", "a/../b", "/a", "a//b", "a/", ".", "./a", "a/."):
        for method, expected in (("PUT", (400,)), ("GET", (400, 404))):
            route = f"/v1/runs/{world['ended'][0]}/artifacts/{path.replace('/', '%2F')}"
            status, text = daemon.call(method, route, b"x" if method == "PUT" else None)
            assert status in expected, f"{method} {route}: {status} {text}"


def a_refused_submit_leaves_nothing(daemon, world):
    before = daemon.json("GET", "/v1/runs?limit=1000")
    for fields, target in (({"script": "missing.py"}, "script"), ({"script": "../good.py"}, "script"),
                           ({"script": "good.py", "command": "true"}, "command"), ({}, "script"),
                           ({"script": "good.py", "no_such_key": 1}, "no_such_key")):
        error = daemon.json("POST", "/v1/runs", {"source_directory": world["source"], **fields}, expect=400)["error"]
        assert error["target"] == target, error
    assert daemon.json("GET", "/v1/runs?before=nonsense", expect=400)["error"]["target"] == "before"
    after = daemon.json("GET", "/v1/runs?limit=1000")
    assert [run["run_id"] for run in after] == [run["run_id"] for run in before]


def follow_of_a_live_run_ends_with_the_run(daemon, world):
    with contextlib.closing(daemon.connect()) as connection:
        connection.request("GET", f"/v1/runs/{world['live']}/logs/user_logs/std_log.txt?follow=1")
        answer = connection.getresponse()
        assert answer.readline() == b"on and on\n"
        daemon.json("POST", f"/v1/runs/{world['live']}/cancel", expect=202)
        daemon.json("POST", f"/v1/runs/{world['live']}/cancel", expect=202)
        answer.read()
    record = daemon.json("GET", f"/v1/runs/{world['live']}")
    assert record["status"] == "Canceled" and record["error"]["code"] == "CanceledByUser", record


def the_daemon_is_well(daemon, before):
    assert daemon.process.poll() is None, f"it ended with {daemon.process.returncode}"
    assert daemon.json("GET", "/healthz") == {"status": "ok"}
    memory, descriptors = daemon.memory(), daemon.descriptors()
    print(f"memory: {before[0] >> 10} KiB before, {memory >> 10} KiB after; descriptors: {before[1]}, {descriptors}")
    if not os.environ.get("AMLAGENT_SANITIZED"):
        assert memory - before[0] < MEMORY_GROWTH_MAX, "it has grown"
    assert descriptors - before[1] <= DESCRIPTORS_GROWTH_MAX, "it keeps descriptors open"


def everything_can_be_ended_and_deleted(daemon, world):
    while runs := daemon.json("GET", "/v1/runs?limit=1000"):
        for run in runs:
            if run["status"] not in ENDED:
                daemon.call("POST", f"/v1/runs/{run['run_id']}/cancel")
        for run in runs:
            daemon.json("GET", f"/v1/runs/{run['run_id']}?wait={TIMEOUT - 1}")
            daemon.json("DELETE", f"/v1/runs/{run['run_id']}", expect=204)
            daemon.json("GET", f"/v1/runs/{run['run_id']}", expect=404)
    status = daemon.json("GET", "/v1/status")
    assert (status["running"], status["queued"], status["runs"]) == (0, 0, {}), status
    assert daemon.json("GET", "/v1/experiments") == []


def it_ends_well(daemon, _):
    assert daemon.end() in (0, -signal.SIGTERM), daemon.process.returncode
    words = daemon.log.read_text(errors="replace")
    assert "Sanitizer" not in words and "runtime error:" not in words, words[-3000:]


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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build-dir", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="random cases for an operation and phase")
    arguments, options = parser.parse_known_args()
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="amlagent-openapi-"))
    checks = Checks()
    daemon = Daemon(arguments.build_dir, folder)
    try:
        with contextlib.closing(Proxy(daemon.socket)) as proxy:
            world = make_world(daemon, proxy, folder)
            checks.run(follow_of_an_ended_run_ends, daemon, world)
            checks.run(every_href_leads_to_its_bytes, daemon, world)
            checks.run(a_range_is_exact, daemon, world)
            checks.run(a_path_that_leads_elsewhere_is_refused, daemon, world)
            checks.run(a_refused_submit_leaves_nothing, daemon, world)
            before = daemon.memory(), daemon.descriptors()
            print(f"seed {arguments.seed} (--seed N for another)", flush=True)
            passed, failed = run_schemathesis(world, folder, arguments.seed, arguments.examples, options)
            checks.run(the_daemon_is_well, daemon, before)
            checks.run(follow_of_a_live_run_ends_with_the_run, daemon, world)
            checks.run(everything_can_be_ended_and_deleted, daemon, world)
        checks.run(it_ends_well, daemon, world)
    finally:
        daemon.end()
        if checks.failed:
            print("the daemon's last words:", daemon.log.read_text(errors="replace")[-3000:])
        shutil.rmtree(folder, ignore_errors=True)
    passed, failed = passed + checks.passed, failed + checks.failed
    print(f"took {time.monotonic() - begun:.0f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
