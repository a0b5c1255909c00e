# SPDX-License-Identifier: MIT
"""Which Python runs the script, and what its environment looks like."""

import datetime
import json
import os
import re
import shutil
import subprocess

import pytest
from harness import PYTHON, write_tree

SEE = "import json, os, sys; print(json.dumps([sys.executable, sys.prefix, dict(os.environ)]))"
VERSION = subprocess.run(
    [PYTHON, "-c", "import platform; print(platform.python_version())"], stdout=subprocess.PIPE, check=True
).stdout.decode().strip()  # fmt: skip


def seen(daemon, *options, source=None, **more):
    done = daemon.amlctl("run", *options, "main.py", cwd=source or daemon.source(SEE), **more)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def seconds(record):
    times = [datetime.datetime.fromisoformat(record[key].rstrip("Z")) for key in ("created_utc", "end_time_utc")]
    return (times[1] - times[0]).total_seconds()


def setup_error(daemon, interpreter, **fields):
    """The record of a run that could not find its interpreter: before a probe's time is over, naming it."""
    python = {} if interpreter is None else {"python": {"interpreter_path": str(interpreter)}}
    records = []
    for _ in range(3):  # the machine may be busy: the best of three
        record = daemon.finish("print('never')", environment=python, **fields)
        assert record["status"] == "Failed" and record["error"]["code"] == "SetupError", record
        assert record["exit_code"] is None and record["signal"] is None, record
        if interpreter is not None:
            assert str(interpreter) in record["error"]["message"], record
        records.append(record)
        if seconds(record) < 9:
            return record
    raise AssertionError(f"took {[seconds(record) for record in records]} s: {records}")


@pytest.fixture(scope="module")
def venv(shared):
    folder = shared.root / "venv here"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", folder], check=True)
    return folder


def a_python_of_its_own(prefix):
    """As conda's: sys.prefix is the folder."""
    library = f"python{'.'.join(VERSION.split('.')[:2])}"
    (prefix / "bin").mkdir(exist_ok=True)
    (prefix / "lib").mkdir(exist_ok=True)
    shutil.copy(os.path.realpath(PYTHON), prefix / "bin/python")
    os.symlink(f"/usr/lib/{library}", prefix / "lib" / library)


@pytest.fixture(scope="module")
def conda(shared):
    """A folder that looks as conda makes them: conda-meta, bin/python, activation scripts."""
    folder = shared.root / "conda" / "envs" / "my env"
    write_tree(folder, {
        "conda-meta/history": "", "etc/conda/activate.d/10-first.sh": "export FROM_ACTIVATE='one two'\nORDER=1\n",
        "etc/conda/activate.d/20-second.sh": 'export ORDER="${ORDER}2"\nexport LD_EXTRA="$CONDA_PREFIX/lib"\n',
        "etc/conda/deactivate.d/10-first.sh": "unset FROM_ACTIVATE\n",
    })  # fmt: skip
    a_python_of_its_own(folder)
    return folder


# -- found ----------------------------------------------------------------------------------------


def test_python_option_names_the_interpreter_and_the_record_says_which(shared):
    source = shared.source(SEE)
    assert seen(shared, "--python", PYTHON, source=source)[0].startswith("/usr/bin/python3")
    record = shared.api("GET", f"/v1/runs?experiment_name={source.name}").json[0]
    assert record["interpreter"] == {"path": PYTHON, "version": VERSION}
    assert record["run_definition"]["environment"]["python"]["interpreter_path"] == PYTHON


@pytest.mark.parametrize("name", ["python", "python3"])
def test_without_option_the_first_python_on_the_submitters_path_is_taken(shared, name):
    folder = write_tree(shared.root / f"path-{name}", {})
    if not (folder / name).exists():
        os.symlink(PYTHON, folder / name)
    record = shared.finish("print(1)", submit_environment={"PATH": f"/nowhere:{folder}:/usr/bin:/bin"})
    assert record["status"] == "Completed", record
    assert record["interpreter"]["version"] == VERSION
    assert os.path.realpath(record["interpreter"]["path"]) == os.path.realpath(PYTHON)
    assert record["interpreter"]["path"] in (str(folder / name), os.path.realpath(PYTHON))


def test_a_name_alone_is_looked_up_on_the_submitters_path(shared):
    """Azure ML's own default is `interpreterPath: python`."""
    assert seen(shared, "--python", "python3", env={"PATH": "/usr/bin:/bin"})[0].startswith("/usr/bin/python3")


