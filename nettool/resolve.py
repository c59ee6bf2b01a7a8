"""Resolve a request to attach: from what is wanted and what the host is to a decided Endpoint.

Pure. What the request itself gets wrong raises UsageError; what this host does not allow is
collected as problems, so that a dry run can print the plan and name each of them.
"""

from __future__ import annotations

import ipaddress
import re

from nettool import naming
from nettool.errors import UsageError
from nettool.facts import ON_PARENT, Netns, RouteFact
from nettool.interfaces import present_interface
from nettool.ipam import gateway_of
from nettool.model import Endpoint, Sandbox
from nettool.plan import Problem
from nettool.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Interface, IPv6Interface
    from typing import Final

    from nettool.facts import Facts, LinkFact, NamespaceFacts, NeighbourFact, SandboxFact
    from nettool.interfaces import Present
    from nettool.model import Network
    from nettool.request import Attach, Target

    Interface = IPv4Interface | IPv6Interface
    IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

ETHERNET_MTU: Final = 1500
"""What a new veth has; a bridge with another MTU needs it named."""
PASSTHRU: Final = "passthru"
"""A macvlan that takes over its parent, with the parent's MAC."""
ROUTED: Final = ("l3", "l3s")
"""The modes of ipvlan in which the parent is a router, and no neighbour is asked for its MAC."""
_LINK: Final = "link"
_MAC: Final = r"[0-9a-f]{2}(:[0-9a-f]{2}){5}"


