# SPDX-License-Identifier: MIT
"""The unit files, without a machine: what systemd-analyze says of them, and what they must and must not say."""

import re
import shutil
import subprocess

import harness
import pytest

UNITS = harness.REPO / "systemd"
SYSTEM = ("amlagentd.service", "amlagentd.socket", "amlagent-runs.service", "amlagent.slice")
USER = ("amlagentd.service", "amlagentd.socket")

# What a child cannot shed: none of it may be set for the daemon, whose children are the runs' supervisors.
INHERITED = (
    "NoNewPrivileges PrivateTmp PrivateDevices PrivateNetwork PrivateIPC PrivateUsers PrivateMounts ProtectSystem "
    "ProtectHome ProtectProc ProcSubset ProtectKernelTunables ProtectKernelModules ProtectKernelLogs "
    "ProtectControlGroups ProtectClock ProtectHostname ReadOnlyPaths ReadWritePaths InaccessiblePaths BindPaths "
    "TemporaryFileSystem SystemCallFilter SystemCallArchitectures RestrictAddressFamilies RestrictNamespaces "
    "RestrictRealtime RestrictSUIDSGID LockPersonality MemoryDenyWriteExecute RootDirectory DynamicUser User"
).split()
# What holds for a whole cgroup: the runs are in it, or below it.
OF_THE_CGROUP = (
    "IPAddressDeny IPAddressAllow DevicePolicy DeviceAllow MemoryMax MemoryHigh CPUQuota AllowedCPUs"
).split()

pytestmark = pytest.mark.timeout(60)


def keys_of(text):
    """[(key, value)] of a unit file."""
    return re.findall(r"^(\w+)=(.*)$", text, re.M)


def unit_text(name):
    path = UNITS / name
    return (path if path.exists() else UNITS / f"{name}.in").read_text()


def rendered(folder, prefix, names):
    """The units as they are installed, with programs that are there."""
    programs = folder / "programs"
    programs.mkdir()
    for name in ("amlagentd", "amlagent-supervisor", "amlagent-stop-runs"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    paths = []
    for name in names:
        text = re.sub(r"@(bindir|libexecdir)@", str(programs), unit_text(prefix + name))
        assert "@" not in re.sub(r"^#.*$", "", text, flags=re.M).replace("@system-service", "").replace(
            "@privileged", "").replace("@resources", ""), name
        paths.append(folder / name)
        paths[-1].write_text(text)
    return paths


@pytest.mark.parametrize("scope, prefix, names", [("--system", "", SYSTEM), ("--user", "user/", USER)])
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not there")
def test_systemd_understands_every_line(tmp_path, scope, prefix, names):
    paths = rendered(tmp_path, prefix, names)
    done = subprocess.run(
        ["systemd-analyze", scope, "--man=no", "--recursive-errors=no", "verify", *paths],
        capture_output=True, text=True, timeout=50, env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path)},
    )
    said = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "amlagent" in line]
    assert done.returncode == 0 and not said, done


def test_nothing_is_set_for_the_daemon_that_its_runs_would_inherit():
    for name in ("amlagentd.service", "user/amlagentd.service"):
        keys = {key for key, _ in keys_of(unit_text(name))}
        assert not keys & set(INHERITED), name
        assert not keys & set(OF_THE_CGROUP), name
    # The holder starts nobody, but the runs are below its cgroup.
    keys = {key for key, _ in keys_of(unit_text("amlagent-runs.service"))}
    assert not keys & set(OF_THE_CGROUP)
    assert not keys & {"PrivateDevices", "ProtectClock", "ProtectControlGroups"}  # the first two set DevicePolicy=


def test_stopping_the_daemon_ends_nothing_else():
    for name in ("amlagentd.service", "user/amlagentd.service"):
        keys = dict(keys_of(unit_text(name)))
        assert keys["KillMode"] == "process" and keys["OOMPolicy"] == "continue" and keys["Type"] == "notify"
        assert not {"BindsTo", "Requires", "Requisite"} & set(keys)
    assert dict(keys_of(unit_text("amlagent-runs.service")))["OOMPolicy"] == "continue"


def test_every_capability_that_is_kept_has_its_reason():
    text = unit_text("amlagentd.service")
    kept = set(re.findall(r"CAP_\w+", "\n".join(line for line in text.splitlines() if line.startswith("#"))))
    dropped = set(re.findall(r"CAP_\w+", "\n".join(v for k, v in keys_of(text) if k == "CapabilityBoundingSet")))
    text = harness.Path("/usr/include/linux/capability.h").read_text()
    header = re.findall(r"#define (CAP_[A-Z_]+)\s+\d+$", text, re.M)
    assert len(header) > 35 and not kept & dropped
    assert kept | dropped == set(header)
