"""Plan to create and to remove networks: decide everything, then let the driver lower it. Pure."""

from __future__ import annotations

import ipaddress
import re

from nettool import naming, parents
from nettool.drivers import bridge, dns, macvlan
from nettool.drivers.options import parse_options
from nettool.errors import TargetNotFound, UsageError
from nettool.ipam import Subnet, free_subnet, gateway_of, parse_pools
from nettool.leaving import needed_by
from nettool.lowering import check_tools
from nettool.model import Network, NetworkRecord
from nettool.plan import NetworkChange, Plan, Scope, inverse
from nettool.resolve import Findings
from nettool.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from nettool.facts import Facts
    from nettool.ipam import IPNetwork
    from nettool.model import Records
    from nettool.plan import Step
    from nettool.request import CreateNetwork, RemoveNetwork, RestoreNetwork

DRIVERS: Final = ("bridge", "none", *parents.DRIVERS)
_LABEL: Final = r"[A-Za-z0-9][A-Za-z0-9_./-]*=.*"
_LEAST_MTU: Final = {4: 68, 6: 1280}
# RFC 4291, 4: reserved; the loopback address and IPv4 in IPv6's words lie there.
_NOT_FOR_HOSTS: Final = "::/8"
"""What an interface must take: IPv4 (RFC 791) and IPv6 (RFC 8200, 5)."""


def check_create(request: CreateNetwork) -> None:
    """Refuse a request that no host could carry out. Raises UsageError."""
    fault = naming.network_name_fault(request.name)
    if fault:
        raise UsageError(f"{request.name!r} cannot be the name of a network", why=(fault,))
    if request.driver not in DRIVERS:
        raise UsageError(f"there is no driver {request.driver!r}", why=(f"known: {', '.join(DRIVERS)}",))
    fault = naming.interface_name_fault(request.bridge_name) if request.bridge_name else None
    if fault:
        raise UsageError(f"--bridge-name {request.bridge_name!r} {fault}")
    for label in request.labels:
        if re.fullmatch(_LABEL, label) is None or not label.isprintable():
            raise UsageError(f"--label {label!r} is no KEY=VALUE")
    parse_options(request.driver, request.options)
    subnets = parse_subnets(request)
    parents.check_words(request, subnets)
    least = max((_LEAST_MTU[6 if ":" in s.cidr else 4] for s in subnets), default=68)
    if request.mtu is not None and not least <= request.mtu <= 65535:
        raise UsageError(f"--mtu {request.mtu} is out of range", why=(f"{least} to 65535 bytes",))


def parse_subnets(request: CreateNetwork) -> tuple[Subnet, ...]:
    """Parse the subnets that are asked for, each with its gateway, range and exclusions."""
    subnets = [_network("--subnet", text) for text in request.subnets]
    for one, other in ((a, b) for n, a in enumerate(subnets) for b in subnets[:n]):
        if one.version == other.version and one.overlaps(other):
            raise UsageError(f"--subnet {one} and {other} overlap")
    gateways = _by_subnet("--gateway", request.gateways, subnets)
    ranges = _by_subnet("--ip-range", request.ranges, subnets)
    excluded = _by_subnet("--exclude", request.excluded, subnets)
    parsed = tuple(
        Subnet(
            str(subnet),
            next(iter(gateways.get(subnet, ())), None),
            next(iter(ranges.get(subnet, ())), None),
            excluded.get(subnet, ()),
        )
        for subnet in subnets
    )
    for subnet in parsed:
        _check_gateway(subnet)
    return parsed


def _network(option: str, text: str) -> IPNetwork:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is no subnet", why=(str(error),)) from error
    if network.num_addresses < 4 or network.prefixlen == 0 or network.is_multicast or network.is_loopback:
        raise UsageError(f"{option} {text!r} is no subnet for a network", why=("it holds no hosts",))
    if network.version == 6 and network.overlaps(ipaddress.IPv6Network(_NOT_FOR_HOSTS)):
        raise UsageError(
            f"{option} {text!r} is no subnet for a network", why=(f"{_NOT_FOR_HOSTS} is reserved",)
        )
    return network


def _by_subnet(
    option: str, texts: tuple[str, ...], subnets: list[IPNetwork]
) -> dict[IPNetwork, tuple[str, ...]]:
    """Sort addresses and ranges by the subnet that each lies in. Raises UsageError."""
    found: dict[IPNetwork, tuple[str, ...]] = {}
    for text in texts:
        try:
            part = ipaddress.ip_network(text)
        except ValueError as error:
            raise UsageError(f"{option} {text!r} is no address or range", why=(str(error),)) from error
        home = [s for s in subnets if s.version == part.version and part.subnet_of(s)]  # type: ignore[arg-type]  # same version
        if not home:
            raise UsageError(f"{option} {text} lies in no --subnet")
        one = text if option != "--gateway" else str(ipaddress.ip_address(text))
        found[home[0]] = (*found.get(home[0], ()), one)
        if option != "--exclude" and len(found[home[0]]) > 1:
            raise UsageError(f"{option} is given twice for {home[0]}")
    return found


