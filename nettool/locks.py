"""Locks: one for the host, one a network namespace, so that two runs never change the same thing.

They are flock(2) locks on files in the run folder: the kernel lets go of them when the last process
that has the descriptor ends. The commands of a plan inherit it, so that a run that is killed keeps
its lock until its last command is through, and recovery waits for that.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time

from nettool.errors import LockBusy, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

HOST: Final = "host"
DEFAULT_TIMEOUT_SECONDS: Final = 10
_POLL_SECONDS: Final = 0.02


def namespace_lock(inode: int) -> str:
    """Return the name of a network namespace's lock."""
    return f"netns-{inode}"


class Locks:
    """Locks that are held; `descriptors` are what a plan's commands inherit."""

    def __init__(self, folder: str, purpose: str, timeout: float = DEFAULT_TIMEOUT_SECONDS) -> None:
        self._folder = folder
        self._purpose = purpose
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._held: dict[str, int] = {}

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The open files that hold the locks."""
        return tuple(self._held.values())

    def acquire(self, names: Iterable[str]) -> None:
        """Take locks, in order. Raises LockBusy, which names the holder, when the time is up."""
        for name in sorted(set(names) - set(self._held)):
            self._held[name] = self._acquire(f"{self._folder}/{name}.lock")

    def release(self) -> None:
        """Let go of every lock; a command that is still running keeps them."""
        for fd in self._held.values():
            os.close(fd)
        self._held.clear()

    def _acquire(self, path: str) -> int:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Refused("the lock of this host cannot be taken", why=(str(error),)) from error
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= self._deadline:
                    holder = os.pread(fd, 200, 0).decode(errors="replace").strip()
                    os.close(fd)
                    raise LockBusy(
                        "another nettool is at work on this host",
                        why=(f"{holder or 'unknown'} holds {path}; waited {self._timeout:g} s",),
                        hints=("--lock-timeout SECONDS to wait longer",),
                    ) from None
                time.sleep(_POLL_SECONDS)
            else:
                # Who holds it is a kindness to those who wait; a full disk takes no more.
                with contextlib.suppress(OSError):
                    os.ftruncate(fd, 0)
                    os.pwrite(fd, f"pid {os.getpid()}, {self._purpose}\n".encode(), 0)
                return fd
