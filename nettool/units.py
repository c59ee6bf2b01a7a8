"""Units of systemd that restore what is on record at boot, and whenever a container starts."""

from __future__ import annotations

import os
import sys

from nettool.errors import Refused
from nettool.export import write_whole
from nettool.renderers import Escaped, fill

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


def install_units() -> tuple[str, ...]:
    """Write the units; return their paths. Raises Refused for a file there that nettool did not write."""
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
    for name, path in zip(UNITS, paths, strict=True):
        write_whole(path, fill(f"{name}.j2", command=command, environment=kept), executable=False)
    return paths


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
