"""Plan to put sandboxes on networks and to take them off: choose addresses, then attach. Pure."""

from __future__ import annotations

import ipaddress

from nettool.attaching import plan_attach
from nettool.detaching import endpoints_of, plan_detach
from nettool.errors import Refused, TargetNotFound, UsageError
from nettool.facts import LinkFact, NamespaceFacts
from nettool.firewall import mark_of
from nettool.ipam import address_fault, next_address
from nettool.lowering import choose_dialect
from nettool.model import Connection
from nettool.plan import NetworkChange, Plan
from nettool.ports import parse_ports
from nettool.request import RUNTIMES, Attach, Connect, Detach, Target
from nettool.resolve import Findings, resolve_sandbox
from nettool.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Final

    from nettool.facts import Facts, SandboxFact
    from nettool.ipam import Subnet
    from nettool.model import Endpoint, Network, NetworkRecord, Record, Records
    from nettool.request import Disconnect

WAITING: Final = ("created", "exited", "stopped", "configured", "initialized")
"""What runtimes call a container that does not run, and can be started."""
_IMAGINED: Final = 0
"""The number of a namespace that is not there yet; no namespace has it."""


def plan_connect(request: Connect, facts: Facts, records: Records) -> Plan:
    """Plan to put a sandbox on a network. Raises TargetNotFound and Refused.

    A container that does not run is only put on record: it is wired when it starts.
    """
    record = network_record(request.network, records)
    if request.kept:
        found = record.connection(str(request.target))
        if found is None:
            return Plan(request, f"connect {request.target} to {request.network}", "classic", (), (), ())
        request = _of_record(request.network, found)
    addresses = choose_addresses(request, facts, records)
    if is_waiting(request.target, facts):
        planned = _put_on_record(_as_attach(request, record.network, addresses), facts, records)
    else:
        planned = plan_attach(_as_attach(request, record.network, addresses), facts, records)
    given = tuple(text.partition("/")[0] for text in addresses)
    asked = (request.ip, request.ip6)
    last = tuple(address for address in given if address not in asked) or record.last
    there = _endpoint_on(record, request.target, facts, records)
    name = lasting_name(request.target, facts)
    kept = record.connection(name) if name else None
    after = replace(record, last=last) if there is None and kept is None else record
    if name is not None:
        after = after.with_connection(name, _connection(name, request, addresses, kept))
    return replace(
        planned,
        request=request,
        title=f"connect {request.target} to {record.network.name}",
        networks=() if after == record else (NetworkChange(after, record),),
    )


def _of_record(network: str, kept: Connection) -> Connect:
    kind, _, value = kept.target.partition(":")
    by_family = {":" in cidr: cidr.partition("/")[0] for cidr in kept.addresses}
    return Connect(
        network, Target(kind, value), by_family.get(False), by_family.get(True), kept.ifname, kept.mac,
        kept.default_route, kept.published, dialect=kept.dialect, aliases=kept.aliases,
    )  # fmt: skip


def _as_attach(request: Connect, network: Network, addresses: tuple[str, ...]) -> Attach:
    return Attach(
        target=request.target,
        addresses=addresses,
        bridge=network.bridge or "",
        gateway="none" if network.internal else "auto",
        ifname=request.ifname,
        mac=request.mac,
        default_route=request.default_route,
        published=request.published,
        allow_from=request.allow_from,
        dialect=request.dialect,
        name=request.name,
        aliases=request.aliases,
    )


def _put_on_record(request: Attach, facts: Facts, records: Records) -> Plan:
    """Plan what is only put on record: what is in its way is what would be if it ran now."""
    found = facts.sandbox(str(request.target))
    if found is None:
        raise ValueError(f"{request.target} was not looked for")
    note = f"{request.target} is {found.state}: it is wired when it runs, by `nettool restore`"
    left = {each.endpoint.host_end for each in _endpoints_of(request.target, facts, records)}
    imagined = plan_attach(request, *_as_if_running(found, left, facts, records))
    return Plan(
        request, "", imagined.dialect, (), (), (),
        problems=imagined.in_the_way, notes=(note, *imagined.notes),
    ).against(facts)  # fmt: skip


def _as_if_running(
    found: SandboxFact, left: Container[str], facts: Facts, records: Records
) -> tuple[Facts, Records]:
    """Return the facts and records as they were if a container had just started, with `lo` alone.

    `left` are the host ends of its last life: `nettool restore` clears away what is left of that first.
    """
    running = replace(found, state="running", inode=_IMAGINED, detail="")
    inside = NamespaceFacts(_IMAGINED, links=(LinkFact("lo", 1, "", "00:00:00:00:00:00", 65536, up=True),))
    firewall = facts.firewall
    if firewall is not None:
        rules = tuple(rule for rule in firewall.rules if mark_of(rule) not in left)
        firewall = replace(firewall, rules=rules)
    host = replace(facts.host, links=tuple(link for link in facts.host.links if link.name not in left))
    return (
        replace(facts, host=host, namespaces=(*facts.namespaces, inside), firewall=firewall,
                sandboxes=tuple(running if each == found else each for each in facts.sandboxes)),
        replace(records, endpoints=tuple(r for r in records.endpoints if r.endpoint.host_end not in left)),
    )  # fmt: skip


def _connection(
    name: str, request: Connect, addresses: tuple[str, ...], before: Connection | None
) -> Connection:
    """Return what is kept of a connection; ports that were published before stay so."""
    published = tuple(map(str, parse_ports(request.published, request.allow_from)))
    aliases = tuple(dict.fromkeys((*(before.aliases if before else ()), *request.aliases)))
    return Connection(
        name, addresses, request.ifname, request.mac, request.default_route,
        published or (before.published if before else ()), request.dialect, aliases,
    )  # fmt: skip


