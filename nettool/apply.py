"""Carry out a plan: the one place that executes, verifies, records, and takes back what failed."""

from __future__ import annotations

import re
import signal
from contextlib import nullcontext

from nettool.effects import (
    Gone,
    Inside,
    VethPair,
)
from nettool.errors import Interrupted, LockBusy, NettoolError, Refused, RollbackIncomplete
from nettool.fingerprint import fingerprint
from nettool.firewalleffects import FlowForgotten
from nettool.history import COMMITTED, INCOMPLETE, TAKEN_BACK
from nettool.journal import begin
from nettool.parenteffects import OnParent
from nettool.patience import look_again
from nettool.pinning import View
from nettool.plan import Status, decide, undo_steps
from nettool.processes import namespace_at, read_process
from nettool.reading import steps_reader
from nettool.rollback import LOCKED, Rollback, reaches_in
from nettool.run import Started
from nettool.store.records import prepare_records, put_back_records, write_records

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType
    from typing import Final

    from nettool.facts import Facts
    from nettool.history import Timer
    from nettool.journal import Journal
    from nettool.locks import Locks
    from nettool.plan import Decision, Plan, Step

# To move an interface into another namespace the kernel waits for all its readers: 10 to 20 ms.
_SLOW: Final = (Inside, VethPair, OnParent)
# Statuses from here on mean that a command was cut off: what it did is not known.
_KILLED: Final = 124
_BATCH_FAILED: Final = r"Command failed -:(\d+)"
# What ip, sysctl, conntrack and both variants of iptables say of what is not there; a link that is no
# bridge port any more does not support a port's settings.
_MISSING: Final = re.compile(
    "Cannot find device|No such device|No such file or directory|does a matching rule exist"
    "|No chain/target/match|does not exist|Operation not supported| 0 flow entries have been deleted"
)
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _StepFailed(Exception):  # noqa: N818 - it never leaves this module
    """A step did not do what it should."""


class _Transaction:
    """One run of a plan. `started` are the places in `to_do` that may have changed the host."""

    def __init__(self, plan: Plan, read: Callable[[], Facts], journal: Journal, locks: Locks) -> None:
        self.plan = plan
        self.to_do = plan.to_do
        self.read = read
        self.journal = journal
        self.locks = locks
        self.view = View(plan.sandboxes)
        self.started: list[int] = []
        self.ran = False
        self.busy = False
        # The host as a rollback has read it last.
        self.seen: Facts | None = None
        self.recorded = False
        # Whether the sandbox has gone meanwhile, with what a rollback would have made again.
        self.lost = False
        self.signal: int | None = None


def apply(plan: Plan, facts: Facts, read: Callable[[], Facts], locks: Locks, wait: int = 0) -> str:
    """Run what is to do, verify by reading the host again, and record it; return the run's id.

    With `wait` the run is taken back after so many seconds, unless it is confirmed: it is recorded
    only then. On any failure, and on SIGINT, SIGTERM or SIGHUP, what ran is undone, last first.
    Raises NettoolError when the host is as before, Interrupted after a signal, and
    RollbackIncomplete with what is left. A run that is killed is taken back by `nettool.recovery`,
    from its journal.
    """
    prepare_records(plan.networks)
    journal = begin(plan, facts)
    timer = _arm(plan, journal, wait) if wait else None
    transaction = _Transaction(plan, read, journal, locks)
    restore = _catch_signals(transaction)
    try:
        _run_all(transaction)
        _verify(plan, read)
        journal.verified()
        if timer is None:
            transaction.recorded = True
            write_records(plan.changes, plan.networks)
            journal.end(COMMITTED)
        else:
            journal.close()
    except (_StepFailed, NettoolError, OSError) as failure:
        if timer is not None:
            disarm(journal.id, timer)
        transaction.seen = None
        # First of all, since they say what of the host has to be read.
        unwritten = put_back_records(plan.changes, plan.networks) if transaction.recorded else []
        steps = tuple(transaction.to_do[k] for k in transaction.started)
        undo = undo_steps(plan.inverse, plan.restores, steps)
        rollback = Rollback(undo, journal, locks, transaction.view)
        left = rollback.run(lambda: _read_again(transaction)) + unwritten
        transaction.lost = rollback.lost
        journal.end(INCOMPLETE if left else TAKEN_BACK)
        raise _explain(transaction, str(failure), left, before=fingerprint(facts)) from failure
    finally:
        transaction.view.close()
        restore()
    return journal.id


