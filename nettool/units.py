"""Units of systemd that restore what is on record at boot, and whenever a container starts."""

from __future__ import annotations

import os
import sys

from nettool.errors import Refused
from nettool.export import write_whole
from nettool.renderers import Escaped, fill
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

UNITS: Final = ("nettool-restore.service", "nettool-watch.service")
_MARK: Final = "# Written by nettool"
_KEPT: Final = ("NETTOOL_RUN_DIR", "NETTOOL_STATE_DIR")


def unit_folder() -> str:
    """Return the folder of the host's own units: `NETTOOL_UNIT_DIR`, or /etc/systemd/system."""
    return os.environ.get("NETTOOL_UNIT_DIR") or "/etc/systemd/system"


class Unit(Value):
    """A unit's file: where it goes, and what it says."""

    path: str
    text: str


def make_units() -> tuple[Unit, ...]:
    """Return the units as they are to be written.

    Raises Refused for a file that is there and that nettool did not write.
    """
    folder = unit_folder()
    if not os.path.isdir(folder):
        raise Refused(f"there is no folder {folder}", why=("systemd reads its units there",))
    paths = tuple(f"{folder}/{name}" for name in UNITS)
    for path in paths:
        if os.path.lexists(path) and not _is_ours(path):
            raise Refused(f"{path} is there, and nettool did not write it", hints=("move it away",))
    # In a command, systemd puts values in for $NAME; in an assignment, it does not.
    command = _words((sys.executable.replace("$", "$$"), "-m", "nettool"))
    kept = [_words((f"{name}={os.environ[name]}",)) for name in _KEPT if os.environ.get(name)]
    texts = (fill(f"{name}.j2", command=command, environment=kept) for name in UNITS)
    return tuple(Unit(path, text) for path, text in zip(paths, texts, strict=True))


def write_units(units: Iterable[Unit]) -> None:
    """Write the units, each whole or not at all. Raises Refused."""
    for unit in units:
        write_whole(unit.path, unit.text, executable=False)


def _is_ours(path: str) -> bool:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().startswith(_MARK)
    except OSError:
        return False


def _words(words: Iterable[str]) -> Escaped:
    """Return words as a unit takes them (systemd.syntax(7)). Raises Refused for what cannot be shown."""
    odd = next((word for word in words if not word.isprintable()), None)
    if odd is not None:
        raise Refused(f"{odd!a} cannot be written in a unit")
    escaped = (word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") for word in words)
    return Escaped(" ".join(f'"{word}"' if " " in word else word for word in escaped))
