# SPDX-License-Identifier: MIT
"""What the daemon and a service manager tell each other, with a manager that is the test: no systemd, no root."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import harness
import pytest
from script_runs import gate_script

pytestmark = pytest.mark.timeout(60)

# Becomes amlagentd with descriptor 3 as the service manager would have left it.
HAND_OVER = (
    "import os, sys\n"
    "os.dup2(int(sys.argv[1]), 3, inheritable=True)\n"
    "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='api')\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)


class Manager:
    """A daemon, and the socket at which it says how it goes."""

    def __init__(self, config=None, **environment):
        self.daemon = harness.Daemon(config=config)
        self.news = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.news.bind(str(self.daemon.root / "notify"))
        self.news.settimeout(20)
        self.daemon.env.update(NOTIFY_SOCKET=str(self.daemon.root / "notify"), **environment)
        self.said = []

    def hears(self, wanted):
        """All that is said up to the first line that begins so; that line."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for line in self.said:
                if line.startswith(wanted):
                    self.said.remove(line)
                    return line
            self.said += self.news.recv(4096).decode().split("\n")
        raise AssertionError(f"{wanted!r} is not said")

    def close(self):
        self.daemon.close()
        self.news.close()


@pytest.fixture
def manage():
    made = []

    def make(*arguments, **options):
        made.append(Manager(*arguments, **options))
        return made[-1]

    yield make
    for manager in made:
        manager.close()


def check_config(text, *options, folder):
    path = folder / "amlagentd.conf"
    path.write_text(text)
    return subprocess.run(
        [harness.AMLAGENTD, "--config", path, "--check-config", *options], capture_output=True, text=True, timeout=20
    )


# -- told ---------------------------------------------------------------------------------------------------------


def test_it_says_when_it_is_ready_how_it_goes_and_that_it_ends(manage):
    manager = manage()
    manager.daemon.start()
    manager.hears("READY=1")
    assert manager.hears("STATUS=") == "STATUS=0 runs running, 0 queued"
    run, gate = gate_script(manager.daemon, "WAIT")
    manager.hears("STATUS=1 run running, 0 queued")
    gate.open()
    manager.daemon.ended(run)
    manager.hears("STATUS=0 runs running, 0 queued")
    manager.daemon.terminate()
    manager.hears("STOPPING=1")


def test_it_says_that_it_is_alive_while_its_loop_goes_round(manage):
    manager = manage(WATCHDOG_USEC="300000")
    manager.daemon.start()
    for _ in range(5):
        manager.hears("WATCHDOG=1")
    pid = manager.daemon.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        manager.news.settimeout(1)
        with pytest.raises(TimeoutError):
            while True:  # what was said before
                manager.news.recv(4096)
    finally:
        os.kill(pid, signal.SIGCONT)
    manager.news.settimeout(20)
    manager.hears("WATCHDOG=1")


def test_an_idle_daemon_without_a_watchdog_says_nothing(manage):
    manager = manage()
    manager.daemon.start()
    manager.hears("READY=1")
    manager.hears("STATUS=")
    manager.news.settimeout(2.5)
    with pytest.raises(TimeoutError):
        manager.news.recv(4096)


def test_runs_do_not_see_what_was_for_the_daemon(manage):
    manager = manage(WATCHDOG_USEC="60000000", WATCHDOG_PID="1")
    daemon = manager.daemon.start()
    run = daemon.submit("import os, subprocess; print(open(f'/proc/{os.getppid()}/environ').read(), dict(os.environ))")
    daemon.ended(run)
    log = daemon.api("GET", f"/v1/runs/{run}/logs/user_logs/std_log.txt").body.decode()
    assert "PATH" in log
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_"):
        assert name not in log


# -- a socket that is handed over ---------------------------------------------------------------------------------


