"""Networks as text and as JSON values. Pure."""

from __future__ import annotations

from nettool.ipam import gateway_of
from nettool.ports import families, parse_ports, span
from nettool.text import columns
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator
    from typing import Any

    from nettool.model import Network, NetworkRecord, Records
    from nettool.ports import PublishedPort

_HEAD = ("NETWORK", "DRIVER", "ON", "SUBNET", "GATEWAY")


class Member(Value):
    """Who is on a network, or is to be when it runs: then it is not wired, and may have no interface yet."""

    sandbox: str
    interface: str | None
    addresses: tuple[str, ...]
    wired: bool

    def sentence(self) -> str:
        """Say it."""
        words = (self.sandbox, self.interface, ", ".join(self.addresses), "" if self.wired else "(not wired)")
        return " ".join(word for word in words if word)


def members(record: NetworkRecord, records: Records, wired: Container[str]) -> tuple[Member, ...]:
    """Return who is on a network: the endpoints on record, and the connections that wait for a sandbox.

    `wired` are the host ends of those endpoints whose sandbox is there.
    """
    there = records.on(record.network)
    known = {name for endpoint in there for name in endpoint.sandbox.names}
    waiting = record.waiting(known)
    return (
        *(Member(e.sandbox.target, e.ifname, e.addresses, e.host_end in wired) for e in there),
        *(Member(kept.target, kept.ifname, kept.addresses, wired=False) for kept in waiting),
    )


def document(network: Network, found: Iterable[Member] = ()) -> dict[str, Any]:
    """Return a network as a JSON value."""
    return {
        "name": network.name,
        "driver": network.driver,
        "bridge": None if network.parent else network.bridge,
        "parent": network.parent,
        "interface": network.bridge if network.parent else None,
        "vlan": network.vlan,
        "mode": network.mode,
        "host_addresses": [cidr.partition("/")[0] for cidr in network.host_addresses],
        "subnets": [
            {
                "subnet": subnet.cidr,
                "gateway": gateway_of(subnet),
                "range": subnet.addresses,
                "excluded": list(subnet.excluded),
            }
            for subnet in network.subnets
        ],
        "mtu": network.mtu,
        "internal": network.internal,
        "masquerade": network.masquerade,
        "isolate": network.isolate,
        "dns": network.dns is not None,
        "unmanaged": network.unmanaged,
        "options": dict(option.split("=", 1) for option in network.options),
        "labels": dict(label.split("=", 1) for label in network.labels),
        "endpoints": [
            {
                "sandbox": member.sandbox,
                "interface": member.interface,
                "addresses": list(member.addresses),
                "wired": member.wired,
            }
            for member in found
        ],
    }


def table(networks: Iterable[Network]) -> tuple[str, ...]:
    """Return a line for each network, aligned."""
    rows = [_HEAD, *(_cells(network) for network in networks)]
    if len(rows) == 1:
        return ("no networks",)
    return columns(rows)


def _cells(network: Network) -> tuple[str, ...]:
    subnets = ", ".join(subnet.cidr for subnet in network.subnets) or "-"
    gateways = ", ".join(gateway_of(subnet) for subnet in network.subnets) or "-"
    return network.name, network.driver, network.bridge or "-", subnets, gateways


def details(network: Network, found: Iterable[Member]) -> tuple[str, ...]:
    """Return all that is known of a network, a line each."""
    lines = [f"{network.name}  ({network.driver})"]
    if network.parent:
        lines += _on_parent(network)
    elif network.bridge:
        lines.append(f"  bridge    {network.bridge}" + ("" if network.own_bridge else " (was there before)"))
    for subnet in network.subnets:
        part = f", addresses from {subnet.addresses}" if subnet.addresses else ""
        without = f", without {', '.join(subnet.excluded)}" if subnet.excluded else ""
        lines.append(f"  subnet    {subnet.cidr}, gateway {gateway_of(subnet)}{part}{without}")
    if network.mtu:
        lines.append(f"  mtu       {network.mtu}")
    lines += [f"  option    {option}" for option in network.options]
    if network.driver != "none":
        lines.append(f"  way out   {_way_out(network)}")
    if network.dns:
        lines.append("  names     by its gateway")
    lines += [f"  label     {label}" for label in network.labels]
    lines += [f"  endpoint  {member.sentence()}" for member in found]
    return tuple(lines)


def _on_parent(network: Network) -> Iterator[str]:
    yield f"  parent    {network.parent}, mode {network.mode}"
    if network.vlan is not None:
        before = "" if network.own_bridge else " (was there before)"
        yield f"  vlan      {network.vlan}, by {network.bridge}{before}"
    if network.shim:
        addresses = ", ".join(cidr.partition("/")[0] for cidr in network.host_addresses)
        yield f"  host      {addresses}, by {network.shim}"


def _way_out(network: Network) -> str:
    if network.unmanaged:
        return "as the bridge's own rules say (unmanaged)"
    if network.internal:
        return "no gateway (internal)" if network.parent else "none (internal)"
    return "as this host" if network.masquerade and not network.parent else "as themselves"


def port_documents(records: Records, wired: Container[str]) -> list[dict[str, Any]]:
    """Return every port that is published, or is to be, as a JSON value, with the addresses it leads to.

    `wired` are the host ends of those endpoints whose sandbox is there.
    """
    endpoints = (record.endpoint for record in records.endpoints)
    there = [
        _port_document(port, e.addresses, e.sandbox.target, e.ifname, wired=e.host_end in wired)
        for e in endpoints
        for port in e.ports
    ]
    return there + [
        _port_document(port, kept.addresses, kept.target, kept.ifname, wired=False)
        for _, kept in records.waiting()
        for port in parse_ports(kept.published, ())
    ]


def _port_document(
    port: PublishedPort, addresses: tuple[str, ...], sandbox: str, interface: str | None, *, wired: bool
) -> dict[str, Any]:
    return {
        "sandbox": sandbox,
        "interface": interface,
        "protocol": port.protocol,
        "host_ip": port.host_ip,
        "host_ports": span(port.host_ports),
        "ports": span(port.ports),
        "leads_to": [cidr.partition("/")[0] for _, cidr in families(port, addresses)],
        "allow_from": list(port.allow_from),
        "wired": wired,
    }


def port_table(records: Records, wired: Container[str]) -> tuple[str, ...]:
    """Return a line for each published port, aligned."""
    rows = [("ON", "PROTOCOL", "LEADS TO", "SANDBOX", "FOR")]
    for port in port_documents(records, wired):
        on = f"{port['host_ip'] or '*'}:{port['host_ports']}"
        to = ", ".join(f"{ip}:{port['ports']}" for ip in port["leads_to"])
        allowed = ", ".join(port["allow_from"]) or "everybody"
        where = ", ".join(filter(None, (port["interface"], "" if port["wired"] else "not wired")))
        rows.append((on, port["protocol"], to, f"{port['sandbox']} ({where})", allowed))
    return columns(rows) if len(rows) > 1 else ("no ports are published",)
