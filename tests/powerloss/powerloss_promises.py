# SPDX-License-Identifier: MIT
"""What must hold after a loss of power, whenever it came."""

import contextlib
import http.client
import json
import os
import sqlite3
import tempfile
from pathlib import Path

from harness import ENDED, wait_for
from powerloss_disk import FILE
from powerloss_life import ENDS, LOG, LOGS, TOKEN, Life

PATIENCE = 15
LOST, NOT_STORED = ("Failed", "Lost"), ("Failed", "OutputError")
SAME = ("status", "exit_code", "signal", "error", "start_time_utc", "end_time_utc", "resources_used", "warnings")


DATABASE = ("history.db", "history.db-wal", "history.db-journal")


def ask_database(files, question):
    """The rows; None when it is not there or not whole. files: {name: bytes}, which are copied: it may be in use."""
    with tempfile.TemporaryDirectory(prefix="pl-") as folder:
        for name, content in files.items():
            with open(f"{folder}/{name}", "wb") as stream:
                stream.write(content)
        try:
            with contextlib.closing(sqlite3.connect(f"{folder}/{DATABASE[0]}")) as connection:
                return connection.execute(question).fetchall()
        except sqlite3.Error:
            return None


def history_of(tree):
    """{run_id: state} of the database as it was found."""
    files = {name: tree[f"state/{name}"][2] for name in DATABASE if f"state/{name}" in tree}
    return dict(ask_database(files, "SELECT run_id, state FROM runs") or [])


def recorded_processes(tree):
    """The process numbers that run folders name: what has them now is a stranger."""
    found = []
    for path, (kind, _, content) in tree.items():
        if kind == FILE and path.endswith("/status") and path.startswith("state/runs/"):
            for line in content.split(b"\0"):
                key, _, value = line.partition(b"=")
                if key in (b"supervisor_pid", b"child_pid") and value.isdigit():
                    found.append(int(value))
    return found


