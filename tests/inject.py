"""Makes calls of nettool's own process on its run folder fail: imported in that process, before it begins.

`NETTOOL_INJECT` is CALL:N:ERROR (the N-th call of that name fails), CALL:N:SHORT (it writes half of what
it should), or `any:N+:ERROR` (from the N-th call that writes on, every one fails). `NETTOOL_INJECT_LOG`
is a file that gets a line for each call, for each that was made to fail, and for each command started.
"""

from __future__ import annotations

import builtins
import errno
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = os.environ.get("NETTOOL_RUN_DIR") or "/run/nettool"
CALLS = (
    "open", "mkdir", "posix_fallocate", "pwrite", "write", "fdatasync", "fsync", "ftruncate", "rename",
    "replace", "unlink", "rmdir",
)  # fmt: skip
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT

_wanted, _number, _error = (os.environ.get("NETTOOL_INJECT") or "none:0:EIO").split(":")
_onward = _number.endswith("+")
_seen: Counter[str] = Counter()
_log = os.open(os.environ["NETTOOL_INJECT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
_write = os.write


def note(*words: str) -> None:
    """Write a line into the log."""
    _write(_log, "\037".join(words).encode(errors="surrogateescape") + b"\036")


def is_meant(target: Any, folder: int | None) -> bool:
    """Whether a path, or an open file, is below the run folder."""
    if isinstance(target, int):
        path = os.readlink(f"/proc/self/fd/{target}")
    else:
        path = os.fsdecode(target)
        path = path if folder is None else f"{os.readlink(f'/proc/self/fd/{folder}')}/{path}"
    return f"{path}/".startswith(f"{FOLDER}/")


def strikes(call: str) -> bool:
    """Count a call; whether it is the one that goes wrong. Reading counts as no call that writes."""
    _seen[call] += 1
    if call != "read":
        _seen["any"] += 1
    mine = call == _wanted or (_wanted == "any" and call != "read")
    count, limit = _seen[_wanted], int(_number.rstrip("+"))
    struck = mine and (count >= limit if _onward else count == limit)
    note("fault" if struck else "call", call)
    return struck


def check(call: str) -> None:
    """Count a call, and let it fail when it is its turn."""
    if strikes(call):
        code = getattr(errno, _error)
        raise OSError(code, os.strerror(code))


def wrapped(call: str, real: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of `os` that fails when it is its turn."""

    def function(target: Any, *args: Any, **options: Any) -> Any:
        folder = options.get("dir_fd", options.get("src_dir_fd"))
        if not is_meant(target, folder):
            return real(target, *args, **options)
        if call == "open":
            check("open" if (args or (options["flags"],))[0] & WRITING else "read")
        elif _error != "SHORT":
            check(call)
        elif strikes(call):
            args = (args[0][: len(args[0]) // 2], *args[1:])
        return real(target, *args, **options)

    return function


class Writing:
    """A file open for writing text, the writing of which can fail."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Write some text."""
        check("write")
        written: int = self._file.write(text)
        return written


def wrap_open(real: Callable[..., Any]) -> Callable[..., Any]:
    """Return an `open` that fails, or gives a file that does."""

    def function(target: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if not is_meant(target, None):
            return real(target, mode, *args, **options)
        if not isinstance(target, int):
            check("read" if mode.startswith("r") else "open")
        file = real(target, mode, *args, **options)
        return file if mode.startswith("r") else Writing(file)

    return function


for _name in CALLS:
    _real = getattr(os, _name)
    _new = wrapped(_name, _real)
    if _real in os.supports_dir_fd:
        os.supports_dir_fd.add(_new)
    setattr(os, _name, _new)
builtins.open = wrap_open(builtins.open)
sys.addaudithook(lambda event, args: note("run", *args[1]) if event == "subprocess.Popen" else None)
