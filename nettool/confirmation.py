"""A run that is taken back unless somebody confirms it: for changes that may cut the caller off.

Before the first step a timer is started outside this process, so that neither a lost connection nor
kill -9 stops it: a unit of systemd where that looks after this very network, else a process in a
session of its own. It runs a script in plain shell (`nettool.renderers.rollback`). Who makes the
folder `claimed` in the run's folder decides what becomes of the run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time

from nettool.errors import NettoolError, NotConfirmed, Refused
from nettool.history import COMMITTED, NOT_CONFIRMED, Timer
from nettool.journal import ENDED, OPEN, read_journal, resume, runs
from nettool.locks import HOST
from nettool.processes import read_process
from nettool.run import find_tools, run, start_detached
from nettool.store.records import prepare_records, write_records
from nettool.store.rundir import run_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from nettool.history import Logged
    from nettool.plan import Plan

AUTOMATIC_SECONDS: Final = 60
"""How long a plan waits that arms the timer by itself."""
_SYSTEMD: Final = "/run/systemd/system"


def check_can_wait(planned: Plan) -> None:
    """Refuse a plan that a timer could not take back, before anything runs. Raises Refused."""
    lost = [step for step in planned.to_do if step.undo is None and not planned.inverse]
    if lost:
        raise Refused(
            f"cannot {planned.title} with a confirmation",
            why=tuple(f"`{' '.join(step.do.words())}` cannot be undone" for step in lost),
            hints=("--confirm-within 0, to apply it without one",),
        )


def arm(name: str, planned: Plan, seconds: int) -> Timer:
    """Start the timer of a run that is about to begin. Raises Refused when that is not possible."""
    from nettool.renderers.rollback import render  # templates are loaded only here

    folder = os.path.abspath(f"{run_folder()}/{OPEN}/{name}")
    script = f"{folder}/rollback.sh"
    lock = os.path.abspath(f"{run_folder()}/{HOST}.lock")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(script, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(render(planned, folder, lock))
        deadline = time.monotonic() + seconds
        if _systemd_is_here():
            return _arm_unit(f"nettool-{name}", script, seconds, deadline)
        pid = start_detached(("/bin/sh", script, str(seconds)), f"{folder}/rollback.log")
    except OSError as error:
        raise Refused("the timer of the confirmation cannot be started", why=(str(error),)) from error
    return Timer(deadline, pid=pid, start_time=read_process(pid).start_time)


def _systemd_is_here() -> bool:
    """Whether systemd works in this network and file system: its units would in those of process 1."""
    if not os.path.isdir(_SYSTEMD) or not find_tools(("systemd-run",)):
        return False
    spaces = ("net", "mnt", "pid")
    try:
        return all(_space("1", space) == _space("self", space) for space in spaces)
    except OSError:
        return False


def _space(process: str, space: str) -> tuple[int, int]:
    found = os.stat(f"/proc/{process}/ns/{space}")
    return found.st_dev, found.st_ino


def _arm_unit(unit: str, script: str, seconds: int, deadline: float) -> Timer:
    # Without an accuracy, systemd may be a minute late.
    when = (f"--on-active={seconds}s", "--timer-property=AccuracySec=100ms")
    result = run(("systemd-run", "--quiet", "--collect", f"--unit={unit}", *when, "/bin/sh", script))
    if not result.ok:
        raise Refused("systemd-run did not take the timer", why=(result.stderr.strip(),))
    return Timer(deadline, unit=unit)


def disarm(logged: str, timer: Timer) -> bool:
    """Stop a run's timer; return whether it had not begun. Call it under the host's lock."""
    try:
        os.mkdir(_claim(logged), 0o700)
        first = True
    except FileExistsError:
        first = False
    except OSError:
        first = True  # a full disk takes no folder; the timer is stopped all the same
    if timer.unit is not None:
        run(("systemctl", "stop", f"{timer.unit}.timer", f"{timer.unit}.service"))
    elif timer.pid is not None and read_process(timer.pid).start_time == timer.start_time:
        with contextlib.suppress(OSError):
            os.killpg(timer.pid, signal.SIGKILL)
    return first


def is_due(logged: Logged) -> bool:
    """Whether a run that waits was taken back, or should have been."""
    timer = logged.timer
    return timer is not None and (os.path.isdir(_claim(logged.id)) or time.monotonic() >= timer.deadline)


def _claim(name: str) -> str:
    return f"{run_folder()}/{OPEN}/{name}/claimed"


def waiting() -> Logged | None:
    """Return the run that waits to be confirmed; there is one at most."""
    found = (read_journal(name) for name in runs(OPEN))
    return next((logged for logged in found if logged is not None and logged.pending), None)


def refuse_while_waiting() -> None:
    """Refuse a change while a run waits: what is built on it would hang in the air. Raises Refused."""
    logged = waiting()
    if logged is not None:
        raise Refused(
            f"run {logged.id} waits to be confirmed: {logged.title}",
            why=(f"it is taken back in {_seconds_left(logged):.0f} s",),
            hints=(f"nettool confirm {logged.id}", f"nettool undo {logged.id}"),
        )


def _seconds_left(logged: Logged) -> float:
    return max(0.0, logged.timer.deadline - time.monotonic()) if logged.timer else 0.0


def confirm(name: str | None) -> Logged:
    """Make a run that waits stay. Call it under the host's lock, after recovery.

    Raises NotConfirmed when the time is over, and Refused when nothing waits or cannot be recorded.
    """
    logged = waiting()
    if logged is None or (name is not None and not logged.id.startswith(name)):
        _say_what_became_of(name)
        raise Refused("no run waits to be confirmed", hints=("nettool history",))
    prepare_records(logged.networks)
    if logged.timer is None or not disarm(logged.id, logged.timer):
        raise not_confirmed(logged)
    try:
        journal = resume(logged.id)
        write_records(logged.changes, logged.networks)
        journal.end(COMMITTED)
    except OSError as error:
        raise Refused(
            f"run {logged.id} cannot be recorded: {logged.title}",
            why=(str(error),),
            host="as the run has left it; no timer takes it back any more",
            hints=("nettool recover, to take it back",),
        ) from error
    return logged


def _say_what_became_of(name: str | None) -> None:
    """Raise NotConfirmed when the run that is meant, or the last one, was too late."""
    ended = [each for each in runs(ENDED) if each.startswith(name or "")]
    logged = read_journal(ended[-1], ENDED) if ended else None
    if logged is not None and logged.end == NOT_CONFIRMED:
        raise not_confirmed(logged)


def not_confirmed(logged: Logged) -> NettoolError:
    """Return the error for a run whose time is over."""
    return NotConfirmed(
        f"run {logged.id} was not confirmed in time: {logged.title}",
        host="as before: the run was taken back",
        hints=("nettool history",),
    )


def outcome(name: str) -> str | None:
    """Return how a run ended, None while it waits; reads one folder only, so it can be asked often."""
    if os.path.isdir(f"{run_folder()}/{OPEN}/{name}"):
        return NOT_CONFIRMED if os.path.isdir(_claim(name)) else None
    logged = read_journal(name, ENDED)
    return logged.end if logged else None
