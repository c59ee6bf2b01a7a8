"""Runs of the past as values, and what a later one built on an earlier one. Pure."""

from __future__ import annotations

from nettool.effects import Bridge, NetnsName, Up, VethPair
from nettool.firewalleffects import Chain
from nettool.parenteffects import OnParent, SubInterface
from nettool.plan import Scope
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

    from nettool.model import Sandbox
    from nettool.plan import Change, NetworkChange, Step

COMMITTED: Final = "committed"
TAKEN_BACK: Final = "taken back"
INCOMPLETE: Final = "incomplete"
NOT_CONFIRMED: Final = "not confirmed"


class Timer(Value):
    """What takes a run back unless it is confirmed: a systemd unit, or a process of ours.

    `deadline` is in seconds of the clock that counts from boot (CLOCK_MONOTONIC).
    """

    deadline: float
    unit: str | None = None
    pid: int | None = None
    start_time: int | None = None


class Logged(Value):
    """A transaction as its journal tells: what was planned, how far it came, how it ended."""

    id: str
    title: str
    boot_id: str
    steps: tuple[Step, ...]
    restores: tuple[Step, ...]
    sandboxes: tuple[Sandbox, ...]
    changes: tuple[Change, ...]
    networks: tuple[NetworkChange, ...]
    inverse: bool
    snapshot: str
    undoes: str | None = None
    """The run that this one took back."""
    started: tuple[int, ...] = ()
    """The steps, by their place in `steps`, that may have changed the host."""
    verified: bool = False
    """Whether the host showed what was planned, and the run was not on its way back already."""
    recorded: bool = False
    """Whether its records may have been written."""
    timer: Timer | None = None
    end: str | None = None
    """One of the four ends above, or None for a run that was cut off or waits to be confirmed."""

    @property
    def pending(self) -> bool:
        """Whether it is done and waits to be confirmed."""
        return self.timer is not None and self.verified and self.end is None

    @property
    def all_steps(self) -> tuple[Step, ...]:
        """The steps that were to do, and those that make again what they take away."""
        return (*self.steps, *self.restores)

    @property
    def ran(self) -> tuple[Step, ...]:
        """The steps that may have changed the host."""
        return tuple(self.steps[place] for place in self.started)

    @property
    def milliseconds(self) -> int:
        """When it began, since 1970."""
        return int(self.id.partition("-")[0], 16)


def standing(runs: Iterable[Logged]) -> frozenset[str]:
    """Return the ids of the runs whose effect is there still: done, and not undone since."""
    stand: set[str] = set()
    undone: set[str] = set()
    for run in sorted(runs, key=lambda run: run.id, reverse=True):
        if run.end == COMMITTED and run.id not in undone:
            stand.add(run.id)
            undone |= {run.undoes} if run.undoes else set()
    return frozenset(stand)


def meant(name: str, runs: Iterable[Logged]) -> tuple[Logged, ...]:
    """Return the runs that a word can mean: those whose ids begin with it.

    `last` is the last one that stands; said again, the one before that, and not the undoing itself.
    """
    everything = tuple(runs)
    if name != "last":
        return tuple(run for run in everything if run.id.startswith(name))
    stand = standing(everything)
    return tuple(run for run in everything if run.id in stand and run.undoes is None)[-1:]


def later_work(run: Logged, runs: Iterable[Logged]) -> tuple[tuple[Logged, str], ...]:
    """Return the later runs that work on what this one made, each with one thing they share."""
    everything = tuple(runs)
    stand, mine = standing(everything), frozenset(_made(run.ran))
    root = _root(run, everything)
    found = []
    for other in everything:
        if other.id <= run.id or other.id not in stand or _root(other, everything) == root:
            continue
        shared = mine & frozenset(_used(other.ran))
        if shared:
            found.append((other, " ".join(min(shared)).removeprefix("host ")))
    return tuple(found)


def _root(run: Logged, runs: Iterable[Logged]) -> str:
    """Return the run that a chain of undoing and redoing began with."""
    before = next((other for other in runs if other.id == run.undoes), None)
    return _root(before, runs) if before else run.undoes or run.id


def _made(steps: Iterable[Step]) -> Iterator[tuple[str, ...]]:
    """Yield what steps put on the host: each fact's key, and each object as its place and its name."""
    for step in steps:
        if step.scope is Scope.HOST:
            continue
        fact = step.makes
        yield (fact.key,)
        if isinstance(fact, VethPair):
            yield "host", fact.host_end
        elif isinstance(fact, NetnsName):
            yield "host", fact.netns.name
        elif isinstance(fact, OnParent):
            yield fact.netns.name, fact.name
        elif isinstance(fact, (Bridge, Chain, SubInterface)):
            yield "host", fact.name
        elif isinstance(fact, Up):
            yield fact.netns.name if fact.netns else "host", fact.link


def _used(steps: Iterable[Step]) -> Iterator[tuple[str, ...]]:
    """Yield what steps work on: the keys of their facts, and every word of their commands."""
    for step in steps:
        netns = step.do.netns
        yield (step.makes.key,)
        yield from ((netns.name if netns else "host", word) for word in step.do.argv)
        if netns is not None:
            yield "host", netns.name
