# SPDX-License-Identifier: MIT
"""Why it ended: one sentence with its evidence, for each kind of end."""

import os
import re
import signal

import pytest
from harness import ESCAPE, processes_below, wait_for

SLEEP = "import time\nprint('up', flush=True)\ntime.sleep(1000)\n"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP
UTC = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
TRAIN = """\
import model

def step(batch):
    model.forward(batch)

step([1, 2, 3])
"""
MODEL = """\
import json

def forward(batch):
    json.loads("{" + str(batch))
"""


def sentence_of(record):
    """The first line of the message; what holds for each of them is checked on the way."""
    sentence = record["error"]["message"].split("\n")[0]
    assert 0 < len(sentence) <= 300 and sentence == sentence.strip() and sentence.isprintable(), sentence
    return sentence


def rest_of(record):
    return record["error"]["message"].split("\n")[1:]


def up(daemon, run):
    daemon.printed(run)


# -- an end of its own ----------------------------------------------------------------------------


def test_a_run_that_completed_has_no_error_and_no_warning(shared):
    record = shared.finish("import traceback\ntry: 1 / 0\nexcept ZeroDivisionError: traceback.print_exc()")
    assert (record["status"], record["error"], record["warnings"]) == ("Completed", None, [])
    assert "Cause:" not in shared.ok("show", record["run_id"])


def test_an_exception_is_told_with_its_place_in_the_runs_own_files(shared):
    record = shared.finish({"main.py": TRAIN, "model.py": MODEL})
    assert re.fullmatch(
        r"exited with code 1: json\.decoder\.JSONDecodeError: .* \(model\.py, line 4, in forward\)", sentence_of(record)
    ), record["error"]
    rest = rest_of(record)
    assert rest[:2] == ["last traceback of the log:", "Traceback (most recent call last):"], rest
    assert rest[-1].startswith("json.decoder.JSONDecodeError: "), rest


def test_a_module_in_a_folder_is_named_by_its_path_in_the_source_directory(shared):
    record = shared.finish({"main.py": "import lib.deep", "lib/deep.py": "\n\nassert 1 == 2, 'no'"})
    assert sentence_of(record) == "exited with code 1: AssertionError: no (lib/deep.py, line 3)"


def test_a_state_folder_behind_a_symbolic_link_changes_nothing(make_daemon):
    daemon = make_daemon(start=False)
    (daemon.root / "real").mkdir(mode=0o700)
    daemon.state.rmdir()
    daemon.state.symlink_to("real")
    daemon.start()
    record = daemon.finish("raise OSError(5, 'x')")
    assert sentence_of(record) == "exited with code 1: OSError: [Errno 5] x (main.py, line 1)"


def test_a_syntax_error_is_told_with_its_line(shared):
    record = shared.finish("x = 1\nif x\n    pass\n")
    sentence = r"exited with code 1: SyntaxError: .* \(main\.py, line 2\)"
    assert re.fullmatch(sentence, sentence_of(record)), record["error"]


def test_an_exit_code_without_a_traceback_quotes_the_last_line(shared):
    script = "import argparse\nprint('begin')\nargparse.ArgumentParser('x').parse_args()"
    record = shared.finish(script, arguments=["--foo"])
    assert sentence_of(record) == (
        'exited with code 2; the last line of its log: "x: error: unrecognized arguments: --foo"'
    ), record["error"]
    assert rest_of(record)[:2] == ["last lines of the log:", "begin"]


def test_a_run_that_printed_nothing_is_said_to(shared):
    record = shared.finish("raise SystemExit(7)")
    assert record["error"]["message"] == "exited with code 7; it printed nothing"


def test_a_traceback_that_was_handled_long_before_is_not_the_cause(shared):
    script = (
        "import traceback\ntry: 1 / 0\nexcept ZeroDivisionError: traceback.print_exc()\n"
        "for i in range(50): print('epoch', i)\nraise SystemExit(4)"
    )
    assert sentence_of(shared.finish(script)) == 'exited with code 4; the last line of its log: "epoch 49"'


def test_a_traceback_with_lines_after_it_is_called_the_last_one(shared):
    script = "import atexit\natexit.register(print, 'bye')\nraise ValueError('no')"
    record = shared.finish(script)
    assert sentence_of(record) == "exited with code 1; the last traceback in its log: ValueError: no (main.py, line 3)"
    assert rest_of(record)[-1] == "bye"


@pytest.mark.parametrize("command, sentence", [
    ("no-such-program",
     r"exited with code 127 \(a shell's word for: command not found\); the last line of its log: .*no-such-program.*"),
    ("./data.txt",
     r"exited with code 126 \(a shell's word for: the command cannot be executed\); the last line .*data\.txt.*"),
    ("/usr/bin/python3 -c 'import os; os.kill(os.getpid(), 11)'; exit $?",
     r"exited with code 139 \(a shell's word for: its command was ended by signal 11 \(SIGSEGV\)\).*"),
    ("exit 3", r"exited with code 3; it printed nothing"),
])  # fmt: skip
def test_the_words_of_a_shell_are_understood(shared, command, sentence):
    record = shared.finish({"data.txt": "x"}, command=command)
    assert re.fullmatch(sentence, sentence_of(record)), record["error"]