def test_a_relative_path_is_that_of_who_submits(shared, venv):
    source = shared.source(SEE)
    done = shared.amlctl("run", "-C", source, "--python", "venv here/bin/python", "main.py", cwd=shared.root)
    assert done.returncode == 0 and json.loads(done.stdout)[1] == str(venv), done


@pytest.mark.skipif(not shutil.which("python3"), reason="no python3 on the PATH of this machine")
def test_the_python_of_this_machines_own_path_works(shared):
    own = os.environ["PATH"]
    source = shared.source("import platform; print(platform.python_version())")
    done = shared.amlctl("run", "main.py", cwd=source, env={"PATH": own, "HOME": os.environ.get("HOME", "/")})
    first = next(name for name in (shutil.which("python"), shutil.which("python3")) if name)
    expected = subprocess.run(
        [first, "-c", "import platform; print(platform.python_version())"], stdout=subprocess.PIPE, cwd=source
    )
    assert (done.returncode, done.stdout) == (0, expected.stdout), done
    record = shared.api("GET", f"/v1/runs?experiment_name={source.name}").json[0]
    assert record["interpreter"]["version"] == expected.stdout.decode().strip()


def test_an_interpreter_with_a_space_and_a_quote_in_its_path(shared):
    folder = write_tree(shared.root / "it's a \"python\"", {})
    os.symlink(PYTHON, folder / "python")
    record = shared.finish("print(1)", environment={"python": {"interpreter_path": str(folder / "python")}})
    assert record["status"] == "Completed", record


def test_a_wrapper_script_is_an_interpreter_too(shared):
    folder = write_tree(shared.root / "wrapper", {"python": (f'#!/bin/sh\nexec {PYTHON} "$@"\n', 0o755)})
    record = shared.finish("print('wrapped')", environment={"python": {"interpreter_path": str(folder / "python")}})
    assert record["status"] == "Completed", record
    assert shared.std_log(record["run_id"]) == b"wrapped\n"


# -- activation -----------------------------------------------------------------------------------


def test_a_venv_is_activated(shared, venv):
    executable, prefix, env = seen(shared, "--python", venv / "bin/python")
    assert prefix == str(venv) and env["VIRTUAL_ENV"] == str(venv)
    assert env["PATH"].split(":")[0] == str(venv / "bin")


def test_activating_a_venv_removes_pythonhome(shared, venv):
    assert "PYTHONHOME" not in seen(shared, "--python", venv / "bin/python", env={"PYTHONHOME": "/usr"})[2]


def test_a_command_in_a_venv_finds_its_python(shared, venv):
    done = shared.amlctl(
        "run", "--python", venv / "bin/python", "--command", "python -c 'import sys; print(sys.prefix)'",
        cwd=shared.source(),
    )  # fmt: skip
    assert done.stdout == f"{venv}\n".encode(), done


def test_a_conda_prefix_is_activated_with_its_scripts(shared, conda):
    env = seen(shared, "--python", conda / "bin/python")[2]
    assert env["CONDA_PREFIX"] == str(conda)
    assert env["PATH"].split(":")[0] == str(conda / "bin")
    assert env["FROM_ACTIVATE"] == "one two"
    assert env["LD_EXTRA"] == f"{conda}/lib"


def test_the_requests_variables_win_over_activation(shared, conda):
    env = seen(shared, "--python", conda / "bin/python", "--set-env", "FROM_ACTIVATE=mine")[2]
    assert env["FROM_ACTIVATE"] == "mine"


def test_the_active_environment_of_the_submitter_is_replaced(shared, conda, venv):
    path = "/older/bin:/old/bin:/usr/bin:/bin"
    env = seen(shared, "--python", conda / "bin/python", env={"CONDA_PREFIX": "/older", "PATH": path})[2]
    assert env["CONDA_PREFIX"] == str(conda) and env["PATH"].split(":")[0] == str(conda / "bin")
    env = seen(shared, "--python", venv / "bin/python", env={"VIRTUAL_ENV": "/old", "PATH": path})[2]
    assert env["VIRTUAL_ENV"] == str(venv) and env["PATH"].split(":")[0] == str(venv / "bin")


def test_the_folder_of_an_environment_stands_for_its_python(shared, venv, conda):
    assert seen(shared, "--python", venv)[1] == str(venv)
    assert seen(shared, "--python", conda)[2]["CONDA_PREFIX"] == str(conda)


