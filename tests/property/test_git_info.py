# SPDX-License-Identifier: MIT
"""The git properties and the patch of a run, held against the real git.

AMLAGENT_BUILD_DIR      where git_info_driver and amlagent-git-info were built (default: <repo>/build)
AMLAGENT_GIT_SEED       the seed of the random work trees (default: fixed, so that CI repeats itself)
AMLAGENT_GIT_TREES      how many of them (default: 40)
"""

import os
import pathlib
import random
import shutil
import stat
import subprocess

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("AMLAGENT_BUILD_DIR", REPO / "build"))
SEED = int(os.environ.get("AMLAGENT_GIT_SEED", "20261"))
TREES = int(os.environ.get("AMLAGENT_GIT_TREES", "40"))
NOBODY = 65534

IDENTITY = ["-c", "user.name=Ana", "-c", "user.email=ana@example.org", "-c", "safe.directory=*"]
IDENTITY += ["-c", "protocol.file.allow=always", "-c", "init.defaultBranch=main"]
MLFLOW = {
    "azureml.git.repository_uri": "mlflow.source.git.repoURL",
    "azureml.git.branch": "mlflow.source.git.branch",
    "azureml.git.commit": "mlflow.source.git.commit",
}


def program(name):
    for place in (BUILD, BUILD / "tests" / "property", BUILD / "agent"):
        if (place / name).exists():
            return place / name
    pytest.fail(f"no {name} in {BUILD}; build first or set AMLAGENT_BUILD_DIR")


class Place:
    """A scratch folder with a home of its own, in which git and the driver run."""

    def __init__(self, path):
        self.path = path
        self.home = path / "home"
        self.home.mkdir()
        self.env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.home)}
        self.env["GIT_CONFIG_NOSYSTEM"] = "1"

    def git(self, where, *args, check=True, **kwargs):
        run = subprocess.run(
            ["git", *IDENTITY, *args],
            cwd=where, env=self.env, capture_output=True, check=False, **kwargs,
        )  # fmt: skip
        assert run.returncode == 0 or not check, (args, run.stderr)
        return run.stdout

    def text(self, where, *args, check=False):
        return os.fsdecode(self.git(where, *args, check=check)).strip("\n")

    def repository(self, name="repo"):
        path = self.path / name
        path.mkdir(parents=True)
        self.git(path, "init", "-q")
        return path

    def committed(self, name="repo"):
        path = self.repository(name)
        write(path / "train.py", b"print('hello')\n" * 20)
        write(path / "sub" / "data.bin", bytes(range(256)) * 8)
        write(path / "sub" / "tool.sh", b"#!/bin/sh\n", 0o755)
        self.commit(path)
        return path

    def commit(self, path, message="work"):
        self.git(path, "add", "-A")
        self.git(path, "commit", "-q", "--allow-empty", "-m", message)

    def read(self, where, helper=True, **variables):
        command = [program("git_info_driver"), program("amlagent-git-info") if helper else "-", where]
        run = subprocess.run(
            command, env={**self.env, **variables}, capture_output=True, check=True, timeout=60
        )
        assert run.stderr == b""
        return Info(run.stdout)

    def expected(self, where):
        """What git says, as properties."""
        values = {
            "azureml.git.branch": self.text(where, "symbolic-ref", "--short", "-q", "HEAD"),
            "azureml.git.commit": self.text(where, "rev-parse", "-q", "--verify", "HEAD"),
        }
        if self.git(where, "remote"):
            values["azureml.git.repository_uri"] = self.text(where, "ls-remote", "--get-url")
        values = {key: value for key, value in values.items() if value}
        values.update({MLFLOW[key]: value for key, value in list(values.items())})
        values["azureml.git.dirty"] = str(bool(self.git(where, "status", "--porcelain", ".")))
        return values

    def check(self, where, **variables):
        """The properties are git's, and the patch makes the tree from the commit."""
        info = self.read(where, **variables)
        assert info.properties == self.expected(where)
        if info.properties["azureml.git.dirty"] == "False":
            assert info.patch is None and not info.warnings
        return info

    def check_patch(self, where, info):
        root = pathlib.Path(self.text(where, "rev-parse", "--show-toplevel"))
        fresh = self.path / "fresh"
        shutil.rmtree(fresh, ignore_errors=True)
        self.git(self.path, "clone", "-q", "--no-checkout", root, fresh)
        self.git(fresh, "checkout", "-q", "--detach", info.properties["azureml.git.commit"])
        want = listing(fresh, self.files(fresh))
        scope = os.path.relpath(os.path.realpath(where), os.path.realpath(root)).encode() + b"/"
        want = {p: v for p, v in want.items() if scope != b"./" and not p.startswith(scope)}
        want.update(listing(root, self.files(where, root)))
        if info.patch is not None:
            self.git(fresh, "apply", "--check", "-", input=info.patch)
            self.git(fresh, "apply", "-", input=info.patch)
        assert listing(fresh, walk(fresh)) == want

    def files(self, where, root=None):
        """Tracked and untracked files of a folder, relative to the root of its work tree."""
        listed = self.git(where, "ls-files", "-z", "-co", "--exclude-standard", "--full-name", ".")
        root = os.fsencode(root or where)
        return [p for p in set(listed.split(b"\0")) if p and is_file(os.path.join(root, p))]


