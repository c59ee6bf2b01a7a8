"""A disk of its own for the records that last, and what can go wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hosts import Host

STATE: Final = "/run/nettool-state"
TROUBLES: Final = {
    "full": (f"dd if=/dev/zero of={STATE}/filler bs=4k 2>/dev/null", f"rm {STATE}/filler"),
    "read-only": (f"mount -o remount,ro {STATE}", f"mount -o remount,rw {STATE}"),
}
"""Shell commands that bring the trouble, and that end it."""
BROKEN: Final = (
    f"mkdir -p -m 700 {STATE}; cp {STATE}/state.db {STATE}/kept; echo broken >{STATE}/state.db",
    f"rm {STATE}/state.db; [ ! -e {STATE}/kept ] || mv {STATE}/kept {STATE}/state.db",
)
"""The same for a database that is none any more."""


def disk_of_its_own(host: Host) -> None:
    """Put the state folder on a small file system."""
    host.check("mkdir", "-p", "-m", "700", STATE)
    host.check("mount", "-t", "tmpfs", "-o", "mode=700,size=256k", "tmpfs", STATE)
