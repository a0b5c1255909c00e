# SPDX-License-Identifier: MIT
"""Throw-away users of this machine.

Lab makes them, with homes and groups of their own, and removes them; also those of an earlier run of the tests that was
killed. Everything needs root.
"""

import contextlib
import fcntl
import grp
import os
import pwd
import re
import socket
import subprocess
import threading
from pathlib import Path

import harness
from harness import PYTHON, Daemon, wait_for

PATH = "/usr/local/bin:/usr/bin:/bin"
MARK = "amlagent test"
PREFIX = "amlt-"

# -- users ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def user_database():
    """One at a time: useradd gives up when the database is locked, and tests run side by side."""
    with open(__file__, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def admin_tool(*command):
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=30,
        text=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"},
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}"


def own_mark():
    """In the user database: whose tests these users are."""
    return f"{MARK} {os.getpid()} {harness.process_stat(os.getpid())[2]}"


def is_leftover(gecos):
    """Made by tests whose process is gone."""
    words = re.fullmatch(rf"{MARK} (\d+) (\d+)", gecos)
    return words is not None and not harness.alive(int(words[1]), int(words[2]))


def processes_of(uid):
    """Processes (no zombies) that have this user id in any of the four places."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            text = Path(f"/proc/{entry}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        uids = re.search(r"^Uid:\s+(.*)$", text, re.M)[1].split()
        if str(uid) in uids and harness.alive(int(entry)):
            found.append(int(entry))
    return found


def end_processes_of(uid):
    """All of a user's, until none is left: they may be forking."""

    def none_left():
        left = processes_of(uid)
        harness.end_all(left)
        return not left

    wait_for(none_left, f"the processes of user {uid} end", 20)


def remove_user(name):
    with contextlib.suppress(KeyError):
        end_processes_of(pwd.getpwnam(name).pw_uid)
    with user_database():
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            admin_tool("userdel", "--force", name)


def remove_group(name):
    with user_database(), contextlib.suppress(KeyError):
        grp.getgrnam(name)
        admin_tool("groupdel", name)


def remove_leftovers():
    gone = [entry for entry in pwd.getpwall() if entry.pw_name.startswith(PREFIX) and is_leftover(entry.pw_gecos)]
    for entry in gone:
        remove_user(entry.pw_name)
        home = Path(entry.pw_dir)
        if home.parent.name == "home" and home.parents[1].name.startswith("bb-"):
            harness.end_all(harness.processes_below(home.parents[1]))
            unmount_below(home.parents[1])
            harness.remove(home.parents[1])
    pids = {pid for entry in gone for pid in [entry.pw_name.rsplit("-", 1)[1]]}
    for entry in grp.getgrall():
        if entry.gr_name.startswith(PREFIX) and entry.gr_name.rsplit("-", 1)[1] in pids:
            remove_group(entry.gr_name)


def mounts_below(folder):
    text = Path("/proc/self/mountinfo").read_text()
    points = [line.split()[4].encode().decode("unicode_escape") for line in text.splitlines()]
    return [point for point in points if point == str(folder) or point.startswith(f"{folder}/")]


def unmount_below(folder):
    for point in reversed(mounts_below(folder)):
        subprocess.run(["umount", "--lazy", point], stdin=subprocess.DEVNULL, timeout=20, check=False)


# What a user's connector runs: it connects, and hands the connection over. Whoever speaks on it then, the other side's
# kernel knows it as this user's.
CONNECTOR = """
import os, socket
desk = socket.socket(fileno=0)
while path := desk.recv(4096):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        try:
            line.connect(path)
        except OSError as error:
            desk.send(str(error.errno).encode())
        else:
            socket.send_fds(desk, [b"0"], [line.fileno()])
"""


