# SPDX-License-Identifier: MIT
"""`amlctl run`: what is asked for, what the user sees, what comes back."""

import hashlib
import os
import re
import signal

import pytest
from harness import ESCAPE, GATE_MODULE, PYTHON, RUN_ID, Gate, alive, one_line_error, read_when_there, write_tree
from script_runs import DUMP, dump, only_run

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
    out, err = process.communicate(timeout=20)
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
    process.communicate(timeout=20)
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
