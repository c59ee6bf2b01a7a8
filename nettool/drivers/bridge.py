"""The bridge driver: a veth pair, one end a port of the bridge, the other the sandbox's interface.

`plug` is the host's half of an endpoint, `join` the sandbox's. In the classic dialect the two
together are the documented manual procedure, command by command. There is no teardown: the steps
know how they are undone.
"""

from __future__ import annotations

from nettool import iproute, iptables, naming
from nettool.facts import FirewallFacts
from nettool.ipam import gateway_of
from nettool.iproute import CLASSIC
from nettool.iptables import Place
from nettool.plan import Scope

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from nettool.facts import Facts, RouteFact
    from nettool.ipam import Subnet
    from nettool.model import Endpoint, Network
    from nettool.plan import Step

FORWARD: Final = "NETTOOL-FORWARD"
ISOLATE: Final = "NETTOOL-ISOLATE"
ISOLATE_2: Final = "NETTOOL-ISOLATE-2"
NAT: Final = "NETTOOL-NAT"
PUBLISH: Final = "NETTOOL-PUBLISH"
DOCKER_USER: Final = "DOCKER-USER"
DOCKER_ISOLATE_2: Final = "DOCKER-ISOLATION-STAGE-2"
_NOT_PUBLISHED: Final = ("-m", "conntrack", "!", "--ctstate", "DNAT")


def plug(endpoint: Endpoint, dialect: str) -> tuple[Step, ...]:
    """Return the host's half: the cable, and its end in the bridge."""
    pair = iproute.add_veth(endpoint) if dialect == CLASSIC else iproute.add_veth_into(endpoint)
    pin = endpoint.keep_bridge_mac
    return (
        *((iproute.keep_bridge_mac(endpoint.bridge, pin),) if pin else ()),
        pair,
        iproute.add_port(endpoint.bridge, endpoint.host_end, dialect),
        *((iproute.isolate(endpoint.host_end, with_key=pair.makes.key),) if endpoint.isolated else ()),
        iproute.set_up(endpoint.host_end, None, dialect, with_key=pair.makes.key),
    )


def join(endpoint: Endpoint, dialect: str) -> tuple[Step, ...]:
    """Return the sandbox's half: the interface, its addresses and routes."""
    key = endpoint.key
    moved = (iproute.move_into(endpoint, with_key=key), iproute.rename(endpoint, with_key=key))
    return (*(moved if dialect == CLASSIC else ()), *configure(endpoint, dialect))


