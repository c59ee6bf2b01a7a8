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
import spaces

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


@dataclass(frozen=True)
class Wanted:
    """A process that holds the namespaces of a new throw-away host, or of a container on `host`.

    When it has them it says "ready", unless `words` do so later on, and becomes the program that they call.
    """

    words: Sequence[str]
    env: Mapping[str, str]
    host: int | None = None
    says_ready: bool = True


class _Child:
    """A process that the loaded one has forked."""

    def __init__(self, asked: Asked | Wanted, *files: int) -> None:
        self.returncode: int | None = None
        self._end, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        message = json.dumps({type(asked).__name__: vars(asked)}).encode()
        socket.send_fds(_server(), [message], [theirs.fileno(), *files])
        theirs.close()
        self.pid = int(self._end.recv(_MAX_MESSAGE))

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and return its status; TimeoutError after `timeout` seconds."""
        if self.returncode is None:
            self._end.settimeout(timeout)
            self.returncode = int(self._end.recv(_MAX_MESSAGE))
            self._end.close()
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


class Call(_Child):
    """One nettool under way."""

    def __init__(self, asked: Asked, text: str | None = None) -> None:
        self.args = tuple(asked.words)
        self._output = [os.memfd_create("stdout"), os.memfd_create("stderr")]
        stdin = os.open(os.devnull, os.O_RDONLY) if text is None else _file_with(text)
        super().__init__(asked, stdin, *self._output)
        os.close(stdin)

    def result(self, timeout: float | None = None) -> subprocess.CompletedProcess[str]:
        """Wait for its end, and return what it said; what it started may run on, and say more."""
        try:
            status = self.wait(timeout)
        except TimeoutError:
            self.kill()
            raise
        stdout, stderr = map(_text_in, self._output)
        return subprocess.CompletedProcess(self.args, status, stdout, stderr)


class Holder(_Child):
    """A process that holds namespaces: its streams are as those of a `Popen`."""

    def __init__(self, wanted: Wanted) -> None:
        (stdin, ours), (theirs, stdout) = os.pipe(), os.pipe()
        stderr = os.memfd_create("stderr")
        super().__init__(wanted, stdin, stdout, stderr)
        os.close(stdin)
        os.close(stdout)
        self.stdin = os.fdopen(ours, "w", encoding="utf-8")
        self.stdout = os.fdopen(theirs, encoding="utf-8")
        self.stderr = os.fdopen(stderr, encoding="utf-8")


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
            ((kind, fields),) = json.loads(message).items()
            asked = Wanted(**fields) if kind == Wanted.__name__ else Asked(**fields)
            _start(asked, calls, *files)


def _start(asked: Asked | Wanted, calls: selectors.DefaultSelector, end: int, *files: int) -> None:
    """Fork the call, or the process that is wanted, and say its pid."""
    pid = os.fork()
    if pid == 0:
        for key in calls.get_map().values():
            os.close(key.data[1] if key.data else key.fd)
        calls.close()
        os.close(end)
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        if isinstance(asked, Wanted):
            _hold(asked)
        _call(asked)
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


def _hold(wanted: Wanted) -> NoReturn:
    try:
        if wanted.host is None:
            spaces.make_host()
        else:
            spaces.make_container(wanted.host)
        os.chdir("/")
        # A program inherits what is ignored, and Python ignores these.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        if wanted.says_ready:
            os.write(1, b"ready\n")
        os.execvpe(wanted.words[0], wanted.words, wanted.env)  # noqa: S606 - an argv, and no shell
    except OSError as error:
        os.write(2, str(error).encode())
        os._exit(_CRASHED)


def _call(asked: Asked) -> NoReturn:
    from nettool.cli import entry

    try:
        spaces.enter(asked.host)
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