class Info:
    def __init__(self, output):
        self.properties, self.warnings, self.patch = {}, [], None
        while output:
            record, _, output = output.partition(b"\0")
            kind, text = record[:1], os.fsdecode(record[2:])
            if kind == b"p":
                key, _, value = text.partition("=")
                self.properties[key] = value
            elif kind == b"w":
                self.warnings.append(text)
            else:
                assert kind == b"d" and int(text) == len(output)
                self.patch, output = output, b""


def write(path, data, mode=0o644):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


def is_file(path):
    return os.path.islink(path) or os.path.isfile(path)


def walk(root):
    found = []
    root = os.fsencode(root)
    for folder, folders, names in os.walk(root):
        if folder == root:
            folders.remove(b".git")
        names += [name for name in folders if os.path.islink(os.path.join(folder, name))]
        found += [os.path.relpath(os.path.join(folder, name), root) for name in names]
    return found


def listing(root, paths):
    result = {}
    for path in paths:
        full = os.path.join(os.fsencode(root), path)
        if os.path.islink(full):
            result[path] = ("link", os.readlink(full))
        else:
            with open(full, "rb") as file:
                result[path] = (bool(os.stat(full).st_mode & stat.S_IXUSR), file.read())
    return result


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_a_clean_work_tree(place):
    repo = place.committed()
    place.git(repo, "remote", "add", "origin", "https://example.org/r.git")
    info = place.check(repo)
    assert info.properties["azureml.git.branch"] == "main"
    assert info.properties["azureml.git.dirty"] == "False"


def test_no_repository_and_none_to_be_seen(place):
    (place.path / "plain").mkdir()
    bare = place.path / "bare.git"
    place.git(place.path, "init", "-q", "--bare", bare)
    repo = place.committed()
    for where in (place.path / "plain", bare, repo / ".git", repo / ".git" / "refs"):
        info = place.read(where)
        assert (info.properties, info.warnings, info.patch) == ({}, [], None), where


def test_detached_head(place):
    repo = place.committed()
    place.commit(repo, "second")
    place.git(repo, "checkout", "-q", "HEAD~1")
    assert "azureml.git.branch" not in place.check(repo).properties


def test_no_commit_yet(place):
    repo = place.repository()
    info = place.check(repo)
    assert info.properties == {
        "azureml.git.branch": "main",
        "mlflow.source.git.branch": "main",
        "azureml.git.dirty": "False",
    }
    write(repo / "train.py", b"x\n")
    info = place.check(repo)
    assert info.properties["azureml.git.dirty"] == "True" and info.patch is None


def test_a_branch_with_slashes(place):
    repo = place.committed()
    place.git(repo, "checkout", "-q", "-b", "feature/größer/2")
    assert place.check(repo).properties["azureml.git.branch"] == "feature/größer/2"


