# SPDX-License-Identifier: MIT
"""What strace saw, as calls on a Disk.

Descriptors are followed from their open through dup, fork and exec to their close, so a call on a descriptor changes
the file that was opened, whatever its name is by then. A change counts from the moment its call had returned; bytes
that leave through a socket count from the moment the call was made. strace stops a program at both, so that what one
program did because of another's call comes after it.
"""

import os
import re
import shutil
import stat
import subprocess

from powerloss_disk import DIRECTORY, FIFO, FILE, LINK, ROOT, Disk

CALLS = (
    "open,openat,openat2,creat,close,close_range,dup,dup2,dup3,fcntl,chdir,fchdir,"
    "clone,clone3,fork,vfork,execve,execveat,"
    "write,pwrite64,writev,pwritev,pwritev2,lseek,copy_file_range,sendfile,ioctl,truncate,ftruncate,fallocate,"
    "rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,mknod,mknodat,"
    "chmod,fchmod,fchmodat,fsync,fdatasync,sync,syncfs,splice,io_uring_enter,"
    "accept,accept4,recvfrom,sendto,sendmsg"
)
STRACE = ["strace", "-f", "-q", "--seccomp-bpf", "-xx", "-s", "33554432", "-e", f"trace={CALLS}", "-e", "signal=none"]

STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')
TAG = re.compile(rb"X-Tag: (\d+)", re.IGNORECASE)
LINE = re.compile(r"^(\d+) +(.*)$")
RESUMED = re.compile(r"^<\.\.\. (\w+) resumed>(.*)$")
CALL = re.compile(r"^(\w+)\((.*)$", re.DOTALL)
DONE = re.compile(r"^(.*)\) += (-?\d+|\?|0x[0-9a-f]+)(?: .*)?$", re.DOTALL)


def unusable():
    """Why nothing can be traced here; None when it can."""
    if not shutil.which("strace"):
        return "needs strace"
    done = subprocess.run([*STRACE, "-o", "/dev/null", "true"], stderr=subprocess.PIPE, timeout=30)
    return None if done.returncode == 0 else f"strace cannot trace here: {done.stderr.decode().strip()}"


class NotUnderstood(Exception):
    """The trace holds something that this reader would get wrong."""


def unquote(text):
    """The bytes of the strings in a piece of strace -xx's output, one after the other."""
    found = []
    for match in STRING.finditer(text):
        if match[2]:
            raise NotUnderstood("strace cut a string off")
        found.append(bytes.fromhex(match[1].replace("\\x", "")))
    return found


def split_arguments(text):
    """At the commas that stand in no bracket. Strings hold nothing but \\x.."""
    parts, depth, start = [], 0, 0
    if len(text) > 1000 and "{" not in text and "[" not in text:
        return [part.strip() for part in text.split(",")]
    for match in re.finditer(r"[\[\]{}(),]", text):
        char = match[0]
        if char in "[{(":
            depth += 1
        elif char in "]})":
            depth -= 1
        elif depth == 0:
            parts.append(text[start : match.start()].strip())
            start = match.end()
    parts.append(text[start:].strip())
    return parts


class Call:
    """One system call: where in the trace it was made and had returned, its arguments as text, its result."""

    __slots__ = ("pid", "name", "arguments", "result", "made", "returned")

    def __init__(self, pid, name, made):
        self.pid, self.name, self.made = pid, name, made
        self.arguments, self.result, self.returned = None, None, None

    def string(self, index):
        return unquote(self.arguments[index])[0]

    def path(self, index):
        return os.fsdecode(self.string(index))

    def number(self, index):
        return int(self.arguments[index].split()[0], 0)

    @property
    def failed(self):
        return self.result is None or self.result < 0


def read_calls(lines):
    """All calls, and for each line what happened there: ("made" or "returned", call)."""
    open_calls, moments = {}, []
    for index, line in enumerate(lines):
        match = LINE.match(line)
        if not match:
            raise NotUnderstood(f"no line of strace -f: {line[:200]!r}")
        pid, text = int(match[1]), match[2]
        if text.startswith(("+++", "---")):
            continue
        resumed = RESUMED.match(text)
        if resumed:
            call, before = open_calls.pop(pid)
            text = before + resumed[2]
        else:
            begun = CALL.match(text)
            if not begun:
                raise NotUnderstood(f"no call: {line[:200]!r}")
            name, text = begun.groups()
            call = Call(pid, name, index)
            moments.append(("made", call))
        unfinished = text.rfind(" <unfinished ...>")
        if unfinished >= 0 and not DONE.match(text):
            open_calls[pid] = call, text[:unfinished]
            # What is sent is wanted at once.
            call.arguments = split_arguments(text[:unfinished])
            continue
        done = DONE.match(text)
        if not done:
            raise NotUnderstood(f"no call: {line[:200]!r}")
        call.arguments = split_arguments(done[1])
        call.result = None if done[2] == "?" else int(done[2], 0)
        call.returned = index
        moments.append(("returned", call))
    return moments


