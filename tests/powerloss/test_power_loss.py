# SPDX-License-Identifier: MIT
"""The power goes at every moment: what was acknowledged is there afterwards, and nothing is invented or done twice.

The real daemon, its supervisors and their runs are recorded by strace while a client uses them. Then, for every prefix
of what they did to the disk and several ways in which a disk may lose what was not flushed (powerloss_disk.VARIANTS), a
new daemon is started on what is left, on a machine with another boot id, and all promises are looked at
(powerloss_promises.py).

Equal states are tried once. Of the others a part is tried: every moment just after an answer, most of those just before
and after a flush or a rename, and some between. POWERLOSS_ALL=1 tries them all; POWERLOSS_BUDGET is about how many a
scenario tries else, POWERLOSS_SEED another choice of what is left by chance.

In the summary: steps - changes of the disk, flushes, answers and starts of scripts that were recorded; prefixes - the
moments between them; states - one for each way to lose; distinct - of these; tried - with a daemon; violations - of a
promise.
"""

import os
import threading

import pytest

import powerloss_trace
import powerloss_world
from harness import AMLAGENTD
from powerloss_disk import VARIANTS, Disk, digest_of
from powerloss_life import NOT_LOOKED_AT, Facts, Place, Session, disk_after, empty_state
from powerloss_promises import Inspection, explain

ALL = bool(os.environ.get("POWERLOSS_ALL"))
BUDGET = int(os.environ.get("POWERLOSS_BUDGET") or 100)
SEED = int(os.environ.get("POWERLOSS_SEED") or 1)
MOMENTOUS = ("fsync", "sync", "rename", "link", "unlink")
ENOUGH = 10

pytestmark = pytest.mark.timeout(7200 if ALL else 180)


@pytest.fixture(scope="module", autouse=True)
def usable():
    assert os.access(AMLAGENTD, os.X_OK), f"{AMLAGENTD} is not there: build first, or set AMLAGENT_BUILD_DIR"
    reason = powerloss_world.unusable() or powerloss_trace.unusable()
    if reason:
        pytest.skip(reason)


@pytest.fixture
def place():
    place = Place()
    place.configure()
    yield place
    place.close()


# -- which states ---------------------------------------------------------------------------------


class State:
    """Something that a disk may hold after the power went. weight: how much it matters that it is tried."""

    def __init__(self, count, variant, weight):
        self.count, self.variant, self.weight = count, variant, weight
        self.last = count

    def seen_again(self, count, weight):
        """Equal after more steps: more was promised by then."""
        self.last = count
        self.weight = max(self.weight, weight)


def weight_of(before, after):
    """Of the moment between two steps."""
    if before and before[0] == "answer":
        return 3
    for step in (before, after):
        if step and (step[0] != "disk" or step[1] in MOMENTOUS):
            return 2
    return 1


def states_of(session, figures):
    """{digest: State} after every step of the session's own."""
    steps, disk, memory, states = session.recording.steps, Disk(session.tree), {}, {}
    for count, step in enumerate([None, *steps]):
        if step and step[0] == "disk":
            getattr(disk, step[1])(*step[2])
        if count < session.first_step:
            continue
        weight = weight_of(step, steps[count] if count < len(steps) else None)
        figures["prefixes"] += 1
        for variant in VARIANTS:
            figures["states"] += 1
            tree = disk.tree(variant, f"{SEED}:{count}:{variant}", NOT_LOOKED_AT)
            digest = digest_of(tree, memory)
            if digest in states:
                states[digest].seen_again(count, weight)
            else:
                states[digest] = State(count, variant, weight)
        if len(memory) > 2000:
            memory.clear()
    return states


