# SPDX-License-Identifier: MIT
"""docs/man and conf/amlagentd.conf against the sources and what the programs say of themselves."""

import re
import shutil
import subprocess

import harness
import pytest

MAN = harness.REPO / "docs" / "man"
PAGES = sorted(path for path in MAN.iterdir() if path.suffix in (".1", ".5", ".8"))
CONF = (harness.REPO / "conf" / "amlagentd.conf").read_text()
OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][a-z-]*")

pytestmark = pytest.mark.timeout(60)


def output(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


def page_options(name):
    """The options that a page names, whichever macros it is written in."""
    text = (MAN / name).read_text().replace("\\-", "-")
    if ".Dt " in text:
        for line in re.findall(r"^\.(?:It |Op )?(Fl .*)$", text, re.M):
            text += "".join(f" -{flag}" for flag in re.findall(r"(?:Fl|,) (-?[A-Za-z][a-z-]*)", line))
    return set(OPTION.findall(text))


def help_options(*command):
    """The options in the list of options: they begin a line, "-d, --detach"."""
    heads = re.findall(r"^ {2,8}(-\S+(?:, --\S+)?)", output(*command, "--help"), re.M)
    return set(OPTION.findall(" ".join(heads)))


def source_keys():
    """{key: default, as the files write it}"""
    source = (harness.REPO / "common" / "config.c").read_text()
    rows = re.findall(r"\{ KEY\((\w+)\),\s+&?(\w+),\s+AT\(\w+\),\s+(.+?), \S", source)
    keys = {}
    for name, kind, fallback in rows:
        number = re.fullmatch(r"(?:INT64_C\()?(\d+)\)?(?: << (\d+))?", fallback)
        if kind == "size_kind":
            keys[name] = number[1] + {None: "", "10": "K", "20": "M", "30": "G"}[number[2]]
        elif number:
            keys[name] = number[1]
        else:
            keys[name] = fallback.strip('"').removeprefix("LOG_LEVEL_").removeprefix("CGROUP_PARENT_").lower()
    assert len(keys) == source.count("KEY(") - 1, "a row of the table is not understood"
    return keys


def page_keys():
    text = (MAN / "amlagentd.conf.5").read_text()
    keys = {}
    for names, defaults in re.findall(r"^\.It Ic (.+?)\n.*?^Defaults?: (.+?)\.$", text, re.M | re.S):
        keys.update(zip(names.split(" , "), ["" if text == "none" else text for text in defaults.split(" and ")]))
    return keys


def conf_keys():
    return dict(re.findall(r"^# (\w+) = ?(\S*)$", CONF, re.M))


def test_the_configuration_keys_are_the_same_everywhere():
    assert set(conf_keys()) == set(source_keys()) == set(page_keys())


def test_the_defaults_are_the_same_everywhere():
    source, conf, page = source_keys(), conf_keys(), page_keys()
    # The one that depends on the machine.
    assert source.pop("max_running_runs") == "0" and page.pop("max_running_runs") == "the number of CPUs"
    assert conf.pop("max_running_runs").isdigit()
    assert conf == source == page


def test_the_configuration_is_right_with_every_key_in_force(tmp_path):
    text, count = re.subn(r"^# (?=\w+ =)", "", CONF, flags=re.M)
    path = tmp_path / "amlagentd.conf"
    path.write_text(text)
    assert count == len(source_keys())
    assert "right" in output(harness.AMLAGENTD, "--config", str(path), "--check-config")


def test_the_page_of_amlagentd_has_its_options():
    shown = help_options(harness.AMLAGENTD)
    assert len(shown) > 8 and shown <= page_options("amlagentd.8"), shown - page_options("amlagentd.8")


def test_the_page_of_amlctl_has_its_options():
    commands = re.findall(r"^  (\w+)  ", output(harness.AMLCTL, "--help").split("Options")[0], re.M)
    assert "run" in commands and len(commands) > 10
    page = (MAN / "amlctl.1").read_text()
    shown = help_options(harness.AMLCTL)
    for command in commands:
        assert re.search(rf"^\.SS {command}\b", page, re.M), command
        shown |= help_options(harness.AMLCTL, command)
    assert len(shown) > 20 and shown <= page_options("amlctl.1"), shown - page_options("amlctl.1")


def test_the_pages_refer_to_pages_that_are_there():
    names = {path.name for path in PAGES}
    assert {"amlctl.1", "amlagentd.8", "amlagentd.conf.5", "amlagent-supervisor.8"} <= names
    for path in PAGES:
        text = path.read_text().replace("\\-", "-")
        for name, part in re.findall(r"^\.Xr (\S+) (\d)", text, re.M) + re.findall(r"(aml[\w.-]+) \((\d)\)", text):
            assert f"{name}.{part}" in names, (path.name, name, part)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is not there")
def test_the_pages_are_well_formed(path):
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", path], capture_output=True, text=True, timeout=30)
    # A page need not have a date.
    assert [line for line in done.stdout.splitlines() if "missing date" not in line] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
@pytest.mark.skipif(not shutil.which("man"), reason="man is not there")
def test_the_pages_can_be_read(path):
    text = output("man", "-l", "-P", "cat", str(path))
    assert path.stem.lower() in text.lower() and len(text) > 500
