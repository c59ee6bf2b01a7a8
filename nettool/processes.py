"""Read one process: whether it runs, when it started, and which network namespace it has.

A pid alone is no identity, since the kernel gives it out again. Start time and namespace inode
together are one, so both are read through one descriptor of /proc/PID: it stays with the process it
was opened for, and gives errors, never another process's answers, once that one has ended.
"""

from __future__ import annotations

import os

from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from nettool.model import Sandbox

# proc(5), field 3 of stat: Z has ended and waits for its parent, X and x are being removed.
_ENDED: Final = ("Z", "X", "x")
# proc(5): starttime is field 22. What follows the name's last ")" begins with field 3.
_START_TIME: Final = 22 - 3


class ProcessFact(Value):
    """A process: `state` is `running`, `gone` (ended, or never there) or `forbidden` (root may look).

    `inode` is that of its network namespace; a running one has it. `start_time` is in clock ticks
    since boot, and everybody may read it. `detail` is a sentence for the user, empty when running.
    """

    pid: int
    state: str
    inode: int | None = None
    start_time: int | None = None
    detail: str = ""


def read_process(pid: int) -> ProcessFact:
    """Return what a process is at this moment. Never raises."""
    try:
        folder = os.open(f"/proc/{pid}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        # With hidepid (proc(5)) the folders of other users' processes look absent.
        return _forbidden(pid, None) if _is_hidden(pid) else _gone(pid)
    try:
        return _read(pid, folder)
    finally:
        os.close(folder)


def namespace_at(path: str) -> int | None:
    """Return the inode of the namespace that a path leads to, None when it leads nowhere."""
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def place_of(sandbox: Sandbox) -> str | None:
    """Return where a known sandbox can still be entered: its name may keep it after its process."""
    inode = sandbox.netns.inode
    if inode is None:
        return None
    return next((path for path in (sandbox.path, sandbox.netns.path) if namespace_at(path) == inode), None)


def parse_stat(text: str) -> tuple[str, int]:
    """Return the state letter and the start time that a /proc/PID/stat tells.

    The second field is the program's name in brackets, and a program chooses it: it may hold
    brackets, blanks and line ends.
    """
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[_START_TIME])


def _read(pid: int, folder: int) -> ProcessFact:
    start_time = None
    try:
        state, start_time = parse_stat(_read_text("stat", folder))
        if state in _ENDED:
            return _gone(pid)
        inode = os.stat("ns/net", dir_fd=folder).st_ino
    except PermissionError:
        # The kernel says the same of one that ends at this very moment (proc_ns_get_link).
        return _forbidden(pid, start_time) if _is_open(folder) else _gone(pid)
    except OSError:
        return _gone(pid)
    return ProcessFact(pid, "running", inode, start_time)


def _is_open(folder: int) -> bool:
    """Whether the process that a folder of /proc was opened for is there still."""
    try:
        os.stat("stat", dir_fd=folder)
    except OSError:
        return False
    return True


def _read_text(name: str, folder: int) -> str:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(fd, encoding="utf-8", errors="replace") as file:
        return file.read()


def _is_hidden(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _gone(pid: int) -> ProcessFact:
    return ProcessFact(pid, "gone", detail=f"there is no process {pid}")


def _forbidden(pid: int, start_time: int | None) -> ProcessFact:
    detail = f"only root (CAP_SYS_PTRACE) may look at the namespace of process {pid}"
    return ProcessFact(pid, "forbidden", start_time=start_time, detail=detail)