def choose(states, budget):
    """All that come just after an answer; the rest of the budget evenly, two of three where much happens."""
    chosen = [state for state in states if state.weight == 3]
    rest = max(budget - len(chosen), budget // 3)
    for weight, share in ((2, rest * 2 // 3), (1, rest - rest * 2 // 3)):
        some = [state for state in states if state.weight == weight]
        step = max(1.0, len(some) / max(1, share))
        chosen += [some[int(index * step)] for index in range(min(share, len(some)))]
    return chosen


# -- trying them ----------------------------------------------------------------------------------


def try_states(session, record_property, budget=BUDGET):
    """Every promise in every chosen state of a session that is finished."""
    steps = session.recording.steps
    figures = dict.fromkeys(("prefixes", "states", "distinct", "tried", "violations"), 0)
    figures["steps"] = len(steps) - session.first_step
    figures["flushes"] = sum(step[0] == "disk" and step[1] in ("fsync", "sync") for step in steps[session.first_step :])
    states = states_of(session, figures)
    figures["distinct"] = len(states)
    chosen = list(states.values()) if ALL else choose(list(states.values()), budget)
    wrong = []
    for state in sorted(chosen, key=lambda state: state.count):
        facts = Facts()
        for step in steps[: state.last]:
            facts.learn(step, session.requests)
        disk = disk_after(session, state.count)
        tree = disk.tree(state.variant, f"{SEED}:{state.count}:{state.variant}", NOT_LOOKED_AT)
        violations = Inspection(session, facts, tree).violations
        figures["tried"] += 1
        figures["violations"] += len(violations)
        where = f"{state.variant} after step {state.count} of {len(steps)} ({shown_step(session, state.count)})"
        wrong += [explain(violation, where) for violation in violations]
        if len(wrong) >= ENOUGH and not ALL:
            break
    record_property("powerloss", figures)
    print("power loss:", ", ".join(f"{key} {value}" for key, value in figures.items()))
    assert figures["tried"] > 0
    assert not wrong, f"{len(wrong)} promises broken:\n" + "\n".join(wrong)


def shown_step(session, count):
    """In words, with names in place of numbers."""
    if not count:
        return "the beginning"
    kind, *rest = session.recording.steps[count - 1]
    if kind == "answer":
        return f"{session.requests[rest[0]][0]} was answered"
    if kind == "witness":
        return "a script had begun"
    name, arguments = rest
    disk = disk_after(session, count - 1)
    numbers = {0, 2} if name == "rename" else {0, 1} if name == "link" else {0}
    words = [disk.path_of(value) if at in numbers else str(value)[:24] for at, value in enumerate(arguments)]
    return f"{name} {' '.join(map(str, words))}"


# -- what is recorded -----------------------------------------------------------------------------

DATA = bytes(range(256)) * 8


@pytest.fixture
def record_session(place):
    """record_session(tree=..., before=...): a Session; ended with the test."""
    made = []

    def make(tree=None, **options):
        if tree is None and "before" not in options:
            tree = empty_state(place)
        made.append(Session(place, tree, **options))
        return made[-1]

    yield make
    for session in made:
        session.world.close()


def test_the_very_first_run_of_a_new_state_folder(place, record_session, record_property):
    session = record_session({})
    session.ended(session.submit("ok", place.source("src", {"data.bin": DATA})))
    try_states(session.finish(), record_property)


def test_a_run_that_completes_and_the_same_folder_again(place, record_session, record_property):
    session = record_session()
    source = place.source("src", {"data.bin": DATA})
    session.ended(session.submit("ok", source))
    session.ended(session.submit("ok", source))
    try_states(session.finish(), record_property)


def test_many_files_and_a_large_one(place, record_session, record_property):
    session = record_session()
    files = {f"many/{number}": b"%d\n" % number for number in range(20)}
    large = b"".join(b"%07d\n" % number for number in range(1 << 17)) + b"and more than a piece"
    session.ended(session.submit("ok", place.source("src", {"data.bin": large, **files})))
    try_states(session.finish(), record_property)


def test_several_submits_at_once(place, record_session, record_property):
    place.configure(max_running_runs=1)
    session = record_session()
    source = place.source("src", {"data.bin": DATA})
    runs = []
    threads = [threading.Thread(target=lambda: runs.append(session.submit("ok", source))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs) == 4
    session.ended(*runs)
    try_states(session.finish(), record_property)


def test_cancel_in_the_queue_and_while_running(place, record_session, record_property):
    place.configure(max_running_runs=1)
    session = record_session()
    source = place.source("src", {"data.bin": DATA})
    first = session.submit("hang", source)
    session.running(first)
    second = session.submit("ok", source)
    for run in (second, first):
        assert session.ask("POST", f"/v1/runs/{run}/cancel", run=run).status == 202
    session.ended(first, second)
    assert {session.truth[run]["status"] for run in (first, second)} == {"Canceled"}
    try_states(session.finish(), record_property)


def test_time_limit(place, record_session, record_property):
    session = record_session()
    run = session.submit("hang", place.source("src", {"data.bin": DATA}), max_run_duration_seconds=2)
    session.ended(run)
    assert session.truth[run]["error"]["code"] == "MaxRunDurationExceeded"
    try_states(session.finish(), record_property)


def test_failure_tags_an_artifact_and_delete(place, record_session, record_property):
    session = record_session()
    source = place.source("src", {"data.bin": DATA})
    failed, kept = session.submit("fail", source), session.submit("ok", source)
    for run in (failed, kept):
        tags = {"tags": {"owner": "ana", "run": run}, "display_name": "one more"}
        assert session.ask("PATCH", f"/v1/runs/{run}", tags, run=run).status == 200
    session.ended(failed, kept)
    for run in (failed, kept):
        path = f"/v1/runs/{run}/artifacts/outputs/extra.txt"
        assert session.ask("PUT", path, b"put by hand\n" * 300, run=run).status == 201
    assert session.ask("DELETE", f"/v1/runs/{failed}", run=failed).status == 204
    try_states(session.finish(), record_property)


def test_the_daemon_is_killed_and_started_again_before(place, record_session, record_property):
    place.configure(max_running_runs=1)
    session = record_session()
    source = place.source("src", {"data.bin": DATA})
    first = session.submit("hang", source)
    session.running(first)
    second = session.submit("ok", source)
    session.kill()
    session.start()
    assert session.ask("POST", f"/v1/runs/{first}/cancel", run=first).status == 202
    session.ended(first, second)
    try_states(session.finish(), record_property)


def publishing(session):
    """The step after which the first blob has its name and the name is not durable."""
    disk = Disk(session.tree)
    for count, step in enumerate(session.recording.steps):
        if step[0] != "disk":
            continue
        if step[1] == "rename" and len(step[2][3]) == 64:
            return count + 1
        getattr(disk, step[1])(*step[2])
    raise AssertionError("no blob was published")


def test_blobs_whose_names_were_not_durable_when_the_daemon_died(place, record_session, record_property):
    session = record_session()
    source = place.source("src", {"data.bin": DATA})
    session.ended(session.submit("ok", source))
    session.finish()
    killed = record_session(before=(session, publishing(session)), boot_id=session.world.boot_id)
    killed.ended(killed.submit("ok", source))
    try_states(killed.finish(), record_property)


def test_the_power_goes_again_while_the_daemon_recovers(place, record_session, record_property):
    place.configure(max_running_runs=1)
    session = record_session()
    source = place.source("src", {"data.bin": DATA})
    first = session.submit("hang", source)
    session.running(first)
    second = session.submit("ok", source)
    assert session.ask("POST", f"/v1/runs/{first}/cancel", run=first).status == 202
    session.ended(first, second)
    session.finish()
    count = next(at for at, step in enumerate(session.recording.steps) if step == ("answer", 2)) + 1
    left = disk_after(session, count).tree("lost", leave_out=NOT_LOOKED_AT)
    again = record_session(left, earlier=(session, count))
    again.ended(first, second)
    assert again.truth[first]["error"]["code"] == "Lost"
    try_states(again.finish(), record_property)
