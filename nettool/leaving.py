"""What goes along with endpoints that go, since they were the last that needed it. Pure.

Published ports share chains of the firewall, and a bridge's way for the host's 127.0.0.1. What others
still need stays, and whoever is left takes it back at its end.
"""

from __future__ import annotations

from nettool.drivers import bridge, ports
from nettool.plan import Change, Scope, inverse
from nettool.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nettool.facts import Facts
    from nettool.model import NetworkRecord, Record, Records
    from nettool.plan import Step


class Along(Value):
    """What goes along: the steps that were taken, and, for each record that stays, the keys it is handed."""

    taken: tuple[Step, ...] = ()
    handed: tuple[tuple[str, str], ...] = ()
    """Pairs of a host end and the key of a step."""
    flows: tuple[Step, ...] = ()
    """What makes the kernel forget who went to the ports that go."""

    @property
    def undone(self) -> tuple[Step, ...]:
        """The steps that take it away."""
        return (*inverse(self.taken), *self.flows)

    def restores(self, facts: Facts) -> tuple[Step, ...]:
        """Return the steps that make what there is of it again."""
        return tuple(step for step in self.taken if step.makes.state(facts).is_present)

    def heir(self, record: Record) -> Record:
        """Return a record that stays, with what it is handed."""
        keys = (key for host_end, key in self.handed if host_end == record.endpoint.host_end)
        return replace(record, made=tuple(dict.fromkeys((*record.made, *keys))))

    def heirs(self, records: Iterable[Record]) -> Iterator[Change]:
        """Yield the changes of those records that are handed something."""
        for record in records:
            if self.heir(record) != record:
                yield Change(self.heir(record), record)


def along_with(leaving: Iterable[Record], staying: Iterable[Record], facts: Facts, records: Records) -> Along:
    """Return what goes along with endpoints, or with some of their ports.

    `leaving` are records that have the ports that go, `staying` those of the same sandbox with the
    ports that stay.
    """
    publishing = tuple(record for record in leaving if record.endpoint.ports)
    if not publishing:
        return Along()
    near = tuple(staying)
    ends = {record.endpoint.host_end for record in (*publishing, *near)}
    far = (record for record in records.endpoints if record.endpoint.host_end not in ends)
    others = (*near, *far)
    needed = needed_by(records.networks, others, facts)
    taken: dict[str, Step] = {}
    handed: dict[tuple[str, str], None] = {}
    for record in publishing:
        for step in ports.shared(record.endpoint, facts):
            key = step.makes.key
            if step.scope is Scope.FIREWALL and key not in needed:
                taken[key] = step
            elif step.scope is Scope.PUBLISHING and key in record.made:
                heir = next((r for r in others if key in needed_by((), (r,), facts)), None)
                if heir is None:
                    taken[key] = step
                else:
                    handed[heir.endpoint.host_end, key] = None
    flows = (step for record in publishing for step in ports.ended_flows(record.endpoint, facts))
    return Along(tuple(taken.values()), tuple(handed), tuple(flows))


def needed_by(networks: Iterable[NetworkRecord], endpoints: Iterable[Record], facts: Facts) -> frozenset[str]:
    """Return the keys of the steps that networks and published ports rest on, each on its own families'."""
    made = (step for r in networks if r.network.has_rules for step in bridge.create(r.network, facts))
    shared = (step for r in endpoints for step in ports.shared(r.endpoint, facts))
    return frozenset(step.makes.key for step in (*made, *shared))
