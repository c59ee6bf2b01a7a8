"""Find containers: ask Docker, Podman, containerd, CRI-O and LXC which process a name means.

Every runtime that is installed is asked, all side by side, and each in one way:

- Docker over its Unix socket, DOCKER_HOST or /var/run/docker.sock, in plain HTTP/1.0: that takes
  1 ms and 4 to import `socket`, where the client `docker` takes 20 to 50 ms and the import of
  `http.client` 48. Paths carry no API version, because no version is known to both ends of the
  range: 20.10 knows up to 1.41, and 29 refuses what is below 1.44. There is no second way over TCP,
  SSH or a context: the daemon behind one is another machine's, and so are the process ids it tells.
- Podman by `podman`, since it has no daemon; it tells of the caller's containers alone, so root does
  not see those of a rootless user. It takes 40 ms and more, which `docker:NAME` spares.
- containerd by `ctr` in all its namespaces, CRI-O by `crictl`, LXC by `lxc-info`. The sockets of the
  first two are tried before: without an answer, `ctr` waits 10 s.

A runtime tells a process id, and the id is looked at a moment later. If the container ended in
between and its id had been given out again, the answer would be about another process; the kernel
counts through all ids before it uses one again, so this is not checked. What is found carries inode
and start time, so everything later can tell. A runtime that is reached from within another PID
namespace (a mounted docker.sock) tells ids of its own, which are not understood here.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter

from nettool.errors import TargetNotFound, UsageError
from nettool.facts import SandboxFact
from nettool.processes import read_process
from nettool.run import Result, Started, find_tools
from nettool.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator, Iterable, Sequence
    from typing import Any, Final

    # A lookup yields when it has started something and would wait; the others then start theirs.
    Lookup = Generator[None, None, tuple["Container", ...]]

ANSWER_SECONDS: Final = 10.0

# What Docker and Podman take; containerd and LXC take less. It keeps a name from being an option, a
# path of Docker's API, or more than a word in a filter of `ctr`.
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
_LONG_ID: Final = re.compile(r"[0-9a-f]{64}")
_ID_PREFIX: Final = re.compile(r"[0-9a-f]{1,64}")
_SHORT_ID: Final = 12
# States in which a runtime may still tell a process id, of a process that has ended.
_ENDED: Final = ("stopped", "exited", "dead", "removing", "unknown")
_STARTABLE: Final = ("created", "configured", "initialized", "exited", "stopped")
# Side by side without limit, a hundred containers would be a hundred processes of 20 MB.
_BATCH: Final = 8
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
        short = (self.id[:_SHORT_ID],) if _LONG_ID.fullmatch(self.id) else ()
        words = (self.name, self.id, *short, *((self.label,) if self.label else ()))
        return tuple(f"{self.runtime}:{word}" for word in dict.fromkeys(words))

    def is_called(self, name: str) -> bool:
        """Whether that is its name or its whole id, and not only how its id begins."""
        return name in (self.name, self.id, self.label)

    def matches(self, name: str) -> bool:
        """Whether that is its name, its id, or how its id begins."""
        return self.is_called(name) or bool(_LONG_ID.fullmatch(self.id) and self.id.startswith(name))


class _Runtime(Value):
    """A runtime: whether it is here, how it is asked, and what its user types."""

    name: str
    installed: Callable[[], bool]
    find: Callable[[str], Lookup]
    survey: Callable[[], Lookup]
    listing: str
    start: str = ""


class _Answer(Value):
    """What a runtime said; `problem` is why it said nothing."""

    containers: tuple[Container, ...] = ()
    problem: str = ""


class _NoAnswerError(Exception):
    """A runtime does not answer; the text says why."""


def find_container(name: str, runtime: str | None) -> SandboxFact:
    """Return the sandbox of a container, given by name, id or how its id begins.

    With `runtime` None, every runtime that is installed is asked. Raises UsageError for what can be
    no container's name, TargetNotFound when no container answers to it, or more than one.
    """
    typed = f"{runtime or 'container'}:{name}"
    if not _NAME.fullmatch(name):
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


def _to_ask(runtime: str | None) -> tuple[_Runtime, ...]:
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
            except _NoAnswerError as error:
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
        own = container.id if _LONG_ID.fullmatch(container.id) else container
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
    sentence = f"container {name} is {state}{status if state in _ENDED else ''}"
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
    what = f"{typed} was not found" if silent else f"{typed} is not on this host"
    return TargetNotFound(what, why=why, hints=tuple(hints))


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
    names = ", ".join(c.name[:_SHORT_ID] if c.name == c.id else c.name for c in group)
    return f"{runtime}: {len(group)} containers {verb} {name}: {names}"


# --- Docker


def docker_socket() -> str:
    """Return the path of Docker's socket, empty when DOCKER_HOST names something else."""
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    return host.removeprefix("unix://") if host.startswith("unix://") else ""


