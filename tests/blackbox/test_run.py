# SPDX-License-Identifier: MIT
"""`amlctl run`: what the script sees, what the user sees, what comes back."""

import contextlib
import hashlib
import json
import os
import re
import signal
import time

import pytest
from harness import (
    ESCAPE,
    GATE_MODULE,
    PYTHON,
    RUN_ID,
    Gate,
    alive,
    one_line_error,
    read_when_there,
    tree_of,
    wait_for,
    write_tree,
)

DUMP = """
import json, os, sys
json.dump({"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(), "stdin": sys.stdin.read(),
           "here": sorted(os.listdir("."))}, sys.stdout)
"""


def dump(daemon, *options, after=(), env=None, source=None, input=None):
    """What a script saw."""
    source = source or daemon.source(DUMP)
    done = daemon.amlctl("run", *options, "main.py", *after, cwd=source, env=env, input=input)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def only_run(daemon, experiment):
    runs = daemon.api("GET", f"/v1/runs?experiment_name={experiment}").json
    assert len(runs) == 1, runs
    return runs[0]


# -- what comes out -------------------------------------------------------------------------------


def test_prints_the_output_of_the_script_and_nothing_else(shared):
    done = shared.amlctl("run", "main.py", cwd=shared.source("print('hello'); print('world')"))
    assert (done.returncode, done.stdout) == (0, b"hello\nworld\n"), done


@pytest.mark.parametrize("status", [0, 1, 2, 3, 42, 124, 125, 130, 255])
def test_exits_with_the_status_of_the_script(shared, status):
    done = shared.amlctl("run", "main.py", cwd=shared.source(f"raise SystemExit({status})"))
    assert done.returncode == status, done


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGUSR1, signal.SIGINT])
def test_exits_with_128_plus_the_signal_that_ended_the_script(shared, number):
    source = shared.source(
        f"import os, signal; signal.signal({int(number)}, signal.SIG_DFL) if {int(number)} != 9 else 0\n"
        f"os.kill(os.getpid(), {int(number)})"
    )
    done = shared.amlctl("run", "main.py", cwd=source)
    assert done.returncode == 128 + number, done
    record = only_run(shared, source.name)
    assert (record["status"], record["error"]["code"]) == ("Failed", "Killed"), record
    assert (record["signal"], record["exit_code"]) == (int(number), None), record


def test_exits_with_124_at_the_time_limit(shared):
    source = shared.source("import time; print('up', flush=True); time.sleep(100)")
    done = shared.amlctl("run", "--max-run-duration", "5", "main.py", cwd=source)
    assert (done.returncode, done.stdout) == (124, b"up\n"), done


def test_exits_with_130_when_cancelled(shared):
    source = shared.source("import time; print('up', flush=True); time.sleep(100)")
    process = shared.popen("run", "main.py", cwd=source)
    assert process.stdout.readline() == b"up\n"
    shared.ok("cancel", only_run(shared, source.name)["run_id"])
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_exits_with_125_and_one_line_when_the_run_cannot_be_set_up(shared):
    done = shared.amlctl("run", "--python", "/nowhere/python", "main.py", cwd=shared.source())
    assert done.stdout == b""
    assert "/nowhere/python" in done.stderr.decode(), done
    assert done.returncode == 125, done


@pytest.mark.parametrize("arguments", [["run"], ["run", "--nonsense", "main.py"], ["run", "-e"], []])
def test_wrong_usage_exits_with_2(shared, arguments):
    done = shared.amlctl(*arguments, cwd=shared.source())
    assert done.returncode == 2 and done.stdout == b"" and done.stderr, done


def test_200_megabytes_come_through_byte_for_byte(shared):
    source = shared.source(
        "import sys\nblock = bytes(range(256)) * 4096\n"
        "for i in range(200):\n    sys.stdout.buffer.write(b'%08d' % i + block[8:])\n"
    )
    process = shared.popen("run", "main.py", cwd=source)
    digest, size = hashlib.sha256(), 0
    while piece := process.stdout.read(1 << 20):
        digest.update(piece)
        size += len(piece)
    process.stdout.close()
    assert process.wait(20) == 0, process.stderr.read()
    process.stderr.close()
    block, expected = bytes(range(256)) * 4096, hashlib.sha256()
    for i in range(200):
        expected.update(b"%08d" % i + block[8:])
    assert (size, digest.hexdigest()) == (200 << 20, expected.hexdigest())


