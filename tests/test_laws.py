"""The laws, each checked on every kind of plan (plan_kinds.py), in both dialects, on real kernels.

A kind's whole story, from the dry run to the second detachment, is played once; each law then
looks at what was seen on the way.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from hosts import Host
from plan_kinds import DIALECTS, KINDS, Kind, Scene, furnish
from shims import Shims, commands_in, joined
from snapshot import difference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import CompletedProcess

Snapshot = dict[str, str]
_NOTHING: Final = "# nothing to do\n"


@dataclass
class Seen:
    """What one call of nettool did: how it ended, what it ran, and what the host was like then."""

    done: CompletedProcess[str]
    changes: list[tuple[str, ...]]
    after: Snapshot


@dataclass
class Story:
    """All that was seen of one kind of plan in one dialect."""

    scene: Scene
    before: Snapshot
    dry_run: Seen
    attached: Seen
    again: Seen
    detach_dry_run: Seen
    detached: Seen
    detached_again: Seen
    script_attached: Snapshot

    @property
    def kind(self) -> Kind:
        return self.scene.kind


def _play(scene: Scene, shims: Shims, dialect: str) -> Story:
    def see(argv: tuple[str, ...]) -> Seen:
        shims.set()
        return Seen(scene.host.nettool(*argv, env=shims.env), shims.changes, scene.snapshot())

    before = scene.snapshot()
    attach, detach = scene.attach(dialect), scene.detach(dialect)
    dry_run = see((*attach, "--dry-run"))
    seen = (see(attach), see(attach), see((*detach, "--dry-run")), see(detach), see(detach))
    scene.host.check("sh", "-ex", input=dry_run.done.stdout)
    return Story(scene, before, dry_run, *seen, script_attached=scene.snapshot())


_CASES: Final = [
    pytest.param((kind, dialect), id=f"{kind.name}-{dialect}", marks=pytest.mark.xdist_group(kind.name))
    for kind in KINDS
    for dialect in DIALECTS
]


@pytest.fixture(scope="module", params=_CASES)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    kind, dialect = request.param
    with Host() as host:
        yield _play(furnish(host, kind, dialect), Shims(tmp_path_factory.mktemp("shims")), dialect)


# --- 1: it converges


def test_attach_succeeds_and_changes_the_host(story: Story) -> None:
    assert story.attached.done.returncode == 0, story.attached.done.stderr
    assert difference(story.before, story.attached.after)


def test_a_second_attach_finds_nothing_to_do(story: Story) -> None:
    assert story.again.done.returncode == 0, story.again.done.stderr
    assert story.again.done.stdout.startswith("nothing to do: ")


def test_a_second_attach_runs_no_command(story: Story) -> None:
    assert joined(story.again.changes) == ""
    assert difference(story.attached.after, story.again.after) == ""


def test_a_second_detach_finds_nothing_to_do(story: Story) -> None:
    assert story.detached_again.done.returncode == 0, story.detached_again.done.stderr
    assert story.detached_again.done.stdout.startswith("nothing to do: ")
    assert joined(story.detached_again.changes) == ""


# --- 2: it is reversible


def test_detach_leaves_the_host_and_the_sandbox_as_they_were(story: Story) -> None:
    assert story.detached.done.returncode == 0, story.detached.done.stderr
    assert difference(_with_names_folder(story.before), story.detached.after) == ""


def test_both_dialects_end_in_the_same_state(story: Story, other_dialect: Snapshot) -> None:
    same = _without_chance(story.attached.after, story.scene)
    assert difference(other_dialect, same) == ""


# --- 3: one truth


def test_what_runs_is_what_the_dry_run_printed(story: Story) -> None:
    assert joined(story.attached.changes) == joined(commands_in(story.dry_run.done.stdout))
    assert joined(story.detached.changes) == joined(commands_in(story.detach_dry_run.done.stdout))


def test_the_printed_commands_leave_the_same_state_as_apply(story: Story) -> None:
    by_hand = _without_chance(story.script_attached, story.scene)
    assert difference(_without_chance(story.attached.after, story.scene), by_hand) == ""


# --- 6: reading never writes


def test_a_dry_run_changes_nothing(story: Story) -> None:
    assert story.dry_run.done.returncode == 0, story.dry_run.done.stderr
    assert joined((*story.dry_run.changes, *story.detach_dry_run.changes)) == ""
    assert difference(story.before, story.dry_run.after) == ""
    assert difference(story.attached.after, story.detach_dry_run.after) == ""
