# SPDX-License-Identifier: MIT
"""The scheduler does what a plain model of it does, in random sequences of all that can happen to a queue.

Submits, starts, ends, holds, cancels, runs that go back to the end, GPUs set aside, reloads, and crashes with recovery:
after each step the same runs must have started, each slot must have one holder and none must be lost, the head must
start by the time that was promised to it, and each run must wait for the reason that the model gives. At the end, when
nothing holds the queue back any more, every run must have had its turn.

AMLAGENT_BUILD_DIR            where scheduler_driver was built (default: <repo>/build)
AMLAGENT_SCHEDULER_SEED       the seed of the generator (default: fixed, so that CI repeats itself)
AMLAGENT_SCHEDULER_SEQUENCES  how many sequences (default: 2000)
"""

import dataclasses
import math
import os
import pathlib
import random
import signal
import subprocess

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("AMLAGENT_BUILD_DIR", REPO / "build"))
SEED = int(os.environ.get("AMLAGENT_SCHEDULER_SEED", "20262"))
SEQUENCES = int(os.environ.get("AMLAGENT_SCHEDULER_SEQUENCES", "2000"))
SECONDS = 600
STEPS = 50
USERS = [1001, 1002, 1003]
NEVER = math.inf
PARTS = ("places", "cpus", "memory", "gpus")
SETTLED = 10  # seconds: SCHEDULER_SETTLED_US


@pytest.fixture(autouse=True)
def time_limit():
    """No test may hang, whatever the driver does."""
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)


def program(name):
    for place in (BUILD, BUILD / "tests" / "property", BUILD / "tests"):
        if (place / name).exists():
            return place / name
    pytest.fail(f"no {name} in {BUILD}; build first or set AMLAGENT_BUILD_DIR")


