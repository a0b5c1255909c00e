# SPDX-License-Identifier: MIT
"""Git properties, against the real git."""

import os
import subprocess

import pytest
from harness import write_tree

KEYS = {
    "azureml.git.repository_uri": "mlflow.source.git.repoURL",
    "azureml.git.branch": "mlflow.source.git.branch",
    "azureml.git.commit": "mlflow.source.git.commit",
}


class Repository:
    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def git(self, *arguments, cwd=None):
        env = {
            "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_AUTHOR_NAME": "Ana", "GIT_AUTHOR_EMAIL": "ana@example.org", "GIT_COMMITTER_NAME": "Ana",
            "GIT_COMMITTER_EMAIL": "ana@example.org", "LC_ALL": "C.UTF-8",
        }  # fmt: skip
        return subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *map(str, arguments)], cwd=cwd or self.folder, env=env,
            check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ).stdout.decode().strip()  # fmt: skip

    def commit(self, message="change"):
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(shared):
    made = Repository(shared.root / "git" / f"repository{next(shared.counter)}")
    made.git("init", "-q", "-b", "trunk")
    write_tree(made.folder, {"main.py": "print('hello')\n", "sub/train.py": "print('sub')\n", "sub/x.txt": "x\n"})
    return made


def run(daemon, folder, script="main.py", **fields):
    record = daemon.finish(source_directory=str(folder), script=script, **fields)
    assert record["status"] == "Completed", record
    return record


def git_properties(record):
    return {k: v for k, v in record["properties"].items() if k.startswith(("azureml.git.", "mlflow.source.git."))}


def expect(record, **values):
    """The git properties are these and no others."""
    wanted = {}
    for key, twin in KEYS.items():
        if values.get(key.split(".")[-1]) is not None:
            wanted[key] = wanted[twin] = values[key.split(".")[-1]]
    if values.get("dirty") is not None:
        wanted["azureml.git.dirty"] = values["dirty"]
    assert git_properties(record) == wanted


def patches(daemon, record):
    return [path for path in daemon.artifacts(record["run_id"]) if path.endswith((".patch", ".diff"))]


def test_outside_a_work_tree_there_are_no_git_properties(shared):
    expect(run(shared, shared.source()))


def test_a_clean_checkout(shared, repository):
    repository.git("remote", "add", "origin", "https://example.org/ana/mnist.git")
    commit = repository.commit()
    record = run(shared, repository.folder)
    expect(record, repository_uri="https://example.org/ana/mnist.git", branch="trunk", commit=commit, dirty="False")
    assert patches(shared, record) == [] and record["warnings"] == []


def test_a_detached_head_has_no_branch(shared, repository):
    commit = repository.commit()
    repository.git("checkout", "-q", "--detach")
    expect(run(shared, repository.folder), commit=commit, dirty="False")


def test_a_repository_without_any_commit(shared, repository):
    record = run(shared, repository.folder)
    properties = git_properties(record)
    assert "azureml.git.commit" not in properties and "mlflow.source.git.commit" not in properties
    assert properties["azureml.git.branch"] == "trunk" and properties["azureml.git.dirty"] == "True"


def test_a_branch_with_slashes_and_odd_letters(shared, repository):
    commit = repository.commit()
    repository.git("checkout", "-q", "-b", "feature/ünï#1")
    expect(run(shared, repository.folder), branch="feature/ünï#1", commit=commit, dirty="False")


def test_packed_references(shared, repository):
    commit = repository.commit()
    repository.git("pack-refs", "--all")
    repository.git("gc", "-q")
    expect(run(shared, repository.folder), branch="trunk", commit=commit, dirty="False")


def test_a_sub_folder_of_a_repository(shared, repository):
    repository.git("remote", "add", "origin", "git@example.org:ana/mnist.git")
    commit = repository.commit()
    record = run(shared, repository.folder / "sub", "train.py")
    expect(record, repository_uri="git@example.org:ana/mnist.git", branch="trunk", commit=commit, dirty="False")


