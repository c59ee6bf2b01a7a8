"""A nettool that stays: a process inside a throw-away host, of which each command line gets a copy.

To start an interpreter takes longer than most commands do. Run as a program, this reads a command line
as JSON from each line of its standard input, and answers with a line: status, stdout, stderr.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import json
import os
import pkgutil
import signal
import subprocess
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from hosts import Host

KILLED: Final = -signal.SIGKILL
CRASHED: Final = 70
"""The status of a call that raised what no call may raise; the traceback is on stderr."""


class Resident:
    """A resident nettool of a host: `with Resident(host) as nettool: nettool("show")`."""

    def __init__(self, host: Host) -> None:
        self._process = host.popen(sys.executable, __file__, stdin=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def __call__(self, *words: str, kill_at: int | None = None) -> subprocess.CompletedProcess[str]:
        """Carry out one command line.

        With `kill_at` a copy of the process does, and is killed right before the so-manyth time that it
        starts a command or changes a file; it ends as usual when there are fewer.
        """
        given, taken = self._process.stdin, self._process.stdout
        assert given is not None
        assert taken is not None
        given.write(json.dumps({"words": words, "kill_at": kill_at}) + "\n")
        given.flush()
        line = taken.readline()
        assert line, f"the resident nettool ended at {words}"
        answer = json.loads(line)
        return subprocess.CompletedProcess(words, answer["status"], answer["stdout"], answer["stderr"])


# --- inside

# What is used in passing, and what takes long to load.
_NOT_LOADED: Final = ("nettool.__main__", "nettool.typer_app", "nettool.table", "nettool.lab")


def _serve() -> None:
    import nettool

    for module in pkgutil.walk_packages(nettool.__path__, "nettool."):
        if not module.name.startswith((*_NOT_LOADED, "nettool.renderers", "nettool.commands.lab")):
            importlib.import_module(module.name)
    # What nettool writes must not get among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        answers.write(json.dumps(_in_a_copy(asked["words"], asked["kill_at"])) + "\n")
        answers.flush()


def _in_a_copy(words: list[str], kill_at: int | None) -> dict[str, Any]:
    """Carry out a command line in a copy of this process, as a process of its own would."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        with os.fdopen(write, "w", encoding="utf-8") as answer:
            json.dump(_run(words, kill_at), answer)
        os._exit(0)
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as answer:
        said = answer.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    # One that is killed has nothing to say.
    return json.loads(said) if said else {"status": status, "stdout": "", "stderr": ""}


def _run(words: list[str], kill_at: int | None) -> dict[str, Any]:
    from nettool.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            if kill_at is not None:
                sys.addaudithook(_killer(kill_at))
            status = main(words)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 0
        except BaseException:  # noqa: BLE001 - the tests tell what it was
            traceback.print_exc()
            status = CRASHED
    return {"status": status, "stdout": out.getvalue(), "stderr": err.getvalue()}


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
