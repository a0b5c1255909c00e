# SPDX-License-Identifier: MIT
"""The crash matrix: which point fails how in which round, and how the run has to end then.

A round is (place, mode, outcome). A place is a point, or a later passing of it ("blob.write@collect"). By default each
place meets each mode that makes sense there, and each outcome, and each mode each outcome. AMLAGENT_MATRIX=full takes
all combinations; AMLAGENT_MATRIX=place/mode/outcome (with * and ?) those rounds alone.
"""

import fnmatch
import itertools
import os
from dataclasses import dataclass, replace

from chaos import DEATH_OF, points
from story import Fate, Story, true_fate

ENDS = ("exit-0", "exit-n", "signal", "limit", "cancel")
DEATHS = ("kill", "kill-after", "abort")
ERRORS = ("ENOSPC", "EIO")
DELAY = "delay-150"
# A shortage lasts for two passings, so that the first retry fails as well.
TIMES = {"ENOSPC": 2, "EIO": 1}

# Points with a write() or an fsync() of ours in them.
WRITES = {"submit.environment", "blob.write", "index.write", "prepare.launch", "stop.write", "status.write",
          "status.running", "exit.write"}  # fmt: skip
FLUSHES = {"submit.sync_dir", "blob.flush", "blob.flush_names", "exit.sync", "exit.sync_dir"}

# Passed again, and for another purpose, later in the life of a run: "@" says when.
LATER = ("blob.write@collect", "blob.flush@collect", "blob.publish@collect", "blob.flush_names@collect",
         "history.update@running", "history.update@finalizing",
         "finish.read_exit@recovery", "finish.collect@recovery", "history.finish@recovery",
         "finish.clean_up@recovery")  # fmt: skip
NTH = {"history.update@running": 2, "history.update@finalizing": 3}

# What has to be done so that a point is passed.
REQUESTS = {"history.patch": "patch", "history.artifacts": "put", "history.delete": "delete",
            "delete.mark": "delete"}

# Rounds in which the point cannot be passed: (place, mode, outcome), with * and ?, and why.
NOT_PASSED = {
    "blob.write@collect/*/exit-0": "the outputs of a run that Completed are linked into the store, not written",
}


@dataclass(frozen=True)
class Round:
    place: str
    mode: str
    outcome: str
    times: int = 1
    nth: int = 1

    @property
    def point(self):
        return self.place.partition("@")[0]

    @property
    def when(self):
        return self.place.partition("@")[2]

    @property
    def by_supervisor(self):
        return points()[self.point].by_supervisor

    @property
    def setting(self):
        return f"{self.point}={self.mode}:{self.nth}:{self.times}"

    def __str__(self):
        return f"{self.place}/{self.mode}/{self.outcome}"


def places():
    return (*points(), *LATER)


def modes_of(place):
    point = place.partition("@")[0]
    more = ("interrupt", "short") if point in WRITES else ("interrupt",) if point in FLUSHES else ()
    return (*DEATHS, *ERRORS, *more, DELAY)


def outcomes_of(place):
    if place.startswith("stop."):
        return ("cancel",)
    return ENDS


# -- how it has to end ----------------------------------------------------------------------------

SETUP = Fate("Failed", "SetupError", begun=(0,))
LOST_BEFORE = Fate("Failed", "Lost", begun=(0,))
LOST_AT_START = Fate("Failed", "Lost", begun=(0, 1))
LOST = Fate("Failed", "Lost")

# The supervisor dies before the step, or after it. None: it had told all that is to be told.
DEAD_SUPERVISOR = {
    "supervisor.begin": (SETUP, SETUP),
    "exit.reserve": (SETUP, SETUP),
    "status.write": (SETUP, LOST_BEFORE),
    "child.start": (LOST_BEFORE, LOST_AT_START),
    "status.running": (LOST_AT_START, LOST_AT_START),
    "tree.term": (LOST, LOST),
    "tree.kill": (LOST, LOST),
    "exit.write": (LOST, LOST),
    "exit.sync": (LOST, LOST),
    "exit.rename": (LOST, None),
    "exit.sync_dir": (None, None),
}
# An error before the command has begun; by its name or by any other.
FAILED_SUPERVISOR = {
    ("supervisor.begin", "ENOSPC"): "starved",
    ("supervisor.begin", "EIO"): "setup",
    ("exit.reserve", "ENOSPC"): "starved",
    ("exit.reserve", "EIO"): "setup",
    ("status.write", "ENOSPC"): "starved",
    ("status.write", "EIO"): "setup",
    ("child.start", "ENOSPC"): "starved",
    ("child.start", "EIO"): "setup",
}
# The daemon refuses what it was asked for, and takes it the next time.
REFUSED = {"submit.make_dir", "submit.environment", "submit.sync_dir", "delete.mark", "history.insert",
           "history.patch",
           "history.artifacts", "history.delete", "blob.write", "blob.flush", "blob.publish",
           "blob.flush_names"}  # fmt: skip
