# SPDX-License-Identifier: MIT
"""Processes: start one, time it, see what is left of it."""

import os
import select
import shutil
import signal
import time

DEADLINE = 600  # seconds after which a measured command counts as hung


class BenchError(Exception):
    """A contestant could not be measured. The message says why."""


class Missing(BenchError):
    """A contestant is not there, which is nobody's fault."""


class Commands:
    """Starts commands with one clean environment, all of them in the same way."""

    def __init__(self, folder):
        self.folder = folder
        self.home = os.path.join(folder, "home")
        os.makedirs(self.home)
        self.environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": self.home,
            "TMPDIR": folder,
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_LIBRARY_PATH"):
            if name in os.environ:
                self.environment[name] = os.environ[name]
        # A client that finds no daemon starts one: let it be here, and not in the user's home.
        for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
            self.environment[name] = os.path.join(self.home, name)
            os.mkdir(self.environment[name], 0o700)

    def start(self, argv, stdin="/dev/null", stdout="/dev/null", env=None):
        """Start argv (a full path first) and return its pid. stderr goes to a file."""
        environment = dict(self.environment, **(env or {}))
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, stdin, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, stdout, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, self.stderr_path(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
        ]
        try:
            return os.posix_spawn(
                argv[0], argv, environment, file_actions=actions, setsigdef=[signal.SIGPIPE, signal.SIGINT]
            )
        except OSError as error:
            raise BenchError(f"{argv[0]}: {error.strerror}") from None

    def time(self, argv, ok=(0,), **how):
        """Seconds from start to end. BenchError when it fails or hangs."""
        began = time.perf_counter()
        pid = self.start(argv, **how)
        status = wait_for(pid, argv)
        seconds = time.perf_counter() - began
        if status not in ok:
            raise BenchError(f"{' '.join(argv[:6])} ended with status {status}: {self.last_words()}")
        return seconds

    def output(self, argv, **how):
        """What it prints, and the seconds it took."""
        path = os.path.join(self.folder, "stdout")
        seconds = self.time(argv, stdout=path, **how)
        with open(path, errors="replace") as file:
            return file.read(), seconds

    def stderr_path(self):
        return os.path.join(self.folder, "stderr")

    def last_words(self):
        with open(self.stderr_path(), errors="replace") as file:
            lines = file.read().strip().splitlines()
        return lines[-1] if lines else "it printed no error"


def wait_for(pid, argv):
    """The exit status of a child, 128+N for signal N. A child that hangs is killed."""
    if hasattr(os, "pidfd_open"):
        handle = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            if not poll.poll(DEADLINE * 1000):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise BenchError(f"{' '.join(argv[:6])} did not end within {DEADLINE} s")
        except KeyboardInterrupt:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        finally:
            os.close(handle)
    status = os.waitpid(pid, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def wait_until(condition, seconds, pause=0.01):
    """Ask until the answer is true. Returns the last answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer or time.monotonic() > deadline:
            return answer
        time.sleep(pause)


def stop_child(pid, seconds=10):
    """End a child that we started: SIGTERM, patience, SIGKILL. True when it went by itself."""

    def reaped():
        try:
            return os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            return True

    if reaped():
        return True
    os.kill(pid, signal.SIGTERM)
    if wait_until(reaped, seconds):
        return True
    os.kill(pid, signal.SIGKILL)
    wait_until(reaped, seconds)
    return False


def processes_in(folder):
    """Pids of live processes that work in this folder: by working directory, arguments, open files."""
    prefix = folder.rstrip("/") + "/"
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        base = f"/proc/{name}"
        try:
            with open(f"{base}/cmdline", "rb") as file:
                words = file.read().decode(errors="surrogateescape").split("\0")
            places = [os.readlink(f"{base}/cwd")] + words
            places += [os.readlink(f"{base}/fd/{fd}") for fd in os.listdir(f"{base}/fd")]
        except OSError:
            continue
        if any(prefix in place + "/" for place in places):
            found.append(int(name))
    return found


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except OSError:
        return "?"


def kill_left_over(folder):
    """Kill what still works in a folder of ours. Returns what that was, in words."""
    left = [(pid, name_of(pid)) for pid in processes_in(folder)]
    for pid, _ in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    wait_until(lambda: not processes_in(folder), 5)
    return [f"{name} ({pid})" for pid, name in left]


def memory_of(pid):
    """(Rss, Pss) in bytes."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        fields = {line.split(":")[0]: line.split()[1] for line in file if line.endswith("kB\n")}
    return int(fields["Rss"]) * 1024, int(fields["Pss"]) * 1024


def switches_of(pid):
    """Context switches of all threads so far: each wake-up is one."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status") as file:
            total += sum(int(line.split()[1]) for line in file if "ctxt_switches" in line)
    return total


def remove(path):
    """Remove a folder, also one whose files or folders are read-only."""

    def make_writable(function, name, _):
        try:
            os.chmod(os.path.dirname(name), 0o700)
            os.chmod(name, 0o700)
            function(name)
        except OSError:
            pass

    shutil.rmtree(path, onerror=make_writable)
