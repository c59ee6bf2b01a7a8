"""Read the files that name servers and sandboxes get from nettool, and which of the servers run."""

from __future__ import annotations

import os

from nettool.naming import OF_NAMESPACES
from nettool.store.rundir import run_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

_MOST_BYTES: Final = 65536
_SIGKILL_BIT: Final = 1 << 8


def dns_folder() -> str:
    """Return the folder that name servers read: beside that of this boot's state, and open to all."""
    return f"{run_folder()}-dns"


def read_files() -> dict[str, Any]:
    """Return what Facts keeps of these files: `dns_folder`, `folders`, `files`, `servers`."""
    dns = dns_folder()
    servers = [f"{dns}/servers/{name}" for name in _listed(f"{dns}/servers")]
    of_namespaces = [f"{OF_NAMESPACES}/{name}" for name in _listed(OF_NAMESPACES)]
    folders = [path for path in (f"{dns}/names", *servers, *of_namespaces) if os.path.isdir(path)]
    return {
        "dns_folder": dns,
        "folders": tuple(folders),
        "files": tuple(file for path in (f"{dns}/names", *of_namespaces) for file in _files(path)),
        "servers": tuple(f"{path}/pid" for path in servers if _runs(f"{path}/pid")),
    }


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _files(folder: str) -> Iterator[tuple[str, str]]:
    for name in _listed(folder):
        yield f"{folder}/{name}", _text(f"{folder}/{name}")


def _text(path: str) -> str:
    """Return what a file says; one that is no plain file of text says nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, _MOST_BYTES).decode("utf-8", "backslashreplace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def _runs(pid_file: str) -> bool:
    """Whether the server of that pid file runs: a pid may be another process's by now."""
    pid = _text(pid_file).strip()
    if not (pid.isascii() and pid.isdecimal()):
        return False
    words = _text(f"/proc/{pid}/cmdline").split("\0")
    return f"--pid-file={pid_file}" in words and _lives_on(pid)


def _lives_on(pid: str) -> bool:
    """Whether a process is there and not being killed: it may take a moment to die (proc(5), status)."""
    lines = (line.partition(":") for line in _text(f"/proc/{pid}/status").splitlines())
    pending = [int(value, 16) for name, _, value in lines if name in ("SigPnd", "ShdPnd")]
    return bool(pending) and not any(value & _SIGKILL_BIT for value in pending)