def test_output_without_any_newline_is_complete(shared):
    done = shared.amlctl("run", "main.py", cwd=shared.source("import sys; sys.stdout.write('x' * 3000001)"))
    assert (done.returncode, len(done.stdout), set(done.stdout)) == (0, 3000001, {ord("x")})


def test_a_prompt_without_newline_is_shown_while_the_script_goes_on(shared):
    gate = Gate(shared.root, "prompt.gate")
    source = shared.source({"gate.py": GATE_MODULE, "main.py": f"print('ready? ', end='')\n{gate.code}\nprint('yes')"})
    process = shared.popen("run", "main.py", cwd=source)
    assert process.stdout.read(7) == b"ready? "
    gate.open()
    assert process.communicate(timeout=20)[0] == b"yes\n"
    assert process.returncode == 0


def test_binary_output_is_not_touched(shared):
    done = shared.amlctl(
        "run", "main.py", cwd=shared.source("import sys; sys.stdout.buffer.write(bytes(range(256)) * 3 + b'\\r\\n\\0')")
    )
    assert done.stdout == bytes(range(256)) * 3 + b"\r\n\0"


def test_no_output_at_all(shared):
    done = shared.amlctl("run", "main.py", cwd=shared.source(""))
    assert (done.returncode, done.stdout) == (0, b""), done


def test_stdout_and_stderr_come_in_the_order_in_which_they_were_written(shared):
    source = shared.source(
        "import sys\nfor i in range(500):\n    print('out', i)\n    print('err', i, file=sys.stderr)\n"
    )
    done = shared.amlctl("run", "main.py", cwd=source)
    assert done.stdout.decode().splitlines() == [f"{s} {i}" for i in range(500) for s in ("out", "err")]


def test_output_comes_while_the_script_runs(shared):
    gates = [Gate(shared.root, f"live{i}") for i in range(3)]
    lines = "".join(f"print('line', {i})\n{gate.code}\n" for i, gate in enumerate(gates))
    process = shared.popen("run", "main.py", cwd=shared.source({"gate.py": GATE_MODULE, "main.py": lines}))
    for i, gate in enumerate(gates):
        assert process.stdout.readline() == f"line {i}\n".encode()
        gate.open()
    process.communicate(timeout=20)
    assert process.returncode == 0


def test_no_colour_and_no_progress_where_there_is_no_terminal(shared):
    done = shared.amlctl("run", "main.py", cwd=shared.source("raise SystemExit(3)"), env={"TERM": "xterm-256color"})
    assert ESCAPE not in done.stderr and b"\r" not in done.stderr, done


def test_a_closed_stdout_does_not_kill_the_run(shared):
    gate = Gate(shared.root, "closed.gate")
    main = f"print('first')\n{gate.code}\nfor i in range(20000): print('line', i)\n"
    source = shared.source({"gate.py": GATE_MODULE, "main.py": main})
    process = shared.popen("run", "main.py", cwd=source)
    assert process.stdout.readline() == b"first\n"
    process.stdout.close()
    gate.open()
    process.wait(20)
    process.stderr.close()
    assert shared.ended(only_run(shared, source.name)["run_id"])["status"] == "Completed"


# -- detached -------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["-d", "--detach"])
def test_detach_prints_the_run_id_alone_and_returns(shared, option):
    gate = Gate(shared.root, f"detach{option}")
    source = shared.source({"gate.py": GATE_MODULE, "main.py": gate.code})
    done = shared.amlctl("run", option, "main.py", cwd=source)
    assert done.returncode == 0, done
    assert done.stdout.endswith(b"\n") and RUN_ID.match(done.stdout.decode().rstrip("\n")), done
    run = done.stdout.decode().strip()
    assert shared.record(run)["status"] not in ("Completed", "Failed", "Canceled")
    gate.open()
    assert shared.ended(run)["status"] == "Completed"


