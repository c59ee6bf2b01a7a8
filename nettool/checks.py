"""What is checked on the host before an endpoint is attached: everything that would fail half-way."""

from __future__ import annotations

import ipaddress

from nettool.resolve import ETHERNET_MTU, present_interface
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.facts import Facts, LinkFact, NamespaceFacts
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
    present: tuple[LinkFact, LinkFact],
    inside: NamespaceFacts,
    findings: Findings,
) -> None:
    host_end, inner = present
    settings = _settings(wanted, endpoint, host_end, inner, _global_addresses(inside, inner.name))
    differ = [f"{s.name}: asked for {s.asked}, there is {s.there}" for s in settings if not s.same]
    if differ:
        findings.problem(
            f"{endpoint.sandbox.target} is attached to {host_end.master} as {inner.name} with other settings",
            *differ,
            hints=(
                f"nettool detach {_target_words(endpoint)} --ifname {inner.name}",
                "--ifname NAME for a second interface",
            ),
        )


def _settings(
    wanted: Wanted, endpoint: Endpoint, host_end: LinkFact, inner: LinkFact, have: tuple[str, ...]
) -> tuple[_Setting, ...]:
    asked_end, mtu = wanted.request.host_ifname, endpoint.mtu or ETHERNET_MTU
    # What is missing is made; only what is there and was not asked for is in the way.
    addresses_fit = set(have) <= set(endpoint.addresses)
    bridge_fits = host_end.master in (None, endpoint.bridge)
    return (
        _Setting("address", ", ".join(endpoint.addresses), ", ".join(have), addresses_fit),
        _Setting("bridge", endpoint.bridge, host_end.master or "none", bridge_fits),
        _Setting("MAC", endpoint.mac or "any", inner.mac, endpoint.mac in (None, inner.mac)),
        _Setting("MTU", str(mtu), str(inner.mtu), mtu == inner.mtu),
        _Setting("host end", asked_end or "any", host_end.name, asked_end in (None, host_end.name)),
    )


def _global_addresses(inside: NamespaceFacts, link: str) -> tuple[str, ...]:
    return tuple(c for c in inside.addresses_of(link) if not ipaddress.ip_interface(c).is_link_local)


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
    for name in (endpoint.host_end, endpoint.peer):
        link = facts.host.link(name)
        if link is not None:
            findings.problem(
                f"the host has an interface {name} already", f"a {link.kind or 'physical'} interface"
            )


def _addresses_or_none(inside: NamespaceFacts | None, link: str) -> str:
    return ", ".join(inside.addresses_of(link)) if inside and inside.addresses_of(link) else "no address"


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
