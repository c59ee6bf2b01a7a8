"""Take back what a killed run left: every run without an end in its journal.

It is called under the host's lock, before anything is changed, and by `nettool recover`. It can
itself be cut off anywhere and called again: what is gone is not undone twice. A run that waits to
be confirmed is left to its timer, and taken back when that is over.
"""

from __future__ import annotations

from nettool.apply import disarm
from nettool.codec import Malformed
from nettool.confirmation import is_due
from nettool.errors import Refused, RollbackIncomplete
from nettool.history import COMMITTED, INCOMPLETE, NOT_CONFIRMED, TAKEN_BACK
from nettool.journal import OPEN, put_away, read_journal, resume, runs
from nettool.pinning import View
from nettool.plan import Status, decide, undo_steps
from nettool.reading import steps_reader
from nettool.rollback import Rollback
from nettool.store.records import put_back_records, write_records
from nettool.store.rundir import boot_id, remove_folder, remove_unfinished, run_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.history import Logged
    from nettool.locks import Locks


def recover(locks: Locks) -> tuple[Logged, ...]:
    """Take back every run that was cut off or not confirmed in time, newest first; return them.

    Raises RollbackIncomplete with what could not be taken back.
    """
    boot = boot_id()
    recovered: list[Logged] = []
    open_runs = runs(OPEN)
    for name in reversed(open_runs):
        try:
            run = _close(name, boot, locks)
        except OSError as error:
            why = (f"{run_folder()}/{OPEN}/{name}: {error}",)
            hints = ("make the disk writable, then: nettool recover",)
            raise Refused(f"run {name} cannot be recovered", why=why, hints=hints) from error
        recovered += [run] if run else []
    if open_runs:
        remove_unfinished()
    return tuple(recovered)


def _close(name: str, boot: str, locks: Locks) -> Logged | None:
    """Bring one run to its end; return it when it was taken back. Raises OSError."""
    run = _read(name)
    if run is None or run.boot_id != boot:
        # Nothing had begun, or the kernel's state went with the boot.
        remove_folder(f"{run_folder()}/{OPEN}/{name}")
        return None
    if run.pending and not is_due(run):
        return None
    if run.verified and run.end is None and not run.pending and _stands(run):
        # All but the records was done: a rollback would undo what the host was shown to have.
        write_records(run.changes, run.networks)
        resume(name).end(COMMITTED)
        return None
    if run.end in (None, INCOMPLETE):
        take_back(run, locks)
        return run
    put_away(name)
    return None


def _stands(run: Logged) -> bool:
    """Whether the host shows what a run has done: a disk that took no line may hide that it was undone."""
    facts = steps_reader(run.sandboxes, run.all_steps)()
    return all(decide(step, facts).status is Status.ALREADY for step in run.ran)


def _read(name: str) -> Logged | None:
    try:
        return read_journal(name)
    except (Malformed, KeyError) as error:
        raise Refused(
            f"the journal of run {name} cannot be read",
            why=(f"{run_folder()}/{OPEN}/{name}: {error}", "it may be from another version of nettool"),
            hints=("nettool recover, with the version that wrote it",),
        ) from error


def take_back(run: Logged, locks: Locks) -> None:
    """Undo what there is of an open run. Raises RollbackIncomplete with what could not be."""
    how = NOT_CONFIRMED if run.pending and is_due(run) else TAKEN_BACK
    if run.timer is not None:
        disarm(run.id, run.timer)
    journal = resume(run.id)
    undo = undo_steps(run.inverse, run.restores, run.ran)
    view = View(run.sandboxes)
    left = Rollback(undo, journal, locks, view).run(steps_reader(run.sandboxes, run.all_steps))
    view.close()
    if run.recorded:
        left += put_back_records(run.changes, run.networks)
    journal.end(INCOMPLETE if left else how)
    if left:
        raise RollbackIncomplete(f"cannot take back what run {run.id} left ({run.title})", why=tuple(left))
