# SPDX-License-Identifier: MIT
"""One function for each row of the table. Each returns a Figure.

Contestants take turns within a round, and every other round goes through them backwards, so that whatever
the machine is busy with meets all of them. What a contestant needs made or cleared first is not timed.
"""

import contextlib
import json
import os
import statistics
import time

from . import ours, peers, proc
from .data import PYTHON
from .proc import BenchError, Missing
from .recovery import recovery
from .stats import Aim, Figure, Line, Spread, ratio_of_medians

CLIENTS = 8


class Scale:
    """How much is measured."""

    def __init__(self, quick):
        self.tree_files, self.tree_megabytes = (2000, 23) if quick else (20000, 230)
        self.big_megabytes = 100 if quick else 1000
        self.short_rounds = 10 if quick else 40  # milliseconds each
        self.middle_rounds = 5 if quick else 21  # tens of milliseconds each
        self.submit_rounds = 3 if quick else 7
        self.tree_rounds = 3 if quick else 5  # seconds each
        self.big_rounds = 2 if quick else 5  # seconds each, gigabytes each
        self.api_submits, self.process_submits = (200, 100) if quick else (1000, 400)
        self.supervisors = 3 if quick else 8
        self.idle_seconds = 3 if quick else 10
        self.ended_runs, self.live_runs = (1000, 20) if quick else (10000, 200)

    def tree(self):
        return f"{self.tree_files:,} files / {self.tree_megabytes} MB"

    def big(self):
        return f"{self.big_megabytes} MB" if self.big_megabytes < 1000 else f"{self.big_megabytes // 1000} GB"


# ---- taking turns ---------------------------------------------------------------------------------------------


class Contest:
    """The contestants of one figure. Who cannot be measured drops out with the reason; the others go on."""

    def __init__(self, bench, figure):
        self.bench, self.figure = bench, figure
        self.runners = {}
        self.own = set()
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        return self.stack.__exit__(*failure)

    def add(self, names, make, own=False):
        """make() returns a function of the round's number that gives one sample, or one for each of names.
        Servers that it starts are entered into self.stack."""
        names = (names,) if isinstance(names, str) else names
        if own and self.bench.options.peers_only:
            return self._drop(names, Missing("not asked for (--peers-only)"))
        try:
            runner = make()
        except BenchError as error:
            return self._drop(names, error, own)
        if own:
            self.own.update(names)
        self.runners[names] = runner

    def _drop(self, names, error, own=False):
        for name in names:
            self.figure.absent[name] = str(error)
            self.figure.series.pop(name, None)
        if not isinstance(error, Missing):
            self.bench.say(f"{self.figure.key}: {names[0]}: {error}")
            self.figure.failed = self.figure.failed or own

    def run(self, rounds, warm_up=1, before_each=None):
        for number in range(-warm_up, rounds):
            self.bench.progress(self.figure.key, number + 1, rounds)
            order = list(self.runners.items())
            for names, runner in order if number % 2 == 0 else reversed(order):
                if before_each:
                    before_each()
                try:
                    samples = runner(number)
                except BenchError as error:
                    self._drop(names, error, own=names[0] in self.own)
                    del self.runners[names]
                    continue
                if number >= 0:
                    for name, sample in zip(names, samples if isinstance(samples, tuple) else (samples,)):
                        self.figure.series.setdefault(name, []).append(sample)


# ---- 1. what a run costs over the bare interpreter --------------------------------------------------------------


def startup(bench):
    figure = Figure("startup", "wall time of an empty script over the bare interpreter", "s")
    empty = os.path.join(bench.scripts["empty.py"], "empty.py")
    time_it = bench.commands.time

    def make_ours():
        daemon = contest.stack.enter_context(ours.Daemon(bench))
        argv = daemon.run_command(bench.scripts["empty.py"], "empty.py", detach=False)
        return lambda _: time_it(argv)

    def make_tsp():
        spooler = contest.stack.enter_context(peers.TaskSpooler(bench))
        return lambda _: time_it(spooler.foreground(PYTHON, empty), env=spooler.env)

    def make_slurm():
        slurm = contest.stack.enter_context(peers.Slurm(bench))
        return lambda _: time_it([slurm.srun, PYTHON, empty], env=slurm.env)

    with Contest(bench, figure) as contest:
        contest.add("bare interpreter", lambda: lambda _: time_it([PYTHON, empty]))
        contest.add("amlctl run", make_ours, own=True)
        contest.add("tsp -f", make_tsp)
        contest.add("srun", make_slurm)
        contest.run(bench.scale.short_rounds, warm_up=3)
    for name in ("amlctl run", "tsp -f", "srun"):
        figure.minus(name, "bare interpreter", f"{name}, over")
    aim = Aim("≤ 5 ms over", at_most=0.005)
    title = "wall time of `amlctl run` on an empty script, over the bare interpreter"
    figure.lines = [
        Line(title, "amlctl run, over", "tsp -f, over", aim, ratio_of_medians),
        Line(title, "amlctl run, over", "srun, over", None, ratio_of_medians),
    ]
    return figure


