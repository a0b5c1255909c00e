# SPDX-License-Identifier: MIT
"""Faults on top of faults: what recovers dies as well, and the next one too; daemon and supervisor die together."""

from dataclasses import replace

import pytest
from chaos import DEATH_OF, build_dir
from matrix import ENDS, LOST, LOST_AT_START, LOST_BEFORE
from story import Story, tell_all, true_fate

pytestmark = pytest.mark.timeout(300)

# Recovery dies in the same step again and again. "ready": the run goes on meanwhile; "ended": it has ended.
RECOVERY = {
    "reattach": ("ready", ["recover.reattach=kill", "recover.reattach=kill-after", "recover.reattach=abort"]),
    "read-exit": ("ended", ["finish.read_exit=kill", "finish.read_exit=kill-after"]),
    "collect": ("ended", ["finish.collect=kill", "finish.collect=kill-after"]),
    "flush": ("ended", ["blob.flush=kill", "blob.flush=kill-after"]),
    "publish": ("ended", ["blob.publish=kill", "blob.publish=kill-after"]),
    "flush-names": ("ended", ["blob.flush_names=kill", "blob.flush_names=kill"]),
    "finish": ("ended", ["history.finish=kill", "history.finish=kill", "history.finish=kill-after"]),
    "clean-up": ("ended", ["finish.clean_up=kill", "finish.clean_up=kill", "finish.clean_up=kill-after"]),
}

# A run that is being started is started once, however often the daemon dies.
START = {
    "spawn": ["start.spawn=kill", "start.spawn=kill", "start.spawn=abort"],
    "lock": ["start.lock=kill", "start.lock=kill-after"],
    "launch": ["prepare.launch=kill-after", "prepare.launch=kill", "start.spawn=kill"],
    "prepare": ["history.prepare=kill", "history.prepare=kill-after", "history.prepare=kill-after"],
    "spawn-then-reattach": ["start.spawn=kill", "start.spawn=kill-after", "recover.reattach=kill"],
}

# Both die: what the next daemon finds, or the one after it. None: the true end.
TOGETHER = {
    "before-it-began": (None, ["supervisor.begin=kill,start.spawn=kill-after"]),
    "before-status": (None, ["status.write=kill,start.spawn=kill-after"]),
    "after-status": (LOST_BEFORE, ["status.write=kill-after,start.spawn=kill-after"]),
    "before-command": (LOST_BEFORE, ["child.start=kill,start.spawn=kill-after", "recover.reattach=kill"]),
    "after-command": (LOST_AT_START, ["child.start=kill-after,start.spawn=kill-after", "recover.reattach=kill-after"]),
    "running": (LOST_AT_START, ["status.running=kill-after,start.spawn=kill-after", "recover.reattach=kill-after"]),
    "before-the-verdict": (LOST, ["exit.write=kill,finish.read_exit=kill", "finish.collect=kill"]),
    "verdict-not-named": (LOST, ["exit.rename=kill,finish.read_exit=kill", "history.finish=kill"]),
    "verdict-written": (None, ["exit.rename=kill-after,finish.read_exit=kill", "history.finish=kill"]),
    "verdict-durable": (None, ["exit.sync_dir=kill-after,finish.read_exit=kill-after", "finish.clean_up=kill"]),
}

# A daemon for each step of one run; what an earlier one has done is not passed again.
WAY = ["history.migrate=kill", "blob.write=kill", "blob.flush=abort", "blob.publish=kill", "blob.flush_names=kill",
       "index.write=kill-after", "submit.make_dir=kill-after", "submit.environment=kill", "submit.sync_dir=abort",
       "history.insert=kill", "prepare.lay_out=kill", "prepare.log=kill-after", "prepare.control=kill",
       "prepare.launch=abort", "history.prepare=kill-after", "start.lock=kill-after", "start.spawn=kill",
       "start.spawn=kill-after", "recover.reattach=kill", "finish.read_exit=kill", "finish.collect=kill",
       "history.finish=abort", "finish.clean_up=kill"]  # fmt: skip
STOPPING = ["stop.write=kill", "stop.wake=kill"]

# A supervisor that died before it had begun is started again by this daemon, or by the next.
ANEW = ["supervisor.begin=kill", "supervisor.begin=kill-after", "status.write=kill", "supervisor.begin=abort"]


def story(outcome, settings, fate=None, **how):
    """Each daemon of the settings dies of a point of its own, but for those that are given nothing to die of."""
    deaths = tuple(DEATH_OF["abort" if "=abort" in setting else "kill"] for setting in settings if setting)
    fate = replace(fate or true_fate(outcome), deaths=deaths)
    return Story(outcome=outcome, fate=fate, settings=list(settings), **how)


def way(outcome):
    at = WAY.index("finish.read_exit=kill")
    return WAY[:at] + STOPPING * (outcome == "cancel") + WAY[at:]


def make_stories():
    found = {}
    for outcome in ENDS:
        for name, (restart, settings) in RECOVERY.items():
            found[f"recovery/{name}/{outcome}"] = story(outcome, ["", *settings], restart=restart)
        for name, settings in START.items():
            found[f"start/{name}/{outcome}"] = story(outcome, settings)
        for name, (fate, settings) in TOGETHER.items():
            found[f"together/{name}/{outcome}"] = story(outcome, settings, fate)
        for setting in ANEW:
            fate = replace(true_fate(outcome), starved=True)
            found[f"anew/{setting}/{outcome}"] = Story(outcome=outcome, fate=fate, settings=[setting])
        found[f"way/all/{outcome}"] = story(outcome, way(outcome))
    return found


STORIES = make_stories()
GROUPS = sorted({name.rpartition("/")[0] for name in STORIES})


@pytest.fixture(scope="module")
def troubles():
    build_dir()
    return dict(zip(STORIES, tell_all(STORIES.values()), strict=True))


@pytest.mark.parametrize("group", GROUPS)
def test_a_run_survives_faults_on_top_of_faults(troubles, group):
    wrong = {name: text for name, text in troubles.items() if text and name.rpartition("/")[0] == group}
    assert not wrong, "\n\n".join(f"{name}: {text}" for name, text in wrong.items())


def test_every_daemon_of_every_story_had_its_turn(troubles):
    left = {name: story.settings for name, story in STORIES.items() if story.settings}
    assert not left, "these were not needed, so nothing died of them"
