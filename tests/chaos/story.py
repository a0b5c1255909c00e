# SPDX-License-Identifier: MIT
"""One run from its submit to the last look at what it left, with a daemon that dies on the way as often as it is told
to, and a client that asks again until it has its answer.

The witness is a file outside the state folder to which the script appends a word at each of its own steps: what it
says is what happened, whatever the daemon says.
"""

import contextlib
import hashlib
import os
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from chaos import ChaosDaemon, Died
from harness import ENDED, describe, end_all, wait_for

TEXT = "".join(f"line {i} of what the run prints and keeps\n" for i in range(300)).encode()
NOTE = b"written through the API while the run went on\n"
# A child in a session of its own stays behind, however the script ends: the supervisor has to end it.
SCRIPT = """
echo begun >>"$WITNESS"
cat text
echo to stderr >&2
mkdir outputs/deep
cp text outputs/deep/text
echo kept >outputs/kept
{stubborn}setsid sleep 300 >/dev/null 2>&1 &
echo ready >>"$WITNESS"
read go <"$GATE"
{end}
"""
LAST = 'echo last\necho last >>"$WITNESS"\n'
OUTCOMES = {
    "exit-0": LAST + "exit 0",
    "exit-n": LAST + "exit 7",
    "signal": LAST + "kill -KILL $$",
    "limit": "exec sleep 300",
    "cancel": "exec sleep 300",
    "cancel-early": "exec sleep 300",
}
PRINTED = TEXT + b"to stderr\n"
KEPT = {"outputs/deep/text": TEXT, "outputs/kept": b"kept\n"}
LOG = "user_logs/std_log.txt"
# What a run folder holds for its supervisor alone; it goes when the run has ended.
SPENT = ("unowed", "environment", "launch", "stop", "control", "status", "lock", "exit")
LIMIT_SECONDS = 3  # by then the script has begun on a busy machine too
AT_ONCE = 8  # stories: they wait more than they work


@dataclass
class Fate:
    """How a run has to end. begun: how often the script may have been started."""

    status: str
    code: str | None = None
    exit_code: int | None = None
    signal: int | None = None
    begun: tuple = (1,)
    any_signal: bool = False  # SIGTERM or SIGKILL, whichever was faster
    outputs: bool = True  # they could be stored
    warning: str | None = None  # part of one that has to be there
    refusals: int | None = 0  # requests that were answered with an error before one was taken; None: any number
    cleaned: bool = True  # the folder goes without a restart
    deaths: tuple = ()  # of daemons, as waitpid gives them
    starved: bool = False  # it is not started before another daemon comes


def true_fate(outcome):
    return {
        "exit-0": lambda: Fate("Completed", exit_code=0),
        "exit-n": lambda: Fate("Failed", "UserError", exit_code=7),
        "signal": lambda: Fate("Failed", "Killed", signal=9),
        "limit": lambda: Fate("Canceled", "MaxRunDurationExceeded", any_signal=True),
        "cancel": lambda: Fate("Canceled", "CanceledByUser", any_signal=True),
        "cancel-early": lambda: Fate("Canceled", "CanceledByUser", any_signal=True, begun=(0, 1)),
    }[outcome]()


