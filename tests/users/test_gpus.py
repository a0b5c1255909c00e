# SPDX-License-Identifier: MIT
"""GPUs of the queue: given once, hidden from who has none, and set aside while strangers use them."""

import os
import stat
import subprocess

import pytest
from harness import GATE_MODULE, PYTHON, Gate, wait_for
from users_harness import Job, QUICK

# Device files that anybody may hold open, that nobody does, and of which opening does nothing.
HARMLESS = [(1, 7), (10, 237), (10, 235), (10, 256), (10, 259)]


def can_be_held(path):
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def is_held(path):
    """Does somebody hold this device open, under whatever name?"""
    wanted = os.stat(path).st_rdev
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            for fd in os.listdir(f"/proc/{entry}/fd"):
                info = os.stat(f"/proc/{entry}/fd/{fd}")
                if stat.S_ISCHR(info.st_mode) and info.st_rdev == wanted:
                    return True
        except OSError:
            continue
    return False


@pytest.fixture
def devices(lab):
    """Three device files that serve as GPUs."""
    made = []
    for number, device in enumerate(HARMLESS):
        path = lab.root / f"gpu{number}"
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(*device))
        os.chmod(path, 0o666)
        if len(made) < 3 and can_be_held(path) and not is_held(path):
            made.append(path)
        else:
            path.unlink()
    if len(made) < 3:
        pytest.skip("there are not three device files that nobody holds open")
    yield made
    for path in made:
        path.unlink()


@pytest.fixture
def gpus(make_service, devices):
    """A service with three GPUs: (service, their device files, their ids)."""
    service = make_service(config={"max_running_runs": 8, "cpus": 8, "gpus": ",".join(map(str, devices))})
    shown = service.status()["gpus"]
    assert [gpu["state"] for gpu in shown] == ["free"] * 3, shown
    return service, devices, [gpu["id"] for gpu in shown]


class Stranger:
    """A process outside of any run that holds a device open."""

    def __init__(self, user, device):
        code = "import sys; f = open(sys.argv[1], 'rb', 0); print('open', flush=True); sys.stdin.read()"
        self.process = user.popen([PYTHON, "-c", code, device], stdin=subprocess.PIPE)

    def __enter__(self):
        assert self.process.stdout.readline() == b"open\n"
        return self

    def __exit__(self, *_):
        self.process.communicate(b"", timeout=20)


def test_a_run_sees_the_gpus_that_it_was_given_and_no_other(gpus, ana, ben):
    service, _, ids = gpus
    first = Job(service.desk(ana), resources={"gpus": 2}).running()
    second = Job(service.desk(ben), resources={"gpus": 1}).running()
    none = Job(service.desk(ben)).running()
    given = first.gpus.split(",") + second.gpus.split(",")
    assert sorted(given) == sorted(map(str, ids)), given
    assert len(first.gpus.split(",")) == 2
    assert none.gpus == "", "a run that asked for none sees none"
    assert first.record["resources_granted"]["gpus"] == first.gpus.split(",")
    third = Job(service.desk(ana), resources={"gpus": 1})
    third.waits("gpu")
    state = {gpu["id"]: gpu for gpu in service.desk(ana).status()["gpus"]}
    for gpu in first.gpus.split(","):
        assert (state[gpu]["state"], state[gpu]["user"], state[gpu]["run_id"]) == ("held", ana.name, first.id)
    theirs = state[second.gpus]
    assert (theirs["state"], theirs["user"], theirs["run_id"]) == (
        "held",
        ben.name,
        None,
    ), "a stranger's run is not named"
    second.end()
    third.running()
    assert third.gpus == second.gpus
    for job in (first, third, none):
        job.end()
    assert [gpu["state"] for gpu in service.status()["gpus"]] == ["free"] * 3


def test_more_gpus_than_there_are_is_refused(gpus, ana):
    answer = gpus[0].desk(ana).post(resources={"gpus": 4})
    assert answer.status == 400, answer
    assert "gpu" in answer.error["message"].lower() and "3" in answer.error["message"], answer


def test_one_users_gpus_are_bounded(make_service, devices, ana, ben):
    service = make_service(
        config={"max_running_runs": 8, "cpus": 8, "gpus": ",".join(map(str, devices)), "max_gpus_per_user": 1}
    )
    first = Job(service.desk(ana), resources={"gpus": 1}).running()
    second = Job(service.desk(ana), resources={"gpus": 1})
    second.waits("gpu")
    third = Job(service.desk(ben), resources={"gpus": 1}).running()
    for job in (first, second, third):
        job.end()


