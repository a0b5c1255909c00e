# SPDX-License-Identifier: MIT
"""What the service asks of cgroup v2 the kernel does, on a machine with all controllers: limits, weights, kills."""

import json
import re
import uuid

import harness
import pytest

pytestmark = pytest.mark.timeout(300)

MIB = 1 << 20
PLACE = "/amlagent.slice/amlagent-runs.service"
LIMIT_FILES = ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.weight")
# What a run under test calls; "tell" is a line of its log that the test reads.
COMMON = """
import json, os, signal, subprocess, sys, time
GO = "{go}"

def tell(**what):
    print(json.dumps(what), flush=True)

def wait_for_go():
    while not os.path.exists(GO):
        time.sleep(0.05)

def use_memory(mib):
    return bytearray(mib << 20)

def own_cgroup():
    return open("/proc/self/cgroup").read().strip().removeprefix("0::")
"""


class Story:
    """A run of ours, whose script goes on when it is told to."""

    def __init__(self, machine, script, *options, user="ana"):
        self.machine, self.user = machine, user
        self.go = f"/tmp/go-{uuid.uuid4().hex[:8]}"
        self.run = machine.submit(COMMON.format(go=self.go) + script, user, options)

    def told(self):
        """All that it told, in whole lines: a print() may be several writes."""
        lines = self.machine.amlctl("logs", self.run, user=self.user).stdout.rpartition("\n")[0].splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def tells(self):
        """The first thing that it tells."""
        return harness.wait_for(self.told, f"{self.run} tells something", timeout=60)[0]

    def goes_on(self):
        self.machine.run("touch", self.go)
        return self

    def ends(self, status):
        return self.machine.status_is(self.run, status, user=self.user)

    def shown(self):
        return self.machine.amlctl("show", self.run, user=self.user).stdout

    def cgroup(self):
        return f"/sys/fs/cgroup{PLACE}/{self.run}"

    def limits(self):
        return read_limits(self.machine, self.cgroup())

    def has_cgroup(self):
        return self.machine.run("test", "-d", self.cgroup(), check=False).returncode == 0


def read_limits(machine, cgroup):
    text = machine.run("sh", "-c", 'cd "$0" && tail -n 1 "$@"', cgroup, *LIMIT_FILES, "-q", check=False).stdout
    return dict(zip(LIMIT_FILES, text.split()))


def alive(machine, pids):
    return [pid for pid in pids if machine.is_alive(pid)]


@pytest.fixture
def undisturbed(machine):
    """The daemon, and a run of somebody else's, come through the test as they went in."""
    pid = machine.main_pid()
    other = machine.ticker("bob").goes_on()
    yield other
    other.goes_on().ends_undisturbed()
    assert machine.main_pid() == pid


@pytest.fixture
def story(machine):
    made = []

    def tell(*arguments, **options):
        made.append(Story(machine, *arguments, **options))
        return made[-1]

    yield tell
    for one in made:
        machine.amlctl("cancel", one.run, user=one.user, check=False)


# -- memory -------------------------------------------------------------------------------------------------------

# The command itself stays small: who asks for too much is its grandchild, and a bystander does nothing at all.
GREEDY = """
bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
tell(pids=[os.getpid(), bystander.pid])
wait_for_go()
shell = subprocess.Popen(["sh", "-c", f"{sys.executable} -c 'b = bytearray(200 << 20)'; echo survived"])
print("outlived", shell.wait(), flush=True)
"""


def test_a_run_over_its_memory_ends_as_one_and_is_told_why(machine, story, undisturbed):
    run = story(GREEDY, "--memory", "64M")
    pids = run.tells()["pids"]
    assert alive(machine, pids) == pids
    record = run.goes_on().ends("Failed")
    assert record["error"]["code"] == "OutOfMemory" and record["signal"] == 9, record
    log = machine.amlctl("logs", run.run).stdout
    assert "survived" not in log and "outlived" not in log
    assert alive(machine, pids) == [] and not run.has_cgroup()
    # Of nobody it is said that he went on, however slow he was to die.
    assert record["warnings"] == []
    message = record["error"]["message"]
    # All four; the kernel counts the first of a group again with the group.
    kills = int(re.search(r"(\d+) out-of-memory kills in the run's group", message)[1])
    assert kills in (4, 5), message
    assert "its peak memory was 64.0 MiB (all processes together)" in message, message
    assert "its limit was 64.0 MiB" in message, message
    assert message.splitlines()[0] in run.shown()


def test_a_run_within_its_memory_completes_and_the_limit_was_in_force(story):
    run = story("tell(cgroup=own_cgroup())\nwait_for_go()\nblock = use_memory(20)\n", "--memory", "64M")
    assert run.tells()["cgroup"] == f"{PLACE}/{run.run}"
    limits = run.limits()
    assert limits["memory.max"] == str(64 * MIB)
    assert limits["memory.swap.max"] == "0" and limits["memory.oom.group"] == "1"
    record = run.goes_on().ends("Completed")
    assert record["warnings"] == [] and record["error"] is None, record
    assert "not enforced" not in run.shown()


def test_a_run_without_a_limit_may_have_all_that_is_free(story):
    run = story("tell(cgroup=own_cgroup())\nwait_for_go()\nblock = use_memory(100)\n")
    run.tells()
    assert run.limits()["memory.max"] == "max"
    assert run.goes_on().ends("Completed")["warnings"] == []


