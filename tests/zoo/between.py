# SPDX-License-Identifier: MIT
"""Shows neither arguments nor environment, as execve() does for a moment: until a byte comes, and then it does that."""
import ctypes
import os
import sys

SECONDS = "60"
PR_SET_MM, PR_SET_MM_MAP = 35, 14


class Map(ctypes.Structure):
    """struct prctl_mm_map: where the kernel finds what of a process."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "start_code", "end_code", "start_data", "end_data", "start_brk", "brk", "start_stack", "arg_start", "arg_end",
            "env_start", "env_end", "auxv",
        )
    ] + [("auxv_size", ctypes.c_uint32), ("exe_fd", ctypes.c_uint32)]  # fmt: skip


with open("/proc/self/stat") as file:
    fields = [0, 0, 0, *file.read().rpartition(")")[2].split()]  # as proc(5) counts them
libc = ctypes.CDLL(None)
libc.sbrk.restype = ctypes.c_void_p
mine = Map(
    start_code=int(fields[26]), end_code=int(fields[27]), start_stack=int(fields[28]), start_data=int(fields[45]),
    end_data=int(fields[46]), start_brk=int(fields[47]), brk=libc.sbrk(0), arg_start=int(fields[48]),
    arg_end=int(fields[48]), env_start=int(fields[50]), env_end=int(fields[50]), exe_fd=0xFFFFFFFF,
)  # fmt: skip
zero = ctypes.c_ulong(0)
if libc.prctl(PR_SET_MM, PR_SET_MM_MAP, ctypes.byref(mine), ctypes.c_ulong(ctypes.sizeof(mine)), zero):
    sys.exit("this kernel cannot")
print("ready", flush=True)
os.read(0, 1)
os.execv("/bin/sleep", ["sleep", SECONDS])
