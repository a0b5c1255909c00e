# SPDX-License-Identifier: MIT
"""The per-user daemon that amlctl starts when none answers."""

import contextlib
import json
import os
import random
import signal
import stat
import subprocess

import pytest
from harness import AMLCTL, PYTHON, alive, end_all, one_line_error, process_stat, processes_below, remove, wait_for, write_tree

root_only = pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")


class Home:
    """A user's surroundings in which no daemon runs yet."""

    def __init__(self, folder, name="home", user=None):
        self.folder = folder / name
        self.user = user
        for path in (self.folder, self.folder / "run", self.folder / "project"):
            path.mkdir(parents=True, mode=0o700)
        write_tree(self.folder / "project", {"main.py": "print('hello')\n"})
        if user is not None:
            for base, _, names in os.walk(self.folder):
                for path in [base] + [os.path.join(base, name) for name in names]:
                    os.chown(path, user, user)
        self.env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder / "run"),
            "LANG": "C.UTF-8",
        }
        self.pids = {}

    def popen(self, *arguments, env=None):
        return subprocess.Popen(
            [AMLCTL, *map(str, arguments)], cwd=self.folder / "project", env=self.env if env is None else env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            user=self.user, group=self.user, extra_groups=None if self.user is None else [],
        )  # fmt: skip

    def amlctl(self, *arguments, env=None):
        process = self.popen(*arguments, env=env)
        out, err = process.communicate(timeout=30)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def status(self, *options, env=None):
        """What `amlctl status` says; the daemon it names is ended with this home."""
        done = self.amlctl(*options, "status", "-o", "json", env=env)
        assert done.returncode == 0, done
        status = json.loads(done.stdout)
        self.pids[status["pid"]] = process_stat(status["pid"])[2]
        return status

    def close(self):
        for pid, start in self.pids.items():
            if alive(pid, start):
                os.kill(pid, signal.SIGTERM)
                with contextlib.suppress(AssertionError):
                    wait_for(lambda p=pid, s=start: not alive(p, s), f"{pid} ends on SIGTERM")
        left = processes_below(self.folder)
        end_all(left)
        return left


@pytest.fixture
def home(scratch):
    made = []

    def make(*arguments, **options):
        made.append(Home(scratch, *arguments, **options))
        return made[-1]

    yield make
    left = [pid for home in made for pid in home.close()]
    assert not left, f"left over after the daemons that status named had ended: {left}"


def test_run_works_for_a_user_with_nothing_started(home):
    home = home()
    done = home.amlctl("run", "main.py")
    home.status()
    assert (done.returncode, done.stdout) == (0, b"hello\n"), done


def test_the_daemon_stays_and_is_found_again(home):
    home = home()
    assert home.status()["pid"] == home.status()["pid"]
    assert home.status()["uid"] == os.getuid()


def test_the_daemon_does_not_hold_the_terminal_or_the_folder_of_who_started_it(home):
    home = home()
    pid = home.status()["pid"]
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            assert "pipe:" not in os.readlink(f"/proc/{pid}/fd/{fd}") or int(fd) > 2
    assert not os.readlink(f"/proc/{pid}/cwd").startswith(str(home.folder / "project"))
    assert os.getsid(pid) not in (os.getsid(0), 0)


def test_ten_at_the_same_moment_start_one_daemon(home):
    home = home()
    processes = [home.popen("status", "-o", "json") for _ in range(10)]
    answers = [process.communicate(timeout=30) + (process.returncode,) for process in processes]
    home.status()
    assert [status for _, _, status in answers] == [0] * 10, answers
    assert len({json.loads(out)["pid"] for out, _, _ in answers}) == 1
    assert {json.loads(out)["pid"] for out, _, _ in answers} == set(home.pids)


def test_ten_runs_at_the_same_moment_all_run(home):
    home = home()
    processes = [home.popen("run", "main.py") for _ in range(10)]
    answers = [process.communicate(timeout=50) + (process.returncode,) for process in processes]
    status = home.status()
    assert [(out, code) for out, _, code in answers] == [(b"hello\n", 0)] * 10, answers
    assert status["runs"].get("Completed") == 10, status


def test_two_homes_never_meet(home):
    one, two = home("one"), home("two")
    assert one.amlctl("run", "-e", "mine", "main.py").returncode == 0
    assert two.amlctl("run", "-e", "yours", "main.py").returncode == 0
    assert one.status()["pid"] != two.status()["pid"]
    assert one.status()["state_directory"] != two.status()["state_directory"]
    for home, name in ((one, "mine"), (two, "yours")):
        runs = json.loads(home.amlctl("list", "-o", "json").stdout)
        assert [run["experiment_name"] for run in runs] == [name]


