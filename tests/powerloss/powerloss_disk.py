# SPDX-License-Identifier: MIT
"""A file system with two sides: what programs see, and what is left when the power goes.

As pessimistic as POSIX allows. The bytes of a file are durable up to its last fsync, its names only after fsync of the
directory that holds them, and neither brings the other along: a file that was renamed without fsync may have its new
name and none of its bytes, a file that was flushed in a directory that was not may be gone. A rename between two
directories is two changes. syncfs and sync make all of it durable. Modes count as durable.

Every change is a method with plain arguments, and files are numbers given in order: a list of calls that was carried
out once does exactly the same on a second disk that began alike.
"""

import hashlib
import random

ROOT = 0
FILE, DIRECTORY, LINK, FIFO = "file", "directory", "link", "fifo"

VARIANTS = ("lost", "kept", "names", "zeros", "some", "other")
"""What may be left of what was not flushed:

lost    nothing
kept    everything: a crash with luck
names   the names, and of the files what was flushed: ext4's classic, files of length zero
zeros   the same, but the files have their length, filled up with zeros
some    a part: any of the changes of names; of each file its first changes, the last one perhaps torn
other   another such part, or any of the changes of a file, whatever their order
"""


class Node:
    """One inode. `pending` is what happened to it since it was last flushed, in order."""

    __slots__ = ("kind", "mode", "data", "target", "entries", "parent", "durable", "pending", "cache")

    def __init__(self, kind, mode, parent=None, target=None):
        self.kind = kind
        self.mode = mode
        self.parent = parent
        self.target = target
        self.data = bytearray() if kind == FILE else None
        self.entries = {} if kind == DIRECTORY else None
        self.durable = {} if kind == DIRECTORY else b""
        self.pending = []
        self.cache = {}


class Disk:
    def __init__(self, tree=None):
        """tree: what is there at first and durable, as tree() gives it."""
        self.nodes = [Node(DIRECTORY, 0o700)]
        for path, (kind, mode, content) in sorted((tree or {}).items()):
            parent, name = self._parent_of(path)
            node = self.create(parent, name, kind, mode, content if kind == LINK else None)
            if kind == FILE:
                self.write(node, 0, content)
        self.sync()

    def _parent_of(self, path):
        *parents, name = path.split("/")
        at = ROOT
        for part in parents:
            at = self.nodes[at].entries[part]
        return at, name

    def at(self, number):
        return self.nodes[number]

    # changes of names

    def _enter(self, parent, change):
        self.at(parent).pending.append(change)
        self.at(parent).cache.clear()
        apply_to_names(self.at(parent).entries, change)

    def create(self, parent, name, kind, mode, target=None):
        self.nodes.append(Node(kind, mode, parent, target))
        number = len(self.nodes) - 1
        self._enter(parent, (None, name, number))
        return number

    def link(self, number, parent, name):
        self._enter(parent, (None, name, number))

    def unlink(self, parent, name):
        self._enter(parent, (name, None, None))

    def rename(self, parent, name, to_parent, to_name):
        number = self.at(parent).entries[name]
        if self.at(to_parent).entries.get(to_name) == number:
            return
        if parent == to_parent:
            self._enter(parent, (name, to_name, number))
        else:
            self._enter(parent, (name, None, None))
            self._enter(to_parent, (None, to_name, number))
        if self.at(number).kind == DIRECTORY:
            self.at(number).parent = to_parent

    # changes of bytes

    def _change(self, number, change):
        node = self.at(number)
        node.pending.append(change)
        node.cache.clear()
        apply_to_bytes(node.data, change)

    def write(self, number, offset, data):
        if data:
            self._change(number, (offset, bytes(data)))

    def truncate(self, number, size):
        if size != len(self.at(number).data):
            self._change(number, (size, None))

    def chmod(self, number, mode):
        self.at(number).mode = mode

    # durability

    def fsync(self, number):
        node = self.at(number)
        if node.pending and node.kind in (FILE, DIRECTORY):
            node.durable = bytes(node.data) if node.kind == FILE else dict(node.entries)
            node.cache.clear()
        node.pending = []

    def sync(self):
        for number in range(len(self.nodes)):
            self.fsync(number)

    # what is there

    def lookup(self, path, start=ROOT):
        """The number of what has this path, as programs see it; None when there is nothing."""
        at = start
        for part in filter(None, path.split("/")):
            node = self.at(at)
            if node.kind != DIRECTORY:
                return None
            if part == "..":
                at = node.parent if node.parent is not None else ROOT
            elif part != ".":
                at = node.entries.get(part)
            if at is None:
                return None
        return at

    def path_of(self, number):
        """One of its names; None when it has none any more."""
        if number == ROOT:
            return ""
        for at, node in enumerate(self.nodes):
            for name in node.entries or ():
                if node.entries[name] == number:
                    above = self.path_of(at)
                    if above is not None:
                        return f"{above}/{name}" if above else name
        return None

    def content(self, number):
        return bytes(self.at(number).data)

    def tree(self, variant="kept", seed=0, leave_out=()):
        """{path: (kind, mode, bytes or target)} of what is left. leave_out: endings of names that are not looked at."""
        chance = random.Random(seed)
        view = VIEWS[variant]
        found = {}
        waiting = [("", ROOT)]
        while waiting:
            path, number = waiting.pop()
            node = self.at(number)
            if path:
                content = node.target if node.kind == LINK else None
                if node.kind == FILE:
                    content = view(node, chance)
                found[path] = (node.kind, node.mode, content)
            if node.kind == DIRECTORY:
                names = view(node, chance)
                for name in sorted(names, reverse=True):
                    if not name.endswith(leave_out or "\0"):
                        waiting.append((f"{path}/{name}" if path else name, names[name]))
        return found


