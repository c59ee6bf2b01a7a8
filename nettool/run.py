"""Start short commands: with `nettool.watch` the only module that starts a process.

Every command is an argv tuple, run without a shell, with a fixed environment (so that output is
never localised), closed standard input unless given, and a bounded time.
"""

from __future__ import annotations

import functools
import os
import subprocess

from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Final

TIMEOUT_SECONDS: Final = 30.0

# sbin is missing from the PATH of an ordinary user, and of root under some sudo and cron settings.
_SBIN: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")
# What reaches a child: the rest of the caller's environment could change what a tool prints or does.
_PASSED_ON: Final = ("HOME", "DOCKER_HOST", "DOCKER_CONFIG", "CONTAINER_HOST", "CONTAINERS_CONF",
                     "CONTAINERS_STORAGE_CONF", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "CONTAINERD_ADDRESS",
                     "CONTAINER_RUNTIME_ENDPOINT", "LXC_PATH")  # fmt: skip


class Result(Value):
    """How a command ended: its exit status (128 + signal when killed), and what it wrote."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether the exit status is 0; `ip` may write to stderr and still succeed."""
        return self.status == 0


class Started:
    """A command under way; `finish` waits for it. Several may run side by side."""

    def __init__(
        self, argv: Sequence[str], *, stdin: str | None = None, inherited: Sequence[int] = ()
    ) -> None:
        self.argv = tuple(argv)
        self._stdin = stdin
        self._process: subprocess.Popen[str] | None = None
        self._failure = ""
        try:
            self._process = subprocess.Popen(
                self.argv,
                # Popen would make a list of every folder of the PATH, for each command.
                executable=_place_of(self.argv[0], search_path()),
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                errors="surrogateescape",
                env=environment(),
                # A Ctrl-C is for nettool alone: it lets the step end, then takes it back.
                process_group=0,
                # What a step writes is for name servers and containers to read.
                umask=0o022,
                pass_fds=inherited,
            )
        except OSError as error:
            self._failure = f"{self.argv[0]}: {error.strerror}"

    def finish(self, timeout: float = TIMEOUT_SECONDS) -> Result:
        """Wait for the end; a command that could not be started ends with status 127."""
        if self._process is None:
            return Result(self.argv, 127, "", self._failure)
        try:
            stdout, stderr = self._process.communicate(self._stdin, timeout=timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            stdout, stderr = self._process.communicate()
            return Result(self.argv, 124, stdout, f"{stderr}\ngave no answer within {timeout:g} s")
        status = self._process.returncode
        return Result(self.argv, status if status >= 0 else 128 - status, stdout, stderr)


def run(
    argv: Sequence[str],
    *,
    stdin: str | None = None,
    timeout: float = TIMEOUT_SECONDS,
    inherited: Sequence[int] = (),
) -> Result:
    """Run one command to its end. Never raises for what the command does.

    `inherited` are open files that the command keeps open: locks that outlive a caller who dies.
    """
    return Started(argv, stdin=stdin, inherited=inherited).finish(timeout)


def start_detached(argv: Sequence[str], log: str) -> int:
    """Start a command in a session of its own, which outlives this process; return its pid.

    What it says goes to the file `log`. Raises OSError when it cannot be started.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    output = os.open(log, flags, 0o600)
    try:
        process = subprocess.Popen(
            tuple(argv), stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/",
            env=environment(), start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(output)
    # Nobody waits for it: without this, Python warns when the object goes.
    process.returncode = 0
    return process.pid


def search_path() -> str:
    """Return the PATH that commands are looked up in: the caller's, and the sbin folders."""
    return _with_sbin(os.environ.get("PATH", ""))


@functools.lru_cache(maxsize=8)
def _with_sbin(path: str) -> str:
    folders = [folder for folder in path.split(os.pathsep) if folder]
    folders += [folder for folder in _SBIN if folder not in folders]
    return os.pathsep.join(folders)


def environment() -> dict[str, str]:
    """Return the environment that every child gets."""
    passed = {name: value for name in _PASSED_ON if (value := os.environ.get(name)) is not None}
    return {**passed, "PATH": search_path(), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


def find_tools(names: Iterable[str]) -> dict[str, str]:
    """Return where each tool is; a tool that is not installed is left out."""
    path = search_path()
    places = {name: _place_of(name, path) for name in names}
    return {name: place for name, place in places.items() if place is not None}


def _place_of(name: str, path: str) -> str | None:
    if "/" in name:
        return name
    places = (f"{folder}/{name}" for folder in path.split(os.pathsep))
    return next((place for place in places if os.access(place, os.X_OK)), None)