class Findings:
    """What resolving finds on the way: failed preconditions, and remarks for the reader."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def problem(self, what: str, *why: str, hints: tuple[str, ...] = ()) -> None:
        """Record a precondition that does not hold."""
        self.problems.append(Problem(what, why, hints))


class Wanted(Value):
    """An Attach request whose own words have been checked and parsed."""

    request: Attach
    addresses: tuple[Interface, ...]
    gateway: IPAddress | None
    routes: tuple[tuple[str, IPAddress | None], ...]
    mac: str | None
    known_ends: tuple[str, ...] = ()
    """Host ends that nettool has on record: its own, whatever their names."""
    network: Network | None = None
    """The network that is on the link, where there is one."""

    @property
    def on_parent(self) -> bool:
        """Whether the interface is made on the link itself."""
        return self.network is not None and self.network.kind in ON_PARENT


def parse_attach(request: Attach) -> Wanted:
    """Check and parse what needs no host to be judged. Raises UsageError."""
    for option, name in (("--ifname", request.ifname), ("--host-ifname", request.host_ifname)):
        fault = naming.interface_name_fault(name) if name is not None else None
        if fault:
            raise UsageError(f"{option} {name!r} {fault}")
    fault = naming.existing_name_fault(request.bridge)
    if fault:
        raise UsageError(f"--bridge {request.bridge!r} {fault}")
    if request.mtu is not None and not 68 <= request.mtu <= 65535:
        raise UsageError(f"--mtu {request.mtu} is not between 68 and 65535")
    _check_choices(request)
    addresses = tuple(parse_interface(text) for text in request.addresses)
    if not addresses:
        raise UsageError("no address was given", hints=("--ip 172.17.0.10/16",))
    if len({address.ip for address in addresses}) < len(addresses):
        raise UsageError("the same address was given twice")
    if any(address.version == 6 for address in addresses) and request.mtu and request.mtu < 1280:
        raise UsageError(f"--mtu {request.mtu} is below 1280, the least that IPv6 works with (RFC 8200)")
    gateway = _parse_gateway(request.gateway, addresses)
    routes = tuple(_parse_route(text) for text in request.routes)
    _check_destinations(routes, addresses)
    return Wanted(request, addresses, gateway, routes, parse_mac(request.mac))


def _check_choices(request: Attach) -> None:
    """Check what the command line offers a choice of: a saved plan may hold anything."""
    if request.default_route not in ("keep", "replace"):
        raise UsageError(f"--default-route {request.default_route!r} is neither keep nor replace")
    check_dialect(request.dialect)


def check_dialect(dialect: str) -> None:
    """Refuse a dialect that is none. Raises UsageError."""
    if dialect not in ("auto", "classic", "modern"):
        raise UsageError(f"--dialect {dialect!r} is neither auto, classic nor modern")


def parse_interface(text: str) -> Interface:
    """Parse an address with its prefix length. Raises UsageError."""
    try:
        address = ipaddress.ip_interface(text)
    except ValueError as error:
        raise UsageError(f"--ip {text!r} is no address", why=(str(error),)) from error
    if "/" not in text:
        raise UsageError(f"--ip {text!r} has no prefix length", hints=(f"--ip {text}/16",))
    if "%" in text:
        raise UsageError(f"--ip {text!r} names an interface; --ifname does that")
    if address.network.prefixlen == 0 or (address.version == 4 and int(address.ip) >> 24 == 0):
        raise UsageError(f"--ip {text} cannot be used", why=("it is in no network that a host can be in",))
    network, point_to_point = address.network, address.network.num_addresses <= 2
    if address.ip == network.network_address and not point_to_point:
        raise UsageError(f"--ip {text} is the address of the network {network} itself")
    if address.version == 4 and address.ip == network.broadcast_address and not point_to_point:
        raise UsageError(f"--ip {text} is the broadcast address of {network}")
    if address.is_multicast or address.is_unspecified or address.is_loopback:
        raise UsageError(f"--ip {text} cannot be the address of an interface")
    return address


def parse_mac(text: str | None) -> str | None:
    """Check an interface's MAC and write it the kernel's way. Raises UsageError."""
    if text is None:
        return None
    mac = text.lower().replace("-", ":")
    if re.fullmatch(_MAC, mac) is None:
        raise UsageError(f"--mac {text!r} is no MAC address", hints=("--mac 02:42:ac:11:00:0a",))
    if int(mac[:2], 16) & 1 or mac == "00:00:00:00:00:00":
        raise UsageError(f"--mac {text} is not the address of one interface", why=("it is a group address",))
    return mac


def _parse_gateway(text: str, addresses: Iterable[Interface]) -> IPAddress | None:
    if text in ("auto", "none"):
        return None
    try:
        gateway = ipaddress.ip_address(text)
    except ValueError as error:
        raise UsageError(f"--gateway {text!r} is neither auto, none nor an address") from error
    if any(gateway == address.ip for address in addresses):
        raise UsageError(f"--gateway {text} is the sandbox's own address")
    if all(gateway.version != address.version for address in addresses):
        raise UsageError(f"--gateway {text} is IPv{gateway.version}, and no address is")
    return gateway


def _check_destinations(
    routes: Iterable[tuple[str, IPAddress | None]], addresses: tuple[Interface, ...]
) -> None:
    """Refuse a route where another of the same request goes, or one that the kernel makes by itself.

    An IPv6 subnet's has the metric 256, so that there is room for one with the usual 1024.
    """
    taken = {str(each.network): f"the subnet of {each}" for each in addresses if each.version == 4}
    taken |= {str(ipaddress.ip_network(each.ip)): "the sandbox's own address" for each in addresses}
    for destination, _ in routes:
        if destination in taken:
            raise UsageError(f"--route {destination}: that is {taken[destination]}")
        taken[destination] = "given twice"


def _parse_route(text: str) -> tuple[str, IPAddress | None]:
    destination, comma, via = text.partition(",")
    try:
        network = ipaddress.ip_network(destination, strict=False)
        gateway = ipaddress.ip_address(via) if comma else None
    except ValueError as error:
        raise UsageError(f"--route {text!r} is not CIDR or CIDR,GATEWAY", why=(str(error),)) from error
    if ipaddress.ip_interface(destination).ip != network.network_address:
        raise UsageError(f"--route {text}: {destination} has host bits set", hints=(f"--route {network}",))
    if network.prefixlen == 0:
        raise UsageError(f"--route {text} is the default route; --gateway and --default-route set that")
    if gateway is not None and gateway.version != network.version:
        raise UsageError(f"--route {text} mixes IPv4 and IPv6")
    return str(network), gateway


def resolve_sandbox(target: Target, facts: Facts, findings: Findings, name: str | None = None) -> Sandbox:
    """Decide which namespace is meant and how the plan will name it."""
    found = facts.sandbox(str(target))
    if found is None or found.state != "running" or found.inode is None:
        findings.problems.append(_missing(target, found))
        return _unread_sandbox(target, found)
    if found.inode == facts.host.inode:
        findings.problem(
            f"{target} has no network namespace of its own",
            f"its namespace is the host's, net:[{found.inode}] (network mode host)",
        )
    netns_name, named = (name, False) if name else _netns_name(found, facts)
    return Sandbox(
        str(target), Netns(netns_name, found.inode), found.path, found.pid, found.start_time,
        named_by_plan=not named, runtime=_runtime(found), container=_container(found), name=name,
    )  # fmt: skip


def _missing(target: Target, found: SandboxFact | None) -> Problem:
    if found is None:
        why = ("nothing answers to that name",)
        return Problem(f"{target} is not on this host", why, target_missing=True, not_running=True)
    if found.state == "gone":
        why = (found.detail or "no such process",)
        return Problem(f"{target} is not there", why, target_missing=True, not_running=True)
    hint = ("sudo nettool …",) if found.state == "forbidden" else ()
    ended = found.pid is None and found.state not in ("forbidden", "unknown")
    return Problem(f"{target} cannot be used: it is {found.state}", (found.detail,), hint, not_running=ended)


def _unread_sandbox(target: Target, found: SandboxFact | None) -> Sandbox:
    pid = found.pid if found else (int(target.value) if target.kind == "pid" else None)
    path = found.path if found else (f"/proc/{pid}/ns/net" if pid else target.value)
    name = target.value if naming.is_netns_name(target.value) else naming.netns_name_for_path(target.value)
    if pid:
        name = str(pid)
    return Sandbox(
        str(target), Netns(name, None), path, pid, None, named_by_plan=target.kind != "netns",
        runtime=_runtime(found) if found else None, container=_container(found) if found else None,
    )  # fmt: skip


def _netns_name(found: SandboxFact, facts: Facts) -> tuple[str, bool]:
    """Return the namespace's name, and whether it is the target's own (not the plan's to give)."""
    for target in found.answers_to:
        kind, _, value = target.partition(":")
        entry = facts.netns_name(value) if kind == "netns" else None
        if entry is not None and entry.inode == found.inode:
            return value, True
    if found.pid is not None:
        return str(found.pid), False
    return naming.netns_name_for_path(found.path), False


def _runtime(found: SandboxFact) -> str | None:
    return _container_target(found)[0]


def _container(found: SandboxFact) -> str | None:
    return _container_target(found)[1]


def _container_target(found: SandboxFact) -> tuple[str | None, str | None]:
    for target in found.answers_to:
        kind, _, value = target.partition(":")
        if kind not in ("pid", "netns", "path", "container"):
            return kind, value
    return None, None


def resolve_attach(wanted: Wanted, sandbox: Sandbox, facts: Facts, findings: Findings) -> Endpoint:
    """Decide everything about the endpoint: names, MTU, gateway, routes."""
    request = wanted.request
    inside = facts.namespace(sandbox.netns)
    if wanted.network is not None and wanted.on_parent:
        bridge = _parent(wanted.network, facts, findings)
    else:
        bridge = _bridge(request.bridge, facts, findings)
    present = present_interface(wanted, facts, inside)
    ifname = present.inner.name if present else request.ifname or _free_ifname(inside)
    host_end = present.host_end if present else request.host_ifname or naming.host_end(
        sandbox.netns.inode or sandbox.target, request.bridge, ifname
    )  # fmt: skip
    mtu = bridge.mtu if bridge and bridge.mtu != ETHERNET_MTU else None
    endpoint = Endpoint(
        sandbox, request.bridge, host_end, naming.peer_of(host_end), ifname,
        addresses=tuple(str(address) for address in wanted.addresses),
        mac=wanted.mac, mtu=request.mtu or mtu, host_mtu=mtu,
        keep_bridge_mac=None if present and present.link else _bridge_mac_to_keep(bridge),
        enable_ipv6=_ipv6_is_off(wanted, inside),
        forget=_outdated(wanted, facts, present.inner.mac if present else None),
        sole=all(link.name in ("lo", ifname) for link in inside.links) if inside else True,
    )  # fmt: skip
    if wanted.network is not None and wanted.on_parent:
        endpoint = _on_parent(endpoint, wanted.network, wanted, present)
    return _with_routes(endpoint, wanted, facts, findings)


def _on_parent(endpoint: Endpoint, network: Network, wanted: Wanted, present: Present | None) -> Endpoint:
    """Decide what is different without a bridge.

    The MAC comes from the address: who had it before had the same, so that no neighbour behind the
    parent sends to another one. An ipvlan, and a macvlan that is all there is, have the parent's.
    """
    endpoint = replace(endpoint, kind=network.kind, mode=network.mode)
    mac = present.inner.mac if present else naming.mac_of("endpoint", wanted.addresses[0].ip)
    return replace(
        endpoint,
        mac=wanted.mac or (mac if endpoint.has_mac else None),
        mtu=wanted.request.mtu or network.mtu or endpoint.mtu,
        host_mtu=None,
        keep_bridge_mac=None,
    )


def _parent(network: Network, facts: Facts, findings: Findings) -> LinkFact | None:
    link = facts.host.link(network.bridge or "")
    if link is None:
        hints = (f"nettool restore, which makes what is gone of network {network.name}",)
        why = f"network {network.name} is on it"
        findings.problem(f"there is no interface {network.bridge} on this host", why, hints=hints)
    elif not link.up:
        findings.notes.append(f"{link.name} is down: nothing passes it until `ip link set {link.name} up`")
    return link


def _bridge(name: str, facts: Facts, findings: Findings) -> LinkFact | None:
    link = facts.host.link(name)
    if link is None:
        bridges = ", ".join(link.name for link in facts.host.links if link.kind == "bridge")
        findings.problem(
            f"there is no bridge {name} on this host",
            f"bridges here: {bridges or 'none'}",
            hints=("nettool attach … --bridge NAME", f"ip link add name {name} type bridge"),
        )
        return None
    if link.kind != "bridge":
        findings.problem(f"{name} is no bridge", f"it is a {link.kind or 'physical'} interface")
        return None
    if not link.up:
        findings.notes.append(f"{name} is down: nothing passes it until `ip link set {name} up`")
    return link


def _free_ifname(inside: NamespaceFacts | None) -> str:
    taken = {link.name for link in inside.links} if inside else set()
    number = 0
    while f"eth{number}" in taken:
        number += 1
    return f"eth{number}"


def _bridge_mac_to_keep(bridge: LinkFact | None) -> str | None:
    # With mac_set False the kernel gives the bridge the lowest MAC of its ports at every change
    # (br_stp_recalculate_bridge_id); all zeros is what is left when there are none.
    if bridge is None or bridge.mac_set is not False or bridge.mac == "00:00:00:00:00:00":
        return None
    return bridge.mac


def _outdated(wanted: Wanted, facts: Facts, own_mac: str | None) -> tuple[NeighbourFact, ...]:
    asked = {str(address.ip) for address in wanted.addresses}
    link = (wanted.network.shim if wanted.network else None) or wanted.request.bridge
    return tuple(
        neighbour
        for neighbour in facts.host.neighbours
        if neighbour.link == link and neighbour.ip in asked and neighbour.mac != own_mac
    )


def _ipv6_is_off(wanted: Wanted, inside: NamespaceFacts | None) -> bool:
    if inside is None or all(address.version == 4 for address in wanted.addresses):
        return False
    return inside.sysctl("net.ipv6.conf.default.disable_ipv6") == "1"


def _with_routes(endpoint: Endpoint, wanted: Wanted, facts: Facts, findings: Findings) -> Endpoint:
    routes: list[RouteFact] = []
    replaced: list[RouteFact] = []
    gateways: dict[int, IPAddress | None] = {}
    for family in sorted({address.version for address in wanted.addresses}):
        gateway = gateways[family] = _gateway(wanted, family, facts, findings)
        if gateway is None and _is_routed(wanted):
            direct = RouteFact(family, "default", None, endpoint.ifname, scope=_LINK if family == 4 else None)
            default, old = _default_route(direct, endpoint, wanted, facts, findings)
            routes += [default] if default else []
            replaced += [old] if old else []
        if gateway is None:
            continue
        if not _on_link(gateway, wanted.addresses):
            routes.append(_host_route(gateway, endpoint.ifname))
        by_gateway = RouteFact(family, "default", str(gateway), endpoint.ifname)
        default, old = _default_route(by_gateway, endpoint, wanted, facts, findings)
        routes += [default] if default else []
        replaced += [old] if old else []
    off_link = (g for g in gateways.values() if g is not None and not _on_link(g, wanted.addresses))
    hosts = {str(ipaddress.ip_network(gateway)) for gateway in off_link}
    for destination, via in wanted.routes:
        family = ipaddress.ip_network(destination).version
        hop = via or gateways.get(family)
        if destination in hosts:
            findings.problem(f"--route {destination}: the gateway has a route of its own there")
        routes.append(RouteFact(family, destination, str(hop) if hop else None, endpoint.ifname))
    return replace(endpoint, routes=tuple(routes), replaced=tuple(replaced))


def _gateway(wanted: Wanted, family: int, facts: Facts, findings: Findings) -> IPAddress | None:
    request = wanted.request
    if request.gateway == "none" or _is_routed(wanted):
        return None
    if wanted.gateway is not None and wanted.gateway.version == family:
        return wanted.gateway
    if wanted.network is not None and wanted.on_parent:
        return _of_network(wanted.network, wanted, family)
    return _of_bridge(wanted, family, facts, findings)


def _of_bridge(wanted: Wanted, family: int, facts: Facts, findings: Findings) -> IPAddress | None:
    """Return the bridge's own address, which is the gateway of what is behind it."""
    request = wanted.request
    addresses = [address for address in wanted.addresses if address.version == family]
    if facts.host.link(request.bridge) is None:
        first = addresses[0].network.network_address + 1
        return None if any(first == address.ip for address in addresses) else first
    of_bridge = [
        ip for ip in map(ipaddress.ip_interface, facts.host.addresses_of(request.bridge))
        if ip.version == family and not ip.is_link_local
    ]  # fmt: skip
    for ip in of_bridge:
        if any(address.ip in ip.network for address in addresses):
            return ip.ip
    if not of_bridge:
        findings.notes.append(f"{request.bridge} has no IPv{family} address: no IPv{family} default route")
        return None
    findings.notes.append(
        f"{addresses[0]} is outside {request.bridge}'s subnet {of_bridge[0].network}: the gateway "
        f"{of_bridge[0].ip} gets a route of its own, and the host needs one back"
    )
    return of_bridge[0].ip


def _is_routed(wanted: Wanted) -> bool:
    """Whether all goes to the parent, which is a router: there a gateway is never asked for its MAC."""
    network = wanted.network
    return network is not None and network.mode in ROUTED and wanted.request.gateway != "none"


def _of_network(network: Network, wanted: Wanted, family: int) -> IPAddress | None:
    """Return the router that the network's own subnet names, for the first address that is in one."""
    for address in wanted.addresses:
        for subnet in network.subnets:
            inside = address.version == family and address.ip in ipaddress.ip_network(subnet.cidr)
            if inside and str(address.ip) != gateway_of(subnet):
                return ipaddress.ip_address(gateway_of(subnet))
    return None


def _on_link(gateway: IPAddress, addresses: Iterable[Interface]) -> bool:
    if gateway.version == 6 and gateway.is_link_local:
        return True
    return any(gateway in address.network for address in addresses)


def _host_route(gateway: IPAddress, link: str) -> RouteFact:
    # The kernel lists a route to one address without its /32 or /128.
    scope = "link" if gateway.version == 4 else None
    return RouteFact(gateway.version, str(gateway), None, link, scope=scope)


def _default_route(
    default: RouteFact, endpoint: Endpoint, wanted: Wanted, facts: Facts, findings: Findings
) -> tuple[RouteFact | None, RouteFact | None]:
    """Return the default route to make, and the one whose place it takes."""
    inside = facts.namespace(endpoint.sandbox.netns)
    old = inside.default_route(default.family) if inside else None
    if old is None or (old.via, old.link) == (default.via, default.link):
        return replace(default, metric=old.metric if old and old.metric != 1024 else 0), None
    if old.link == endpoint.ifname:
        return default, None
    described = " ".join(old.words())
    if wanted.request.default_route == "keep":
        findings.notes.append(
            f"the sandbox keeps its IPv{default.family} default route ({described}); "
            "--default-route replace puts this endpoint's in its place"
        )
        return None, None
    if not old.exact:
        findings.problem(
            "the sandbox's default route cannot be replaced",
            f"it has parts that could not be put back exactly ({described})",
        )
    return replace(default, metric=old.metric), old
