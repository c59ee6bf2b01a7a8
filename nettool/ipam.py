"""Which addresses are free: subnets of a pool, and addresses of a subnet. Pure.

What is taken comes from the caller: routes, bridges, other networks, leases. Nothing here remembers.
"""

from __future__ import annotations

import ipaddress

from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import Final

    IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
    IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

DEFAULT_POOLS: Final = "172.17.0.0/16:16,172.18.0.0/15:16,172.20.0.0/14:16,172.24.0.0/13:16,192.168.0.0/16:20"
"""Where subnets come from when none is asked for: those of Docker (its ipamutils package)."""


class Pool(Value):
    """A range that is cut into subnets of one prefix length."""

    base: IPNetwork
    prefix_length: int


class Subnet(Value):
    """The addresses that one network may give out.

    `addresses` is the part of `cidr` that addresses are taken from, `excluded` what is left out of it.
    """

    cidr: str
    gateway: str | None = None
    addresses: str | None = None
    excluded: tuple[str, ...] = ()


def parse_pools(text: str) -> tuple[Pool, ...]:
    """Parse `CIDR:LENGTH,…`, the prefix length being that of each subnet. Raises ValueError."""
    pools = []
    for part in text.split(","):
        base, colon, length = part.strip().rpartition(":")
        network = ipaddress.ip_network(base)
        fits = colon and length.isascii() and length.isdecimal() and len(length) < 4
        if not fits or not network.prefixlen <= int(length) <= network.max_prefixlen - 2:
            raise ValueError(f"{part.strip()!r} is no pool: CIDR:LENGTH, such as 172.16.0.0/12:24")
        pools.append(Pool(network, int(length)))
    return tuple(pools)


def free_subnet(pools: Iterable[Pool], taken: Collection[IPNetwork]) -> IPNetwork | None:
    """Return the first subnet of the pools that overlaps nothing; None when there is none left."""
    for pool in pools:
        in_the_way = [network for network in taken if network.version == pool.base.version]
        at = int(pool.base.network_address)
        size = 1 << (pool.base.max_prefixlen - pool.prefix_length)
        while at <= int(pool.base.broadcast_address):
            candidate = ipaddress.ip_network((at, pool.prefix_length))
            hit = next((network for network in in_the_way if network.overlaps(candidate)), None)
            if hit is None:
                return candidate
            # Behind what is in the way, which may be larger than a subnet.
            at = max(at + size, int(hit.broadcast_address) // size * size + size)
    return None


def gateway_of(subnet: Subnet) -> str:
    """Return a subnet's gateway: the one that was asked for, or its first address.

    The range that addresses are given from does not matter to it, nor does what is excluded.
    """
    if subnet.gateway is not None:
        return subnet.gateway
    network = ipaddress.ip_network(subnet.cidr)
    return str(network.network_address + (_usable(network)[0] - int(network.network_address)))


def next_address(subnet: Subnet, used: Collection[str], last_given: str | None = None) -> str | None:
    """Return the next free address behind the last one given, round the range; None when it is full.

    An address that was just given back is thus the last to be given again: neighbours remember it.
    """
    network = ipaddress.ip_network(subnet.cidr)
    first, last = _bounds(subnet)
    taken = {int(ipaddress.ip_address(address)) for address in (*used, gateway_of(subnet))}
    excluded = (*_ranges(subnet.excluded), *((number, number) for number in taken))
    start = int(ipaddress.ip_address(last_given)) + 1 if last_given else first
    if not first <= start <= last:
        start = first
    found = next(_free(network, start, last, excluded), None)
    if found is None and start > first:
        found = next(_free(network, first, start - 1, excluded), None)
    return str(found) if found is not None else None


def address_fault(subnet: Subnet, address: str, used: Collection[str]) -> str | None:
    """Say why an address that was asked for cannot be given, or None."""
    number, network = int(ipaddress.ip_address(address)), ipaddress.ip_network(subnet.cidr)
    low, high = _usable(network)
    if not (ipaddress.ip_address(address) in network and low <= number <= high):
        return f"it is no host address of {subnet.cidr}"
    if address == gateway_of(subnet):
        return "it is the gateway's"
    if any(first <= number <= last for first, last in _ranges(subnet.excluded)):
        return "it is excluded"
    return "it is in use" if address in used else None


def _free(network: IPNetwork, first: int, last: int, taken: Iterable[tuple[int, int]]) -> Iterator[IPAddress]:
    """Yield the addresses from `first` to `last` that are in none of the ranges."""
    at = first
    for low, high in sorted(taken):
        if high < at:
            continue
        while at < low and at <= last:
            yield network.network_address + (at - int(network.network_address))
            at += 1
        at = max(at, high + 1)
    while at <= last:
        yield network.network_address + (at - int(network.network_address))
        at += 1


def _bounds(subnet: Subnet) -> tuple[int, int]:
    """Return the first and the last address that may be given, as numbers."""
    low, high = _usable(ipaddress.ip_network(subnet.cidr))
    if subnet.addresses is None:
        return low, high
    part = ipaddress.ip_network(subnet.addresses)
    return max(low, int(part.network_address)), min(high, int(part.broadcast_address))


def _usable(network: IPNetwork) -> tuple[int, int]:
    """Return the host addresses of a subnet, as numbers.

    IPv4 keeps the first and the last for itself (RFC 1122), but not of a /31 (RFC 3021); IPv6 keeps
    the first for the subnet's routers (RFC 4291, 2.6.1), but not of a /127 (RFC 6164).
    """
    low, high = int(network.network_address), int(network.broadcast_address)
    if high - low < 2:
        return low, high
    return low + 1, high - (network.version == 4)


def _ranges(texts: Iterable[str]) -> tuple[tuple[int, int], ...]:
    networks = [ipaddress.ip_network(text) for text in texts]
    return tuple((int(n.network_address), int(n.broadcast_address)) for n in networks)
