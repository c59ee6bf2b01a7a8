"""The laws, each checked on every kind of plan (plan_kinds.py), in its dialects, on real kernels.

A kind's whole story, from the dry run to the second time that it is taken back, is played once; each
law then looks at what was seen on the way.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from hosts import Host
from plan_kinds import KINDS, Kind, Scene, furnish
from shims import Shims, commands_in, joined
from snapshot import cable_macs, difference, spellings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import CompletedProcess

Snapshot = dict[str, str]


@dataclass
class Seen:
    """What one call of nettool did: how it ended, and the commands it ran that could change something."""

    done: CompletedProcess[str]
    changes: list[tuple[str, ...]]


@dataclass
class Story:
    """All that was seen of one kind of plan in one dialect. Snapshots are named by what came before."""

    kind: Kind
    before: Snapshot
    dry_run: Seen
    after_dry_run: Snapshot
    done: Seen
    after_do: Snapshot
    again: Seen
    undo_dry_run: Seen
    after_both: Snapshot
    undone: Seen
    undone_again: Seen
    after_undo: Snapshot
    after_other_dialect: Snapshot
    after_script: Snapshot


def _play(scene: Scene, shims: Shims, dialect: str) -> Story:
    def see(argv: tuple[str, ...]) -> Seen:
        shims.set()
        return Seen(scene.host.nettool(*argv, env=shims.env), shims.changes)

    do, undo = scene.do(dialect), scene.undo(dialect)
    other = next((d for d in scene.kind.verbs.dialects if d != dialect), dialect)
    story = Story(
        kind=scene.kind, before=scene.snapshot(),
        dry_run=see((*do, "--dry-run")), after_dry_run=scene.snapshot(),
        done=see(do), after_do=scene.snapshot(),
        again=see(do), undo_dry_run=see((*undo, "--dry-run")), after_both=scene.snapshot(),
        undone=see(undo), undone_again=see(undo), after_undo=scene.snapshot(),
        after_other_dialect={}, after_script={},
    )  # fmt: skip
    scene.host.nettool(*scene.do(other))
    story.after_other_dialect = _settled(scene, story.after_do)
    scene.host.nettool(*undo)
    scene.host.check("sh", "-ex", input=story.dry_run.done.stdout)
    story.after_script = _settled(scene, story.after_do)
    return story


def _settled(scene: Scene, expected: Snapshot) -> Snapshot:
    """Look until all is as expected, for a second: link-local addresses come when the carrier has come."""
    deadline = time.monotonic() + 1
    while _without_chance(seen := scene.snapshot()) != _without_chance(expected):
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return seen


def _without_chance(parts: Snapshot) -> Snapshot:
    """Put names for the MACs that the kernel drew, and leave open how a namespace got its name."""
    text = json.dumps(parts)
    for name, mac in cable_macs(parts):
        for spelling in spellings(mac):
            text = text.replace(spelling, f"MAC of {name}")
    found: Snapshot = json.loads(text)
    found["host: netns"] = re.sub(r" .*", "", found["host: netns"], flags=re.MULTILINE)
    return {part: "\n".join(sorted(lines.splitlines())) for part, lines in found.items()}


_CASES: Final = [
    pytest.param((kind, dialect), id=f"{kind.name}-{dialect}", marks=pytest.mark.xdist_group(kind.name))
    for number, kind in enumerate(KINDS)
    for dialect in kind.dialects(number)
]


# All tests of one story on one worker, so that it is played once.
pytestmark = pytest.mark.parametrize("story", _CASES, indirect=True, scope="module")


@pytest.fixture(scope="module")
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    kind, dialect = request.param
    with Host() as host:
        yield _play(furnish(host, kind, dialect), Shims(tmp_path_factory.mktemp("shims")), dialect)


# --- 1: it converges


def test_it_succeeds_and_changes_the_host(story: Story) -> None:
    assert story.done.done.returncode == 0, story.done.done.stderr
    assert difference(story.before, story.after_do)


def test_a_second_time_there_is_nothing_to_do(story: Story) -> None:
    assert story.again.done.returncode == 0, story.again.done.stderr
    assert story.again.done.stdout.startswith("nothing to do: ")


def test_a_second_time_no_command_runs(story: Story) -> None:
    assert joined(story.again.changes) == ""
    assert difference(story.after_do, story.after_both) == ""


def test_what_is_gone_is_not_taken_back_again(story: Story) -> None:
    done = story.undone_again.done
    assert done.returncode == story.kind.verbs.gone, done.stderr
    assert done.returncode or done.stdout.startswith("nothing to do: ")
    assert joined(story.undone_again.changes) == ""


# --- 2: it is reversible


def test_taken_back_it_leaves_the_host_and_the_sandbox_as_they_were(story: Story) -> None:
    assert story.undone.done.returncode == 0, story.undone.done.stderr
    left = [line for line in difference(story.before, story.after_undo).splitlines()[2:] if line[0] in "+-"]
    assert [line for line in left if not re.search(story.kind.stays, line)] == []


def test_both_dialects_end_in_the_same_state(story: Story) -> None:
    other = _without_chance(story.after_other_dialect)
    assert difference(_without_chance(story.after_do), other) == ""


# --- 3: one truth


def test_what_runs_is_what_the_dry_run_printed(story: Story) -> None:
    assert joined(story.done.changes) == joined(commands_in(story.dry_run.done.stdout))
    assert joined(story.undone.changes) == joined(commands_in(story.undo_dry_run.done.stdout))


def test_the_printed_commands_leave_the_same_state_as_apply(story: Story) -> None:
    by_hand = _without_chance(story.after_script)
    assert difference(_without_chance(story.after_do), by_hand) == ""


# --- 5: it minds its own


def test_it_only_adds(story: Story) -> None:
    altered = [line for line in difference(story.before, story.after_do).splitlines() if line[:1] == "-"]
    assert [line for line in altered[1:] if not re.search(story.kind.alters, line)] == []


# --- 6: reading never writes


def test_a_dry_run_changes_nothing(story: Story) -> None:
    assert story.dry_run.done.returncode == 0, story.dry_run.done.stderr
    assert joined((*story.dry_run.changes, *story.undo_dry_run.changes)) == ""
    assert difference(story.before, story.after_dry_run) == ""
    assert difference(story.after_do, story.after_both) == ""