def test_an_activation_script_that_fails_or_hangs_is_told(shared, conda):
    for name, script in (("fails", "exit 7\n"), ("hangs", "sleep 1000\n")):
        folder = shared.root / "conda" / "envs" / name
        write_tree(folder, {"conda-meta/history": "", "etc/conda/activate.d/x.sh": script})
        a_python_of_its_own(folder)
        environment = {"python": {"interpreter_path": str(folder / "bin/python")}}
        record = shared.ended(shared.submit("print('ran')", environment=environment), timeout=45)
        told = json.dumps([record["error"], record["warnings"]])
        assert record["status"] in ("Completed", "Failed") and (str(folder) in told or "activat" in told), record


# -- not found ------------------------------------------------------------------------------------


def test_a_missing_interpreter_is_a_setup_error_that_names_it(shared):
    record = setup_error(shared, "/nowhere/bin/python")
    assert record["start_time_utc"] is None and record["end_time_utc"]


def test_an_interpreter_that_is_not_executable(shared):
    path = write_tree(shared.root / "bad", {"notexec": ("#!/bin/sh\n", 0o644)}) / "notexec"
    setup_error(shared, path)


@pytest.mark.parametrize("path", ["/bin/true", "/bin/false", "/bin/cat", "/bin/sh"])
def test_a_program_that_is_no_python(shared, path):
    setup_error(shared, path)


def test_a_text_file_with_the_executable_bit(shared):
    setup_error(shared, write_tree(shared.root / "bad", {"text": ("just words\n", 0o755)}) / "text")


def test_an_interpreter_that_hangs(shared):
    """It may be a Python on a slow disk: at once would be too harsh, for ever is too long."""
    path = write_tree(shared.root / "bad", {"hangs": ("#!/bin/sh\nsleep 1000\n", 0o755)}) / "hangs"
    record = shared.ended(shared.submit("", environment={"python": {"interpreter_path": str(path)}}), timeout=40)
    assert record["error"]["code"] == "SetupError" and str(path) in record["error"]["message"], record


def test_an_interpreter_that_crashes(shared):
    setup_error(shared, write_tree(shared.root / "bad", {"dies": ("#!/bin/sh\nkill -SEGV $$\n", 0o755)}) / "dies")


def test_an_interpreter_that_talks_without_end(shared):
    setup_error(shared, write_tree(shared.root / "bad", {"talks": ("#!/bin/sh\nexec yes\n", 0o755)}) / "talks")


def test_an_interpreter_whose_loader_is_missing(shared):
    path = write_tree(shared.root / "bad", {"loader": ("#!/nowhere/python\n", 0o755)}) / "loader"
    setup_error(shared, path)


def test_a_dangling_link(shared):
    os.makedirs(shared.root / "bad", exist_ok=True)
    os.symlink("/nowhere/python3", shared.root / "bad/dangling")
    setup_error(shared, shared.root / "bad/dangling")


def test_a_folder_without_a_python(shared):
    (shared.root / "no python here").mkdir()
    setup_error(shared, shared.root / "no python here")


def test_no_python_on_the_path_at_all(shared):
    record = setup_error(shared, None, submit_environment={"PATH": "/nowhere"})
    assert re.search(r"PATH|--python|interpreter", record["error"]["message"]), record


def test_an_interpreter_that_breaks_while_the_run_waits_is_a_setup_error(make_daemon):
    daemon = make_daemon(config={"max_running_runs": 1, "stop_grace_seconds": 1})
    folder = write_tree(daemon.root / "py", {})
    shutil.copy(os.path.realpath(PYTHON), folder / "python")
    assert daemon.finish("", environment={"python": {"interpreter_path": str(folder / "python")}})["status"] == "Completed"
    os.remove(folder / "python")
    record = daemon.finish("", environment={"python": {"interpreter_path": str(folder / "python")}})
    assert record["error"]["code"] == "SetupError", record
    shutil.copy("/bin/true", folder / "python")
    record = daemon.finish("", environment={"python": {"interpreter_path": str(folder / "python")}})
    assert record["error"]["code"] == "SetupError", "another program has the same name now"


def test_amlctl_says_what_to_do(shared):
    done = shared.amlctl("run", "--python", "/nowhere/python", "main.py", cwd=shared.source())
    lines = [line for line in done.stderr.decode().splitlines() if "/nowhere/python" in line]
    assert done.returncode == 125 and len(lines) == 1, done