def test_a_run_that_takes_the_memory_of_the_machine_is_the_one_that_ends(machine, story, undisturbed):
    run = story("tell(cgroup=own_cgroup())\nblocks = []\nwhile True:\n    blocks.append(use_memory(16))\n")
    record = run.ends("Failed")
    assert record["error"]["code"] == "OutOfMemory", record
    assert "out-of-memory" in record["error"]["message"], record


def test_a_limit_for_all_runs_together_is_kept(machine, story):
    machine.systemctl("set-property", "--runtime", "amlagent.slice", "MemoryMax=100M")
    try:
        record = story("tell(cgroup=own_cgroup())\nblock = use_memory(200)\n").ends("Failed")
        assert record["error"]["code"] == "OutOfMemory", record
    finally:
        machine.systemctl("set-property", "--runtime", "amlagent.slice", "MemoryMax=infinity")


# -- processes ----------------------------------------------------------------------------------------------------

FORKS = """
import errno
count, failed = 1, None
while failed is None and count < 1000:
    try:
        if os.fork() == 0:
            signal.pause()
        count += 1
    except OSError as error:
        failed = errno.errorcode[error.errno]
tell(count=count, failed=failed)
wait_for_go()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.killpg(0, signal.SIGTERM)
"""


def test_a_run_has_as_many_processes_as_it_may_and_no_more(machine, story, undisturbed):
    run = story(FORKS)
    assert run.tells() == {"count": 40, "failed": "EAGAIN"}
    assert run.limits()["pids.max"] == "40"
    # Others still can.
    assert story("tell(done=subprocess.run(['true']).returncode)", user="bob").tells() == {"done": 0}
    assert run.goes_on().ends("Completed")["error"] is None


# -- CPUs ---------------------------------------------------------------------------------------------------------


def test_a_runs_weight_is_that_of_the_cpus_it_asked_for(story):
    runs = {cpus: story("tell(pid=os.getpid())\nwait_for_go()\n", "--cpus", str(cpus)) for cpus in (1, 3)}
    for cpus, run in runs.items():
        run.tells()
        assert run.limits()["cpu.weight"] == str(100 * cpus)
    for run in runs.values():
        assert run.goes_on().ends("Completed")["warnings"] == []


# -- the daemon comes and goes ------------------------------------------------------------------------------------


def test_a_restart_and_a_reload_change_neither_a_run_nor_its_limits(machine, story):
    """Neither of the daemon nor of systemd, which writes to the cgroups that it thinks are its own."""
    run = story("tell(pid=os.getpid(), cgroup=own_cgroup())\nwait_for_go()\nblock = use_memory(200)\n",
                "--memory", "64M", "--cpus", "2")
    pid, cgroup = run.tells()["pid"], run.tells()["cgroup"]
    assert cgroup == f"{PLACE}/{run.run}"
    before, daemon = run.limits(), machine.main_pid()
    assert (before["memory.max"], before["pids.max"], before["cpu.weight"]) == (str(64 * MIB), "40", "200")
    for command in (["restart", "amlagentd.service"], ["daemon-reload"], ["reload", "amlagentd.service"],
                    ["daemon-reexec"], ["set-property", "--runtime", "amlagent.slice", "CPUWeight=50"]):
        machine.systemctl(*command)
        harness.wait_for(machine.is_up, f"systemd answers after {command[0]}", timeout=60)
        assert run.limits() == before, command
        assert machine.run("cat", f"/proc/{pid}/cgroup").stdout.strip() == f"0::{cgroup}"
    assert machine.main_pid() not in (0, daemon)
    assert run.ends("Running")["status"] == "Running"
    record = run.goes_on().ends("Failed")
    assert record["error"]["code"] == "OutOfMemory", record


def test_doctor_says_that_limits_hold(machine):
    done = machine.run("amlctl", "doctor", "--quick", "-o", "json", check=False)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["cgroups"]["result"] == "ok" and "cpu memory pids" in checks["cgroups"]["found"], checks["cgroups"]
    assert "others may look into" not in checks["state folder"]["found"]


# -- the end of all -----------------------------------------------------------------------------------------------

DEAF = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pids, ends = [os.getpid()], []
for _ in range(3):
    there, here = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(here, b"%d" % os.getpid())
            while True:
                signal.pause()
        os._exit(0)
    os.wait()
    pids.append(int(os.read(there, 20)))
tell(pids=pids)
while True:
    signal.pause()
"""


def test_a_cancel_leaves_nothing_of_a_run_that_hides_and_does_not_listen(machine, story, undisturbed):
    run = story(DEAF)
    pids = run.tells()["pids"]
    inside = machine.run("cat", f"{run.cgroup()}/cgroup.procs").stdout.split()
    assert sorted(map(int, inside)) == sorted(pids)
    machine.amlctl("cancel", run.run)
    assert run.ends("Canceled")["error"]["code"] == "CanceledByUser"
    assert alive(machine, pids) == [] and not run.has_cgroup()


def test_no_cgroup_of_a_run_is_left(machine):
    """After all the others."""

    def below():
        return set(machine.run("find", f"/sys/fs/cgroup{PLACE}", "-mindepth", "1", "-type", "d", "-printf", "%P\n")
                   .stdout.split())

    harness.wait_for(lambda: below() == {"holder", "supervisors"}, "there are those of the service alone")