COLLECTING = {"finish.collect", "finish.collect@recovery", "blob.write@collect", "blob.flush@collect",
              "blob.publish@collect", "blob.flush_names@collect"}  # fmt: skip


def fate_of_error(round, fate):
    if round.by_supervisor:
        kind = FAILED_SUPERVISOR.get((round.point, round.mode))
        if kind == "setup":
            return SETUP
        return replace(fate, starved=True, warning="room") if kind == "starved" else fate
    if round.place in REFUSED:
        return replace(fate, refusals=round.times)
    if round.place in COLLECTING and round.mode == "ENOSPC":
        return replace(fate, warning="room")
    if round.place in COLLECTING:
        failed = {"status": "Failed", "code": "OutputError"} if round.outcome == "exit-0" else {"warning": "outputs"}
        return replace(fate, outputs=False, **failed)
    if round.point.startswith("prepare.") and round.mode == "EIO":
        return SETUP
    if round.point.startswith(("prepare.", "start.")):
        return replace(fate, warning="room") if round.mode == "ENOSPC" else fate
    if round.point == "recover.reattach":
        return replace(fate, refusals=None)  # a cancel is asked for again while it is in doubt who runs it
    if round.point == "history.migrate":
        return replace(fate, deaths=(1,))
    if round.point == "finish.clean_up":
        return replace(fate, cleaned=False)
    return fate


def fate_of(round):
    fate = true_fate(round.outcome)
    if round.mode in ERRORS:
        return fate_of_error(round, fate)
    if round.mode not in DEATHS:
        return fate
    if not round.by_supervisor:
        return replace(fate, deaths=(DEATH_OF[round.mode],))
    dead = DEAD_SUPERVISOR[round.point][round.mode == "kill-after"] or fate
    # Nothing of it was started, and nobody wants it any more.
    return replace(fate, begun=(0,)) if dead is SETUP and round.outcome == "cancel-early" else dead


# -- which rounds ---------------------------------------------------------------------------------


def may_be_passed(round):
    return not any(fnmatch.fnmatch(str(round), pattern) for pattern in NOT_PASSED)


def make(place, mode, outcome):
    return Round(place, mode, outcome, times=TIMES.get(mode, 1), nth=NTH.get(place, 1))


def all_rounds():
    for place in places():
        for mode, outcome in itertools.product(modes_of(place), outcomes_of(place)):
            yield make(place, mode, outcome)


def one_of_each(place, shift):
    """Each of its modes, and each of its outcomes; every place begins the outcomes elsewhere."""
    modes, outcomes = modes_of(place), outcomes_of(place)
    for i in range(max(len(modes), len(outcomes))):
        candidates = (make(place, modes[i % len(modes)], outcomes[(i + shift + skip) % len(outcomes)])
                      for skip in range(len(outcomes)))  # fmt: skip
        yield next(filter(may_be_passed, candidates))


def chosen_rounds():
    """Every pair of place and mode, place and outcome, mode and outcome."""
    chosen = [round for shift, place in enumerate(places()) for round in one_of_each(place, shift)]
    met = {(round.mode, round.outcome) for round in chosen}
    for round in filter(may_be_passed, all_rounds()):
        if (round.mode, round.outcome) not in met:
            met.add((round.mode, round.outcome))
            chosen.append(round)
    return chosen


# A cancel that comes while it is being started, or dies there.
EARLY = [make(place, mode, "cancel-early")
         for place in ("history.prepare", "prepare.launch", "start.lock", "start.spawn", "supervisor.begin",
                       "status.write", "child.start", "status.running")
         for mode in ("delay-150", "kill")]  # fmt: skip


def rounds():
    wanted = os.environ.get("AMLAGENT_MATRIX", "")
    if not wanted:
        found = [*chosen_rounds(), *EARLY]
    else:
        found = [*filter(may_be_passed, all_rounds()), *EARLY]
    if wanted not in ("", "full"):
        found = [round for round in found if fnmatch.fnmatch(str(round), wanted)]
    return list(dict.fromkeys(found))


def first_in_collecting(passed, point):
    """Which passing of it is the first after the command was started."""
    return passed[: passed.index("start.spawn")].count(point) + 1


def story_of(round, passed):
    """passed: {outcome: the points of a run without a fault, in their order}"""
    if round.when == "collect":
        round = replace(round, nth=first_in_collecting(passed[round.outcome], round.point))
    settings, restart = [round.setting], None
    if round.point == "recover.reattach" or round.when == "recovery":
        settings, restart = ["", round.setting], "ended" if round.when else "ready"
    return Story(outcome=round.outcome, fate=fate_of(round), settings=settings, restart=restart,
                 needed=(round.point, round.nth), request=REQUESTS.get(round.point),
                 stubborn=round.point == "tree.kill",
                 cancel_at=round.point if round.outcome == "cancel-early" else None)  # fmt: skip