def _arm(plan: Plan, journal: Journal, seconds: int) -> Timer:
    """Start the timer before the first step. Raises Refused, with nothing left of the run."""
    from nettool.confirmation import arm  # most runs wait for nobody

    try:
        timer = arm(journal.id, plan, seconds)
    except Refused:
        journal.end(TAKEN_BACK)
        raise
    try:
        journal.armed(timer)
    except OSError as error:
        disarm(journal.id, timer)
        journal.end(TAKEN_BACK)
        raise Refused("the journal of this run cannot be written", why=(str(error),)) from error
    return timer


def disarm(run_id: str, timer: Timer) -> None:
    """Stop the timer of a run that is taken back here."""
    from nettool.confirmation import disarm as stop

    stop(run_id, timer)


def _run_all(transaction: _Transaction) -> None:
    at = 0
    for steps in batches(transaction.to_do):
        places = range(at, at + len(steps))
        at += len(steps)
        if any(step.touches for step in steps):
            _check_identity(transaction.plan)
        _heed_signal(transaction)
        transaction.journal.intend(places)
        transaction.ran = True
        transaction.started += places
        _execute(steps, places, transaction)
        transaction.journal.done(places)
    _heed_signal(transaction)


def _heed_signal(transaction: _Transaction) -> None:
    if transaction.signal is not None:
        raise _StepFailed(f"signal {signal.Signals(transaction.signal).name}")


def batches(steps: Iterable[Step]) -> Iterator[tuple[Step, ...]]:
    """Group neighbouring `ip` commands of one namespace: one process runs them, line by line.

    By hand each is a process of its own; together they take half the time. Within a namespace the
    process stays in it. A command of the host that names a namespace is not grouped with what is
    before it: the name is looked at right before it is used.
    """
    group: list[Step] = []
    for step in steps:
        names_it = step.touches and step.do.netns is None
        if group and (names_it or step.do.batch() is None or step.do.batch() != group[0].do.batch()):
            yield tuple(group)
            group = []
        group.append(step)
    if group:
        yield tuple(group)


def _execute(steps: tuple[Step, ...], places: range, transaction: _Transaction) -> None:
    batch = steps[0].do.batch() if len(steps) > 1 else None
    lines = "".join(f"{' '.join(step.do.argv[1:])}\n" for step in steps) if batch else steps[0].do.stdin
    held = transaction.locks.descriptors
    with transaction.view if any(map(reaches_in, steps)) else nullcontext():
        process = Started(batch or steps[0].do.words(), stdin=lines, inherited=held)
    _load_what_follows(steps)
    result = process.finish()
    if result.ok:
        return
    at = min(_failed_line(result.stderr), len(steps) - 1) if batch else 0
    if _was_gone(steps[at], result.stderr, transaction):
        if steps[at + 1 :]:
            _execute(steps[at + 1 :], places[at + 1 :], transaction)
        return
    if result.status < _KILLED:
        # Those behind it never ran. It may have changed something before it failed, unless it says
        # that what it should make is there: then somebody else has made it meanwhile.
        not_run = places[at if "File exists" in result.stderr else at + 1 :]
        transaction.journal.failed(not_run)
        transaction.started = [k for k in transaction.started if k not in not_run]
    said = re.sub(_BATCH_FAILED, "", result.stderr).strip() or result.stdout.strip() or "no message"
    transaction.busy = LOCKED in said
    raise _StepFailed(f"`{' '.join(steps[at].do.words())}` ended with status {result.status}: {said}")


def _was_gone(step: Step, said: str, transaction: _Transaction) -> bool:
    """Whether a step failed since what it should take away had gone: a sandbox takes its cable along."""
    if _MISSING.search(said) is None or not isinstance(step.makes, (Gone, FlowForgotten)):
        return False
    return decide(step, _read_again(transaction)).status is Status.ALREADY


