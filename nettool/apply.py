"""Carry out a plan: the one place that executes, verifies, records, and takes back what failed."""

from __future__ import annotations

import os
import re
import signal

from nettool.errors import Interrupted, NettoolError, Refused, RollbackIncomplete
from nettool.host import NETNS_FOLDER, read_facts
from nettool.model import Inside, VethPair
from nettool.plan import Status, decide, inverse
from nettool.processes import read_process
from nettool.run import Started, run
from nettool.store.rundir import prepare, write_changes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import FrameType
    from typing import Final

    from nettool.facts import Facts
    from nettool.model import Sandbox
    from nettool.plan import Plan, Step

# To move an interface into another namespace the kernel waits for all its readers: 10 to 20 ms.
_SLOW: Final = (Inside, VethPair)
_BATCH_FAILED: Final = r"Command failed -:(\d+)"
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _StepFailed(Exception):  # noqa: N818 - it never leaves this module
    """A step did not do what it should."""


class _Transaction:
    """One run of a plan. `started` are the steps that may have changed the host."""

    def __init__(self, plan: Plan, read: Callable[[], Facts]) -> None:
        self.plan = plan
        self.read = read
        self.started: list[Step] = []
        self.signal: int | None = None


def apply(plan: Plan, read: Callable[[], Facts]) -> None:
    """Run what is to do, verify by reading the host again, and record it.

    On any failure, and on SIGINT, SIGTERM or SIGHUP, what ran is undone, last first. Raises
    NettoolError when the host is as before, Interrupted after a signal, and RollbackIncomplete with
    what is left.
    """
    prepare()
    transaction = _Transaction(plan, read)
    restore = _catch_signals(transaction)
    try:
        _run_all(transaction)
        _verify(plan, read())
        write_changes(plan.changes, plan.dialect)
    except (_StepFailed, NettoolError, OSError) as failure:
        left = _roll_back(transaction)
        raise _explain(transaction, str(failure), left) from failure
    finally:
        restore()


def _run_all(transaction: _Transaction) -> None:
    for steps in batches(transaction.plan.to_do):
        if any(step.touches for step in steps):
            _check_identity(transaction.plan.sandboxes)
        _heed_signal(transaction)
        transaction.started += steps
        _execute(steps)
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


def _execute(steps: tuple[Step, ...]) -> None:
    batch = steps[0].do.batch() if len(steps) > 1 else None
    lines = "".join(f"{' '.join(step.do.argv[1:])}\n" for step in steps) if batch else None
    process = Started(batch or steps[0].do.words(), stdin=lines)
    if any(step.touches and isinstance(step.makes, _SLOW) for step in steps):
        _load_what_follows()
    result = process.finish()
    if not result.ok:
        at = min(_failed_line(result.stderr), len(steps) - 1) if batch else 0
        said = re.sub(_BATCH_FAILED, "", result.stderr).strip() or result.stdout.strip() or "no message"
        words = " ".join(steps[at].do.words())
        raise _StepFailed(f"`{words}` ended with status {result.status}: {said}")


def _load_what_follows() -> None:
    """Import what the rest of the run needs, while the kernel works."""
    import _socket
    import json

    import nettool.render

    del _socket, json, nettool


def _failed_line(stderr: str) -> int:
    """Return which line of a batch failed, from 0: `ip` says `Command failed -:3`."""
    found = re.search(_BATCH_FAILED, stderr)
    return int(found[1]) - 1 if found else 0


def _check_identity(sandboxes: Iterable[Sandbox]) -> None:
    """Make sure that each sandbox still is the one that was planned for.

    A pid can be given to another process, and a name to another namespace, between two steps.
    """
    for sandbox in sandboxes:
        if sandbox.pid is not None and sandbox.start_time is not None:
            process = read_process(sandbox.pid)
            inode, same_process = process.inode, process.start_time == sandbox.start_time
        else:
            inode, same_process = _inode(sandbox.path), True
        if inode != sandbox.netns.inode or not same_process:
            raise _StepFailed(
                f"{sandbox.target} is no longer the sandbox that was planned for "
                f"(net:[{sandbox.netns.inode}] then, net:[{inode}] now)"
            )
        named = _inode(f"{NETNS_FOLDER}/{sandbox.netns.name}")
        if named not in (None, sandbox.netns.inode):
            raise _StepFailed(
                f"{NETNS_FOLDER}/{sandbox.netns.name} leads to another namespace by now "
                f"(net:[{sandbox.netns.inode}] then, net:[{named}] now)"
            )


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def _verify(plan: Plan, facts: Facts) -> None:
    wrong = [d for d in plan.against(facts).decisions if d.status is not Status.ALREADY]
    if wrong:
        said = "; ".join(f"{d.step.makes.sentence()}: {d.found or 'not so'}" for d in wrong)
        raise _StepFailed(f"the host does not show what was done: {said}")


def _roll_back(transaction: _Transaction) -> list[str]:
    """Take back what ran; return what could not be taken back.

    A plan that was an inverse itself is taken back by the whole procedure that it inverted: what
    went with another step has no step of its own here.
    """
    plan = transaction.plan
    steps = plan.restores if plan.inverse else inverse(transaction.started)
    failures: list[str] = []
    for step in steps if transaction.started else ():
        if decide(step, _read_again(transaction)).status is not Status.TODO:
            continue
        result = run(step.do.words())
        if not result.ok:
            failures.append(f"`{' '.join(step.do.words())}`: {result.stderr.strip()}")
    facts = _read_again(transaction)
    left = [step for step in steps if decide(step, facts).status is Status.TODO]
    return (failures or [step.makes.sentence() for step in left]) if left else []


def _read_again(transaction: _Transaction) -> Facts:
    """Read the host in the middle of a rollback, when the sandbox may be gone already."""
    try:
        return transaction.read()
    except NettoolError:
        return read_facts()


def _explain(transaction: _Transaction, failure: str, left: list[str]) -> NettoolError:
    what = f"cannot {transaction.plan.title}"
    if left:
        return RollbackIncomplete(
            what, why=(failure, *left), host="NOT as before: what is above could not be taken back"
        )
    if transaction.signal is not None:
        return Interrupted(what, signal=transaction.signal, why=(failure,))
    host = "as before: what ran was taken back" if transaction.started else "unchanged"
    error = NettoolError if transaction.started else Refused
    return error(what, why=(failure,), host=host)


def _catch_signals(transaction: _Transaction) -> Callable[[], None]:
    """Note signals instead of dying of them; return what puts the former handlers back."""

    def note(number: int, _frame: FrameType | None) -> None:
        transaction.signal = number

    before = {number: signal.signal(number, note) for number in _SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    return restore