class User:
    """One user of this machine, with a home that nobody else can enter."""

    def __init__(self, lab, role):
        self.lab = lab
        self.role = role
        self.name = f"{PREFIX}{role}-{os.getpid()}"
        self.home = lab.root / "home" / role
        self.connector = None
        self.lock = threading.Lock()
        with user_database():
            admin_tool(
                "useradd",
                "--create-home",
                "--home-dir",
                str(self.home),
                "--user-group",
                "--shell",
                "/bin/bash",
                "--comment",
                own_mark(),
                "--no-log-init",
                self.name,
            )
        entry = pwd.getpwnam(self.name)
        self.uid, self.gid = entry.pw_uid, entry.pw_gid
        os.chmod(self.home, 0o700)

    def __repr__(self):
        return f"<{self.name} {self.uid}>"

    @property
    def groups(self):
        """As they are now; a process keeps those it was started with."""
        return os.getgrouplist(self.name, self.gid)

    @property
    def env(self):
        return {
            "PATH": PATH,
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "LANG": "C.UTF-8",
            "TERM": "dumb",
        }

    # as the user

    def popen(self, command, env=None, **options):
        """A process of the user's, as if it were started from a login of his."""
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        options.setdefault("cwd", self.home)
        options.setdefault("umask", 0o022)
        return subprocess.Popen(
            [os.fspath(word) for word in command],
            env={**self.env, **(env or {})},
            user=self.uid,
            group=self.gid,
            extra_groups=self.groups,
            start_new_session=True,
            **options,
        )

    def run(self, *command, input=None, timeout=30, **options):
        """The same, to its end: returncode, stdout, stderr (bytes; harness.without_silence())."""
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        process = self.popen(command, stdin=stdin, **options)
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, harness.without_silence(err))

    def ok(self, *command, **options):
        done = self.run(*command, **options)
        assert done.returncode == 0, done
        return done.stdout.decode(errors="replace")

    def python(self, code, *arguments, **options):
        """What this prints, as text."""
        return self.ok(PYTHON, "-c", code, *arguments, **options)

    def connect(self, path):
        """A socket that is connected as this user."""
        with self.lock:
            if self.connector is None:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    process = self.popen(
                        [PYTHON, "-c", CONNECTOR], stdin=theirs, stdout=subprocess.DEVNULL, stderr=None, cwd="/"
                    )
                self.connector = process, ours
                ours.settimeout(30)
            ours = self.connector[1]
            ours.send(os.fsencode(path))
            word, descriptors, _, _ = socket.recv_fds(ours, 64, 1)
        if not descriptors:
            error = int(word or b"32")
            raise OSError(error, os.strerror(error), path)
        return socket.socket(fileno=descriptors[0])

    def forget_login(self):
        """Groups have changed: the next connection comes from a new login."""
        with self.lock:
            if self.connector is not None:
                process, ours = self.connector
                ours.close()
                process.wait(20)
                self.connector = None

    # the user's files

    def own(self, path):
        """Give him what was made for him."""
        for base, folders, files in os.walk(path):
            for entry in [base] + [os.path.join(base, name) for name in folders + files]:
                os.chown(entry, self.uid, self.gid, follow_symlinks=False)
        os.chown(path, self.uid, self.gid, follow_symlinks=False)
        return path

    def write(self, files, name=None):
        """A new folder in his home; harness.write_tree() says what may be in it."""
        folder = self.home / (name or f"d{next(Daemon.counter)}")
        return self.own(harness.write_tree(folder, files))

    # the end

    def strays(self):
        """Processes of the user's that no test may leave."""
        known = {self.connector[0].pid} if self.connector else set()
        return [pid for pid in processes_of(self.uid) if pid not in known]

    def remove(self):
        self.forget_login()
        remove_user(self.name)


class Lab:
    """Some users, and a group that some of them are in."""

    def __init__(self):
        remove_leftovers()
        self.root = harness.scratch()
        os.chmod(self.root, 0o755)
        (self.root / "home").mkdir(mode=0o755)
        self.users = {}
        self.groups = []
        self.admins = ""
        self.secret = self.make_secret()

    def make_secret(self):
        """A file that only root can read, in a folder that everybody can enter."""
        path = self.root / "only-root"
        path.write_text("what-only-root-may-read-" + os.urandom(16).hex() + "\n")
        path.chmod(0o600)
        return path

    def user(self, role):
        self.users[role] = User(self, role)
        return self.users[role]

    def group(self, role, *members):
        name = f"{PREFIX}{role}-{os.getpid()}"
        with user_database():
            admin_tool("groupadd", name)
        self.groups.append(name)
        for member in members:
            self.join(member, name)
        return name

    @staticmethod
    def join(user, group):
        with user_database():
            admin_tool("gpasswd", "--add", user.name, group)
        user.forget_login()

    @staticmethod
    def leave(user, group):
        with user_database():
            admin_tool("gpasswd", "--delete", user.name, group)
        user.forget_login()

    def strays(self):
        return [pid for user in self.users.values() for pid in user.strays()]

    def close(self):
        trouble = []
        for user in self.users.values():
            if left := user.strays():
                trouble.append(f"{user.name} has left: " + "; ".join(map(harness.describe, left)))
            user.remove()
        for group in self.groups:
            remove_group(group)
        unmount_below(self.root)
        harness.remove(self.root)
        assert not trouble, "\n".join(trouble)
