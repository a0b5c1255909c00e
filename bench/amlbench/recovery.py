# SPDX-License-Identifier: MIT
"""How long a daemon takes that finds a full house: from its start to its first answer, all runs in their places."""

import json
import os
import shutil
import sqlite3

from . import ours
from .proc import BenchError, wait_until
from .stats import Aim, Figure, Line

COPIED = "runs", "tags", "properties", "artifacts"  # tables; the rows of one run, again and again
FULL, EMPTY = "full state folder", "empty state folder"


def columns_of(database, table):
    return [row[1] for row in database.execute(f"PRAGMA table_info({table})")]


def copy_run(database, run_id, names):
    """The run once more under each of the names, as history would have it."""
    (seq,) = database.execute("SELECT seq FROM runs WHERE run_id = ?", (run_id,)).fetchone()
    for name in names:
        others = [name for name in columns_of(database, "runs") if name not in ("seq", "run_id")]
        listed = ", ".join(others)
        cursor = database.execute(
            f"INSERT INTO runs (run_id, {listed}) SELECT ?, {listed} FROM runs WHERE seq = ?", (name, seq)
        )
        for table in COPIED[1:]:
            rest = ", ".join(column for column in columns_of(database, table) if column != "seq")
            database.execute(
                f"INSERT INTO {table} (seq, {rest}) SELECT ?, {rest} FROM {table} WHERE seq = ?", (cursor.lastrowid, seq)
            )


def submit(daemon, command):
    status, record = daemon.request("POST", "/v1/runs", {"command": command, "source_directory": daemon.folder})
    if status != 201:
        raise BenchError(f"POST /v1/runs answered {status}: {record}")
    return record["run_id"]


def fill(bench, daemon, ended, live):
    """So many ended runs, a tenth of them failed with their folders, and so many that go on."""
    good = submit(daemon, "mkdir -p outputs && echo good > outputs/result")
    daemon.wait_until_completed(good)
    bad = submit(daemon, "echo bad; exit 3")
    daemon.wait_until_ended(bad)
    for _ in range(live):
        submit(daemon, f"read line < '{daemon.fifo}'")
    if not wait_until(lambda: daemon.request("GET", "/v1/runs?status=Running&limit=1000")[1][live - 1 : live], 60):
        raise BenchError(f"the {live} runs do not all run")
    daemon.kill()
    database = sqlite3.connect(os.path.join(daemon.state, "history.db"))
    failed = [f"bench_1700000000_{i:08x}" for i in range(ended // 10)]
    with database:
        copy_run(database, good, [f"bench_1700000001_{i:08x}" for i in range(ended - len(failed))])
        copy_run(database, bad, failed)
    database.close()
    for name in failed:
        shutil.copytree(os.path.join(daemon.state, "runs", bad), os.path.join(daemon.state, "runs", name))
    daemon.start()


def restart(daemon, live):
    """Killed and started again: the seconds until it answers that it holds them all."""
    daemon.kill()
    seconds = daemon.start()
    status, answer = daemon.request("GET", "/v1/status")
    if status != 200 or answer["running"] != live:
        raise BenchError(f"after a restart GET /v1/status answered {status}: {json.dumps(answer)}")
    return seconds


def recovery(bench):
    scale = bench.scale
    figure = Figure("recovery", "from the start of a daemon to its first answer", "s")
    title = f"start over {scale.ended_runs:,} ended and {scale.live_runs} live runs, kill -9 before: to the first answer"
    try:
        with ours.Daemon(bench, "full", max_running_runs=scale.live_runs) as full, ours.Daemon(bench, "empty") as empty:
            fill(bench, full, scale.ended_runs, scale.live_runs)
            for number in range(scale.middle_rounds):
                bench.progress("recovery", number + 1, scale.middle_rounds)
                figure.series.setdefault(FULL, []).append(restart(full, scale.live_runs))
                figure.series.setdefault(EMPTY, []).append(restart(empty, 0))
    except BenchError as error:
        figure.failed = True
        figure.absent[FULL] = figure.absent[EMPTY] = str(error)
    figure.lines = [Line(title, FULL, EMPTY, Aim("≤ 2 s", at_most=2))]
    return figure
