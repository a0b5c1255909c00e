# SPDX-License-Identifier: MIT
"""Building the Debian package, and a machine to throw away for installing it.

The machine is this one's files below an overlay, in namespaces of its own: what is written goes to a tmpfs, and all of
it, processes included, ends with the first process.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENV = {"PATH": PATH, "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
BUILD_SECONDS = 500


def run(*command, timeout=60, check=True, **options):
    """What it printed, both streams together; `check`: it must end with 0."""
    done = subprocess.run([os.fspath(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=timeout, **options)
    assert not check or done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def wait_for(look, what, seconds=30):
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.05)
    return found


def project_files():
    """All that git has or would take."""
    listed = subprocess.run(["git", "-C", REPO, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            capture_output=True, timeout=60, check=True).stdout
    names = {os.fsdecode(name) for name in listed.split(b"\0") if name}
    return sorted(name for name in names if os.path.lexists(REPO / name))


def tree(folder):
    """{path: (mode, size, time)} of all that is in it."""
    found = {}
    for base, folders, files in os.walk(folder):
        for name in folders + files:
            info = os.lstat(os.path.join(base, name))
            path = os.path.relpath(os.path.join(base, name), folder)
            found[path] = (info.st_mode, info.st_size, info.st_mtime_ns) if name in files else info.st_mode
    return found


class Package:
    def __init__(self, folder):
        self.source = Path(folder)
        for name in project_files():
            target = self.source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPO / name, target, follow_symlinks=False)
        before = tree(self.source)
        self.said = run("make", "-s", "deb", cwd=self.source, timeout=BUILD_SECONDS,
                        env={**ENV, "TMPDIR": str(self.source.parent)})
        after = tree(self.source)
        self.changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        self.path = next(path for path in (self.source / "dist").iterdir() if path.name.startswith("amlagent_"))

    def field(self, name):
        return run("dpkg-deb", "--field", self.path, name).strip()

    def contents(self):
        """{path: "drwxr-xr-x root/root"}"""
        lines = [line.split(None, 5) for line in run("dpkg-deb", "--contents", self.path).splitlines()]
        return {words[5].removeprefix("."): f"{words[0]} {words[1]}" for words in lines}

    def newer(self, folder, version):
        """The same package of another version, as an upgrade meets it."""
        tree_of_it = Path(folder) / "newer"
        run("dpkg-deb", "--raw-extract", self.path, tree_of_it)
        control = tree_of_it / "DEBIAN/control"
        control.write_text(control.read_text().replace(f"Version: {self.field('Version')}\n", f"Version: {version}\n"))
        made = Path(folder) / f"amlagent_{version}.deb"
        run("dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree_of_it, made)
        shutil.rmtree(tree_of_it)
        return made


BOOT = """
set -e
mount -t tmpfs -o mode=755 none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay none -o lowerdir=/,upperdir="$1/upper",workdir="$1/work" "$1/root"
mount -t proc none "$1/root/proc"
mount --rbind /dev "$1/root/dev"
for folder in tmp run var/tmp; do mount -t tmpfs none "$1/root/$folder"; done
printf '#!/bin/sh\\nexit 101\\n' >"$1/root/usr/sbin/policy-rc.d"
chmod 755 "$1/root/usr/sbin/policy-rc.d"
mount --bind "$1/upper" "$1/root/mnt"
# It takes in what others leave behind, as an init must.
exec chroot "$1/root" bash -c 'sleep infinity & wait'
"""


class Machine:
    """What is below `upper` is what differs from this machine."""

    def __init__(self, folder):
        self.folder = Path(folder) / "machine"
        self.folder.mkdir()
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private",
             "sh", "-c", BOOT, "sh", str(self.folder)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=ENV)
        self.init = wait_for(self._init, "the machine is there", 20)

    def _init(self):
        assert self.process.poll() is None, self.process.stdout.read().decode()
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "bash":
                    return int(pid)
        return None

    def command(self, *words):
        return ["nsenter", "-t", str(self.init), "-m", "-p", "-r", "-w", *map(os.fspath, words)]

    def run(self, *words, **options):
        options.setdefault("env", ENV)
        return run(*self.command(*words), **options)

    def sh(self, text, **options):
        return self.run("sh", "-c", text, **options)

    def put(self, path, name):
        """A file of ours, in its /tmp."""
        with open(path, "rb") as file:
            subprocess.run(self.command("sh", "-c", f"cat >/tmp/{name}"), stdin=file, check=True, timeout=60, env=ENV)
        return f"/tmp/{name}"

    def start(self, *words):
        """In the background, until the machine ends."""
        return subprocess.Popen(self.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL, env=ENV, start_new_session=True)

    def written(self):
        """What differs: paths."""
        return set(self.sh("cd /mnt && find . ! -type d -printf '/%P\\n'").splitlines())

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.init, signal.SIGKILL)
        self.process.wait(20)
        self.process.stdout.close()
        os.rmdir(self.folder)