class Description:
    """An open file: of the disk (`number`), elsewhere (`path`), or a connection."""

    def __init__(self, path=None, number=None, append=False, connection=None):
        self.path, self.number, self.append, self.connection = path, number, append, connection
        self.offset = 0


class Table:
    """The descriptors and the working directory of a process."""

    def __init__(self, cwd="/"):
        self.files, self.closed_by_exec, self.cwd = {}, set(), Description(path=cwd)

    def copy(self):
        new = Table()
        new.files, new.closed_by_exec, new.cwd = dict(self.files), set(self.closed_by_exec), self.cwd
        return new

    def put(self, fd, description, flags=""):
        self.files[fd] = description
        self.closed_by_exec.discard(fd)
        if "CLOEXEC" in flags:
            self.closed_by_exec.add(fd)

    def close(self, first, last):
        for fd in [fd for fd in self.files if first <= fd <= last]:
            del self.files[fd]
            self.closed_by_exec.discard(fd)


class Recording:
    """steps: ("disk", name, arguments) - a call on Disk; ("answer", tag) - the first byte of the answer to the request
    that had this X-Tag; ("witness", bytes) - appended to the witness file. `disk` is how it all ended."""

    def __init__(self, tree):
        self.tree = tree
        self.disk = Disk(tree)
        self.steps = []

    def do(self, name, *arguments):
        self.steps.append(("disk", name, arguments))
        return getattr(self.disk, name)(*arguments)


