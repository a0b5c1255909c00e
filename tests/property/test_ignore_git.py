# SPDX-License-Identifier: MIT
"""The ignore matcher says what `git check-ignore` says, of random trees with random rules.

AMLAGENT_BUILD_DIR      where ignore_driver was built (default: <repo>/build)
AMLAGENT_IGNORE_SEED    the seed of the generator (default: fixed, so that CI repeats itself)
AMLAGENT_IGNORE_TREES   how many trees (default: 240, which is more than 3000 paths)
"""

import os
import pathlib
import random
import re
import shutil
import subprocess

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("AMLAGENT_BUILD_DIR", REPO / "build"))
SEED = int(os.environ.get("AMLAGENT_IGNORE_SEED", "20260"))
TREES = int(os.environ.get("AMLAGENT_IGNORE_TREES", "240"))

NAMES = [
    b"a", b"b", b"c", b"ab", b"ba", b"abc", b"aab", b"foo", b"foo.o", b"bar.o", b"foobar", b"FOO",
    b" a", b"a ", b"a  ", b" ", b"a b", b"a b ", b"[a]", b"[", b"]", b"a]", b"[!a]", b"a\\b",
    b"\\", b"\\a", b"a\\", b"a\\ ", b"!a", b"#a", b"!", b"#", b"*", b"**", b"?", b"a*b", b"-",
    b"^", b"a-c", b"a\tb", b"\ta", b"a\t", b"a\r", b"a\nb", b":a", b".a", b".ab", b"..a",
    b"\xe9", b"\xc3\xa9", b"a\xff", b"\x80b", b"\xef\xbb\xbfa", b"\x01", b"\x7f", b"~", b"{a,b}",
    b"$a", b"'a'", b'"a"',
]  # fmt: skip
CLASSES = [
    b"alnum", b"alpha", b"blank", b"cntrl", b"digit", b"graph",
    b"lower", b"print", b"punct", b"space", b"upper", b"xdigit",
]  # fmt: skip
TOKENS = [
    b"a", b"b", b"c", b"ab", b"foo", b".o", b"*", b"*", b"*", b"**", b"***", b"?", b"?", b"/", b"/",
    b"/**/", b"**/", b"/**", b"/*/", b"*/", b"/*", b"//", b"\\", b"\\/", b"**\\/", b"\\*", b"\\?",
    b"\\[", b"\\ ", b"\\a", b"\\\\", b" ", b"  ", b"[a]", b"[ab]", b"[!a]", b"[^a]", b"[a-c]",
    b"[c-a]", b"[a-]", b"[-a]", b"[]a]", b"[!]a]", b"[]-a]", b"[a", b"[", b"]", b"[]", b"[!]",
    b"[^", b"[\\]]", b"[\\a-c]", b"[a-\\c]", b"[\\-a]", b"[a\\", b"[!-~]", b"[--0]", b"[a/b]",
    b"[/]", b"[!b/]", b"[[:alpha:]]", b"[^[:alpha:]]", b"[[:space:]]", b"[[:digit:][:upper:]]",
    b"[a[:punct:]-z]", b"[[:bogus:]]", b"[[:alpha]]", b"[[:alpha:]", b"[[:]", b"[[::]]", b"[[:]]",
    b"[a-[:alpha:]]", b"[\x80-\xff]", b"\xc3\xa9", b"\xc3", b"\xe9", b"!", b"#", b"-", b"^", b"\t",
    b"\r", b"\0",
]  # fmt: skip

# Before 2.52 git took two stars behind the literal begin of an anchored pattern for "any depth".
GIT_BUG = re.compile(rb"^(\xef\xbb\xbf)?!?/?[^*?\[\\]*[^*?\[\\/]\*\*+(/|\\/|[ \r]*$|\0)", re.DOTALL)


