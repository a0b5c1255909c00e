# SPDX-License-Identifier: MIT
"""The Debian package: built, looked at, installed, upgraded, removed and purged on a machine to throw away."""

import os
import re
import shutil

import pytest

import package_harness
from package_harness import REPO, wait_for

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="no Debian"),
]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a machine to throw away")

FILES = {
    "/etc/amlagent/amlagentd.conf",
    "/usr/bin/amlagentd",
    "/usr/bin/amlctl",
    "/usr/lib/systemd/user/amlagentd.service",
    "/usr/lib/systemd/user/amlagentd.socket",
    "/usr/lib/sysusers.d/amlagent.conf",
    "/usr/lib/tmpfiles.d/amlagent.conf",
    "/usr/libexec/amlagent/amlagent-git-info",
    "/usr/libexec/amlagent/amlagent-stop-runs",
    "/usr/libexec/amlagent/amlagent-supervisor",
    "/usr/libexec/amlagent/amlagent-user-helper",
    "/usr/share/amlagent/openapi.yaml",
    "/usr/share/bash-completion/completions/amlctl",
    "/usr/share/lintian/overrides/amlagent",
    "/usr/share/man/man1/amlctl.1.gz",
    "/usr/share/man/man5/amlagentd.conf.5.gz",
    "/usr/share/man/man8/amlagent-supervisor.8.gz",
    "/usr/share/man/man8/amlagentd.8.gz",
    "/usr/share/zsh/vendor-completions/_amlctl",
}
UNITS = {"amlagent-runs.service", "amlagent.slice", "amlagentd.service", "amlagentd.socket"}
CONFIG = "/etc/amlagent/amlagentd.conf"
# What installing and purging any package leaves.
OF_DPKG = re.compile(r"/(var/(lib|log|cache)/(dpkg|apt|man|systemd|alternatives)|var/log/|usr/sbin/policy-rc\.d|root/"
                     r"|etc/(\.pwd\.lock|ld\.so\.cache|g?shadow|group))")


def test_it_is_built_without_touching_the_sources(package):
    assert {name for name in package.changed if not name.startswith("dist/")} <= {"dist"}
    assert sorted(package.said.split("\n"))[-1].endswith(package.path.name)


def test_the_version_is_mesons(package):
    version = re.search(r"^ *version: '(.*)',", (REPO / "meson.build").read_text(), re.M)[1]
    assert package.field("Version") == version and version in package.path.name


def test_it_holds_what_belongs_there_and_nothing_else(package):
    contents = package.contents()
    files = {path for path, kind in contents.items() if not kind.startswith("d")}
    units = {path for path in files if "/systemd/system/" in path}
    assert {os.path.basename(path) for path in units} == UNITS
    assert files - units - {path for path in files if path.startswith("/usr/share/doc/amlagent/")} == FILES
    assert {kind.split()[1] for kind in contents.values()} == {"root/root"}
    modes = {path: kind.split()[0] for path, kind in contents.items()}
    assert {mode for mode in modes.values()} == {"drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x"}
    assert {path for path, mode in modes.items() if mode == "-rwxr-xr-x"} == \
        {path for path in files if path.startswith(("/usr/bin/", "/usr/libexec/"))}


def test_its_programs_name_no_folder_of_the_build(package, tmp_path):
    package_harness.run("dpkg-deb", "--extract", package.path, tmp_path)
    for path in FILES:
        if path.startswith(("/usr/bin/", "/usr/libexec/", "/usr/lib/")):
            assert os.fsencode(package.source.parent) not in (tmp_path / path[1:]).read_bytes(), path
    for unit in UNITS | {"../user/amlagentd.service"}:
        text = next(tmp_path.glob(f"**/systemd/system/{unit}")).read_text() if "/" not in unit else \
            (tmp_path / "usr/lib/systemd/user/amlagentd.service").read_text()
        for program in re.findall(r"^Exec\w+=[-+!@]*(/\S+)", text, re.M):
            assert program in FILES or os.path.exists(program), (unit, program)