class Driver:
    """scheduler_driver at the other end of two pipes."""

    def __init__(self):
        self.process = subprocess.Popen(
            [program("scheduler_driver")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def tell(self, *words):
        self.process.stdin.write(" ".join(str(int(w)) if isinstance(w, bool) else str(w) for w in words) + "\n")

    def ask(self, *words):
        self.tell(*words)
        self.process.stdin.flush()
        return self.process.stdout.readline().split()

    def close(self):
        self.process.stdin.close()
        status = self.process.wait(timeout=60)
        self.process.stdout.close()
        return status


@pytest.fixture(name="driver")
def fixture_driver():
    driver = Driver()
    yield driver
    assert driver.close() == 0


@dataclasses.dataclass(eq=False)
class Run:
    number: int
    uid: int
    priority: int
    wants: dict
    limit: int  # seconds; 0: none
    turn: int = 0
    parked: bool = False
    end: float = 0  # expected, while it runs
    start: int = 0
    gpus: tuple = ()

    def request(self):
        return [self.uid, self.priority, self.wants["cpus"], self.wants["memory"], self.wants["gpus"], self.limit]

    def end_if_started(self, now):
        return now + self.limit if self.limit else NEVER


def fits(wants, room):
    return all(not wants[part] or wants[part] <= room[part] for part in PARTS)


def minus(room, wants):
    return {part: room[part] - wants[part] for part in PARTS}


def plus(room, wants):
    return {part: room[part] + wants[part] for part in PARTS}


class Model:
    """What the header of the scheduler says, as plainly as it can be put."""

    def __init__(self, total, gpu_count, user_limits):
        self.total = dict(total, gpus=gpu_count)
        self.user_limits = user_limits
        self.aside = set()
        self.waiting, self.running = [], []
        self.turns = 0
        self.promised = None  # (run, time by which it starts)

    def held_gpus(self):
        return {gpu for run in self.running for gpu in run.gpus}

    def all(self):
        """What would be free if all runs ended."""
        room = dict(self.total)
        room["gpus"] -= len(self.aside - self.held_gpus())
        return room

    def free(self):
        room = self.all()
        for run in self.running:
            room = minus(room, run.wants)
        return room

    def line(self, usage):
        return sorted((r for r in self.waiting if not r.parked), key=lambda r: (-r.priority, usage[r.uid], r.turn))

    def limit_reached(self, run, others):
        for part, reason in (("places", "user_runs"), ("gpus", "user_gpus"), ("cpus", "user_cpus")):
            limit, more = self.user_limits[part], run.wants[part]
            if limit and more and sum(o.wants[part] for o in others if o.uid == run.uid) + more > limit:
                return reason
        return None

    def reservation(self, head, room, given, now):
        """When the head starts at the latest, and what is free even then."""
        by_start = [(max(r.end, now), r) for r in self.running] + [(r.end_if_started(now), r) for r in given]
        when, left = now, room
        for end, run in sorted(by_start, key=lambda e: e[0]):
            if fits(head.wants, left) and end > when:
                break
            left, when = plus(left, run.wants), end
        if when == NEVER:  # no time is known: it waits for the oldest
            left = room
            for _, run in by_start:
                if fits(head.wants, left):
                    break
                left = plus(left, run.wants)
        return when, minus(left, head.wants)

    def walk(self, usage, now, gpus_known=True):
        """[(run, reason)] in order; reason "goes": it starts. And the head with its reservation."""
        room, head, when, spare = self.free(), None, None, None
        given, told = [], []
        for run in self.line(usage):
            reason = self.consider(run, room, given)
            if reason in ("gpus", "memory", "cpus", "place") and not head and fits(run.wants, self.all()):
                head = run
                when, spare = self.reservation(head, room, given, now)
            elif reason is None and head:
                passes, spare = self.passes_head(run, head, when, spare, given, now)
                if not passes:
                    reason = "behind"
            if reason is None:
                given.append(run)
                room = minus(room, run.wants)
                reason = "looking" if run.wants["gpus"] and not gpus_known else "goes"
            told.append((run, reason))
        return told, head, when

    def consider(self, run, room, given):
        if not fits(run.wants, self.all()):
            return "gpus" if fits(run.wants, self.total) else "too_large"
        limited = self.limit_reached(run, self.running + given)
        if limited:
            return limited
        for part, reason in (("gpus", "gpus"), ("memory", "memory"), ("cpus", "cpus"), ("places", "place")):
            if run.wants[part] and run.wants[part] > room[part]:
                return reason
        return None

    def passes_head(self, run, head, when, spare, given, now):
        if run.uid == head.uid and self.limit_reached(run, self.running + given + [head]):
            return False, spare
        if when != NEVER and run.end_if_started(now) <= when:
            return True, spare
        if not fits(run.wants, spare):
            return False, spare
        return True, minus(spare, run.wants)


class Sequence:
    """One random life of a queue, in the driver and in the model."""

    def __init__(self, driver, rng, known_ends):
        self.driver, self.rng, self.known_ends = driver, rng, known_ends
        self.gpu_count = rng.choice([0, 0, 1, 2, 4])
        total = {"places": rng.randint(1, 8), "cpus": rng.randint(1, 8), "memory": rng.choice([0, 10, 100])}
        self.model = Model(total, self.gpu_count, {"places": 0, "cpus": 0, "gpus": 0})
        self.now = 1_000_000
        self.numbers = 0
        self.starts = self.backfills = self.looks = 0
        self.driver.tell("machine", self.gpu_count, rng.choice([3600, 86400]))
        self.tell_limits()

    # ---- what can happen ----

    def tell_limits(self):
        total, user = self.model.total, self.model.user_limits
        self.driver.tell(
            "limits", total["places"], total["cpus"], total["memory"], user["places"], user["cpus"], user["gpus"]
        )

    def submit(self):
        rng, total = self.rng, self.model.total
        wants = {
            "places": 1,
            "cpus": rng.randint(1, max(1, total["cpus"])) if rng.random() < 0.6 else 1,
            "memory": rng.choice([0, 0, rng.randint(0, total["memory"])]),
            "gpus": rng.choice([0, rng.randint(0, self.gpu_count)]),
        }
        limit = rng.choice([30, 60, 100, 200, 500] if self.known_ends else [0, 0, 30, 60, 100, 500])
        run = Run(self.numbers, rng.choice(USERS), rng.choice([0, 0, 0, 5, -5]), wants, limit)
        self.numbers += 1
        self.queue(run, False)

    def queue(self, run, keep_turn):
        if not run.turn or not keep_turn:
            self.model.turns += 1
            run.turn = self.model.turns
        run.parked, run.gpus = False, ()
        self.model.waiting.append(run)
        self.driver.tell("queue", run.number, *run.request(), keep_turn)

    def end(self, run):
        self.model.running.remove(run)
        self.driver.tell("remove", run.number, self.now)

    def end_one(self):
        if self.model.running:
            self.end(self.rng.choice(self.model.running))

    def fail_to_start(self):
        """It finds no room on the disk: back to the end of the queue."""
        if self.model.running:
            run = self.rng.choice(self.model.running)
            self.end(run)
            self.queue(run, False)

    def cancel(self):
        if self.model.waiting:
            run = self.rng.choice(self.model.waiting)
            self.model.waiting.remove(run)
            self.driver.tell("remove", run.number, self.now)
            self.forget_promise()

    def hold_or_release(self):
        if self.model.waiting:
            run = self.rng.choice(self.model.waiting)
            run.parked = not run.parked
            self.driver.tell("park", run.number, run.parked)
            self.forget_promise()

    def set_aside(self):
        if self.gpu_count:
            gpu = self.rng.randrange(self.gpu_count)
            if gpu in self.model.held_gpus():
                return  # a run's own processes set nothing aside
            self.model.aside ^= {gpu}
            self.driver.tell("aside", gpu, gpu in self.model.aside)
            self.forget_promise()

    def reload(self):
        rng, total = self.rng, self.model.total
        total.update(places=rng.randint(1, 8), cpus=rng.randint(1, 8), memory=rng.choice([0, 10, 100]))
        for part in self.model.user_limits:
            self.model.user_limits[part] = rng.choice([0, 0, rng.randint(1, 4)])
        self.tell_limits()
        self.forget_promise()

    def crash(self):
        """A new daemon: what runs is claimed with its GPUs, then the others queue in the order of their turns."""
        model = self.model
        self.driver.tell("machine", self.gpu_count, 86400)
        self.tell_limits()
        for run in model.running:
            self.driver.tell("claim", run.number, *run.request(), run.start, self.now, *run.gpus)
        waiting, model.waiting, model.turns = sorted(model.waiting, key=lambda r: r.turn), [], 0
        for run in waiting:
            parked, run.turn = run.parked, 0
            self.queue(run, True)
            if parked:
                run.parked = True
                self.driver.tell("park", run.number, True)
        for gpu in model.aside:
            self.driver.tell("aside", gpu, True)
        self.forget_promise()

    def forget_promise(self):
        self.model.promised = None

    # ---- time, and what must hold ----

    def usage(self):
        return dict(zip(USERS, map(float, self.driver.ask("usage", self.now, *USERS))))

    def look(self):
        """Somebody may ask for GPUs that are not known to be free: then nobody gets one, and the others go on."""
        told, head, _ = self.model.walk(self.usage(), self.now, gpus_known=False)
        answer = self.driver.ask("pass", self.now, 0)
        self.note_order(told, head)
        self.take_starts(answer[1:], [run for run, reason in told if reason == "goes"])
        assert answer[0] == str(int(any(reason == "looking" for _, reason in told)))
        self.looks += answer[0] == "1"

    def check_pass(self):
        self.look()
        told, head, when = self.model.walk(self.usage(), self.now)
        expected = [run for run, reason in told if reason == "goes"]
        answer = self.driver.ask("pass", self.now, 1)
        assert answer[0] == "0"
        self.note_order(told, head)
        self.take_starts(answer[1:], expected)
        self.check_promise(head, when)
        self.check_explanation()
        assert self.driver.ask("sound") == ["1"]
        assert self.driver.ask("pass", self.now, 1) == ["0"]  # again: nothing is left to be started

    def note_order(self, told, head):
        """Whoever starts behind the head is back-filled; what was promised does not bind those before it."""
        runs = [run for run, _ in told]
        starts = [place for place, (_, reason) in enumerate(told) if reason == "goes"]
        if head and starts and starts[-1] > runs.index(head):
            self.backfills += 1
        if self.model.promised and self.model.promised[0] is not head:
            self.forget_promise()
        if head and starts and starts[0] < runs.index(head):
            self.forget_promise()

    def take_starts(self, words, expected):
        started = [word.split(":") for word in words]
        assert [int(number) for number, _ in started] == [run.number for run in expected]
        for (_, gpus), run in zip(started, expected):
            room = self.model.free()
            assert fits(run.wants, room), "more is given than there is"
            assert self.model.limit_reached(run, self.model.running) is None
            run.gpus = tuple(int(gpu) for gpu in gpus.split(",") if gpu)
            assert len(set(run.gpus)) == run.wants["gpus"]
            assert not set(run.gpus) & (self.model.held_gpus() | self.model.aside), "a GPU is given twice"
            run.start, run.end = self.now, run.end_if_started(self.now)
            self.model.waiting.remove(run)
            self.model.running.append(run)
            self.starts += 1

    def check_promise(self, head, when):
        """The head keeps its reservation, whoever is started before it, until another one is the head."""
        promised = self.model.promised
        if promised and promised[0] is head:
            assert when <= promised[1], "back-fill has delayed the head"
            assert self.now < promised[1] or when == NEVER, "the head should have started"
        self.model.promised = (head, when) if head else None

    def check_explanation(self):
        told, _, _ = self.model.walk(self.usage(), self.now)
        expected = {run.number: ["parked", "0"] for run in self.model.waiting if run.parked}
        for place, (run, reason) in enumerate(told, 1):
            expected[run.number] = [reason, str(place)]
        answer = {}
        for word in self.driver.ask("explain", self.now, 1):
            number, reason, place, _ = word.split(":")
            answer[int(number)] = [reason, place]
        assert answer == expected

    def advance(self, seconds):
        """Time goes by; who reaches his limit on the way ends then, and others have their turn."""
        until = self.now + seconds
        while True:
            due = [run for run in self.model.running if run.end <= until]
            if not due:
                break
            first = min(due, key=lambda r: r.end)
            self.now = int(first.end)
            for run in [r for r in due if r.end == first.end]:
                self.end(run)
            self.check_pass()
        self.now = until
        self.check_pass()

    # ---- all of it ----

    def live(self):
        rng = self.rng
        events = [self.submit] * 8 + [self.hold_or_release, self.cancel, self.set_aside, self.reload, self.crash]
        events += [self.end_one] * 2 + [self.fail_to_start]
        if self.known_ends:
            events += [self.submit] * 6
        for _ in range(STEPS):
            rng.choice(events)()
            self.check_pass()
            if rng.random() < 0.5:
                self.advance(rng.choice([SETTLED, 20, 50, 100, 400]))

    def drain(self):
        """Nothing is in the way any more: every run has its turn, in a bounded time."""
        model = self.model
        model.user_limits = {"places": 0, "cpus": 0, "gpus": 0}
        model.total.update(places=8, cpus=8, memory=100)
        model.aside = set()
        self.tell_limits()
        self.forget_promise()
        for gpu in range(self.gpu_count):
            self.driver.tell("aside", gpu, False)
        for run in model.waiting:
            run.parked = False
            self.driver.tell("park", run.number, False)
        for _ in range(2 * self.numbers + 2):
            self.forget_promise()  # here runs end when it is their turn to, not when they are expected to
            self.check_pass()
            if not model.running:
                break
            self.end(min(model.running, key=lambda r: r.end))
            self.now += SETTLED
        assert not model.waiting, "a run waits for ever"
        assert not model.running


def live_many(driver, known_ends, count):
    starts = backfills = looks = 0
    for number in range(count):
        sequence = Sequence(driver, random.Random(f"{SEED} {known_ends} {number}"), known_ends)
        try:
            sequence.live()
            sequence.drain()
        except AssertionError as error:
            raise AssertionError(f"AMLAGENT_SCHEDULER_SEED={SEED}, sequence {number}: {error}") from error
        starts += sequence.starts
        backfills += sequence.backfills
        looks += sequence.looks
    print(f"{count} sequences: {starts} runs started, {backfills} passes with back-fill, {looks} looks at GPUs")
    assert starts > 5 * count and backfills > count / 10 and looks > count / 10


def test_it_does_what_the_model_does_when_every_run_has_a_limit(driver):
    live_many(driver, True, SEQUENCES // 2)


def test_it_does_what_the_model_does_when_some_may_run_for_ever(driver):
    live_many(driver, False, SEQUENCES - SEQUENCES // 2)
