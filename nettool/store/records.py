"""Write what a run has changed in the records: those of this boot, and those that last."""

from __future__ import annotations

from nettool.store.rundir import write_changes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from nettool.plan import Change, NetworkChange


def write_records(changes: Iterable[Change], networks: Iterable[NetworkChange]) -> None:
    """Record endpoints and networks; doing it twice does no harm. Raises OSError."""
    write_changes(changes)
    networks = tuple(networks)
    if networks:
        from nettool.store.database import write_networks  # most runs change no network

        write_networks(networks)
