"""Start processes that live on: copies of this one, and commands whose output is a stream.

With `nettool.run`, which has the short commands, the only module that starts a process. A fork
needs no second interpreter, so the lab is up in the time one start takes. The streams are run by
`sh`, which is imported when the first one starts: the import costs more than the rest of a command.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import traceback
from contextlib import contextmanager, suppress
from queue import Empty, Queue
from threading import Event, Thread
from typing import TYPE_CHECKING, Final

from nettool.errors import NettoolError, Refused
from nettool.run import environment, search_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sh import RunningCommand

_LAST_PID: Final = "/proc/sys/kernel/ns_last_pid"
_GRACE_SECONDS: Final = 2.0
_TOGETHER_SECONDS: Final = 0.05
_AGAIN_SECONDS: Final = 3.0


def fork() -> int:
    """Split this process in two: return the new one's pid here, and 0 there."""
    # What is still in a buffer would be written by both.
    sys.stdout.flush()
    sys.stderr.flush()
    return os.fork()


def fork_as(pid: int, work: Callable[[], None]) -> None:
    """Start a copy of this process with that very pid, which does `work` and ends."""
    _count_on_from(pid - 1)
    child = 0
    while child < pid:
        child = fork()
        if child == 0:
            os._exit(_status_of(work) if os.getpid() == pid else 0)
        if child != pid:
            os.waitpid(child, 0)
    if child > pid:
        raise NettoolError(f"cannot start a process as pid {pid}", why=(f"the next free pid is {child}",))


def _count_on_from(pid: int) -> None:
    # A kernel without CONFIG_CHECKPOINT_RESTORE has no such file: then forking counts the pids up.
    with suppress(OSError), open(_LAST_PID, "w", encoding="ascii") as last_pid:
        last_pid.write(str(pid))


def _status_of(work: Callable[[], None]) -> int:
    try:
        work()
    except BaseException:  # noqa: BLE001 - the copy must end here, and not go on in the caller's code
        traceback.print_exc()
        return 1
    return 0


@contextmanager
def stream(argv: Sequence[str], ended: Event | None = None) -> Iterator[Iterator[str]]:
    """Start a command and give its output line by line as it comes; leaving the block ends it.

    The lines are over when the command has ended, or `ended` is set by another thread.
    """
    import sh  # takes longer than most commands do

    program = shutil.which(argv[0], path=search_path())
    if not program:
        raise Refused(f"{argv[0]} is not installed")
    process = sh.Command(program)(
        *argv[1:],
        _bg=True,
        _iter_noblock=True,
        _bg_exc=False,
        _new_session=True,
        _tty_out=False,
        _env=environment(),
    )
    try:
        yield _lines(process, ended)
    finally:
        # It may have ended by itself.
        with suppress(ProcessLookupError, sh.ErrorReturnCode):
            process.signal_group(signal.SIGTERM)
            _wait_or_kill(process)


def _lines(process: RunningCommand, ended: Event | None) -> Iterator[str]:
    import sh  # see above

    # How it ends is not what a stream is read for.
    with suppress(sh.ErrorReturnCode):
        for line in process:
            # Every tenth of a second without a line gives a number (EWOULDBLOCK).
            if isinstance(line, str):
                yield line.rstrip("\n")
            elif ended is not None and ended.is_set():
                return


@contextmanager
def follow(commands: Iterable[Sequence[str]]) -> Iterator[Iterator[tuple[tuple[int, str], ...]]]:
    """Start several commands; give what they print as it comes, each line with its command's number.

    Lines that come together are given together. One that ends is started again after some seconds, and
    an empty line says so: what it would have said meanwhile is lost.
    """
    lines: Queue[tuple[int, str]] = Queue()
    ended = Event()

    def read(number: int, argv: Sequence[str]) -> None:
        while not ended.is_set():
            began = time.monotonic()
            with stream(argv, ended) as printed:
                for line in printed:
                    lines.put((number, line))
            if time.monotonic() - began > _AGAIN_SECONDS:
                lines.put((number, ""))
            ended.wait(_AGAIN_SECONDS)

    readers = [Thread(target=read, args=each, daemon=True) for each in enumerate(commands)]
    for reader in readers:
        reader.start()
    try:
        yield _together(lines)
    finally:
        ended.set()
        for reader in readers:
            reader.join()


def _together(lines: Queue[tuple[int, str]]) -> Iterator[tuple[tuple[int, str], ...]]:
    while True:
        found = [lines.get()]
        with suppress(Empty):
            while True:
                found.append(lines.get(timeout=_TOGETHER_SECONDS))
        yield tuple(found)


def _wait_or_kill(process: RunningCommand) -> None:
    import sh  # see above

    try:
        process.wait(timeout=_GRACE_SECONDS)
    except sh.TimeoutException:
        process.signal_group(signal.SIGKILL)
        process.wait()
