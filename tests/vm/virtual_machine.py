# SPDX-License-Identifier: MIT
"""A machine with a kernel of its own, in qemu's translator (no KVM: a test machine has none, or is itself virtual).

What the containers of tests/systemd cannot have where the host keeps the controllers of cgroup v2 to itself is here:
all of them, and the build's service started by the boot. Commands go in through a serial port (inside.py).
"""

import json
import os
import platform
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import harness
import vm_image
from systemd_machine import USERS, Machine

QEMU = "qemu-system-x86_64"
MEMORY = "640M"
BOOT_SECONDS = 180
COMMAND_LINE = (
    "console=ttyS0 panic=-1 quiet rdinit=/lib/systemd/systemd systemd.unit=multi-user.target systemd.show_status=0"
    " systemd.mask=getty.target systemd.firstboot=0 cgroup_no_v1=all"
)


def why_not():
    """Why no machine can be had here; None: one can."""
    if platform.machine() != "x86_64":
        return "only x86_64 has a virtual machine here"
    for program in (QEMU, "cpio", "apt-get", "dpkg-query", "setpriv", "systemctl"):
        if shutil.which(program) is None:
            return f"{program} is not installed (scripts/install-deps ci)"
    return None


class VirtualMachine(Machine):
    """The machine of tests/systemd, but for how it is made and how a command gets into it."""

    def __init__(self, config=""):
        self.folder = Path(tempfile.mkdtemp(prefix="vm-", dir="/var/tmp"))
        self.config = config
        self.log = self.folder / "console.log"
        self.process = None
        self.heard = b""

    # its life

    def boot(self):
        kernel = vm_image.kernel(self.folder)
        ramdisk = vm_image.ramdisk(self.folder, self.config)
        command = [QEMU, "-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max", "-M", "q35"]
        command += ["-smp", "2", "-m", MEMORY]
        command += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        command += ["-kernel", kernel, "-initrd", ramdisk, "-append", COMMAND_LINE]
        command += ["-serial", f"file:{self.log}", "-serial", "stdio"]
        with open(self.folder / "qemu.log", "wb") as errors:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *map(os.fspath, command)], stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, start_new_session=True, cwd="/",
            )
        assert self._hear(BOOT_SECONDS) == {"ready": True}
        harness.wait_for(self.is_up, "systemd is up", timeout=BOOT_SECONDS)
        for name, uid in USERS.items():
            self.run("useradd", "--uid", str(uid), "--create-home", "--shell", "/bin/bash", name)
        return self

    def close(self):
        """Nothing is left: no process, no folder."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate(timeout=20)
        harness.remove(self.folder)

    # in it

    def _execute(self, command, timeout, given):
        asked = {"command": list(command), "input": given, "timeout": timeout}
        self.process.stdin.write(json.dumps(asked).encode() + b"\n")
        self.process.stdin.flush()
        said = self._hear(timeout + 30)
        if "late" in said:
            raise subprocess.TimeoutExpired(command, timeout, said["stdout"], said["stderr"])
        return subprocess.CompletedProcess(command, said["returncode"], said["stdout"], said["stderr"])

    def _hear(self, seconds):
        """The next line that it says."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self.heard:
            port = self.process.stdout.fileno()
            ready, _, _ = select.select([port], [], [], max(0, deadline - time.monotonic()))
            more = os.read(port, 65536) if ready else b""
            assert more, f"{'it ended' if ready else f'it said nothing for {seconds} s'}: {self._last_words()}"
            self.heard += more
        line, _, self.heard = self.heard.partition(b"\n")
        return json.loads(line)

    def _last_words(self):
        files = [path for path in (self.log, self.folder / "qemu.log") if path.exists()]
        return "".join(path.read_text(errors="replace")[-3000:] for path in files)