class Git:
    """git check-ignore over scratch trees, with no rules but theirs."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.count = 0
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(scratch),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
        }
        self.repo = scratch / "repo.git"
        command = ["git", "init", "-q", "--bare", "--template=", self.repo]
        subprocess.run(command, env=self.env, check=True)

    def left_out(self, tree):
        """One bool a path of the tree; below an excluded directory git names the rule of that."""
        root = os.fsencode(self.scratch / f"tree{self.count}")
        self.count += 1
        tree.write(root)
        command = ["git", f"--git-dir={self.repo}", "--work-tree=.", "-c", "core.bare=false"]
        command += ["-c", "core.excludesFile=/dev/null", "-c", "core.ignoreCase=false"]
        command += ["check-ignore", "--no-index", "-v", "-n", "-z", "--stdin"]
        paths = [b"./" + path for path, _ in tree.entries]  # ":a" alone would be magic
        stdin = b"".join(path + b"\0" for path in paths)
        run = subprocess.run(
            command, cwd=root, env=self.env, input=stdin, capture_output=True, check=False
        )
        shutil.rmtree(root)
        assert run.returncode in (0, 1), run.stderr
        fields = run.stdout.split(b"\0")[:-1]
        assert fields[3::4] == paths
        return [
            bool(source) and not pattern.startswith(b"!")
            for source, pattern in zip(fields[0::4], fields[2::4])
        ]


class Tree:
    """Paths in the order of a walk, and the rule files of some directories."""

    def __init__(self):
        self.entries = []  # (path, is_dir)
        self.rules = {}  # directory -> text

    def write(self, root):
        os.mkdir(root)
        for path, is_dir in self.entries:
            if is_dir:
                os.mkdir(os.path.join(root, path))
        for path, text in self.rules.items():
            with open(os.path.join(root, path, b".gitignore"), "wb") as file:
                file.write(text)

    def describe(self):
        """The tree as ignore_driver.c wants it."""
        parts, stack = [self._enter(b"")], [b""]
        for path, is_dir in self.entries:
            while stack[-1] != os.path.dirname(path):
                stack.pop()
                parts.append(b"u 0 0\n")
            if is_dir:
                stack.append(path)
            parts.append(self._enter(path) if is_dir else b"f %d 0\n%s" % (len(path), path))
        return b"".join(parts) + b"u 0 0\n" * len(stack)

    def _enter(self, path):
        text = self.rules.get(path)
        size = -1 if text is None else len(text)
        return b"d %d %d\n%s%s" % (len(path), size, path, text or b"")


def random_name(rng):
    if rng.random() < 0.6:
        return rng.choice(NAMES[:12])
    if rng.random() < 0.7:
        return rng.choice(NAMES)
    name = b"".join(rng.choice(NAMES) for _ in range(rng.randint(2, 3)))
    return name if name not in (b".", b"..") else b"x"


def random_entries(rng, tree, base, depth):
    for name in sorted({random_name(rng) for _ in range(rng.randint(1, 6))}):
        is_dir = rng.random() < (0.8, 0.6, 0.4, 0)[depth]
        tree.entries.append((base + name, is_dir))
        if is_dir:
            random_entries(rng, tree, base + name + b"/", depth + 1)


def escaped(text):
    return re.sub(rb"([\\*?\[ ]|^[!#])", rb"\\\1", text)


def mutated(rng, pattern):
    """A pattern that names something, made a bit more general, or a bit wrong."""
    for _ in range(rng.randint(0, 3)):
        at = rng.randint(0, len(pattern))
        to = min(len(pattern), at + rng.randint(0, 2))
        if at < to and pattern[at:to] != b"/" and rng.random() < 0.4:
            byte = re.escape(pattern[at : at + 1])
            middle = rng.choice([b"[%s]", b"[!%s]", b"[^x%s]", b"[%s-z]", b"[A-%s]"]) % byte
        else:
            middle = rng.choice(TOKENS)
        pattern = pattern[:at] + middle + pattern[to:]
    return pattern


def random_pattern(rng, tree, base):
    """Half the patterns come from a path of the tree, so that they match something."""
    below = [path[len(base) :] for path, _ in tree.entries if path.startswith(base)]
    if not below or rng.random() < 0.35:
        return b"".join(rng.choice(TOKENS) for _ in range(rng.randint(1, 6)))
    parts = rng.choice(below).split(b"/")
    first = rng.randint(0, len(parts) - 1)
    parts = parts[first : rng.randint(first + 1, len(parts))]
    parts = [escaped(part) if rng.random() < 0.8 else part for part in parts]
    for _ in range(rng.randint(0, 2)):
        parts[rng.randrange(len(parts))] = rng.choice([parts[0], b"*", b"**", b"**", b"a*", b"?*"])
    pattern = rng.choice([b"", b"", b"/", b"**/", b"*/", b"/**/"]) + b"/".join(parts)
    return mutated(rng, pattern + rng.choice([b"", b"", b"", b"/", b"/*", b"/**", b"*"]))


def random_line(rng, tree, base, git_is_buggy):
    if rng.random() < 0.05:
        return rng.choice([b"", b"# comment", b"#a", b"!", b"/", b"!/", b" ", b"\r", b"\\", b"*"])
    line = random_pattern(rng, tree, base).replace(b"\n", b"")
    if rng.random() < 0.3:
        line = b"!" + line
    line += rng.choice([b""] * 8 + [b" ", b"  ", b"\\ ", b"\\  ", b"\t", b"\r"])
    return b"" if git_is_buggy and GIT_BUG.match(line) else line


def random_rules(rng, tree, base, git_is_buggy):
    end = rng.choice([b"\n", b"\n", b"\r\n"])
    lines = [random_line(rng, tree, base, git_is_buggy) for _ in range(rng.randint(1, 8))]
    begin = b"\xef\xbb\xbf" if rng.random() < 0.1 else b""
    return begin + end.join(lines) + rng.choice([b"", end])


def random_tree(rng, git_is_buggy):
    tree = Tree()
    random_entries(rng, tree, b"", 0)
    for path in [b""] + [path for path, is_dir in tree.entries if is_dir]:
        if rng.random() < (0.4 if path else 0.9):
            base = path + b"/" if path else b""
            tree.rules[path] = random_rules(rng, tree, base, git_is_buggy)
    return tree


def flat_tree(rules, names):
    tree = Tree()
    tree.rules[b""] = rules
    tree.entries = [(name, False) for name in names]
    return tree


def driver_left_out(trees):
    places = [BUILD / "ignore_driver", BUILD / "tests" / "property" / "ignore_driver"]
    driver = next((place for place in places if place.exists()), None)
    if driver is None:
        pytest.fail(f"no ignore_driver in {BUILD}; build first or set AMLAGENT_BUILD_DIR")
    described = b"".join(tree.describe() for tree in trees)
    run = subprocess.run([driver], input=described, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode(errors="replace")
    return [[verdict == ord("1") for verdict in line] for line in run.stdout.splitlines()]


def compare(git, trees, what):
    """Compare every path of every tree; the number of paths, and of those left out."""
    ours, total, out = driver_left_out(trees), 0, 0
    assert len(ours) == len(trees)
    for number, (tree, verdicts) in enumerate(zip(trees, ours)):
        theirs = git.left_out(tree)
        assert len(verdicts) == len(theirs)
        for (path, is_dir), mine, his in zip(tree.entries, verdicts, theirs):
            assert mine == his, (
                f"{what}, tree {number}: {path!r} ({'directory' if is_dir else 'file'}):"
                f" git leaves it {'out' if his else 'in'}, we {'out' if mine else 'in'};"
                f" rules: {tree.rules}"
            )
        total += len(theirs)
        out += sum(theirs)
    return total, out


@pytest.fixture(name="git")
def fixture_git(tmp_path):
    return Git(tmp_path)


def test_random_trees(git):
    git_is_buggy = git.left_out(flat_tree(b"aa**/b\n", [b"aab"])) == [True]
    rng = random.Random(SEED)
    trees = [random_tree(rng, git_is_buggy) for _ in range(TREES)]
    total, out = compare(git, trees, f"AMLAGENT_IGNORE_SEED={SEED}")
    print(f"seed {SEED}: {total} paths compared, {out} left out")
    assert total >= 2000
    assert total // 10 < out < total - total // 10, "the rules are too weak or too strong to tell"


def test_every_byte_in_every_class(git):
    names = [b"x" + bytes([byte]) for byte in range(1, 256) if byte != ord("/")]
    trees = [flat_tree(b"x[[:%s:]]\n" % name, names) for name in CLASSES]
    assert compare(git, trees, "classes")[0] == len(CLASSES) * 254


def test_every_pair_around_a_range(git):
    """All sets of up to four of the bytes that mean something inside brackets."""
    sets = [b""]
    for _ in range(4):
        sets += [old + bytes([byte]) for old in sets for byte in b"!-]\\[:ac"]
    sets = sorted(set(sets))
    names = [b"x" + bytes([byte]) for byte in b"!-]\\[:abc^"] + [b"xa]", b"x-]"]
    trees = []
    for begin in range(0, len(sets), 64):
        tree = Tree()
        for number, inner in enumerate(sets[begin : begin + 64]):
            path = b"d%d" % number
            tree.entries.append((path, True))
            tree.entries += [(path + b"/" + name, False) for name in names]
            tree.rules[path] = b"x[%s]\n" % inner
        trees.append(tree)
    assert compare(git, trees, "sets")[0] > len(sets) * len(names)