class Inspection:
    """One state, one second life, all promises. .violations: (which promise, what happened) of those not kept."""

    def __init__(self, session, facts, tree):
        self.session, self.facts = session, facts
        self.before = history_of(tree)
        self.violations = []
        life = Life(session.place, tree, recorded_processes(tree))
        try:
            self.life = life
            self._look()
        finally:
            life.close()

    def wrong(self, promise, what):
        self.violations.append((promise, what))

    def _look(self):
        try:
            wait_for(self._answers_or_ended, "the daemon starts", PATIENCE)
        except AssertionError as error:
            self.wrong("starts", f"{error}: {self.life.log()}")
            return
        if self.life.world.look(self.life.pid)["ended"] is not None:
            self.wrong("starts", f"it ended: {self.life.log()}")
            return
        try:
            self._look_at_runs()
        except (OSError, http.client.HTTPException, json.JSONDecodeError, KeyError) as error:
            self.wrong("serves", f"{error!r}: {self.life.log()}")
        seen = self.life.world.look(self.life.pid)
        if seen["ended"] is not None:
            self.wrong("serves", f"it ended with {seen['ended']}: {self.life.log()}")
        if seen["strangers_gone"]:
            self.wrong("strangers", f"signalled by number: {seen['strangers_gone']}")
        self._look_at_database()

    def _answers_or_ended(self):
        return self.life.answers() or self.life.world.look(self.life.pid)["ended"] is not None

    def _look_at_database(self):
        self.life.kill()
        files = {}
        for name in DATABASE:
            with contextlib.suppress(FileNotFoundError):
                files[name] = self.life.world.read(f"disk/state/{name}")
        answer = ask_database(files, "PRAGMA integrity_check")
        if answer != [("ok",)]:
            self.wrong("database", str(answer))

    def _look_at_runs(self):
        runs = [record["run_id"] for record in self.life.api("GET", "/v1/runs?limit=1000").json]
        if len(runs) != len(set(runs)):
            self.wrong("once", f"listed twice: {runs}")
        records = {run: self.life.api("GET", f"/v1/runs/{run}?wait={PATIENCE}").json for run in runs}
        for run, record in records.items():
            if record["status"] not in ENDED:
                self.wrong("ends", f"{run} stays {record['status']}: {self.life.log()}")
            else:
                self._look_at(run, record)
        for run in sorted(self.facts.acknowledged - set(runs)):
            if not any(request and request[:2] == ("DELETE", run) for request in self.session.requests.values()):
                self.wrong("acknowledged", f"{run} is not there")
        for run in sorted(self.facts.deleted & set(runs)):
            self.wrong("deleted", f"{run} is there again")
        try:
            wait_for(lambda: not self._secrets(), "the environments of submitters are gone", PATIENCE)
        except AssertionError:
            self.wrong("secrets", f"still there although all has ended: {self._secrets()}")

    def _secrets(self):
        """Files with the environment of a submitter. All runs are over. (A FIFO would keep its reader waiting.)"""
        runs = f"{self.life.world.path}/disk/state/runs"
        found = []
        for base, _, files in os.walk(runs):
            for name in files:
                path = Path(base, name)
                with contextlib.suppress(OSError):
                    if path.is_file() and name != "std_log.txt" and TOKEN.encode() in path.read_bytes():
                        found.append(str(path.relative_to(runs)))
        return found

    def _look_at(self, run, record):
        started = self.life.started().count(run)
        state = self.before.get(run)
        if started and run in self.facts.started:
            self.wrong("twice", f"{run} was started again (history said {state})")
        if started > 1:
            self.wrong("twice", f"{run} was started {started} times")
        artifacts = self.life.artifacts(run)
        for path, content in artifacts.items():
            if content is None:
                self.wrong("digest", f"{run} {path} was handed out with wrong bytes")
        if run in self.facts.ended:
            self._look_at_told(run, record, artifacts)
        elif state == "Queued":
            self._look_at_queued(run, record, artifacts, started)
        else:
            self._look_at_interrupted(run, record, artifacts, started)
        self._look_at_tags(run, record)
        self._look_at_put(run, artifacts)
        if run in self.facts.acknowledged:
            self._look_at_snapshot(run)

    def _look_at_told(self, run, record, artifacts):
        told = self.facts.ended[run]
        for key in SAME:
            if record[key] != told[key]:
                self.wrong("told", f"{run}: {key} was {told[key]!r} and is {record[key]!r}")
        for path, content in self.session.known.get(run, {}).items():
            if artifacts.get(path) != content:
                self.wrong("told", f"{run}: {path} is not what it was, but {shown(artifacts.get(path))}")

    def _look_at_queued(self, run, record, artifacts, started):
        """It runs as if nothing had been, unless a cancel was on its way."""
        mode, source = self.session.modes.get(run, (None, None))
        end = record["status"], record["error"] and record["error"]["code"]
        if end[0] == "Canceled" and self._was_canceled(run):
            return
        if mode is None or end != ENDS[mode] or started != 1:
            ended = f"{record['status']} {record['error']}"
            self.wrong("queued", f"{run} ({mode}) was queued, ended {ended}, {started} starts")
            return
        wanted = {LOG: LOGS[mode], "outputs/copy.bin": self.session.place.sources[source]["data.bin"]}
        for path, content in wanted.items():
            if artifacts.get(path) != content:
                self.wrong("queued", f"{run} was queued, its {path} is not right: {shown(artifacts.get(path))}")

    def _was_canceled(self, run):
        truth = self.session.truth.get(run)
        return truth is not None and truth["status"] == "Canceled"

    def _look_at_interrupted(self, run, record, artifacts, started):
        """Lost, or what really happened, if that was on the disk. A start before the power went was enough."""
        end = record["status"], record["error"] and record["error"]["code"]
        truth = self.session.truth.get(run)
        true_end = truth and (truth["status"], truth["error"] and truth["error"]["code"])
        if started:
            self.wrong("twice", f"{run} may have run (history said {self.before.get(run)}) and was started")
        if end not in (LOST, NOT_STORED, true_end):
            self.wrong("verdict", f"{run} ended {end}, really {true_end}; history said {self.before.get(run)}")
        if end == true_end:
            self._look_at_products(run, self.session.known[run], record, artifacts)

    def _look_at_products(self, run, wanted, record, artifacts):
        """All of it, or the record says that something may be missing."""
        missing = [f"{path} ({shown(artifacts.get(path))})" for path in wanted if artifacts.get(path) != wanted[path]]
        if missing and set(record["warnings"]) <= set(self.session.truth[run]["warnings"]):
            self.wrong("incomplete", f"{run} is {record['status']} without a word, but not whole: {', '.join(missing)}")

    def _look_at_tags(self, run, record):
        tags = self.facts.tags.get(run)
        if tags is not None and record["tags"] != tags:
            self.wrong("tags", f"{run}: {record['tags']}, not {tags}")

    def _look_at_put(self, run, artifacts):
        for (owner, path), content in self.facts.put.items():
            if owner == run and artifacts.get(path) != content:
                self.wrong("put", f"{run}: {path} is {shown(artifacts.get(path))}")

    def _look_at_snapshot(self, run):
        _, source = self.session.modes[run]
        if self.life.snapshot(run) != self.session.place.sources[source]:
            self.wrong("snapshot", f"{run}: its snapshot is not whole")


def shown(content):
    if content is None:
        return "not there"
    return f"answer {content}" if isinstance(content, int) else f"{len(content)} bytes"


def explain(violation, where):
    promise, what = violation
    return f"[{promise}] {where}: {what.replace(os.linesep, ' | ')}"