class _DockerRequest:
    """A GET under way at Docker's daemon."""

    def __init__(self, path: str) -> None:
        place = docker_socket()
        if not place:
            raise _NoAnswerError(
                f"DOCKER_HOST is {os.environ.get('DOCKER_HOST')!r}, and only a unix:// socket is this host's"
            )
        # HTTP/1.0: the answer is not cut into chunks, and ends where the connection ends.
        self._socket = _connect(place, f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())

    def finish(self) -> tuple[int, Any]:
        """Wait for the answer; return its status and its JSON."""
        pieces = []
        with self._socket:
            try:
                while piece := self._socket.recv(1 << 16):
                    pieces.append(piece)
            except TimeoutError:
                raise _NoAnswerError(f"nothing within {ANSWER_SECONDS:g} s") from None
            except OSError as error:
                raise _NoAnswerError(str(error.strerror)) from None
        head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
        return int(head.split(None, 2)[1]), json.loads(body)


def _connect(place: str, first: bytes = b"") -> socket.socket:
    import socket

    opened = socket.socket(socket.AF_UNIX)
    opened.settimeout(ANSWER_SECONDS)
    try:
        opened.connect(place)
        opened.sendall(first)
    except OSError as error:
        opened.close()
        raise _NoAnswerError(f"{place}: {error.strerror or error}") from None
    return opened


def _docker_is_here() -> bool:
    return os.path.exists(docker_socket()) or bool(find_tools(("docker",)))


def _find_docker(name: str) -> Lookup:
    request = _DockerRequest(f"/containers/{name}/json")
    yield
    status, answer = request.finish()
    if status == 200:
        return (parse_inspected("docker", answer),)
    message = str(answer.get("message"))
    if "no such container" in message.lower():
        return ()
    # 20.10 calls it a server error (500) that several ids begin with the name.
    request = _DockerRequest("/containers/json?all=1")
    yield
    return _beginning_with(name, parse_docker_list(request.finish()[1]), message)


def _beginning_with(name: str, containers: Iterable[Container], otherwise: str) -> tuple[Container, ...]:
    found = tuple(container for container in containers if container.matches(name))
    if len(found) < 2:
        raise _NoAnswerError(otherwise)
    return found


def _survey_docker() -> Lookup:
    # A list tells no process ids, so each container is asked for.
    request = _DockerRequest("/containers/json")
    yield
    ids = [container.id for container in parse_docker_list(request.finish()[1])]
    found = []
    for at in range(0, len(ids), _BATCH):
        requests = [_DockerRequest(f"/containers/{each}/json") for each in ids[at : at + _BATCH]]
        yield
        answers = [request.finish() for request in requests]
        found += [parse_inspected("docker", answer) for status, answer in answers if status == 200]
    return tuple(found)


