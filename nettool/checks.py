"""What is checked on the host before an endpoint is attached: everything that would fail half-way."""

from __future__ import annotations

import ipaddress

from nettool.facts import IPVLAN
from nettool.interfaces import present_interface
from nettool.resolve import ETHERNET_MTU, PASSTHRU
from nettool.text import a
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.facts import Facts, NamespaceFacts
    from nettool.interfaces import Present
    from nettool.model import Endpoint
    from nettool.resolve import Findings, Wanted


def check_attach(wanted: Wanted, endpoint: Endpoint, facts: Facts, findings: Findings) -> None:
    """Collect every reason why the endpoint cannot be made on this host."""
    inside = facts.namespace(endpoint.sandbox.netns)
    present = present_interface(wanted, facts, inside)
    if present is not None and inside is not None:
        _check_same_settings(wanted, endpoint, present, inside, findings)
    else:
        _check_names(endpoint, facts, inside, findings)
    if endpoint.on_parent:
        _check_on_parent(wanted, endpoint, present, findings)
    _check_mtu(wanted, endpoint, facts, findings)
    _check_routes(endpoint, findings)
    _check_addresses(wanted, endpoint, facts, findings)


class _Setting(Value):
    """One setting of an endpoint that is there already, beside what is asked for now."""

    name: str
    asked: str
    there: str
    same: bool


def _check_same_settings(
    wanted: Wanted,
    endpoint: Endpoint,
    present: Present,
    inside: NamespaceFacts,
    findings: Findings,
) -> None:
    settings = _settings(wanted, endpoint, present, _global_addresses(inside, present.inner.name))
    differ = [f"{s.name}: asked for {s.asked}, there is {s.there}" for s in settings if not s.same]
    if differ:
        findings.problem(
            f"{endpoint.sandbox.target} is attached to {present.link} as {present.inner.name} "
            "with other settings",
            *differ,
            hints=(
                f"nettool detach {_target_words(endpoint)} --ifname {present.inner.name}",
                "--ifname NAME for a second interface",
            ),
        )


def _settings(
    wanted: Wanted, endpoint: Endpoint, present: Present, have: tuple[str, ...]
) -> tuple[_Setting, ...]:
    inner, link, host_end = present.inner, present.link, present.host_end
    asked_end, mtu = wanted.request.host_ifname, endpoint.mtu or ETHERNET_MTU
    # What is missing is made; only what is there and was not asked for is in the way.
    addresses_fit = set(have) <= set(endpoint.addresses)
    bridge_fits = link in (None, endpoint.bridge)
    return (
        _Setting("address", ", ".join(endpoint.addresses), ", ".join(have), addresses_fit),
        _Setting("bridge", endpoint.bridge, link or "none", bridge_fits),
        _Setting("MAC", endpoint.mac or "any", inner.mac, endpoint.mac in (None, inner.mac)),
        _Setting("MTU", str(mtu), str(inner.mtu), mtu == inner.mtu),
        _Setting("host end", asked_end or "any", host_end, asked_end in (None, host_end)),
    )


def _global_addresses(inside: NamespaceFacts, link: str) -> tuple[str, ...]:
    # What a router has advertised comes and goes by itself.
    own = (address.cidr for address in inside.addresses if address.link == link and not address.dynamic)
    return tuple(cidr for cidr in own if not ipaddress.ip_interface(cidr).is_link_local)


def _target_words(endpoint: Endpoint) -> str:
    kind, _, value = endpoint.sandbox.target.partition(":")
    option = {"pid": "--pid", "netns": "--netns", "path": "--netns"}.get(kind)
    return f"{option} {value}" if option else f"--container {endpoint.sandbox.target}"


def _check_names(endpoint: Endpoint, facts: Facts, inside: NamespaceFacts | None, findings: Findings) -> None:
    taken = inside.link(endpoint.ifname) if inside else None
    if taken is not None:
        findings.problem(
            f"{endpoint.sandbox.target} has an interface {endpoint.ifname} already",
            f"a {taken.kind or 'physical'} interface with {_addresses_or_none(inside, taken.name)}",
            hints=("leave --ifname out: the next free ethN is taken",),
        )
    for name in () if endpoint.on_parent else (endpoint.host_end, endpoint.peer):
        link = facts.host.link(name)
        if link is not None:
            findings.problem(
                f"the host has an interface {name} already", f"a {link.kind or 'physical'} interface"
            )


def _addresses_or_none(inside: NamespaceFacts | None, link: str) -> str:
    return ", ".join(inside.addresses_of(link)) if inside and inside.addresses_of(link) else "no address"


