# SPDX-License-Identifier: MIT
"""How long the working directory of a run that did not complete stays (`keep_work_days`)."""
import pytest
from harness import wait_for


@pytest.mark.parametrize("days, stays", [(7, True), (0, False)])
def test_work_of_a_failed_run_stays_for_the_days_configured(make_daemon, days, stays):
    daemon = make_daemon(config={"keep_work_days": days})
    run = daemon.finish("open('left-for-a-look', 'w')\nraise SystemExit(1)")["run_id"]
    assert (daemon.work(run) / "left-for-a-look").exists()
    daemon.kill()
    daemon.start()
    wait_for(lambda: daemon.work(run).exists() == stays, "the folder is as configured")
