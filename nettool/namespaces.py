"""Namespaces by system call, and what a process in one has to do: what Python 3.11 has no name for.

See unshare(2), setns(2), mount(2) and prctl(2). The C library is loaded when it is first called: 3 ms.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import contextmanager, suppress

from nettool.errors import NettoolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, Final, NoReturn

# From the kernel's include/uapi/linux: sched.h, mount.h and prctl.h.
NEWNS: Final = 0x00020000
NEWUTS: Final = 0x04000000
NEWIPC: Final = 0x08000000
NEWUSER: Final = 0x10000000
NEWPID: Final = 0x20000000
NEWNET: Final = 0x40000000
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
SET_NAME: Final = 15
_OWN_NETWORK: Final = "/proc/thread-self/ns/net"
_SET_PARENT_DEATH_SIGNAL: Final = 1


class CannotRun(NettoolError):  # noqa: N818 - reads as what happened
    """A command cannot be started (exit 127, as from `env` and shells)."""

    exit_status = 127


def call(name: str, *arguments: Any) -> None:
    """Call a function of the C library that returns 0 for success. Raises OSError."""
    import ctypes  # 3 ms, for those who need it

    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def unshare(namespaces: int) -> None:
    """Leave namespaces for new ones. Raises OSError."""
    call("unshare", namespaces)


def set_namespace(path: str) -> None:
    """Go into the namespace at a path. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        call("setns", file, 0)
    finally:
        os.close(file)


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Have this thread, and what it starts meanwhile, in an open network namespace. Raises OSError."""
    own = os.open(_OWN_NETWORK, os.O_RDONLY | os.O_CLOEXEC)
    try:
        call("setns", namespace, NEWNET)
        yield
    finally:
        _return_to(own)
        os.close(own)


def _return_to(own: int) -> None:
    """Go back into a namespace; for who was not let into another, there is no need to."""
    try:
        call("setns", own, NEWNET)
    except OSError:
        if not os.path.samestat(os.stat(_OWN_NETWORK), os.fstat(own)):
            # Whatever came next would be done to a sandbox. The next run takes back what this one began.
            os._exit(1)


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    """Mount a file system, or change how one is mounted. Raises OSError."""
    words = (None if word is None else os.fsencode(word) for word in (source, target, kind))
    call("mount", *words, flags, None if data is None else os.fsencode(data))


def die_with(parent: int) -> None:
    """Let this process end when its parent does; `parent` is a pidfd of that one.

    The parent may have ended before the request was made: a pidfd is readable once its process has.
    """
    call("prctl", _SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if select.select([parent], [], [], 0)[0]:
        os._exit(1)
    os.close(parent)


def become(argv: Sequence[str], variables: Mapping[str, str]) -> NoReturn:
    """Become a command, found on the PATH of its variables. Raises CannotRun."""
    # Python ignores these two; a command expects what the shell would have given it.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvpe(argv[0], list(argv), variables)  # noqa: S606 - argv is the caller's command, no shell
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise CannotRun(f"cannot run {argv[0]!r}", why=(str(why),)) from error


def reap_until(command: int) -> int:
    """Wait for a command as a first process must: taking in every process that lost its parent."""
    while True:
        pid, status = os.wait()
        if pid == command:
            return exit_status(status)


def exit_status(status: int) -> int:
    """Return what a shell makes of a wait status: 128 and the signal's number for a killed process."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def take_terminal(group: int) -> None:
    """Make a process group the foreground one of this process's terminal, if there is a terminal."""
    with suppress(OSError):
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        # A process that is not in the foreground is stopped for this, unless it ignores the signal.
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        try:
            os.tcsetpgrp(terminal, group)
        finally:
            signal.signal(signal.SIGTTOU, before)
            os.close(terminal)
