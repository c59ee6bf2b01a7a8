"""Podman is asked by `podman`, since it has no daemon.

It tells of the caller's containers alone, so root does not see those of a rootless user. It takes 40 ms
and more, which `docker:NAME` spares.

`podman ps` and `podman inspect` create the storage where there is none, and to read must not be to
write. So Podman is asked only when its storage is there; without one, it has no containers. The rules by
which Podman finds its storage are containers-storage.conf(5). With CONTAINER_HOST, the storage is that of
the service behind the socket, and `podman` itself creates nothing.
"""

from __future__ import annotations

import json
import os
import re

from nettool.run import environment, find_tools
from nettool.runtimes.container import (
    NoAnswerError,
    Runtime,
    beginning_with,
    has_tool,
    make_container,
    output,
    parse_inspected,
    problem_of,
    run_all,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from nettool.runtimes.container import Container, Lookup

# The first of them that exists counts, and it alone.
_SYSTEM_FILES: Final = ("/etc/containers/storage.conf", "/usr/share/containers/storage.conf")
_SYSTEM_GRAPH_ROOT: Final = "/var/lib/containers/storage"
_VARIABLE: Final = re.compile(r"\$\{?(\w+)\}?")


def _find(name: str) -> Lookup:
    if _has_none():
        return ()
    argv = ("podman", "inspect", "--type", "container", "--format", "json", "--", name)
    (result,) = yield from run_all([argv])
    if result.ok:
        return tuple(parse_inspected("podman", raw) for raw in json.loads(result.stdout))
    if "no such container" in result.stderr.lower():
        return ()
    problem = problem_of(result)
    (listed,) = yield from run_all([("podman", "ps", "--all", "--format", "json")])
    return beginning_with(name, parse_list(listed.stdout) if listed.ok else (), problem)


def _survey() -> Lookup:
    if _has_none():
        return ()
    # Without the filter, `podman ps` leaves out those that are paused.
    wanted = ("--filter", "status=running", "--filter", "status=paused")
    text = yield from output("podman", "ps", "--all", *wanted, "--format", "json")
    return parse_list(text)


def _has_none() -> bool:
    """Whether Podman is here and was never used, so that to ask it would create its storage."""
    if host := os.environ.get("CONTAINER_HOST"):
        if not host.startswith("unix://"):
            raise NoAnswerError(f"CONTAINER_HOST is {host!r}, and only a unix:// socket is this host's")
        return False
    return bool(find_tools(("podman",))) and _is_empty(graph_root())


def _is_empty(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except FileNotFoundError:
        return True
    except OSError:
        return False  # it is there, and Podman tells better what is wrong with it


def graph_root() -> str:
    """Return the folder where `podman` will look for the caller's containers.

    Only variables that reach it count. Raises NoAnswerError for a configuration that cannot be read;
    Podman fails at it too.
    """
    seen = environment()
    given = seen.get("CONTAINERS_STORAGE_CONF")
    system = _settings(_first_of(*_SYSTEM_FILES) if given is None else given)
    if not os.geteuid():
        return _expanded(system.get("graphroot") or _SYSTEM_GRAPH_ROOT, seen)
    home = os.path.expanduser("~")
    own = system if given is not None else _settings(_first_of(f"{home}/.config/containers/storage.conf"))
    data = seen.get("XDG_DATA_HOME") or f"{home}/.local/share"
    return _expanded(
        own.get("graphroot") or own.get("rootless_storage_path") or system.get("rootless_storage_path")
        or f"{data}/containers/storage",
        seen,
    )  # fmt: skip


def _first_of(*files: str) -> str | None:
    return next(filter(os.path.exists, files), None)


def _settings(file: str | None) -> dict[str, Any]:
    """Read the table [storage] of a storage.conf; None is no file."""
    if file is None:
        return {}
    import tomllib  # takes 10 ms, and many machines have no such file

    try:
        with open(file, "rb") as opened:
            return dict(tomllib.load(opened).get("storage", {}))
    except OSError as error:
        raise NoAnswerError(f"{file}: {error.strerror}") from None
    except ValueError as error:
        raise NoAnswerError(f"{file}: {error}") from None


def _expanded(path: str, seen: dict[str, str]) -> str:
    known = {**seen, "UID": str(os.geteuid())}
    return _VARIABLE.sub(lambda found: known.get(found[1], ""), path)


def parse_list(text: str) -> tuple[Container, ...]:
    """Read what `podman ps --format json` prints."""
    return tuple(
        make_container("podman", raw["Id"], (raw["Pid"], raw["State"], raw.get("ExitCode")), raw["Names"][0])
        for raw in json.loads(text)
    )


RUNTIME: Final = Runtime("podman", has_tool("podman"), _find, _survey, "podman ps --all", "podman start")
