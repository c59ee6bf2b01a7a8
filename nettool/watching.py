"""Follow what happens on the host, and restore at once what is on record.

Docker and Podman say when a container starts, `ip monitor` when an interface is removed. What follows
from that is the same as `nettool restore`, which looks at the host anew: an event is only a reason to look.
"""

from __future__ import annotations

import re
import signal
import sys
from contextlib import suppress

from nettool import naming, output
from nettool.errors import Interrupted, NettoolError
from nettool.restoring import restore
from nettool.run import find_tools
from nettool.store.database import read_networks
from nettool.watch import follow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final, NoReturn

    from nettool.pipeline import Mode
    from nettool.restoring import Restored

_STARTS: Final = ("--filter", "type=container", "--filter", "event=start", "--format")
_SOURCES: Final = {
    "docker": ("docker", "events", *_STARTS, "{{.Actor.Attributes.name}}"),
    "podman": ("podman", "events", *_STARTS, "{{.Name}}"),
    "ip": ("ip", "-o", "monitor", "link"),
}
_REMOVED: Final = re.compile(r"Deleted \d+: ([^:@ ]+)")
_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")


class _EndedError(Exception):
    """SIGTERM has come."""


def watch(mode: Mode) -> None:
    """Restore all, and again whenever something happens, until SIGTERM ends it."""
    signal.signal(signal.SIGTERM, _end)
    with suppress(_EndedError):
        _follow(mode)


def _follow(mode: Mode) -> None:
    names = tuple(name for name in _SOURCES if name in find_tools(_SOURCES))
    output.note_line(f"following {', '.join(names)}")
    with follow(_SOURCES[name] for name in names) as happened:
        # What happened before the streams were open is found by looking once behind them.
        _restore(mode, None)
        for lines in happened:
            for only in _wanted((names[number], line) for number, line in lines):
                _restore(mode, only)


def _end(_number: int, _frame: object) -> NoReturn:
    raise _EndedError


def _wanted(lines: Iterable[tuple[str, str]]) -> tuple[str | None, ...]:
    """Return the sandboxes that have started; None for all of them."""
    found: dict[str | None, None] = {}
    for source, line in lines:
        removed = _REMOVED.match(line) if source == "ip" else None
        if not line:
            found[None] = None
        elif source != "ip" and _NAME.fullmatch(line):
            found[f"{source}:{line}"] = None
        elif removed is not None and (naming.is_marked(removed[1]) or removed[1] in _bridges()):
            found[None] = None
    return tuple(found)


def _bridges() -> set[str | None]:
    networks = [record.network for record in read_networks()]
    return {name for network in networks for name in (network.bridge, network.shim)}


def _restore(mode: Mode, only: str | None) -> None:
    try:
        _tell(restore(mode, only=only))
    except Interrupted:
        raise
    except NettoolError as error:
        output.print_error(error, as_json=False)


def _tell(restored: Restored) -> None:
    output.print_lines(f"done: {plan.title}" for plan in restored.plans)
    sys.stdout.flush()
    for failure in restored.failures:
        output.print_error(failure, as_json=False)