# -- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("number, sentence", [
    (signal.SIGSEGV, r"ended by signal 11 \(SIGSEGV\): .* the program's own fault; amlagent did not send it.*"),
    (signal.SIGABRT, r"ended by signal 6 \(SIGABRT\): .* the program's own fault; amlagent did not send it.*"),
    (signal.SIGKILL,
     r"ended by signal 9 \(SIGKILL\), which amlagent did not send; .*its peak memory was [\d.]+ MiB .*"),
    (signal.SIGTERM, r"ended by signal 15 \(SIGTERM\), which amlagent did not send"),
    (signal.SIGHUP, r"ended by signal 1 \(SIGHUP\), which amlagent did not send"),
    (signal.SIGRTMIN + 3, r"ended by signal 37 \(SIGRTMIN\+3\), which amlagent did not send"),
])  # fmt: skip
def test_a_signal_from_anywhere_is_told_with_what_is_known(shared, number, sentence):
    record = shared.finish(f"import os\nprint('up', flush=True)\nos.kill(os.getpid(), {int(number)})")
    assert record["signal"] == number and re.fullmatch(sentence, sentence_of(record)), record["error"]


def test_a_keyboard_interrupt_is_told_with_its_place(shared):
    record = shared.finish("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)")
    assert record["signal"] == signal.SIGINT
    assert sentence_of(record) == (
        "ended by signal 2 (SIGINT), which amlagent did not send; "
        "its log ends with: KeyboardInterrupt (main.py, line 2)"
    )


def test_the_report_of_faulthandler_is_read(shared):
    script = "import faulthandler, os\nfaulthandler.enable()\ndef crash():\n    os.kill(os.getpid(), 11)\ncrash()"
    sentence = sentence_of(shared.finish(script))
    assert sentence.endswith("its log ends with: Fatal Python error: Segmentation fault (main.py, line 4, in crash)")


def test_a_limit_of_the_system_is_named(shared):
    record = shared.finish("", command="ulimit -c 0; ulimit -S -t 1; exec /usr/bin/python3 -c 'while True: pass'")
    assert record["signal"] == signal.SIGXCPU, record
    assert sentence_of(record) == (
        "ended by signal 24 (SIGXCPU): it used more CPU time than its limit allows (ulimit -t)"
    )


# -- stopped --------------------------------------------------------------------------------------


def test_the_limit_is_told_and_whether_the_run_ended_by_itself(make_daemon):
    daemon = make_daemon(config={"stop_grace_seconds": 5})
    start = r"stopped after its limit of 5 s \(max_run_duration_seconds\): "
    runs = {
        daemon.submit(SLEEP, max_run_duration_seconds=5): r"it ended \d+\.\d s after SIGTERM, by that signal",
        daemon.submit(
            STUBBORN, max_run_duration_seconds=5
        ): r"it did not end by itself, and got SIGKILL \d+\.\d s after SIGTERM",
        daemon.submit(
            "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\nwhile True: signal.pause()\n",
            max_run_duration_seconds=5,
        ): r"it exited with code 0, \d+\.\d s after SIGTERM",
    }
    for run, sentence in runs.items():
        record = daemon.ended(run)
        assert record["status"] == "Canceled" and re.fullmatch(start + sentence, sentence_of(record)), record["error"]


def test_a_cancel_is_told_with_who_and_when(daemon):
    run = daemon.submit(SLEEP)
    up(daemon, run)
    daemon.ok("cancel", "--wait", run)
    record = daemon.record(run)
    sentence = rf"canceled by {record['submitted_by']} at {UTC}: it ended \d\.\d s after SIGTERM, by that signal"
    assert re.fullmatch(sentence, sentence_of(record)), record["error"]


def test_a_supervisor_that_is_told_to_end_says_so(daemon):
    run = daemon.submit("import os, time\nprint(os.getppid(), flush=True)\ntime.sleep(1000)")
    up(daemon, run)
    os.kill(int(daemon.std_log(run)), signal.SIGTERM)
    assert re.match(rf"stopped at {UTC} because its supervisor got SIGTERM, ", sentence_of(daemon.ended(run)))


def test_a_lost_run_is_told_with_when_it_was_last_seen(daemon):
    run = daemon.submit("import os, time\nprint(os.getppid(), flush=True)\ntime.sleep(1000)")
    up(daemon, run)
    os.kill(int(daemon.std_log(run)), signal.SIGKILL)
    record = daemon.ended(run)
    sentence = (
        rf"the run's supervisor was killed or died; it was last seen at {UTC}; its exit status is not known; "
        "what was found of the run was stopped"
    )
    assert re.fullmatch(sentence, sentence_of(record)), record["error"]
    assert record["exit_code"] is None and record["signal"] is None


