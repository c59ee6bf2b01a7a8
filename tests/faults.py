"""The table that the battery of faults is driven by: every kind of plan, done and undone.

A test is given a `Planned`, and the `Stage` that is set for it: a furnished host. It makes things go
wrong there, step by step, and looks each time whether everything is as it was before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import re
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hosts import Host, mount_namespace
from plan_kinds import ATTACH, CREATE, FULL, KINDS, SANDBOX, Kind, furnish
from shims import TOOLS, Rule, Shims
from snapshot import cable_macs, difference, spellings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from subprocess import CompletedProcess

    from _pytest.mark import ParameterSet
    from plan_kinds import Scene

VERBS: Final = ("do", "undo")
KILL: Final = "kill -9 $nettool\n"
_STRIDE: Final = 1 if FULL else 3
_PER_STEP: Final = 2 if FULL else 1
_MOST_PLACES: Final = 3
# What comes out differently each time that a host is furnished.
_CHANCE: Final = {
    r"8000\.(?!2:42:)[0-9a-f:]+": "BRIDGE-ID",
    r"\b(?!02:42)[0-9a-f][26ae](:[0-9a-f]{2}){5}": "MAC",
    r"fe80::(?!42:)[0-9a-f:]{6,}": "LINK-LOCAL",
    r"\bnt[0-9a-f]{10}": "HOST-END",
    r"\bnt-[0-9a-f]{10}": "NAME",
    r"nsfs f \d+": "nsfs",
    # An address that was given back is not given again at once.
    r'\\"last\\": \[[^\]]*\]': "LAST",
}


@dataclass(frozen=True)
class Planned:
    """One plan of the table; `number` says with which fault its steps begin."""

    kind: Kind
    verb: str
    dialect: str
    number: int = 0

    def places(self, count: int) -> range:
        """Return which of so many steps are tried: all, or the kind's share; unless all is tested, three.

        Two dialects have every other step each: they have most of them in common.
        """
        least = len(self.kind.verbs.dialects) if FULL else max(_STRIDE, -(-count // _MOST_PLACES))
        stride = min(max(least, self.kind.verbs.share), count)
        return range(self.number % stride, count, stride)

    def pairs(self, count: int, faults: Iterable[str], each: int = _PER_STEP) -> Iterator[tuple[int, str]]:
        """Yield a step's place and a fault for it, so that all faults come in turn."""
        known = tuple(faults)
        turn = itertools.islice(itertools.cycle(known), self.number % len(known), None)
        for place in self.places(count):
            yield from ((place, next(turn)) for _ in range(each if self.kind.verbs.share == 1 else 1))

    def undone(self) -> Planned:
        """Return the plan for a host that looks as this one's does when nothing of it has been done."""
        return dataclasses.replace(self, verb="do")

    def alike(self) -> Planned:
        """Return one plan for all those whose hosts look alike before they are carried out."""
        shared = self.verb == "do" and not self.kind.first
        dialect = self.kind.verbs.dialects[0] if shared else self.dialect
        return dataclasses.replace(self, dialect=dialect, number=0)


def table() -> list[ParameterSet]:
    """Return every plan as a test parameter.

    Unless all is tested, every third attachment and every ninth plan of another kind, in one dialect.
    """
    chosen = [
        (number, kind)
        for number, kind in enumerate(KINDS)
        if number % (_STRIDE if FULL or kind.verbs is ATTACH else 3 * _STRIDE) == 0
    ]
    return [
        pytest.param(
            Planned(kind, verb, dialect, number + shift + kind.verbs.dialects.index(dialect)),
            id=f"{kind.name}-{verb}-{dialect}",
            marks=pytest.mark.xdist_group(kind.name),
        )
        for number, kind in chosen
        for shift, verb in enumerate(VERBS)
        for dialect in kind.dialects(number, every=FULL)
    ]


@dataclass(frozen=True)
class Always(Rule):
    """A rule for every call of a tool."""

    @property
    def arguments(self) -> str:
        return "*"


def always(then: str) -> list[Rule]:
    """Return rules for every call of any tool."""
    return [Always((tool,), then) for tool in TOOLS]


_NETWORKS: Final = "nettool:networks"
_PORT: Final = re.compile("-A NETTOOL-|-A .*nettool:")
_BRIDGE: Final = re.compile(r"\baddif (\S+)| master (\S+)| name (\S+) .*type bridge$", re.MULTILINE)


