# SPDX-License-Identifier: MIT
"""A folder of one user's that nobody else may enter, root neither: a FUSE mount over a folder.

The stand-in for a home on NFS with root squash. No library and no fusermount: /dev/fuse and mount(2), as root. The
kernel itself keeps everybody out who is not the user (there is no allow_other), whatever rights he has.

    with fuse_folder.mounted(backing, point, uid, gid):
        ...
    with fuse_folder.mounted(backing, point, uid, gid, hang=("READ",)):   what asks for that waits for ever

The server is a process of its own, which ends, and takes the mount with it, when its stdin is closed.
"""

import contextlib
import ctypes
import errno
import os
import select
import stat
import struct
import subprocess
import sys

LIBC = ctypes.CDLL(None, use_errno=True)
MS_NOSUID, MS_NODEV, MNT_DETACH = 2, 4, 2
REQUEST_MAX = 1 << 20
WRITE_MAX = 1 << 17

IN_HEADER = struct.Struct("IIQQIIIHH")
OUT_HEADER = struct.Struct("IiQ")
INIT_OUT = struct.Struct("IIIIHHIIHHI7I")
ATTR = struct.Struct("6Q10I")
ENTRY = struct.Struct("QQQQII")
ATTR_HEAD = struct.Struct("QII")
OPEN_OUT = struct.Struct("QII")
READ_IN = struct.Struct("QQIIQII")
SETATTR_IN = struct.Struct("IIQQQQQQIIIIIIII")
DIRENT = struct.Struct("QQII")
STATFS = struct.Struct("5Q4I6I")
SET_MODE, SET_UID, SET_GID, SET_SIZE, SET_ATIME, SET_MTIME = (1 << bit for bit in range(6))

OPERATIONS = {
    1: "LOOKUP",
    2: "FORGET",
    3: "GETATTR",
    4: "SETATTR",
    5: "READLINK",
    6: "SYMLINK",
    9: "MKDIR",
    10: "UNLINK",
    11: "RMDIR",
    12: "RENAME",
    14: "OPEN",
    15: "READ",
    16: "WRITE",
    17: "STATFS",
    18: "RELEASE",
    20: "FSYNC",
    25: "FLUSH",
    26: "INIT",
    27: "OPENDIR",
    28: "READDIR",
    29: "RELEASEDIR",
    35: "CREATE",
    36: "INTERRUPT",
    42: "BATCH_FORGET",
}
UNANSWERED = {"FORGET", "BATCH_FORGET", "INTERRUPT"}


