"""What a step makes true: each one fact about the host, with the same four faces.

`key` names the place that it takes on the host. `state` looks it up in Facts: absent, present, or taken by
something else. `sentence` says it in words, for runbooks and checks. The same fact serves the skip of
a step, the conflict, the guard in an exported script and the verification after apply. `Gone` turns
one round.
"""

from __future__ import annotations

import functools
import ipaddress

from nettool.fileeffects import File, Folder, NameServer
from nettool.firewalleffects import Chain, FlowForgotten, Rule
from nettool.netnseffects import Loopback, NewNetns
from nettool.parenteffects import Marked, OnParent, SubInterface
from nettool.presence import ABSENT, PRESENT, Presence, State, other
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from nettool.facts import Facts, LinkFact, Netns, RouteFact

# The same few addresses are compared for every step.
_parsed: Final = functools.lru_cache(maxsize=1024)(ipaddress.ip_interface)


class NetnsFolder(Value):
    """The folder where `ip netns` looks names up (ip-netns(8))."""

    path: str

    @property
    def key(self) -> str:
        """The folder's path."""
        return f"folder {self.path}"

    def state(self, facts: Facts) -> State:
        """Present when the folder is there."""
        return PRESENT if facts.netns_folder else ABSENT

    def sentence(self) -> str:
        """Say it."""
        return f"{self.path} is a folder"


class NetnsName(Value):
    """A name for a network namespace, under which the `ip` tool finds it."""

    netns: Netns
    path: str

    @property
    def key(self) -> str:
        """The name."""
        return f"netns {self.netns.name}"

    def state(self, facts: Facts) -> State:
        """Present only when the name leads to that very namespace."""
        entry = facts.netns_name(self.netns.name)
        if entry is None:
            return ABSENT
        if entry.inode == self.netns.inode and entry.inode is not None:
            return PRESENT
        found = "leads to no namespace (its process is gone)"
        if entry.inode is not None:
            found = f"is another namespace, net:[{entry.inode}]"
        # Our own link to a process leads elsewhere when its pid is given to another one.
        return State(Presence.OTHER, found, leftover=entry.symlink == self.path)

    def sentence(self) -> str:
        """Say it."""
        return f"{self.netns.path} is the sandbox's network namespace"


class VethPair(Value):
    """A virtual cable, one end of which stays on the host."""

    host_end: str
    peer: str

    @property
    def key(self) -> str:
        """The host end's name."""
        return f"veth {self.host_end}"

    def state(self, facts: Facts) -> State:
        """Present when the host has a veth of that name."""
        link = facts.host.link(self.host_end)
        if link is None:
            return ABSENT
        return PRESENT if link.kind == "veth" else other(f"is a {link.kind or 'physical'} interface")

    def sentence(self) -> str:
        """Say it."""
        return f"{self.host_end} is a veth on the host"


class Port(Value):
    """A link that is plugged into a bridge."""

    bridge: str
    link: str

    @property
    def key(self) -> str:
        """The link: it can be in one bridge only."""
        return f"port {self.link}"

    def state(self, facts: Facts) -> State:
        """Present when the link's master is the bridge."""
        link = facts.host.link(self.link)
        if link is None or link.master is None:
            return ABSENT
        return PRESENT if link.master == self.bridge else other(f"is plugged into {link.master}")

    def sentence(self) -> str:
        """Say it."""
        return f"{self.link} is a port of {self.bridge}"


class PortSetting(Value):
    """A bridge's setting for one port that is switched on: `hairpin`, or `isolated` (bridge(8))."""

    link: str
    name: str

    @property
    def key(self) -> str:
        """The port's switch."""
        return f"{self.name} {self.link}"

    def state(self, facts: Facts) -> State:
        """Present when the setting is on."""
        link = facts.host.link(self.link)
        return PRESENT if link is not None and getattr(link, self.name) else ABSENT

    def sentence(self) -> str:
        """Say it."""
        return f"{self.link} is a port with {self.name} on"


class BridgeMac(Value):
    """A bridge whose MAC stays as it is when ports come and go."""

    bridge: str
    mac: str

    @property
    def key(self) -> str:
        """The bridge's address."""
        return f"mac {self.bridge}"

    def state(self, facts: Facts) -> State:
        """Present when somebody set the bridge's MAC, so that the kernel keeps it."""
        link = facts.host.link(self.bridge)
        return PRESENT if link is not None and link.mac_set else ABSENT

    def sentence(self) -> str:
        """Say it."""
        return f"{self.bridge} keeps the MAC {self.mac}"


