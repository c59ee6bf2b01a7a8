"""A nettool that is loaded already: each call is a fork of one process that has imported it.

To start takes two thirds of a call, and the tests make tens of thousands. A call has a process id, an
environment, signals and a death of its own, as any other. Run as a program, this is that process.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import itertools
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import bypass
from snapshot import setns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn

KILLED: Final = -signal.SIGKILL
_CRASHED: Final = 99
_ROOT: Final = Path(__file__).resolve().parent.parent
# The words `-m nettool` are how the tests know a nettool among the processes.
_SERVER: Final = (sys.executable, __file__, "-m", "nettool")
_MAX_MESSAGE: Final = 1 << 17


@dataclass(frozen=True)
class Asked:
    """What is to be called, and where: in the network and mount namespace of the process `host`.

    `first` is a module beside this one that is imported before. With `kill_at` it is killed right before
    the so-manyth time that it starts a command or changes a file; it ends as usual when there are fewer.
    """

    host: int
    words: Sequence[str]
    env: Mapping[str, str]
    first: str | None = None
    kill_at: int | None = None


class Call:
    """One nettool under way."""

    def __init__(self, asked: Asked, text: str | None = None) -> None:
        self.args = tuple(asked.words)
        self.returncode: int | None = None
        self._output = [os.memfd_create("stdout"), os.memfd_create("stderr")]
        stdin = os.open(os.devnull, os.O_RDONLY) if text is None else _file_with(text)
        self._end, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        message = json.dumps(vars(asked)).encode()
        socket.send_fds(_server(), [message], [theirs.fileno(), stdin, *self._output])
        theirs.close()
        os.close(stdin)
        self.pid = int(self._end.recv(_MAX_MESSAGE))

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and return its status; TimeoutError after `timeout` seconds."""
        if self.returncode is None:
            self._end.settimeout(timeout)
            self.returncode = int(self._end.recv(_MAX_MESSAGE))
        return self.returncode

    def poll(self) -> int | None:
        """Return its status, None while it runs."""
        try:
            return self.wait(0)
        except (BlockingIOError, TimeoutError):
            return None

    def kill(self) -> None:
        """Send it SIGKILL; one that has ended is left alone."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)

    def result(self, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        """Wait for its end, and return what it said; what it started may run on, and say more."""
        try:
            status = self.wait(timeout)
        except TimeoutError:
            self.kill()
            raise
        stdout, stderr = map(_text_in, self._output)
        self._end.close()
        return subprocess.CompletedProcess(self.args, status, stdout, stderr)


def _file_with(text: str) -> int:
    file = os.memfd_create("stdin")
    os.write(file, text.encode("utf-8", "surrogateescape"))
    os.lseek(file, 0, os.SEEK_SET)
    return file


def _text_in(file: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, encoding="utf-8", errors="surrogateescape") as opened:
        return opened.read()


@functools.cache
def _server() -> socket.socket:
    """Start the process that the calls are forks of; it ends with this one."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    subprocess.Popen(_SERVER, stdin=theirs.fileno(), env={**os.environ, "PYTHONPATH": str(_ROOT)})
    theirs.close()
    atexit.register(ours.close)
    return ours


# --- inside


def _serve() -> None:
    _load()
    asking = socket.socket(fileno=0)
    calls = selectors.DefaultSelector()
    calls.register(asking, selectors.EVENT_READ)
    while True:
        for key, _ in calls.select():
            if key.fileobj is not asking:
                _tell_how_it_ended(calls.unregister(key.fileobj))
                continue
            message, files, *_ = socket.recv_fds(asking, _MAX_MESSAGE, 4)
            if not message:
                return
            _start(Asked(**json.loads(message)), calls, *files)


def _start(asked: Asked, calls: selectors.DefaultSelector, end: int, *files: int) -> None:
    """Fork the call, and say its pid."""
    pid = os.fork()
    if pid == 0:
        for key in calls.get_map().values():
            os.close(key.data[1] if key.data else key.fd)
        calls.close()
        os.close(end)
        _call(asked, files)
    for file in files:
        os.close(file)
    os.write(end, str(pid).encode())
    calls.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, end))


def _tell_how_it_ended(call: selectors.SelectorKey) -> None:
    pid, end = call.data
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    # Who asked may not wait for it.
    with contextlib.suppress(OSError):
        os.write(end, str(status).encode())
    os.close(end)
    os.close(call.fd)


def _load() -> None:
    import _socket  # noqa: F401 - what nettool loads only on some of its ways

    import nettool

    for module in pkgutil.walk_packages(nettool.__path__, "nettool."):
        if module.name not in ("nettool.__main__", "nettool.typer_app"):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()


def _call(asked: Asked, files: Sequence[int]) -> NoReturn:
    from nettool.cli import entry

    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        _enter(asked.host)
        os.chdir("/")
        for name in os.environ.keys() - asked.env.keys():
            del os.environ[name]
        os.environ.update(asked.env.items() - os.environ.items())
        sys.argv = ["nettool", *asked.words]
        if asked.first is not None:
            importlib.import_module(asked.first)
        if folder := asked.env.get(bypass.FOLDER):
            bypass.install(Path(folder))
        if asked.kill_at is not None:
            sys.addaudithook(_killer(asked.kill_at))
        entry()
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:  # noqa: BLE001 - the tests tell what it was
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(_CRASHED)


def _enter(host: int) -> None:
    """Go into the namespaces of a throw-away host."""
    kinds = (*(("user",) if os.geteuid() else ()), "net", "mnt")
    opened = [os.open(f"/proc/{host}/ns/{kind}", os.O_RDONLY) for kind in kinds]
    for namespace in opened:
        setns(namespace)
        os.close(namespace)


def _killer(at: int) -> Callable[[str, tuple[Any, ...]], None]:
    count = itertools.count()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if _changes(event, arguments) and next(count) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def _changes(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether an audit event is one that could change something, of this process or by a command."""
    if event == "open":
        flags = arguments[2]
        return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    if event == "subprocess.Popen":
        return "-json" not in arguments[1] and "grep" not in arguments[1]
    return event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.truncate", "os.link")


if __name__ == "__main__":
    _serve()