def start_with(daemon, handed, log):
    command = [sys.executable, "-c", HAND_OVER, handed.fileno(), harness.AMLAGENTD, "--user"]
    command += ["--state-dir", daemon.state]
    return subprocess.Popen(
        list(map(str, command)), env=daemon.env, pass_fds=[handed.fileno()], stdin=subprocess.DEVNULL, stdout=log,
        stderr=log, cwd="/", start_new_session=True, preexec_fn=harness.end_with_parent,
    )


def test_a_socket_that_is_handed_over_is_served(manage):
    manager = manage()
    daemon = manager.daemon
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, open(daemon.log, "ab") as log:
        listener.bind(daemon.socket)
        listener.listen(16)
        early = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        early.connect(daemon.socket)  # before there is a daemon: it waits and is answered
        early.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        daemon.process = start_with(daemon, listener, log)
        manager.hears("READY=1")
        early.settimeout(20)
        assert early.recv(65536).startswith(b"HTTP/1.1 200")
        early.close()
        run = daemon.submit("print('handed over')")
        assert daemon.ended(run)["status"] == "Completed"
        assert daemon.terminate() == 0
        assert os.path.exists(daemon.socket)  # it is the manager's


class Submitter(threading.Thread):
    """One amlctl after another, until it is told to stop."""

    def __init__(self, daemon, source):
        super().__init__()
        self.daemon, self.source = daemon, source
        self.accepted, self.refused = [], []
        self.enough = threading.Event()
        self.start()

    def run(self):
        while not self.enough.is_set():
            try:
                done = self.daemon.amlctl("run", "-d", "--hold", "main.py", cwd=self.source)
            except subprocess.TimeoutExpired as late:
                self.refused.append(str(late))
                return
            if done.returncode == 0:
                self.accepted.append(done.stdout.decode().strip())
            else:
                self.refused.append(harness.without_silence(done.stderr).decode())


def submit_through(manager, source, end, times):
    """What the submitters were told while the daemon was ended again and again, its socket being held for it."""
    daemon = manager.daemon
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, open(daemon.log, "ab") as log:
        listener.bind(daemon.socket)
        listener.listen(64)
        submitters = [Submitter(daemon, source) for _ in range(3)]
        try:
            for _ in range(times):
                daemon.process = start_with(daemon, listener, log)
                manager.hears("READY=1")
                before = [len(submitter.accepted) for submitter in submitters]
                harness.wait_for(lambda: any(len(s.accepted) > n + 1 for s, n in zip(submitters, before)), "it serves")
                end(daemon)
            daemon.process = start_with(daemon, listener, log)
            manager.hears("READY=1")
        finally:
            for submitter in submitters:
                submitter.enough.set()
            for submitter in submitters:
                submitter.join()
        known = {run["run_id"] for run in daemon.api("GET", "/v1/runs?limit=1000").json}
        accepted = [run for submitter in submitters for run in submitter.accepted]
        assert len(set(accepted)) == len(accepted) and set(accepted) <= known
        daemon.ok("cancel", *known)
        return len(known) - len(accepted), [words for submitter in submitters for words in submitter.refused]


def test_a_daemon_that_ends_in_order_answers_every_submit(manage, tmp_path):
    (tmp_path / "main.py").write_text("print('never')\n")
    unanswered, refused = submit_through(manage(), tmp_path, harness.Daemon.terminate, 12)
    assert not refused and not unanswered


def test_of_one_that_is_killed_only_what_it_was_working_on_is_in_doubt(manage, tmp_path):
    (tmp_path / "main.py").write_text("print('never')\n")
    unanswered, refused = submit_through(manage(), tmp_path, harness.Daemon.kill, 12)
    assert unanswered <= len(refused)
    for words in refused:
        assert words.startswith("amlctl: whether the run was accepted is not known: look with `amlctl list`\n"), words