class Reader:
    """root: the folder that is the disk. witness: a file elsewhere of which appends are noted."""

    def __init__(self, recording, root, witness=None, cwd="/"):
        self.recording, self.disk = recording, recording.disk
        self.root, self.witness, self.first_cwd = os.path.realpath(root), witness, cwd
        self.tables = {}

    # processes

    def table(self, pid):
        if pid not in self.tables:
            self.tables[pid] = Table(self.first_cwd)
        return self.tables[pid]

    def on_fork(self, call):
        """When it is made: the child may be seen before the call has returned."""
        if call.failed:
            return
        ours = self.table(call.pid)
        flags = " ".join(call.arguments)
        self.tables[call.result] = ours if "CLONE_FILES" in flags else ours.copy()

    def on_execve(self, call):
        table = self.table(call.pid)
        if any(other is table for pid, other in self.tables.items() if pid != call.pid):
            table = self.tables[call.pid] = table.copy()
        for fd in list(table.closed_by_exec):
            table.close(fd, fd)

    # paths

    def base(self, call, index):
        """The description that a dirfd argument names; the working directory for None and AT_FDCWD."""
        table = self.table(call.pid)
        if index is None or call.arguments[index] == "AT_FDCWD":
            return table.cwd
        return table.files[call.number(index)]

    def inside(self, path):
        """Relative to the root; None when it is elsewhere."""
        normal = os.path.normpath(path)
        if normal == self.root:
            return ""
        return normal[len(self.root) + 1 :] if normal.startswith(self.root + "/") else None

    def locate(self, call, path, dirfd=None):
        """(number of the directory, name, None) on the disk, or (None, None, absolute path)."""
        base = self.base(call, dirfd)
        start = ROOT
        if path.startswith("/") or base.number is None:
            path = os.path.join("/" if path.startswith("/") else base.path, path)
            inside = self.inside(path)
            if inside is None:
                return None, None, path
            path = inside
        else:
            start = base.number
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if not parts or parts[-1] == "..":
            return self.lookup("/".join(parts), start), "", None
        return self.lookup("/".join(parts[:-1]), start), parts[-1], None

    def lookup(self, path, start):
        number = self.disk.lookup(path, start)
        if number is None:
            raise NotUnderstood(f"{path} is not there")
        if self.disk.at(number).kind == LINK:
            raise NotUnderstood(f"{path} is a symbolic link")
        return number

    def number_of(self, call, path, dirfd=None):
        parent, name, _ = self.locate(call, path, dirfd)
        if parent is None or not name:
            return parent
        return self.disk.at(parent).entries.get(name)

    # open files

    def on_open(self, call, path_index=0, dirfd=None, flags=None):
        flags = flags or call.arguments[path_index + 1]
        parent, name, elsewhere = self.locate(call, call.path(path_index), dirfd)
        if parent is None:
            self.table(call.pid).put(call.result, Description(path=elsewhere), flags)
            return
        number = parent if not name else self.disk.at(parent).entries.get(name)
        if number is None and "O_CREAT" in flags:
            mode = re.search(r"(?:^|mode=)(0[0-7]+)", call.arguments[-2 if "mode=" in flags else -1])
            mode = int(mode[1], 8) if mode else 0o600
            number = self.recording.do("create", parent, name, FILE, mode)
        elif number is None and flags.startswith("O_RDONLY"):
            # Renamed to this name a moment ago by a call that has not yet returned. Nothing is changed through it.
            self.table(call.pid).close(call.result, call.result)
            return
        elif number is None:
            raise NotUnderstood(f"{name} was opened and is not there")
        if "O_TRUNC" in flags:
            self.recording.do("truncate", number, 0)
        self.table(call.pid).put(call.result, Description(number=number, append="O_APPEND" in flags), flags)

    def on_openat(self, call):
        self.on_open(call, 1, 0)

    def on_openat2(self, call):
        self.on_open(call, 1, 0, call.arguments[2])

    def on_creat(self, call):
        self.on_open(call, flags="O_CREAT|O_TRUNC")

    def on_close(self, call):
        """When it is made: another thread may have the number again before this call has returned."""
        self.table(call.pid).close(call.number(0), call.number(0))

    def on_close_range(self, call):
        table, (first, last) = self.table(call.pid), (call.number(0), call.number(1))
        if "CLOEXEC" in call.arguments[2]:
            table.closed_by_exec.update(fd for fd in table.files if first <= fd <= last)
        else:
            table.close(first, last)

    def on_dup(self, call, flags=""):
        table = self.table(call.pid)
        table.close(call.result, call.result)
        if call.number(0) in table.files:
            table.put(call.result, table.files[call.number(0)], flags)

    def on_dup3(self, call):
        self.on_dup(call, call.arguments[2])

    def on_fcntl(self, call):
        table = self.table(call.pid)
        if call.arguments[1].startswith("F_DUPFD"):
            self.on_dup(call, call.arguments[1])
        elif call.arguments[1] == "F_SETFD" and call.number(0) in table.files:
            table.put(call.number(0), table.files[call.number(0)], call.arguments[2])
        elif call.arguments[1] == "F_SETFL" and call.number(0) in table.files:
            table.files[call.number(0)].append = "O_APPEND" in call.arguments[2]

    def on_chdir(self, call):
        parent, name, elsewhere = self.locate(call, call.path(0))
        number = None if parent is None else self.number_of(call, call.path(0))
        self.table(call.pid).cwd = Description(path=elsewhere, number=number)

    def on_fchdir(self, call):
        self.table(call.pid).cwd = self.table(call.pid).files[call.number(0)]

    def file(self, call, index=0):
        return self.table(call.pid).files.get(call.number(index))

    # bytes

    def put(self, file, data, offset=None):
        if file is None:
            return
        if file.number is None:
            if file.path is not None and file.path == self.witness:
                self.recording.steps.append(("witness", data))
            return
        if self.disk.at(file.number).kind != FILE:
            return
        at = offset
        if file.append:
            at = len(self.disk.at(file.number).data)
        elif offset is None:
            at = file.offset
        self.recording.do("write", file.number, at, data)
        if offset is None:
            file.offset = at + len(data)

    def on_write(self, call, offset=None):
        file = self.file(call)
        if file is not None and file.connection is None:
            self.put(file, b"".join(unquote(call.arguments[1]))[: call.result], offset)

    def on_pwrite64(self, call):
        self.on_write(call, call.number(3))

    def on_lseek(self, call):
        if self.file(call):
            self.file(call).offset = call.result

    def content(self, file):
        if file.number is not None:
            return self.disk.content(file.number)
        with open(file.path, "rb") as stream:
            return stream.read()

    def copied(self, call, source, offset_index):
        """What copy_file_range or sendfile took: the source's own position counts when none is named."""
        named = unquote_offset(call.arguments[offset_index])
        at = source.offset if named is None else named
        if named is None:
            source.offset += call.result
        return self.content(source)[at : at + call.result]

    def on_copy_file_range(self, call):
        to = self.file(call, 2)
        if call.result and to and to.number is not None:
            self.put(to, self.copied(call, self.file(call, 0), 1), unquote_offset(call.arguments[3]))

    def on_sendfile(self, call):
        to = self.file(call, 0)
        if call.result and to and to.number is not None:
            self.put(to, self.copied(call, self.file(call, 1), 2))

    def on_ioctl(self, call):
        file = self.file(call)
        if file is None or file.number is None or "FICLONE" not in call.arguments[1]:
            return
        if call.arguments[1] != "FICLONE":
            raise NotUnderstood(call.arguments[1])
        data = self.content(self.file(call, 2))
        self.recording.do("truncate", file.number, len(data))
        self.recording.do("write", file.number, 0, data)

    def on_truncate(self, call):
        number = self.number_of(call, call.path(0))
        if number is not None:
            self.recording.do("truncate", number, call.number(1))

    def on_ftruncate(self, call):
        file = self.file(call)
        if file and file.number is not None:
            self.recording.do("truncate", file.number, call.number(1))

    def on_fallocate(self, call):
        file = self.file(call)
        if not file or file.number is None or "KEEP_SIZE" in call.arguments[1]:
            return
        if call.arguments[1] != "0":
            raise NotUnderstood(f"fallocate {call.arguments[1]}")
        end = call.number(2) + call.number(3)
        if end > len(self.disk.at(file.number).data):
            self.recording.do("truncate", file.number, end)

    def on_pwritev(self, call, index=0):
        file = self.file(call, index)
        if file and file.number is not None:
            raise NotUnderstood(f"{call.name} on the disk")

    def on_splice(self, call):
        self.on_pwritev(call, 2)

    def on_io_uring_enter(self, call):
        raise NotUnderstood("io_uring does what is not seen")

    # names

    def rename(self, call, old, new, flags=""):
        if "EXCHANGE" in flags:
            raise NotUnderstood("RENAME_EXCHANGE")
        places = self.locate(call, *old), self.locate(call, *new)
        if (places[0][0] is None) != (places[1][0] is None):
            raise NotUnderstood("a rename across the disk's border")
        if places[0][0] is not None:
            self.recording.do("rename", *places[0][:2], *places[1][:2])

    def on_rename(self, call):
        self.rename(call, (call.path(0),), (call.path(1),))

    def on_renameat(self, call):
        self.rename(call, (call.path(1), 0), (call.path(3), 2), call.arguments[4] if len(call.arguments) > 4 else "")

    def link(self, call, old, new):
        number = self.number_of(call, *old)
        parent, name, _ = self.locate(call, *new)
        if (number is None) != (parent is None):
            raise NotUnderstood("a hard link across the disk's border")
        if number is not None:
            self.recording.do("link", number, parent, name)

    def on_link(self, call):
        self.link(call, (call.path(0),), (call.path(1),))

    def on_linkat(self, call):
        self.link(call, (call.path(1), 0), (call.path(3), 2))

    def create(self, call, path, kind, mode, target=None):
        parent, name, _ = self.locate(call, *path)
        if parent is not None:
            self.recording.do("create", parent, name, kind, mode, target)

    def on_symlink(self, call):
        self.create(call, (call.path(1),), LINK, 0o777, call.path(0))

    def on_symlinkat(self, call):
        self.create(call, (call.path(2), 1), LINK, 0o777, call.path(0))

    def on_mkdir(self, call):
        self.create(call, (call.path(0),), DIRECTORY, int(call.arguments[1], 8))

    def on_mkdirat(self, call):
        self.create(call, (call.path(1), 0), DIRECTORY, int(call.arguments[2], 8))

    def mknod(self, call, path, what):
        kind = FIFO if "S_IFIFO" in what else FILE
        self.create(call, path, kind, int(what.split("|")[-1], 8))

    def on_mknod(self, call):
        self.mknod(call, (call.path(0),), call.arguments[1])

    def on_mknodat(self, call):
        self.mknod(call, (call.path(1), 0), call.arguments[2])

    def unlink(self, call, *path):
        parent, name, _ = self.locate(call, *path)
        if parent is not None:
            self.recording.do("unlink", parent, name)

    def on_unlink(self, call):
        self.unlink(call, call.path(0))

    def on_unlinkat(self, call):
        self.unlink(call, call.path(1), 0)

    def chmod(self, number, mode):
        if number is not None:
            self.recording.do("chmod", number, mode)

    def on_chmod(self, call):
        self.chmod(self.number_of(call, call.path(0)), int(call.arguments[1], 8))

    def on_fchmod(self, call):
        if self.file(call):
            self.chmod(self.file(call).number, int(call.arguments[1], 8))

    def on_fchmodat(self, call):
        self.chmod(self.number_of(call, call.path(1), 0), int(call.arguments[2], 8))

    # durability

    def on_fsync(self, call):
        file = self.table(call.pid).files[call.number(0)]
        if file.number is not None:
            self.recording.do("fsync", file.number)

    def on_sync(self, call):
        self.recording.do("sync")

    # connections

    def on_accept(self, call):
        flags = call.arguments[3] if len(call.arguments) > 3 else ""
        self.table(call.pid).put(call.result, Description(connection={"heard": b"", "tag": None}), flags)

    def on_recvfrom(self, call):
        file = self.file(call)
        if file is None or file.connection is None or file.connection["tag"]:
            return
        file.connection["heard"] += b"".join(unquote(call.arguments[1]))
        match = TAG.search(file.connection["heard"])
        if match:
            file.connection["tag"] = int(match[1])

    def on_send(self, call):
        """When it is made: the client may see it before the call has returned."""
        file = self.file(call)
        if file is None or file.connection is None or file.connection["tag"] is None:
            return
        if b"100 Continue" not in b"".join(unquote(" ".join(call.arguments[1:]))):
            self.recording.steps.append(("answer", file.connection["tag"]))
            file.connection["tag"] = None

    when_made = dict.fromkeys(("clone", "clone3", "fork", "vfork"), on_fork) | dict.fromkeys(
        ("sendto", "sendmsg", "write", "writev"), on_send
    ) | {"close": on_close, "close_range": on_close_range}
    when_returned = {
        "open": on_open, "openat": on_openat, "openat2": on_openat2, "creat": on_creat, "dup": on_dup,
        "dup2": on_dup, "dup3": on_dup3, "fcntl": on_fcntl, "chdir": on_chdir, "fchdir": on_fchdir,
        "execve": on_execve, "execveat": on_execve, "write": on_write, "writev": on_write,
        "pwrite64": on_pwrite64, "pwritev": on_pwritev, "pwritev2": on_pwritev, "lseek": on_lseek,
        "copy_file_range": on_copy_file_range, "sendfile": on_sendfile, "ioctl": on_ioctl,
        "truncate": on_truncate, "ftruncate": on_ftruncate, "fallocate": on_fallocate, "rename": on_rename,
        "renameat": on_renameat, "renameat2": on_renameat, "link": on_link, "linkat": on_linkat,
        "symlink": on_symlink, "symlinkat": on_symlinkat, "unlink": on_unlink, "unlinkat": on_unlinkat,
        "rmdir": on_unlink, "mkdir": on_mkdir, "mkdirat": on_mkdirat, "mknod": on_mknod, "mknodat": on_mknodat,
        "chmod": on_chmod, "fchmod": on_fchmod, "fchmodat": on_fchmodat, "fsync": on_fsync,
        "fdatasync": on_fsync, "sync": on_sync, "syncfs": on_sync, "splice": on_splice,
        "io_uring_enter": on_io_uring_enter, "accept": on_accept, "accept4": on_accept, "recvfrom": on_recvfrom,
    }

    def read(self, lines):
        for moment, call in read_calls(lines):
            handler = (self.when_made if moment == "made" else self.when_returned).get(call.name)
            if handler is None or (moment == "returned" and call.failed):
                continue
            try:
                handler(self, call)
            except (NotUnderstood, LookupError, ValueError, OSError) as error:
                shown = ", ".join(argument[:200] for argument in call.arguments or [])
                raise NotUnderstood(f"{call.name}({shown}) = {call.result}: {error!r}") from error


def unquote_offset(text):
    """The offset of "[12]" or "[12] => [34]"; None for NULL."""
    match = re.match(r"\[(\d+)\]", text)
    return int(match[1]) if match else None


def record(lines, root, tree, witness=None, cwd="/"):
    """The Recording of what a trace did to the folder root, which held tree before."""
    recording = Recording(tree)
    Reader(recording, root, witness, cwd).read(lines)
    return recording


def tree_on_disk(root, leave_out=()):
    """The tree of a real folder, as Disk.tree() gives it. Sockets are left out."""
    found = {}
    root = os.fspath(root)
    for base, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(base, name)
            info = os.lstat(path)
            mode, key = stat.S_IMODE(info.st_mode), os.path.relpath(path, root)
            if name.endswith(leave_out or "\0"):
                continue
            if stat.S_ISDIR(info.st_mode):
                found[key] = (DIRECTORY, mode, None)
            elif stat.S_ISLNK(info.st_mode):
                found[key] = (LINK, mode, os.readlink(path))
            elif stat.S_ISFIFO(info.st_mode):
                found[key] = (FIFO, mode, None)
            elif stat.S_ISREG(info.st_mode):
                with open(path, "rb") as stream:
                    found[key] = (FILE, mode, stream.read())
    return found
