"""containerd is asked by its own client, `ctr`, in all its namespaces.

Its API is gRPC, which would need a library; `ctr` comes with it, where `nerdctl` is a choice. A name is a
label that nerdctl or Kubernetes set. The socket is tried before: without an answer, `ctr` waits 10 s.
"""

from __future__ import annotations

import json
import os
import re

from nettool.runtimes.container import (
    Runtime,
    checked,
    connect,
    has_tool,
    is_name,
    make_container,
    names_in,
    output,
    run_all,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Final

    from nettool.runtimes.container import Lookup

_ID_PREFIX: Final = re.compile(r"[0-9a-f]{1,64}")
# Docker's own namespace, whose containers have ids and no names.
_MOBY: Final = "moby"
_NERDCTL_NAME: Final = "nerdctl/name"
_POD_NAME: Final = "io.kubernetes.container.name"


def _socket() -> str:
    place = os.environ.get("CONTAINERD_ADDRESS") or "/run/containerd/containerd.sock"
    return place.removeprefix("unix://")


def _find(name: str) -> Lookup:
    namespaces = yield from _namespaces()
    keys = ("id", f'labels."{_NERDCTL_NAME}"', f'labels."{_POD_NAME}"')
    filters = [f'{key}=="{name}"' for key in keys]
    if _ID_PREFIX.fullmatch(name):
        filters.append(f'id~="^{name}"')
    else:
        namespaces = [each for each in namespaces if each != _MOBY]
    lists = yield from run_all([_ctr(each, "containers", "ls", "-q", *filters) for each in namespaces])
    ids = [names_in(checked(result)) for result in lists]
    hits = {each: found for each, found in zip(namespaces, ids, strict=True) if found}
    tasks = yield from _tasks(list(hits))
    pairs = [(each, container) for each, found in hits.items() for container in found]
    containers = yield from _containers(pairs, tasks)
    # A filter takes any id for a prefixed one; only ids of 64 digits are cut short by people.
    return tuple(container for container in containers if container.matches(name))


def _survey() -> Lookup:
    namespaces = yield from _namespaces()
    tasks = yield from _tasks(namespaces)
    return (yield from _containers(list(tasks), tasks))


def _namespaces() -> Generator[None, None, list[str]]:
    connect(_socket()).close()
    text = yield from output("ctr", "namespaces", "ls", "-q")
    return names_in(text)


def _tasks(
    namespaces: Sequence[str],
) -> Generator[None, None, dict[tuple[str, str], tuple[int, str]]]:
    """Return process id and state of every container that has a task, by namespace and id."""
    results = yield from run_all([_ctr(each, "tasks", "ls") for each in namespaces])
    return {
        (namespace, container): task
        for namespace, result in zip(namespaces, results, strict=True)
        for container, task in parse_tasks(checked(result)).items()
    }


def _containers(pairs: Sequence[tuple[str, str]], tasks: dict[tuple[str, str], tuple[int, str]]) -> Lookup:
    named = [pair for pair in pairs if pair[0] != _MOBY]
    results = yield from run_all(
        [_ctr(namespace, "containers", "info", "--", container) for namespace, container in named]
    )
    told = zip(named, results, strict=True)
    labels = {pair: parse_labels(result.stdout) for pair, result in told if result.ok}
    return tuple(
        make_container(
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
    return {row[0]: (int(row[1]), row[2]) for row in rows if row and is_name(row[0])}


def parse_labels(text: str) -> dict[str, str]:
    """Return the labels that `ctr containers info` prints."""
    return dict(json.loads(text)["Labels"] or {})


RUNTIME: Final = Runtime(
    "containerd", has_tool("ctr", _socket), _find, _survey, "ctr --namespace k8s.io containers ls"
)