def ended_without_a_daemon(daemon):
    """The folder of a run that ended with 0 while no daemon was there."""
    run = daemon.submit({"x": ""}, command=f"echo kept > outputs/o; echo up; read go < {daemon.root}/go")
    os.mkfifo(daemon.root / "go")
    daemon.running(run)
    folder = daemon.state / "runs" / run
    daemon.kill()
    (daemon.root / "go").write_text("go\n")
    wait_for(lambda: (folder / "exit").exists() and not processes_below(folder), "it has ended")
    return run, folder


def assert_lost(record, beginning):
    assert (record["status"], record["error"]["code"]) == ("Failed", "Lost"), record
    assert record["exit_code"] is None and record["signal"] is None, "no exit status is invented"
    assert sentence_of(record).startswith(beginning), record
    assert "supervisor" not in sentence_of(record), "it did nothing wrong"


def test_an_exit_record_that_is_damaged_is_told_and_kept(daemon):
    run, folder = ended_without_a_daemon(daemon)
    os.truncate(folder / "exit", 40)
    damaged = (folder / "exit").read_bytes()
    begin = daemon.log.stat().st_size
    daemon.start()
    record = daemon.ended(run)
    assert_lost(record, "the run's exit record is damaged; what can be read of it: \"format=1 ")
    assert daemon.artifact(run, "outputs/o") == b"kept\n"
    wait_for(lambda: not (folder / "status").exists(), "what is spent goes")
    for _ in range(2):
        assert (folder / "exit.damaged").read_bytes() == damaged, "it stays for a look"
        daemon.kill()
        daemon.start()
    assert daemon.record(run) == record
    assert daemon.log.read_text()[begin:].count("its exit record is damaged") == 1


def test_a_folder_that_was_taken_away_while_no_daemon_was_there_is_told(daemon):
    run, folder = ended_without_a_daemon(daemon)
    folder.rename(daemon.root / "away")
    daemon.start()
    assert_lost(daemon.ended(run), "the run's folder is gone, and with it what it told of the end; it was last seen at ")


def test_processes_that_outlived_the_command_are_a_warning(daemon):
    script = "import subprocess\nsubprocess.Popen(['sleep', '1000'], start_new_session=True)"
    record = daemon.finish(script)
    assert record["status"] == "Completed" and record["error"] is None
    [warning] = record["warnings"]
    assert re.match(r"1 process of the run went on when its command had ended; amlagent stopped it", warning), warning


def test_what_cannot_be_executed_is_a_setup_error_with_its_reason(shared):
    broken = shared.root / "broken-python"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    record = shared.finish("", environment={"python": {"interpreter_path": str(broken)}})
    assert record["error"]["code"] == "SetupError" and str(broken) in record["error"]["message"], record


# -- what amlctl says -----------------------------------------------------------------------------


def test_show_says_the_sentence_and_below_it_the_lines_that_bear_it_out(shared):
    record = shared.finish({"main.py": TRAIN, "model.py": MODEL})
    lines = shared.ok("show", record["run_id"]).splitlines()
    at = lines.index("Status:        Failed (UserError)")
    assert lines[at + 1] == "Cause:         " + sentence_of(record)
    below = [line.strip() for line in lines[at + 2 : at + 4]]
    assert below == ["last traceback of the log:", "Traceback (most recent call last):"]
    assert all(line.startswith(" " * 15) for line in lines[at + 2 : at + 4])
    assert shared.json("show", record["run_id"])["error"] == record["error"]


@pytest.mark.parametrize("columns", [60, 100])
def test_on_a_terminal_the_sentence_has_a_colour_and_stays_beside_its_title(shared, columns):
    run = shared.finish("import os; os.kill(os.getpid(), 11)")
    text = shared.on_terminal("show", run["run_id"], columns=columns).decode()
    bare = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert re.search(r"Cause: +\x1b\[31mended by signal 11", text), text
    first = next(i for i, line in enumerate(bare) if line.startswith("Cause:"))
    after = next(i for i, line in enumerate(bare) if line.startswith("Signal:"))
    assert after - first > 1 and max(map(len, bare[first:after])) <= columns, bare
    assert " ".join(line[15:] for line in bare[first:after]) == sentence_of(run)


@pytest.mark.parametrize("end, sentence", [
    ("raise ValueError('no')", "exited with code 1: ValueError: no (main.py, line 1)"),
    ("import os; os.kill(os.getpid(), 15)", "ended by signal 15 (SIGTERM), which amlagent did not send"),
    ("import time; time.sleep(60)", "stopped after its limit of 5 s (max_run_duration_seconds): it ended"),
])  # fmt: skip
def test_run_says_the_sentence_at_its_end_on_one_line(shared, end, sentence):
    source = shared.source(end)
    done = shared.amlctl("run", "--max-run-duration", "5", "main.py", cwd=source)
    last = done.stderr.decode().splitlines()[-1]
    assert sentence in last and last.startswith("amlctl: run ") and "amlctl show" in last, done
    assert done.returncode != 0 and ESCAPE not in done.stderr


def test_run_says_nothing_more_of_a_run_that_completed(shared):
    done = shared.amlctl("run", "main.py", cwd=shared.source("print('done')"))
    assert (done.returncode, done.stdout) == (0, b"done\n")
    assert len(done.stderr.splitlines()) == 1, done
