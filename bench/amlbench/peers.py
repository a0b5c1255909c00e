# SPDX-License-Identifier: MIT
"""The peers' own servers, as throw-away as ours."""

import os
import shutil
import socket
import time

from . import proc
from .proc import BenchError, Missing

PACKAGES = {"tsp": "task-spooler", "restic": "restic", "git": "git", "openssl": "openssl", "srun": "slurm-wlm"}


def find(program):
    """Its path. Missing, with the name of Debian's package, when it is not there."""
    path = shutil.which(program)
    if not path:
        raise Missing(f"peer not installed (apt-get install {PACKAGES.get(program, program)})")
    return path


class TaskSpooler:
    """One tsp server, on a socket of its own, with one slot."""

    def __init__(self, bench):
        self.program = find("tsp")
        self.bench = bench
        self.folder = os.path.join(bench.folder, "tsp")
        self.env = {"TS_SOCKET": os.path.join(self.folder, "s"), "TMPDIR": self.folder}
        self.pipe = None

    def __enter__(self):
        os.mkdir(self.folder)
        self.bench.commands.time([self.program], env=self.env)  # starts the server
        return self

    def __exit__(self, *_):
        try:
            self.bench.commands.time([self.program, "-K"], env=self.env)
        except BenchError:
            pass
        if self.pipe is not None:
            os.close(self.pipe)
        proc.wait_until(lambda: not self.server() and not proc.processes_in(self.folder), 5, pause=0.05)
        proc.kill_left_over(self.folder)
        self.bench.discard(self.folder)

    def server(self):
        """Pids of processes named tsp that have our socket's environment: the server, and waiting clients."""
        wanted = f"TS_SOCKET={self.env['TS_SOCKET']}".encode()
        found = []
        for name in os.listdir("/proc"):
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if wanted in file.read().split(b"\0") and proc.name_of(name) == "tsp":
                        found.append(int(name))
            except (OSError, ValueError):
                continue
        return sorted(found)

    def foreground(self, *command):
        return [self.program, "-f", *command]

    def hold(self):
        """Fill the one slot with a job that waits on a pipe of ours."""
        fifo = os.path.join(self.folder, "hold.fifo")
        os.mkfifo(fifo)
        self.pipe = os.open(fifo, os.O_RDWR | os.O_CLOEXEC)
        self.bench.commands.time([self.program, "cat", fifo], env=self.env)

    def forget_waiting(self):
        """Remove the jobs that wait, so that every round begins with the same queue."""
        listing, _ = self.bench.commands.output([self.program], env=self.env)
        for line in listing.splitlines()[1:]:
            words = line.split()
            if len(words) > 1 and words[1] == "queued":
                self.bench.commands.time([self.program, "-r", words[0]], env=self.env)


SLURM_CONF = """\
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
InactiveLimit=0
MaxJobCount=100000
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,sched_interval=5,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 Boards=1 SocketsPerBoard=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=1000 State=UNKNOWN
PartitionName=bench Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """A cluster of one node on this machine. Asked for with --slurm, as it needs root and starts munged."""

    def __init__(self, bench):
        if not bench.options.slurm:
            raise Missing("not asked for (--slurm)")
        self.srun, self.sbatch, self.scancel = find("srun"), find("sbatch"), find("scancel")
        self.controller, self.node = find("slurmctld"), find("slurmd")
        self.munged = find("munged")
        if os.geteuid() != 0:
            raise Missing("Slurm's throw-away cluster needs root")
        self.bench = bench
        self.folder = os.path.join(bench.folder, "slurm")
        self.conf = os.path.join(self.folder, "slurm.conf")
        self.env = {"SLURM_CONF": self.conf}
        self.pids = []
        self.munge_pid = None

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self):
        for name in ("", "state", "spool"):
            os.mkdir(os.path.join(self.folder, name))
        ports = []
        for _ in range(2):
            with socket.socket() as one:
                one.bind(("127.0.0.1", 0))
                ports.append(one.getsockname()[1])
        with open(self.conf, "w") as file:
            file.write(SLURM_CONF.format(host=socket.gethostname(), ports=ports, folder=self.folder))
        if not os.path.exists("/run/munge/munge.socket.2"):
            self._start_munge()
        # In the foreground (-D), so that they are children of ours and go when we say so.
        self.pids.append(self.bench.commands.start([self.controller, "-D", "-c", "-f", self.conf], env=self.env))
        self.pids.append(self.bench.commands.start([self.node, "-D", "-f", self.conf], env=self.env))
        deadline = time.monotonic() + 20
        while True:
            try:
                self.bench.commands.time([self.srun, "--immediate=5", "/bin/true"], env=self.env)
                return
            except BenchError as error:
                if time.monotonic() > deadline:
                    raise BenchError(f"Slurm did not come up: {error}") from None
                time.sleep(0.2)

    def _start_munge(self):
        runuser, install = find("runuser"), find("install")
        self.bench.commands.time([install, "-d", "-o", "munge", "-g", "munge", "-m", "0755", "/run/munge"])
        argv = [runuser, "-u", "munge", "--", self.munged, "--foreground"]
        self.munge_pid = self.bench.commands.start(argv)
        if not proc.wait_until(lambda: os.path.exists("/run/munge/munge.socket.2"), 5):
            raise BenchError("munged did not come up")

    def __exit__(self, *_):
        if self.pids:
            try:
                self.bench.commands.time([self.scancel, "--user=root"], env=self.env)
            except BenchError:
                pass
        for pid in reversed(self.pids):
            proc.stop_child(pid)
        if self.munge_pid:
            proc.stop_child(self.munge_pid)
        proc.kill_left_over(self.folder)
        self.bench.discard(self.folder)

    def job_script(self):
        path = os.path.join(self.folder, "job.sh")
        with open(path, "w") as file:
            file.write("#!/bin/sh\nexit 0\n")
        return path
