"""Take steps back, last first: after a failure, a signal, a kill, or a confirmation that never came."""

from __future__ import annotations

from contextlib import nullcontext

from nettool.effects import Forgotten, NetnsFolder, NetnsName, PortSetting, Route, Sysctl
from nettool.errors import NettoolError
from nettool.fileeffects import File, Folder
from nettool.firewalleffects import Chain, FlowForgotten, Rule
from nettool.parenteffects import Marked
from nettool.plan import is_to_do, needs_sandbox
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
# Their commands wait for the lock of iptables: when it is not to be had, one has waited for all.
_FIREWALL: Final = (Chain, Rule)
_ALONE_SYSCTLS: Final = ("route_localnet", "arp_ignore", "accept_ra")
# How often a step is taken back at most.
_TRIES: Final = 2


def roll_back(
    steps: tuple[Step, ...], read: Callable[[], Facts], journal: Undoing, locks: Locks, view: View
) -> list[str]:
    """Take back what ran, each step only if it is there; return what could not be taken back.

    What somebody put in a step's way may go with a later one: then it has its turn, or a second one. The
    host is read again after each step that may take something along, and at the end.
    """
    if not steps:
        return []
    failures: list[str] = []
    tries, reached, facts = [0] * len(steps), 1, read()
    # Those that are not tried now: the last one, and all since the host was read.
    resting: set[int] = set()
    stale = False
    while True:
        locked = _FIREWALL if any(LOCKED in failure for failure in failures) else ()
        turns = (n for n in range(reached) if tries[n] < _TRIES and n not in resting)
        turns = (n for n in turns if not isinstance(steps[n].about, locked))
        at = next((n for n in turns if is_to_do(steps[n], facts)), None)
        if at is not None:
            failed = _take_back(steps[at], journal, locks, view)
            failures += failed
            tries[at] += 1
            resting.add(at)
            stale = not failed and _is_alone(steps[at])
            if not stale:
                facts, resting = read(), {at}
        elif reached < len(steps):
            reached += 1
        elif stale:
            facts, resting, stale = read(), set(), False
        else:
            break
    left = {n: step.makes.sentence() for n, step in enumerate(steps) if is_to_do(step, facts)}
    untried = [sentence for n, sentence in left.items() if not tries[n]]
    return ([*failures, *untried] or list(left.values())) if left else []


def _is_alone(step: Step) -> bool:
    about = step.about
    return isinstance(about, _ALONE) or (isinstance(about, Sysctl) and about.name.endswith(_ALONE_SYSCTLS))


def _take_back(step: Step, journal: Undoing, locks: Locks, view: View) -> list[str]:
    journal.undoing(step.makes.key)
    try:
        with view if reaches_in(step) else nullcontext():
            process = Started(step.do.words(), stdin=step.do.stdin, inherited=locks.descriptors)
    except NettoolError as error:
        # Rather left than taken from another sandbox.
        return [f"`{' '.join(step.do.words())}`: {error.what}"]
    result = process.finish()
    return [] if result.ok else [f"`{' '.join(step.do.words())}`: {result.stderr.strip()}"]


def without_gone(steps: tuple[Step, ...], sandboxes: tuple[Sandbox, ...]) -> tuple[Step, ...]:
    """Leave out what can no longer be made again, where the sandboxes have gone: it went with them."""
    if not sandboxes or any(s.netns.inode is None or place_of(s) for s in sandboxes):
        return steps
    return tuple(step for step in steps if not needs_sandbox(step))


def reaches_in(step: Step) -> bool:
    """Whether a step's command looks a sandbox's name up; those that give it work on the name itself."""
    return step.touches and not isinstance(step.about, NetnsName)
