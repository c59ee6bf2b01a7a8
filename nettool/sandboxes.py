"""Find the sandbox that a target means: a process, a namespace by name or path, a container."""

from __future__ import annotations

import os

from nettool import naming
from nettool.errors import TargetNotFound, UsageError
from nettool.facts import SandboxFact
from nettool.host import HOST_NETNS
from nettool.naming import NETNS_FOLDER
from nettool.processes import read_process
from nettool.request import RUNTIMES, Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from nettool.arguments import Arguments

# Both spellings lead to the same folder on every current distribution.
_NAMED: Final = ("/var/run/netns/", "/run/netns/")


def target_of(arguments: Arguments) -> Target | None:
    """Return the target that a command line names; None when it names none. Raises UsageError."""
    given = [key for key in ("target", "pid", "container", "netns") if arguments.values.get(key) is not None]
    if len(given) > 1:
        first, second = (arguments.text(key) if key == "target" else f"--{key}" for key in given[:2])
        raise UsageError(f"{first} and {second} are two targets; one is needed")
    if not given:
        return None
    if given == ["target"]:
        return parse_target(arguments.text("target") or "")
    if given == ["pid"]:
        return _pid_target(arguments.number("pid") or 0)
    text = arguments.text(given[0]) or ""
    return _container_target(text) if given == ["container"] else _netns_target(text)


def required_target(arguments: Arguments) -> Target:
    """Return the target of a verb that cannot do without. Raises UsageError."""
    target = target_of(arguments)
    if target is None:
        raise UsageError(
            "no target was given",
            hints=("docker:web, pid:1310 or netns:blue", "--pid 1310, --container web or --netns blue"),
        )
    return target


def _check(target: Target) -> None:
    """Refuse what the command line would not have taken: a saved plan may hold anything."""
    text, fits = target.value, True
    if target.kind == "pid":
        fits = text.isdecimal() and text.isascii() and str(_pid_target(int(text))) == str(target)
    elif target.kind in ("netns", "path"):
        fits = _netns_target(text) == target
    elif target.kind not in ("container", *RUNTIMES):
        fits = False
    if not fits:
        raise UsageError(f"{str(target)!r} is no target")


def _pid_target(pid: int) -> Target:
    if not 0 < pid < 1 << 22:
        raise UsageError(f"--pid {pid} is no process id")
    return Target("pid", str(pid))


def _container_target(text: str) -> Target:
    runtime, colon, name = text.partition(":")
    if not colon:
        return Target("container", text)
    if runtime not in RUNTIMES:
        raise UsageError(
            f"--container {text!r}: {runtime!r} is no runtime that nettool knows",
            why=(f"known: {', '.join(RUNTIMES)}",),
        )
    return Target(runtime, name)


def _netns_target(text: str) -> Target:
    for folder in _NAMED:
        if text.startswith(folder):
            text = text.removeprefix(folder)
    if "/" in text:
        if not text.startswith("/") or "\0" in text:
            raise UsageError(f"--netns {text!r} is neither a name nor an absolute path")
        return Target("path", text)
    if not naming.is_netns_name(text):
        raise UsageError(
            f"--netns {text!r} cannot be the name of a namespace",
            why=("letters, digits, '_', '.' and '-', beginning with a letter or a digit",),
        )
    return Target("netns", text)


def find(target: Target) -> SandboxFact:
    """Return what a target leads to on this host.

    Raises TargetNotFound for a container that no runtime has, or several have, and UsageError for a
    target that can be none.
    """
    _check(target)
    if target.kind == "pid":
        return _find_process(target)
    if target.kind in ("netns", "path"):
        path = f"{NETNS_FOLDER}/{target.value}" if target.kind == "netns" else target.value
        return _find_path(target, path)
    from nettool.runtimes import find_container  # a pid needs no runtime

    try:
        return find_container(target.value, None if target.kind == "container" else target.kind)
    except TargetNotFound as error:
        # `run --name` and `sandbox create` give a namespace a name, and people take it for a container's.
        if os.path.exists(f"{NETNS_FOLDER}/{target.value}"):
            error.hints = (f"netns:{target.value}, which is there", *error.hints)
        raise


def find_all() -> tuple[SandboxFact, ...]:
    """Return every sandbox of this host: containers, named namespaces, and processes with their own.

    One namespace is one sandbox, with every target that leads to it.
    """
    from nettool.runtimes import list_containers  # only a survey needs it

    own = os.stat(HOST_NETNS).st_ino
    merged: dict[int, SandboxFact] = {}
    for fact in (*list_containers(), *_named(), *_processes(own)):
        if fact.inode is None or fact.inode == own:
            continue
        before = merged.get(fact.inode)
        merged[fact.inode] = _merge(before, fact) if before else fact
    return tuple(merged.values())


def _merge(first: SandboxFact, second: SandboxFact) -> SandboxFact:
    answers = (*first.answers_to, *(a for a in second.answers_to if a not in first.answers_to))
    return SandboxFact(
        answers, first.state, first.path, first.inode, first.pid or second.pid,
        first.start_time or second.start_time, first.detail,
    )  # fmt: skip


def _find_process(target: Target) -> SandboxFact:
    pid = int(target.value)
    process = read_process(pid)
    return SandboxFact(
        (str(target),), process.state, f"/proc/{pid}/ns/net", process.inode, pid, process.start_time,
        process.detail,
    )  # fmt: skip


def _find_path(target: Target, path: str) -> SandboxFact:
    try:
        found = os.stat(path)
    except PermissionError:
        return SandboxFact((str(target),), "forbidden", path, detail=f"only root may look at {path}")
    except OSError as error:
        return SandboxFact((str(target),), "gone", path, detail=f"{path}: {error.strerror}")
    if found.st_dev != os.stat(HOST_NETNS).st_dev:
        detail = f"{path} is no namespace (not on nsfs): what is left of one, or another file"
        return SandboxFact((str(target),), "no namespace", path, detail=detail)
    return SandboxFact((str(target),), "running", path, found.st_ino)


def _named() -> Iterator[SandboxFact]:
    try:
        names = sorted(os.listdir(NETNS_FOLDER))
    except OSError:
        return
    for name in names:
        fact = _find_path(Target("netns", name), f"{NETNS_FOLDER}/{name}")
        if fact.state == "running":
            yield fact


def _processes(own: int) -> Iterator[SandboxFact]:
    """Yield the oldest process of each namespace: another one may be there for a look only."""
    oldest: dict[int, SandboxFact] = {}
    for name in sorted((n for n in os.listdir("/proc") if n.isdecimal()), key=int):
        try:
            inode = os.stat(f"/proc/{name}/ns/net").st_ino
        except OSError:
            continue
        if inode == own:
            continue
        found, before = _find_process(Target("pid", name)), oldest.get(inode)
        if found.inode == inode and (before is None or _age(found) < _age(before)):
            oldest[inode] = found
    yield from oldest.values()


def _age(process: SandboxFact) -> tuple[int, int]:
    return (process.start_time or 0, process.pid or 0)


def parse_target(text: str) -> Target:
    """Read a target as people write it: `pid:1310`, `netns:blue`, `docker:web`, a path, or a name.

    Raises UsageError for what can be none.
    """
    kind, colon, value = text.partition(":")
    if not colon:
        return Target("path", text) if text.startswith("/") else Target("container", text)
    if kind == "pid":
        if not (value.isascii() and value.isdecimal() and len(value) < 10):
            raise UsageError(f"{text!r} is no target: a process id is a number")
        return _pid_target(int(value))
    return _netns_target(value) if kind in ("netns", "path") else _container_target(text)