def test_two_state_directories_of_one_user_never_meet(home):
    home = home()
    folders = [home.folder / "state a", home.folder / "state b"]
    pids = [home.status("--state-dir", folder)["pid"] for folder in folders]
    assert len(set(pids)) == 2
    for i, folder in enumerate(folders):
        done = home.amlctl("--state-dir", folder, "run", "-e", f"exp{i}", "main.py")
        assert (done.returncode, done.stdout) == (0, b"hello\n"), done
        assert home.status("--state-dir", folder)["state_directory"] == str(folder)
    for i, folder in enumerate(folders):
        runs = json.loads(home.amlctl("--state-dir", folder, "list", "-o", "json").stdout)
        assert [run["experiment_name"] for run in runs] == [f"exp{i}"]


def test_two_daemons_cannot_share_one_state_directory(make_daemon):
    daemon = make_daemon()
    other = make_daemon(start=False)
    own, other.state = other.state, daemon.state
    try:
        with pytest.raises(AssertionError, match="not ready"):
            other.start()
        assert str(daemon.state) in other.last_words(), other.last_words()
        assert f"(pid {daemon.process.pid})" in other.last_words(), other.last_words()
        assert daemon.api("GET", "/healthz").status == 200
        assert other.process.wait(20) != 0
    finally:
        other.process = None
        other.state = own


def test_no_autostart_starts_nothing(home):
    home = home()
    message = one_line_error(home.amlctl("--no-autostart", "status"))
    assert "amlagentd" in message or "daemon" in message
    message = one_line_error(home.amlctl("--no-autostart", "run", "main.py"))
    assert processes_below(home.folder) == []


def test_a_stale_socket_file_is_no_obstacle(home):
    home = home()
    pid = home.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), "the daemon is gone")
    path = home.folder / "run" / "amlagent" / "amlagentd.sock"
    assert path.exists(), "contract section 1 names the socket's place"
    assert home.status()["pid"] != pid
    assert home.amlctl("run", "main.py").stdout == b"hello\n"


def test_a_file_where_the_socket_should_be_is_not_deleted_in_silence(home):
    home = home()
    folder = home.folder / "run" / "amlagent"
    folder.mkdir(mode=0o700)
    (folder / "amlagentd.sock").write_text("somebody's data")
    message = one_line_error(home.amlctl("status"))
    assert "amlagentd.sock" in message, message
    assert (folder / "amlagentd.sock").read_text() == "somebody's data"


