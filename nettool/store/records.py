"""Write what a run has changed in the records: those of this boot, and those that last."""

from __future__ import annotations

from nettool.store.rundir import write_changes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from nettool.plan import Change, NetworkChange


def put_back_records(changes: Iterable[Change], networks: Iterable[NetworkChange]) -> list[str]:
    """Make the records what they were before a run; return what went wrong, for whoever reads it."""
    try:
        write_records((c.turned() for c in changes), (n.turned() for n in networks))
    except OSError as error:
        return [f"the records could not be put back: {error}"]
    return []


def write_records(changes: Iterable[Change], networks: Iterable[NetworkChange]) -> None:
    """Record endpoints and networks; doing it twice does no harm. Raises OSError."""
    write_changes(changes)
    networks = tuple(networks)
    if networks:
        from nettool.store.database import write_networks  # most runs change no network

        write_networks(networks)
