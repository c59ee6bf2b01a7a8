"""The bridge driver: a veth pair, one end a port of the bridge, the other the sandbox's interface.

`plug` is the host's half of an endpoint, `join` the sandbox's. In the classic dialect the two
together are the documented manual procedure, command by command. There is no teardown: the steps
know how they are undone.
"""

from __future__ import annotations

from nettool import iproute
from nettool.iproute import CLASSIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.facts import RouteFact
    from nettool.model import Endpoint
    from nettool.plan import Step


def plug(endpoint: Endpoint, dialect: str) -> tuple[Step, ...]:
    """Return the host's half: the cable, and its end in the bridge."""
    pair = iproute.add_veth(endpoint) if dialect == CLASSIC else iproute.add_veth_into(endpoint)
    pin = endpoint.keep_bridge_mac
    return (
        *((iproute.keep_bridge_mac(endpoint.bridge, pin),) if pin else ()),
        pair,
        iproute.add_port(endpoint.bridge, endpoint.host_end, dialect),
        iproute.set_up(endpoint.host_end, None, dialect, with_key=pair.makes.key),
    )


def join(endpoint: Endpoint, dialect: str) -> tuple[Step, ...]:
    """Return the sandbox's half: the interface, its addresses and routes."""
    netns, link, key = endpoint.sandbox.netns, endpoint.ifname, f"veth {endpoint.host_end}"
    moved = (iproute.move_into(endpoint, with_key=key), iproute.rename(endpoint, with_key=key))
    ipv6 = (iproute.enable_ipv6(link, netns, dialect, with_key=key),)
    return (
        *(moved if dialect == CLASSIC else ()),
        *(ipv6 if endpoint.enable_ipv6 else ()),
        iproute.set_up(link, netns, dialect, with_key=key),
        *(iproute.add_address(link, cidr, netns, dialect, with_key=key) for cidr in endpoint.addresses),
        *(_route(endpoint, route, dialect, key) for route in endpoint.routes),
        *(iproute.forget_neighbour(neighbour) for neighbour in endpoint.forget),
    )


def _route(endpoint: Endpoint, route: RouteFact, dialect: str, key: str) -> Step:
    netns = endpoint.sandbox.netns
    if route.destination == "default":
        old = next((old for old in endpoint.replaced if old.family == route.family), None)
        if old is not None:
            return iproute.replace_default(route, old, netns, dialect)
    plain = dialect == CLASSIC and endpoint.sole and route.destination == "default"
    name_device = not plain or _link_local(route)
    return iproute.add_route(route, netns, dialect, with_key=key, name_device=name_device)


def _link_local(route: RouteFact) -> bool:
    return (route.via or "").lower().startswith("fe80:")