class Inside(Value):
    """The other end of a veth pair is in the sandbox's namespace."""

    host_end: str
    peer: str
    netns: Netns

    @property
    def key(self) -> str:
        """The pair's inner end."""
        return f"inside {self.host_end}"

    def state(self, facts: Facts) -> State:
        """Present when the peer of the host's end is found in the namespace."""
        link, namespace = facts.host.link(self.host_end), facts.namespace(self.netns)
        if link is None or namespace is None:
            return ABSENT
        if facts.peer_in(link, namespace) is not None:
            return PRESENT
        if facts.peer_in(link, facts.host) is not None:
            return ABSENT
        return other("has its other end in another namespace")

    def sentence(self) -> str:
        """Say it."""
        return f"the other end of {self.host_end} is in namespace {self.netns.name}"


class InterfaceName(Value):
    """The name that programs in the sandbox expect of their interface."""

    netns: Netns
    name: str
    host_end: str

    @property
    def key(self) -> str:
        """The name in the namespace."""
        return f"interface {self.netns.name} {self.name}"

    def state(self, facts: Facts) -> State:
        """Present when the interface of that name is the other end of the host's end."""
        namespace = facts.namespace(self.netns)
        link = namespace.link(self.name) if namespace else None
        if namespace is None or link is None:
            return ABSENT
        end: LinkFact | None = facts.host.link(self.host_end)
        if end is not None and facts.are_peers(end, link, namespace):
            return PRESENT
        return other(f"is another interface ({link.kind or 'physical'}, {link.mac})")

    def sentence(self) -> str:
        """Say it."""
        return f"{self.name} in namespace {self.netns.name} is the other end of {self.host_end}"


class Up(Value):
    """An interface that is switched on."""

    netns: Netns | None
    link: str

    @property
    def key(self) -> str:
        """The interface's switch."""
        return f"up {_place(self.netns)} {self.link}"

    def state(self, facts: Facts) -> State:
        """Present when the interface is administratively up."""
        namespace = facts.namespace(self.netns)
        link = namespace.link(self.link) if namespace else None
        return PRESENT if link is not None and link.up else ABSENT

    def sentence(self) -> str:
        """Say it."""
        return f"{self.link} is up" + (f" in namespace {self.netns.name}" if self.netns else "")


class Address(Value):
    """An address on an interface."""

    netns: Netns | None
    link: str
    cidr: str

    @property
    def key(self) -> str:
        """The address on that interface, whatever its prefix length."""
        return f"address {_place(self.netns)} {self.link} {self.cidr.partition('/')[0]}"

    def state(self, facts: Facts) -> State:
        """Present when the interface has the address with the same prefix length."""
        namespace = facts.namespace(self.netns)
        have = namespace.addresses_of(self.link) if namespace else ()
        wanted = _parsed(self.cidr)
        for cidr in have:
            if _parsed(cidr).ip == wanted.ip:
                return PRESENT if cidr == str(wanted) else other(f"is there as {cidr}")
        return ABSENT

    def sentence(self) -> str:
        """Say it."""
        return f"{self.link} has {self.cidr}" + (f" in namespace {self.netns.name}" if self.netns else "")


class Route(Value):
    """A route of the main table; `instead_of` is the route whose place it takes."""

    netns: Netns | None
    route: RouteFact
    instead_of: RouteFact | None = None

    @property
    def key(self) -> str:
        """The destination: the kernel keeps one route for a destination and metric."""
        destination = f"{self.route.family} {self.route.destination} {self.route.metric}"
        return f"route {_place(self.netns)} {destination}"

    def state(self, facts: Facts) -> State:
        """Present when the same destination goes the same way."""
        namespace = facts.namespace(self.netns)
        wanted = self.route
        for have in namespace.routes if namespace else ():
            same_place = (have.family, have.destination) == (wanted.family, wanted.destination)
            if not same_place or _metric(have) != _metric(wanted):
                continue
            if (have.via, have.link) == (wanted.via, wanted.link):
                return PRESENT
            if self.instead_of is None or have != self.instead_of:
                return other(f"goes {' '.join(have.words()[1:])}")
        return ABSENT

    def can_be_put_back(self, facts: Facts) -> bool:
        """Whether the route that was there before is missing, and its interface is not.

        What somebody else put in the place since then stays.
        """
        namespace, old = facts.namespace(self.netns), self.instead_of
        if namespace is None or old is None or namespace.link(old.link or "") is None:
            return False
        places = {(have.family, have.destination, _metric(have)) for have in namespace.routes}
        vacant = (self.route.family, self.route.destination, _metric(self.route)) not in places
        return vacant or self.state(facts).is_present

    def sentence(self) -> str:
        """Say it."""
        where = f" in namespace {self.netns.name}" if self.netns else ""
        return f"{self.route.destination} goes {' '.join(self.route.words()[1:])}{where}"


