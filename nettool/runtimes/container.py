"""What the runtimes share: how each is declared, what it tells of a container, how it is waited for.

A runtime is a module of this package with one `RUNTIME`, which the package's table lists. Its lookups
are generators: they start what they would wait for and yield, so that those of all runtimes overlap.
"""

from __future__ import annotations

import os
import re

from nettool.run import Result, Started, find_tools
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator, Iterable, Sequence
    from typing import Any, Final

    # A lookup yields when it has started something and would wait; the others then start theirs.
    Lookup = Generator[None, None, tuple["Container", ...]]

ANSWER_SECONDS: Final = 10.0
# How many containers are asked for side by side: a hundred would be a hundred processes of 20 MB.
BATCH: Final = 8
LONG_ID: Final = re.compile(r"[0-9a-f]{64}")
SHORT_ID: Final = 12
# States in which a runtime may still tell a process id, of a process that has ended.
ENDED: Final = ("stopped", "exited", "dead", "removing", "unknown")

# What Docker and Podman take; containerd and LXC take less. It keeps a name from being an option, a
# path of Docker's API, or more than a word in a filter of `ctr`.
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
# The status with which nettool.run answers for a program that is not there.
_CANNOT_START: Final = 127


class Container(Value):
    """A container as its runtime tells; `pid` is 0 when no process of it runs.

    `label` is what its pod calls it: a name that other containers may have too.
    """

    runtime: str
    name: str
    id: str
    pid: int
    state: str
    exit_status: int | None = None
    label: str = ""

    def answers_to(self) -> tuple[str, ...]:
        """Return the targets that lead to it, its name first."""
        short = (self.id[:SHORT_ID],) if LONG_ID.fullmatch(self.id) else ()
        words = (self.name, self.id, *short, *((self.label,) if self.label else ()))
        return tuple(f"{self.runtime}:{word}" for word in dict.fromkeys(words))

    def is_called(self, name: str) -> bool:
        """Whether that is its name or its whole id, and not only how its id begins."""
        return name in (self.name, self.id, self.label)

    def matches(self, name: str) -> bool:
        """Whether that is its name, its id, or how its id begins."""
        return self.is_called(name) or bool(LONG_ID.fullmatch(self.id) and self.id.startswith(name))


class Runtime(Value):
    """A runtime: whether it is here, how it is asked, and what its user types."""

    name: str
    installed: Callable[[], bool]
    find: Callable[[str], Lookup]
    survey: Callable[[], Lookup]
    listing: str
    start: str = ""


class NoAnswerError(Exception):
    """A runtime does not answer; the text says why."""


def is_name(text: str) -> bool:
    """Whether that can be the name of a container, and is safe in every question."""
    return bool(_NAME.fullmatch(text))


def make_container(
    runtime: str,
    id: str,  # noqa: A002 - the field's word
    process: tuple[int, str, int | None],
    name: str | None = None,
    label: str | None = None,
) -> Container:
    """Make a container of what a runtime told: `process` is its id, its state, its exit status.

    Anybody may choose a label: where it is no safe name, it is left out.
    """
    if not is_name(id):
        raise ValueError(id)
    pid, state, exit_status = process
    state = state.removeprefix("CONTAINER_").lower()
    own = (name or "").removeprefix("/")
    return Container(
        runtime, own if is_name(own) else id, id, 0 if state in ENDED else pid, state, exit_status,
        label if label and is_name(label) else "",
    )  # fmt: skip


def parse_inspected(runtime: str, raw: dict[str, Any]) -> Container:
    """Read what Docker and Podman alike tell of one container."""
    state = raw["State"]
    return make_container(
        runtime, raw["Id"], (state["Pid"], state["Status"], state.get("ExitCode")), raw["Name"]
    )


def beginning_with(name: str, containers: Iterable[Container], otherwise: str) -> tuple[Container, ...]:
    """Return the containers that a name is ambiguous between; when it is not, the problem was `otherwise`."""
    found = tuple(container for container in containers if container.matches(name))
    if len(found) < 2:
        raise NoAnswerError(otherwise)
    return found


def connect(place: str, first: bytes = b"") -> socket.socket:
    """Connect to a Unix socket, and send what comes first; raise NoAnswerError when that fails."""
    import socket  # takes 4 ms

    opened = socket.socket(socket.AF_UNIX)
    opened.settimeout(ANSWER_SECONDS)
    try:
        opened.connect(place)
        opened.sendall(first)
    except OSError as error:
        opened.close()
        raise NoAnswerError(f"{place}: {error.strerror or error}") from None
    return opened


def run_all(argvs: Sequence[tuple[str, ...]]) -> Generator[None, None, list[Result]]:
    """Run commands side by side, not too many at a time; return their results in the same order."""
    results = []
    for at in range(0, len(argvs), BATCH):
        started = [Started(argv) for argv in argvs[at : at + BATCH]]
        yield
        results += [each.finish(ANSWER_SECONDS) for each in started]
    return results


def output(*argv: str) -> Generator[None, None, str]:
    """Run one command, which must succeed; return what it printed."""
    (result,) = yield from run_all([argv])
    return checked(result)


def checked(result: Result) -> str:
    """Return what a command printed; raise NoAnswerError when it failed."""
    if not result.ok:
        raise NoAnswerError(problem_of(result))
    return result.stdout


def names_in(text: str) -> list[str]:
    """Return the words of a list of names; what is no safe name is left out."""
    return [word for word in text.split() if is_name(word)]


def problem_of(result: Result) -> str:
    """Return why a command failed, in one line."""
    if result.status == _CANNOT_START:
        return f"{result.argv[0]} is not installed"
    lines = result.stderr.strip().splitlines() or [f"{result.argv[0]}: exit status {result.status}"]
    return lines[-1].removeprefix("Error: ")


def has_tool(tool: str, place: Callable[[], str] | None = None) -> Callable[[], bool]:
    """Make the check that a tool is installed, and the socket is there that it would speak to."""

    def installed() -> bool:
        here = place is None or os.path.exists(place().removeprefix("unix://"))
        return here and bool(find_tools((tool,)))

    return installed
