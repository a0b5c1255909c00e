# SPDX-License-Identifier: MIT
"""A machine of the tests' own: a real systemd (./boot), with this build installed as a package would install it."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "blackbox"))
import harness

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("AMLAGENT_BUILD_DIR") or harness.REPO / "build").resolve()
USERS = {"ana": 4101, "bob": 4102}
SOCKET = "/run/amlagent/amlagentd.sock"


def cgroup_mount():
    """Where cgroup v2 is mounted; None: nowhere."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind = line.split()[:3]
        if kind == "cgroup2":
            return Path(where)
    return None


def why_not():
    """Why no machine can be had here; None: one can."""
    if os.geteuid() != 0:
        return "only root can boot a systemd"
    if not Path("/lib/systemd/systemd").exists():
        return "systemd is not installed"
    if cgroup_mount() is None:
        return "no cgroup v2 is mounted"
    if shutil.which("unshare") is None:
        return "unshare (util-linux) is not installed"
    with tempfile.TemporaryDirectory(prefix="boot-") as folder:
        script = (
            f"mount -t tmpfs tmpfs {folder} && mkdir {folder}/u {folder}/w {folder}/r && "
            f"mount -t overlay -o lowerdir=/,upperdir={folder}/u,workdir={folder}/w overlay {folder}/r"
        )
        done = subprocess.run(
            "unshare --mount --pid --cgroup --net --fork --propagation private sh -c".split() + [script],
            capture_output=True, text=True, timeout=30,
        )
    return f"no overlay of / can be mounted: {done.stderr.strip()}" if done.returncode else None