def test_which_remote(place):
    repo = place.committed()
    place.git(repo, "remote", "add", "lab", "https://lab/r.git")
    assert place.read(repo).properties["azureml.git.repository_uri"] == "https://lab/r.git"
    place.git(repo, "remote", "add", "other", "https://other/r.git")
    assert "azureml.git.repository_uri" not in place.read(repo).properties
    place.git(repo, "remote", "add", "origin", "https://origin/r.git")
    place.check(repo)
    place.git(repo, "remote", "set-url", "--add", "origin", "https://mirror/r.git")
    assert place.check(repo).properties["azureml.git.repository_uri"] == "https://origin/r.git"
    place.git(repo, "config", "branch.main.remote", "lab")
    place.git(repo, "config", "branch.main.merge", "refs/heads/main")
    assert place.check(repo).properties["azureml.git.repository_uri"] == "https://lab/r.git"
    place.git(repo, "checkout", "-q", "--detach")
    assert place.check(repo).properties["azureml.git.repository_uri"] == "https://origin/r.git"
    place.git(repo, "checkout", "-q", "main")
    place.git(repo, "config", "branch.main.remote", "https://direct/r.git")
    assert place.check(repo).properties["azureml.git.repository_uri"] == "https://direct/r.git"
    place.git(repo, "config", "branch.main.remote", ".")
    assert place.read(repo).properties["azureml.git.repository_uri"] == "https://origin/r.git"


def test_urls_are_rewritten_as_git_does(place):
    repo = place.committed()
    place.git(repo, "remote", "add", "origin", "gh:ana/r")
    place.git(repo, "config", "--global", "url.https://github.com/.insteadOf", "gh:")
    place.git(repo, "config", "url.ssh://git@github.com/ana/.insteadOf", "gh:ana/")
    info = place.check(repo)
    assert info.properties["azureml.git.repository_uri"] == "ssh://git@github.com/ana/r"


@pytest.mark.parametrize(
    "url,shown",
    [
        ("https://ana:s3cret@example.org/r.git", "https://example.org/r.git"),
        ("https://s3cret@example.org/r.git", "https://example.org/r.git"),
        ("https://example.org/r.git?private_token=s3cret", "https://example.org/r.git"),
        ("ssh://git:s3cret@example.org:22/r.git", "ssh://git@example.org:22/r.git"),
        ("git@example.org:ana/r.git", "git@example.org:ana/r.git"),
        ("/srv/git/r.git", "/srv/git/r.git"),
    ],
)
def test_credentials_are_stripped(place, url, shown):
    repo = place.committed()
    place.git(repo, "remote", "add", "origin", url)
    write(repo / "new", b"x\n")
    info = place.read(repo)
    assert info.properties["azureml.git.repository_uri"] == shown
    assert info.properties["mlflow.source.git.repoURL"] == shown
    assert b"s3cret" not in (info.patch or b"") and "s3cret" not in str(vars(info))


def test_overrides_win_also_without_a_repository(place):
    repo = place.committed()
    (place.path / "plain").mkdir()
    write(repo / "new", b"x\n")
    variables = {
        "AZUREML_GIT_REPOSITORY_URI": "https://ci:s3cret@ci.example.org/r.git",
        "AZUREML_GIT_BRANCH": "ci",
        "AZUREML_GIT_COMMIT": "a" * 40,
        "AZUREML_GIT_DIRTY": "1",
    }
    for where in (repo, place.path / "plain"):
        for helper in (True, False):
            info = place.read(where, helper, **variables)
            assert info.properties == {
                "azureml.git.repository_uri": "https://ci.example.org/r.git",
                "mlflow.source.git.repoURL": "https://ci.example.org/r.git",
                "azureml.git.branch": "ci",
                "mlflow.source.git.branch": "ci",
                "azureml.git.commit": "a" * 40,
                "mlflow.source.git.commit": "a" * 40,
                "azureml.git.dirty": "True",
            }
            assert info.patch is None  # it is not against that commit
    for text, dirty in {"true": "True", "True": "True", "0": "False", "no": "False"}.items():
        info = place.read(repo, AZUREML_GIT_DIRTY=text)
        assert info.properties["azureml.git.dirty"] == dirty
        assert bool(info.patch) == (dirty == "True")
    assert place.read(repo, AZUREML_GIT_BRANCH="").properties == place.expected(repo)


def test_the_submitters_git_variables_do_not_confuse(place):
    repo, other = place.committed(), place.committed("other")
    info = place.read(
        repo, GIT_DIR=str(other / ".git"), GIT_WORK_TREE=str(other), GIT_INDEX_FILE="/nonexistent",
        GIT_CEILING_DIRECTORIES=str(repo), GIT_OBJECT_DIRECTORY="/nonexistent",
    )  # fmt: skip
    assert info.properties == place.expected(repo)


