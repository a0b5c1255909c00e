# SPDX-License-Identifier: MIT
"""Runs that tests ask for, and what is seen of them."""

import json
import os

from harness import ENDED, GATE_MODULE, Gate, wait_for

DUMP = """
import json, os, sys
json.dump({"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(), "stdin": sys.stdin.read(),
           "here": sorted(os.listdir("."))}, sys.stdout)
"""


def dump(daemon, *options, after=(), env=None, source=None, input=None):
    """What a script saw."""
    source = source or daemon.source(DUMP)
    done = daemon.amlctl("run", *options, "main.py", *after, cwd=source, env=env, input=input)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def only_run(daemon, experiment):
    runs = daemon.api("GET", f"/v1/runs?experiment_name={experiment}").json
    assert len(runs) == 1, runs
    return runs[0]


def gate_script(daemon, text, **fields):
    """A run that waits at WAIT for the gate: (id, gate)."""
    gate = Gate(daemon.root, f"gate{next(daemon.counter)}")
    return daemon.submit({"gate.py": GATE_MODULE, "main.py": text.replace("WAIT", gate.code)}, **fields), gate


def blocked(daemon, text="print('up', flush=True)\nWAIT", **fields):
    """A run that holds a slot until its gate is opened: (id, gate)."""
    run, gate = gate_script(daemon, text, **fields)
    daemon.printed(run)
    return run, gate


def waiting(daemon, run, words):
    """The record, once one of its warnings says what it waits for."""

    def look():
        record = daemon.record(run)
        assert record["status"] not in ENDED, record
        return record if any(words in warning for warning in record["warnings"]) else None

    return wait_for(look, f"{run} says that it waits for room")


def said_once(record, words):
    said = [warning for warning in record["warnings"] if words in warning]
    assert len(said) == 1, record["warnings"]
    return said[0]


def run_folders(daemon):
    return sorted(os.listdir(daemon.state / "runs"))


def serves(daemon):
    """It answers, and rightly, whatever it is short of."""
    assert daemon.process.poll() is None, f"the daemon has ended: {daemon.last_words()}"
    for path in ("/healthz", "/v1/status", "/v1/runs", "/v1/experiments"):
        answer = daemon.api("GET", path, timeout=20)
        assert answer.status == 200, (path, answer)
