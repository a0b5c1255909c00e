# SPDX-License-Identifier: MIT
"""The wall clock jumps under the daemon: limits, order and durations hold, and nothing waits for ever.

A small library, preloaded into the daemon alone, shifts CLOCK_REALTIME by an offset that the test sets. The supervisor
is static and sees the true time: what the two write into one record differs by the offset, as across a jump.
"""

import datetime
import os
import re
import shutil
import signal
import struct
import subprocess
import time

import harness
import pytest
from harness import is_connected_and_waits, wait_for
from script_runs import blocked

SHIM = r"""
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *seconds;

__attribute__((constructor)) static void map_offset(void)
{
	const char *path = getenv("AMLAGENT_TEST_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	void *at = fd < 0 ? MAP_FAILED : mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0);

	if (fd >= 0)
		close(fd);
	seconds = at == MAP_FAILED ? NULL : at;
}

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	static int (*real)(clockid_t, struct timespec *);
	int r;

	if (!real)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	r = real(clock, ret);
	if (r == 0 && seconds && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		ret->tv_sec += *seconds;
	return r;
}

int gettimeofday(struct timeval *restrict ret, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	ret->tv_sec = now.tv_sec;
	ret->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *ret)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (ret)
		*ret = now.tv_sec;
	return now.tv_sec;
}
"""

HOUR, DAY = 3600, 86400
JUMPS = pytest.mark.parametrize(
    "jump", [-HOUR, HOUR, -400 * DAY, 400 * DAY], ids=["1h-back", "1h-on", "400d-back", "400d-on"]
)


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """The library; it needs a daemon that is linked in the usual way."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("clock")
    (folder / "clock.c").write_text(SHIM)
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", folder / "clock.so", folder / "clock.c", "-ldl"]
    subprocess.run(command, check=True)
    with open(harness.AMLAGENTD, "rb") as file:
        if b"__asan_init" in file.read():
            pytest.skip("a sanitizer's runtime wants to be loaded first")
    return folder / "clock.so"


class Clock:
    """The daemon's wall clock: true time plus an offset."""

    def __init__(self, path):
        self.path = path
        self.file = open(path, "w+b", buffering=0)
        self.set(0)

    def set(self, seconds):
        os.pwrite(self.file.fileno(), struct.pack("q", int(seconds)), 0)


@pytest.fixture
def timed(make_daemon, shim):
    """(daemon, clock)"""
    daemon = make_daemon(start=False, config={"stop_grace_seconds": 1, "max_running_runs": 1})
    clock = Clock(daemon.root / "clock")
    daemon.env |= {"LD_PRELOAD": str(shim), "AMLAGENT_TEST_CLOCK": str(clock.path)}
    popen = daemon.popen
    clean = {"LD_PRELOAD": "", "AMLAGENT_TEST_CLOCK": ""}
    daemon.popen = lambda *arguments, env=None, **options: popen(*arguments, env={**(env or {}), **clean}, **options)
    daemon.start()
    yield daemon, clock
    clock.file.close()


def seconds(text):
    assert harness.UTC.match(text), text
    return datetime.datetime.fromisoformat(text.rstrip("Z")).replace(tzinfo=datetime.timezone.utc).timestamp()


def in_order(record):
    """No duration of it is negative, whatever clock was asked."""
    assert seconds(record["queued_utc"]) >= seconds(record["created_utc"]), record
    if record["start_time_utc"]:
        assert seconds(record["end_time_utc"]) >= seconds(record["start_time_utc"]), record
    used = record["resources_used"]
    assert used is None or min(value for value in used.values() if value is not None) >= 0, record


def test_the_library_shifts_the_daemons_clock_and_no_other(timed):
    daemon, clock = timed
    clock.set(400 * DAY)
    record = daemon.finish("import time\nprint(time.time())")
    now = time.time()
    assert 399 * DAY < seconds(record["created_utc"]) - now < 401 * DAY, record
    assert abs(float(daemon.std_log(record["run_id"])) - now) < 60


@JUMPS
def test_a_run_across_a_jump_ends_in_order(timed, jump):
    daemon, clock = timed
    run, gate = blocked(daemon)
    clock.set(jump)
    queued = daemon.submit("print('queued')")
    gate.open()
    for name in (run, queued):
        record = daemon.ended(name)
        assert record["status"] == "Completed", record
        in_order(record)
        shown = daemon.ok("show", name)
        assert not re.search(r"-\d+(\.\d+)? ?(s|ms|m|h)\b", shown), shown
    assert not re.search(r"(^|\s)-\d", daemon.ok("list")), daemon.ok("list")


