# SPDX-License-Identifier: MIT
"""The package below a real systemd: installed it serves, upgraded it loses nothing, removed it leaves runs alone,
purged it leaves nothing."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "systemd"))

import systemd_machine  # noqa: E402
from systemd_machine import USERS, harness  # noqa: E402

pytestmark = pytest.mark.timeout(600)

# A client that asks all the time, each time anew: what it was refused, and how often it was answered.
ASKER = """
asked=0
while [ ! -e /tmp/enough ]; do
	amlctl --no-autostart list >/dev/null 2>>/tmp/refused || echo "ended with $?" >>/tmp/refused
	asked=$((asked + 1))
done
echo "$asked"
"""


class PackageMachine(systemd_machine.Machine):
    """Nothing is installed but the package, by dpkg."""

    def __init__(self, package):
        self.folder = Path(tempfile.mkdtemp(prefix="machine-", dir="/var/tmp"))
        self.folder.chmod(0o755)
        self.package = self.folder / "package"
        self.package.mkdir()
        shutil.copy(package.path, self.package / "a.deb")
        shutil.copy(package.newer(self.folder, "99.0"), self.package / "b.deb")
        self.state = self.folder / "state"
        self.state.mkdir(mode=0o711)
        self.log = self.folder / "boot.log"
        self.process = self.init = self.cgroup = None

    def _install(self):
        # Packages may start their services here, whatever holds outside.
        self.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n")
        self.run("chmod", "755", "/usr/sbin/policy-rc.d")
        self.dpkg("--purge", "amlagent", check=False)
        for name, uid in USERS.items():
            self.run("useradd", "--uid", str(uid), "--create-home", "--shell", "/bin/bash", name)
        self.dpkg("--install", "/package/a.deb")

    def dpkg(self, *words, check=True):
        return self.run("dpkg", *words, check=check, timeout=200, env=None)

    def is_active(self, unit):
        return self.property(unit, "ActiveState") == "active"


@pytest.fixture
def machine(package):
    why = systemd_machine.why_not()
    if why:
        pytest.skip(why)
    made = PackageMachine(package)
    try:
        yield made.boot()
    finally:
        made.close()


def no_process_is_left(machine):
    def none():
        return machine.run("pgrep", "-a", "amlagent", check=False).stdout == ""

    harness.wait_for(none, "no process of it is left")


def test_installed_it_serves_and_an_upgrade_loses_nothing(machine):
    for unit in ("amlagentd.socket", "amlagentd.service", "amlagent-runs.service"):
        assert machine.is_active(unit), machine.systemctl("status", unit, check=False)
    tickers = [machine.ticker(user).goes_on() for user in USERS]
    daemon, holder = machine.main_pid(), machine.main_pid("amlagent-runs.service")
    socket = machine.run("stat", "-c", "%i", systemd_machine.SOCKET).stdout
    asker = subprocess.Popen(
        ["nsenter", "-t", str(machine.init), "-m", "-u", "-i", "-n", "-p", "-C", "--",
         "setpriv", "--reuid=ana", "--regid=ana", "--init-groups", "sh", "-c", ASKER],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/")
    try:
        machine.dpkg("--install", "/package/b.deb")
        assert machine.is_active("amlagentd.service")
        for ticker in tickers:
            ticker.goes_on()
    finally:
        machine.run("touch", "/tmp/enough")
        asked, errors = asker.communicate(timeout=60)
    assert int(asked) > 5 and not errors
    assert machine.run("cat", "/tmp/refused").stdout == ""
    assert machine.main_pid() not in (0, daemon)
    assert machine.main_pid("amlagent-runs.service") == holder
    assert machine.run("stat", "-c", "%i", systemd_machine.SOCKET).stdout == socket
    for ticker in tickers:
        ticker.ends_undisturbed()


def test_removed_it_leaves_runs_alone_and_installed_again_it_has_them(machine):
    ticker = machine.ticker().goes_on()
    pids = ticker.pids()
    assert "1 runs go on" in machine.dpkg("--remove", "amlagent").stdout
    assert not machine.is_active("amlagentd.service") and not machine.is_active("amlagentd.socket")
    assert all(machine.is_alive(pid) for pid in pids)
    machine.dpkg("--install", "/package/a.deb")
    ticker.goes_on().ends_undisturbed()


def test_removed_without_runs_nothing_of_it_goes_on(machine):
    assert "go on" not in machine.dpkg("--remove", "amlagent").stdout
    assert not machine.is_active("amlagent-runs.service")
    no_process_is_left(machine)


def test_purged_it_leaves_nothing(machine):
    tickers = [machine.ticker(user).goes_on() for user in USERS]
    pids = [pid for ticker in tickers for pid in ticker.pids()]
    machine.dpkg("--purge", "amlagent")
    harness.wait_for(lambda: not any(machine.is_alive(pid) for pid in pids), "the runs are ended")
    no_process_is_left(machine)
    harness.wait_for(lambda: not machine.is_active("amlagent-runs.service"), "the place of the runs is gone")
    assert "amlagent" not in machine.systemctl("--failed", "--plain", "--no-legend")
    # The folder itself is a mount of this test's machine.
    assert os.listdir(machine.state) == []
    assert machine.run("sh", "-c", "ls -d /run/amlagent /etc/amlagent 2>/dev/null || true").stdout == ""