def modify(repo):
    write(repo / "train.py", b"print('hello')\n" * 19 + b"print('bye')")


def make_unmerged(place, repo):
    place.git(repo, "checkout", "-q", "-b", "theirs")
    write(repo / "train.py", b"theirs\n")
    place.commit(repo)
    place.git(repo, "checkout", "-q", "main")
    write(repo / "train.py", b"ours\n")
    place.commit(repo)
    place.git(repo, "merge", "-q", "theirs", check=False)


SITUATIONS = {
    "modified": lambda place, repo: modify(repo),
    "staged": lambda place, repo: (modify(repo), place.git(repo, "add", "-A")),
    "staged and modified": lambda place, repo: (
        modify(repo), place.git(repo, "add", "-A"), write(repo / "train.py", b"again\n"),
    ),
    "staged and back": lambda place, repo: (
        modify(repo), place.git(repo, "add", "-A"),
        write(repo / "train.py", b"print('hello')\n" * 20),
    ),
    "untracked": lambda place, repo: write(repo / "new" / "deep" / "er.txt", b"new\n"),
    "untracked, empty": lambda place, repo: write(repo / "empty", b""),
    "untracked, executable": lambda place, repo: write(repo / "run", b"x", 0o755),
    "untracked link": lambda place, repo: (repo / "link").symlink_to("sub/../nowhere"),
    "untracked binary": lambda place, repo: write(repo / "n.bin", bytes(range(256)) * 99),
    "deleted": lambda place, repo: (repo / "train.py").unlink(),
    "deleted binary": lambda place, repo: (repo / "sub" / "data.bin").unlink(),
    "deletion staged": lambda place, repo: place.git(repo, "rm", "-q", "train.py"),
    "deletion staged, but there": lambda place, repo: (
        place.git(repo, "rm", "-q", "--cached", "train.py"), write(repo / "train.py", b"kept\n"),
    ),
    "renamed": lambda place, repo: place.git(repo, "mv", "train.py", "sub/fit.py"),
    "mode": lambda place, repo: (repo / "train.py").chmod(0o755),
    "mode of a binary": lambda place, repo: (repo / "sub" / "data.bin").chmod(0o755),
    "mode and content": lambda place, repo: (modify(repo), (repo / "train.py").chmod(0o755)),
    "binary": lambda place, repo: write(repo / "sub" / "data.bin", bytes(range(255, -1, -1)) * 8),
    "text to binary": lambda place, repo: write(repo / "train.py", bytes(range(256))),
    "file to link": lambda place, repo: (
        (repo / "train.py").unlink(), (repo / "train.py").symlink_to("sub/tool.sh"),
    ),
    "file to folder": lambda place, repo: (
        (repo / "train.py").unlink(), write(repo / "train.py" / "x", b"x\n"),
    ),
    "folder to file": lambda place, repo: (shutil.rmtree(repo / "sub"), write(repo / "sub", b"x\n")),
    "forced past the ignore file": lambda place, repo: (
        write(repo / ".gitignore", b"*.log\n"), write(repo / "a.log", b"a\n"),
        write(repo / "b.log", b"b\n"), place.git(repo, "add", "-f", "a.log"),
    ),
    "intent to add": lambda place, repo: (
        write(repo / "later", b"x\n"), place.git(repo, "add", "-N", "later"),
    ),
    "unmerged": make_unmerged,
    "odd names": lambda place, repo: [
        write(pathlib.Path(os.fsdecode(os.fsencode(repo) + b"/" + name)), b"x\n")
        for name in (b"a b", b" a", b"a ", b'q"q', b"t\tt", b"n\nn", b"b\\b", b"\xc3\xa9", b"\xff\xfe",
                     b"-dash", b":colon", b"*", b"a\r", b"sub/[x]", b"a/b c/d e")
    ],
}  # fmt: skip


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_patch_makes_the_tree_from_the_commit(place, situation):
    repo = place.committed()
    SITUATIONS[situation](place, repo)
    before = listing(repo / ".git", walk_all(repo / ".git"))
    info = place.read(repo)
    assert listing(repo / ".git", walk_all(repo / ".git")) == before  # nothing is written
    assert info.properties == place.expected(repo)
    assert info.properties["azureml.git.dirty"] == "True"
    assert info.warnings == []
    place.check_patch(repo, info)


