# SPDX-License-Identifier: MIT
"""amlagent-supervisor by itself: `launch` in, `status` and `exit` out."""

import contextlib
import errno
import fcntl
import os
import pathlib
import resource
import shutil
import signal
import struct
import subprocess
import time

import pytest
from supervised import (
    CANCEL,
    CANNOT_BEGIN,
    LIMIT,
    SECOND,
    SHUTDOWN,
    SUPERVISOR,
    Run,
    decode,
    encode,
    is_sanitized,
    state_of,
    wait_for,
)

LOCK_FD = 3


# -- how it ends by itself ---------------------------------------------------------------------------


def test_exit_0_with_all_its_figures(run):
    before = time.time() * SECOND
    record = run.shell("echo out; echo err >&2; sleep 0.1").start().exit()
    assert record["stopped"] == record["exit_code"] == record["signal"] == record["exec_errno"] == 0
    assert record["oom"] == record["leftovers"] == record["stop_us"] == 0
    assert before <= record["start_us"] <= record["end_us"] <= record["gone_us"] <= time.time() * SECOND
    assert 90_000 <= record["wall_us"] < 20 * SECOND
    assert record["peak_bytes"] > 100_000 and record["peak_of_all"] == 0 and record["oom_kills"] == -1
    disk = os.statvfs(run.dir)
    assert abs(record["disk_free_bytes"] - disk.f_bavail * disk.f_frsize) < 1 << 30
    assert run.log() == b"out\nerr\n"
    assert run.notes() == ""


@pytest.mark.parametrize("code", [1, 2, 42, 126, 127, 255])
def test_exit_codes(run, code):
    record = run.shell(f"exit {code}").start().exit()
    assert (record["exit_code"], record["signal"], record["stopped"]) == (code, 0, 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGHUP, signal.SIGRTMAX])
def test_signals_that_it_did_not_get_from_us(run, number):
    record = run.shell(f"kill -{int(number)} $$").start().exit()
    assert (record["exit_code"], record["signal"], record["stopped"]) == (-1, int(number), 0)
    assert record["oom"] == 0


def test_cpu_time_is_counted_of_children_too(run):
    record = run.shell("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done & wait").start().exit()
    assert record["user_us"] + record["system_us"] > 10_000


@pytest.mark.parametrize(
    "path, number",
    [("/no/such/program", errno.ENOENT), ("/etc/passwd", errno.EACCES), ("/bin", errno.EACCES)],
)
def test_a_command_that_cannot_be_executed(run, path, number):
    record = run.result(path)
    assert (record["exec_errno"], record["exit_code"], record["signal"]) == (number, -1, 0)
    assert record["start_us"] == 0 < record["end_us"] <= record["gone_us"]


def test_a_script_without_interpreter_line(run):
    script = run.dir / "work" / "script"
    script.write_text("echo hi\n")
    script.chmod(0o755)
    assert run.result(str(script))["exec_errno"] == errno.ENOEXEC


# -- what the command finds --------------------------------------------------------------------------


def test_surroundings_of_the_command(run):
    script = r"""
        pwd; readlink /proc/self/fd/0; ls /proc/$$/fd | tr '\n' ' '; echo
        cat /proc/self/oom_score_adj
        awk '/^(SigBlk|SigIgn)/ {print $2}' /proc/self/status
        awk '{print ($1 == $6)}' /proc/$$/stat
        umask; echo "$A|$AMLAGENT_RUN_DIR"
    """
    adj = pathlib.Path("/proc/self/oom_score_adj").read_text().strip()

    def hostile_caller():
        os.umask(0o27)
        for number in set(range(1, 65)) - {9, 19, 32, 33}:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
        os.open("/dev/zero", os.O_RDONLY)

    run.shell(script, env=["A=two\nlines = x"]).start(preexec_fn=hostile_caller, close_fds=False)
    assert run.exit()["exit_code"] == 0
    lines = run.log().decode().splitlines()
    assert lines[:4] == [str(run.dir / "work"), "/dev/null", "0 1 2 ", adj]
    assert lines[4:8] == ["0000000000000000"] * 2 + ["1", "0027"]
    assert lines[8:] == ["two", f"lines = x|{run.dir}"]