def apply_to_names(entries, change):
    old, new, number = change
    if old is not None and (new is None or entries.get(old) == number):
        entries.pop(old, None)
    if new is not None:
        entries[new] = number


def apply_to_bytes(data, change):
    at, piece = change
    if piece is None:
        if at < len(data):
            del data[at:]
        else:
            data.extend(bytes(at - len(data)))
        return
    if at > len(data):
        data.extend(bytes(at - len(data)))
    data[at : at + len(piece)] = piece


def _cached(name, look):
    """look(node), looked at once for each state of the node."""

    def cached(node, _):
        if name not in node.cache:
            node.cache[name] = look(node)
        return node.cache[name]

    return cached


def _durable(node):
    return node.durable


def _kept(node):
    return bytes(node.data) if node.kind == FILE else node.entries


def _names(node):
    return node.durable if node.kind == FILE else node.entries


def _zeros(node):
    if node.kind == DIRECTORY:
        return node.entries
    return node.durable + bytes(max(0, len(node.data) - len(node.durable)))


def _without_some(changes, chance):
    keep = chance.choice((0.2, 0.5, 0.8))
    return [change for change in changes if chance.random() < keep]


def _first_ones(changes, chance):
    """The first of them; the next one perhaps in part, cut where a disk's sector ends."""
    count = chance.randint(0, len(changes))
    kept = list(changes[:count])
    if count < len(changes) and changes[count][1] is not None:
        offset, piece = changes[count]
        cut = chance.randrange(0, len(piece) + 1, 512)
        if cut:
            kept.append((offset, piece[:cut]))
    return kept


def _partly(node, chance, choose):
    if not node.pending:
        return node.durable
    if node.kind == DIRECTORY:
        left, apply, changes = dict(node.durable), apply_to_names, _without_some(node.pending, chance)
    else:
        left, apply, changes = bytearray(node.durable), apply_to_bytes, choose(node.pending, chance)
    for change in changes:
        apply(left, change)
    return left if node.kind == DIRECTORY else bytes(left)


def _some(node, chance):
    return _partly(node, chance, _first_ones)


def _other(node, chance):
    return _partly(node, chance, chance.choice((_first_ones, _without_some)))


VIEWS = {
    "lost": _cached("lost", _durable),
    "kept": _cached("kept", _kept),
    "names": _cached("names", _names),
    "zeros": _cached("zeros", _zeros),
    "some": _some,
    "other": _other,
}


def digest_of(tree, memory):
    """Equal for equal trees. memory: a dictionary that is kept between calls; most of the bytes were seen before."""
    total = hashlib.blake2b(digest_size=16)
    for path in sorted(tree):
        kind, mode, content = tree[path]
        total.update(f"{path}\0{kind}\0{mode:o}\0".encode(errors="surrogateescape"))
        if kind == FILE:
            if id(content) not in memory:  # with the bytes themselves, so that the number stays theirs
                memory[id(content)] = content, hashlib.blake2b(content, digest_size=16).digest()
            total.update(memory[id(content)][1])
        elif kind == LINK:
            total.update(content.encode(errors="surrogateescape"))
    return total.digest()
