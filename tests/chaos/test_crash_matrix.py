# SPDX-License-Identifier: MIT
"""A run is never lost, and ends as it ended: each fail point in each mode, with each way in which a run can end.

One fixture tells all stories, many at a time; each place has its test. A round that failed is repeated with
AMLAGENT_MATRIX='place/mode/outcome'; AMLAGENT_MATRIX=full takes all combinations. The summary, with the count of each
point, goes to the terminal and to crash-matrix.txt in the build folder.
"""

import itertools
import os
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass

import matrix
import pytest
from chaos import build_dir, points
from story import Story, tell_all, true_fate

pytestmark = pytest.mark.timeout(1800 if os.environ.get("AMLAGENT_MATRIX") == "full" else 600)


@dataclass
class Result:
    round: matrix.Round
    trouble: str | None
    passed: list


def tell(rounds):
    healthy = [Story(outcome=outcome, fate=true_fate(outcome), settings=[""]) for outcome in matrix.ENDS]
    assert not any(wrong := tell_all(healthy)), f"without a fault: {wrong}"
    passed = {story.outcome: story.passed for story in healthy}
    stories = [matrix.story_of(round, passed) for round in rounds]
    troubles = tell_all(stories)
    return [Result(round, trouble, story.passed)
            for round, trouble, story in zip(rounds, troubles, stories, strict=True)]  # fmt: skip


def summary(results, seconds):
    hits = Counter(point for result in results for point in result.passed)
    struck = Counter(result.round.point for result in results if not (result.trouble or "").startswith("the point was"))
    modes = Counter(result.round.mode for result in results)
    outcomes = Counter(result.round.outcome for result in results)
    wrong = sum(result.trouble is not None for result in results)
    lines = [f"crash matrix: {len(results)} rounds in {seconds:.0f} s, {wrong} wrong"]
    lines += ["  " + ", ".join(f"{name} {count}" for name, count in kind.items()) for kind in (modes, outcomes)]
    lines += [f"  {name:20} struck in {struck[name]:3} rounds, passed {hits[name]:5} times" for name in points()]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def results(request):
    """{place: [Result]}"""
    start = time.monotonic()
    build_dir()
    all_of_them = tell(matrix.rounds())
    text = summary(all_of_them, time.monotonic() - start)
    (build_dir() / "crash-matrix.txt").write_text(text)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + text, end="", file=sys.stderr, flush=True)
    by_place = defaultdict(list)
    for result in all_of_them:
        by_place[result.round.place].append(result)
    return by_place


@pytest.mark.parametrize("place", matrix.places())
def test_a_run_that_meets_a_fault_ends_as_it_has_to(results, place):
    if not results[place]:
        pytest.skip("AMLAGENT_MATRIX leaves it out")
    wrong = [result for result in results[place] if result.trouble]
    text = "\n\n".join(f"{result.round} ({result.round.setting}): {result.trouble}" for result in wrong)
    assert not wrong, f"{len(wrong)} of {len(results[place])} rounds:\n{text}"


def test_the_choice_of_rounds_holds_every_pair():
    chosen = list(matrix.chosen_rounds())
    assert {(round.place, round.mode) for round in chosen} >= {
        (place, mode) for place in matrix.places() for mode in matrix.modes_of(place)}  # fmt: skip
    possible = set(map(str, filter(matrix.may_be_passed, matrix.all_rounds())))
    assert {(round.place, round.outcome) for round in chosen} >= {
        (place, outcome) for place, _, outcome in (name.split("/") for name in possible)}  # fmt: skip
    modes = {mode for place in matrix.places() for mode in matrix.modes_of(place)}
    assert {(round.mode, round.outcome) for round in chosen} >= set(itertools.product(modes, matrix.ENDS))


def test_every_exception_of_the_matrix_is_a_round_that_there_would_be():
    rounds = [str(round) for round in matrix.all_rounds()]
    assert [name for name in matrix.NOT_PASSED if not matrix.fnmatch.filter(rounds, name)] == []