def parse_docker_list(answer: Sequence[dict[str, Any]]) -> tuple[Container, ...]:
    """Read Docker's answer to GET /containers/json, which tells no process ids."""
    return tuple(_container("docker", raw["Id"], (0, raw["State"], None), raw["Names"][0]) for raw in answer)


def parse_inspected(runtime: str, raw: dict[str, Any]) -> Container:
    """Read what Docker and Podman alike tell of one container."""
    state = raw["State"]
    return _container(runtime, raw["Id"], (state["Pid"], state["Status"], state.get("ExitCode")), raw["Name"])


# --- Podman


def _find_podman(name: str) -> Lookup:
    _check_podman_is_local()
    argv = ("podman", "inspect", "--type", "container", "--format", "json", "--", name)
    (result,) = yield from _run_all([argv])
    if result.ok:
        return tuple(parse_inspected("podman", raw) for raw in json.loads(result.stdout))
    if "no such container" in result.stderr.lower():
        return ()
    problem = _problem(result)
    (listed,) = yield from _run_all([("podman", "ps", "--all", "--format", "json")])
    return _beginning_with(name, parse_podman_list(listed.stdout) if listed.ok else (), problem)


def _survey_podman() -> Lookup:
    _check_podman_is_local()
    # Without the filter, `podman ps` leaves out those that are paused.
    wanted = ("--filter", "status=running", "--filter", "status=paused")
    text = yield from _output("podman", "ps", "--all", *wanted, "--format", "json")
    return parse_podman_list(text)


def _check_podman_is_local() -> None:
    host = os.environ.get("CONTAINER_HOST", "")
    if host and not host.startswith("unix://"):
        raise _NoAnswerError(f"CONTAINER_HOST is {host!r}, and only a unix:// socket is this host's")


def parse_podman_list(text: str) -> tuple[Container, ...]:
    """Read what `podman ps --format json` prints."""
    return tuple(
        _container("podman", raw["Id"], (raw["Pid"], raw["State"], raw.get("ExitCode")), raw["Names"][0])
        for raw in json.loads(text)
    )


# --- containerd

# Docker's own namespace, whose containers have ids and no names.
_MOBY: Final = "moby"
_NERDCTL_NAME: Final = "nerdctl/name"
_POD_NAME: Final = "io.kubernetes.container.name"


def _containerd_socket() -> str:
    place = os.environ.get("CONTAINERD_ADDRESS") or "/run/containerd/containerd.sock"
    return place.removeprefix("unix://")


def _find_containerd(name: str) -> Lookup:
    namespaces = yield from _containerd_namespaces()
    keys = ("id", f'labels."{_NERDCTL_NAME}"', f'labels."{_POD_NAME}"')
    filters = [f'{key}=="{name}"' for key in keys]
    if _ID_PREFIX.fullmatch(name):
        filters.append(f'id~="^{name}"')
    else:
        namespaces = [each for each in namespaces if each != _MOBY]
    lists = yield from _run_all([_ctr(each, "containers", "ls", "-q", *filters) for each in namespaces])
    ids = [_words(result) for result in lists]
    hits = {each: found for each, found in zip(namespaces, ids, strict=True) if found}
    tasks = yield from _containerd_tasks(list(hits))
    pairs = [(each, container) for each, found in hits.items() for container in found]
    containers = yield from _containerd_containers(pairs, tasks)
    # A filter takes any id for a prefixed one; only ids of 64 digits are cut short by people.
    return tuple(container for container in containers if container.matches(name))


def _survey_containerd() -> Lookup:
    namespaces = yield from _containerd_namespaces()
    tasks = yield from _containerd_tasks(namespaces)
    return (yield from _containerd_containers(list(tasks), tasks))


def _containerd_namespaces() -> Generator[None, None, list[str]]:
    _connect(_containerd_socket()).close()
    text = yield from _output("ctr", "namespaces", "ls", "-q")
    return [name for name in text.split() if _NAME.fullmatch(name)]