class Sysctl(Value):
    """A kernel parameter."""

    netns: Netns | None
    name: str
    value: str

    @property
    def key(self) -> str:
        """The parameter."""
        return f"sysctl {_place(self.netns)} {self.name}"

    def state(self, facts: Facts) -> State:
        """Present when the parameter has the value."""
        namespace = facts.namespace(self.netns)
        return PRESENT if namespace is not None and namespace.sysctl(self.name) == self.value else ABSENT

    def sentence(self) -> str:
        """Say it."""
        return f"{self.name} is {self.value}" + (f" in namespace {self.netns.name}" if self.netns else "")


class Forgotten(Value):
    """The host no longer takes an address for that of a MAC which had it before."""

    link: str
    ip: str
    mac: str

    @property
    def key(self) -> str:
        """The neighbour."""
        return f"neighbour {self.link} {self.ip}"

    def state(self, facts: Facts) -> State:
        """Present when the host does not remember the address with that MAC."""
        known = any((n.link, n.ip, n.mac) == (self.link, self.ip, self.mac) for n in facts.host.neighbours)
        return ABSENT if known else PRESENT

    def sentence(self) -> str:
        """Say it."""
        return f"the host does not take {self.ip} on {self.link} for {self.mac}"


class Bridge(Value):
    """A bridge on the host."""

    name: str

    @property
    def key(self) -> str:
        """The bridge's name."""
        return f"bridge {self.name}"

    def state(self, facts: Facts) -> State:
        """Present when the host has a bridge of that name."""
        link = facts.host.link(self.name)
        if link is None:
            return ABSENT
        return PRESENT if link.kind == "bridge" else other(f"is a {link.kind or 'physical'} interface")

    def sentence(self) -> str:
        """Say it."""
        return f"{self.name} is a bridge on the host"


FACTS: Final = (
    NetnsFolder, NetnsName, VethPair, Port, BridgeMac, Inside, InterfaceName, Up, Address, Route, Sysctl,
    Forgotten, FlowForgotten, Bridge, PortSetting, Chain, Rule, Folder, File, NameServer,
    NewNetns, Loopback, OnParent, Marked, SubInterface,
)  # fmt: skip
"""Every kind of fact that a step can make true; `Gone` turns one round."""

Fact = (
    NetnsFolder | NetnsName | VethPair | Port | BridgeMac | Inside | InterfaceName | Up | Address | Route
    | Sysctl | Forgotten | FlowForgotten | Bridge | PortSetting | Chain | Rule | Folder | File | NameServer
    | NewNetns | Loopback | OnParent | Marked | SubInterface
)  # fmt: skip


class Gone(Value):
    """The opposite of a fact: what a step of an inverse plan makes true.

    A route that took another one's place is gone when the other one is back; a folder that others use is
    no longer ours to remove.
    """

    fact: Fact

    @property
    def key(self) -> str:
        """The same place as the fact's."""
        return self.fact.key

    def state(self, facts: Facts) -> State:
        """Present when the fact is not true; what somebody else put there is none of ours."""
        state = self.fact.state(facts)
        if isinstance(self.fact, Route) and self.fact.instead_of is not None:
            return ABSENT if self.fact.can_be_put_back(facts) else PRESENT
        if isinstance(self.fact, Folder) and self.fact.is_shared(facts):
            return PRESENT
        return ABSENT if state.presence is Presence.PRESENT or state.leftover else PRESENT

    def sentence(self) -> str:
        """Say it."""
        return f"no longer: {self.fact.sentence()}"


def _place(netns: Netns | None) -> str:
    return netns.name if netns else "host"


def _metric(route: RouteFact) -> int:
    # The kernel gives an IPv6 route without a metric the metric 1024 (IP6_RT_PRIO_USER).
    return route.metric or (1024 if route.family == 6 else 0)