@dataclass
class Story:
    """settings: AMLAGENT_FAIL of one daemon after the other; those after them have none (None: no log either)."""

    outcome: str
    fate: Fate
    settings: list = field(default_factory=list)
    restart: str | None = None  # the first daemon is killed when the script is "ready", or when it has "ended" besides
    request: str | None = None  # made while it runs: "patch", "put"; or at the end: "delete"
    needed: tuple = ()  # (point, how often it has to be passed for the story to be one)
    cancel_at: str | None = None  # "cancel-early": when this point is entered
    stubborn: bool = False  # what stays behind ignores SIGTERM

    def __post_init__(self):
        self.deaths, self.refusals, self.run, self.fail = [], [], None, None
        self.passed = []  # points, in their order

    # -- the daemons

    def rise(self):
        """The next daemon that stands."""
        while True:
            self.fail = self.settings.pop(0) if self.settings else None
            try:
                self.daemon.launch(self.fail)
                return
            except Died as died:
                self.note(died)

    def note(self, died):
        assert self.fail, f"a daemon whose points were not set died: {died}: {self.daemon.last_words()}"
        self.deaths.append(died.args[0])

    def ask(self, method, path, body=None):
        """An answer, or None: the daemon died, and another one is there."""
        try:
            return self.daemon.ask(method, path, body)
        except Died as died:
            self.note(died)
            self.rise()
            return None

    def insist(self, method, path, body=None):
        """For what may be asked any number of times."""
        return wait_for(lambda: self.ask(method, path, body), f"{method} {path} is answered")

    def attempt(self, method, path, body=None, also=()):
        """The answer; None: the daemon died, or refused it for a reason that passes."""
        answer = self.ask(method, path, body)
        if answer is None or answer.status < 300 or answer.status in also:
            return answer
        assert answer.status in (500, 503, 507), answer
        self.refusals.append(answer.error["message"])
        assert len(self.refusals) < 9, self.refusals
        return None

    def accepted(self, method, path, body=None, also=()):
        """For what may be asked any number of times, and leaves nothing behind when it is refused."""
        return wait_for(lambda: self.attempt(method, path, body, also), f"{method} {path} is accepted")

    # -- the run

    def record(self):
        answer = self.insist("GET", f"/v1/runs/{self.run}")
        assert answer.status == 200, answer
        return answer.json

    @property
    def folder(self):
        return self.daemon.state / "runs" / self.run

    def witness(self):
        with contextlib.suppress(FileNotFoundError):
            return self.witness_path.read_text().split()
        return []

    def list_runs(self):
        return [record["run_id"] for record in self.insist("GET", "/v1/runs").json]

    def submit(self):
        source = self.daemon.source({"text": TEXT, "deep/other": "other\n"}, name="matrix")
        stubborn = 'trap "" TERM; ' if self.stubborn or self.restart == "ended" and self.outcome == "cancel" else ""
        variables = {"WITNESS": str(self.witness_path), "GATE": str(self.gate_path)}
        body = self.daemon.request(
            source_directory=str(source),
            command=SCRIPT.format(stubborn=stubborn, end=OUTCOMES[self.outcome]),
            environment={"environment_variables": variables},
            max_run_duration_seconds=LIMIT_SECONDS if self.outcome == "limit" else 600,
        )

        def look():
            answer = self.attempt("POST", "/v1/runs", body)
            found = self.list_runs()
            assert answer is None or found == [answer.json["run_id"]], (answer, found)
            assert len(found) <= 1, found
            if not found:
                wait_for(lambda: not os.listdir(self.daemon.state / "runs"), "nothing is left of what was not accepted")
            return found and found[0]

        self.run = wait_for(look, "the submit is accepted")

    def is_starved(self, record):
        """And history knows that it was, too: a warning that is not on the disk yet may go with its daemon."""
        if not (self.fate.starved and self.fail is not None and record["warnings"]):
            return False
        with contextlib.closing(sqlite3.connect(self.daemon.state / "history.db", timeout=5)) as db:
            kept = db.execute("SELECT instr(warnings, CAST(? AS BLOB)) FROM runs", record["warnings"][:1]).fetchone()
            return kept[0]

    def until(self, condition, what):
        """Until it is true, or the run has ended. Another daemon comes to the relief of one that starves."""

        def look():
            if condition():
                return True
            record = self.record()
            if self.is_starved(record):
                assert record["status"] in ("Queued", "Preparing", "Starting"), record
                self.daemon.kill()
                self.rise()
            return record["status"] in ENDED

        wait_for(look, what, timeout=30)

    def do_request(self):
        if self.request == "patch":
            answer = self.accepted("PATCH", f"/v1/runs/{self.run}", {"tags": {"asked": "twice"}})
            assert answer.json["tags"] == {"asked": "twice"}
        elif self.request == "put":
            self.accepted("PUT", f"/v1/runs/{self.run}/artifacts/notes/note", NOTE)

    def cancel(self):
        if self.outcome not in ("cancel", "cancel-early"):
            return
        answer = self.accepted("POST", f"/v1/runs/{self.run}/cancel", also=(409,))
        assert answer.status == 202 or self.record()["status"] in ENDED, answer

    def end_alone(self):
        """The run ends while no daemon is there to see it. A cancel has been accepted by the one that dies; what
        ignores SIGTERM keeps the run from ending before that."""
        self.cancel()
        self.daemon.kill()
        self.open_gate()
        wait_for(lambda: not self.daemon.processes_of_runs(), "the run ends while no daemon is there")
        self.rise()

    def open_gate(self):
        os.write(self.gate, b"go\n")

    def live(self):
        """From the submit to the end that its submitter is told of."""
        self.rise()
        self.submit()
        if self.cancel_at:
            self.until(lambda: self.cancel_at in self.daemon.passed(), f"{self.cancel_at} is passed")
            self.cancel()
        else:
            self.until(lambda: "ready" in self.witness(), "the script is up")
            self.do_request()
        if self.restart == "ended":
            self.end_alone()
        else:
            if self.restart:
                self.daemon.kill()
                self.rise()
            self.open_gate()
            self.cancel()
        self.until(lambda: False, f"{self.run} ends")
        return self.record()

    # -- what has to be true afterwards

    def check_record(self, record):
        fate, error = self.fate, record["error"]
        words = {key: record[key] for key in ("status", "exit_code", "signal", "error", "warnings")}
        got = (record["status"], error and error["code"], record["exit_code"])
        assert got == (fate.status, fate.code, fate.exit_code), words
        assert record["signal"] in ((None, 9, 15) if fate.any_signal else (fate.signal,)), words
        assert error is None or error["message"], words
        assert record["end_time_utc"] and record["queued_utc"], record
        if fate.warning:
            assert any(fate.warning in warning for warning in record["warnings"]), record["warnings"]
        if self.request == "patch":
            assert record["tags"] == {"asked": "twice"}, record

    def check_witness(self):
        words = self.witness()
        assert words.count("begun") in self.fate.begun, f"the script was started {words.count('begun')} times: {words}"
        assert words == ["begun", "ready", "last"][: len(words)], words
        if self.fate.status == "Completed":
            assert words[-1] == "last", words

    def expected_log(self):
        return PRINTED + (b"last\n" if "last" in self.witness() else b"")

    def check_log(self):
        answer = self.insist("GET", f"/v1/runs/{self.run}/logs/{LOG}")
        if answer.status == 404 and "begun" not in self.witness():
            return
        assert answer.status == 200, answer
        got, expected = answer.body, self.expected_log()
        with contextlib.suppress(FileNotFoundError):
            assert got == (self.folder / "std_log.txt").read_bytes(), "the log is not the one in the run's folder"
        if "ready" in self.witness():
            assert got == expected, f"{len(got)} bytes of log, {len(expected)} were written: {got[-200:]}"
        else:
            assert expected.startswith(got), got[-200:]

    def check_artifacts(self):
        listed = {entry["path"]: entry for entry in self.insist("GET", f"/v1/runs/{self.run}/artifacts").json}
        expected = {**KEPT, LOG: self.expected_log()} if self.fate.outputs else {}
        if self.request == "put":
            expected["notes/note"] = NOTE
        if "ready" in self.witness():
            assert sorted(listed) == sorted(expected), "not the artifacts that were made"
            for path, content in expected.items():
                answer = self.insist("GET", f"/v1/runs/{self.run}/artifacts/{path}")
                assert answer.status == 200 and answer.body == content, (path, answer)
                digest = listed[path].get("sha256") or listed[path].get("digest")
                assert digest.endswith(hashlib.sha256(content).hexdigest()), listed[path]
                assert listed[path]["size"] == len(content), listed[path]
            if not self.fate.outputs:
                for path, content in KEPT.items():
                    assert (self.folder / "work" / path).read_bytes() == content, path
        else:
            assert set(listed) <= {*KEPT, LOG, "notes/note"}, sorted(listed)

    def check_slots(self):
        answer = self.insist("GET", "/v1/status").json
        assert (answer["running"], answer["queued"]) == (0, 0), answer

    def check_no_cgroup(self):
        """Where the daemon has cgroups, it says where."""
        for folder in set(re.findall(r"cgroups: (/\S+)", self.daemon.last_words())):
            assert not (Path(folder) / self.run).exists(), f"a cgroup is left in {folder}"

    def check_no_process(self):
        left = self.daemon.processes_of_runs()
        words = [describe(pid) for pid in left]
        end_all(left)
        assert not left, f"it is over, and there are {words}"

    def folder_is_clean(self):
        if self.fate.status == "Completed":
            return not self.folder.exists()
        return not any(os.path.lexists(self.folder / name) for name in SPENT)

    def settle(self):
        """What comes after the end is told: the folder goes. The daemon may die in it."""

        def look():
            if self.daemon.process.poll() is not None:
                self.insist("GET", "/healthz")
            return self.folder_is_clean()

        wait_for(look, f"what is spent goes from {self.folder}")

    def check_store(self):
        """On the disk, with no daemon there."""
        blobs = self.daemon.state / "blobs"
        assert os.listdir(blobs / "tmp") == [], "leftovers in blobs/tmp"
        for path in blobs.glob("sha256/*/*"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name, f"{path} holds other bytes"
        stale = [str(path) for path in self.daemon.state.rglob("*.tmp*") if "work" not in path.parts]
        assert not stale, f"left over: {stale}"

    def check_database(self, runs):
        with contextlib.closing(sqlite3.connect(self.daemon.state / "history.db", timeout=5)) as db:
            assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert db.execute("PRAGMA foreign_key_check").fetchall() == []
            assert db.execute("SELECT count(*) FROM runs").fetchone() == (runs,)

    def all_that_is_known(self):
        """To be the same before and after a restart."""
        run = f"/v1/runs/{self.run}"
        answers = [self.insist("GET", path) for path in ("/v1/runs", run, f"{run}/artifacts", f"{run}/logs/{LOG}")]
        return [(answer.status, answer.body) for answer in answers]

    def check_ended(self, record):
        self.check_no_process()
        self.check_record(record)
        self.check_witness()
        self.check_log()
        self.check_artifacts()
        self.check_slots()
        if self.fate.cleaned:
            self.settle()
        self.check_log()
        self.check_artifacts()

    def delete(self):
        answer = self.accepted("DELETE", f"/v1/runs/{self.run}", also=(404,))
        assert answer.status < 300 or self.deaths, answer
        assert self.insist("GET", f"/v1/runs/{self.run}").status == 404
        wait_for(lambda: not self.folder.exists(), "its folder goes")

    def check_restart(self):
        """Of a daemon that is killed now: the next one changes nothing, but for folders that were owed."""
        before = self.all_that_is_known()
        self.daemon.kill()
        self.check_database(runs=0 if self.request == "delete" else 1)
        self.rise()
        if self.request != "delete":
            self.settle()
        assert self.all_that_is_known() == before, "a restart changed the record"
        self.check_slots()
        self.check_witness()
        self.check_no_process()
        self.check_no_cgroup()
        status = self.daemon.terminate()
        assert status == 0, f"the last daemon ended with {status}: {self.daemon.last_words()}"
        self.check_store()
        self.check_database(runs=0 if self.request == "delete" else 1)

    def tell(self):
        """The whole story; raises when something is not as it has to be."""
        self.daemon = ChaosDaemon(grace=0 if self.stubborn else 1)
        self.witness_path, self.gate_path = self.daemon.root / "witness", self.daemon.root / "gate"
        os.mkfifo(self.gate_path)
        self.gate = os.open(self.gate_path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self.check_ended(self.live())
            if self.request == "delete":
                self.delete()
            assert self.list_runs() == ([] if self.request == "delete" else [self.run])
            assert tuple(self.deaths) == self.fate.deaths, f"daemons ended with {self.deaths}"
            assert self.fate.refusals in (None, len(self.refusals)), self.refusals
            self.check_restart()
        except (AssertionError, Died) as error:
            words = re.sub(r"(?m)^.* (Queued|Completed)$\n?", "", self.daemon.last_words())[-1500:]
            raise AssertionError(f"{error}\n{self.words_of_supervisor()}{words}") from error
        finally:
            self.passed = self.daemon.passed()
            os.close(self.gate)
            self.daemon.close()

    def words_of_supervisor(self):
        with contextlib.suppress(OSError, TypeError):
            return (self.folder / "supervisor.log").read_text(errors="replace")[-500:]
        return ""


def trouble_of(story):
    """What was wrong with it, in words; None: nothing. A story in which the point was not reached proves nothing."""
    trouble = None
    try:
        story.tell()
    except Exception as error:  # the others go on
        trouble = f"{type(error).__name__}: {error}"
    point, nth = story.needed or (None, 0)
    if story.passed.count(point) < nth:
        return f"the point was not reached; {trouble or 'the run ended as without a fault'}"
    return trouble


def tell_all(stories):
    """What was wrong with each."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(trouble_of, stories))
