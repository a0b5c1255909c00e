# SPDX-License-Identifier: MIT
"""The units of one user, in his own systemd."""

import json

import harness
import pytest

from systemd_machine import USERS, Ticker, TICKER

USER = "ana"
RUNTIME = f"/run/user/{USERS[USER]}"
ENVIRONMENT = {"XDG_RUNTIME_DIR": RUNTIME, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={RUNTIME}/bus"}


class Session:
    """Commands of the user, beside his systemd."""

    def __init__(self, machine):
        self.machine = machine
        machine.systemctl("stop", "amlagentd.socket", "amlagentd.service")
        machine.systemctl("start", f"user@{USERS[USER]}.service")

    def run(self, *command, **options):
        return self.machine.run(*command, user=USER, env=ENVIRONMENT, **options)

    def systemctl(self, *arguments, **options):
        return self.run("systemctl", "--user", *arguments, **options).stdout

    def amlctl(self, *arguments, user=None, **options):
        return self.run("amlctl", *arguments, "--no-autostart", **options)

    def status_is(self, run, *statuses, user=None, timeout=60):
        def there():
            record = json.loads(self.amlctl("show", run, "-o", "json").stdout)
            assert record["status"] in statuses or record["status"] not in harness.ENDED, record
            return record if record["status"] in statuses else None

        return harness.wait_for(there, f"{run} is {statuses}", timeout=timeout)

    def property(self, unit, name):
        return self.systemctl("show", unit, "--property", name, "--value").strip()


@pytest.fixture
def session(machine):
    made = Session(machine)
    yield made
    made.systemctl("stop", "amlagentd.socket", "amlagentd.service", check=False)
    machine.systemctl("stop", f"user@{USERS[USER]}.service")
    machine.systemctl("start", "amlagentd.socket", "amlagentd.service")


def test_a_users_own_service_outlives_nothing_but_its_runs_outlive_it(session):
    session.systemctl("start", "amlagentd.socket")
    modes = session.machine.run("stat", "-c", "%a %U", f"{RUNTIME}/amlagent/amlagentd.sock")
    assert modes.stdout.split() == ["600", USER]
    assert "amlagentd" in session.amlctl("status").stdout  # who connects starts it
    assert session.property("amlagentd.service", "ActiveState") == "active"
    session.run("mkdir", "job")
    session.run("tee", "job/main.py", input=TICKER.format(go="/tmp/go-user"))
    run = session.amlctl("run", "-d", "-C", "job", "main.py").stdout.strip()
    ticker = Ticker(session, run, USER, "/tmp/go-user")
    pids = ticker.goes_on().pids()
    session.systemctl("restart", "amlagentd.service")
    assert ticker.goes_on().pids() == pids
    session.systemctl("kill", "--signal=KILL", "--kill-whom=main", "amlagentd.service")
    harness.wait_for(lambda: session.property("amlagentd.service", "SubState") == "running", "it is started again")
    assert ticker.goes_on().pids() == pids
    ticker.ends_undisturbed()

    def told():
        return session.property("amlagentd.service", "StatusText")

    harness.wait_for(lambda: told() == "0 runs running, 0 queued", "systemctl status says that it is over")