def names_in(plan: Mapping[str, Any], kind: Kind) -> dict[str, str]:
    """Return what a plan is about, by the names that others have for it: of what there is."""
    commands = "\n".join(" ".join(step["command"]) for step in plan["steps"])
    bridge = next((name for found in _BRIDGE.findall(commands) for name in found if name), None)
    names = {"bridge": bridge or (kind.bridges[0].name if kind.bridges else "br0")}
    if "NETTOOL-FORWARD" in commands:
        names["chain"] = "NETTOOL-FORWARD"
    if marked := re.search(r"\bnt[0-9a-f]{10}\b", commands):
        names["host_end"] = marked[0]
    for step in plan["steps"]:
        words = step["command"]
        if words[:3] == ["ip", "link", "add"] and "veth" in words:
            names |= {"host_end": step["undo"][-1], "peer": words[words.index("peer") + 2]}
            names |= {"netns": plan["sandboxes"][0]["netns"]["name"], "inner_end": _inner_end(plan)}
    return names


def _inner_end(plan: Mapping[str, Any]) -> str:
    (inner,) = {found[1] for s in plan["steps"] if (found := re.match(r"(\S+) is up in", s["makes"]))}
    return inner


class Stage:
    """A host that a plan is about to be carried out on, and how it looks before."""

    def __init__(self, host: Host, planned: Planned, folder: Path) -> None:
        self.host = host
        self.shims = Shims(folder)
        self.scene = furnish(host, planned.kind, planned.dialect)
        self.argv = self.scene.do(planned.dialect)
        plan = self._plan()
        self.names = {**names_in(plan, planned.kind), **_processes_of(self.scene)}
        self.bare = self.scene.snapshot()
        if planned.verb == "undo":
            self.nettool(*self.argv).check_returncode()
            self.argv = self.scene.undo(planned.dialect)
            plan = self._plan()
        self.title = str(plan["title"])
        self.steps = _to_do(plan)
        # What these do is never undone: they are not in the plan a second time.
        self.staying = [tuple(step["command"]) for step in plan["steps"] if step["stays"]]
        self.before = self.look()
        self._processes = _all_processes()

    def _plan(self) -> dict[str, Any]:
        dry_run = self.nettool(*self.argv, "--dry-run", "-o", "json")
        assert dry_run.returncode == 0, dry_run.stderr
        plan: dict[str, Any] = json.loads(dry_run.stdout)
        return plan

    def nettool(self, *argv: str, rules: Sequence[Rule] = ()) -> CompletedProcess[str]:
        """Run nettool; with rules, something goes wrong."""
        if rules:
            self.shims.set(*rules)
        return self.host.nettool(*argv, env=self.shims.env if rules else None)

    def run(self, *rules: Rule) -> CompletedProcess[str]:
        """Carry out the plan with something going wrong: at least what the first rule is about."""
        done = self.nettool(*self.argv, rules=rules)
        assert rules[0].words in self.shims.calls, f"{rules[0].words} never ran: {done.stderr}"
        return done

    def look(self) -> dict[str, str]:
        """Read the host and the sandbox, and what nettool keeps, journals of ended runs aside."""
        parts = in_any_order(self.scene.snapshot())
        return {**parts, "files": "\n".join(sorted(_files(self.host.path("/run"))))}

    def changed(self) -> str:
        """Return how the host differs from before; empty when it does not."""
        return difference(self.before, self.look())

    def is_undone(self) -> bool:
        """Whether the host is as it was before the plan that this one takes back."""
        lines = difference(self.bare, self.scene.snapshot()).splitlines()[2:]
        return not any(line[0] in "+-" and not re.search(self.scene.kind.stays, line) for line in lines)

    def stale(self) -> bool:
        """Whether the plan has fewer steps by now, though the host is as before."""
        return bool(self.staying) and _to_do(self._plan()) != self.steps

    def strays(self) -> set[int]:
        """Return the processes that are new on the host; one that is just ending is waited for."""
        deadline = time.monotonic() + 1
        while (found := self._new_processes()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return found

    def _new_processes(self) -> set[int]:
        # A command may have a mount namespace of its own, and is known by the PATH that it was given.
        folder, mine = str(self.shims.folder).encode(), mount_namespace(self.host.pid)
        found = {
            pid
            for pid in _all_processes() - self._processes
            if mount_namespace(pid) == mine or folder in _bytes(Path(f"/proc/{pid}/environ"))
        }
        # A name server that is started again is another process.
        return {pid for pid in found if b"\0--pid-file=" not in _bytes(Path(f"/proc/{pid}/cmdline"))}

    def comparable(self, seen: Mapping[str, str]) -> dict[str, str]:
        """Return what was seen, as it can be held against what is seen on a host that is furnished alike."""
        files = re.sub(r"\.json .*", ".json", seen["files"])
        text = json.dumps({**seen, "files": files})
        # Of a cable's MACs the kernel draws all, now and then one that begins as those that are given.
        for _, mac in cable_macs(seen):
            link_local, _, short = spellings(mac)
            for chance, word in ((f"8000.{short}", "BRIDGE-ID"), (mac, "MAC"), (link_local, "LINK-LOCAL")):
                text = text.replace(chance, word)
        for pattern, word in _CHANCE.items():
            text = re.sub(pattern, word, text)
        # After the names, which may have the same digits. Intervals of a bridge are numbers as well, and so
        # is a port's id (0x8002).
        for pid, word in ((self.scene.pid, "PID"), (self.scene.other, "OTHER")):
            text = re.sub(rf"(?<![0-9x])(?<!: ){pid}(?![0-9])", word, text) if pid else text
        parts: dict[str, str] = json.loads(text)
        return {part: "\n".join(sorted(self._not_staying(lines))) for part, lines in parts.items()}

    def _not_staying(self, lines: str) -> Iterator[str]:
        """Yield the lines but for what is not taken back, whoever made it."""
        yield from (line for line in lines.splitlines() if not re.search(self.scene.kind.stays, line))


class Stages:
    """Sets the stage for each test of a plan: all use one host, as long as they leave it as it was."""

    def __init__(self, planned: Planned, folder: Path) -> None:
        self._planned = planned
        self._folder = folder
        self._stage: Stage | None = None

    def ready(self) -> Stage:
        """Return a host that is as before, to begin a test with."""
        if self._stage is not None and (self._stage.changed() or self._stage.strays()):
            self.close()
        return self.again()

    def again(self) -> Stage:
        """Return a host that the plan can be carried out on again: a test has left it as before."""
        if self._stage is not None and self._stage.stale():
            self.close()
        if self._stage is None:
            self._stage = Stage(Host(), self._planned, self._folder)
        return self._stage

    def close(self) -> None:
        """End the host that is in use; the next one is furnished anew."""
        if self._stage is not None:
            self._stage.host.close()
        self._stage = None


def in_any_order(parts: Mapping[str, str]) -> dict[str, str]:
    """Return a snapshot with the rules of networks and ports sorted: no packet matches two of them."""
    return {part: _sorted_rules(text) for part, text in parts.items()}


def _sorted_rules(text: str) -> str:
    lines = text.splitlines()
    places = [n for n, line in enumerate(lines) if _PORT.match(line) and _NETWORKS not in line]
    for place, line in zip(places, sorted(lines[place] for place in places), strict=True):
        lines[place] = line
    return "\n".join(lines)


def _all_processes() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdecimal()}