def test_a_gpu_that_a_stranger_uses_is_set_aside_with_the_reason_and_used_again_later(gpus, ana, ben):
    service, devices, ids = gpus

    def state(number):
        return service.status()["gpus"][number]["state"]

    with Stranger(ben, devices[0]) as stranger:
        wait_for(lambda: state(0) == "aside", "status sees who has come")
        jobs = [Job(service.desk(ana), resources={"gpus": 1}) for _ in range(3)]
        running = wait_for(
            lambda: len(done := [job for job in jobs if job.status == "Running"]) == 2 and done, "two start"
        )
        assert ids[0] not in {job.gpus for job in running}
        waiting = next(job for job in jobs if job not in running)
        waiting.waits("gpu")
        shown = {gpu["id"]: gpu for gpu in service.desk(ana).status()["gpus"]}
        assert shown[ids[0]]["state"] == "aside", shown
        assert str(stranger.process.pid) in shown[ids[0]]["reason"] or ben.name in shown[ids[0]]["reason"], shown
        assert ids[0] in service.desk(ana).ok("status") or "aside" in service.desk(ana).ok("status")
    waiting.running()
    assert waiting.gpus == str(ids[0])
    for job in jobs:
        job.end()


def test_a_runs_own_processes_do_not_set_its_gpu_aside(gpus, ana):
    service, devices, ids = gpus
    desk = service.desk(ana)
    gate = Gate(desk.home, f"gpu{next(desk.counter)}")
    table = dict(zip(map(str, ids), map(str, devices)))
    code = f"""
import os
device = {table!r}[os.environ["CUDA_VISIBLE_DEVICES"]]
held = open(device, "rb", 0)
if os.fork() == 0:
    os.setsid()
{gate.code}
"""
    run = desk.submit({"main.py": code, "gate.py": GATE_MODULE}, resources={"gpus": 1}, **QUICK)
    desk.running(run)
    other = Job(desk, resources={"gpus": 2}).running()
    states = {gpu["id"]: gpu["state"] for gpu in service.status()["gpus"]}
    assert set(states.values()) == {"held"}, states
    gate.open()
    assert desk.ended(run)["status"] == "Completed"
    other.end()
    third = Job(desk, resources={"gpus": 3}).running()
    third.end()


def test_a_gpu_is_given_on_only_when_nobody_has_it_open_any_more(gpus, ana, ben):
    """A process that got away from its run and still holds the card: the next run does not get it."""
    service, devices, ids = gpus
    first = Job(service.desk(ana), resources={"gpus": 3}).running()
    with Stranger(ana, devices[1]):
        first.end()
        second = Job(service.desk(ben), resources={"gpus": 2}).running()
        assert str(ids[1]) not in second.gpus.split(",")
        third = Job(service.desk(ben), resources={"gpus": 1})
        third.waits("gpu")
    third.running()
    second.end()
    third.end()


def test_gpus_that_running_runs_hold_are_theirs_after_a_restart(gpus, ana):
    service, _, ids = gpus
    desk = service.desk(ana)
    first = Job(desk, resources={"gpus": 2}).running()
    given = first.gpus
    service.kill()
    service.start()
    assert desk.record(first.id)["resources_granted"]["gpus"] == given.split(",")
    second = Job(desk, resources={"gpus": 1}).running()
    assert second.gpus not in given.split(",")
    third = Job(desk, resources={"gpus": 1})
    third.waits("gpu")
    for job in (first, second, third):
        job.end()


def test_no_user_chooses_his_gpus_himself(gpus, ana):
    """What the submitter's environment or the request says of CUDA_VISIBLE_DEVICES does not count."""
    service, _, ids = gpus
    desk = service.desk(ana)
    env = {**ana.env, "CUDA_VISIBLE_DEVICES": ",".join(map(str, ids))}
    job = Job(desk, submit_environment=env)
    assert job.running().gpus == ""
    asked = Job(desk, resources={"gpus": 1}, submit_environment=env)
    assert asked.running().gpus in map(str, ids)
    job.end()
    asked.end()


def test_a_gpu_that_is_not_there_keeps_the_service_from_starting_and_is_told_with_its_line(make_service, lab):
    service = make_service(start=False, config={"gpus": str(lab.root / "no-such-gpu")})
    with pytest.raises(AssertionError):
        service.start()
    assert service.process.wait(20) == 1
    service.process = None
    lines = service.config.read_text().splitlines()
    number = next(i for i, line in enumerate(lines, 1) if line.startswith("gpus"))
    assert f"{service.config}:{number}: gpus: cannot use {lab.root}/no-such-gpu" in service.last_words()