def test_ctrl_c_detaches_says_so_and_leaves_the_run_alone(shared):
    gate = Gate(shared.root, "ctrlc.gate")
    main = f"print('up')\n{gate.code}\nprint('done')\n"
    source = shared.source({"gate.py": GATE_MODULE, "main.py": main})
    process = shared.popen("run", "main.py", cwd=source)
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    run = only_run(shared, source.name)["run_id"]
    assert out == b"" and run in err.decode(), (out, err)
    shared.running(run)
    gate.open()
    assert shared.ended(run)["status"] == "Completed"
    assert shared.std_log(run) == b"up\ndone\n"


def test_ctrl_c_of_the_whole_terminal_does_not_reach_the_script(shared):
    """A terminal sends SIGINT to the whole foreground process group: the script is in none of ours."""
    source = shared.source("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(100)")
    process = shared.popen("run", "main.py", cwd=source, start_new_session=True)
    pid = int(process.stdout.readline())
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=10)
    run = only_run(shared, source.name)["run_id"]
    shared.running(run)
    assert alive(pid)
    shared.ok("cancel", run)
    shared.ended(run)


# -- arguments ------------------------------------------------------------------------------------


def test_all_that_follows_the_script_belongs_to_the_script(shared):
    given = ["--help", "-d", "--tag", "x", "-e", "other", "--", "-o", "json", "", "a b", "é", "--python=no", "-c", "*"]
    assert dump(shared, after=given)["argv"] == given


def test_options_before_the_script_may_be_spelled_either_way(shared):
    source = shared.source(DUMP)
    shared.ok("run", "--experiment=spelled", "--tag=a=b", "--max-run-duration=90m", "main.py", cwd=source)
    record = only_run(shared, "spelled")
    assert record["tags"] == {"a": "b"} and record["run_definition"]["max_run_duration_seconds"] == 5400


def test_newlines_quotes_and_backslashes_in_arguments_survive(shared):
    given = ["a\nb", "it's", '"q"', "back\\slash", "tab\t", "\x01", "日本", "{}", "%s", "~", "`id`", "$(id)"]
    assert dump(shared, after=given)["argv"] == given


def test_variables_in_arguments_are_expanded_against_the_environment_of_the_run(shared):
    seen = dump(
        shared, "--set-env", "INNER=in ner", "--set-env", "NESTED=$INNER",
        after=["$OUTER", "${OUTER}/x", "pre$OUTER-post", "$INNER", "$AZUREML_RUN_ID", "100$", "a $ b", "$NESTED"],
        env={"OUTER": "out er"},
    )
    assert seen["argv"] == [
        "out er", "out er/x", "preout er-post", "in ner", seen["env"]["AZUREML_RUN_ID"], "100$", "a $ b", "$INNER",
    ]  # fmt: skip


def test_a_script_in_a_sub_folder_runs_in_the_top_folder(shared):
    source = shared.source(
        {"sub/deep/go.py": "import helper, os; print(os.path.exists('top.txt'), helper.X)", "sub/deep/helper.py": "X=5",
         "top.txt": "t"}
    )  # fmt: skip
    assert shared.amlctl("run", "sub/deep/go.py", cwd=source).stdout == b"True 5\n"


def test_source_directory_option_names_the_folder(shared):
    source = shared.source("import os; print(sorted(os.listdir('.')))", name="with spaces and ünïcode")
    for option in (["-C", source], ["--source-directory", source], ["-C", "src/with spaces and ünïcode"]):
        done = shared.amlctl("run", *option, "-e", "folder", "main.py", cwd=shared.root)
        assert done.returncode == 0 and b"main.py" in done.stdout, done
    assert shared.record("latest")["run_definition"]["source_directory"] == str(source)


# -- --command ------------------------------------------------------------------------------------


def test_command_form_is_a_shell_command_line(shared):
    source = shared.source({"data.txt": "42\n"})
    done = shared.amlctl("run", "--command", 'x=$(cat data.txt) && echo "$x" | tr 4 5; exit 7', cwd=source)
    assert (done.returncode, done.stdout) == (7, b"52\n"), done
    definition = only_run(shared, source.name)["run_definition"]
    assert definition["script"] is None and "data.txt" in definition["command"]


