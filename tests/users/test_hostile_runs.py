# SPDX-License-Identifier: MIT
"""The hostile zoo, what runs do to their supervisor, the daemon and each other."""

import json
import subprocess

from harness import PYTHON, wait_for
from lab import processes_of
from users_harness import at_the_gate

ATTACK = r"""
import ctypes, json, os, signal, socket, sys
daemon, socket_path, state, others = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
supervisor = os.getppid()
won = []

def attempt(name, function):
    try:
        result = function()
    except (OSError, ValueError):
        return
    if result != -1:
        won.append([name, repr(result)])

def ptrace(request, pid):
    return libc.ptrace(request, pid, None, None)

for pid, who in ((supervisor, "supervisor"), (daemon, "daemon")):
    for number in (0, signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL, signal.SIGHUP, signal.SIGUSR1):
        attempt(f"kill {who} {number}", lambda: os.kill(pid, number))
    for request in (16, 0x4206):  # ATTACH, SEIZE
        attempt(f"ptrace {who}", lambda: ptrace(request, pid))
    for name in ("mem", "environ", "maps", "fd/0", "auxv"):
        attempt(f"read {who} {name}", lambda: open(f"/proc/{pid}/{name}", "rb").read(1))
    attempt(f"list {who}", lambda: os.listdir(f"/proc/{pid}/fd"))
    attempt(f"oom {who}", lambda: open(f"/proc/{pid}/oom_score_adj", "w").write("1000"))
    attempt(f"renice {who}", lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
    attempt(f"limit {who}", lambda: __import__("resource").prlimit(pid, 7, (3, 3)))
    attempt(f"pidfd {who}", lambda: libc.syscall(438, os.pidfd_open(pid), 0, 0))

for pid in others:
    for number in (signal.SIGTERM, signal.SIGKILL):
        attempt(f"kill another's {number}", lambda: os.kill(pid, number))

for name in ("launch", "exit", "status", "stop", "lock", "control", "limits", "supervisor.log"):
    for mode in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR | os.O_CREAT):
        attempt(f"open {name} {mode}", lambda: os.close(os.open("../" + name, mode | os.O_NONBLOCK)))
    attempt(f"unlink {name}", lambda: os.unlink("../" + name))
    attempt(f"replace {name}", lambda: os.rename("main.py", "../" + name))
for place in ("..", "../..", state, state + "/runs", state + "/blobs", state + "/index", state + "/blobs/tmp"):
    attempt(f"list {place}", lambda: os.listdir(place))
    attempt(f"make in {place}", lambda: open(place + "/new", "w"))
for name in ("history.db", "history.db-wal", "lock", "drain"):
    attempt(f"read {name}", lambda: open(f"{state}/{name}", "rb"))
    attempt(f"write {name}", lambda: open(f"{state}/{name}", "ab"))
attempt("replace the socket", lambda: os.rename("main.py", socket_path))
attempt("unlink the socket", lambda: os.unlink(socket_path))
for name in ("/etc/shadow", "/root"):
    attempt(name, lambda: open(name) if name != "/root" else os.listdir(name))
attempt("setuid", lambda: os.setuid(0))
attempt("seteuid", lambda: os.seteuid(0))
attempt("setgroups", lambda: os.setgroups([0]))
for line in open("/proc/self/mountinfo"):
    if " cgroup2 " in line:
        attempt("cgroup", lambda: open(line.split()[4] + "/cgroup.procs", "w").write(str(os.getpid())))
os.kill(os.getpid(), 0)
print(json.dumps(won))
"""


def test_a_run_can_do_nothing_to_its_supervisor_the_daemon_or_another_run(desk, safe, ana, ben):
    theirs = safe.desk(ben)
    other, _, gate = at_the_gate(theirs, "pass")
    try:
        pids = [pid for pid in processes_of(ben.uid) if pid in ben.strays()]
        argument = json.dumps([safe.pid, safe.socket, str(safe.state), pids])
        record = desk.finish(ATTACK, arguments=[argument])
        assert record["status"] == "Completed", (record, desk.std_log(record["run_id"]))
        assert json.loads(desk.std_log(record["run_id"])) == []
    finally:
        gate.open()
    assert theirs.ended(other)["status"] == "Completed"