# ---- 2. how fast runs are accepted ------------------------------------------------------------------------------


def submit(bench):
    figure = Figure("submit", f"submits per second, {CLIENTS} clients, detached, small tree", "/s")
    scale = bench.scale
    count = scale.process_submits
    lines = os.path.join(bench.folder, "lines")
    with open(lines, "w") as file:
        file.write("x\n" * count)

    def rate_of(argv, **how):
        """So many processes, eight at a time, started by xargs, which costs the same for all."""
        many = [peers.find("xargs"), "-P", str(CLIENTS), "-I", "{}", *argv]
        return count / bench.commands.time(many, stdin=lines, **how)

    def make_daemon():
        daemon = contest.stack.enter_context(ours.Daemon(bench, f"daemon-{len(contest.runners)}", max_running_runs=1))
        daemon.hold()
        return daemon

    def make_api():
        daemon = make_daemon()
        body = {
            "experiment_name": "bench",
            "source_directory": bench.small,
            "script": "train.py",
            "arguments": [],
            "environment": {"python": {"user_managed_dependencies": True, "interpreter_path": PYTHON}},
            "submit_environment": {name: bench.commands.environment[name] for name in ("PATH", "HOME", "LANG")},
        }
        text = json.dumps(body).encode()
        return lambda _: ours.submit_rate(daemon.socket, text, CLIENTS, scale.api_submits)

    def make_processes():
        daemon = make_daemon()
        argv = daemon.run_command(bench.small, "train.py")
        return lambda _: rate_of(argv)

    def make_tsp():
        spooler = contest.stack.enter_context(peers.TaskSpooler(bench))
        spooler.hold()

        def once(_):
            rate = rate_of([spooler.program, "true"], env=spooler.env)
            spooler.forget_waiting()
            return rate

        return once

    def make_slurm():
        slurm = contest.stack.enter_context(peers.Slurm(bench))
        job = slurm.job_script()

        def once(_):
            rate = rate_of([slurm.sbatch, "--hold", "--output=/dev/null", job], env=slurm.env)
            bench.commands.time([slurm.scancel, "--user=root"], env=slurm.env)
            return rate

        return once

    with Contest(bench, figure) as contest:
        contest.add("POST /v1/runs", make_api, own=True)
        contest.add("amlctl run -d", make_processes, own=True)
        contest.add("tsp", make_tsp)
        contest.add("sbatch", make_slurm)
        contest.run(scale.submit_rounds)
    aim = Aim("≥ 1,000 /s", at_least=1000)
    title = f"submits per second, {CLIENTS} clients, detached, small tree: "
    figure.lines = [
        Line(title + "over kept connections", "POST /v1/runs", None, aim),
        Line(title + "a process each", "amlctl run -d", "sbatch", aim),
        Line(title + "a process each", "amlctl run -d", "tsp"),
    ]
    return figure


# ---- 3, 4, 5. a large tree --------------------------------------------------------------------------------------


class Repository:
    """A copy of the tree with a git repository in it."""

    def __init__(self, bench):
        self.git = peers.find("git")
        self.bench = bench
        self.folder = bench.tree_copy()

    def do(self, *words, **how):
        return self.bench.commands.time([self.git, "-C", self.folder, *words], **how)

    def begin(self):
        self.bench.discard(os.path.join(self.folder, ".git"))
        self.do("init", "-q")
        self.do("config", "core.compression", "0")
        self.do("config", "gc.auto", "0")

    def commit(self):
        self.begin()
        self.do("add", "-A")
        self.do("-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-q", "-m", "tree")
        self.do("update-index", "-q", "--refresh")


