# SPDX-License-Identifier: MIT
"""What a death in the middle of a write leaves is not left for good: it may hold what must not be kept."""

import os

from harness import wait_for

SECRET = b"format=1\0env=TOKEN=secret\0"


def test_a_half_written_launch_file_goes_with_the_run(make_chaos):
    """It holds the submitter's environment, which is kept until the run has ended and no longer."""
    daemon = make_chaos()
    daemon.launch()
    gate = daemon.root / "gate"
    os.mkfifo(gate)
    run = daemon.submit({"x": ""}, command=f"read go <{gate}; exit 3")
    daemon.running(run)
    folder = daemon.state / "runs" / run
    for name in ("launch.tmp.4711", "environment.tmp", "stop.tmp.4711", "exit.tmp"):
        (folder / name).write_bytes(SECRET)
    daemon.kill()
    daemon.launch()
    gate.write_text("go\n")
    assert daemon.wait_ended(run)["exit_code"] == 3
    wait_for(lambda: not (folder / "exit").exists(), "what is spent goes")
    assert set(os.listdir(folder)) <= {"work", "std_log.txt", "supervisor.log"}
