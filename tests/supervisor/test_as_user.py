# SPDX-License-Identifier: MIT
"""amlagent-supervisor as root, the command as another user: what he is, what he may not, and what is held to limits.

The users are numbers that nobody has; nothing is made for them. Without root all but a few tests are skipped.
"""

import contextlib
import errno
import os
import pathlib
import signal
import socket
import subprocess

import pytest
from supervised import CANCEL, CANNOT_BEGIN, SUPERVISOR, encode, populated, strays, wait_for

USER, OTHER = 54321, 54322
GROUPS = [54321, 54399]
AS_USER = ("user", f"{USER}:{USER}:{','.join(map(str, GROUPS))}")

root = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")


@pytest.fixture
def theirs(run):
    """A run directory as the daemon prepares it for a user."""
    run.dir.parent.chmod(0o711)
    run.dir.chmod(0o710)
    os.chown(run.dir, 0, USER)
    (run.dir / "std_log.txt").touch(mode=0o600)
    for name in ("std_log.txt", "work"):
        os.chown(run.dir / name, USER, USER)
    return run


def shell(run, script, *more, **options):
    return run.launch("/bin/sh", "-c", script, more=[AS_USER, *more], **options)


# -- who it is ---------------------------------------------------------------------------------------


@root
def test_the_command_is_the_user(theirs):
    script = "id -u; id -g; id -G; awk '/^Uid|^Gid/ {print $2, $3, $4, $5}' /proc/self/status; umask; pwd"
    script += "; awk '/^Cap(Inh|Prm|Eff|Amb)/ {print $2}' /proc/self/status; cat /proc/self/oom_score_adj"
    assert shell(theirs, script).start(preexec_fn=lambda: os.umask(0o77)).exit()["exit_code"] == 0
    numbers = " ".join([str(USER)] * 4)
    expected = [str(USER), str(USER), "54321 54399", numbers, numbers, "0022", str(theirs.dir / "work")]
    adj = max(0, int(pathlib.Path("/proc/self/oom_score_adj").read_text()))
    assert theirs.log().decode().splitlines() == [*expected, *["0000000000000000"] * 4, str(adj)]


@root
def test_what_protects_the_service_does_not_protect_the_command(theirs):
    def protected():
        with contextlib.suppress(PermissionError):
            pathlib.Path("/proc/self/oom_score_adj").write_text("-500")

    shell(theirs, "cat /proc/self/oom_score_adj").start(preexec_fn=protected)
    assert theirs.exit()["exit_code"] == 0
    assert int(theirs.log()) >= 0


@root
def test_files_that_it_makes_are_his_and_the_runs_files_are_not(theirs):
    script = """
        echo x >made && chmod 644 made
        for name in launch lock status exit stop control; do
            cat ../$name && echo "read $name"; echo x >../$name && echo "wrote $name"; rm -f ../$name && echo "removed"
        done; touch ../new && echo made; mv ../work ../gone && echo moved; ls .. && echo listed; ls ../.. && echo listed
        : >../std_log.txt && echo cleared
    """
    assert shell(theirs, f"{{ {script} }} 2>/dev/null; true").start().exit()["exit_code"] == 0
    assert theirs.log() == b"cleared\n"
    assert (theirs.dir / "work" / "made").stat().st_uid == USER
    for name in ("lock", "status", "exit", "launch"):
        assert (theirs.dir / name).stat().st_uid == 0


@root
def test_the_supervisor_is_out_of_his_reach(theirs):
    script = "for s in 0 15 9 19; do kill -$s $PPID && echo signalled; done; cat /proc/$PPID/environ /proc/$PPID/maps"
    assert shell(theirs, f"{{ {script}; }} 2>/dev/null; id -u").start().exit()["exit_code"] == 0
    assert theirs.log().decode() == f"{USER}\n"


@root
def test_his_supplementary_groups_count(theirs):
    shared = theirs.dir.parent / "shared"
    shared.mkdir()
    os.chown(shared, 0, GROUPS[1])
    shared.chmod(0o2770)
    assert shell(theirs, f"touch '{shared}/file'").start().exit()["exit_code"] == 0
    assert (shared / "file").stat().st_uid == USER


# -- what is executed --------------------------------------------------------------------------------


@root
@pytest.mark.parametrize("owner, mode, number", [(USER, 0o700, 0), (0, 0o700, errno.EACCES), (OTHER, 0o711, 0)])
def test_the_program_is_executed_with_his_rights(theirs, owner, mode, number):
    program = theirs.dir.parent / "program"
    program.write_bytes(pathlib.Path("/bin/true").read_bytes())
    program.chmod(mode)
    os.chown(program, owner, owner)
    record = theirs.launch(str(program), more=[AS_USER]).start().exit()
    assert (record["exec_errno"], record["exit_code"]) == (number, -1 if number else 0)


@root
def test_a_working_directory_that_he_may_not_enter(theirs):
    os.chown(theirs.dir / "work", OTHER, OTHER)
    assert shell(theirs, "echo never").start().exit()["exec_errno"] == errno.EACCES
    assert theirs.log() == b""