def _check_on_parent(wanted: Wanted, endpoint: Endpoint, present: Present | None, findings: Findings) -> None:
    """Find what is asked for and is no matter of an interface on a parent."""
    if wanted.request.host_ifname is not None:
        findings.problem("--host-ifname names nothing", f"{a(endpoint.kind)} has no end on the host")
    if wanted.mac is not None and (endpoint.kind == IPVLAN or endpoint.mode == PASSTHRU):
        of_mode = "" if endpoint.kind == IPVLAN else f" in mode {endpoint.mode}"
        why = f"{a(endpoint.kind)}{of_mode} has the MAC of {endpoint.bridge}"
        findings.problem(f"--mac {wanted.mac} cannot be given", why)
    _note_unreached(wanted, endpoint, findings)
    if endpoint.mode == PASSTHRU and present is None:
        findings.notes.append(f"{endpoint.bridge} is the sandbox's alone: the host gets nothing by it")


def _note_unreached(wanted: Wanted, endpoint: Endpoint, findings: Findings) -> None:
    """Remark an address that the host has no way to, though it has a place of its own on the network."""
    network = wanted.network
    if network is None or network.shim is None:
        return
    ranges = [ipaddress.ip_network(subnet.addresses or subnet.cidr) for subnet in network.subnets]
    for address in map(ipaddress.ip_interface, endpoint.addresses):
        if not any(address.ip in part for part in ranges):
            findings.notes.append(
                f"{address.ip} is out of {network.name}'s range: the host does not reach it"
            )


def no_ports(parent: str, addresses: tuple[str, ...], findings: Findings) -> None:
    """Refuse to publish ports of an endpoint on a parent."""
    own = ", ".join(cidr.partition("/")[0] for cidr in addresses)
    findings.problem(
        "ports are published of endpoints on a bridge alone",
        f"what is sent to {own} goes straight to the sandbox by {parent}: the host has no part in it",
        hints=(f"use {own} itself", "nettool network create with --driver bridge"),
    )


def _check_mtu(wanted: Wanted, endpoint: Endpoint, facts: Facts, findings: Findings) -> None:
    bridge = facts.host.link(endpoint.bridge)
    mtu = wanted.request.mtu
    if bridge is not None and mtu is not None and mtu > bridge.mtu:
        findings.problem(
            f"--mtu {mtu} is above the MTU of {endpoint.bridge}, {bridge.mtu}",
            "larger packets would be dropped without a word",
            hints=(f"--mtu {bridge.mtu}",),
        )


def _check_routes(endpoint: Endpoint, findings: Findings) -> None:
    """Find next hops that the kernel would refuse: nothing on the new interface leads to them."""
    links = [ipaddress.ip_interface(cidr).network for cidr in endpoint.addresses]
    direct = (route.destination for route in endpoint.routes if route.via is None)
    links += [ipaddress.ip_network(text) for text in direct if text != "default"]
    for route in endpoint.routes:
        hop = ipaddress.ip_address(route.via) if route.via else None
        if hop is None or hop.is_link_local or any(hop in network for network in links):
            continue
        findings.problem(
            f"the route {route.destination} cannot go by {hop}",
            f"no address of {endpoint.ifname} is in a network with it",
            hints=("--ip with an address in that network",),
        )


def _check_addresses(wanted: Wanted, endpoint: Endpoint, facts: Facts, findings: Findings) -> None:
    inside = facts.namespace(endpoint.sandbox.netns)
    own = inside.link(endpoint.ifname) if inside else None
    for address in wanted.addresses:
        user = _user_of(address.ip, endpoint, facts)
        mac = dict(facts.answering).get(str(address.ip))
        if user is None and mac is not None and (own is None or mac != own.mac):
            user = f"a host on {endpoint.bridge} with the MAC {mac} answers for it"
        if user is not None:
            findings.problem(
                f"address {address.ip} is in use", user, hints=("nettool show", "--ip with another address")
            )


def _user_of(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, endpoint: Endpoint, facts: Facts
) -> str | None:
    """Say who has the address among the namespaces that were read, the endpoint itself aside."""
    for namespace in (facts.host, *facts.namespaces):
        for address in namespace.addresses:
            if ipaddress.ip_interface(address.cidr).ip != ip:
                continue
            if namespace.inode == facts.host.inode:
                return f"the host's {address.link} has it"
            if namespace.inode != endpoint.sandbox.netns.inode:
                return f"another sandbox has it on {address.link}"
            if address.link != endpoint.ifname:
                return f"the sandbox itself has it on {address.link}"
    return None
