#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A load on the system service: many clients of several users submit; none may be lost, and somebody reads meanwhile.

    sudo python3 tests/users/load.py [--runs 10000] [--clients 64] [--users 4]

Prints how fast submits were taken, and the times of a GET alone and beside the load. Ends with 1 when an acknowledged
run did not end as its script did, ran twice or not at all. It makes users and removes them again.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)), str(Path(__file__).resolve().parents[1] / "blackbox")]

from harness import ENDED, PYTHON, quote, wait_for  # noqa: E402
from lab import Lab  # noqa: E402
from users_harness import Service  # noqa: E402

CLIENT = """
import http.client, json, socket, sys, threading, time
class Line(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=120)
        self.path = path
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect(self.path)
def ask(line, method, path, body=None):
    began = time.monotonic()
    line.request(method, path, body)
    answer = line.getresponse()
    data = answer.read()
    return answer.status, data, time.monotonic() - began
"""

# As a user: so many clients, each on one connection, submit until all their runs are taken.
SUBMIT = CLIENT + """
path, clients, runs, every, bodies = json.loads(sys.stdin.readline())
taken, refused, seconds = [], [], []
def submit(share):
    line = Line(path)
    for number in share:
        bad = number % every == every - 1
        status, data, took = ask(line, "POST", "/v1/runs", bodies[bad])
        seconds.append(took)
        if status == 201:
            taken.append([json.loads(data)["run_id"], 3 if bad else 0])
        else:
            refused.append([status, data.decode(errors="replace")[:300]])
    line.close()
threads = [threading.Thread(target=submit, args=(range(i, runs, clients),)) for i in range(clients)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps({"taken": taken, "refused": refused, "seconds": seconds}))
"""

# As a user: GETs one after the other, so many at least, until told to end.
READ = CLIENT + """
import select
path, what, least = json.loads(sys.stdin.readline())
line, seconds, wrong = Line(path), [], []
while len(seconds) < least or not select.select([sys.stdin], [], [], 0.002)[0]:
    status, data, took = ask(line, "GET", what)
    seconds.append(took)
    if status != 200:
        wrong.append([status, data.decode(errors="replace")[:300]])
print(json.dumps({"seconds": seconds, "wrong": wrong}))
"""


def at_best(measure, is_fine):
    """The first measure that is fine, of three at most: what holds others up does so each time, a busy machine not."""
    for _ in range(3):
        measured = measure()
        if is_fine(measured):
            break
    return measured


def percentile(seconds, share):
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@dataclasses.dataclass
class Times:
    """Of many requests, in seconds."""

    seconds: list

    def __str__(self):
        return f"p50 {self.p50 * 1e3:.2f} ms, p99 {self.p99 * 1e3:.2f} ms ({len(self.seconds)} requests)"

    @property
    def p50(self):
        return percentile(self.seconds, 0.5)

    @property
    def p99(self):
        return percentile(self.seconds, 0.99)


class Reader:
    """A process of a user's that reads one thing again and again; .times once it has ended."""

    def __init__(self, desk, what, least):
        self.process = desk.who.popen([PYTHON, "-c", READ], stdin=subprocess.PIPE)
        self.process.stdin.write(json.dumps([desk.socket, what, least]).encode() + b"\n")
        self.process.stdin.flush()

    def end(self, timeout=120):
        try:
            out, err = self.process.communicate(b"end\n", timeout=timeout)
        except BaseException:
            self.process.kill()
            self.process.communicate()
            raise
        assert self.process.returncode == 0, err.decode()
        told = json.loads(out)
        assert not told["wrong"], told["wrong"][:3]
        return Times(told["seconds"])


@dataclasses.dataclass
class Report:
    """What came of a load."""

    alone: Times
    beside: Times
    submits: Times
    taken: int
    submit_seconds: float
    total_seconds: float
    trouble: list

    def __str__(self):
        lines = [
            (
                f"submits: {self.taken} taken in {self.submit_seconds:.1f} s ({self.taken / self.submit_seconds:.0f} a"
                f" second); {self.submits}"
            ),
            f"runs:    all over after {self.total_seconds:.1f} s ({self.taken / self.total_seconds:.0f} a second)",
            f"GET alone:  {self.alone}",
            f"GET beside: {self.beside}",
            (
                f"beside / alone: p50 x {self.beside.p50 / self.alone.p50:.1f}, p99 x"
                f" {self.beside.p99 / self.alone.p99:.1f}"
            ),
        ]
        return "\n".join(lines + [f"WRONG: {text}" for text in self.trouble])


