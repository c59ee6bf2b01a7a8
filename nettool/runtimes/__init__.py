"""Find containers: ask Docker, Podman, containerd, CRI-O and LXC which process a name means.

Every runtime that is installed is asked, all side by side, and each in one way, which its module
tells: `docker`, `podman`, `containerd`, `crio`, `lxc`. Asking never writes.

A runtime tells a process id, and the id is looked at a moment later. If the container ended in
between and its id had been given out again, the answer would be about another process; the kernel
counts through all ids before it uses one again, so this is not checked. What is found carries inode
and start time, so everything later can tell. A runtime that is reached from within another PID
namespace (a mounted docker.sock) tells ids of its own, which are not understood here.
"""

from __future__ import annotations

from collections import Counter

from nettool.errors import TargetAbsent, TargetNotFound, UsageError
from nettool.facts import SandboxFact
from nettool.processes import read_process
from nettool.runtimes import containerd, crio, docker, lxc, podman
from nettool.runtimes.container import ENDED, LONG_ID, SHORT_ID, NoAnswerError, is_name
from nettool.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Final

    from nettool.runtimes.container import Container, Lookup, Runtime

# Where two tell of the same process, the first gives the sandbox its name.
_RUNTIMES: Final = (docker.RUNTIME, podman.RUNTIME, containerd.RUNTIME, crio.RUNTIME, lxc.RUNTIME)
_STARTABLE: Final = ("created", "configured", "initialized", "exited", "stopped")


class _Answer(Value):
    """What a runtime said; `problem` is why it said nothing."""

    containers: tuple[Container, ...] = ()
    problem: str = ""


def find_container(name: str, runtime: str | None) -> SandboxFact:
    """Return the sandbox of a container, given by name, id or how its id begins.

    With `runtime` None, every runtime that is installed is asked. Raises UsageError for what can be
    no container's name, TargetNotFound when no container answers to it, or more than one.
    """
    typed = f"{runtime or 'container'}:{name}"
    if not is_name(name):
        raise UsageError(
            f"{name!r} cannot be the name of a container",
            why=("letters, digits, '_', '.' and '-', beginning with a letter or a digit",),
        )
    answers = _side_by_side({each.name: each.find(name) for each in _to_ask(runtime)})
    groups = _sandboxes(_best(answers, name))
    if not groups:
        raise _not_found(typed, answers)
    if len(groups) > 1:
        raise _ambiguous(typed, name, [group[0] for group in groups])
    return _fact(groups[0], typed)


def list_containers() -> tuple[SandboxFact, ...]:
    """Return every running container of every runtime that answers."""
    answers = _side_by_side({each.name: each.survey() for each in _RUNTIMES if each.installed()})
    containers = [c for answer in answers.values() for c in answer.containers if c.pid]
    groups = _sandboxes(containers)
    facts = [_fact(group, f"container:{group[0].name}") for group in groups]
    claims = Counter(target for fact in facts for target in fact.answers_to)
    return tuple(_without_shared(fact, claims) for fact in facts)


def _without_shared(fact: SandboxFact, claims: Counter[str]) -> SandboxFact:
    """Leave out the targets that lead to other containers too: alone, they would be refused."""
    own = tuple(target for target in fact.answers_to if claims[target] == 1)
    return replace(fact, answers_to=own)


def _to_ask(runtime: str | None) -> tuple[Runtime, ...]:
    """Return the runtime that was named, installed or not, or else all that are installed."""
    if runtime is None:
        return tuple(each for each in _RUNTIMES if each.installed())
    return tuple(each for each in _RUNTIMES if each.name == runtime)


def _side_by_side(lookups: dict[str, Lookup]) -> dict[str, _Answer]:
    """Run lookups to their ends, each a stretch at a time, so that what they wait for overlaps."""
    answers = {}
    while pending := [name for name in lookups if name not in answers]:
        for name in pending:
            try:
                next(lookups[name])
            except StopIteration as end:
                answers[name] = _Answer(end.value)
            except NoAnswerError as error:
                answers[name] = _Answer(problem=str(error))
            except (LookupError, TypeError, ValueError, AttributeError):
                answers[name] = _Answer(problem="its answer is not of the form that nettool knows")
    return {name: answers[name] for name in lookups}