@root
def test_no_such_program(theirs):
    record = theirs.launch("/no/such/program", more=[AS_USER]).start().exit()
    assert (record["exec_errno"], record["exit_code"], record["start_us"]) == (errno.ENOENT, -1, 0)


@root
def test_his_own_limits_are_not_the_machines_want_of_room(theirs):
    """-EAGAIN would have the daemon wait for processes, and everybody else with it."""
    another = subprocess.Popen(["/bin/sleep", "40"], user=USER, group=USER, extra_groups=[])
    try:
        record = shell(theirs, "echo never", ("limits", "nproc=0:0")).start().exit()
    finally:
        another.kill()
        another.wait(20)
    assert record["exec_errno"] == errno.EUSERS
    assert theirs.log() == b""


@root
def test_limits_are_the_submitters(theirs):
    limits = "core=0:0 fsize=1000000:2000000 nofile=77:99 stack=4194304:unlimited"
    shell(theirs, "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Sf; ulimit -Ss", ("limits", limits)).start()
    assert theirs.exit()["exit_code"] == 0
    assert theirs.log().split() == [b"77", b"99", b"0", str(1000000 // 512).encode(), b"4096"]


def test_limits_without_another_user(run):
    assert run.launch("/bin/sh", "-c", "ulimit -n", more=[("limits", "nofile=33:44")]).start().exit()["exit_code"] == 0
    assert run.log() == b"33\n"


def test_who_is_not_root_becomes_nobody_else(run):
    if os.geteuid() == 0:
        run.dir.parent.chmod(0o755)
        for folder, _, names in os.walk(run.dir):
            for path in [folder, *(os.path.join(folder, name) for name in names)]:
                os.chown(path, OTHER, OTHER)
    more = {"user": OTHER, "group": OTHER, "extra_groups": []} if os.geteuid() == 0 else {}
    shell(run, "echo never")
    (run.dir / "launch").chmod(0o644)
    record = run.start(**more).exit()
    assert record["exec_errno"] == errno.EPERM
    assert run.log() == b""


@pytest.mark.parametrize(
    "records",
    [
        [("format", 1), AS_USER],
        [("format", 2)],
        [("format", 2), ("user", "")],
        [("format", 2), ("user", "ana")],
        [("format", 2), ("user", "-1:0:0")],
        [("format", 2), ("user", "4294967295:0:")],
        [("format", 2), AS_USER, ("limits", "nofile")],
    ],
)
def test_a_user_that_is_not_understood_is_refused_before_anything_starts(run, records):
    rest = [("cwd", "work"), ("arg", "/bin/sh"), ("arg", "-c"), ("arg", "echo never; id -u")]
    (run.dir / "launch").write_bytes(encode(*records, *rest))
    assert run.start().finish() == CANNOT_BEGIN + errno.EBADMSG
    assert run.log() == b"" and run.status() == {} and not (run.dir / "exit").exists()


# -- its end -----------------------------------------------------------------------------------------


@root
@pytest.mark.parametrize("name", ["ignore_term", "setsid", "double_fork", "storm", "leader_exits"])
@pytest.mark.parametrize("place", ["with a cgroup", "without"])
def test_nothing_of_his_escapes(theirs, zoo, request, name, place):
    where = request.getfixturevalue("cgroups") if place == "with a cgroup" else None
    zoo.folder.chmod(0o755)
    arguments = ["8"] if name == "storm" else []
    command = [zoo(name), *arguments]
    theirs.launch("/bin/sh", "-c", '"$@"; exec sleep 50', "sh", *command, more=[AS_USER], grace=0.3, cgroup=where)
    theirs.start().says()
    assert not where or populated(theirs.cgroup)
    theirs.stop(grace=0.3)
    assert theirs.exit()["stopped"] == CANCEL
    assert zoo.members() == [] and theirs.notes() == ""


def marked(run, uid, script="echo ready; exec sleep 40", **more):
    """A process of that user's that carries the run's mark, whoever put it there."""
    variables = {"PATH": "/usr/bin:/bin", "AMLAGENT_RUN_DIR": str(run.dir)}
    process = subprocess.Popen(
        ["/bin/sh", "-c", script],
        env=variables,
        stdout=subprocess.PIPE,
        start_new_session=True,
        user=uid,
        group=uid,
        extra_groups=[],
        **more,
    )
    assert process.stdout.readline() == b"ready\n"
    return process


def end(*processes):
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)
        process.stdout.close()


@root
def test_what_a_lost_run_leaves_is_ended_and_nobody_elses(theirs):
    """Somebody else carries the mark as well: he is not of the run, since its user could not signal him."""
    shell(theirs, "setsid sleep 50 & sleep 50 & echo ready; wait").start().says()
    bystander = marked(theirs, OTHER)
    theirs.process.kill()
    theirs.finish()
    wait_for(lambda: len(theirs.members()) == 4, "three of the run and one more carry the mark")
    wait_for(lambda: strays(theirs, uid=USER) == [0], "nothing is found any more")
    assert bystander.poll() is None and theirs.members() == [bystander.pid]
    # Of a run whose user is not known everything counts that carries its mark.
    assert strays(theirs) == [1]
    assert bystander.wait(20) == -signal.SIGKILL
    end(bystander)


@root
def test_a_group_with_somebody_else_in_it_is_not_signalled_as_a_whole(theirs):
    """As `sudo -u other` leaves it: the leader is the user's, one in his group is not."""
    become = "setpriv --reuid {0} --regid {0} --clear-groups sleep 45"
    leader = subprocess.Popen(
        ["/bin/sh", "-c", f"{become.format(OTHER)} & echo ready; exec {become.format(USER)}"],
        env={"PATH": "/usr/bin:/bin", "AMLAGENT_RUN_DIR": str(theirs.dir)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    leader.stdout.readline()

    def users():
        return sorted(pathlib.Path(f"/proc/{pid}").stat().st_uid for pid in theirs.members())

    wait_for(lambda: users() == [USER, OTHER], "both have become who they are")
    assert strays(theirs, uid=USER)[0] == 1
    leader.wait(20)
    assert users() == [OTHER]
    end(leader)
    wait_for(lambda: theirs.members() == [], "the other one is gone")


# -- what its cgroup holds it to ---------------------------------------------------------------------


BOUNDS = [("memory_max", 1 << 30), ("pids_max", 100), ("cpu_weight", 200)]


def test_without_a_cgroup_nothing_is_enforced_and_it_is_said(run):
    record = run.launch("/bin/true", more=BOUNDS).start().exit()
    assert (record["exit_code"], record["unenforced"]) == (0, "memory pids cpu")


def test_nothing_asked_nothing_said(run):
    assert "unenforced" not in run.launch("/bin/true", more=[("cpu_weight", 100)]).start().exit()


def test_what_the_controllers_of_the_place_allow_is_enforced(run, cgroups):
    """Where there are controllers the kernel shows the values; where not, each is named."""
    names = {"memory": "memory.max", "pids": "pids.max", "cpu": "cpu.weight"}
    for name in names:
        with contextlib.suppress(OSError):
            (cgroups / "cgroup.subtree_control").write_text(f"+{name}")
    there = (cgroups / "cgroup.subtree_control").read_text().split()
    run.launch("/bin/sh", "-c", "echo ready; sleep 40", more=BOUNDS, cgroup=cgroups).start().says()
    for (key, value), (name, file) in zip(BOUNDS, names.items(), strict=True):
        if name in there:
            assert (run.cgroup / file).read_text().strip() == str(value), key
    run.stop(grace=0)
    assert run.exit().get("unenforced", "").split() == [name for name in names if name not in there]


# -- the place is held -------------------------------------------------------------------------------


def test_hold_makes_the_place_and_says_so(cgroups, tmp_path):
    own = cgroups / "held.service"
    own.mkdir()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.settimeout(20)
    holder = subprocess.Popen(
        [SUPERVISOR, "--hold"],
        env={"NOTIFY_SOCKET": str(tmp_path / "notify")},
        preexec_fn=lambda: (own / "cgroup.procs").write_text("0"),
    )
    try:
        assert b"READY=1" in listener.recv(1000).splitlines()
        assert (own / "cgroup.procs").read_text() == ""
        assert (own / "holder" / "cgroup.procs").read_text().split() == [str(holder.pid)]
        available = (own / "cgroup.controllers").read_text().split()
        wanted = {"memory", "pids", "cpu"} & set(available)
        assert wanted <= set((own / "cgroup.subtree_control").read_text().split())
        (own / "a_run").mkdir()
        (own / "a_run").rmdir()
        assert holder.poll() is None
    finally:
        holder.terminate()
        assert holder.wait(20) == -signal.SIGTERM
        listener.close()
        (own / "holder").rmdir()
        own.rmdir()


def test_hold_with_an_abstract_socket_and_without_one(cgroups):
    own = cgroups / "held.service"
    own.mkdir()
    name = f"amlagent-test-{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind("\0" + name)
    listener.settimeout(20)
    for variables in ({"NOTIFY_SOCKET": "@" + name}, {}):
        holder = subprocess.Popen(
            [SUPERVISOR, "--hold"], env=variables, preexec_fn=lambda: (own / "cgroup.procs").write_text("0")
        )
        if variables:
            assert b"READY=1" in listener.recv(1000).splitlines()
        wait_for(lambda: (own / "holder").exists() and populated(own / "holder"), "it has moved")
        holder.terminate()
        holder.wait(20)
    listener.close()
    (own / "holder").rmdir()
    own.rmdir()


def test_hold_outside_of_a_service_says_what_to_do():
    lines = pathlib.Path("/proc/self/cgroup").read_text().splitlines()
    if "0::/" not in lines:
        pytest.skip("we are in a cgroup of our own, which it would take")
    done = subprocess.run([SUPERVISOR, "--hold"], stderr=subprocess.PIPE, timeout=20)
    assert done.returncode == 1 and b"Delegate=yes" in done.stderr