def test_command_form_finds_the_interpreter_of_the_run_first(shared):
    source = shared.source()
    done = shared.amlctl("run", "--python", PYTHON, "--command", "python3 -c 'print(1 + 1)'", cwd=source)
    assert (done.returncode, done.stdout) == (0, b"2\n"), done


def test_command_form_needs_no_file(shared):
    source = shared.root / "src" / "emptyfolder"
    source.mkdir(parents=True)
    assert shared.amlctl("run", "--command", "pwd; ls", cwd=source).stdout.endswith(b"logs\noutputs\nuser_logs\n")


def test_script_and_command_together_are_refused(shared):
    source = shared.source()
    done = shared.amlctl("run", "--command", "true", "main.py", cwd=source)
    assert done.returncode in (2, 125) and b"command" in done.stderr and done.stdout == b"", done
    assert shared.api("GET", f"/v1/runs?experiment_name={source.name}").json == []


# -- environment ----------------------------------------------------------------------------------


def test_the_environment_of_the_submitter_is_inherited(shared):
    seen = dump(shared, env={"LEARNING": "0.1", "EMPTY": "", "ODD": "a=b\n c"})
    assert (seen["env"]["LEARNING"], seen["env"]["EMPTY"], seen["env"]["ODD"]) == ("0.1", "", "a=b\n c")


def test_the_environment_of_the_daemon_is_not_inherited(make_daemon):
    daemon = make_daemon(start=False)
    daemon.env["ONLY_DAEMON"] = "1"
    daemon.start()
    del daemon.env["ONLY_DAEMON"]
    assert "ONLY_DAEMON" not in dump(daemon)["env"]


def test_clean_env_leaves_the_environment_of_the_submitter_behind(shared):
    seen = dump(shared, "--clean-env", "--python", PYTHON, "--set-env", "KEPT=1", env={"LEFT": "1"})["env"]
    assert "LEFT" not in seen and seen["KEPT"] == "1" and seen["AZUREML_RUN_ID"]


def test_set_env_sets_and_overrides(shared):
    seen = dump(
        shared, "--set-env", "A=1", "--set-env", "B=x=y z", "--set-env", "C=", "--set-env", "A=2", env={"B": "old"}
    )["env"]
    assert (seen["A"], seen["B"], seen["C"]) == ("2", "x=y z", "")


@pytest.mark.parametrize("bad", ["=value", "", "NUL_IS_NOT_TESTABLE_BUT_NO_EQUALS"])
def test_set_env_that_is_none_is_refused(shared, bad):
    done = shared.amlctl("run", "--set-env", bad, "main.py", cwd=shared.source())
    assert done.returncode in (2, 125) and b"set-env" in done.stderr, done


def test_an_environment_that_is_not_utf_8_is_named_not_mangled(shared):
    done = shared.amlctl("run", "main.py", b"caf\xe9", cwd=shared.source())
    assert done.returncode in (2, 125) and b"UTF-8" in done.stderr, done


def test_azureml_variables_tell_the_script_who_it_is(shared):
    source = shared.source(DUMP)
    seen = dump(shared, "-e", "whoami", source=source)["env"]
    run = only_run(shared, "whoami")["run_id"]
    assert seen["AZUREML_RUN_ID"] == run
    for name in ("EXPERIMENT_ID", "ARM_SUBSCRIPTION", "ARM_RESOURCEGROUP", "ARM_WORKSPACE_NAME", "ARM_PROJECT_NAME"):
        assert f"AZUREML_{name}" in seen, name
    assert seen["AZUREML_ARM_PROJECT_NAME"] == "whoami"


def test_azureml_variables_of_the_submitter_are_not_believed(shared):
    seen = dump(shared, "--set-env", "AZUREML_RUN_ID=fake", env={"AZUREML_EXPERIMENT_ID": "fake"})["env"]
    assert "fake" not in (seen["AZUREML_RUN_ID"], seen["AZUREML_EXPERIMENT_ID"])


