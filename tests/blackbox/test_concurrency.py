# SPDX-License-Identifier: MIT
"""Many at once."""

import os
import threading

from harness import GATE_MODULE, Gate, wait_for


def trace_script(path, seconds=0.05):
    """Writes + when it starts and - when it ends, each in one atomic write."""
    return (
        f"import os, time\nfd = os.open({str(path)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
        f"os.write(fd, b'+')\ntime.sleep({seconds})\nos.write(fd, b'-')\n"
    )


def most_at_once(text):
    level = highest = 0
    for letter in text:
        level += 1 if letter == "+" else -1
        highest = max(highest, level)
    assert level == 0, text
    return highest


def test_fifty_amlctl_at_once_all_run_and_complete(make_daemon):
    daemon = make_daemon(config={"max_running_runs": 2, "stop_grace_seconds": 1})
    traces = daemon.root / "traces"
    source = daemon.source(trace_script(traces, 0.02))
    processes = [daemon.popen("run", "-d", "main.py", str(i), cwd=source) for i in range(50)]
    ids = []
    for process in processes:
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
        ids.append(out.decode().strip())
    assert len(set(ids)) == 50
    done = daemon.amlctl("wait", *ids, timeout=50)
    assert done.returncode == 0, done
    records = daemon.api("GET", "/v1/runs?limit=1000").json
    assert sorted(record["run_id"] for record in records) == sorted(ids)
    assert {record["status"] for record in records} == {"Completed"}
    assert sorted(int(record["run_definition"]["arguments"][0]) for record in records) == list(range(50))
    assert len(traces.read_text()) == 100
    assert most_at_once(traces.read_text()) <= 2
    assert daemon.json("status")["running"] == 0


def test_no_more_than_max_running_runs_run_at_once(make_daemon):
    daemon = make_daemon(config={"max_running_runs": 3, "stop_grace_seconds": 1})
    traces = daemon.root / "traces"
    gate = Gate(daemon.root, "gate")
    script = (
        f"import os\nfd = os.open({str(traces)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
        f"os.write(fd, b'+')\n{gate.code}\nos.write(fd, b'-')\n"
    )
    source = daemon.source({"gate.py": GATE_MODULE, "main.py": script})
    runs = [daemon.submit(source_directory=str(source), script="main.py") for _ in range(10)]
    wait_for(lambda: traces.exists() and len(traces.read_text()) == 3, "three run")
    status = daemon.api("GET", "/v1/status").json
    assert (status["running"], status["queued"], status["max_running_runs"]) == (3, 7, 3)
    gate.open()
    for run in runs:
        assert daemon.ended(run)["status"] == "Completed"
    assert most_at_once(traces.read_text()) <= 3


def test_runs_start_in_the_order_of_their_submits(make_daemon):
    daemon = make_daemon(config={"max_running_runs": 1, "stop_grace_seconds": 1})
    order = daemon.root / "order"
    source = daemon.source(
        f"import os, sys\nfd = os.open({str(order)!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)\n"
        "os.write(fd, (sys.argv[1] + ' ').encode())"
    )
    runs = [
        daemon.submit(source_directory=str(source), script="main.py", arguments=[i], experiment_name=f"e{i % 3}")
        for i in range(15)
    ]
    for run in runs:
        daemon.ended(run)
    assert order.read_text().split() == [str(i) for i in range(15)]


def test_many_followers_of_one_log_all_get_all_of_it(shared):
    gate = Gate(shared.root, "followers.gate")
    script = f"print('up')\n{gate.code}\nfor i in range(20000): print('line', i)"
    run = shared.submit({"gate.py": GATE_MODULE, "main.py": script})
    shared.running(run)
    processes = [shared.popen("logs", "-f", run) for _ in range(8)]
    outputs = [None] * len(processes)

    def read(i):
        outputs[i] = processes[i].communicate(timeout=40)[0]

    threads = [threading.Thread(target=read, args=(i,)) for i in range(len(processes))]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join()
    expected = b"up\n" + b"".join(b"line %d\n" % i for i in range(20000))
    assert [output == expected for output in outputs] == [True] * len(processes)


def test_cancelling_many_at_once(make_daemon):
    daemon = make_daemon(config={"max_running_runs": 4, "stop_grace_seconds": 1})
    source = daemon.source("import time; time.sleep(1000)")
    runs = [daemon.submit(source_directory=str(source), script="main.py") for _ in range(20)]
    processes = [daemon.popen("cancel", run) for run in runs]
    for process in processes:
        _, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
    for run in runs:
        record = daemon.ended(run)
        assert (record["status"], record["error"]["code"]) == ("Canceled", "CanceledByUser"), record


def test_submits_of_the_same_changing_tree_from_many_clients(shared):
    source = shared.source({"main.py": "import os; print(len(os.listdir('d')))", **{f"d/{i}": str(i) for i in range(200)}})
    answers = []

    def submit(i):
        (source / "d" / f"new{i}").write_text(str(i))
        answers.append(shared.post(source_directory=str(source), script="main.py", experiment_name="race"))

    threads = [threading.Thread(target=submit, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        assert answer.status == 201, answer
        run = answer.json["run_id"]
        assert shared.ended(run)["status"] == "Completed"
        assert 201 <= int(shared.std_log(run)) <= 208


def test_descriptors_do_not_leak(shared):
    def count():
        return len(os.listdir(f"/proc/{shared.process.pid}/fd"))

    source = shared.source("print(1)")
    for _ in range(3):
        shared.ended(shared.submit(source_directory=str(source), script="main.py"))
    wait_for(lambda: shared.api("GET", "/v1/status").json["running"] == 0, "idle")
    before = count()
    for _ in range(20):
        run = shared.submit(source_directory=str(source), script="main.py")
        shared.amlctl("logs", "-f", run)
        shared.ended(run)
        shared.post(source_directory="/nowhere", script="main.py")
        shared.api("GET", f"/v1/runs/{run}/snapshot")
    wait_for(lambda: count() <= before + 3, f"descriptors: {before} before, {count()} now")
