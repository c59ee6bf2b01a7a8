"""Take steps back, last first: after a failure, a signal, a kill, or a confirmation that never came."""

from __future__ import annotations

import functools
from contextlib import nullcontext

from nettool.effects import (
    Address,
    Bridge,
    Forgotten,
    Inside,
    InterfaceName,
    NetnsFolder,
    NetnsName,
    Port,
    PortSetting,
    Route,
    Sysctl,
    Up,
    VethPair,
)
from nettool.errors import NettoolError
from nettool.fileeffects import File, Folder
from nettool.firewalleffects import Chain, FlowForgotten, Rule
from nettool.parenteffects import Marked, OnParent
from nettool.plan import inverse, is_to_do, needs_sandbox
from nettool.processes import place_of
from nettool.run import Started

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from nettool.facts import Facts
    from nettool.journal import Undoing
    from nettool.locks import Locks
    from nettool.model import Sandbox
    from nettool.pinning import View
    from nettool.plan import Step

LOCKED: Final = "xtables lock"
"""What iptables says, among other words, when it has waited for its lock in vain."""

# What changes nothing else when it comes or goes, and which sysctls of an interface do not either.
_ALONE: Final = (
    Chain, File, FlowForgotten, Folder, Forgotten, Marked, NetnsFolder, NetnsName, PortSetting, Route, Rule,
)  # fmt: skip
# What takes nothing along when it is made again: those behind it are decided beforehand in a plan, too.
_ADDING: Final = (Address, Bridge, Inside, InterfaceName, OnParent, Port, Up, VethPair)
# Their commands wait for the lock of iptables: when it is not to be had, one has waited for all.
_FIREWALL: Final = (Chain, Rule)
_ALONE_SYSCTLS: Final = ("route_localnet", "arp_ignore", "accept_ra")
# How often a step is taken back at most.
_TRIES: Final = 2


class Rollback:
    """The way back of one run: the steps that take it back, each tried only if it is there.

    What somebody put in a step's way may go with a later one: then it has its turn, or a second one. The
    host is read again after each step that may take something along, or that failed, and at the end. When
    the sandboxes go, before or meanwhile, what needs them is left out, and what was already made again for
    them goes.
    """

    def __init__(self, steps: tuple[Step, ...], journal: Undoing, locks: Locks, view: View) -> None:
        self._steps = list(steps)
        self._journal = journal
        self._locks = locks
        self._view = view
        self._tries = [0] * len(steps)
        self._failures: list[str] = []
        self._gone = False
        # Whether somebody keeps the firewall's lock: its steps are not tried again.
        self._locked = False
        # Those that are not tried now: the last one, and all since the host was read.
        self._resting: set[int] = set()
        self._dropped: set[int] = set()

    @property
    def lost(self) -> bool:
        """Whether something could not be made again, since it went with its sandbox."""
        return bool(self._dropped)

    def run(self, read: Callable[[], Facts]) -> list[str]:
        """Take back what ran; return what could not be taken back."""
        if not self._steps:
            return []
        reached, stale, due = 1, False, self._due(read())
        while True:
            self._heed_gone()
            turns = (n for n in range(reached) if self._may_try(n))
            at = next(filter(due, turns), None)
            if at is not None:
                stale = self._take_back(at)
                if not stale:
                    due, self._resting = self._due(read()), {at}
            elif reached < len(self._steps):
                reached += 1
            elif stale:
                due, self._resting, stale = self._due(read()), set(), False
            else:
                return self._left(due)

    def _due(self, facts: Facts) -> Callable[[int], bool]:
        """Return a function that says whether a step is to do on such a host; it looks at each once."""
        return functools.cache(lambda n: is_to_do(self._steps[n], facts))

    def _may_try(self, n: int) -> bool:
        may_again = self._tries[n] < _TRIES and n not in self._resting and n not in self._dropped
        return may_again and not (self._locked and isinstance(self._steps[n].about, _FIREWALL))

    def _take_back(self, n: int) -> bool:
        """Try one step; return whether the host is as it was read, save for the step itself."""
        failed = _try(self._steps[n], self._journal, self._locks, self._view)
        self._failures += failed
        self._locked = self._locked or any(LOCKED in failure for failure in failed)
        self._tries[n] += 1
        self._resting.add(n)
        return not failed and _is_alone(self._steps[n])

    def _heed_gone(self) -> None:
        if self._gone or not _are_gone(self._view.sandboxes):
            return
        self._gone = True
        self._dropped = {n for n, step in enumerate(self._steps) if needs_sandbox(step)}
        made = inverse(self._steps[n] for n in sorted(self._dropped) if self._tries[n])
        self._steps += made
        self._tries += [0] * len(made)

    def _left(self, due: Callable[[int], bool]) -> list[str]:
        wanted = {n: step for n, step in enumerate(self._steps) if n not in self._dropped}
        left = {n: step.makes.sentence() for n, step in wanted.items() if due(n)}
        untried = [sentence for n, sentence in left.items() if not self._tries[n]]
        return ([*self._failures, *untried] or list(left.values())) if left else []


def _is_alone(step: Step) -> bool:
    about = step.about
    return (
        isinstance(about, _ALONE)
        or isinstance(step.makes, _ADDING)
        or (isinstance(about, Sysctl) and about.name.endswith(_ALONE_SYSCTLS))
    )


def _try(step: Step, journal: Undoing, locks: Locks, view: View) -> list[str]:
    journal.undoing(step.makes.key)
    try:
        with view if reaches_in(step) else nullcontext():
            process = Started(step.do.words(), stdin=step.do.stdin, inherited=locks.descriptors)
    except NettoolError as error:
        # Rather left than taken from another sandbox.
        return [f"`{' '.join(step.do.words())}`: {error.what}"]
    result = process.finish()
    return [] if result.ok else [f"`{' '.join(step.do.words())}`: {result.stderr.strip()}"]


def _are_gone(sandboxes: tuple[Sandbox, ...]) -> bool:
    return bool(sandboxes) and not any(s.netns.inode is None or place_of(s) for s in sandboxes)


def reaches_in(step: Step) -> bool:
    """Whether a step's command looks a sandbox's name up; those that give it work on the name itself."""
    return step.touches and not isinstance(step.about, NetnsName)