def walk_all(root):
    return [
        os.path.relpath(os.path.join(folder, name), os.fsencode(root))
        for folder, _, names in os.walk(os.fsencode(root))
        for name in names
    ]


@pytest.mark.parametrize(
    "key,value",
    [
        ("diff.context", "0"), ("diff.noprefix", "true"), ("diff.mnemonicPrefix", "true"),
        ("diff.renames", "copies"), ("diff.interHunkContext", "5"), ("core.abbrev", "4"),
        ("core.quotePath", "false"), ("diff.external", "false"), ("core.fsmonitor", "false"),
        ("core.fileMode", "false"), ("diff.algorithm", "patience"), ("diff.submodule", "log"),
    ],
)  # fmt: skip
def test_configuration_does_not_spoil_the_patch(place, key, value):
    repo = place.committed()
    place.git(repo, "config", key, value)
    modify(repo)
    write(repo / "größe 2", b"x\n")
    place.check_patch(repo, place.check(repo))


def test_ignored_files_do_not_count(place):
    repo = place.committed()
    write(repo / ".gitignore", b"outputs/\n*.o\n")
    place.commit(repo)
    write(place.home / ".config" / "git" / "ignore", b"*.swp\n")
    write(repo / ".git" / "info" / "exclude", b"private\n")
    for name in ("outputs/model", "a.o", "sub/.x.swp", "private"):
        write(repo / name, b"x\n")
    (repo / "empty" / "folders").mkdir(parents=True)
    assert place.check(repo).properties["azureml.git.dirty"] == "False"


def test_untracked_files_as_configured(place):
    repo = place.committed()
    write(repo / "new", b"x\n")
    for value, dirty in (("no", "False"), ("normal", "True"), ("all", "True"), ("false", "False")):
        place.git(repo, "config", "status.showUntrackedFiles", value)
        if value == "false":  # only newer gits take it
            assert place.read(repo).properties["azureml.git.dirty"] == dirty
        else:
            assert place.check(repo).properties["azureml.git.dirty"] == dirty


def test_line_ends_are_converted_as_git_does(place):
    repo = place.committed()
    write(repo / ".gitattributes", b"*.txt text eol=crlf\n")
    write(repo / "a.txt", b"one\r\ntwo\r\n")
    place.commit(repo)
    assert place.check(repo).properties["azureml.git.dirty"] == "False"
    write(repo / "a.txt", b"one\r\ntwo\r\nthree\r\n")
    info = place.check(repo)
    place.check_patch(repo, info)


def test_a_sub_folder_looks_at_itself_alone(place):
    repo = place.committed()
    modify(repo)
    write(repo / "sub2" / "other", b"x\n")
    assert place.check(repo / "sub").properties["azureml.git.dirty"] == "False"
    write(repo / "sub" / "new", b"x\n")
    (repo / "sub" / "data.bin").unlink()
    for where in (repo / "sub", repo / "sub2", repo):
        info = place.check(where)
        assert info.properties["azureml.git.dirty"] == "True"
        place.check_patch(where, info)
    (repo / "[s]*").mkdir()
    assert place.check(repo / "[s]*").properties["azureml.git.dirty"] == "False"
    link = place.path / "link"
    link.symlink_to(repo / "sub")
    info = place.read(link)
    assert info.patch == place.read(repo / "sub").patch is not None


def test_an_ignored_folder_as_source(place):
    repo = place.committed()
    write(repo / ".gitignore", b"out/\n")
    place.commit(repo)
    write(repo / "out" / "x", b"x\n")
    assert place.check(repo / "out").properties["azureml.git.dirty"] == "False"


def test_a_worktree(place):
    repo = place.committed()
    place.git(repo, "remote", "add", "origin", "https://example.org/r.git")
    tree = place.path / "tree"
    place.git(repo, "worktree", "add", "-q", "-b", "side", tree)
    assert place.check(tree).properties["azureml.git.branch"] == "side"
    write(tree / "train.py", b"changed\n")
    info = place.check(tree / "sub")
    assert info.properties["azureml.git.dirty"] == "False"
    info = place.check(tree)
    place.check_patch(tree, info)
    assert place.check(repo).properties["azureml.git.dirty"] == "False"