def test_what_is_no_listening_unix_socket_is_refused(manage):
    daemon = manage().daemon
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener, open(daemon.log, "ab") as log:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        process = start_with(daemon, listener, log)
        assert process.wait(20) == 1
    assert "hands over descriptor 3 (api)" in daemon.log.read_text() and "no Unix socket" in daemon.log.read_text()


# -- the configuration --------------------------------------------------------------------------------------------


def test_a_signal_puts_a_changed_file_in_force(manage):
    manager = manage({"max_running_runs": 1})
    daemon = manager.daemon.start()
    manager.hears("READY=1")
    daemon.config.write_text("max_running_runs = 5\ncgroup_parent = none\nlog_level = debug\n")
    daemon.process.send_signal(signal.SIGHUP)
    manager.hears("RELOADING=1")
    assert re.fullmatch(r"MONOTONIC_USEC=\d+", manager.hears("MONOTONIC_USEC="))
    manager.hears("READY=1")
    words = daemon.last_words()
    assert (
        "configuration read again: changed max_running_runs, log_level; these have changed and need a restart"
        " (no run notices it): cgroup_parent\n"
    ) in words
    assert daemon.api("GET", "/v1/status").json["max_running_runs"] == 5


def test_what_needs_a_restart_is_told_in_one_true_line(manage):
    manager = manage({"max_running_runs": 1})
    daemon = manager.daemon.start()
    manager.hears("READY=1")
    daemon.config.write_text("max_running_runs = 1\ngpus = none\n")
    daemon.process.send_signal(signal.SIGHUP)
    manager.hears("READY=1")
    said = [line for line in daemon.last_words().splitlines() if "configuration" in line or "restart" in line]
    assert len(said) == 1, said
    assert said[0].endswith(
        "configuration read again: these have changed and need a restart (no run notices it): gpus")


def test_a_file_that_is_not_right_changes_nothing(manage):
    manager = manage({"max_running_runs": 1})
    daemon = manager.daemon.start()
    manager.hears("READY=1")
    manager.hears("STATUS=")
    for text, reason in [
        ("# a comment\nmax_running_runs = many\n", 'amlagentd.conf:2: max_running_runs: must be a number from 1'),
        ("colour = red\n", 'amlagentd.conf:1: unknown key "colour"'),
        ("\nusers_group = no-such-group-1\n",
         'amlagentd.conf:2: users_group: there is no group "no-such-group-1"'),
        ("gpus = /no-such-gpu\n", "amlagentd.conf:1: gpus: cannot use /no-such-gpu"),
    ]:
        daemon.config.write_text(text)
        daemon.process.send_signal(signal.SIGHUP)
        assert reason in manager.hears("STATUS=0 runs running, 0 queued; configuration refused")
        manager.hears("READY=1")
        assert reason in daemon.last_words()
    daemon.config.unlink()
    os.mkfifo(daemon.config)
    daemon.process.send_signal(signal.SIGHUP)
    assert "it is no regular file" in manager.hears("STATUS=0 runs running, 0 queued; configuration refused")
    daemon.config.unlink()
    daemon.process.send_signal(signal.SIGHUP)
    assert "cannot read the configuration" in manager.hears("STATUS=0 runs running, 0 queued; configuration refused")
    assert daemon.api("GET", "/v1/status").json["max_running_runs"] == 1
    daemon.config.write_text("max_running_runs = 1\n")
    daemon.process.send_signal(signal.SIGHUP)
    assert manager.hears("STATUS=") == "STATUS=0 runs running, 0 queued"
    assert "nothing has changed" in daemon.last_words()


def test_a_storm_of_signals_ends_with_the_newest_file(manage):
    manager = manage({"max_running_runs": 1})
    daemon = manager.daemon.start()
    for number in range(2, 60):
        daemon.config.write_text(f"max_running_runs = {number}\n")
        daemon.process.send_signal(signal.SIGHUP)
    # Nobody listens to what it says meanwhile.
    harness.wait_for(lambda: daemon.api("GET", "/v1/status").json["max_running_runs"] == 59, "the newest is in force")
    manager.hears("READY=1")