def test_python_is_unbuffered_unless_the_user_wants_otherwise(shared):
    assert dump(shared)["env"]["PYTHONUNBUFFERED"] == "1"
    assert dump(shared, "--set-env", "PYTHONUNBUFFERED=")["env"]["PYTHONUNBUFFERED"] == ""
    assert dump(shared, env={"PYTHONUNBUFFERED": "x"})["env"]["PYTHONUNBUFFERED"] == "x"


def test_standard_input_is_empty(shared):
    assert dump(shared, input=b"not for the script\n")["stdin"] == ""


def test_signals_and_descriptors_are_as_a_shell_would_leave_them(shared):
    source = shared.source(
        "import os, signal\n"
        "print([s for s in range(1, 32) if s not in (9, 19) and signal.getsignal(s) is signal.SIG_IGN"
        " and s not in (signal.SIGPIPE, signal.SIGXFSZ)])\n"
        "print(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n"
        "print(sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:-1], oct(os.umask(0)))\n"
    )
    done = shared.amlctl("run", "main.py", cwd=source)
    assert done.stdout == b"[]\nset()\n[0, 1, 2] 0o22\n", done


def holds(path, secret):
    """Is it a file with the secret in it? What ended runs leave is being removed meanwhile."""
    with contextlib.suppress(FileNotFoundError):
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, "rb") as file:
                return secret.encode() in file.read()
    return False


def test_secrets_of_the_environment_are_kept_nowhere(daemon):
    secret = "hunter2-" + os.urandom(8).hex()
    gate = Gate(daemon.root, "secret.gate")
    source = daemon.source({"gate.py": GATE_MODULE, "main.py": f"import os\nassert os.environ['TOKEN']\n{gate.code}"})
    run = daemon.ok("run", "-d", "main.py", cwd=source, env={"TOKEN": secret}).strip()
    daemon.running(run)

    def holders():
        found = []
        for base, _, names in os.walk(daemon.state):
            for name in names:
                path = os.path.join(base, name)
                if holds(path, secret):
                    found.append(path)
        return found

    def open_to_others(path):
        if os.stat(path).st_mode & 0o044 == 0:
            return False
        parents = []
        while path != str(daemon.root):
            path = os.path.dirname(path)
            parents.append(path)
        return all(os.stat(parent).st_mode & 0o011 for parent in parents)

    for path in holders():
        assert path.startswith(str(daemon.state / "runs" / run)), path
        assert not open_to_others(path), f"{path} is readable by others"
    assert secret not in daemon.ok("show", run, "-o", "json") + daemon.ok("list", "-o", "json")
    gate.open()
    assert daemon.ended(run)["status"] == "Completed"
    for where in (["show", run], ["show", run, "-o", "json"], ["list"], ["list", "-o", "json"]):
        assert secret not in daemon.ok(*where)
    wait_for(lambda: not holders(), f"nothing under the state folder holds the secret: {holders()}")
    assert secret not in daemon.last_words()


def test_secrets_are_gone_also_after_a_run_that_failed_or_could_not_start(daemon):
    secret = "hunter3-" + os.urandom(8).hex()
    environment = {"PATH": "/usr/bin:/bin", "TOKEN": secret}
    for request in (
        {"files": "raise SystemExit(3)"},
        {"files": "", "environment": {"python": {"interpreter_path": "/nowhere"}}},
    ):
        record = daemon.finish(submit_environment=environment, **request)
        assert record["status"] == "Failed"
        assert secret not in json.dumps(record)

    def holders():
        return [
            path for base, _, names in os.walk(daemon.state) for path in (os.path.join(base, n) for n in names)
            if holds(path, secret)
        ]  # fmt: skip

    wait_for(lambda: not holders(), f"nobody holds the secret: {holders()}")


# -- the working directory ------------------------------------------------------------------------


def test_the_script_runs_in_a_copy_with_outputs_and_logs(shared):
    source = shared.source({"main.py": DUMP, "data/a.txt": "a"})
    seen = dump(shared, source=source)
    assert seen["cwd"] != str(source) and seen["cwd"].startswith(str(shared.state))
    assert {"main.py", "data", "outputs", "logs"} <= set(seen["here"])