@pytest.fixture
def nested(place):
    """A repository with a submodule `part`."""
    part = place.committed("part")
    repo = place.committed()
    place.git(repo, "submodule", "--quiet", "add", part, "part")
    place.commit(repo)
    return repo


def test_a_submodule_as_source(place, nested):
    info = place.check(nested / "part")
    assert info.properties["azureml.git.repository_uri"] == str(place.path / "part")
    write(nested / "part" / "train.py", b"changed\n")
    info = place.check(nested / "part" / "sub")
    assert info.properties["azureml.git.dirty"] == "False"
    info = place.check(nested / "part")
    place.check_patch(nested / "part", info)


def test_a_repository_with_submodules(place, nested):
    assert place.check(nested).properties["azureml.git.dirty"] == "False"
    write(nested / "part" / "new", b"x\n")
    info = place.check(nested)
    assert info.properties["azureml.git.dirty"] == "True"
    assert info.patch is None and "part is a submodule" in info.warnings[0]
    place.git(nested, "config", "submodule.part.ignore", "untracked")
    assert place.check(nested).properties["azureml.git.dirty"] == "False"
    write(nested / "part" / "train.py", b"changed\n")
    assert place.check(nested).properties["azureml.git.dirty"] == "True"
    place.git(nested, "config", "submodule.part.ignore", "all")
    assert place.check(nested).properties["azureml.git.dirty"] == "False"


@pytest.mark.parametrize("also_dirty", [False, True])
def test_a_submodule_that_moved_is_in_the_patch(place, nested, also_dirty):
    place.commit(nested / "part", "moved")
    head = place.text(nested / "part", "rev-parse", "HEAD")
    if also_dirty:
        write(nested / "part" / "train.py", b"changed\n")
    info = place.check(nested)
    assert bool(info.warnings) == also_dirty
    assert info.patch.endswith(f"+Subproject commit {head}\n".encode())
    fresh = place.path / "fresh"
    place.git(place.path, "clone", "-q", nested, fresh)
    place.git(fresh, "apply", "--index", "-", input=info.patch)
    assert head in place.text(fresh, "ls-files", "-s", "part")


