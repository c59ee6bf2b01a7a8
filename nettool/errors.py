"""What can go wrong, by who must act, each with its exit status.

Every error answers four questions: what failed, why, what state the host is in, and what to try.
The command line prints them in that form; nothing below it prints.
"""

from __future__ import annotations


class NettoolError(Exception):
    """Something failed, and the host is as it was before (exit 1)."""

    exit_status = 1

    def __init__(
        self, what: str, *, why: tuple[str, ...] = (), host: str = "unchanged", hints: tuple[str, ...] = ()
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.host = host
        self.hints = hints


class UsageError(NettoolError):
    """The request itself is malformed: no host could carry it out (exit 2)."""

    exit_status = 2


class Refused(NettoolError):  # noqa: N818 - "refused" is the field's word for it, and the exit status's
    """The host does not allow the request; nothing ran (exit 4)."""

    exit_status = 4


class TargetNotFound(NettoolError):  # noqa: N818 - reads as what happened
    """No sandbox, or more than one, answers to the target (exit 5)."""

    exit_status = 5


class TargetAbsent(TargetNotFound):
    """Whoever could know a sandbox has answered, and knows of none by that name (exit 5)."""


class LockBusy(NettoolError):  # noqa: N818 - reads as what happened
    """Another run holds a lock for longer than the caller wants to wait (exit 6)."""

    exit_status = 6


class RollbackIncomplete(NettoolError):  # noqa: N818 - reads as what happened
    """The plan failed and could not be taken back in full; what is left is in `why` (exit 8)."""

    exit_status = 8

    def __init__(self, what: str, *, why: tuple[str, ...]) -> None:
        host = "NOT as before: what is above could not be taken back"
        super().__init__(what, why=why, host=host, hints=("nettool recover, when nothing is in its way",))


class NotConfirmed(NettoolError):  # noqa: N818 - reads as what happened
    """Nobody confirmed the run in time; it was taken back (exit 9)."""

    exit_status = 9


class Interrupted(NettoolError):  # noqa: N818 - reads as what happened
    """A signal ended the run; what ran was taken back (exit 128 + signal)."""

    def __init__(self, what: str, *, signal: int, why: tuple[str, ...] = ()) -> None:
        super().__init__(what, why=why, host="as before")
        self.exit_status = 128 + signal
