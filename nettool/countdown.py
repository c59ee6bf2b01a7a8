"""Wait on a terminal until a run is confirmed, here or elsewhere, or its time is over."""

from __future__ import annotations

import select
import sys
import time

from nettool import confirmation
from nettool.errors import Interrupted
from nettool.history import COMMITTED, TAKEN_BACK
from nettool.journal import ENDED, OPEN, read_journal
from nettool.locks import HOST, Locks
from nettool.recovery import recover, take_back
from nettool.store.rundir import run_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_TICK_SECONDS: Final = 0.2
_PATIENCE_SECONDS: Final = 2
"""How long after the deadline a timer that does not come is waited for."""
_LOCK_SECONDS: Final = 120


def wait_for_word(name: str, seconds: int) -> None:
    """Wait for the word that keeps a run; without a terminal only say how it is given.

    Raises NotConfirmed when the time is over, and Interrupted after Ctrl-C: both times the run has
    been taken back. When the terminal is lost, the timer does that, unless somebody confirms.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        _say(f"taken back in {seconds} s, unless you say: nettool confirm {name}\n")
        return
    _say(f"Press Enter to keep it, or say elsewhere: nettool confirm {name}\n")
    try:
        _watch(name, time.monotonic() + seconds)
    except KeyboardInterrupt:
        _say("\n")
        _take_back_now(name)
        raise Interrupted(f"run {name} was not confirmed", signal=2, why=("Ctrl-C",)) from None


def _watch(name: str, deadline: float) -> None:
    reading = True
    while (end := confirmation.outcome(name)) is None and time.monotonic() < deadline + _PATIENCE_SECONDS:
        left = max(0, round(deadline - time.monotonic()))
        _say(f"\r  taken back in {left} s ")
        if select.select([sys.stdin] if reading else [], [], [], _TICK_SECONDS)[0]:
            # At the end of the input there is nobody left to press Enter.
            reading = sys.stdin.readline() != ""
            if reading:
                _confirm(name)
    _say("\r" + " " * 30 + "\r")
    if end not in (COMMITTED, TAKEN_BACK):
        _settle(name)
    logged = read_journal(name, ENDED)
    if logged is not None and logged.end != COMMITTED:
        raise confirmation.not_confirmed(logged)
    _say("confirmed\n")


def _confirm(name: str) -> None:
    locks = _lock("confirm")
    try:
        recover(locks)
        confirmation.confirm(name)
    finally:
        locks.release()


def _settle(name: str) -> None:
    """Let the timer's script finish, and see to what it left."""
    locks = _lock(f"recover {name}")
    try:
        recover(locks)
    finally:
        locks.release()


def _take_back_now(name: str) -> None:
    locks = _lock(f"undo {name}")
    try:
        logged = read_journal(name, OPEN)
        if logged is not None:
            take_back(logged, locks)
    finally:
        locks.release()


def _lock(purpose: str) -> Locks:
    locks = Locks(run_folder(), purpose, _LOCK_SECONDS)
    locks.acquire((HOST,))
    return locks


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