@JUMPS
def test_a_time_limit_is_not_moved(timed, jump):
    daemon, clock = timed
    began = time.monotonic()
    run, _ = blocked(daemon, max_run_duration_seconds=5)
    clock.set(jump)
    record = daemon.ended(run)
    took = time.monotonic() - began
    assert record["error"]["code"] == "MaxRunDurationExceeded" and 4.9 < took < 25, (took, record)
    in_order(record)


@JUMPS
def test_a_lost_run_and_a_canceled_one_end_in_order(timed, jump):
    daemon, clock = timed
    for end in ("lost", "canceled"):
        clock.set(0)
        run, _ = blocked(daemon, "import os\nprint(os.getppid(), flush=True)\nWAIT")
        clock.set(jump)
        if end == "lost":
            os.kill(int(daemon.std_log(run)), signal.SIGKILL)
        else:
            daemon.ok("cancel", run)
        record = daemon.ended(run)
        assert record["error"]["code"] == ("Lost" if end == "lost" else "CanceledByUser"), record
        in_order(record)


def test_the_list_stays_in_the_order_of_the_submits(timed):
    daemon, clock = timed
    runs = []
    for offset in (0, -HOUR, DAY, -400 * DAY, 0, HOUR):
        clock.set(offset)
        runs.append(daemon.submit("print(1)", experiment_name="order"))
    newest = runs[::-1]
    for run in runs:
        in_order(daemon.ended(run))
    assert [run["run_id"] for run in daemon.api("GET", "/v1/runs").json] == newest
    assert [run["run_id"] for run in daemon.json("list")] == newest
    paged = daemon.api("GET", "/v1/runs?limit=2").json
    paged += daemon.api("GET", f"/v1/runs?limit=10&before={paged[-1]['run_id']}").json
    assert [run["run_id"] for run in paged] == newest
    assert daemon.api("GET", "/v1/runs/latest").json["run_id"] == runs[-1]
    daemon.kill()
    clock.set(-10 * DAY)
    daemon.start()
    assert [run["run_id"] for run in daemon.api("GET", "/v1/runs").json] == newest


@JUMPS
def test_nobody_waits_longer_for_a_jump(timed, jump):
    daemon, clock = timed
    run, gate = blocked(daemon)
    waiter = daemon.popen("wait", run)
    follower = daemon.popen("logs", "-f", run)
    wait_for(lambda: all(is_connected_and_waits(process.pid) for process in (waiter, follower)), "they wait")
    connection = daemon.connect()
    began = time.monotonic()
    connection.request("GET", f"/v1/runs/{run}?wait=2")
    clock.set(jump)
    answer = harness.Answer(connection.getresponse())
    took = time.monotonic() - began
    connection.close()
    assert answer.json["status"] == "Running" and 1.5 < took < 20, took
    gate.open()
    assert waiter.wait(20) == 0 and follower.wait(20) == 0
    assert follower.stdout.read() == b"up\n"
    for process in (waiter, follower):
        process.communicate()


@JUMPS
def test_a_daemon_that_starts_in_another_time_adopts_what_runs(timed, jump):
    daemon, clock = timed
    run, gate = blocked(daemon, "print('up', flush=True)\nWAIT\nraise SystemExit(6)")
    queued = daemon.submit("print('queued')")
    daemon.kill()
    clock.set(jump)
    daemon.start()
    assert daemon.record(run)["status"] == "Running"
    gate.open()
    record = daemon.ended(run)
    assert record["exit_code"] == 6, record
    in_order(record)
    record = daemon.ended(queued)
    assert record["status"] == "Completed", record
    in_order(record)


def test_a_machine_whose_clock_began_anew_works(timed):
    """No battery: it is the second of January 1970."""
    daemon, clock = timed
    clock.set(DAY - time.time())
    record = daemon.finish("print('then')")
    assert record["status"] == "Completed" and record["created_utc"].startswith("1970-01-02"), record
    in_order(record)
    assert daemon.std_log(record["run_id"]) == b"then\n"
    assert record["run_id"] in daemon.ok("list", "-o", "json") and "Completed" in daemon.ok("show", record["run_id"])
    clock.set(0)
    assert [run["run_id"] for run in daemon.api("GET", "/v1/runs").json] == [record["run_id"]]
    daemon.ok("delete", record["run_id"])


def test_a_work_folder_is_not_thrown_away_by_a_clock_that_went_back(timed):
    daemon, clock = timed
    run = daemon.finish("open('kept', 'w').write('kept')\nraise SystemExit(1)")["run_id"]
    for jump in (-400 * DAY, 6 * DAY):
        daemon.terminate()
        clock.set(jump)
        daemon.start()
        assert daemon.finish("print(1)")["status"] == "Completed"
        assert (daemon.work(run) / "kept").read_text() == "kept"
