"""The drivers macvlan, ipvlan and vlan: an interface of the sandbox's straight on one of the host's.

There is no bridge, no cable and no rule of the firewall: what an endpoint sends leaves by the parent,
and whoever is behind the parent is its neighbour. `vlan` is macvlan on a VLAN's interface, which is
made on the parent where there is none.
"""

from __future__ import annotations

import ipaddress

from nettool import iproute, naming
from nettool.drivers.bridge import configure
from nettool.facts import IPVLAN, MACVLAN, RouteFact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from nettool.facts import Facts
    from nettool.model import Endpoint, Network
    from nettool.plan import Step

MODES: Final = {
    MACVLAN: ("bridge", "private", "vepa", "passthru"),
    IPVLAN: ("l2", "l3", "l3s"),
}
"""What each kind can do with its neighbours on the parent (ip-link(8)); the first is usual."""
WITH_SHIM: Final = ("bridge", *MODES[IPVLAN])
"""The modes in which interfaces on one parent reach each other, the host's own too."""


def plug(endpoint: Endpoint, dialect: str) -> tuple[Step, ...]:
    """Return what makes the interface, which is in its sandbox from the start."""
    return (iproute.add_on_parent(endpoint, dialect), iproute.mark(endpoint, dialect, with_key=endpoint.key))


def join(endpoint: Endpoint, dialect: str) -> tuple[Step, ...]:
    """Return the sandbox's half: addresses and routes."""
    return configure(endpoint, dialect)


def create(network: Network, facts: Facts) -> tuple[Step, ...]:
    """Return what makes the network: a VLAN's interface, and the host's own beside the sandboxes."""
    return (*_vlan(network, facts), *_shim(network, facts))


def _vlan(network: Network, facts: Facts) -> Iterator[Step]:
    link = network.bridge or ""
    if network.vlan is None or not network.own_bridge:
        return
    made = iproute.add_vlan(link, network.parent or "", network.vlan)
    yield made
    if facts.host.has_ipv6:
        yield iproute.refuse_advertisements(link, with_key=made.makes.key)
    yield iproute.link_up(link, with_key=made.makes.key)


def _shim(network: Network, facts: Facts) -> Iterator[Step]:
    shim = network.shim
    if shim is None:
        return
    mac = naming.mac_of("shim", *network.host_addresses) if network.kind == MACVLAN else None
    made = iproute.add_shim(shim, network.bridge or "", network.kind, network.mode or "", mac)
    key = made.makes.key
    yield made
    if facts.host.has_ipv6:
        yield iproute.refuse_advertisements(shim, with_key=key)
    yield iproute.answer_for_itself(shim, with_key=key)
    for cidr in network.host_addresses:
        yield iproute.shim_address(shim, cidr, with_key=key)
    yield iproute.link_up(shim, with_key=key)
    for route in shim_routes(network):
        yield iproute.shim_route(route, with_key=key)


def shim_routes(network: Network) -> Iterator[RouteFact]:
    """Yield the ways to the sandboxes: to what addresses are given out of, in each of the families.

    The host may have the subnet on the parent as well: there a smaller range goes before it.
    """
    here = {ipaddress.ip_interface(cidr).version for cidr in network.host_addresses}
    for subnet in network.subnets:
        family = ipaddress.ip_network(subnet.cidr).version
        if family in here:
            scope = "link" if family == 4 else None
            part = subnet.addresses or subnet.cidr
            # The kernel lists a route to one address without its /32 or /128.
            destination = part.removesuffix("/32" if family == 4 else "/128")
            yield RouteFact(family, destination, None, network.shim, scope=scope)