class Server:
    """Answers the kernel from a folder; a node is a path below it, and is never forgotten."""

    def __init__(self, device, backing, hang):
        self.device, self.backing, self.hang = device, os.fsencode(backing), set(hang)
        self.paths, self.nodes = {1: b""}, {b"": 1}
        self.files, self.listings, self.next_handle = {}, {}, 1

    # -- nodes

    def real(self, node):
        return os.path.join(self.backing, self.paths[node]) if node != 1 else self.backing

    def below(self, node, name):
        return os.path.join(self.paths[node], name)

    def node_of(self, path):
        if path not in self.nodes:
            number = len(self.paths) + 1
            self.nodes[path], self.paths[number] = number, path
        return self.nodes[path]

    def moved(self, old, new):
        """A node keeps its number under its new name, and so does what is below it."""
        self.nodes.pop(new, None)
        for path, node in list(self.nodes.items()):
            if path == old or path.startswith(old + b"/"):
                del self.nodes[path]
                self.paths[node] = new + path[len(old) :]
                self.nodes[self.paths[node]] = node

    @staticmethod
    def attributes(info):
        times = [value // 10**9 for value in (info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns)]
        fractions = [value % 10**9 for value in (info.st_atime_ns, info.st_mtime_ns, info.st_ctime_ns)]
        owner = (info.st_mode, info.st_nlink, info.st_uid, info.st_gid, 0, 4096, 0)
        return ATTR.pack(info.st_ino, info.st_size, info.st_blocks, *times, *fractions, *owner)

    def entry(self, path):
        info = os.lstat(os.path.join(self.backing, path))
        return ENTRY.pack(self.node_of(path), 0, 0, 0, 0, 0) + self.attributes(info)

    def attribute_answer(self, node):
        return ATTR_HEAD.pack(0, 0, 0) + self.attributes(os.lstat(self.real(node)))

    def handle(self, table, value):
        number, self.next_handle = self.next_handle, self.next_handle + 1
        table[number] = value
        return OPEN_OUT.pack(number, 0, 0)

    def made(self, path, header):
        """What a process of the user's made is his."""
        os.lchown(os.path.join(self.backing, path), header[4], header[5])
        return self.entry(path)

    # -- operations: (header, node, body) -> the answer's bytes

    def init(self, _header, _node, body):
        minor = min(struct.unpack_from("II", body)[1], 31)
        return INIT_OUT.pack(7, minor, REQUEST_MAX // 2, 0, 12, 10, WRITE_MAX, 1, 0, 0, 0, *[0] * 7)

    def lookup(self, _header, node, body):
        return self.entry(self.below(node, body[:-1]))

    def getattr(self, _header, node, _body):
        return self.attribute_answer(node)

    def setattr(self, _header, node, body):
        valid, _, _, size, _, atime, mtime, _, atimensec, mtimensec, _, mode, _, uid, gid, _ = SETATTR_IN.unpack(body)
        path = self.real(node)
        if valid & SET_SIZE:
            os.truncate(path, size)
        if valid & (SET_UID | SET_GID):
            os.lchown(path, uid if valid & SET_UID else -1, gid if valid & SET_GID else -1)
        if valid & SET_MODE:
            os.chmod(path, stat.S_IMODE(mode))
        if valid & (SET_ATIME | SET_MTIME):
            now = os.lstat(path)
            times = (
                atime * 10**9 + atimensec if valid & SET_ATIME else now.st_atime_ns,
                mtime * 10**9 + mtimensec if valid & SET_MTIME else now.st_mtime_ns,
            )
            os.utime(path, ns=times, follow_symlinks=False)
        return self.attribute_answer(node)

    def readlink(self, _header, node, _body):
        return os.readlink(self.real(node))

    def symlink(self, header, node, body):
        name, target = body[:-1].split(b"\0")
        path = self.below(node, name)
        os.symlink(target, os.path.join(self.backing, path))
        return self.made(path, header)

    def mkdir(self, header, node, body):
        mode, umask = struct.unpack_from("II", body)
        path = self.below(node, body[8:-1])
        os.mkdir(os.path.join(self.backing, path), mode & ~umask)
        return self.made(path, header)

    def unlink(self, _header, node, body):
        os.unlink(os.path.join(self.real(node), body[:-1]))

    def rmdir(self, _header, node, body):
        os.rmdir(os.path.join(self.real(node), body[:-1]))

    def rename(self, _header, node, body):
        old, new = body[8:-1].split(b"\0")
        old, new = self.below(node, old), self.below(struct.unpack_from("Q", body)[0], new)
        os.rename(os.path.join(self.backing, old), os.path.join(self.backing, new))
        self.moved(old, new)

    def open(self, _header, node, body):
        flags = struct.unpack_from("I", body)[0] & ~(os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
        return self.handle(self.files, os.open(self.real(node), flags | os.O_CLOEXEC))

    def create(self, header, node, body):
        flags, mode, umask = struct.unpack_from("III", body)
        path = self.below(node, body[16:-1])
        fd = os.open(os.path.join(self.backing, path), flags | os.O_CREAT | os.O_CLOEXEC, mode & ~umask)
        return self.made(path, header) + self.handle(self.files, fd)

    def read(self, _header, _node, body):
        handle, offset, size = READ_IN.unpack(body)[:3]
        return os.pread(self.files[handle], size, offset)

    def write(self, _header, _node, body):
        handle, offset = READ_IN.unpack_from(body)[:2]
        return struct.pack("II", os.pwrite(self.files[handle], body[READ_IN.size :], offset), 0)

    def release(self, _header, _node, body):
        os.close(self.files.pop(struct.unpack_from("Q", body)[0]))

    def statfs(self, _header, _node, _body):
        found = os.statvfs(self.backing)
        counts = (found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree)
        return STATFS.pack(*counts, found.f_bsize, 255, found.f_frsize, 0, *[0] * 6)

    def opendir(self, _header, node, _body):
        return self.handle(self.listings, [b".", b"..", *sorted(os.listdir(self.real(node)))])

    def readdir(self, _header, node, body):
        handle, offset, size = READ_IN.unpack(body)[:3]
        answer = b""
        for number, name in enumerate(self.listings[handle][offset:], offset + 1):
            with contextlib.suppress(FileNotFoundError):
                info = os.lstat(os.path.join(self.real(node), name))
                record = DIRENT.pack(info.st_ino, number, len(name), info.st_mode >> 12) + name
                record += bytes(-len(record) % 8)
                if len(answer) + len(record) > size:
                    break
                answer += record
        return answer

    def releasedir(self, _header, _node, body):
        del self.listings[struct.unpack_from("Q", body)[0]]

    def fsync(self, _header, _node, body):
        os.fsync(self.files[struct.unpack_from("Q", body)[0]])

    def flush(self, _header, _node, _body):
        return b""

    # -- the kernel's requests

    def carry_out(self, name, header, body):
        if name is None:
            return -errno.ENOSYS, b""
        try:
            return 0, getattr(self, name.lower())(header, header[3], body) or b""
        except OSError as error:
            return -error.errno, b""

    def serve_one(self):
        request = os.read(self.device, REQUEST_MAX)
        header = IN_HEADER.unpack_from(request)
        name = OPERATIONS.get(header[1])
        if name in UNANSWERED or name in self.hang:
            return
        error, answer = self.carry_out(name, header, request[IN_HEADER.size :])
        with contextlib.suppress(FileNotFoundError):  # who asked does not wait for it any more
            os.write(self.device, OUT_HEADER.pack(OUT_HEADER.size + len(answer), error, header[2]) + answer)

    def serve(self, until_closed):
        """Until that descriptor is closed at its other end, or the mount has gone."""
        while True:
            ready, _, _ = select.select([self.device, until_closed], [], [])
            if until_closed in ready:
                return
            try:
                self.serve_one()
            except OSError as error:
                if error.errno == errno.ENODEV:
                    return
                if error.errno not in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    raise


def main(backing, point, uid, gid, *hang):
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    os.umask(0)
    options = f"fd={device},rootmode=40000,user_id={uid},group_id={gid}".encode()
    if LIBC.mount(b"amlt", os.fsencode(point), b"fuse", MS_NOSUID | MS_NODEV, options) != 0:
        sys.exit(f"mounting FUSE on {point}: {os.strerror(ctypes.get_errno())}")
    try:
        os.write(1, b"mounted\n")
        Server(device, backing, hang).serve(0)
    finally:
        LIBC.umount2(os.fsencode(point), MNT_DETACH)


@contextlib.contextmanager
def mounted(backing, point, uid, gid, hang=()):
    """point shows backing, to processes of uid alone; operations in hang are never answered."""
    command = [sys.executable, os.path.abspath(__file__), str(backing), str(point), str(uid), str(gid), *hang]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if server.stdout.readline() != b"mounted\n":
            raise OSError(f"no FUSE folder at {point}: the server ended with {server.wait(10)}")
        yield point
    finally:
        server.stdin.close()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(10)
            LIBC.umount2(os.fsencode(str(point)), MNT_DETACH)
        server.stdout.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