def _check_gateway(subnet: Subnet) -> None:
    network, gateway = ipaddress.ip_network(subnet.cidr), ipaddress.ip_address(gateway_of(subnet))
    if gateway in (network.network_address, network.broadcast_address) and network.version == 4:
        raise UsageError(f"--gateway {gateway} is no host address of {network}")


def plan_create(request: CreateNetwork, facts: Facts, records: Records) -> Plan:
    """Plan to create a network."""
    findings = Findings()
    known = records.network(request.name)
    network = _decide(request, facts, records, findings, known)
    if known is not None:
        _check_same(known.network, network, findings)
    else:
        check_subnets(network, facts, records, findings)
        _check_bridge(network, facts, records, findings)
    if network.driver in parents.DRIVERS:
        parents.check_parent(network, facts, findings, new=known is None)
    steps = _steps(network, facts)
    check_tools(steps, facts, findings)
    if facts.firewall and facts.firewall.mixed and network.driver == "bridge":
        findings.notes.append(
            "this host has rules in both variants of iptables, nft and legacy: a packet has to pass both"
        )
    planned = Plan(
        request=request,
        title=f"create network {network.name}",
        dialect="classic",
        steps=steps,
        sandboxes=(),
        changes=(),
        problems=tuple(findings.problems),
        notes=tuple(findings.notes),
    ).against(facts)
    made = planned.made(known.made if known else ())
    record = replace(known, network=network, made=made) if known else NetworkRecord(network, made)
    return planned if record == known else replace(planned, networks=(NetworkChange(record, known),))


def _steps(network: Network, facts: Facts) -> tuple[Step, ...]:
    if network.driver in parents.DRIVERS:
        return macvlan.create(network, facts)
    if not network.has_rules:
        return ()
    return (*bridge.create(network, facts), *dns.create(network))


def _decide(
    request: CreateNetwork, facts: Facts, records: Records, findings: Findings, known: NetworkRecord | None
) -> Network:
    if request.driver == "none":
        return Network(request.name, "none", labels=request.labels)
    subnets = parse_subnets(request)
    if not subnets:
        subnets = known.network.subnets if known else _free(request, facts, records, findings)
    if request.driver in parents.DRIVERS:
        return parents.decide(request, subnets, facts, known)
    name = request.bridge_name or naming.bridge_of(request.name)
    there = facts.host.link(name)
    own = there is None or (known is not None and f"bridge {name}" in known.made)
    return Network(
        request.name, "bridge", name,
        mac=naming.mac_of("bridge", request.name) if own else None,
        subnets=subnets, mtu=request.mtu, internal=request.internal, masquerade=request.masquerade,
        isolate=request.isolate,
        own_bridge=own, labels=request.labels, dns=facts.dns_folder if request.dns else None,
        options=parse_options("bridge", request.options),
    )  # fmt: skip


def _free(request: CreateNetwork, facts: Facts, records: Records, findings: Findings) -> tuple[Subnet, ...]:
    try:
        pools = parse_pools(request.pools)
    except ValueError as error:
        raise UsageError(f"the address pools {request.pools!r} cannot be read", why=(str(error),)) from error
    found = free_subnet(pools, tuple(network for network, _ in _taken(facts, records)))
    if found is None:
        findings.problem(
            "no subnet of the pools is free", f"pools: {request.pools}",
            hints=("--subnet CIDR", "NETTOOL_ADDRESS_POOLS=CIDR:LENGTH,…"),
        )  # fmt: skip
        return ()
    return (Subnet(str(found)),)


def _taken(facts: Facts, records: Records) -> Iterator[tuple[IPNetwork, str]]:
    """Yield each network that is in use on this host, with who uses it."""
    for record in records.networks:
        for subnet in record.network.subnets:
            yield ipaddress.ip_network(subnet.cidr), f"the network {record.network.name}"
    for address in facts.host.addresses:
        if address.link != "lo":
            network = ipaddress.ip_interface(address.cidr).network
            yield network, f"the host's {address.link} has {address.cidr}"
    for route in facts.host.routes:
        if route.destination != "default":
            words = " ".join(route.words())
            yield ipaddress.ip_network(route.destination, strict=False), f"the route {words}"


def check_subnets(network: Network, facts: Facts, records: Records, findings: Findings) -> None:
    """Find who uses a network's subnets already."""
    for subnet in network.subnets:
        wanted = ipaddress.ip_network(subnet.cidr)
        for taken, whose in _taken(facts, records):
            if taken.version != wanted.version or not taken.overlaps(wanted) or taken.is_link_local:
                continue
            # A bridge that was there may have the gateway's address already.
            if network.own_bridge or f" {network.bridge} " not in f"{whose} ":
                hints = ("--subnet with another", "nettool network ls")
                findings.problem(f"the subnet {wanted} is in use", whose, hints=hints)
                break