def test_check_config_names_the_line_or_shows_what_is_in_force(tmp_path):
    done = check_config("\n\nmax_running_runs = 0\n", folder=tmp_path)
    assert done.returncode == 1 and "amlagentd.conf:3: max_running_runs" in done.stderr and not done.stdout
    done = check_config("max_running_runs = 3\nsnapshot_max_bytes = 2G\n", folder=tmp_path)
    assert done.returncode == 0 and not done.stderr
    assert "\nmax_running_runs = 3\n" in done.stdout and "\nsnapshot_max_bytes = 2147483648\n" in done.stdout
    done = check_config("max_running_runs = 3\nlog_level = debug\n", "-o", "json", folder=tmp_path)
    answer = json.loads(done.stdout)
    assert answer["file"] == str(tmp_path / "amlagentd.conf")
    assert answer["settings"]["max_running_runs"] == 3 and answer["settings"]["log_level"] == "debug"
    keys = set(re.findall(r"^# (\w+) =", (harness.REPO / "conf" / "amlagentd.conf").read_text(), re.M))
    assert set(answer["settings"]) == keys


def test_check_config_refuses_with_the_line_and_the_reason_what_would_not_start(tmp_path):
    for text, reason in [
        ("\nadmin_group = no-such-group-1\n", '2: admin_group: there is no group "no-such-group-1" on this machine'),
        ("\ngpus = /no-such-gpu\n", "2: gpus: cannot use /no-such-gpu: No such file or directory"),
        ("cpus = 1\ncpus = 2\n", "2: cpus is already set in line 1"),
        ("cpus = 1 # for now\n", "1: cpus: no comment may follow a value: comments stand on lines of their own"),
    ]:
        done = check_config(text, folder=tmp_path)
        assert done.returncode == 1 and f"amlagentd.conf:{reason}" in done.stderr and not done.stdout, done


def test_a_configuration_is_a_regular_file_or_a_link_to_one(tmp_path):
    def check(name):
        command = [harness.AMLAGENTD, "--check-config", "--config", tmp_path / name]
        return subprocess.run(command, capture_output=True, text=True, timeout=20)

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("cpus = 1\n")
    (tmp_path / "link").symlink_to("file")
    for name in ("pipe", "."):
        done = check(name)
        assert done.returncode == 1 and "it is no regular file" in done.stderr, done
    assert "\ncpus = 1\n" in check("link").stdout
    assert check("/dev/null").returncode == 0


def test_what_is_shown_is_a_configuration(tmp_path):
    first = check_config("max_running_runs = 3\nstop_grace_seconds = 1m\n", folder=tmp_path).stdout
    body = first.split("\n\n", 1)[1]
    assert check_config(body, folder=tmp_path).stdout == first


@contextlib.contextmanager
def stopped(pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def test_it_ends_in_time_though_work_hangs_and_signals_come(manage, tmp_path):
    """An interpreter that does not answer keeps a work thread; the daemon ends, and the run is not lost."""
    manager = manage(MALLOC_PERTURB_="165")
    daemon = manager.daemon
    daemon.start()
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho $$ >\"$0.pid\"\nexec sleep 1000\n")
    python.chmod(0o755)
    environment = {"python": {"user_managed_dependencies": True, "interpreter_path": str(python)}}
    run = daemon.submit("print('later')", environment=environment)
    asked = int(harness.read_when_there(f"{python}.pid"))
    with stopped([asked]):
        began = time.monotonic()
        daemon.process.terminate()
        manager.hears("STOPPING=1")
        for another in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            daemon.process.send_signal(another)
        status = daemon.terminate()
        took = time.monotonic() - began
    assert status == 0 and took < 40, (status, took)
    python.unlink()
    python.symlink_to(harness.PYTHON)
    daemon.start()
    assert daemon.ended(run)["status"] == "Completed"