def _containerd_tasks(
    namespaces: Sequence[str],
) -> Generator[None, None, dict[tuple[str, str], tuple[int, str]]]:
    """Return process id and state of every container that has a task, by namespace and id."""
    results = yield from _run_all([_ctr(each, "tasks", "ls") for each in namespaces])
    return {
        (namespace, container): task
        for namespace, result in zip(namespaces, results, strict=True)
        for container, task in parse_tasks(_checked(result)).items()
    }


def _containerd_containers(
    pairs: Sequence[tuple[str, str]], tasks: dict[tuple[str, str], tuple[int, str]]
) -> Lookup:
    named = [pair for pair in pairs if pair[0] != _MOBY]
    results = yield from _run_all(
        [_ctr(namespace, "containers", "info", "--", container) for namespace, container in named]
    )
    told = zip(named, results, strict=True)
    labels = {pair: parse_labels(result.stdout) for pair, result in told if result.ok}
    return tuple(
        _container(
            "containerd", pair[1], (*tasks.get(pair, (0, "created")), None),
            labels.get(pair, {}).get(_NERDCTL_NAME), labels.get(pair, {}).get(_POD_NAME),
        )
        for pair in pairs
    )  # fmt: skip


def _ctr(namespace: str, *words: str) -> tuple[str, ...]:
    return ("ctr", "--namespace", namespace, *words)


def parse_tasks(text: str) -> dict[str, tuple[int, str]]:
    """Read what `ctr tasks ls` prints: process id and state, by container id."""
    rows = [line.split() for line in text.splitlines()[1:]]
    return {row[0]: (int(row[1]), row[2]) for row in rows if row and _NAME.fullmatch(row[0])}


def parse_labels(text: str) -> dict[str, str]:
    """Return the labels that `ctr containers info` prints."""
    return dict(json.loads(text)["Labels"] or {})


# --- CRI-O


def _crio_endpoint() -> str:
    return os.environ.get("CONTAINER_RUNTIME_ENDPOINT") or "unix:///run/crio/crio.sock"


def _find_crio(name: str) -> Lookup:
    text = yield from _crictl("ps", "--all", "--output", "json")
    ids = [container.id for container in parse_crictl_list(text) if container.matches(name)]
    return (yield from _inspect_crio(ids))


def _survey_crio() -> Lookup:
    text = yield from _crictl("ps", "--output", "json")
    return (yield from _inspect_crio([container.id for container in parse_crictl_list(text)]))


def _crictl(*words: str) -> Generator[None, None, str]:
    endpoint = _crio_endpoint()
    _connect(endpoint.removeprefix("unix://")).close()
    return (yield from _output("crictl", "--runtime-endpoint", endpoint, *words))


def _inspect_crio(ids: Sequence[str]) -> Lookup:
    command = ("crictl", "--runtime-endpoint", _crio_endpoint(), "inspect", "--output", "json")
    results = yield from _run_all([(*command, each) for each in ids])
    return tuple(parse_crictl_inspected(result.stdout) for result in results if result.ok)


def parse_crictl_list(text: str) -> tuple[Container, ...]:
    """Read what `crictl ps --output json` prints, which tells no process ids."""
    return tuple(
        _container("crio", raw["id"], (0, raw["state"], None), label=raw["metadata"]["name"])
        for raw in json.loads(text)["containers"] or ()
    )


def parse_crictl_inspected(text: str) -> Container:
    """Read what `crictl inspect --output json` prints."""
    document = json.loads(text)
    status = document["status"]
    # CRI-O before 1.18 tells the process id beside the status.
    pid = (document.get("info") or document).get("pid", 0)
    process = (pid, status["state"], status.get("exitCode"))
    return _container("crio", status["id"], process, label=status["metadata"]["name"])


# --- LXC


def _find_lxc(name: str) -> Lookup:
    (result,) = yield from _run_all([_lxc_info(name)])
    if not result.ok and "doesn't exist" in result.stderr:
        return ()
    return (parse_lxc(name, _checked(result)),)