def is_waiting(target: Target, facts: Facts) -> bool:
    """Whether a target is a container that does not run, and can be started."""
    found = facts.sandbox(str(target))
    return found is not None and found.state in WAITING


def lasting_name(target: Target, facts: Facts) -> str | None:
    """Return the name by which a sandbox is found again when it is started anew; a pid is none."""
    found = facts.sandbox(str(target))
    answers = found.answers_to if found else ()
    names = (name for name in answers if name.partition(":")[0] in RUNTIMES)
    return next(names, str(target) if target.kind == "netns" else None)


def plan_disconnect(request: Disconnect, facts: Facts, records: Records) -> Plan:
    """Plan to take a sandbox off a network; nothing is to do when it is not on it."""
    record = network_record(request.network, records)
    there = _endpoint_on(record, request.target, facts, records)
    kept = record.kept_as(request.target)
    absent = kept is not None and facts.sandbox(str(request.target)) is None
    if there is None and (absent or is_waiting(request.target, facts)):
        planned = Plan(request, "", choose_dialect(request.dialect, facts), (), (), (), inverse=True)
        planned = planned.against(facts)
    else:
        # A name that no interface can have matches none.
        detach = Detach(request.target, ifname=there.ifname if there else "", dialect=request.dialect)
        planned = plan_detach(detach, facts, records)
    name = lasting_name(request.target, facts) or kept or str(request.target)
    after = record.with_connection(name, None)
    return replace(
        planned,
        request=request,
        title=f"disconnect {request.target} from {request.network}",
        networks=() if after == record else (NetworkChange(after, record),),
    )


def network_record(name: str, records: Records) -> NetworkRecord:
    """Return a network that sandboxes can be put on. Raises TargetNotFound and Refused."""
    record = records.network(name)
    if record is None:
        known = ", ".join(each.network.name for each in records.networks) or "none"
        why, hints = (f"networks: {known}",), (f"nettool network create {name}",)
        raise TargetNotFound(f"there is no network {name!r}", why=why, hints=hints)
    if record.network.bridge is None:
        why = (f"its driver is {record.network.driver}: it wires nothing",)
        raise Refused(f"nothing can be connected to network {name}", why=why)
    return record


def choose_addresses(request: Connect, facts: Facts, records: Records) -> tuple[str, ...]:
    """Return an address of each subnet, with its prefix length.

    One that answers on the wire, though nobody here has it, is passed over. Raises Refused when a
    subnet is full, or does not have the address that is asked for.
    """
    record = network_record(request.network, records)
    there = _endpoint_on(record, request.target, facts, records)
    name = lasting_name(request.target, facts) or ""
    kept = record.connection(name)
    have = there.addresses if there else kept.addresses if kept else ()
    promised = {
        c.partition("/")[0]: k.target for k in record.connections if k.target != name for c in k.addresses
    }
    used = _used(record, facts, records) | promised.keys()
    chosen = []
    if request.kept:
        return have
    asked = {4: request.ip, 6: request.ip6}
    for subnet in record.network.subnets:
        family = 6 if ":" in subnet.cidr else 4
        length = subnet.cidr.partition("/")[2]
        own = next((c for c in have if (":" in c) == (family == 6)), None)
        if asked[family] is not None:
            address = _asked(asked[family] or "", subnet, own)
            if address in promised:
                why = (f"it is kept for {promised[address]}",)
                raise Refused(f"address {address} cannot be given", why=why)
            chosen.append(f"{address}/{length}")
            asked[family] = None
        elif own is not None:
            chosen.append(own)
        else:
            chosen.append(f"{_next(subnet, used, record)}/{length}")
    left = next((text for text in asked.values() if text is not None), None)
    if left is not None:
        raise Refused(f"network {request.network} has no subnet for the address {left}")
    return tuple(chosen)


def _asked(text: str, subnet: Subnet, own: str | None) -> str:
    try:
        address = str(ipaddress.ip_address(text))
    except ValueError as error:
        raise UsageError(f"{text!r} is no address", why=(str(error),)) from error
    # Whether it is in use is found out with everything else, and said with its owner.
    fault = address_fault(subnet, address, ())
    if fault is not None and f"{address}/" not in (own or ""):
        raise Refused(f"address {address} cannot be given", why=(fault,))
    return address


def _next(subnet: Subnet, used: frozenset[str], record: NetworkRecord) -> str:
    last = next((a for a in record.last if (":" in a) == (":" in subnet.cidr)), None)
    found = next_address(subnet, used, last)
    if found is None:
        name = record.network.name
        raise Refused(
            f"network {name} has no free address left in {subnet.cidr}",
            hints=("nettool gc, for containers that are gone", f"nettool network inspect {name}"),
        )
    return found


def _used(record: NetworkRecord, facts: Facts, records: Records) -> frozenset[str]:
    """Return every address that somebody has: on record, on this host, or heard on the wire."""
    endpoints = (each.endpoint for each in records.endpoints)
    on_record = (c for e in endpoints if e.bridge == record.network.bridge for c in e.addresses)
    here = (*(address.cidr for address in facts.host.addresses), *record.network.host_addresses)
    heard = (address for address, _ in facts.answering)
    return frozenset(text.partition("/")[0] for text in (*on_record, *here, *heard))


def _endpoint_on(record: NetworkRecord, target: Target, facts: Facts, records: Records) -> Endpoint | None:
    there = _endpoints_of(target, facts, records)
    return next((each.endpoint for each in there if each.endpoint.bridge == record.network.bridge), None)


def _endpoints_of(target: Target, facts: Facts, records: Records) -> tuple[Record, ...]:
    return endpoints_of(resolve_sandbox(target, facts, Findings()), facts, records)
