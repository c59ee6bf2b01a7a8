"""Docker is asked over its Unix socket: DOCKER_HOST, or else /var/run/docker.sock.

In plain HTTP/1.0 that takes 1 ms, and 4 to import `socket`, where the client `docker` takes 20 to 50 ms
and the import of `http.client` 48. Paths carry no API version, because no version is known to both ends
of the range: 20.10 knows up to 1.41, and 29 refuses what is below 1.44. There is no second way over TCP,
SSH or a context: the daemon behind one is another machine's, and so are the process ids it tells.
"""

from __future__ import annotations

import json
import os

from nettool.run import find_tools
from nettool.runtimes.container import (
    ANSWER_SECONDS,
    BATCH,
    NoAnswerError,
    Runtime,
    beginning_with,
    connect,
    make_container,
    parse_inspected,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Final

    from nettool.runtimes.container import Container, Lookup


def _socket_path() -> str:
    """Return the path of Docker's socket, empty when DOCKER_HOST names something else."""
    host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    return host.removeprefix("unix://") if host.startswith("unix://") else ""


class _Request:
    """A GET under way at Docker's daemon."""

    def __init__(self, path: str) -> None:
        place = _socket_path()
        if not place:
            raise NoAnswerError(
                f"DOCKER_HOST is {os.environ.get('DOCKER_HOST')!r}, and only a unix:// socket is this host's"
            )
        # HTTP/1.0: the answer is not cut into chunks, and ends where the connection ends.
        self._socket = connect(place, f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())

    def finish(self) -> tuple[int, Any]:
        """Wait for the answer; return its status and its JSON."""
        pieces = []
        with self._socket:
            try:
                while piece := self._socket.recv(1 << 16):
                    pieces.append(piece)
            except TimeoutError:
                raise NoAnswerError(f"nothing within {ANSWER_SECONDS:g} s") from None
            except OSError as error:
                raise NoAnswerError(str(error.strerror)) from None
        head, _, body = b"".join(pieces).partition(b"\r\n\r\n")
        return int(head.split(None, 2)[1]), json.loads(body)


def _is_here() -> bool:
    return os.path.exists(_socket_path()) or bool(find_tools(("docker",)))


def _find(name: str) -> Lookup:
    request = _Request(f"/containers/{name}/json")
    yield
    status, answer = request.finish()
    if status == 200:
        return (parse_inspected("docker", answer),)
    message = str(answer.get("message"))
    if "no such container" in message.lower():
        return ()
    # 20.10 calls it a server error (500) that several ids begin with the name.
    request = _Request("/containers/json?all=1")
    yield
    return beginning_with(name, parse_list(request.finish()[1]), message)


def _survey() -> Lookup:
    # A list tells no process ids, so each container is asked for.
    request = _Request("/containers/json")
    yield
    ids = [container.id for container in parse_list(request.finish()[1])]
    found = []
    for at in range(0, len(ids), BATCH):
        requests = [_Request(f"/containers/{each}/json") for each in ids[at : at + BATCH]]
        yield
        answers = [request.finish() for request in requests]
        found += [parse_inspected("docker", answer) for status, answer in answers if status == 200]
    return tuple(found)


def parse_list(answer: Sequence[dict[str, Any]]) -> tuple[Container, ...]:
    """Read Docker's answer to GET /containers/json, which tells no process ids."""
    return tuple(
        make_container("docker", raw["Id"], (0, raw["State"], None), raw["Names"][0]) for raw in answer
    )


RUNTIME: Final = Runtime("docker", _is_here, _find, _survey, "docker ps --all", "docker start")