def test_the_source_folder_is_never_written(shared):
    source = shared.source(
        {"main.py": "import os, helper\nopen('data.txt', 'r+').write('SPOILED')\nopen('new.txt', 'w').close()\n"
                    "os.remove('gone.txt')\nos.chmod('x.sh', 0)\nopen('outputs/o', 'w').close()\n",
         "helper.py": "", "data.txt": "precious", "gone.txt": "here", "x.sh": ("#!/bin/sh\n", 0o755)}
    )  # fmt: skip
    before, times = tree_of(source), {p: os.stat(p).st_mtime_ns for p in source.iterdir()}
    for _ in range(2):
        done = shared.amlctl("run", "main.py", cwd=source)
        assert done.returncode == 0, done
    assert tree_of(source) == before
    assert {p: os.stat(p).st_mtime_ns for p in source.iterdir()} == times
    target = shared.root / "restored"
    shared.ok("snapshot", "latest", "-o", target)
    assert tree_of(target) == before, "the stored bytes were written through"


def test_a_source_folder_that_cannot_be_written_is_fine(shared):
    source = shared.source({"main.py": ("print(open('d/x').read())", 0o444), "d/x": ("x", 0o444)})
    os.chmod(source / "d", 0o555)
    os.chmod(source, 0o555)
    try:
        done = shared.amlctl("run", "main.py", cwd=source)
        assert (done.returncode, done.stdout) == (0, b"x\n"), done
    finally:
        os.chmod(source, 0o755)
        os.chmod(source / "d", 0o755)


# -- names and tags -------------------------------------------------------------------------------


def test_experiment_tags_and_display_name_are_kept(shared):
    shared.ok(
        "run", "--experiment", "Named_1-x", "--display-name", "Erster Versuch ✓", "--tag", "owner=ana", "--tag",
        "note=a=b c", "main.py", cwd=shared.source(),
    )  # fmt: skip
    record = only_run(shared, "Named_1-x")
    assert record["display_name"] == "Erster Versuch ✓"
    assert record["tags"] == {"owner": "ana", "note": "a=b c"}
    assert RUN_ID.match(record["run_id"]) and record["run_id"].startswith("Named_1-x_")


@pytest.mark.parametrize("folder", ["plain", "has space", "über", "-dash", "_under", "dot.ted", "x" * 200])
def test_the_experiment_is_named_after_the_folder_when_not_given(shared, folder):
    source = shared.source(name=folder)
    run = shared.ok("run", "-d", "main.py", cwd=source).strip()
    record = shared.ended(run)
    assert record["status"] == "Completed" and RUN_ID.match(run)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,255}", record["experiment_name"]), record["experiment_name"]
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", folder):
        assert record["experiment_name"] == folder


@pytest.mark.parametrize("name", ["", "-x", "_x", "a b", "a/b", "é", "x" * 257, "a.b"])
def test_a_wrong_experiment_name_is_refused_and_named(shared, name):
    done = shared.amlctl("run", f"--experiment={name}", "main.py", cwd=shared.source())
    assert done.returncode in (2, 125) and b"experiment" in done.stderr, done


# -- time limit -----------------------------------------------------------------------------------


@pytest.mark.parametrize("given, seconds", [("5", 5), ("3600", 3600), ("90s", 90), ("90m", 5400), ("2h", 7200)])
def test_max_run_duration_takes_seconds_minutes_hours(shared, given, seconds):
    source = shared.source()
    shared.ok("run", "--max-run-duration", given, "main.py", cwd=source)
    assert only_run(shared, source.name)["run_definition"]["max_run_duration_seconds"] == seconds


def test_max_run_duration_is_30_days_when_not_given(shared):
    source = shared.source()
    shared.ok("run", "main.py", cwd=source)
    assert only_run(shared, source.name)["run_definition"]["max_run_duration_seconds"] == 2592000


@pytest.mark.parametrize("given", ["0", "-1", "abc", "5x", "", "1e99", "99999999999999999999", "5 m"])
def test_a_wrong_max_run_duration_is_refused(shared, given):
    done = shared.amlctl("run", f"--max-run-duration={given}", "main.py", cwd=shared.source())
    assert done.returncode in (2, 125) and b"max-run-duration" in done.stderr.replace(b"_", b"-"), done


