"""Take back what a killed run left: every run without an end in its journal.

It is called under the host's lock, before anything is changed, and by `nettool recover`. It can
itself be cut off anywhere and called again: what is gone is not undone twice.
"""

from __future__ import annotations

import shutil

from nettool.apply import roll_back, undo_steps
from nettool.codec import Malformed
from nettool.errors import Refused, RollbackIncomplete
from nettool.facts import SandboxFact
from nettool.host import read_facts, read_text
from nettool.journal import ENDED, INCOMPLETE, OPEN, put_away, read_journal, resume, runs
from nettool.store.rundir import run_folder, write_changes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from nettool.facts import Facts
    from nettool.journal import Logged
    from nettool.locks import Locks

KEPT: Final = 50
"""How many ended runs' journals are kept."""


def recover(locks: Locks) -> tuple[Logged, ...]:
    """Take back every run that was cut off, newest first; return them.

    Raises RollbackIncomplete with what could not be taken back.
    """
    boot = read_text("/proc/sys/kernel/random/boot_id").strip()
    recovered = []
    for name in reversed(runs(OPEN)):
        run = _read(name)
        if run is None or run.boot_id != boot:
            # Nothing had begun, or the kernel's state went with the boot.
            shutil.rmtree(f"{run_folder()}/{OPEN}/{name}", ignore_errors=True)
        elif run.verified and run.end is None:
            # All but the records was done: a rollback would undo what the host was shown to have.
            write_changes(run.changes, run.dialect)
            resume(name).end("committed")
        elif run.end in (None, INCOMPLETE):
            _take_back(run, locks)
            recovered.append(run)
        else:
            put_away(name)
    for name in runs(ENDED)[:-KEPT]:
        shutil.rmtree(f"{run_folder()}/{ENDED}/{name}", ignore_errors=True)
    return tuple(recovered)


def _read(name: str) -> Logged | None:
    try:
        return read_journal(name)
    except (Malformed, KeyError) as error:
        raise Refused(
            f"the journal of run {name} cannot be read",
            why=(f"{run_folder()}/{OPEN}/{name}: {error}", "it may be from another version of nettool"),
            hints=("nettool recover, with the version that wrote it",),
        ) from error


def _take_back(run: Logged, locks: Locks) -> None:
    journal = resume(run.id)
    started = tuple(run.steps[k] for k in run.started)
    left = roll_back(undo_steps(run.inverse, run.restores, started), lambda: _facts_of(run), journal, locks)
    journal.end(INCOMPLETE if left else "taken back")
    if left:
        raise RollbackIncomplete(
            f"cannot take back what run {run.id} left ({run.title})",
            why=tuple(left),
            host="NOT as before: what is above could not be taken back",
        )


def _facts_of(run: Logged) -> Facts:
    sandboxes = (
        SandboxFact((sandbox.target,), "running", sandbox.path, sandbox.netns.inode)
        for sandbox in run.sandboxes
    )
    return read_facts(sandboxes, with_ipv6=True)