def configure(endpoint: Endpoint, dialect: str) -> tuple[Step, ...]:
    """Return what an interface gets once it is in its sandbox, whatever it is made of."""
    netns, link, key = endpoint.sandbox.netns, endpoint.ifname, endpoint.key
    ipv6 = (iproute.enable_ipv6(link, netns, dialect, with_key=key),)
    return (
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
    name_device = not plain or route.via is None or _link_local(route)
    return iproute.add_route(route, netns, dialect, with_key=key, name_device=name_device)


def _link_local(route: RouteFact) -> bool:
    return (route.via or "").lower().startswith("fe80:")


def create(network: Network, facts: Facts) -> tuple[Step, ...]:
    """Return what makes the network: its bridge, and the firewall's part of it, a family at a time."""
    bridge = network.bridge or ""
    key = f"bridge {bridge}" if network.own_bridge else None
    variant = facts.firewall.variant if facts.firewall else ""
    families = tuple(dict.fromkeys(6 if ":" in subnet.cidr else 4 for subnet in network.subnets))
    return (
        *((_add_bridge(network),) if network.own_bridge else ()),
        *_no_advertisements(network, facts),
        *(iproute.bridge_address(bridge, _gateway_cidr(subnet), with_key=key) for subnet in network.subnets),
        iproute.bridge_up(bridge, with_key=key),
        *(step for family in families if not network.internal for step in forwarding(family, facts)),
        *(step for family in families for step in shared_chains(family, facts)),
        *(step for family in families for step in _rules(network, family, variant)),
        *(step for family in families for step in _apart_from_docker(bridge, network.name, family, facts)),
    )


def _add_bridge(network: Network) -> Step:
    words: tuple[str, ...] = ()
    if network.options:
        from nettool.drivers.options import bridge_words  # most networks have none

        words = bridge_words(network.options)
    return iproute.add_bridge(network.bridge or "", network.mac or "", network.mtu, words)


def _no_advertisements(network: Network, facts: Facts) -> tuple[Step, ...]:
    if not network.own_bridge or not facts.host.has_ipv6:
        return ()
    bridge = network.bridge or ""
    return (iproute.refuse_advertisements(bridge, with_key=f"bridge {bridge}"),)


def _gateway_cidr(subnet: Subnet) -> str:
    return f"{gateway_of(subnet)}/{subnet.cidr.partition('/')[2]}"


def forwarding(family: int, facts: Facts) -> tuple[Step, ...]:
    """Return what lets the host forward packets of one family, and keeps what it has learned."""
    if family == 4:
        return (iproute.forward("net.ipv4.ip_forward", facts.host.forwarding(4)),)
    name = "net.ipv6.conf.all.forwarding"
    learned = facts.host.default_route(6)
    forward = iproute.forward(name, facts.host.forwarding(6))
    if facts.host.sysctl(name) == "1" or learned is None or learned.protocol != "ra" or not learned.link:
        return (forward,)
    return (iproute.keep_advertised_route(learned.link, facts.host), forward)


def shared_chains(family: int, facts: Facts) -> tuple[Step, ...]:
    """Return what all networks share: own chains, entered from the built-in ones, and from Docker's."""
    firewall = facts.firewall or FirewallFacts()

    def place(table: str, chain: str) -> Place:
        return Place(family, table, chain, first=True, variant=firewall.variant)

    chains = tuple(
        iptables.add_chain(place(table, chain), scope=Scope.FIREWALL, why=f"a chain for {what}")
        for table, chain, what in (
            ("filter", FORWARD, "what nettool's networks let through"),
            ("filter", ISOLATE, "what comes from a network and leaves it"),
            ("filter", ISOLATE_2, "what goes from one network into another"),
            ("nat", NAT, "source addresses on the way out"),
            ("nat", PUBLISH, "published ports"),
        )
    )
    enter_first = "nettool's chain is entered before the others"
    entries = [
        ("filter", FORWARD, ISOLATE, "what is not allowed is looked for first"),
        ("filter", "FORWARD", FORWARD, enter_first),
        ("nat", "POSTROUTING", NAT, enter_first),
    ]
    if _has_chain(facts, family, DOCKER_USER):
        entries.append(("filter", DOCKER_USER, FORWARD, "Docker puts this chain in front of all others"))
    # From outside, nothing is sent to 127.0.0.1; from the host itself, it is.
    elsewhere = ("!", "-d", "127.0.0.0/8") if family == 4 else ()
    local = ("-m", "addrtype", "--dst-type", "LOCAL", "-j", PUBLISH)
    jumps = (
        *((table, chain, ("-j", target), why) for table, chain, target, why in entries),
        ("nat", "PREROUTING", (*elsewhere, *local), "what is sent to this host may be for a published port"),
        ("nat", "OUTPUT", local, "also when this host sends it"),
        *(
            (("filter", ISOLATE_2, (*_NOT_PUBLISHED, "-j", DOCKER_ISOLATE_2), "nor a network of Docker's"),)
            if _has_chain(facts, family, DOCKER_ISOLATE_2)
            else ()
        ),
    )
    shared, of_all = naming.SHARED_MARK, Scope.FIREWALL
    rules = ((place(table, chain), words, why) for table, chain, words, why in jumps)
    entered = (iptables.add_rule(at, words, mark=shared, scope=of_all, why=why) for at, words, why in rules)
    return *chains, *entered


def _has_chain(facts: Facts, family: int, name: str) -> bool:
    chains = facts.firewall.chains if facts.firewall else ()
    return any((chain.family, chain.table, chain.name) == (family, "filter", name) for chain in chains)


def _apart_from_docker(bridge: str, mark: str, family: int, facts: Facts) -> tuple[Step, ...]:
    """Return what keeps Docker's networks out of this one, as Docker keeps its own apart.

    Docker accepts whatever leaves a bridge of its own, once it has passed this chain, which has a DROP for
    each other one. What was sent to a published port has been accepted before.
    """
    if not _has_chain(facts, family, DOCKER_ISOLATE_2):
        return ()
    variant = facts.firewall.variant if facts.firewall else ""
    place = Place(family, "filter", DOCKER_ISOLATE_2, first=True, variant=variant)
    words = ("-o", bridge, "-j", "DROP")
    why = "what leaves a network of Docker's must not enter this one"
    return (iptables.add_rule(place, words, mark=mark, scope=Scope.NETWORK, why=why),)


def _rules(network: Network, family: int, variant: str) -> Iterator[Step]:
    bridge = network.bridge or ""

    def rule(table: str, chain: str, words: str, why: str) -> Step:
        spec = tuple(word.replace("BRIDGE", bridge) for word in words.split())
        place = Place(family, table, chain, variant=variant)
        return iptables.add_rule(place, spec, mark=network.name, scope=Scope.NETWORK, why=why)

    if network.internal:
        yield rule("filter", ISOLATE, "-i BRIDGE ! -o BRIDGE -j DROP", "an internal network has no way out")
        yield rule("filter", ISOLATE, "-o BRIDGE ! -i BRIDGE -j DROP", "nor a way in")
    else:
        yield rule("filter", ISOLATE, f"-i BRIDGE ! -o BRIDGE -j {ISOLATE_2}", "what leaves this network")
    yield rule("filter", ISOLATE_2, "-o BRIDGE -j DROP", "must not enter another one of nettool's")
    if network.isolate:
        yield rule(
            "filter", FORWARD, "-i BRIDGE -o BRIDGE -j DROP", "its containers are kept from each other"
        )
    else:
        why = "its containers may talk to each other"
        yield rule("filter", FORWARD, "-i BRIDGE -o BRIDGE -j ACCEPT", why)
    if network.internal:
        return
    replies = "-o BRIDGE -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    yield rule("filter", FORWARD, replies, "replies to its containers are let in")
    yield rule("filter", FORWARD, "-i BRIDGE ! -o BRIDGE -j ACCEPT", "its containers may go out")
    for subnet in network.subnets if network.masquerade else ():
        if (":" in subnet.cidr) == (family == 6):
            out = f"-s {subnet.cidr} ! -o BRIDGE -j MASQUERADE"
            yield rule("nat", NAT, out, "outside, its containers are seen as this host")