@pytest.mark.parametrize("option", ["--cpus=0", "--cpus=x", "--tag=", "--tag", "--tag=novalue"])
def test_other_wrong_values_are_refused(shared, option):
    done = shared.amlctl("run", option, "main.py", cwd=shared.source())
    assert done.returncode in (2, 125), done


def test_cpus_are_kept_in_the_definition(shared):
    source = shared.source()
    shared.ok("run", "--cpus", "2", "main.py", cwd=source)
    assert only_run(shared, source.name)["run_definition"]["resources"]["cpus"] == 2


# -- run configurations ---------------------------------------------------------------------------

YAML = """\
# The script to run
script: main.py
arguments: [--lr, 0.1, "--flag", 7]
target: local
framework: Python
communicator: None
maxRunDurationSeconds: 1234
environment:
  name: mine
  environmentVariables:
    FROM_CONFIG: "yes"
    NUMBER: 2
  python:
    userManagedDependencies: true
    interpreterPath: /usr/bin/python3
  docker:
    enabled: false
    baseImage: mcr.microsoft.com/azureml/base:0.2.4
    arguments: []
history:
  outputCollection: true
  directoriesToWatch: [logs]
nodeCount: 1
"""


def config_source(daemon, text, name="train.runconfig"):
    return daemon.source({"main.py": DUMP, f".azureml/{name}": text})


@pytest.mark.parametrize("given", ["train", "train.runconfig"])
def test_a_run_configuration_in_yaml(shared, given):
    source = config_source(shared, YAML)
    done = shared.amlctl("run", "-c", given, cwd=source)
    assert done.returncode == 0, done
    seen = json.loads(done.stdout)
    assert seen["argv"] == ["--lr", "0.1", "--flag", "7"]
    assert (seen["env"]["FROM_CONFIG"], seen["env"]["NUMBER"]) == ("yes", "2")
    record = only_run(shared, source.name)
    assert record["run_definition"]["max_run_duration_seconds"] == 1234
    assert record["interpreter"]["path"] == PYTHON


def test_a_run_configuration_in_json(shared):
    text = json.dumps(
        {"script": "main.py", "arguments": ["--x", 1.5], "environment": {"python": {"interpreterPath": PYTHON}}}
    )
    done = shared.amlctl("run", "--run-configuration", "train", cwd=config_source(shared, text))
    assert done.returncode == 0 and json.loads(done.stdout)["argv"] == ["--x", "1.5"], done


def test_the_command_line_wins_over_the_run_configuration(shared):
    source = config_source(shared, YAML.replace("script: main.py", "script: absent.py"))
    done = shared.amlctl(
        "run", "-c", "train", "--max-run-duration", "77", "--set-env", "FROM_CONFIG=no", "main.py", "mine", cwd=source
    )
    assert done.returncode == 0, done
    seen = json.loads(done.stdout)
    assert seen["argv"] == ["mine"] and seen["env"]["FROM_CONFIG"] == "no"
    assert only_run(shared, source.name)["run_definition"]["max_run_duration_seconds"] == 77


def test_an_empty_max_run_duration_in_a_run_configuration_means_no_limit(shared):
    source = config_source(shared, YAML.replace("1234", ""))
    assert shared.amlctl("run", "-c", "train", cwd=source).returncode == 0
    assert only_run(shared, source.name)["run_definition"]["max_run_duration_seconds"] is None


@pytest.mark.parametrize(
    "text, line",
    [
        ("script: main.py\narguments: [1, 2\nenvironment: {}\n", None),
        ("script: main.py\n\targuments: []\n", 2),
        ('{"script": "main.py",\n "arguments": [1,\n  }}\n', 3),
        ("script: main.py\narguments: 5\n", 2),
        ("script: [main.py]\n", 1),
        ("script: main.py\nmaxRunDurationSeconds: soon\n", 2),
        ("- script\n- main.py\n", 1),
    ],
)
def test_a_malformed_run_configuration_is_refused_with_file_and_line(shared, text, line):
    source = config_source(shared, text)
    message = one_line_error(shared.amlctl("run", "-c", "train", cwd=source))
    assert "train.runconfig" in message, message
    found = re.search(r"(?::|line )(\d+)", message)
    assert found and (line is None or int(found[1]) == line), message
    assert shared.api("GET", f"/v1/runs?experiment_name={source.name}").json == []


