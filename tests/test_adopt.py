"""What lost its record, or was made by a script, is put on record again, and goes without a trace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from plan_kinds import DIALECTS, KINDS, Kind, furnish, with_dialects
from snapshot import difference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hosts import Host

# Nothing tells what a default route took the place of, nor a name without the mark; a bridge that was given
# its MAC keeps it.
UNTOLD: Final = (
    "default route replaced",
    "IPv6 default route replaced",
    "a second endpoint takes the default route",
)
UNMARKED: Final = ("names given", "a name with a dot", "a keyword as a name")
ADOPTED: Final = [
    kind
    for kind in KINDS
    if kind.name not in (*UNTOLD, *UNMARKED, "as many kinds of steps as one plan can have")
    and not kind.name.endswith("by somebody else")
]
BY_NAME: Final = {kind.name: kind for kind in KINDS}
SUBNETS: Final = ("--subnet", "10.20.0.0/24", "--subnet", "fd20::/64")


def _must(host: Host, *words: str) -> str:
    done = host.nettool(*words)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def _lose_records(host: Host) -> None:
    host.check("rm", "-rf", "/run/nettool", "/run/nettool-state")


def _adopt(host: Host, *options: str) -> dict[str, Any]:
    """Adopt; the host stays as it is, a second time there is nothing to adopt, and nothing differs."""
    before = host.snapshot()
    shown = json.loads(_must(host, "adopt", *options, "--dry-run", "-o", "json"))
    assert json.loads(_must(host, "adopt", *options, "-o", "json")) == {**shown, "done": True}
    assert difference(before, host.snapshot()) == ""
    assert _must(host, "adopt", *options) == "nothing to adopt\n"
    assert _must(host, "diff") == "no difference\n"
    found: dict[str, Any] = shown
    return found


@pytest.mark.parametrize(("name", "dialect"), with_dialects([kind.name for kind in ADOPTED]))
def test_an_endpoint_without_its_record(host: Host, name: str, dialect: str) -> None:
    scene = furnish(host, BY_NAME[name], dialect)
    before = scene.snapshot()
    _must(host, *scene.attach(dialect))
    wired = scene.snapshot()
    _lose_records(host)
    assert _adopt(host)["endpoints"]
    assert _must(host, *scene.attach(dialect)).startswith("nothing to do")
    assert difference(wired, scene.snapshot()) == ""
    _must(host, *scene.detach(dialect))
    assert difference(before, scene.snapshot()) == ""