def _processes_of(scene: Scene) -> dict[str, str]:
    """Return the sandbox's names, where the plan is about one."""
    return {} if scene.kind.verbs in (CREATE, SANDBOX) else {"pid": str(scene.pid), "path": scene.netns}


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _to_do(plan: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [tuple(step["command"]) for step in plan["steps"] if step["status"] == "to do"]


# What an engine leaves there that was asked for its containers is its own.
_OTHERS: Final = ("netns/", "nettool/history/", "containers/", "libpod/", "crun/")


def _files(run: Path) -> Iterator[str]:
    """Yield the paths of what is kept in a host's /run, records with their text."""
    for path in run.rglob("*"):
        name = str(path.relative_to(run))
        if path.is_dir() or name.startswith(_OTHERS) or path.suffix == ".lock":
            continue
        if path.suffix == ".db":
            yield from (f"{name} {row}" for row in _rows(path))
        else:
            yield f"{name} {path.read_text(encoding='utf-8')}" if path.suffix == ".json" else name


def _rows(path: Path) -> list[str]:
    """Return what is on record of networks; a database without any is as good as none."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        # SQLite would resolve the way into the host, to a path of this machine's.
        database.deserialize(path.read_bytes())
        return [str(row) for row in database.execute("SELECT record FROM networks")]
