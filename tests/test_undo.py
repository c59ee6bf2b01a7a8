"""Undo takes back what a run did, for every kind of plan, and never what later work rests on."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import pytest
from plan_kinds import BY_NAME, KINDS, SECOND_BRIDGE, Bridge, Kind, furnish, some
from shims import Rule, Shims, commands_in
from snapshot import difference

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from hosts import Host
    from plan_kinds import Scene

PLAIN: Final = Kind("plain", "--ip 172.17.0.10/16")
TWO: Final = Kind("two", "--ip 172.17.0.10/16", bridges=(Bridge(), SECOND_BRIDGE))
MACS: Final = re.compile(r"([0-9a-f]{1,2}:){5}[0-9a-f]{1,2}|fe80::[0-9a-f:]+")
CASES: Final = [
    pytest.param(kind, kind.dialect(number), id=f"{kind.name}-{kind.dialect(number)}")
    for number, kind in enumerate(some(KINDS))
]


def _history(host: Host) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads(host.nettool("history", "-o", "json").stdout)["runs"]
    return runs


@pytest.mark.parametrize(("kind", "dialect"), CASES)
def test_every_kind_of_plan_can_be_undone_and_done_again(host: Host, kind: Kind, dialect: str) -> None:
    scene = furnish(host, kind, dialect)
    before = scene.snapshot()
    host.must(*scene.do(dialect))
    done = scene.snapshot()

    host.must("undo", "last")
    kept = scene.snapshot()
    # What the host's scope holds (forwarding) stays, as when it is taken back by its own verb.
    host.must(*scene.do(dialect))
    host.must(*scene.undo(dialect))
    assert difference(kept, scene.snapshot()) == ""
    left = [line for line in difference(before, kept).splitlines()[2:] if line[0] in "+-"]
    assert [line for line in left if not re.search(kind.stays, line)] == []

    host.must("undo", "last")
    unlike = difference(_without_macs(done), _without_macs(scene.snapshot()))
    assert unlike == ""
    host.must(*scene.undo(dialect))
    assert difference(kept, scene.snapshot()) == ""


def _without_macs(parts: dict[str, str]) -> dict[str, str]:
    """The cable that is made again has other MACs, where none was asked for."""
    return {
        part: "\n".join(sorted(MACS.sub("MAC", text).splitlines()))
        for part, text in parts.items()
        if not part.endswith(" fdb")
    }


def test_an_undo_can_be_undone(host: Host) -> None:
    scene = furnish(host, PLAIN)
    host.must(*scene.attach("classic"))
    wired = scene.snapshot()
    host.must("undo", "last")
    undone = _history(host)[-1]["id"]
    assert "redo attach" in host.must("undo", undone)
    assert difference(wired, scene.snapshot()) == ""
    assert [run["state"].split()[0] for run in _history(host)] == ["done", "undone", "done"]
    assert host.must(*scene.attach("classic")).startswith("nothing to do")
    host.must(*scene.detach("classic"))


def test_what_later_work_rests_on_is_not_undone(host: Host) -> None:
    scene = furnish(host, TWO)
    before = scene.snapshot()
    host.must(*scene.attach("classic"))
    host.must("attach", *scene.target, "--bridge", "br9", "--ip", "10.9.0.2/24", "--dialect", "classic")
    wired = scene.snapshot()
    first, second = (run["id"] for run in _history(host))

    refused = host.nettool("undo", first)

    assert refused.returncode == 4
    assert f"later work rests on it: run {second}" in refused.stderr
    assert f"nettool undo {second}" in refused.stderr
    assert difference(wired, scene.snapshot()) == ""
    host.must("undo", "last")
    host.must("undo", "last")
    assert difference(before, scene.snapshot()) == ""


def test_a_repair_is_undone_alone(host: Host) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()
    host.must(*scene.attach("classic"))
    host.inside(scene.pid, "ip", "route", "del", "default")
    broken = scene.snapshot()
    host.must(*scene.attach("classic"))
    host.must("undo", "last", "--dry-run")
    host.must("undo", "last")
    # The route went with the cable: it has no undo of its own, so there is nothing that it took back.
    assert difference(broken, scene.snapshot()).count("\n") <= 3
    host.must(*scene.detach("classic"))
    assert difference(before, scene.snapshot()) == ""


def test_what_is_gone_already_needs_no_undo(host: Host) -> None:
    scene = furnish(host, PLAIN)
    host.must(*scene.attach("classic"))
    run = _history(host)[0]["id"]
    host.must(*scene.detach("classic"))
    assert host.must("undo", run).startswith("nothing to do")
    assert len(_history(host)) == 2


def test_a_sandbox_that_is_gone_cannot_be_attached_again(host: Host) -> None:
    scene = furnish(host, PLAIN)
    host.must(*scene.attach("classic"))
    host.must(*scene.detach("classic"))
    host.kill(scene.pid)
    before = host.snapshot()
    done = host.nettool("undo", "last")
    assert done.returncode == 5
    assert "is no longer there" in done.stderr
    assert difference(before, host.snapshot()) == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [("fff", "no run 'fff'"), ("", "several runs"), ("last", "")],
    ids=["none", "many", "last"],
)
def test_which_run_is_meant(host: Host, name: str, words: str) -> None:
    scene = furnish(host, PLAIN)
    host.must(*scene.attach("classic"))
    host.must(*scene.detach("classic"))
    done = host.nettool("undo", name, "--dry-run")
    assert done.returncode == (4 if words else 0)
    assert words in done.stderr


def test_a_run_that_failed_has_nothing_to_undo(host: Host, tmp_path: Path) -> None:
    scene = furnish(host, PLAIN)
    shims = Shims(tmp_path / "shims")
    steps = commands_in(host.nettool(*scene.attach("classic", "--dry-run")).stdout)
    shims.set(Rule(steps[-1], "exit 3"))
    host.nettool(*scene.attach("classic"), env=shims.env)
    (run,) = _history(host)
    assert run["state"] == "taken back"
    done = host.nettool("undo", run["id"])
    assert done.returncode == 4
    assert "has been taken back already" in done.stderr


@pytest.mark.parametrize("verb", ["attach", "detach"])
def test_an_undo_that_fails_at_any_step_leaves_the_host_as_before(
    host: Host, tmp_path: Path, verb: str
) -> None:
    scene = furnish(host, BY_NAME["both families"])
    shims = Shims(tmp_path / "shims")
    host.must(*scene.attach("classic"))
    if verb == "detach":
        host.must(*scene.detach("classic"))
    before = scene.snapshot()
    for words in commands_in(host.must("undo", "last", "--dry-run")):
        shims.set(Rule(words, '"$real" "$@"; exit 3'))
        done = host.nettool("undo", "last", env=shims.env)
        assert done.returncode == 1, done.stderr
        assert difference(before, scene.snapshot()) == "", words
    host.must("undo", "last")


def test_history_names_the_commands(host: Host) -> None:
    scene = furnish(host, PLAIN)
    assert host.must("history") == "nothing yet\n"
    steps = commands_in(host.nettool(*scene.attach("classic", "--dry-run")).stdout)
    host.must(*scene.attach("classic"))
    (run,) = _history(host)
    said = host.must("history", run["id"])
    assert [line.split() for line in said.splitlines()[3:]] == [list(words) for words in steps]
    document = json.loads(host.must("history", run["id"], "-o", "json"))
    assert [tuple(step["command"]) for step in document["runs"][0]["steps"]] == steps
    assert all(step["ran"] for step in document["runs"][0]["steps"])


def test_only_fifty_runs_are_kept(host: Host) -> None:
    scene: Scene = furnish(host, PLAIN)
    for _ in range(27):
        host.must(*scene.attach("modern"))
        host.must(*scene.detach("modern"))
    assert len(_history(host)) == 50
