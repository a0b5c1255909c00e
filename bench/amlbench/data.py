# SPDX-License-Identifier: MIT
"""Generated trees and the scripts that runs execute."""

import mmap
import os
import random
import time

PYTHON = "/usr/bin/python3"

EMPTY = ""

# Lives until nobody holds the pipe's other end open: it ends with the bench, however that ends.
HOLD = """\
import os, sys
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
os.set_blocking(fd, True)
os.read(fd, 1)
"""

# print.py MEGABYTES SEED STAMP: that much on stdout in blocks of 1 MB; the times of its first line and of
# its last byte go to the file STAMP.
PRINT = """\
import time
began = time.time()
import os, random, sys
megabytes, seed, stamp = int(sys.argv[1]), sys.argv[2], sys.argv[3]
block = memoryview((("%064x\\n" % random.Random(seed).getrandbits(256)) * 16133)[: 1 << 20].encode())
for _ in range(megabytes):
    rest = block
    while rest:
        rest = rest[os.write(1, rest):]
ended = time.time()
with open(stamp, "w") as file:
    file.write(f"{began!r} {ended!r}")
"""

# store.py MEGABYTES SEED STAMP [sync]: that much random data in outputs/big.bin, then the time, to the file STAMP.
STORE = """\
import os, random, sys, time
megabytes, seed, stamp = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dice = random.Random(seed)
os.makedirs("outputs", exist_ok=True)
with open("outputs/big.bin", "wb") as file:
    for _ in range(megabytes):
        file.write(dice.getrandbits(8 << 20).to_bytes(1 << 20, "little"))
    file.flush()
    if "sync" in sys.argv[4:]:
        os.fsync(file.fileno())
with open(stamp, "w") as file:
    file.write(repr(time.time()))
"""

SCRIPTS = {"empty.py": EMPTY, "hold.py": HOLD, "print.py": PRINT, "store.py": STORE}


def write_scripts(folder):
    """Each script alone in a folder of its name, as somebody's project is. Returns name -> folder."""
    folders = {}
    for name, text in SCRIPTS.items():
        folders[name] = os.path.join(folder, name[: -len(".py")])
        os.makedirs(folders[name])
        with open(os.path.join(folders[name], name), "w") as file:
            file.write(text)
    return folders


def write_small_project(folder):
    """A few files of a few KB, as most projects are."""
    dice = random.Random(1)
    os.makedirs(os.path.join(folder, "lib"))
    for name in ("train.py", "README.md", "params.yaml", "lib/model.py", "lib/data.py"):
        with open(os.path.join(folder, name), "wb") as file:
            file.write(b"" if name == "train.py" else dice.getrandbits(8 * 3000).to_bytes(3000, "little"))
    return folder


def write_tree(folder, files, megabytes):
    """So many files of very different sizes and random content in files/100 folders two levels deep,
    with an empty empty.py at the top. Returns the bytes written."""
    dice = random.Random(2)
    weights = [dice.lognormvariate(0, 1.2) for _ in range(files - 1)]
    scale = megabytes * 1_000_000 / sum(weights)
    os.makedirs(folder)
    with open(os.path.join(folder, "empty.py"), "w"):
        pass
    total = 0
    folders = max(1, files // 100)
    for at, weight in enumerate(weights):
        number = at % folders
        place = os.path.join(folder, f"part-{number // 10:02d}", f"set-{number % 10}")
        if at < folders:
            os.makedirs(place, exist_ok=True)
        size = max(16, int(weight * scale))
        with open(os.path.join(place, f"item-{at:05d}.bin"), "wb") as file:
            file.write(dice.getrandbits(8 * size).to_bytes(size, "little"))
        total += size
    return total


def read_all(folder):
    """Bring a tree into the page cache."""
    for place, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(place, name), "rb") as file:
                while file.read(1 << 20):
                    pass


def touch_memory(megabytes):
    """A virtual machine gets its memory from the host when it first touches it, which is slow, and may give
    free memory back: let it have some at hand before anything is measured."""
    size = megabytes << 20
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory[0:size:4096] = b"\1" * (size // 4096)
    memory.close()


def seconds_per_file(folder, count=500):
    """What it takes to make an empty file here. ext4 does not use an inode again that was freed in the last
    minutes and looks at each of them for every new file: after the removal of a large tree this is fifty
    times slower than otherwise, for whoever comes next."""
    os.makedirs(folder)
    began = time.perf_counter()
    for number in range(count):
        os.close(os.open(os.path.join(folder, str(number)), os.O_WRONLY | os.O_CREAT))
    return (time.perf_counter() - began) / count
