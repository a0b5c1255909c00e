# SPDX-License-Identifier: MIT
"""A daemon that finds 10,000 ended and 200 live runs takes all of them over. The time is printed, not judged: this
machine may be anybody's; bench/run --only recovery has the figure. The house is the bench's own."""

import argparse
import sys
import time

import harness
import pytest

sys.path.insert(0, str(harness.REPO / "bench"))

from amlbench import ours, proc, recovery  # noqa: E402

ENDED, LIVE = 10000, 200


class Bench:
    """As much of bench/run's as a daemon needs."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.options = argparse.Namespace(build_dir=str(harness.BUILD))
        self.commands = proc.Commands(self.folder)

    def program(self, name):
        return f"{self.options.build_dir}/{name}"

    def say(self, text):
        raise AssertionError(text)

    def discard(self, path):
        pass  # `scratch` goes


def records(daemon, query):
    """All of them, in pages."""
    found, before = [], ""
    while True:
        status, page = daemon.request("GET", f"/v1/runs?limit=1000{query}{before}")
        assert status == 200, page
        if not page:
            return found
        found += page
        before = f"&before={page[-1]['run_id']}"


@pytest.mark.timeout(300)
def test_ten_thousand_ended_and_two_hundred_live_runs_are_all_there_again(scratch, capsys):
    with ours.Daemon(Bench(scratch), "full", max_running_runs=LIVE) as daemon:
        recovery.fill(daemon.bench, daemon, ENDED, LIVE)
        before = {record["run_id"]: record for record in records(daemon, "")}
        seconds = recovery.restart(daemon, LIVE)
        with capsys.disabled():
            print(f" [recovery of {ENDED:,} ended and {LIVE} live runs: {seconds:.2f} s]", end="", flush=True)
        after = {record["run_id"]: record for record in records(daemon, "")}
        assert len(after) == ENDED + LIVE + 2 and after.keys() == before.keys(), "none is lost, none is new"
        ended = {run for run, record in before.items() if record["status"] in harness.ENDED}
        assert len(ended) == ENDED + 2
        assert [run for run in ended if after[run] != before[run]] == [], "what had ended is as it was"
        live = after.keys() - ended
        assert {after[run]["status"] for run in live} == {"Running"}
        assert {after[run]["start_time_utc"] for run in live} == {before[run]["start_time_utc"] for run in live}
        begun = time.monotonic()
        with open(daemon.fifo, "w") as gate:
            gate.write("go\n" * LIVE)
        assert proc.wait_until(lambda: not records(daemon, "&status=Running,Finalizing"), 60), "they go on to their end"
        assert {daemon.record(run)["status"] for run in live} == {"Completed"}
        with capsys.disabled():
            print(f" [their end: {time.monotonic() - begun:.1f} s]", end="", flush=True)
