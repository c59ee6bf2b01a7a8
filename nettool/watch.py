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
import traceback
from contextlib import ExitStack, contextmanager, suppress
from queue import Empty, Queue
from threading import Thread
from typing import TYPE_CHECKING, Final

from nettool.errors import NettoolError, Refused
from nettool.run import environment, search_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from sh import RunningCommand

_LAST_PID: Final = "/proc/sys/kernel/ns_last_pid"
_GRACE_SECONDS: Final = 2.0
_TOGETHER_SECONDS: Final = 0.05


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
def stream(argv: Sequence[str]) -> Iterator[Iterator[str]]:
    """Start a command and give its output line by line as it comes; leaving the block ends it."""
    import sh  # takes longer than most commands do

    program = shutil.which(argv[0], path=search_path())
    if not program:
        raise Refused(f"{argv[0]} is not installed")
    process = sh.Command(program)(
        *argv[1:],
        _bg=True,
        _iter=True,
        _bg_exc=False,
        _new_session=True,
        _tty_out=False,
        _env=environment(),
    )
    try:
        yield (str(line).rstrip("\n") for line in process)
    finally:
        # It may have ended by itself, and how it ends is not what a stream is read for.
        with suppress(ProcessLookupError, sh.ErrorReturnCode):
            process.signal_group(signal.SIGTERM)
            _wait_or_kill(process)


@contextmanager
def follow(commands: Iterable[Sequence[str]]) -> Iterator[Iterator[tuple[tuple[int, str], ...]]]:
    """Start several commands; give what they print as it comes, each line with its command's number.

    Lines that come together are given together. It is over when one of the commands has ended.
    """
    lines: Queue[tuple[int, str] | None] = Queue()

    def read(number: int, printed: Iterator[str]) -> None:
        for line in printed:
            lines.put((number, line))
        lines.put(None)

    with ExitStack() as opened:
        for number, argv in enumerate(commands):
            printed = opened.enter_context(stream(argv))
            Thread(target=read, args=(number, printed), daemon=True).start()
        yield _together(lines)


def _together(lines: Queue[tuple[int, str] | None]) -> Iterator[tuple[tuple[int, str], ...]]:
    while True:
        found = [lines.get()]
        with suppress(Empty):
            while found[-1] is not None:
                found.append(lines.get(timeout=_TOGETHER_SECONDS))
        yield tuple(line for line in found if line is not None)
        if None in found:
            return


def _wait_or_kill(process: RunningCommand) -> None:
    import sh  # see above

    try:
        process.wait(timeout=_GRACE_SECONDS)
    except sh.TimeoutException:
        process.signal_group(signal.SIGKILL)
        process.wait()