def timed_snapshot(daemon, folder):
    """Seconds of an amlctl run -d, and of waiting for the snapshot should it be made after the answer."""
    began = time.perf_counter()
    run_id, _ = daemon.submit(daemon.run_command(folder, "empty.py"))
    seconds = time.perf_counter() - began
    if not daemon.record(run_id).get("snapshot_id"):
        daemon.wait_for(run_id, lambda record: record.get("snapshot_id"), 120, pause=0.001)
        seconds = time.perf_counter() - began
    return seconds


def make_copier(bench, source):
    """A contestant: cp -a of a tree to a new place."""
    cp, target = peers.find("cp"), os.path.join(bench.folder, "copied")

    def once(_):
        bench.discard(target)
        return bench.commands.time([cp, "-a", source, target])

    return once


def snapshot(bench):
    figure = Figure("snapshot", f"snapshot of {bench.scale.tree()}, first time", "s")
    tree = bench.tree()

    def our_turn(_):
        with ours.Daemon(bench, max_running_runs=1) as daemon:
            daemon.hold()
            bench.settle_tree()
            return timed_snapshot(daemon, tree)

    def make_restic():
        program = peers.find("restic")
        folder = os.path.join(bench.folder, "restic")
        env = {"RESTIC_PASSWORD": "bench", "RESTIC_CACHE_DIR": folder + ".cache", "RESTIC_REPOSITORY": folder}

        def once(_):
            bench.discard(folder)
            bench.discard(folder + ".cache")
            bench.commands.time([program, "init", "-q"], env=env)
            bench.settle_tree()
            return bench.commands.time([program, "backup", "-q", tree], env=env)

        return once

    def make_git():
        repository = Repository(bench)

        def once(_):
            repository.begin()
            bench.settle_tree()
            return repository.do("add", "-A")

        return once

    with Contest(bench, figure) as contest:
        contest.add("amlctl run -d", lambda: our_turn, own=True)
        contest.add("restic backup", make_restic)
        contest.add("git add -A", make_git)
        contest.add("cp -a", lambda: make_copier(bench, tree))
        contest.run(bench.scale.tree_rounds, before_each=bench.settle_tree)
    figure.lines = [
        Line(figure.title, "amlctl run -d", "restic backup", Aim("≤ 0.5 × restic", ratio_at_most=0.5)),
        Line(figure.title, "amlctl run -d", "git add -A"),
        Line(figure.title, "amlctl run -d", "cp -a"),
    ]
    return figure


def unchanged(bench):
    figure = Figure("unchanged", f"snapshot of {bench.scale.tree()}, unchanged", "s")
    tree = bench.tree()

    def make_ours():
        daemon = contest.stack.enter_context(ours.Daemon(bench, max_running_runs=1))
        daemon.hold()
        timed_snapshot(daemon, tree)
        return lambda _: timed_snapshot(daemon, tree)

    def make_git():
        repository = Repository(bench)
        repository.commit()
        return lambda _: repository.do("status", "--porcelain")

    with Contest(bench, figure) as contest:
        contest.add("amlctl run -d", make_ours, own=True)
        contest.add("git status", make_git)
        bench.settle_tree()
        contest.run(bench.scale.middle_rounds, warm_up=2)
    aim = Aim("≤ 1.0 × git status", ratio_at_most=1.0)
    figure.lines = [Line(figure.title, "amlctl run -d", "git status", aim)]
    return figure


def layout(bench):
    figure = Figure("layout", f"laying {bench.scale.tree()} out for a run", "s")
    tree = bench.tree()
    target = os.path.join(bench.folder, "laid-out")

    def make_ours():
        daemon = contest.stack.enter_context(ours.Daemon(bench))
        # It fails, and so its working directory stays: ext4 is slow for minutes where a tree has been removed.
        argv = daemon.amlctl("run", "-d", "-C", tree, "--command", "exit 3")

        def once(_):
            run_id, _ = daemon.submit(argv)
            record = daemon.wait_until_ended(run_id)
            if record["exit_code"] != 3:
                raise BenchError(f"{run_id} is {record['status']}, not failed with 3: {record.get('error')}")
            return ours.seconds_of(record["start_time_utc"]) - ours.seconds_of(record["queued_utc"])

        return once

    def make_git():
        repository = Repository(bench)
        repository.commit()

        def once(_):
            bench.discard(target)
            return repository.do("checkout-index", "-a", f"--prefix={target}/")

        return once

    with Contest(bench, figure) as contest:
        contest.add("Queued to Running", make_ours, own=True)
        contest.add("cp -a", lambda: make_copier(bench, tree))
        contest.add("git checkout-index -a", make_git)
        contest.run(bench.scale.tree_rounds, before_each=bench.settle_tree)
    figure.lines = [
        Line(figure.title, "Queued to Running", "cp -a", Aim("≤ 1.0 × cp", ratio_at_most=1.0)),
        Line(figure.title, "Queued to Running", "git checkout-index -a"),
    ]
    return figure