@pytest.mark.parametrize("change", ["modified", "staged", "new", "deleted", "mode", "renamed"])
def test_a_dirty_checkout_says_so_and_keeps_the_patch(shared, repository, change):
    commit = repository.commit()
    if change == "modified":
        (repository.folder / "sub/x.txt").write_text("changed é\n")
    elif change == "staged":
        (repository.folder / "sub/x.txt").write_text("staged\n")
        repository.git("add", "-A")
    elif change == "new":
        (repository.folder / "sub/new.txt").write_text("new\n")
    elif change == "deleted":
        os.remove(repository.folder / "sub/x.txt")
    elif change == "mode":
        os.chmod(repository.folder / "main.py", 0o755)
    else:
        repository.git("mv", "sub/x.txt", "sub/y.txt")
    record = run(shared, repository.folder)
    expect(record, branch="trunk", commit=commit, dirty="True")
    found = patches(shared, record)
    assert len(found) == 1, shared.artifacts(record["run_id"]).keys()
    if change == "new":
        return  # whether untracked files are part of the patch is open; the snapshot has them
    patch = repository.folder.parent / f"{record['run_id']}.patch"
    patch.write_bytes(shared.artifact(record["run_id"], found[0]))
    clone = patch.with_suffix(".clone")
    repository.git("clone", "-q", repository.folder, clone)
    repository.git("apply", "--index", patch, cwd=clone)
    repository.git("add", "-A")
    assert repository.git("write-tree", cwd=clone) == repository.git("write-tree")


def test_a_binary_change_is_in_the_patch_whole(shared, repository):
    write_tree(repository.folder, {"weights.bin": bytes(range(256)) * 10})
    repository.commit()
    write_tree(repository.folder, {"weights.bin": bytes(range(255, -1, -1)) * 10})
    record = run(shared, repository.folder)
    patch = repository.folder.parent / f"{record['run_id']}.patch"
    patch.write_bytes(shared.artifact(record["run_id"], patches(shared, record)[0]))
    clone = patch.with_suffix(".clone")
    repository.git("clone", "-q", repository.folder, clone)
    repository.git("apply", patch, cwd=clone)
    assert (clone / "weights.bin").read_bytes() == (repository.folder / "weights.bin").read_bytes()


def test_ignored_files_do_not_make_it_dirty(shared, repository):
    write_tree(repository.folder, {".gitignore": "*.log\ndata/\n"})
    repository.commit()
    write_tree(repository.folder, {"x.log": "", "data/y": ""})
    record = run(shared, repository.folder)
    assert record["properties"]["azureml.git.dirty"] == "False" and patches(shared, record) == []


def test_a_touched_file_is_not_a_change(shared, repository):
    repository.commit()
    os.utime(repository.folder / "main.py", (1, 1))
    assert run(shared, repository.folder)["properties"]["azureml.git.dirty"] == "False"


def test_the_index_of_the_user_is_not_written(shared, repository):
    repository.commit()
    os.utime(repository.folder / "main.py", (1, 1))
    before = (repository.folder / ".git/index").read_bytes()
    names = {str(p.relative_to(repository.folder)) for p in repository.folder.rglob("*")}
    run(shared, repository.folder)
    assert (repository.folder / ".git/index").read_bytes() == before
    assert {str(p.relative_to(repository.folder)) for p in repository.folder.rglob("*")} == names


