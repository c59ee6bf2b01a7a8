"""Write what a run has changed in the records: those of this boot, and those that last."""

from __future__ import annotations

from nettool.errors import NettoolError
from nettool.model import Records
from nettool.store.rundir import read_records, write_changes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from nettool.plan import Change, NetworkChange


def prepare_records(networks: Iterable[NetworkChange]) -> None:
    """Make sure, before anything is done, that what lasts can be written. Raises Refused."""
    if tuple(networks):
        from nettool.store.database import prepare_networks

        prepare_networks()


def put_back_records(changes: Iterable[Change], networks: Iterable[NetworkChange]) -> list[str]:
    """Make the records what they were before a run; return what went wrong, for whoever reads it.

    What is as it was is left alone: the disk may be one that takes nothing. Never raises.
    """
    try:
        there = read_records()
    except NettoolError:
        there = Records()
    back = [c.turned() for c in changes if there.endpoint(c.endpoint.host_end) != c.before]
    try:
        write_records(back, _networks_to_put_back(tuple(networks)))
    except OSError as error:
        return [f"the records could not be put back: {error}"]
    except NettoolError as error:
        return [f"the records could not be put back: {'; '.join((error.what, *error.why))}"]
    return []


def _networks_to_put_back(changes: tuple[NetworkChange, ...]) -> tuple[NetworkChange, ...]:
    if not changes:
        return ()
    from nettool.store.database import read_networks

    there = Records(networks=read_networks())
    return tuple(c.turned() for c in changes if there.network(c.name) != c.before)


def write_records(changes: Iterable[Change], networks: Iterable[NetworkChange]) -> None:
    """Record endpoints and networks; doing it twice does no harm. Raises OSError."""
    write_changes(changes)
    networks = tuple(networks)
    if networks:
        from nettool.store.database import write_networks  # most runs change no network

        write_networks(networks)