@pytest.mark.parametrize("text", ["", "\0\0\0", "&a [*a]", "a: &a [*a, *a]\n", "{" * 50000, "[" * 50000, "---\n" * 9])
def test_a_hostile_run_configuration_is_an_error_not_a_crash(shared, text):
    done = shared.amlctl("run", "-c", "train", cwd=config_source(shared, text))
    assert done.returncode in (2, 125) and len(done.stderr) < 2000, done


def test_a_billion_laughs_are_not_laughed(shared):
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
    )
    began = time.monotonic()
    done = shared.amlctl("run", "-c", "train", cwd=config_source(shared, text + "arguments: *a9\n"), timeout=20)
    assert done.returncode in (2, 125) and time.monotonic() - began < 10, done


def test_a_run_configuration_that_is_not_there_is_named(shared):
    message = one_line_error(shared.amlctl("run", "-c", "absent", "main.py", cwd=shared.source()))
    assert "absent" in message


# -- bad input ------------------------------------------------------------------------------------


def runs_and_folders(daemon):
    runs = daemon.state / "runs"
    return len(daemon.api("GET", "/v1/runs?limit=1000").json), len(os.listdir(runs)) if runs.exists() else 0


def test_bad_input_gets_one_line_that_names_it_and_leaves_nothing(daemon, scratch):
    source = daemon.source({"main.py": "", "sub/x": ""})
    write_tree(scratch, {"outside.py": ""})
    os.symlink(scratch / "outside.py", source / "link.py")
    cases = [
        (["run", "-C", daemon.root / "no-folder", "main.py"], "no-folder"),
        (["run", "-C", source / "main.py", "main.py"], "main.py"),
        (["run", "absent.py"], "absent.py"),
        (["run", "sub"], "sub"),
        (["run", "../outside.py"], "outside.py"),
        (["run", "sub/../../outside.py"], "outside.py"),
        (["run", str(scratch / "outside.py")], "outside.py"),
        (["run", ""], "script"),
    ]
    for arguments, name in cases:
        done = daemon.amlctl(*arguments, cwd=source)
        assert name in one_line_error(done), done
        assert done.stdout == b""
    assert runs_and_folders(daemon) == (0, 0)


def test_a_megabyte_of_arguments_is_refused_with_a_clear_error(daemon):
    many = ["x" * 1000] * 1050
    message = one_line_error(daemon.amlctl("run", "main.py", *many, cwd=daemon.source()))
    assert "argument" in message, message
    assert runs_and_folders(daemon) == (0, 0)


def test_many_arguments_that_linux_takes_do_work(shared):
    many = [f"argument-{i}" for i in range(5000)]
    assert dump(shared, after=many)["argv"] == many


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_an_unreadable_file_is_named(make_daemon):
    daemon = make_daemon(user=65534)
    source = daemon.source({"main.py": "", "data/secret.bin": "x"})
    os.chmod(source / "data/secret.bin", 0)
    message = one_line_error(daemon.amlctl("run", "main.py", cwd=source))
    assert "data/secret.bin" in message, message
    os.chmod(source / "data/secret.bin", 0o644)
    os.chmod(source / "data", 0)
    message = one_line_error(daemon.amlctl("run", "main.py", cwd=source))
    assert "data" in message, message
    assert runs_and_folders(daemon) == (0, 0)
    os.chmod(source / "data", 0o755)
    assert daemon.amlctl("run", "main.py", cwd=source).returncode == 0


def test_a_script_that_forks_in_the_background_does_not_hold_amlctl_up(shared):
    pids = shared.root / "background.pid"
    source = shared.source(
        "import os, subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)'], start_new_session=True)\n"
        f"open({str(pids)!r} + '.new', 'w').write(str(p.pid)); os.rename({str(pids)!r} + '.new', {str(pids)!r})\n"
        "print('over')"
    )
    done = shared.amlctl("run", "main.py", cwd=source, timeout=20)
    assert (done.returncode, done.stdout) == (0, b"over\n"), done
    assert not alive(int(read_when_there(pids))), "a process outlived its run"