@pytest.fixture
def machine(tmp_path):
    made = package_harness.Machine(tmp_path)
    # A package of the same name that this machine may have.
    made.sh("dpkg --purge amlagent >/dev/null 2>&1 || true")
    yield made
    made.close()


def enabled(machine):
    return set(machine.sh("find /etc/systemd -name 'amlagent*' -printf '%P\\n'").split())


@needs_root
def test_installed_it_is_enabled_and_works(package, machine):
    machine.run("dpkg", "--install", machine.put(package.path, "a.deb"))
    assert enabled(machine) == {"system/multi-user.target.wants/amlagentd.service",
                                "system/sockets.target.wants/amlagentd.socket"}
    assert "amlagent-admin:" in machine.run("getent", "group", "amlagent-admin")
    assert machine.run("amlctl", "--version").strip() == f"amlctl {package.field('Version')}"
    assert "right" in machine.run("amlagentd", "--check-config")
    # A user's own daemon, with nothing but what is installed.
    assert machine.sh("cd /tmp && amlctl run --command 'echo $((6 * 7))'").splitlines()[-1] == "42"


class Service:
    """The system's daemon, started by hand, and a run that goes on until it is told."""

    def __init__(self, machine):
        self.machine = machine
        self.daemon = machine.start("amlagentd")
        wait_for(lambda: "pid" in machine.sh("amlctl --no-autostart version 2>&1 || true"), "the daemon answers")
        self.run = machine.sh(
            "cd /tmp && amlctl --no-autostart run -d --command 'echo $$ >/tmp/pid; exec sleep 1000'").split()[-1]
        self.pid = wait_for(lambda: machine.sh("cat /tmp/pid 2>/dev/null || true").strip(), "the run goes on")

    def is_alive(self):
        return self.machine.sh(f"grep -q sleep /proc/{self.pid}/comm && echo yes || true").strip() == "yes"

    def status(self):
        return self.machine.sh(f"amlctl --no-autostart show {self.run} -o json")


@needs_root
def test_its_life_leaves_runs_alone_until_the_purge_and_nothing_after_it(package, machine, tmp_path):
    before = machine.written()
    machine.run("dpkg", "--install", machine.put(package.path, "a.deb"))
    machine.sh(f"echo 'stop_grace_seconds = 1' >>{CONFIG}")
    service = Service(machine)

    said = machine.run("dpkg", "--install", machine.put(package.newer(tmp_path, "99.0"), "b.deb"))
    assert "Setting up amlagent (99.0)" in said and service.is_alive()
    assert '"status":"Running"' in service.status()
    assert "stop_grace_seconds = 1\n" in machine.run("cat", CONFIG)

    said = machine.run("dpkg", "--remove", "amlagent")
    assert "1 runs go on" in said and service.is_alive()
    assert machine.sh("find /usr /lib -xdev -path '*amlagent*' ! -type d") == ""
    machine.sh(f"cd /var/lib/amlagent && test -f history.db && test -d runs/{service.run} && test -f {CONFIG}")

    machine.run("dpkg", "--purge", "amlagent")
    wait_for(lambda: not service.is_alive(), "the run is ended")
    wait_for(lambda: not machine.sh("pgrep -a amlagent || true"), "no process of it is left")
    assert machine.sh("ls -d /var/lib/amlagent /etc/amlagent /run/amlagent 2>/dev/null || true") == ""
    assert {path for path in machine.written() - before if not OF_DPKG.match(path)} == set()
    service.daemon.wait(20)


@needs_root
def test_a_purge_does_not_touch_a_users_own_daemon(package, machine):
    machine.run("dpkg", "--install", machine.put(package.path, "a.deb"))
    submit = "amlctl --state-dir /tmp/own run -d --command 'echo $$ >/tmp/pid; exec sleep 1000'"
    run = machine.sh(f"cd /tmp && {submit}").split()[-1]
    pid = wait_for(lambda: machine.sh("cat /tmp/pid 2>/dev/null || true").strip(), "the run goes on")
    machine.run("dpkg", "--purge", "amlagent")
    assert machine.sh(f"cat /proc/{pid}/comm").strip() == "sleep"
    assert machine.sh(f"ls -d /tmp/own/runs/{run}").strip()