def _check_bridge(network: Network, facts: Facts, records: Records, findings: Findings) -> None:
    link = facts.host.link(network.bridge) if network.bridge else None
    user = next((r.network.name for r in records.networks if r.network.bridge == network.bridge), None)
    if network.bridge and user:
        what = "bridge" if network.driver == "bridge" else "interface"
        findings.problem(f"the {what} {network.bridge} is that of network {user}")
    elif network.driver != "bridge":
        return
    elif link is not None and link.kind != "bridge":
        findings.problem(f"{network.bridge} is no bridge", f"it is a {link.kind or 'physical'} interface")
    elif link is not None:
        findings.notes.append(f"the bridge {network.bridge} was there: it is used, and never removed")
        if network.options:
            said = ", ".join(network.options)
            findings.problem(f"the bridge {network.bridge} was there: its options stay as they are", said)


def _check_same(known: Network, wanted: Network, findings: Findings) -> None:
    names = (
        "driver", "bridge", "parent", "vlan", "mode", "host_addresses", "subnets", "mtu", "internal",
        "masquerade", "isolate", "labels", "options", "dns", "unmanaged",
    )  # fmt: skip
    differ = [name for name in names if getattr(known, name) != getattr(wanted, name)]
    if differ:
        findings.problem(
            f"there is a network {known.name} already, with another {', '.join(differ)}",
            hints=(f"nettool network inspect {known.name}", f"nettool network rm {known.name}"),
        )


def plan_remove(request: RemoveNetwork, facts: Facts, records: Records) -> Plan:
    """Plan to remove a network. Raises TargetNotFound when there is none of that name."""
    record = records.network(request.name)
    if record is None:
        known = ", ".join(each.network.name for each in records.networks) or "none"
        raise TargetNotFound(f"there is no network {request.name!r}", why=(f"networks: {known}",))
    findings = Findings()
    _check_unused(record.network, facts, records, findings)
    needed = needed_by((r for r in records.networks if r != record), records.endpoints, facts)
    steps = tuple(step for step in _steps(record.network, facts) if _goes(step, record, needed))
    undone = inverse(steps)
    check_tools(undone, facts, findings)
    return Plan(
        request=request,
        title=f"remove network {request.name}",
        dialect="classic",
        steps=undone,
        sandboxes=(),
        changes=(),
        networks=(NetworkChange(None, record),),
        problems=tuple(findings.problems),
        inverse=True,
        restores=tuple(step for step in steps if step.makes.state(facts).is_present),
    ).against(facts)


def _goes(step: Step, record: NetworkRecord, needed: frozenset[str]) -> bool:
    if step.scope is Scope.FIREWALL:
        # They are ours by their names, whichever network was the first.
        return step.makes.key not in needed
    return step.scope is Scope.NETWORK and step.makes.key in record.made


def unused(facts: Facts, records: Records) -> tuple[str, ...]:
    """Return the names of the networks that nobody is on."""
    return tuple(
        record.network.name for record in records.networks if not users_of(record.network, facts, records)
    )


def _check_unused(network: Network, facts: Facts, records: Records, findings: Findings) -> None:
    users = users_of(network, facts, records)
    if users:
        findings.problem(
            f"network {network.name} is in use", f"by {', '.join(users)}",
            hints=(f"nettool network disconnect {network.name} TARGET",),
        )  # fmt: skip


def users_of(network: Network, facts: Facts, records: Records) -> list[str]:
    """Return who is on a network's link, as words."""
    if network.driver in parents.DRIVERS:
        return parents.users_of(network, facts, records)
    ports = [link.name for link in facts.host.links if link.master == network.bridge and network.bridge]
    by_end = {record.endpoint.host_end: record.endpoint for record in records.endpoints}
    if not network.own_bridge:
        ports = [port for port in ports if port in by_end]
    wired = [f"{by_end[p].sandbox.target} ({by_end[p].ifname})" if p in by_end else p for p in ports]
    there = {name for p in ports if p in by_end for name in by_end[p].sandbox.names}
    record = records.network(network.name)
    waiting = record.waiting(there) if record else ()
    return [*wired, *(f"{kept.target} (not wired)" for kept in waiting)]


def plan_restore(request: RestoreNetwork, facts: Facts, records: Records) -> Plan:
    """Plan to make again what is gone of a network. Raises TargetNotFound."""
    record = records.network(request.name)
    if record is None:
        raise TargetNotFound(f"there is no network {request.name!r}")
    network, findings = record.network, Findings()
    if network.driver in parents.DRIVERS:
        parents.check_there(network, facts, findings)
    elif not network.own_bridge and facts.host.link(network.bridge or "") is None:
        findings.problem(
            f"the bridge {network.bridge} is gone", "it was not nettool's, so it is not made again"
        )
    steps = _steps(network, facts)
    check_tools(steps, facts, findings)
    planned = Plan(
        request=request,
        title=f"restore network {network.name}",
        dialect="classic",
        steps=steps,
        sandboxes=(),
        changes=(),
        problems=tuple(findings.problems),
    ).against(facts)
    after = replace(record, made=planned.made(record.made))
    return planned if after == record else replace(planned, networks=(NetworkChange(after, record),))