def test_a_submodule_is_a_repository_of_its_own(shared, repository):
    inner = Repository(repository.folder.parent / (repository.folder.name + "-inner"))
    inner.git("init", "-q", "-b", "inner")
    write_tree(inner.folder, {"main.py": "print('inner')\n"})
    inner_commit = inner.commit()
    repository.commit()
    repository.git("submodule", "add", "-q", inner.folder, "vendor/inner")
    commit = repository.commit()
    record = run(shared, repository.folder / "vendor/inner")
    expect(record, repository_uri=str(inner.folder), branch="inner", commit=inner_commit, dirty="False")
    expect(run(shared, repository.folder), branch="trunk", commit=commit, dirty="False")
    (repository.folder / "vendor/inner/main.py").write_text("print('changed')\n")
    assert run(shared, repository.folder)["properties"]["azureml.git.dirty"] == "True"


def test_a_linked_worktree_has_its_own_branch(shared, repository):
    repository.git("remote", "add", "origin", "https://example.org/x.git")
    commit = repository.commit()
    tree = repository.folder.parent / (repository.folder.name + "-tree")
    repository.git("worktree", "add", "-q", "-b", "side", tree)
    record = run(shared, tree)
    expect(record, repository_uri="https://example.org/x.git", branch="side", commit=commit, dirty="False")


@pytest.mark.parametrize(
    "url, shown",
    [
        ("https://ana:hunter2@example.org/x.git", "https://example.org/x.git"),
        ("https://hunter2@example.org/x.git", "https://example.org/x.git"),
        ("https://ana:hunter2@example.org:8443/x.git", "https://example.org:8443/x.git"),
        ("https://ana:p%40hunter2@example.org/a@b.git", "https://example.org/a@b.git"),
        ("http://x-token-auth:hunter2@[::1]/x.git", "http://[::1]/x.git"),
        ("HTTPS://ana:hunter2@example.org/x.git", "HTTPS://example.org/x.git"),
        ("git@example.org:ana/x.git", "git@example.org:ana/x.git"),
        ("/srv/git/a@b:c.git", "/srv/git/a@b:c.git"),
        ("https://example.org/user@2.git", "https://example.org/user@2.git"),
    ],
)
def test_credentials_are_stripped_from_the_url(shared, repository, url, shown):
    repository.git("remote", "add", "origin", url)
    repository.commit()
    record = run(shared, repository.folder)
    assert record["properties"]["azureml.git.repository_uri"] == shown
    assert "hunter2" not in str(record)


def test_credentials_with_an_at_sign_in_the_password_are_stripped(shared, repository):
    repository.git("remote", "add", "origin", "https://ana:pa@ss-hunter2@example.org/x.git")
    repository.commit()
    assert "hunter2" not in str(run(shared, repository.folder))


def test_ssh_urls_lose_the_password(shared, repository):
    repository.git("remote", "add", "origin", "ssh://ana:hunter2@example.org:22/x.git")
    repository.commit()
    record = run(shared, repository.folder)
    assert "hunter2" not in str(record)
    assert record["properties"]["azureml.git.repository_uri"] in (
        "ssh://example.org:22/x.git", "ssh://ana@example.org:22/x.git"
    )  # fmt: skip


def test_a_single_remote_of_another_name_is_used(shared, repository):
    """`git ls-remote --get-url`, which Azure ML asks, takes the branch's own remote."""
    repository.git("remote", "add", "upstream", "https://example.org/up.git")
    repository.commit()
    repository.git("config", "branch.trunk.remote", "upstream")
    assert run(shared, repository.folder)["properties"].get("azureml.git.repository_uri") == "https://example.org/up.git"


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to give a repository to another user")
def test_a_repository_of_another_user_is_read_all_the_same(shared, repository):
    commit = repository.commit()
    for base, folders, names in os.walk(repository.folder):
        for name in [base] + [os.path.join(base, x) for x in folders + names]:
            os.lchown(name, 65534, 65534)
    expect(run(shared, repository.folder), branch="trunk", commit=commit, dirty="False")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_a_daemon_without_rights_on_a_foreign_repository_reads_it_too(make_daemon):
    daemon = make_daemon(user=65534)
    os.chmod(daemon.root, 0o755)
    repository = Repository(daemon.root / "foreign")
    repository.git("init", "-q", "-b", "trunk")
    write_tree(repository.folder, {"main.py": "print('hello')\n"})
    commit = repository.commit()
    expect(run(daemon, repository.folder), branch="trunk", commit=commit, dirty="False")