def test_a_run_cannot_forge_its_end(desk):
    """What a script of a one-user daemon can (tests/blackbox/test_restart.py): write its exit record, and end the
    supervisor that would put the true one in its place."""
    code = r"""
import os, signal, sys
record = "format=1\0stopped=0\0exit_code=0\0end=\0"
won = []
for path in ("../exit", "../exit.new", "../status", "../unowed"):
    try:
        open(path, "w").write(record)
        won.append(path)
    except OSError:
        pass
for name, attempt in (("rename", lambda: os.rename("main.py", "../exit")), ("lock", lambda: os.unlink("../lock")),
                      ("kill", lambda: os.kill(os.getppid(), signal.SIGKILL))):
    try:
        attempt()
        won.append(name)
    except OSError:
        pass
print(won)
sys.exit(3)
"""
    record = desk.finish(code)
    assert (record["status"], record["exit_code"], record["error"]["code"]) == ("Failed", 3, "UserError"), record
    assert desk.std_log(record["run_id"]) == b"[]\n"


def test_a_run_reads_nothing_of_another_users_run(desk, safe, ana, ben):
    theirs, work, gate = at_the_gate(safe.desk(ben), "open('outputs/x', 'w').write('private')")
    try:
        code = f"""
import os
place = {str(work.parent)!r}
for name in ("", "/work", "/work/outputs", "/work/outputs/x", "/std_log.txt", "/launch"):
    path = place + name
    for how in (lambda: open(path).read(), lambda: os.listdir(path), lambda: open(path, "a")):
        try:
            print("won", path, how())
        except OSError:
            pass
"""
        record = desk.finish(code)
        assert desk.std_log(record["run_id"]) == b"", record
    finally:
        gate.open()
    safe.desk(ben).ended(theirs)


def test_a_run_that_speaks_to_the_daemon_is_its_submitter(desk, safe, ana, ben):
    run = safe.desk(ben).finish()["run_id"]
    code = f"""
import http.client, json, socket
class Line(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect({safe.socket!r})
def ask(method, path, body=None):
    line = Line("localhost")
    line.request(method, path, body)
    return line.getresponse().status
run = "/v1/runs/{run}"
print(ask("GET", run), ask("DELETE", run), ask("POST", "/v1/drain", "{{}}"), ask("GET", "/v1/status"))
"""
    record = desk.finish(code)
    assert desk.std_log(record["run_id"]) == b"404 404 403 200\n", record


def test_what_a_run_leaves_running_in_another_session_has_no_use_of_its_folder_afterwards(desk, safe, ana):
    """A descriptor of work/ that ana keeps elsewhere: after the end nothing of hers gets into the store by it."""
    run, work, gate = at_the_gate(desk, "open('outputs/x', 'w').write('at the end')")
    holder = ana.popen(
        [
            PYTHON,
            "-c",
            (
                "import os, sys\nos.chdir(sys.argv[1])\nprint('in', flush=True)\nsys.stdin.read()\n"
                "try:\n    open('outputs/late', 'w').write('late')\nexcept OSError as error:\n    print(error.errno)"
            ),
            work,
        ],
        stdin=subprocess.PIPE,
    )
    assert holder.stdout.readline() == b"in\n"
    gate.open()
    assert desk.ended(run)["status"] == "Completed"
    wait_for(lambda: not (safe.state / "runs" / run).exists(), "the folder goes")
    holder.communicate(b"now", timeout=20)
    assert list(desk.artifacts(run, "outputs/")) == ["outputs/x"]


def test_a_supervisor_that_its_user_cannot_kill_stops_his_fork_storm(desk, safe, ana):
    storm = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("outputs/on", "w")
end = time.monotonic() + 30
children = 0
while time.monotonic() < end:
    try:
        if children < 40 and os.fork() == 0:
            os.setsid()
            children = 0
            time.sleep(0.01)
            continue
        children += 1
        os.waitpid(-1, os.WNOHANG)
    except OSError:
        time.sleep(0.001)
"""
    before = set(ana.strays())
    code = f"import resource; resource.setrlimit(resource.RLIMIT_NPROC, ({len(before)} + 60, 200))\n{storm}"
    run = desk.submit(code)
    wait_for(lambda: len(ana.strays()) > len(before) + 20, "it storms")
    desk.cancel(run)
    assert desk.ended(run)["status"] == "Canceled"
    wait_for(lambda: not set(ana.strays()) - before, "nothing is left of it", 20)