def _survey_lxc() -> Lookup:
    text = yield from _output("lxc-ls", "-1", "--active")
    names = [name for name in text.split() if _NAME.fullmatch(name)]
    results = yield from _run_all([_lxc_info(name) for name in names])
    pairs = zip(names, results, strict=True)
    return tuple(parse_lxc(name, result.stdout) for name, result in pairs if result.ok)


def _lxc_info(name: str) -> tuple[str, ...]:
    return ("lxc-info", f"--name={name}", "--state", "--pid", "--no-humanize")


def parse_lxc(name: str, text: str) -> Container:
    """Read what `lxc-info --state --pid` prints: a line each, the second only when running."""
    lines = (line.partition(":") for line in text.splitlines())
    values = {key: value.strip() for key, _, value in lines}
    state = values["State"].replace("FROZEN", "PAUSED")
    return _container("lxc", name, (int(values.get("PID", 0)), state, None))


# --- what they share


def _container(
    runtime: str,
    id: str,  # noqa: A002 - the field's word
    process: tuple[int, str, int | None],
    name: str | None = None,
    label: str | None = None,
) -> Container:
    """Make a container of what a runtime told: `process` is its id, its state, its exit status.

    Anybody may choose a label: where it is no safe name, it is left out.
    """
    if not _NAME.fullmatch(id):
        raise ValueError(id)
    pid, state, exit_status = process
    state = state.removeprefix("CONTAINER_").lower()
    own = (name or "").removeprefix("/")
    return Container(
        runtime, own if _NAME.fullmatch(own) else id, id, 0 if state in _ENDED else pid, state, exit_status,
        label if label and _NAME.fullmatch(label) else "",
    )  # fmt: skip


def _run_all(argvs: Sequence[tuple[str, ...]]) -> Generator[None, None, list[Result]]:
    results = []
    for at in range(0, len(argvs), _BATCH):
        started = [Started(argv) for argv in argvs[at : at + _BATCH]]
        yield
        results += [each.finish(ANSWER_SECONDS) for each in started]
    return results


def _output(*argv: str) -> Generator[None, None, str]:
    (result,) = yield from _run_all([argv])
    return _checked(result)


def _checked(result: Result) -> str:
    if not result.ok:
        raise _NoAnswerError(_problem(result))
    return result.stdout


def _words(result: Result) -> list[str]:
    return [word for word in _checked(result).split() if _NAME.fullmatch(word)]


def _problem(result: Result) -> str:
    if result.status == _CANNOT_START:
        return f"{result.argv[0]} is not installed"
    lines = result.stderr.strip().splitlines() or [f"{result.argv[0]}: exit status {result.status}"]
    return lines[-1].removeprefix("Error: ")


def _has_tool(tool: str, place: Callable[[], str] | None = None) -> Callable[[], bool]:
    def installed() -> bool:
        here = place is None or os.path.exists(place().removeprefix("unix://"))
        return here and bool(find_tools((tool,)))

    return installed


# Where two tell of the same process, the first gives the sandbox its name.
_RUNTIMES: Final = (
    _Runtime("docker", _docker_is_here, _find_docker, _survey_docker, "docker ps --all", "docker start"),
    _Runtime("podman", _has_tool("podman"), _find_podman, _survey_podman, "podman ps --all", "podman start"),
    _Runtime(
        "containerd", _has_tool("ctr", _containerd_socket), _find_containerd, _survey_containerd,
        "ctr --namespace k8s.io containers ls",
    ),
    _Runtime("crio", _has_tool("crictl", _crio_endpoint), _find_crio, _survey_crio, "crictl ps --all"),
    _Runtime("lxc", _has_tool("lxc-info"), _find_lxc, _survey_lxc, "lxc-ls --fancy", "lxc-start"),
)  # fmt: skip