def test_a_repository_inside_that_is_no_submodule(place):
    repo = place.committed()
    place.committed("repo/inner")
    info = place.check(repo)
    assert info.properties["azureml.git.dirty"] == "True"
    assert info.patch is None and "inner is a repository of its own" in info.warnings[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_repository(place):
    repo = place.committed()
    modify(repo)
    for path in [repo, *repo.rglob("*")]:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    info = place.check(repo)
    place.git(repo, "config", "--global", "safe.directory", "*")  # for the clone's other side
    place.check_patch(repo, info)


def test_nothing_of_the_repository_is_executed(place):
    repo = place.committed()
    trap = place.path / "trap.sh"
    mark = place.path / "mark"
    write(trap, b"#!/bin/sh\ntouch '%s'\ncat\n" % os.fsencode(mark), 0o755)
    write(repo / ".gitattributes", b"*.py filter=trap diff=trap\n*.bin filter=lfs\n")
    place.commit(repo)
    for key in ("core.fsmonitor", "filter.trap.clean", "filter.trap.smudge", "filter.trap.process",
                "diff.trap.textconv", "diff.trap.command", "diff.external", "core.editor",
                "core.pager", "core.sshCommand", "credential.helper", "core.alternateRefsCommand"):  # fmt: skip
        place.git(repo, "config", key, str(trap))
    for hook in ("post-index-change", "fsmonitor-watchman", "pre-commit", "reference-transaction"):
        write(repo / ".git" / "hooks" / hook, trap.read_bytes(), 0o755)
    mark.unlink(missing_ok=True)
    modify(repo)
    write(repo / "plain.txt", b"x\n")
    info = place.read(repo)
    assert not mark.exists()
    assert info.properties["azureml.git.dirty"] == "True"
    assert b"plain.txt" in info.patch and b"train.py" not in info.patch
    assert "train.py is converted by a filter program" in info.warnings[0]


def test_a_sparse_checkout_is_clean(place):
    repo = place.committed()
    place.git(repo, "sparse-checkout", "set", "--no-cone", "/train.py")
    assert not (repo / "sub").exists()
    assert place.check(repo).properties["azureml.git.dirty"] == "False"
    modify(repo)
    info = place.check(repo)
    assert b"sub/" not in info.patch and b"train.py" in info.patch


def test_too_large_changes_are_left_out_with_a_warning(place):
    repo = place.committed()
    write(repo / "noise.bin", random.Random(1).randbytes(17 << 20))
    info = place.check(repo)
    assert info.patch is None and "more than 16 MB" in info.warnings[0]
    (repo / "noise.bin").unlink()
    with open(repo / "sparse.bin", "wb") as file:
        file.truncate(1 << 40)
    info = place.check(repo)
    assert info.patch is None and "more than 16 MB" in info.warnings[0]


def test_damage_is_a_warning_and_the_rest_is_told(place):
    repo = place.committed()
    (repo / ".git" / "index").write_bytes(b"DIRC" + b"\xff" * 100)
    info = place.read(repo)
    assert info.properties["azureml.git.branch"] == "main"
    assert "azureml.git.dirty" not in info.properties and info.patch is None
    assert len(info.warnings) == 1 and info.warnings[0].startswith("git: ")
    (repo / ".git" / "config").write_bytes(b"[core\n")
    info = place.read(repo)
    assert len(info.warnings) >= 1
    (repo / ".git" / "HEAD").write_bytes(b"nonsense")
    place.read(repo)


@pytest.mark.parametrize(
    "script,part",
    [
        ("printf 'format=1\\0branch=main\\0commit=abc'; kill -9 $$", "signal 9"),
        ("echo help; echo unhappy >&2; exit 3", "status 3): unhappy"),
        ("exec 2>&1", "status 0): no message"),
        ("printf 'format=1\\0branch=main\\0patch=99\\0end=\\0'", "could not be read"),
    ],
)
def test_a_helper_that_fails_is_a_warning(place, script, part):
    repo = place.committed()
    helper = place.path / "helper"
    write(helper, f"#!/bin/sh\n{script}\n".encode(), 0o755)
    command = [program("git_info_driver"), helper, repo]
    info = Info(subprocess.run(command, env=place.env, capture_output=True, check=True).stdout)
    assert info.properties.get("azureml.git.branch", "main") == "main"
    assert "azureml.git.commit" not in info.properties
    assert len(info.warnings) == 1 and part in info.warnings[0]


NAMES = ["a", "b", "c d", "e/f", "e/g", "e/h/i", "j.txt", "k.bin", "é", "l\tm", "e/h/.x", "o.log"]


def random_content(rng):
    kind = rng.randrange(5)
    if kind == 0:
        return b""
    if kind == 1:
        return rng.randbytes(rng.randrange(1, 3000))
    lines = [b"line %d" % rng.randrange(30) for _ in range(rng.randrange(1, 60))]
    return b"\n".join(lines) + (b"\n" if kind > 2 else b"")


def random_step(rng, place, repo):
    path = repo / rng.choice(NAMES)
    kind = rng.randrange(8)
    for parent in path.relative_to(repo).parents:
        if is_file(repo / parent):
            (repo / parent).unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == 7:
        verb = rng.choice([["add", "-A"], ["reset", "-q"], ["rm", "-q", "--cached", "-r", "."]])
        place.git(repo, *verb, check=False)
    elif kind == 6 and is_file(path) and not path.is_symlink():
        path.chmod(rng.choice([0o644, 0o755]))
    elif path.is_dir() and not path.is_symlink():
        if kind == 0:
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
        if kind == 5:
            path.symlink_to(rng.choice(["a", "../nowhere", "/etc/passwd"]))
        elif kind != 4:
            write(path, random_content(rng), rng.choice([0o644, 0o644, 0o755]))


def test_random_work_trees(place):
    rng = random.Random(SEED)
    patches = 0
    for number in range(TREES):
        repo = place.repository(f"random{number}")
        if rng.random() < 0.5:
            write(repo / ".gitignore", b"*.log\n")
        for step in range(rng.randrange(2, 12)):
            random_step(rng, place, repo)
        place.commit(repo)
        for step in range(rng.randrange(1, 10)):
            random_step(rng, place, repo)
        where = repo / "e" if rng.random() < 0.3 and (repo / "e").is_dir() else repo
        info = place.check(where)
        assert not info.warnings, (SEED, number)
        place.check_patch(where, info)
        patches += info.patch is not None
    assert patches > TREES // 2