def submitters(desks, runs, clients, every):
    """Start the clients of each user: [(desk, process)]."""
    started = []
    for number, desk in enumerate(desks):
        share = runs // len(desks) + (number < runs % len(desks))
        note = "echo $AZUREML_RUN_ID >>" + str(desk.home / "ran")
        source = str(desk.source({"nothing": ""}, "load"))
        bodies = [json.dumps(desk.request(source_directory=source, command=f"{note}; exit {code}")) for code in (0, 3)]
        process = desk.who.popen([PYTHON, "-c", SUBMIT], stdin=subprocess.PIPE)
        process.stdin.write(json.dumps([desk.socket, clients // len(desks), share, every, bodies]).encode() + b"\n")
        process.stdin.flush()
        started.append((desk, process))
    return started


def all_records(service):
    """{id: record} of every run there is, page by page."""
    records, before = {}, ""
    while page := service.runs(f"limit=1000{before}"):
        records.update((record["run_id"], record) for record in page)
        before = f"&before={quote(page[-1]['run_id'])}"
    return records


def check(taken, records, homes):
    """What is wrong with the runs that were acknowledged: (id, exit code)."""
    trouble = []
    ran = [run for home in homes for run in (home / "ran").read_text().split()]
    times = dict.fromkeys((run for run, _ in taken), 0)
    for run in ran:
        if run not in times:
            trouble.append(f"{run} ran and was not acknowledged")
        else:
            times[run] += 1
    for run, code in taken:
        record = records.get(run)
        if record is None:
            trouble.append(f"{run} was acknowledged and is gone")
        elif (record["status"], record["exit_code"]) != ("Failed" if code else "Completed", code):
            trouble.append(
                f"{run} should have exited with {code}: {record['status']}, {record['exit_code']}, {record['error']}"
            )
        elif times[run] != 1:
            trouble.append(f"{run} ran {times[run]} times")
    if len(set(run for run, _ in taken)) != len(taken):
        trouble.append("two runs have one id")
    return trouble


def is_idle(service):
    status = service.status()
    return status["running"] == status["queued"] == 0 and not [
        name for name, count in status["runs"].items() if count and name not in ENDED
    ]


def load(service, desks, reader, runs, clients, every=10, timeout=3600):
    """Put the load on, and look at everything afterwards: a Report."""
    seen = reader.finish()["run_id"]
    before = set(all_records(service))
    alone = Reader(reader, f"/v1/runs/{seen}", min(2000, max(200, runs))).end()
    began = time.monotonic()
    started = submitters(desks, runs, clients, every)
    beside = Reader(reader, f"/v1/runs/{seen}", 200)
    taken, refused, seconds, trouble = [], [], [], []
    try:
        for _, process in started:
            out, err = process.communicate(timeout=timeout)
            if process.returncode != 0:
                trouble.append(f"a client ended with {process.returncode}: {err.decode()[-500:]}")
                continue
            told = json.loads(out)
            taken += told["taken"]
            refused += told["refused"]
            seconds += told["seconds"]
        submit_seconds = time.monotonic() - began
        wait_for(lambda: is_idle(service), "all runs have ended", timeout, 0.1)
        total_seconds = time.monotonic() - began
    finally:
        for _, process in started:
            if process.poll() is None:
                process.kill()
                process.communicate()
        times = beside.end()
    records = all_records(service)
    trouble += check(taken, records, [desk.home for desk in desks])
    trouble += [f"refused: {answer}" for answer in refused[:3]]
    if len(taken) != runs:
        trouble.append(f"{len(taken)} of {runs} were acknowledged")
    if extra := set(records) - before - {run for run, _ in taken}:
        trouble.append(f"{len(extra)} runs are there that nobody was told of")
    return Report(alone, times, Times(seconds), len(taken), submit_seconds, total_seconds, trouble)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10000)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--users", type=int, default=4)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("load.py: only root can make users of this machine")
    lab = Lab()
    try:
        users = [lab.user(f"load{number}") for number in range(options.users)]
        reader = lab.user("reader")
        service = Service(lab, config={"max_running_runs": 8, "cpus": 8})
        try:
            service.start()
            report = load(
                service, [service.desk(user) for user in users], service.desk(reader), options.runs, options.clients
            )
        finally:
            service.close()
    finally:
        lab.close()
    print(report)
    sys.exit(1 if report.trouble else 0)


if __name__ == "__main__":
    main()
