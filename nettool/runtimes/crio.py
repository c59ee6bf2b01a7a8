"""CRI-O is asked by `crictl`, at CONTAINER_RUNTIME_ENDPOINT or else at CRI-O's own socket.

Its API is gRPC, which would need a library; `crictl` is the client of everybody who runs CRI-O. A list
tells no process ids, so each container is inspected. The socket is tried before, as containerd's is.
"""

from __future__ import annotations

import json
import os

from nettool.runtimes.container import Runtime, connect, has_tool, make_container, output, run_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from typing import Final

    from nettool.runtimes.container import Container, Lookup


def _endpoint() -> str:
    return os.environ.get("CONTAINER_RUNTIME_ENDPOINT") or "unix:///run/crio/crio.sock"


def _find(name: str) -> Lookup:
    text = yield from _crictl("ps", "--all", "--output", "json")
    ids = [container.id for container in parse_list(text) if container.matches(name)]
    return (yield from _inspect(ids))


def _survey() -> Lookup:
    text = yield from _crictl("ps", "--output", "json")
    return (yield from _inspect([container.id for container in parse_list(text)]))


def _crictl(*words: str) -> Generator[None, None, str]:
    endpoint = _endpoint()
    connect(endpoint.removeprefix("unix://")).close()
    return (yield from output("crictl", "--runtime-endpoint", endpoint, *words))


def _inspect(ids: Sequence[str]) -> Lookup:
    command = ("crictl", "--runtime-endpoint", _endpoint(), "inspect", "--output", "json")
    results = yield from run_all([(*command, each) for each in ids])
    return tuple(parse_inspected(result.stdout) for result in results if result.ok)


def parse_list(text: str) -> tuple[Container, ...]:
    """Read what `crictl ps --output json` prints, which tells no process ids."""
    return tuple(
        make_container("crio", raw["id"], (0, raw["state"], None), label=raw["metadata"]["name"])
        for raw in json.loads(text)["containers"] or ()
    )


def parse_inspected(text: str) -> Container:
    """Read what `crictl inspect --output json` prints."""
    document = json.loads(text)
    status = document["status"]
    # CRI-O before 1.18 tells the process id beside the status.
    pid = (document.get("info") or document).get("pid", 0)
    process = (pid, status["state"], status.get("exitCode"))
    return make_container("crio", status["id"], process, label=status["metadata"]["name"])


RUNTIME: Final = Runtime("crio", has_tool("crictl", _endpoint), _find, _survey, "crictl ps --all")