def test_history_is_there_after_the_daemon_was_killed_and_started_again(home):
    home = home()
    assert home.amlctl("run", "main.py").returncode == 0
    pid = home.status()["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), "the daemon is gone")
    runs = json.loads(home.amlctl("list", "-o", "json").stdout)
    home.status()
    assert [run["status"] for run in runs] == ["Completed"]


def test_a_home_with_spaces_and_quotes_works(home):
    home = home("my 'ho\"me' ünï")
    done = home.amlctl("run", "main.py")
    status = home.status()
    assert (done.returncode, done.stdout) == (0, b"hello\n"), done
    assert status["state_directory"] == str(home.folder / ".local/state/amlagent")


def test_xdg_state_home_is_where_the_state_is(home):
    home = home()
    home.env["XDG_STATE_HOME"] = str(home.folder / "elsewhere")
    assert home.status()["state_directory"] == str(home.folder / "elsewhere/amlagent")


def test_the_state_is_private(home):
    home = home()
    home.env["XDG_STATE_HOME"] = str(home.folder / "elsewhere")
    old = os.umask(0)
    try:
        assert home.amlctl("run", "main.py").returncode == 0
    finally:
        os.umask(old)
    home.status()
    assert stat.S_IMODE(os.stat(home.folder / "elsewhere/amlagent").st_mode) & 0o077 == 0
    assert stat.S_IMODE(os.stat(home.folder / "run/amlagent").st_mode) & 0o077 == 0


def test_the_configuration_of_the_user_is_read(home):
    home = home()
    write_tree(home.folder, {".config/amlagent/amlagentd.conf": "max_running_runs = 17\n"})
    assert home.status()["max_running_runs"] == 17


def test_a_wrong_configuration_is_refused_with_its_line(home):
    home = home()
    write_tree(home.folder, {".config/amlagent/amlagentd.conf": "# mine\nmax_runing_runs = 17\n"})
    done = home.amlctl("status")
    assert done.returncode == 125 and b"amlagentd.conf:2" in done.stderr and b"max_runing_runs" in done.stderr, done


def test_amlagent_socket_names_the_daemon(home, make_daemon):
    daemon, home = make_daemon(), home()
    home.env["AMLAGENT_SOCKET"] = daemon.socket
    done = home.amlctl("status", "-o", "json")
    assert json.loads(done.stdout)["pid"] == daemon.process.pid


def test_socket_option_wins_over_the_environment(home, make_daemon):
    one, two, home = make_daemon(), make_daemon(), home()
    home.env["AMLAGENT_SOCKET"] = one.socket
    done = home.amlctl("--socket", two.socket, "status", "-o", "json")
    assert json.loads(done.stdout)["pid"] == two.process.pid


@pytest.fixture
def stranger(home):
    """A user nobody else is, whose fallback socket folder is /tmp/amlagent-UID."""
    uid = random.randrange(200000, 2000000)
    folder = f"/tmp/amlagent-{uid}"
    assert not os.path.lexists(folder)
    made = home("stranger", user=uid)
    os.chmod(made.folder.parent, 0o755)
    del made.env["XDG_RUNTIME_DIR"]
    if subprocess.run(
        [AMLCTL, "version"], user=uid, group=uid, extra_groups=[], env=made.env, cwd="/", capture_output=True
    ).returncode:
        pytest.skip("another user cannot execute what was built: a folder above it is closed to others")
    made.fallback = folder
    yield made
    made.close()
    if os.path.islink(folder):
        os.unlink(folder)
    elif os.path.exists(folder):
        remove(folder)


@root_only
def test_without_xdg_runtime_dir_the_socket_is_in_a_private_folder_below_tmp(stranger):
    done = stranger.amlctl("run", "main.py")
    assert (done.returncode, done.stdout) == (0, b"hello\n"), done
    assert stranger.status()["uid"] == stranger.user
    info = os.stat(stranger.fallback)
    assert (info.st_uid, stat.S_IMODE(info.st_mode)) == (stranger.user, 0o700)


@root_only
def test_without_any_environment_there_is_a_clear_error_or_it_works(stranger):
    """No HOME: the password database may know it; for a user who is not there it cannot."""
    one_line_error(stranger.amlctl("--no-autostart", "status", env={}))
    done = stranger.amlctl("status", env={})
    assert done.returncode in (0, 125), done
    if done.returncode:
        message = one_line_error(done)
        assert "HOME" in message or "--state-dir" in message


@root_only
def test_a_socket_folder_of_somebody_else_is_refused(stranger):
    os.mkdir(stranger.fallback, 0o777)
    os.chmod(stranger.fallback, 0o777)
    message = one_line_error(stranger.amlctl("run", "main.py"))
    assert stranger.fallback in message, message
    assert os.listdir(stranger.fallback) == []


@root_only
def test_a_socket_folder_open_to_others_is_refused_or_closed(stranger):
    os.mkdir(stranger.fallback)
    os.chown(stranger.fallback, stranger.user, stranger.user)
    os.chmod(stranger.fallback, 0o777)
    done = stranger.amlctl("run", "main.py")
    if done.returncode == 0:
        stranger.status()
        assert stat.S_IMODE(os.stat(stranger.fallback).st_mode) == 0o700
    else:
        assert stranger.fallback in one_line_error(done)


@root_only
def test_a_link_in_place_of_the_socket_folder_is_refused(stranger, scratch):
    (scratch / "trap").mkdir()
    os.chown(scratch / "trap", stranger.user, stranger.user)
    os.symlink(scratch / "trap", stranger.fallback)
    assert stranger.fallback in one_line_error(stranger.amlctl("run", "main.py"))
    assert os.listdir(scratch / "trap") == []


@root_only
def test_a_socket_that_somebody_else_planted_is_not_talked_to(stranger):
    trap = (
        "import os, socket, sys\n"
        f"os.mkdir({stranger.fallback!r}); os.chmod({stranger.fallback!r}, 0o755)\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        f"s.bind('{stranger.fallback}/amlagentd.sock')\n"
        f"os.chmod('{stranger.fallback}/amlagentd.sock', 0o666)\n"
        "s.listen(); print('ready', flush=True); c = s.accept()[0]; print('HEARD', c.recv(4096), flush=True); c.recv(1)\n"
    )
    thief = subprocess.Popen([PYTHON, "-c", trap], stdout=subprocess.PIPE, user=65534, group=65534, extra_groups=[], cwd="/")
    try:
        assert thief.stdout.readline() == b"ready\n"
        victim = stranger.popen("run", "main.py", env={**stranger.env, "TOKEN": "hunter2"})
        try:
            out, err = victim.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            victim.kill()
            victim.communicate()
            thief.kill()
            raise AssertionError(f"amlctl talks to a socket of uid 65534: {thief.stdout.read()[:400]!r}") from None
        thief.kill()
        assert thief.stdout.read() == b"", "the request, with the user's environment, went to a stranger"
        assert stranger.fallback in one_line_error(subprocess.CompletedProcess([], victim.returncode, out, err))
    finally:
        thief.kill()
        thief.wait()
        thief.stdout.close()


@root_only
def test_another_user_cannot_talk_to_my_daemon(make_daemon):
    daemon = make_daemon()
    os.chmod(daemon.root, 0o755)
    done = daemon.amlctl("--no-autostart", "list", user=65534, cwd="/")
    assert done.returncode == 125 and done.stdout == b"", done
