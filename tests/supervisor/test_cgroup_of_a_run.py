# SPDX-License-Identifier: MIT
"""The cgroup of a run: the command is in it from the start, guests are of the run, and it can be done without."""

import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from supervised import SECOND, is_sanitized, remove_cgroup


def cgroup_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line[3:] for line in lines if line.startswith("0::"))


def test_the_command_is_in_its_cgroup_from_the_first_instant(run, cgroups):
    run.shell("cat /proc/self/cgroup; ls /proc/self/fd | wc -l", cgroup=cgroups).start()
    assert run.exit()["exit_code"] == 0
    text = run.log().decode()
    assert f"{cgroups.name}/{run.dir.name}\n" in text and text.endswith("\n4\n")
    assert not run.cgroup.exists() and run.notes() == ""
    assert run.status()["cgroup"] == str(run.cgroup)


def test_the_supervisor_itself_is_not_in_it(run, zoo, cgroups):
    run.launch(zoo("trap"), cgroup=cgroups).start().says()
    assert cgroup_of(run.process.pid) == cgroup_of("self")
    assert cgroup_of(run.running()).endswith(f"/{run.dir.name}")
    run.stop(grace=20)
    assert run.exit()["exit_code"] == 5


WRONG_PARENTS = {"absent": "/sys/fs/cgroup/none/such", "tmp": "/tmp", "proc": "/proc", "long": "/x" * 1500}


@pytest.mark.parametrize("parent", WRONG_PARENTS.values(), ids=WRONG_PARENTS)
def test_without_the_cgroup_the_run_goes_on(run, parent):
    run.shell("exit 9", cgroup=pathlib.Path(parent))
    record = run.start().exit()
    assert (record["exit_code"], record["oom_kills"]) == (9, -1)
    run.cgroup = None
    assert "cannot make the cgroup: " in run.notes() and "goes on without" in run.notes()
    assert "cgroup" not in run.status()
    assert not os.path.exists(f"/tmp/{run.dir.name}")


def test_a_cgroup_that_others_are_in_is_not_used(run, cgroups):
    run.shell("exit 9", cgroup=cgroups)
    run.cgroup.mkdir()
    other = subprocess.Popen(["/bin/sleep", "40"])
    (run.cgroup / "cgroup.procs").write_text(str(other.pid))
    assert run.start().exit()["exit_code"] == 9
    assert "busy" in run.notes() and other.poll() is None
    other.kill()
    other.wait()
    assert run.cgroup.exists()


def test_an_empty_cgroup_of_an_earlier_attempt_is_used(run, cgroups):
    run.shell("cat /proc/self/cgroup", cgroup=cgroups)
    run.cgroup.mkdir()
    assert run.start().exit()["exit_code"] == 0
    assert f"/{run.dir.name}\n" in run.log().decode() and not run.cgroup.exists()


def test_a_cgroup_that_cannot_be_entered_is_done_without(run, cgroups):
    """Below one of threads a cgroup takes no processes."""
    domain = cgroups / f"domain {run.dir.name}"
    (domain / "threads").mkdir(parents=True)
    (domain / "threads" / "cgroup.type").write_text("threaded")
    try:
        assert run.shell("exit 9", cgroup=domain).start().exit()["exit_code"] == 9
        assert "cannot start the command in its cgroup: " in run.notes()
        assert not run.cgroup.exists() and "cgroup" not in run.status()
    finally:
        remove_cgroup(domain)


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace")
@pytest.mark.parametrize("error", ["ENOSYS", "EPERM", "E2BIG"])
def test_a_kernel_or_sandbox_without_clone3_is_done_without(run, cgroups, error):
    refuse = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=clone3", "-e", f"inject=clone3:error={error}"]
    if subprocess.run([*refuse, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("strace may not trace here")
    if is_sanitized():
        pytest.skip("a sanitizer and ptrace do not go together")
    assert run.shell("exit 9", cgroup=cgroups).start(under=refuse).exit()["exit_code"] == 9
    assert "cannot start the command in its cgroup: " in run.notes() and not run.cgroup.exists()


def test_a_guest_in_the_cgroup_is_of_the_run(run, cgroups):
    """Moved there by somebody: no descendant, asked to end like the others, and waited for."""
    run.shell("while [ ! -e go ]; do sleep 0.01; done; exit 3", cgroup=cgroups, grace=40).start()
    run.running()
    script = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(11)); print(flush=True)"
    guest = subprocess.Popen(["/usr/bin/python3", "-c", f"{script}; signal.pause()"], stdout=subprocess.PIPE)
    guest.stdout.readline()
    (run.cgroup / "cgroup.procs").write_text(str(guest.pid))
    (run.dir / "work" / "go").touch()
    assert guest.wait(20) == 11
    guest.stdout.close()
    record = run.exit(20)
    assert (record["exit_code"], record["leftovers"]) == (3, 1)
    assert record["gone_us"] - record["end_us"] < 20 * SECOND
    assert not run.cgroup.exists()


def test_a_guest_that_ignores_it_is_killed(run, zoo, cgroups):
    run.launch(zoo("trap"), cgroup=cgroups).start().says()
    guest = subprocess.Popen([zoo("ignore_term")], stdout=subprocess.PIPE)
    guest.stdout.readline()
    (run.cgroup / "cgroup.procs").write_text(str(guest.pid))
    run.stop(grace=3)
    assert guest.wait(20) == -signal.SIGKILL
    guest.stdout.close()
    assert run.exit(20)["exit_code"] == 5


def test_a_cgroup_whose_files_nobody_may_open_does_not_hold_the_run(run, zoo, cgroups):
    script = f'{zoo("ignore_term")} & while ! grep -q ready ../std_log.txt; do :; done; chmod 000 "$1"/*; exit 2'
    run.launch("/bin/sh", "-c", script, "sh", cgroups / run.dir.name, cgroup=cgroups, grace=0.2).start()
    record = run.exit(20)
    assert (record["exit_code"], record["leftovers"]) == (2, 1)
