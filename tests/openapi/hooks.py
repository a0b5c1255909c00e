# SPDX-License-Identifier: MIT
"""What schemathesis cannot know: which runs there are, and which requests are harmless. Loaded by check.py.

Random data seldom names a run that is there, and a random command is nothing to start. So what is valid in a request
is exchanged for something that is of use; what is invalid stays as it was made. The choice depends on the value alone,
so that a case can be repeated.
"""

import atexit
import json
import os
import re
import urllib.parse
import urllib.request
import zlib

import schemathesis

WORLD = json.loads(os.environ["AMLAGENT_OPENAPI_WORLD"])
RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*_\d{9,11}_[0-9a-f]{8}")
NAME_BYTES_MAX = 256
REASON_BYTES_MAX = 1000

answers = {}


def choose(value, choices):
    return choices[zlib.crc32(repr(value).encode()) % len(choices)]


def submit(command, wait=0, **fields):
    """A new run, for the operations that use one up."""
    body = {"experiment_name": "fresh", "source_directory": WORLD["source"], "command": command, **fields}
    request = urllib.request.Request(WORLD["url"] + "/v1/runs", json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=20) as answer:
        run_id = json.load(answer)["run_id"]
    if wait:
        urllib.request.urlopen(f"{WORLD['url']}/v1/runs/{run_id}?wait={wait}", timeout=20).close()
    return run_id


def cut(text, size):
    """Characters are what JSON Schema counts, bytes are what the description's text says."""
    return text.encode()[:size].decode(errors="ignore")


# -- one for each kind of value -------------------------------------------------------------------


def is_free(name):
    """May it be deleted and cancelled? Random names come to be `latest`, or the beginning of a run that is needed."""
    return name != "latest" and not any(run_id.startswith(name) for run_id in WORLD["keep"])


def steer_delete(name):
    if is_free(name) and RUN_ID.fullmatch(name):
        return name
    kind = choose(name, ["fresh", "fresh", "latest", "live", "nonsense"])
    if kind == "nonsense" and is_free(name):
        return name
    if kind in ("live", "nonsense"):
        return WORLD["live"]  # which is refused
    fresh = submit("true", wait=15)
    return fresh if kind == "fresh" else "latest"


def steer_cancel(name):
    if is_free(name) and RUN_ID.fullmatch(name):
        return name
    kind = choose(name, ["fresh", "ended", "nonsense"])
    if kind == "nonsense" and is_free(name):
        return name
    return submit("sleep 60") if kind == "fresh" else choose(name, WORLD["ended"])


def steer_queue(name):
    """What is held and released is in the queue, or is not any more."""
    if is_free(name) and RUN_ID.fullmatch(name):
        return name
    kind = choose(name, ["fresh", "held", "ended", "nonsense"])
    if kind == "nonsense" and is_free(name):
        return name
    return submit("true", hold=kind == "held") if kind in ("fresh", "held") else choose(name, WORLD["ended"])


def steer_reader(name, may_be_live):
    """One that waits for the end of a run that another case holds, or has just made, waits too long."""
    ended = WORLD["ended"] + [WORLD["ended"][0][:-3]]
    if may_be_live:
        return name if RUN_ID.fullmatch(name) else choose(name, [*ended, "latest", name, WORLD["live"]])
    if name in ended:
        return name
    return choose(name, ended if RUN_ID.fullmatch(name) or name == "latest" else [*ended, name])


def steer_id(operation, parameters, query):
    name = parameters.get("id")
    if not isinstance(name, str):
        return
    if operation == "deleteRun":
        parameters["id"] = steer_delete(name)
    elif operation == "cancelRun":
        parameters["id"] = steer_cancel(name)
    elif operation in ("holdRun", "releaseRun"):
        parameters["id"] = steer_queue(name)
    else:
        waits = "wait" in query or "follow" in query
        parameters["id"] = steer_reader(name, may_be_live=not waits)


def encode(paths):
    """A slash is right in both ways."""
    return [urllib.parse.quote(path, safe=safe) for path in paths for safe in ("/", "")]


def steer_path(operation, parameters):
    if isinstance(parameters.get("name"), str):
        parameters["name"] = choose(parameters["name"], encode(WORLD["logs"]) + [parameters["name"]])
    if isinstance(parameters.get("path"), str) and operation == "readArtifact":
        known = WORLD["artifacts"].get(parameters.get("id"), [])
        parameters["path"] = choose(parameters["path"], encode(known) + [parameters["path"]])


def steer_command(command):
    if isinstance(command, str) and command:
        return choose(command, ["true", "exit 3"])
    if isinstance(command, list) and command and all(type(part) in (str, int, float) for part in command):
        return choose(command, [["true"], ["exit", 3]])
    return command


def steer_resources(resources):
    """What this machine has. Numbers that are out of bounds stay so."""
    for key, most, fits in (("cpus", 65536, 1), ("gpus", 1024, 0), ("memory_bytes", 1 << 52, 1 << 20)):
        value = resources.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and fits < value <= most and value == int(value):
            resources[key] = fits


def steer_after(after):
    """Runs that there are, where something could be the name of one."""
    for item in after:
        if isinstance(item, dict) and isinstance(item.get("run_id"), str) and item["run_id"]:
            item["run_id"] = choose(item["run_id"], WORLD["ended"] + ["latest"])


def steer_request(body):
    if isinstance(body.get("resources"), dict):
        steer_resources(body["resources"])
    if isinstance(body.get("after"), list):
        steer_after(body["after"])
    directory = body.get("source_directory")
    if isinstance(directory, str) and directory.startswith("/"):
        body["source_directory"] = WORLD["source"]
    if isinstance(body.get("script"), str) and body["script"]:
        body["script"] = choose(body["script"], ["good.py", "fails.py"])
    if "command" in body:
        body["command"] = steer_command(body["command"])


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = case.operation.definition.raw["operationId"]
    if case.method.upper() != case.operation.method.upper():
        return  # it is to be refused whatever is in it
    query = case.query or {}
    if case.path_parameters:
        steer_id(operation, case.path_parameters, query)
        steer_path(operation, case.path_parameters)
    if "Range" in (case.headers or {}):
        case.headers["Range"] = choose(case.headers["Range"], WORLD["ranges"] + [case.headers["Range"]])
    if isinstance(query.get("before"), str):
        query["before"] = choose(query["before"], WORLD["ended"])
    if isinstance(case.body, dict):
        if operation == "submitRun":
            steer_request(case.body)
        for key, most in (("display_name", NAME_BYTES_MAX), ("reason", REASON_BYTES_MAX)):
            text = case.body.get(key)
            if isinstance(text, str) and len(text) <= most:
                case.body[key] = cut(text, most)


# -- what came of it ------------------------------------------------------------------------------


@schemathesis.hook
def after_call(context, case, response):
    operation = case.operation.definition.raw["operationId"]
    if operation == "drain" and response.status_code == 200:
        resume = urllib.request.Request(WORLD["url"] + "/v1/resume", method="POST")  # others wait for runs
        urllib.request.urlopen(resume, timeout=20).close()
    statuses = answers.setdefault(operation, {})
    statuses[str(response.status_code)] = statuses.get(str(response.status_code), 0) + 1


@atexit.register
def write_answers():
    with open(WORLD["answers"], "w") as file:
        json.dump(answers, file)
