# SPDX-License-Identifier: MIT
"""Ignore files through the front door; the matcher itself is held against git elsewhere."""

import os
import subprocess

import pytest
from harness import tree_of, write_tree


def taken(daemon, source):
    record = daemon.finish(source_directory=str(source), command="true")
    assert record["status"] == "Completed", record
    target = daemon.root / f"taken-{record['run_id']}"
    daemon.ok("snapshot", record["run_id"], "-o", target)
    return {name.decode() for name, entry in tree_of(target).items() if entry[0] != "dir"}


FILES = {
    "keep.py": "", "a.log": "", "keep.log": "", "data/x.csv": "", "data/sub/y.csv": "", "data/readme": "",
    "build/out.o": "", "src/build/out.o": "", "src/a.tmp": "", "#hash": "", "trail ": "", "!bang": "", "Case.TXT": "",
    "deep/a/b/c.bin": "", "q1": "", "q2": "", "q10": "", "back\\slash": "",
}  # fmt: skip

CASES = [
    "",
    "*.log\n!keep.log\n",
    "data\n",
    "data/\n!data/readme\n",
    "data/*\n!data/readme\n",
    "/build\n",
    "build/\n",
    "**/a.tmp\n",
    "deep/**/c.bin\n",
    "deep/**\n",
    "\\#hash\n\\!bang\n",
    "#hash\n",
    "trail\\ \n",
    "trail   \n",
    "q?\n",
    "q[2-9]\n",
    "q[!1]\n",
    "*\n!*.py\n",
    "*\n!*/\n!*.csv\n",
    "case.txt\n",
    "keep.py/\n",
    "src/*.tmp\n",
    "*.tmp\r\n",
    "back\\\\slash\n",
    "[\n",
    "\ufeff*.log\n",
    "*.log",
    "/\n",
    "//data\n",
    "data/sub\n!data/sub/y.csv\n",
]


def git_takes(folder, ignore, kind, scratch):
    """What git itself would not ignore."""
    copy = write_tree(scratch / "git", {})
    subprocess.run(["cp", "-a", f"{folder}/.", copy], check=True)
    if kind == ".amlignore":
        os.rename(copy / ".amlignore", copy / ".gitignore")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(scratch), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "init", "-q"], cwd=copy, env=env, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-o", "--exclude-per-directory=.gitignore"], cwd=copy, env=env, check=True,
        stdout=subprocess.PIPE,
    ).stdout  # fmt: skip
    names = set(filter(None, listed.decode().split("\0")))
    return {kind if name == ".gitignore" else name for name in names}


@pytest.mark.parametrize("kind", [".gitignore", ".amlignore"])
@pytest.mark.parametrize("rules", CASES)
def test_takes_what_git_would_take(shared, scratch, kind, rules):
    source = shared.source({**FILES, kind: rules})
    assert taken(shared, source) == git_takes(source, rules, kind, scratch)


def test_amlignore_at_the_root_switches_gitignore_off_everywhere(shared):
    source = shared.source({"a.txt": "", "b.txt": "", "sub/c.txt": "", "sub/d.txt": "", ".gitignore": "a.txt\n",
                            "sub/.gitignore": "c.txt\n", ".amlignore": "b.txt\n", "sub/.amlignore": "d.txt\n"})  # fmt: skip
    names = taken(shared, source)
    assert {"a.txt", "sub/c.txt"} <= names and not {"b.txt", "sub/d.txt"} & names


def test_an_empty_amlignore_takes_all(shared):
    source = shared.source({"a.txt": "", ".gitignore": "*\n", ".amlignore": ""})
    assert {"a.txt", ".gitignore", ".amlignore"} == taken(shared, source)


def test_amlignore_below_the_root_alone_does_not_count(shared):
    source = shared.source({"a.txt": "", "sub/b.txt": "", "sub/c.txt": "", ".gitignore": "a.txt\n",
                            "sub/.amlignore": "b.txt\n", "sub/.gitignore": "c.txt\n"})  # fmt: skip
    names = taken(shared, source)
    assert "sub/b.txt" in names and not {"a.txt", "sub/c.txt"} & names


def test_nested_gitignores_add_and_override(shared):
    source = shared.source({".gitignore": "*.log\n", "sub/.gitignore": "!keep.log\n*.txt\n", "sub/keep.log": "",
                            "sub/other.log": "", "sub/a.txt": "", "a.txt": "", "sub/deep/keep.log": ""})  # fmt: skip
    names = taken(shared, source)
    assert {"sub/keep.log", "a.txt", "sub/deep/keep.log"} <= names and not {"sub/other.log", "sub/a.txt"} & names


def test_an_ignored_folder_is_not_even_entered(shared):
    source = shared.source({"main.py": "", ".gitignore": "venv/\n", "venv/x": ""})
    os.mkfifo(source / "venv/pipe")
    record = shared.finish(source_directory=str(source), script="main.py")
    assert record["status"] == "Completed" and record["warnings"] == []


def test_a_gitignore_above_the_source_directory_does_not_reach_in(shared):
    """The ignore files of the source directory rule (section 8); what is above it is not part of it."""
    source = shared.source({"sub/a.txt": "", ".gitignore": "*.txt\n"})
    assert taken(shared, source / "sub") == {"a.txt"}


def test_a_script_that_is_ignored_is_an_error_that_says_so(shared):
    source = shared.source({"main.py": "", ".gitignore": "*.py\n"})
    answer = shared.post(source_directory=str(source), script="main.py")
    assert answer.status == 400 and "main.py" in answer.error["message"], answer
    assert "ignore" in answer.error["message"], answer


def test_an_ignore_file_that_is_a_folder_or_a_link_hurts_nobody(shared):
    source = shared.source({"a.txt": "", ".gitignore/x": ""})
    assert "a.txt" in taken(shared, source)
    source = shared.source({"a.txt": ""})
    os.symlink("/dev/zero", source / ".gitignore")
    assert "a.txt" in taken(shared, source)


def test_a_huge_ignore_file_is_not_a_crash(shared):
    source = shared.source({"a.txt": "", ".gitignore": "".join(f"x{i}/**/y*[a-z]\n" for i in range(20000)), "b/c/d": ""})
    assert {"a.txt", "b/c/d"} <= taken(shared, source)


def test_a_pattern_that_blows_up_naive_matchers_ends(shared):
    source = shared.source({"a" * 200: "", "d/" * 30 + "x": "", ".gitignore": "*a" * 60 + "b\n" + "**/d/" * 20 + "y\n"})
    assert "a" * 200 in taken(shared, source)