# ---- 6, 7. a gigabyte -------------------------------------------------------------------------------------------


def read_stamps(path):
    """The times that a script wrote down."""
    with open(path) as file:
        text = file.read()
    os.unlink(path)
    return [float(word) for word in text.split()]


def printing(bench):
    size = bench.scale.big_megabytes
    figure = Figure("print", f"a script that prints {bench.scale.big()}", "s")
    stamp = os.path.join(bench.folder, "stamp")
    folder = bench.scripts["print.py"]

    def make_ours():
        daemon = contest.stack.enter_context(ours.Daemon(bench))

        def once(number):
            argv = daemon.run_command(folder, "print.py", str(size), f"round {number}", stamp)
            began = time.perf_counter()
            run_id, _ = daemon.submit(argv)
            bench.commands.time(daemon.amlctl("wait", run_id))
            wall = time.perf_counter() - began
            record = daemon.wait_until_completed(run_id)
            began, ended = read_stamps(stamp)
            return ended - began, ended - ours.seconds_of(record["start_time_utc"]), wall

        return once

    def make_shell():
        shell = peers.find("sh")
        target = os.path.join(bench.folder, "printed")
        words = [PYTHON, os.path.join(folder, "print.py"), str(size), "round", stamp]

        def once(_):
            started = time.time()
            wall = bench.commands.time([shell, "-c", 'exec "$@" > "$0"', target, *words])
            os.unlink(target)
            began, ended = read_stamps(stamp)
            return ended - began, ended - started, wall

        return once

    with Contest(bench, figure) as contest:
        contest.add(("amlctl run -d", "from start_time_utc", "amlctl run -d, wait"), make_ours, own=True)
        contest.add(("sh >", "from the start of sh", "sh >, to its end"), make_shell)
        contest.run(bench.scale.big_rounds, before_each=bench.settle_big)
    aim = Aim("≤ 1.05 ×", ratio_at_most=1.05)
    figure.lines = [
        Line(figure.title + ": from its first line to its last byte", "amlctl run -d", "sh >", aim),
        Line(figure.title + ": from its start to its last byte", "from start_time_utc", "from the start of sh"),
        Line(figure.title + ": with submit, and the log stored", "amlctl run -d, wait", "sh >, to its end"),
    ]
    return figure


def store(bench):
    size = bench.scale.big_megabytes
    figure = Figure("store", f"storing {bench.scale.big()} of outputs", "s")
    stamp = os.path.join(bench.folder, "stamp")
    folder = bench.scripts["store.py"]

    def make_ours(*flags):
        daemon = contest.stack.enter_context(ours.Daemon(bench, f"daemon-{len(contest.runners)}"))

        def once(number):
            words = (str(size), f"round {number} {flags}", stamp, *flags)
            run_id, _ = daemon.submit(daemon.run_command(folder, "store.py", *words))
            daemon.wait_until_completed(run_id, pause=0.005)
            return time.time() - read_stamps(stamp)[0]

        return once

    def make_openssl():
        program = peers.find("openssl")
        place = os.path.join(bench.folder, "stored")
        big = os.path.join(place, "outputs", "big.bin")
        writer = [PYTHON, os.path.join(folder, "store.py"), str(size), "peer", stamp]
        os.mkdir(place)

        def once(_):
            shell = [peers.find("sh"), "-c", 'cd "$0" && exec "$@"', place]
            bench.commands.time([*shell, *writer])
            os.unlink(stamp)
            seconds = bench.commands.time([program, "dgst", "-sha256", big])
            os.unlink(big)
            return seconds

        return once

    with Contest(bench, figure) as contest:
        contest.add("script's end to Completed", make_ours, own=True)
        contest.add("the same, synced by the script", lambda: make_ours("sync"), own=True)
        contest.add("openssl dgst -sha256", make_openssl)
        contest.run(bench.scale.big_rounds, before_each=bench.settle_big)
    aim = Aim("≤ 1.3 × openssl", ratio_at_most=1.3)
    synced = figure.title + ", when the script has synced them to the disk itself"
    figure.lines = [
        Line(figure.title, "script's end to Completed", "openssl dgst -sha256", aim),
        Line(synced, "the same, synced by the script", "openssl dgst -sha256"),
    ]
    return figure