def test_a_caller_without_standard_files(run):
    run.shell("echo out; echo err >&2; cat")
    process = subprocess.Popen(["/bin/sh", "-c", f'exec "{SUPERVISOR}" "{run.dir}" 0<&- 1>&- 2>&-'])
    assert process.wait(20) == 0
    assert run.log() == b"out\nerr\n"
    assert decode((run.dir / "exit").read_bytes())["exit_code"] == "0"


def test_the_log_is_appended_to_and_private(run):
    run.shell("echo more")
    (run.dir / "std_log.txt").write_bytes(b"before\n")
    (run.dir / "std_log.txt").chmod(0o600)
    assert run.start().exit()["exit_code"] == 0
    assert run.log() == b"before\nmore\n"
    for name in ("lock", "status", "exit", "std_log.txt"):
        assert (run.dir / name).stat().st_mode & 0o777 == 0o600


def test_status_tells_who_runs_it(run):
    run.launch("/bin/sleep", "30").start()
    child = run.running()
    status = run.status()
    assert int(status["supervisor_pid"]) == run.process.pid
    assert status["boot_id"] == pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert abs(int(status["start_us"]) - time.time() * SECOND) < 20 * SECOND
    assert pathlib.Path(f"/proc/{child}/comm").read_text() == "sleep\n"
    assert os.getsid(run.process.pid) == run.process.pid
    run.stop(grace=20)
    assert run.exit()["signal"] == signal.SIGTERM