def test_a_configuration_that_wants_programs_run_runs_none(shared, repository):
    repository.commit()
    mark = repository.folder.parent / (repository.folder.name + ".ran")
    evil = write_tree(repository.folder.parent, {repository.folder.name + ".sh": (f"#!/bin/sh\ntouch '{mark}'\n", 0o755)})
    program = evil / (repository.folder.name + ".sh")
    for key in ("core.fsmonitor", "diff.external", "core.sshCommand", "filter.x.clean", "filter.x.process", "diff.x.textconv"):
        repository.git("config", key, program)
    (repository.folder / ".git/info").mkdir(exist_ok=True)
    (repository.folder / ".git/info/attributes").write_text("*.py filter=x diff=x\n")
    (repository.folder / "main.py").write_text("print('changed')\n")
    run(shared, repository.folder)
    assert not mark.exists(), "the repository made us run a program"


def test_a_broken_repository_does_not_stop_the_run(shared, repository):
    repository.commit()
    (repository.folder / ".git/HEAD").write_text("garbage\n")
    (repository.folder / ".git/index").write_bytes(b"\xff" * 100)
    run(shared, repository.folder)


def test_a_git_file_that_leads_nowhere_does_not_stop_the_run(shared):
    expect(run(shared, shared.source({"main.py": "", ".git": "gitdir: /nowhere\n"})))


def test_a_corrupt_index_does_not_stop_the_run(shared, repository):
    commit = repository.commit()
    (repository.folder / ".git/index").write_bytes(b"DIRC" + b"\xff" * 1000)
    assert run(shared, repository.folder)["properties"].get("azureml.git.commit") == commit


def test_overrides_of_the_environment_are_honoured(shared, repository):
    repository.commit()
    overrides = {"AZUREML_GIT_REPOSITORY_URI": "https://ci.example.org/y.git", "AZUREML_GIT_BRANCH": "release",
                 "AZUREML_GIT_COMMIT": "1234567890123456789012345678901234567890", "AZUREML_GIT_DIRTY": "true"}  # fmt: skip
    wanted = {"repository_uri": "https://ci.example.org/y.git", "branch": "release", "dirty": "True",
              "commit": "1234567890123456789012345678901234567890"}  # fmt: skip
    environment = {"PATH": "/usr/bin:/bin", **overrides}
    expect(run(shared, repository.folder, submit_environment=environment), **wanted)
    expect(run(shared, shared.source(), submit_environment=environment), **wanted)


def test_overrides_lose_their_credentials_too(shared):
    environment = {"PATH": "/usr/bin:/bin", "AZUREML_GIT_REPOSITORY_URI": "https://a:hunter2@example.org/y.git"}
    record = run(shared, shared.source(), submit_environment=environment)
    assert record["properties"]["azureml.git.repository_uri"] == "https://example.org/y.git"
    assert "hunter2" not in str(record)


def test_git_variables_of_the_submitter_do_not_lead_elsewhere(shared, repository):
    other = Repository(repository.folder.parent / (repository.folder.name + "-other"))
    other.git("init", "-q", "-b", "other")
    write_tree(other.folder, {"x": ""})
    other.commit()
    commit = repository.commit()
    environment = {"PATH": "/usr/bin:/bin", "GIT_DIR": str(other.folder / ".git")}
    expect(run(shared, repository.folder, submit_environment=environment), branch="trunk", commit=commit, dirty="False")


def test_a_bare_repository_is_no_work_tree(shared, repository):
    bare = Repository(repository.folder.parent / (repository.folder.name + ".bare"))
    bare.git("init", "-q", "--bare")
    write_tree(bare.folder, {"main.py": ""})
    expect(run(shared, bare.folder))