def _best(answers: dict[str, _Answer], name: str) -> list[Container]:
    """Return the containers of that name or id, or else those whose id begins with it."""
    found = [container for answer in answers.values() for container in answer.containers]
    return [container for container in found if container.is_called(name)] or found


def _sandboxes(containers: Iterable[Container]) -> list[list[Container]]:
    """Put together what is one container: Docker's are containerd's too, same process, same id."""
    groups: dict[object, list[Container]] = {}
    for container in containers:
        own = container.id if LONG_ID.fullmatch(container.id) else container
        groups.setdefault(container.pid or own, []).append(container)
    return list(groups.values())


def _fact(group: Sequence[Container], typed: str) -> SandboxFact:
    first = group[0]
    words = [word for container in group for word in container.answers_to()]
    own = (*words[:1], typed) if typed.startswith(f"{first.runtime}:") else (typed, *words[:1])
    pid = (f"pid:{first.pid}",) if first.pid else ()
    answers = tuple(dict.fromkeys((*own, *words, *pid)))
    if not first.pid:
        state = first.state if first.state not in ("running", "paused") else "unknown"
        return SandboxFact(answers, state, "/proc/PID/ns/net", detail=_why_not_running(first))
    process = read_process(first.pid)
    return SandboxFact(
        answers, process.state, f"/proc/{first.pid}/ns/net", process.inode, first.pid, process.start_time,
        _of_process(first, process.detail),
    )  # fmt: skip


def _of_process(container: Container, detail: str) -> str:
    if detail:
        return f"container {container.name} is process {container.pid} for {container.runtime}, but {detail}"
    return f"container {container.name} is {container.state}" if container.state != "running" else ""


def _why_not_running(container: Container) -> str:
    name, state = container.name, container.state
    if state in ("running", "paused"):
        return f"{container.runtime} says that container {name} is {state}, and names no process of it"
    status = f" (status {container.exit_status})" if container.exit_status is not None else ""
    sentence = f"container {name} is {state}{status if state in ENDED else ''}"
    if state not in _STARTABLE:
        return sentence
    start = next(each.start for each in _RUNTIMES if each.name == container.runtime)
    return f"{sentence}; start it first{f': {start} {name}' if start else ''}"


def _not_found(typed: str, answers: dict[str, _Answer]) -> TargetNotFound:
    if not answers:
        looked_for = ", ".join(each.name for each in _RUNTIMES)
        return TargetNotFound(f"{typed} is not on this host", why=(f"no runtime is installed: {looked_for}",))
    silent = [answer.problem for answer in answers.values() if answer.problem]
    why = tuple(
        f"{name}: does not answer: {answer.problem}" if answer.problem else f"{name}: no such container"
        for name, answer in answers.items()
    )
    hints = [each.listing for each in _RUNTIMES if each.name in answers and not answers[each.name].problem]
    if any("ermission denied" in problem for problem in silent):
        hints.append("sudo nettool …")
    if silent:
        return TargetNotFound(f"{typed} was not found", why=why, hints=tuple(hints))
    return TargetAbsent(f"{typed} is not on this host", why=why, hints=tuple(hints))


def _ambiguous(typed: str, name: str, found: Sequence[Container]) -> TargetNotFound:
    by_runtime: dict[str, list[Container]] = {}
    for container in found:
        by_runtime.setdefault(container.runtime, []).append(container)
    why = tuple(_candidates(name, runtime, group) for runtime, group in by_runtime.items())
    hints = tuple(dict.fromkeys(f"--container {container.answers_to()[0]}" for container in found))
    if len(hints) < len(found):
        # containerd allows one id in several of its namespaces.
        hints = tuple(f"--pid {container.pid}" for container in found if container.pid)
    return TargetNotFound(f"{typed} means more than one container", why=why, hints=hints)


def _candidates(name: str, runtime: str, group: Sequence[Container]) -> str:
    if len(group) == 1:
        return f"{runtime}: {group[0].name} ({group[0].state})"
    verb = "are called" if group[0].is_called(name) else "begin with"
    names = ", ".join(c.name[:SHORT_ID] if c.name == c.id else c.name for c in group)
    return f"{runtime}: {len(group)} containers {verb} {name}: {names}"
