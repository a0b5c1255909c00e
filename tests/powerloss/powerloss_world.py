# SPDX-License-Identifier: MIT
"""A small machine for one life of the daemon: its own disk, process numbers and boot id, and an end at any moment.

A World is a mount and a PID namespace. Its first process is a fork of ours that mounts a new /proc, an empty tmpfs over
a folder (so that every life sees the same paths) and puts a boot id of its own over the kernel's. Whatever is started
in there is gone, with the mounts, when the first process is killed: nothing can be left behind.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import struct
import sys
import uuid

from powerloss_disk import DIRECTORY, FIFO, FILE, LINK

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, CLONE_NEWPID = 0x20000, 0x20000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
PR_SET_PDEATHSIG = 1
LAST_PID = "/proc/sys/kernel/ns_last_pid"
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def check(result, what):
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), what)


def mount(source, target, kind=None, flags=0, options=None):
    arguments = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    check(LIBC.mount(*arguments, flags, None if options is None else options.encode()), f"mount {target}")


def unusable():
    """Why there can be no World here; None when there can."""
    if os.geteuid() != 0:
        return "needs root: a private boot id and PID namespace"
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            check(LIBC.unshare(CLONE_NEWNS | CLONE_NEWPID), "unshare")
            mount(None, "/", flags=MS_REC | MS_PRIVATE)
            mount("tmpfs", "/proc", "tmpfs")
            os._exit(0)
        os._exit(1)
    if os.waitpid(pid, 0)[1] != 0:
        return "may not make a namespace or mount here"
    return None


def write_tree(root, tree):
    """A tree, as Disk.tree() gives it, into a folder."""
    for path in sorted(tree):
        kind, mode, content = tree[path]
        full = os.path.join(root, path)
        if kind == DIRECTORY:
            os.mkdir(full)
        elif kind == LINK:
            os.symlink(content, full)
        elif kind == FIFO:
            os.mkfifo(full)
        elif kind == FILE:
            with open(full, "wb") as stream:
                stream.write(content)
        if kind != LINK:
            os.chmod(full, mode)


class World:
    """root: where its disk is mounted, an existing folder. tree: what is on it, below disk/. strangers: process numbers
    under which processes shall live that have nothing to do with anything."""

    def __init__(self, root, tree=None, boot_id=None, strangers=()):
        self.root = os.fspath(root)
        self.boot_id = boot_id or str(uuid.uuid4())
        ours, theirs = os.pipe(), os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.keeper = os.fork()
        if self.keeper == 0:
            with contextlib.suppress(BaseException):
                os.close(theirs[1])
                os.close(ours[0])
                self._keep(theirs[0], ours[1], tree or {}, strangers)
            os._exit(1)
        os.close(theirs[0])
        os.close(ours[1])
        self.asks, self.answers = theirs[1], os.fdopen(ours[0], "rb")
        try:
            hello = self._answer()
            self.pidfd = os.pidfd_open(hello["pid"])
            self.first = hello["pid"]
            self.path = f"/proc/{self.first}/root{self.root}"
            self.strangers = self._answer()["strangers"]
        except BaseException:
            self._end_keeper()
            raise

    # in there

    def _keep(self, asks, answers, tree, strangers):
        """Between the two worlds: the parent of the first process in there."""
        LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        os.setsid()
        check(LIBC.unshare(CLONE_NEWNS | CLONE_NEWPID), "unshare")
        reader, writer = os.pipe()
        first = os.fork()
        if first == 0:
            try:
                LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
                os.close(writer)
                os.read(reader, 1)
                self._first_process(asks, answers, tree, strangers)
            except BaseException as error:
                with contextlib.suppress(OSError):
                    send(answers, {"error": repr(error)})
            os._exit(1)
        send(answers, {"pid": first})
        os.close(writer)
        os.close(asks)
        os.close(answers)
        os.waitpid(first, 0)
        os._exit(0)

    def _first_process(self, asks, answers, tree, strangers):
        mount(None, "/", flags=MS_REC | MS_PRIVATE)
        mount("proc", "/proc", "proc")
        mount("tmpfs", self.root, "tmpfs", options="mode=0755")
        with open(f"{self.root}/boot_id", "w") as stream:
            stream.write(self.boot_id + "\n")
        mount(f"{self.root}/boot_id", BOOT_ID, flags=MS_BIND)
        os.umask(0)
        for folder in ("disk", "witness"):
            os.mkdir(f"{self.root}/{folder}", 0o755)
        write_tree(f"{self.root}/disk", tree)
        os.umask(0o022)
        placed = self._place_strangers(strangers)
        send(answers, {"strangers": placed})
        children = {}
        while True:
            command = receive(asks)
            if command is None:
                return
            if "start" in command:
                pid = self._start(command)
                children[pid] = None
                send(answers, {"pid": pid})
            elif "kill" in command:
                os.kill(command["kill"], command["signal"])
                send(answers, {})
            else:
                self._reap(children)
                gone = [pid for pid in placed if pid in children]
                send(answers, {"ended": children.get(command["ended"]), "strangers_gone": gone})

    def _reap(self, children):
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                children[pid] = os.waitstatus_to_exitcode(status)

    def _place_strangers(self, numbers):
        placed = []
        for number in sorted(set(numbers)):
            if number <= 1 or os.path.exists(f"/proc/{number}") or not os.path.exists(LAST_PID):
                continue
            with open(LAST_PID, "w") as stream:
                stream.write(str(number - 1))
            pid = os.fork()
            if pid == 0:
                os.setsid()
                while True:
                    signal.pause()
            if pid == number:
                placed.append(pid)
        return placed

    def _start(self, command):
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            null = os.open("/dev/null", os.O_RDONLY)
            log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            for fd, source in enumerate((null, log, log)):
                os.dup2(source, fd)
            os.closerange(3, 1024)
            os.chdir("/")
            os.execve(command["start"][0], command["start"], command["environment"])
        except OSError as error:
            os.write(2, f"{error}\n".encode())
        os._exit(127)

    # out here

    def _answer(self):
        if not select.select([self.answers], [], [], 30)[0]:
            raise AssertionError("the world gives no answer")
        answer = receive(self.answers.fileno())
        if answer is None or "error" in answer:
            raise AssertionError(f"the world could not be made: {answer}")
        return answer

    def ask(self, command):
        send(self.asks, command)
        return self._answer()

    def start(self, arguments, environment, log):
        """The number, in there, of a new process. log: a path in there."""
        return self.ask({"start": list(arguments), "environment": environment, "log": log})["pid"]

    def kill(self, pid, number):
        self.ask({"kill": pid, "signal": int(number)})

    def named(self, name):
        """The numbers, in there, of the living processes of that name."""
        found = []
        for entry in filter(str.isdigit, os.listdir(f"/proc/{self.first}/root/proc")):
            with contextlib.suppress(OSError):
                with open(f"/proc/{self.first}/root/proc/{entry}/stat") as stream:
                    state = stream.read()
                if f"({name}) " in state and f"({name}) Z" not in state:
                    found.append(int(entry))
        return found

    def look(self, pid=0):
        """{"ended": exit status of a process that was started, None while it lives; "strangers_gone": [...]}"""
        return self.ask({"ended": pid})

    def read(self, path):
        with open(f"{self.path}/{path}", "rb") as stream:
            return stream.read()

    def _end_keeper(self):
        with contextlib.suppress(OSError):
            os.close(self.asks)
        self.answers.close()
        os.kill(self.keeper, signal.SIGKILL)
        os.waitpid(self.keeper, 0)

    def close(self):
        """The power goes. Once is enough."""
        if self.pidfd < 0:
            return
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        select.select([self.pidfd], [], [], 30)
        os.close(self.pidfd)
        self.pidfd = -1
        self._end_keeper()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def send(fd, value):
    data = json.dumps(value).encode()
    data = struct.pack("I", len(data)) + data
    while data:
        data = data[os.write(fd, data) :]


def receive(fd):
    """The next value; None when the other side is gone."""

    def take(size):
        data = b""
        while len(data) < size:
            piece = os.read(fd, size - len(data))
            if not piece:
                return None
            data += piece
        return data

    head = take(4)
    return None if head is None else json.loads(take(struct.unpack("I", head)[0]))