@pytest.mark.skipif(not shutil.which("strace"), reason="no strace")
def test_it_has_begun_before_its_first_line_however_late_its_supervisor_is_woken(run):
    """That one learns of the exec from a pipe that is closed by it, and may be let run long after."""
    late = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=read", "-e", "inject=read:delay_exit=300000"]
    if subprocess.run([*late, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip("strace may not trace here")
    if is_sanitized():
        pytest.skip("a sanitizer and ptrace do not go together")
    record = run.shell("date +%s%6N").start(under=late).exit()
    assert record["start_us"] <= int(run.log()) <= record["end_us"]


def test_big_launch(run):
    arguments = ["x" * 1000] * 1000
    assert run.result("/bin/sh", "-c", 'exit $(($# % 256))', "sh", *arguments)["exit_code"] == 1000 % 256


def test_names_relative_and_with_spaces(run):
    run.shell('echo "$AMLAGENT_RUN_DIR"').start(cwd=run.dir.parent, run_dir=f"./{run.dir.name}/")
    assert run.exit()["exit_code"] == 0
    assert run.log().decode() == f"{run.dir}\n"


def test_stop_and_continue_by_the_user_is_not_an_end(run):
    run.shell("sleep 30; exit 3").start()
    child = run.running()
    os.kill(child, signal.SIGSTOP)
    wait_for(lambda: state_of(child) == "T", "it is stopped")
    assert run.process.poll() is None
    os.kill(child, signal.SIGCONT)
    wait_for(lambda: state_of(child) == "S", "it goes on")
    assert not (run.dir / "exit").exists()
    run.stop(grace=1)
    assert run.exit()["stopped"] == CANCEL


def test_signals_that_it_ignores(run):
    run.launch("/bin/sleep", "30").start()
    run.running()
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        run.process.send_signal(number)
    run.stop(grace=1)
    assert run.exit()["stopped"] == CANCEL


# -- limit, cancel, shutdown -------------------------------------------------------------------------


def test_limit(run, zoo):
    record = run.launch(zoo("trap"), limit=3, grace=20).start().exit()
    assert (record["stopped"], record["exit_code"], record["signal"]) == (LIMIT, 5, 0)
    assert 3 * SECOND <= record["stop_us"] - record["start_us"] < 20 * SECOND
    assert record["wall_us"] >= 3 * SECOND
    assert run.log() == b"ready\nsaved\n"


def test_limit_without_mercy(run, zoo):
    record = run.launch(zoo("ignore_term"), limit=3, grace=0.2).start().exit()
    assert (record["stopped"], record["exit_code"], record["signal"]) == (LIMIT, -1, signal.SIGKILL)
    assert record["oom"] == 0
    assert 3 * SECOND + 200_000 <= record["gone_us"] - record["start_us"] < 20 * SECOND


def test_no_grace_at_all(run, zoo):
    record = run.launch(zoo("ignore_term"), limit=3, grace=0).start().exit()
    assert (record["stopped"], record["signal"]) == (LIMIT, signal.SIGKILL)
    assert record["gone_us"] - record["start_us"] < 20 * SECOND


def test_huge_limits_are_no_limits(run):
    run.shell("exit 4")
    records = [("format", 1), ("limit_us", 2**63 - 1), ("grace_us", 2**63 - 1), ("cwd", "work")]
    records += [("arg", "/bin/sh"), ("arg", "-c"), ("arg", "exit 4")]
    (run.dir / "launch").write_bytes(encode(*records))
    assert run.start().exit()["exit_code"] == 4


@pytest.mark.parametrize("why", [CANCEL, SHUTDOWN])
def test_stop_file(run, zoo, why):
    run.launch(zoo("trap")).start().says()
    run.stop(why=why, grace=20)
    record = run.exit()
    assert (record["stopped"], record["exit_code"]) == (why, 5)
    assert record["start_us"] < record["stop_us"] <= record["end_us"]


def test_sigterm_to_the_supervisor(run, zoo):
    run.launch(zoo("trap"), grace=20).start().says()
    run.process.terminate()
    record = run.exit()
    assert (record["stopped"], record["exit_code"]) == (SHUTDOWN, 5)


def test_a_second_stop_shortens_the_grace(run, zoo):
    run.launch(zoo("ignore_term"), grace=50).start().says()
    run.stop(grace=50)
    run.stop(grace=40)
    begun = time.monotonic()
    run.stop(grace=0.2)
    record = run.exit()
    assert (record["stopped"], record["signal"]) == (CANCEL, signal.SIGKILL)
    assert time.monotonic() - begun < 20


def test_a_second_stop_never_lengthens_the_grace(run):
    run.shell("trap 'echo asked' TERM; echo ready; while :; do sleep 1 & wait; done", grace=50).start().says()
    begun = time.monotonic()
    run.stop(grace=5)
    run.says(b"asked\n")  # the first one was read
    run.stop(why=SHUTDOWN, grace=50)
    run.process.terminate()
    assert run.exit()["stopped"] == CANCEL
    assert 4.95 < time.monotonic() - begun < 20


def test_a_patient_cancel_does_not_outlast_the_limit(run, zoo):
    run.launch(zoo("ignore_term"), limit=5, grace=0.2).start().says()
    run.stop(grace=50)
    record = run.exit()
    assert record["stopped"] == CANCEL
    assert record["gone_us"] - record["start_us"] < 20 * SECOND


def test_a_byte_without_stop_file_means_nothing(run, zoo):
    run.launch(zoo("trap")).start().says()
    run.wake()
    (run.dir / "stop").write_bytes(b"nonsense")
    run.wake()
    (run.dir / "stop").unlink()
    (run.dir / "stop").symlink_to("/etc/passwd")
    run.wake()
    (run.dir / "stop").unlink()
    run.stop(grace=20)
    assert run.exit()["exit_code"] == 5


def test_stopped_before_it_began(run):
    run.shell("echo never").stop(wake=False)
    record = run.start().exit()
    assert (record["stopped"], record["exit_code"], record["signal"], record["start_us"]) == (CANCEL, -1, 0, 0)
    assert run.log() == b""
    assert int(run.status()["child_pid"]) == 0


def test_stop_at_any_moment_of_the_start(make_run):
    """The byte comes before, while or after the pipe is opened: it is never lost."""
    for delay in range(20):
        run = make_run()
        run.launch("/bin/sleep", "30", grace=1).start()
        time.sleep(delay * 0.0002)
        run.stop(grace=1, wake=False)
        try:
            run.wake()
        except OSError as error:
            assert error.errno == errno.ENXIO
        assert run.exit(20)["stopped"] == CANCEL


def test_without_control_the_run_goes_on(run):
    assert run.shell("exit 6", control=False).start().exit()["exit_code"] == 6


def test_control_that_is_no_pipe(run):
    run.shell("exit 6", control=False)
    (run.dir / "control").write_bytes(b"xxxx")
    assert run.start().exit()["exit_code"] == 6


# -- what it refuses, what it survives ---------------------------------------------------------------


def test_wrong_usage():
    for arguments in ([], ["a", "b"], ["-x"], ["--hold", "x"], [""]):
        done = subprocess.run([SUPERVISOR, *arguments], stderr=subprocess.PIPE, timeout=20)
        assert done.returncode == 2 and done.stderr.startswith(b"usage: ")


def test_help_and_version():
    for argument, begin in [("--help", b"usage: "), ("--version", b"amlagent-supervisor ")]:
        done = subprocess.run([SUPERVISOR, argument], stdout=subprocess.PIPE, timeout=20)
        assert done.returncode == 0 and done.stdout.startswith(begin)


def test_no_such_directory(tmp_path):
    done = subprocess.run([SUPERVISOR, "none"], cwd=tmp_path, stderr=subprocess.PIPE, timeout=20)
    assert done.returncode == CANNOT_BEGIN + errno.ENOENT and b"none: No such file" in done.stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mark", ["exit", "status"])
def test_never_started_twice(run, mark):
    run.shell("echo twice")
    (run.dir / mark).write_bytes(b"")
    run.start()
    assert run.finish() == 3
    assert run.log() == b"" and (run.dir / mark).read_bytes() == b""


def test_a_held_lock_is_respected(run):
    run.launch("/bin/sleep", "30").start()
    run.running()
    second = subprocess.run([SUPERVISOR, run.dir], timeout=20)
    assert second.returncode == 3
    run.stop(grace=1)
    assert run.exit()["stopped"] == CANCEL


def test_of_ten_at_once_one_runs_it(run):
    run.shell("echo once; sleep 0.3")
    crowd = [subprocess.Popen([SUPERVISOR, run.dir]) for _ in range(10)]
    codes = sorted(process.wait(20) for process in crowd)
    assert codes == [0] + [3] * 9
    assert run.log() == b"once\n"


OFD_GETLK, OFD_SETLK = 36, 37
FLOCK = "hhqqi4x"


def is_locked(path):
    with open(path, "rb") as file:
        answer = fcntl.fcntl(file, OFD_GETLK, struct.pack(FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0))
    return struct.unpack(FLOCK, answer)[0] != fcntl.F_UNLCK


def test_a_lock_that_is_handed_over_has_an_owner_at_every_moment(run):
    run.launch("/bin/sleep", "30")
    fd = os.open(run.dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.fcntl(fd, OFD_SETLK, struct.pack(FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0))

    def hand_over():
        os.dup2(fd, LOCK_FD)

    run.start(preexec_fn=hand_over, close_fds=False)
    os.close(fd)
    child = run.running()
    assert is_locked(run.dir / "lock")
    assert sorted(os.listdir(f"/proc/{child}/fd")) == ["0", "1", "2"]
    run.stop(grace=1)
    assert run.exit()["stopped"] == CANCEL
    assert not is_locked(run.dir / "lock")


@pytest.mark.parametrize(
    "data, number",
    [
        (None, errno.ENOENT),
        (b"", errno.EBADMSG),
        (b"format=3\0cwd=work\0arg=/bin/true\0", errno.EPROTONOSUPPORT),
        (b"format=1\0cwd=work\0", errno.EBADMSG),
        (b"format=1\0arg=/bin/true\0", errno.EBADMSG),
        (b"\0", errno.EBADMSG),
    ],
)
def test_a_launch_that_is_none(run, data, number):
    if data is not None:
        (run.dir / "launch").write_bytes(data)
    run.start()
    assert run.finish() == CANNOT_BEGIN + number
    assert "cannot read launch" in run.notes()
    assert not (run.dir / "exit").exists() and not (run.dir / "status").exists()


def test_no_working_directory(run):
    run.shell("true", cwd="elsewhere").start()
    assert run.finish() == CANNOT_BEGIN + errno.ENOENT
    assert "working directory: No such file" in run.notes()
    assert not (run.dir / "status").exists()


def test_keys_of_a_newer_build_are_skipped(run):
    run.shell("exit 7")
    with (run.dir / "launch").open("ab") as file:
        file.write(b"later=than us\0")
    assert run.start().exit()["exit_code"] == 7


@contextlib.contextmanager
def small_disk(run, size):
    top = run.dir / "small"
    top.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", top], check=True)
    try:
        yield top
    finally:
        subprocess.run(["umount", "-l", top], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_without_room_for_status_nothing_is_started(make_run, cgroups):
    with small_disk(make_run(), "64k") as top:
        run = Run(top / "run")
        run.shell("echo begun > /proc/self/fd/1", cgroup=cgroups)
        with (top / "fill").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        run.start()
        assert run.finish() == CANNOT_BEGIN + errno.ENOSPC
        assert run.log() == b"" and not {"status", "exit", "status.tmp"} & set(os.listdir(run.dir))
        assert not run.cgroup.exists()
        (top / "fill").unlink()
        assert run.start().exit()["exit_code"] == 0  # nothing stands in the way of another attempt
        assert run.log() == b"begun\n"
        run.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_disk_that_the_run_has_filled_does_not_keep_it_from_its_end(make_run):
    """The room of its record is taken before anything of it runs."""
    with small_disk(make_run(), "64k") as top:
        run = Run(top / "run")
        gate = run.dir / "work" / "gate"
        os.mkfifo(gate)
        run.shell("read line < gate; head -c 200000 /dev/zero > fill; exit 8").start()
        child = run.running()  # a status needs room too: it is there before the disk is full
        gate.write_text("go\n")
        wait_for(lambda: state_of(child) is None, "the command has ended")
        record = run.exit()
        assert (record["exit_code"], record["disk_free_bytes"]) == (8, 0)
        assert os.statvfs(top).f_bavail == 0 and (run.dir / "exit").stat().st_size < 4096
        run.close()


def test_a_run_directory_that_is_removed_ends_the_supervisor(run):
    run.launch("/bin/sleep", "30").start()
    child = run.running()
    shutil.rmtree(run.dir)
    os.kill(child, signal.SIGKILL)
    assert run.finish(20) == 0
    assert not run.dir.exists()


def test_resident_memory(run, zoo):
    """An aim of the project, with room for other C libraries' sizes: a page more is no fault."""
    if is_sanitized():
        pytest.skip("built with a sanitizer")
    run.shell(f"{zoo('trap')}; exit 0").start().says()
    text = pathlib.Path(f"/proc/{run.process.pid}/status").read_text()
    resident = int(text.split("VmRSS:")[1].split()[0])
    assert resident <= 1536
    run.stop(grace=5)
    run.exit()


def test_few_processes_left_to_fork(run):
    """A limit on processes that leaves no room is told as such, not waited for."""
    if os.geteuid() == 0:
        pytest.skip("root has no such limit")
    run.shell("true").start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NPROC, (1, 1)))
    assert run.exit()["exec_errno"] == errno.EAGAIN