# ---- 8. what it costs to be there ---------------------------------------------------------------------------------


def memory(bench):
    scale = bench.scale
    figure = Figure("memory", "resident memory and wake-ups", "B")
    idle, each = "daemon idle", "each running supervisor"
    empty = os.path.join(bench.scripts["empty.py"], "empty.py")
    used = 20  # runs before the memory is looked at

    def watch(prefix, groups):
        """Rss, Pss and wake-ups in so many idle seconds, of all processes together and one by one."""
        before = {pid: proc.switches_of(pid) for pids in groups.values() for pid in pids}
        time.sleep(scale.idle_seconds)
        for name, pids in groups.items():
            if not pids:
                raise BenchError(f"found no process for: {name}")
            sizes = [proc.memory_of(pid) for pid in pids]
            woken = [(proc.switches_of(pid) - before[pid]) / scale.idle_seconds for pid in pids]
            record(prefix + name, [rss for rss, _ in sizes], [pss for _, pss in sizes], woken)

    def record(name, rss, pss, woken):
        figure.series[f"{name}, Rss"] = rss
        figure.series[f"{name}, Pss"] = pss
        figure.series[f"{name}, wake-ups"] = woken
        figure.units[f"{name}, wake-ups"] = "/s"

    def watch_ours():
        with ours.Daemon(bench, max_running_runs=scale.supervisors) as daemon:
            command = daemon.run_command(bench.scripts["empty.py"], "empty.py", detach=False)
            for _ in range(used):
                bench.commands.time(command)
            time.sleep(2)
            watch("", {idle: [daemon.pid]})
            for _ in range(scale.supervisors):
                daemon.hold()
            time.sleep(1)
            running = daemon.supervisors()
            if len(running) != scale.supervisors:
                figure.notes.append(f"{scale.supervisors} runs, but {len(running)} supervisors were found")
            watch("", {"daemon, runs going on": [daemon.pid], each: running})

    def watch_tsp():
        with peers.TaskSpooler(bench) as spooler:
            for _ in range(used):
                bench.commands.time(spooler.foreground(PYTHON, empty), env=spooler.env)
            time.sleep(2)
            watch("", {"tsp's server idle": spooler.server()[:1]})

    for names, look, own in (((idle, each), watch_ours, True), (("tsp's server idle",), watch_tsp, False)):
        bench.progress("memory", 1 if own else 2, 2)
        try:
            if own and bench.options.peers_only:
                raise Missing("not asked for (--peers-only)")
            look()
        except BenchError as error:
            figure.failed = figure.failed or own and not isinstance(error, Missing)
            for name in names:
                figure.absent[f"{name}, Rss"] = str(error)

    peer = "tsp's server idle"
    figure.lines = [
        Line("resident memory of the idle daemon", f"{idle}, Rss", f"{peer}, Rss",
             Aim("≤ 10 MB", at_most=10e6), ratio_of_one),
        Line("the same, shared pages shared out (Pss)", f"{idle}, Pss", f"{peer}, Pss", None, ratio_of_one),
        Line(f"resident memory of each of {scale.supervisors} running supervisors", f"{each}, Rss", f"{peer}, Rss",
             Aim("≤ 1.5 MB", at_most=1.5e6), ratio_of_one),
        Line("the same, shared pages shared out (Pss)", f"{each}, Pss", f"{peer}, Pss", None, ratio_of_one),
        Line(f"wake-ups of the idle daemon, per second, over {scale.idle_seconds} s", f"{idle}, wake-ups", f"{peer}, wake-ups",
             Aim("none", at_most=0), ratio_of_one),
        Line(f"wake-ups of the daemon with {scale.supervisors} runs going on", "daemon, runs going on, wake-ups"),
        Line("wake-ups of a supervisor", f"{each}, wake-ups"),
    ]  # fmt: skip
    return figure


def ratio_of_one(mine, theirs):
    """Each of ours against the one server of the peer's."""
    below = statistics.median(theirs)
    return Spread([value / below for value in mine]) if below > 0 else None


ROWS = {
    "startup": startup,
    "submit": submit,
    "snapshot": snapshot,
    "unchanged": unchanged,
    "layout": layout,
    "print": printing,
    "store": store,
    "memory": memory,
    "recovery": recovery,
}