def installed(folder):
    """What the build installs, below folder; its prefix is the build's."""
    done = subprocess.run(
        ["meson", "install", "-C", str(BUILD), "--no-rebuild", "--quiet", "--destdir", str(folder)],
        capture_output=True, text=True, timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder

TICKER = """
import os, time
print("pid", os.getpid(), os.getppid(), flush=True)
count = 0
while not os.path.exists("{go}"):
    print("tick", count, flush=True)
    count += 1
    time.sleep(0.05)
print("end", count, flush=True)
"""


class Ticker:
    """A run of which it can be told whether it was disturbed."""

    def __init__(self, machine, run, user, go):
        self.machine, self.run, self.user, self.go = machine, run, user, go

    def lines(self):
        """Whole ones: a print() may be several writes."""
        return self.machine.amlctl("logs", self.run, user=self.user).stdout.rpartition("\n")[0].splitlines()

    def goes_on(self):
        """It counts, now."""
        self.machine.status_is(self.run, "Running", user=self.user)
        seen = len(harness.wait_for(self.lines, f"{self.run} says something"))
        harness.wait_for(lambda: len(self.lines()) > seen, f"{self.run} counts on")
        return self

    def pids(self):
        """Its process and its supervisor, as the machine numbers them."""
        return tuple(map(int, self.lines()[0].split()[1:]))

    def ends_undisturbed(self):
        """It is let go; it has the end of its own and every line that it wrote."""
        self.machine.run("touch", self.go)
        record = self.machine.status_is(self.run, "Completed", user=self.user)
        lines = self.lines()
        count = int(lines[-1].removeprefix("end "))
        assert lines[1:-1] == [f"tick {number}" for number in range(count)], lines[-5:]
        assert record["exit_code"] == 0 and record["error"] is None, record
        return record


class Machine:
    """boot() it, run commands in it, power_off(), boot() it again: what is below /var/lib/amlagent stays."""

    def __init__(self, config=""):
        self.folder = Path(tempfile.mkdtemp(prefix="machine-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        self.package = installed(self.folder / "package")
        self.state = self.folder / "state"
        self.state.mkdir(mode=0o711)
        self.config = config
        self.log = self.folder / "boot.log"
        self.process = None
        self.init = None
        self.cgroup = None

    # its life

    def boot(self):
        assert self.process is None
        self.cgroup = cgroup_mount() / f"amlagent-machine-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.cgroup.mkdir()
        command = [str(HERE / "boot"), "--boot-id", str(uuid.uuid4())]
        command += ["--bind", str(self.state), "/var/lib/amlagent", "--bind", str(self.package), "/package"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(self.cgroup), *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/",
            )
        self.init = harness.wait_for(self._find_init, "systemd is started")
        harness.wait_for(self.is_up, "systemd is up", timeout=60)
        self._install()
        return self

    def _find_init(self):
        assert self.process.poll() is None, f"no machine: {self.log.read_text(errors='replace')[-2000:]}"
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for child in children:
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        return None

    def is_up(self):
        """Does its systemd answer, and is its boot over?"""
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in ("running", "degraded")

    def _install(self):
        self.run("cp", "-a", "/package/.", "/")
        self.run("systemctl", "daemon-reload")
        self.run("systemd-sysusers")
        for name, uid in USERS.items():
            self.run("useradd", "--uid", str(uid), "--create-home", "--shell", "/bin/bash", name)
        self.write("/etc/amlagent/amlagentd.conf", self.config)

    def power_off(self):
        self.run("systemctl", "poweroff", check=False)
        self.process.wait(120)
        self._forget()

    def lose_power(self):
        """All its processes end at one instant."""
        self.process.kill()  # unshare; --kill-child ends the machine with it
        self.process.wait(20)
        self._forget()

    def close(self):
        """Nothing is left: no process, no mount (they were the machine's own), no cgroup, no folder."""
        if self.process is not None:
            self.lose_power()
        harness.remove(self.folder)

    def _forget(self):
        self.process = self.init = None

        def gone():
            for base, _, _ in os.walk(self.cgroup, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(base)
            return not self.cgroup.exists()

        harness.wait_for(gone, f"{self.cgroup} is empty")

    # in it

    def run(self, *command, user=None, check=True, timeout=60, input=None, env=None):
        """A command to its end, as root or as a user with his login's environment."""
        if user is not None:
            home = f"/home/{user}"
            given = {"HOME": home, "USER": user, "PATH": "/usr/local/bin:/usr/bin:/bin", **(env or {})}
            become = f"setpriv --reuid={user} --regid={user} --init-groups --reset-env env -C {home}".split()
            command = [*become, *[f"{key}={value}" for key, value in given.items()], *command]
        done = self._execute(command, timeout, input)
        assert not check or done.returncode == 0, (command, done.returncode, done.stdout[-3000:], done.stderr[-3000:])
        return done

    def _execute(self, command, timeout, given):
        inside = ["nsenter", "-t", str(self.init), "-m", "-u", "-i", "-n", "-p", "-C", "--", *command]
        return subprocess.run(inside, capture_output=True, text=True, timeout=timeout, input=given, cwd="/")

    def write(self, path, text):
        """A file of root's, as the machine sees it."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$0")" && cat >"$0"', path, input=text)

    def systemctl(self, *arguments, **options):
        return self.run("systemctl", *arguments, **options).stdout

    def property(self, unit, name):
        return self.systemctl("show", unit, "--property", name, "--value").strip()

    def main_pid(self, unit="amlagentd.service"):
        """As the machine numbers it; 0: none."""
        return int(self.property(unit, "MainPID"))

    def is_alive(self, pid):
        return self.run("test", "-d", f"/proc/{pid}", check=False).returncode == 0

    def journal(self, *matches):
        """Entries, the oldest first."""
        self.run("journalctl", "--sync")
        text = self.run("journalctl", "-o", "json", "--no-pager", *matches, check=False).stdout
        return [json.loads(line) for line in text.splitlines()]

    # amlagent

    def amlctl(self, *arguments, user="ana", **options):
        return self.run("amlctl", *arguments, user=user, **options)

    def submit(self, script, user="ana", options=(), arguments=()):
        """The id of a run that was submitted and goes on."""
        folder = f"/home/{user}/{uuid.uuid4().hex[:8]}"
        self.run("sh", "-c", f"mkdir {folder} && cat >{folder}/main.py", user=user, input=script)
        done = self.amlctl("run", "-d", "-C", folder, *options, "main.py", *arguments, user=user)
        return done.stdout.strip()

    def ticker(self, user="ana", options=()):
        """A run that counts until it is told to end."""
        go = f"/tmp/go-{uuid.uuid4().hex[:8]}"
        return Ticker(self, self.submit(TICKER.format(go=go), user, options), user, go)

    def record(self, run, user="ana"):
        return json.loads(self.amlctl("show", run, "-o", "json", user=user).stdout)

    def status_is(self, run, *statuses, user="ana", timeout=60):
        def there():
            record = self.record(run, user)
            assert record["status"] in statuses or record["status"] not in harness.ENDED, record
            return record if record["status"] in statuses else None

        return harness.wait_for(there, f"{run} is {statuses}", timeout=timeout)


