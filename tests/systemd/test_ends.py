# SPDX-License-Identifier: MIT
"""What ends runs, and what does not: the stop of their place, a shutdown, a loss of power, a daemon without cgroups."""

import harness
import pytest

from systemd_machine import Machine

pytestmark = pytest.mark.timeout(180)


def assert_stopped_by_shutdown(record):
    assert record["status"] == "Failed" and record["error"]["code"] == "Killed", record
    assert "shut down" in record["error"]["message"], record


def test_stopping_the_place_of_the_runs_ends_them_in_order(own_machine):
    machine = own_machine
    machine.systemctl("stop", "amlagentd.socket")
    tickers = [machine.ticker(user).goes_on() for user in ("ana", "bob")]
    stubborn = machine.submit(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\ntime.sleep(600)\n"
    )
    harness.wait_for(lambda: "deaf" in machine.amlctl("logs", stubborn).stdout, "it ignores SIGTERM")
    machine.systemctl("stop", "amlagent-runs.service", timeout=60)
    assert machine.property("amlagentd.service", "ActiveState") == "inactive"  # it would start more of them
    machine.systemctl("start", "amlagentd.socket", "amlagentd.service")
    for ticker in tickers:
        record = machine.status_is(ticker.run, "Failed", user=ticker.user)
        assert_stopped_by_shutdown(record)
        assert record["signal"] == 15
    record = machine.status_is(stubborn, "Failed")
    assert_stopped_by_shutdown(record)
    assert record["signal"] == 9
    run = machine.submit("print('again')\n")
    machine.status_is(run, "Completed")


def test_a_shutdown_ends_runs_in_order_and_what_is_queued_stays(own_machine):
    machine = own_machine
    ticker = machine.ticker().goes_on()
    held = machine.submit("print('later')\n", options=["--hold"])
    machine.power_off()
    machine.boot()
    machine.systemctl("start", "amlagentd.socket", "amlagentd.service")
    assert_stopped_by_shutdown(machine.status_is(ticker.run, "Failed"))
    assert machine.record(held)["status"] == "Queued"
    machine.amlctl("release", held)
    machine.status_is(held, "Completed")


def test_a_loss_of_power_makes_lost_what_was_running(own_machine):
    machine = own_machine
    ticker = machine.ticker().goes_on()
    held = machine.submit("print('later')\n", options=["--hold"])
    machine.lose_power()
    machine.boot()
    machine.systemctl("start", "amlagentd.socket", "amlagentd.service")
    record = machine.status_is(ticker.run, "Failed")
    assert record["error"]["code"] == "Lost" and "restarted" in record["error"]["message"], record
    assert machine.record(held)["status"] == "Queued"


def test_a_holder_that_is_killed_takes_no_run_with_it(own_machine):
    machine = own_machine
    ticker = machine.ticker().goes_on()
    pid = machine.main_pid("amlagent-runs.service")
    machine.run("kill", "-KILL", str(pid))
    harness.wait_for(lambda: not machine.is_alive(pid), "the holder is gone")
    ticker.goes_on().ends_undisturbed()
    run = machine.submit("print('next')\n")
    machine.status_is(run, "Completed")


def test_without_a_place_of_their_own_runs_outlive_the_daemon_too(possible):
    machine = Machine("max_running_runs = 4\ncgroup_parent = none\n")
    try:
        machine.boot()
        machine.systemctl("mask", "amlagent-runs.service")
        machine.systemctl("start", "amlagentd.socket", "amlagentd.service")
        assert machine.property("amlagent-runs.service", "ActiveState") == "inactive"
        ticker = machine.ticker().goes_on()
        pids = ticker.pids()
        machine.systemctl("restart", "amlagentd.service")
        assert ticker.goes_on().pids() == pids
        machine.run("kill", "-KILL", str(machine.main_pid()))
        ticker.goes_on()
        machine.systemctl("stop", "amlagentd.service")
        assert all(map(machine.is_alive, pids))
        machine.systemctl("start", "amlagentd.service")
        ticker.goes_on().ends_undisturbed()
    finally:
        machine.close()