def _load_what_follows(steps: tuple[Step, ...]) -> None:
    """Import what the rest of the run needs, while the kernel works on these steps."""
    if any(isinstance(step.makes, VethPair) for step in steps):
        import ctypes  # the view into the sandbox needs it

        del ctypes
    if any(step.touches and isinstance(step.makes, _SLOW) for step in steps):
        import _socket
        import json

        import nettool.render

        del _socket, json, nettool


def _failed_line(stderr: str) -> int:
    """Return which line of a batch failed, from 0: `ip` says `Command failed -:3`."""
    found = re.search(_BATCH_FAILED, stderr)
    return int(found[1]) - 1 if found else 0


def _check_identity(plan: Plan) -> None:
    """Make sure that each sandbox still is the one that was planned for.

    A pid can be given to another process, and a name to another namespace, between two steps. A
    detachment goes on when the sandbox is gone: that is what it was about.
    """
    for sandbox in plan.sandboxes:
        if sandbox.pid is not None and sandbox.start_time is not None:
            process = read_process(sandbox.pid)
            inode, same_process = process.inode, process.start_time == sandbox.start_time
        else:
            inode, same_process = namespace_at(sandbox.path), True
        gone = inode is None and plan.inverse
        if not gone and (inode != sandbox.netns.inode or not same_process):
            raise _StepFailed(
                f"{sandbox.target} is no longer the sandbox that was planned for "
                f"(net:[{sandbox.netns.inode}] then, net:[{inode}] now)"
            )
        named = namespace_at(sandbox.netns.path)
        if named not in (None, sandbox.netns.inode):
            raise _StepFailed(
                f"{sandbox.netns.path} leads to another namespace by now "
                f"(net:[{sandbox.netns.inode}] then, net:[{named}] now)"
            )


def _verify(plan: Plan, read: Callable[[], Facts]) -> None:
    """Hold the plan against the host as it is now. Somebody may be in a dead sandbox for an instant."""

    def look() -> list[Decision]:
        return [d for d in plan.against(read()).decisions if d.status is not Status.ALREADY]

    wrong = look_again(look, until=lambda found: not found)
    if wrong:
        said = "; ".join(f"{d.step.makes.sentence()}: {d.found or 'not so'}" for d in wrong)
        raise _StepFailed(f"the host does not show what was done: {said}")


def _read_again(transaction: _Transaction) -> Facts:
    """Read the host in the middle of a rollback, when the sandbox may be gone already."""
    try:
        transaction.seen = transaction.read()
    except NettoolError:
        plan = transaction.plan
        transaction.seen = steps_reader(plan.sandboxes, (*plan.steps, *plan.restores))()
    return transaction.seen


def _explain(transaction: _Transaction, failure: str, left: list[str], *, before: str) -> NettoolError:
    what = f"cannot {transaction.plan.title}"
    if left:
        return RollbackIncomplete(what, why=(failure, *left))
    if transaction.signal is not None:
        return Interrupted(what, signal=transaction.signal, why=(failure,))
    # A rollback ends with a look at the host.
    after = fingerprint(transaction.seen or _read_again(transaction))
    if transaction.ran:
        gone = ", save for what has gone with the sandbox" if transaction.lost else ""
        host = f"as before{gone}: what ran was taken back (before {before}, after {after})"
        error = LockBusy if transaction.busy else NettoolError
        return error(what, why=(failure,), host=host)
    return Refused(what, why=(failure,))


def _catch_signals(transaction: _Transaction) -> Callable[[], None]:
    """Note signals instead of dying of them; return what puts the former handlers back.

    A caller's own handler is told as well: one that comes too late to be heeded here is not lost.
    """

    def note(number: int, frame: FrameType | None) -> None:
        transaction.signal = number
        earlier = before[signal.Signals(number)]
        if callable(earlier) and earlier is not signal.default_int_handler:
            earlier(number, frame)

    before = {number: signal.signal(number, note) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore
