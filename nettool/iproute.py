"""The vocabulary of wiring: one function a verb, each of which returns a Step.

The `classic` dialect writes the documented manual procedure word for word (`mkdir -p`, `ln -s`,
`brctl addif`, `ip netns exec`). `modern` writes iproute2 alone. A verb that both spell the same way
takes no dialect.
"""

from __future__ import annotations

import re

from nettool.effects import (
    Address,
    Bridge,
    BridgeMac,
    Forgotten,
    Inside,
    InterfaceName,
    NetnsFolder,
    NetnsName,
    Port,
    PortSetting,
    Route,
    Sysctl,
    Up,
    VethPair,
)
from nettool.facts import VLAN
from nettool.naming import NETNS_FOLDER
from nettool.parenteffects import Marked, OnParent, SubInterface
from nettool.plan import Command, Entry, GoesWith, Scope, Stays, Step
from nettool.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from nettool.facts import NamespaceFacts, NeighbourFact, Netns, RouteFact
    from nettool.model import Endpoint, Sandbox

CLASSIC: Final = "classic"
MODERN: Final = "modern"

PACKAGES: Final = {
    "ip": "iproute2",
    "brctl": "bridge-utils",
    "nsenter": "util-linux",
    "mkdir": "coreutils",
    "ln": "coreutils",
    "rm": "coreutils",
    "tee": "coreutils",
    "sysctl": "procps",
    "conntrack": "conntrack",
    "pkill": "procps",
    "dnsmasq": "dnsmasq-base",
    **{
        f"{name}{variant}": "iptables"
        for name in ("iptables", "ip6tables")
        for variant in ("", "-nft", "-legacy")
    },
}
"""The Debian package that has each tool a plan can name."""

# `ip` takes any unambiguous beginning of a keyword for the keyword: `ip link set a up` sets the
# address "up". No keyword of `ip link` is letters and then digits, and none begins with "nt".
_PLAIN_NAME: Final = r"[a-z]+[0-9]+|nt[0-9a-f]{10}p?"


def make_netns_folder() -> Step:
    """Make the folder of namespace names."""
    return Step(
        do=Command(("mkdir", "-p", NETNS_FOLDER)),
        undo=Command(("rmdir", "--ignore-fail-on-non-empty", NETNS_FOLDER)),
        makes=NetnsFolder(NETNS_FOLDER),
        scope=Scope.HOST,
        why="the folder where ip netns looks names up",
    )


def link_netns_name(sandbox: Sandbox) -> Step:
    """Give the sandbox's namespace a name by a symbolic link, as it is done by hand."""
    link = sandbox.netns.path
    return Step(
        do=Command(("ln", "-s", sandbox.path, link)),
        undo=Command(("rm", link)),
        makes=NetnsName(sandbox.netns, sandbox.path),
        scope=Scope.SANDBOX,
        why="gives the sandbox's namespace a name; ip netns list shows it now",
        touches=True,
    )


def attach_netns_name(sandbox: Sandbox) -> Step:
    """Give a process's namespace a name by a bind mount (`ip netns attach`, iproute2 5.3)."""
    name = sandbox.netns.name
    return Step(
        do=Command(("ip", "netns", "attach", name, str(sandbox.pid))),
        undo=Command(("ip", "netns", "del", name)),
        makes=NetnsName(sandbox.netns, sandbox.path),
        scope=Scope.SANDBOX,
        why="gives the sandbox's namespace a name; ip netns list shows it now",
        touches=True,
    )


def add_veth(endpoint: Endpoint) -> Step:
    """Make the cable; both ends are on the host until one is moved."""
    return _add_veth(
        endpoint,
        (*_named_new(endpoint.host_end), *_outer_settings(endpoint), "type", "veth", "peer"),
        ("name", endpoint.peer, *_inner_settings(endpoint)),
    )


def add_veth_into(endpoint: Endpoint) -> Step:
    """Make the cable with its inner end in the sandbox at once, under its final name."""
    return _add_veth(
        endpoint,
        ("name", endpoint.host_end, *_outer_settings(endpoint), "type", "veth", "peer"),
        ("name", endpoint.ifname, *_inner_settings(endpoint), "netns", endpoint.sandbox.netns.name),
        touches=True,
    )


def _add_veth(endpoint: Endpoint, outer: tuple[str, ...], inner: tuple[str, ...], **flags: bool) -> Step:
    return Step(
        do=Command(("ip", "link", "add", *outer, *inner)),
        undo=Command(("ip", "link", "del", "dev", endpoint.host_end)),
        makes=VethPair(endpoint.host_end, endpoint.peer),
        scope=Scope.ENDPOINT,
        why="a virtual cable with two ends",
        **flags,
    )


def add_loose_veth(host_end: str, peer: str, mac: str, peer_mac: str) -> Step:
    """Make a cable whose two ends stay on the host."""
    outer = ("name", host_end, "address", mac, "type", "veth", "peer")
    return Step(
        do=Command(("ip", "link", "add", *outer, "name", peer, "address", peer_mac)),
        undo=Command(("ip", "link", "del", "dev", host_end)),
        makes=VethPair(host_end, peer),
        scope=Scope.ENDPOINT,
        why="a virtual cable that leads nowhere",
    )


def add_on_parent(endpoint: Endpoint, dialect: str) -> Step:
    """Make an interface on its parent, in the sandbox at once and under its final name.

    It is never on the host, where a name could be taken and where it could not be moved back to.
    """
    name, netns = endpoint.ifname, endpoint.sandbox.netns
    where = ("link", endpoint.bridge, "name", name, "netns", netns.name)
    kind = ("type", endpoint.kind, "mode", endpoint.mode or "")
    return Step(
        do=Command(("ip", "link", "add", *where, *_inner_settings(endpoint), *kind)),
        undo=_inside(("ip", "link", "del", "dev", name), netns, dialect),
        makes=OnParent(netns, name, endpoint.host_end, endpoint.kind, endpoint.bridge),
        scope=Scope.ENDPOINT,
        why="the sandbox's interface, straight on the host's",
        touches=True,
    )


def mark(endpoint: Endpoint, dialect: str, *, with_key: str) -> Step:
    """Write an endpoint's mark on its interface: no end on the host carries it."""
    netns, argv = endpoint.sandbox.netns, ("ip", "link", "set", "dev", endpoint.ifname)
    return Step(
        do=_inside((*argv, "alias", endpoint.host_end), netns, dialect),
        undo=GoesWith(with_key),
        makes=Marked(netns, endpoint.ifname, endpoint.host_end),
        scope=Scope.ENDPOINT,
        why="the mark by which it is found again",
        touches=True,
    )


def add_vlan(name: str, parent: str, vlan: int) -> Step:
    """Make a VLAN's interface on another one."""
    kind = ("type", VLAN, "id", str(vlan))
    return Step(
        do=Command(("ip", "link", "add", "link", parent, "name", name, *kind)),
        undo=Command(("ip", "link", "del", "dev", name)),
        makes=SubInterface(name, VLAN, parent, vlan),
        scope=Scope.NETWORK,
        why="what the VLAN's frames go through, with their tag",
    )


def add_shim(name: str, parent: str, kind: str, mode: str, mac: str | None) -> Step:
    """Make an interface of the host's own beside those of the sandboxes."""
    address = ("address", mac) if mac else ()
    where = ("link", parent, "name", name)
    return Step(
        do=Command(("ip", "link", "add", *where, *address, "type", kind, "mode", mode)),
        undo=Command(("ip", "link", "del", "dev", name)),
        makes=SubInterface(name, kind, parent),
        scope=Scope.NETWORK,
        why="the host's own place beside the sandboxes: from the parent itself none is reached",
    )


def shim_address(shim: str, cidr: str, *, with_key: str) -> Step:
    """Give the host an address on its own interface beside the sandboxes."""
    argv = ("ip", "addr", "add", cidr, "dev", shim, *(("nodad",) if ":" in cidr else ()))
    return Step(
        do=Command(argv),
        undo=GoesWith(with_key),
        makes=Address(None, shim, cidr),
        scope=Scope.NETWORK,
        why="the host's address for the sandboxes",
    )


def shim_route(route: RouteFact, *, with_key: str) -> Step:
    """Send what is for the sandboxes of a network by the host's own interface beside them."""
    return Step(
        do=Command(("ip", *_family(route), "route", "add", *route.words())),
        undo=GoesWith(with_key),
        makes=Route(None, route),
        scope=Scope.NETWORK,
        why="the way to the sandboxes",
    )


def answer_for_itself(link: str, *, with_key: str) -> Step:
    """Let an interface answer for its own addresses alone (Linux, ip-sysctl.rst: arp_ignore).

    It would answer for all that the host has, and neighbours would send to a MAC that goes with it.
    """
    name = f"net.ipv4.conf.{link.replace('.', '/')}.arp_ignore"
    return Step(
        do=Command(("sysctl", "-q", "-w", f"{name}=1")),
        undo=GoesWith(with_key),
        makes=Sysctl(None, name, "1"),
        scope=Scope.NETWORK,
        why="it answers for its own address alone, and the host's others keep their MAC",
    )


def link_up(link: str, *, with_key: str) -> Step:
    """Switch on an interface that a network has made on another one."""
    return Step(
        do=Command(("ip", "link", "set", "dev", link, "up")),
        undo=GoesWith(with_key),
        makes=Up(None, link),
        scope=Scope.NETWORK,
        why="switches it on",
    )


def _outer_settings(endpoint: Endpoint) -> tuple[str, ...]:
    mac = ("address", endpoint.host_mac) if endpoint.host_mac else ()
    return (*mac, *_mtu(endpoint.host_mtu))


def _inner_settings(endpoint: Endpoint) -> tuple[str, ...]:
    mac = ("address", endpoint.mac) if endpoint.mac else ()
    return (*mac, *_mtu(endpoint.mtu))


def _mtu(mtu: int | None) -> tuple[str, ...]:
    return ("mtu", str(mtu)) if mtu else ()


def add_bridge(name: str, mac: str, mtu: int | None, options: tuple[str, ...] = ()) -> Step:
    """Make a bridge with a MAC of its own, which it keeps whatever is plugged in.

    `options` are words as they stand behind its type.
    """
    words = ("ip", "link", "add", "name", name, *_mtu(mtu), "address", mac, "type", "bridge", *options)
    return Step(
        do=Command(words),
        undo=Command(("ip", "link", "del", "dev", name)),
        makes=Bridge(name),
        scope=Scope.NETWORK,
        why="the network's bridge; its MAC is given, so that no port changes it",
    )


def bridge_address(bridge: str, cidr: str, *, with_key: str | None) -> Step:
    """Give a bridge an address: the gateway of its network."""
    argv = ("ip", "addr", "add", cidr, "dev", bridge, *(("nodad",) if ":" in cidr else ()))
    return Step(
        do=Command(argv),
        undo=GoesWith(with_key) if with_key else Command(("ip", "addr", "del", cidr, "dev", bridge)),
        makes=Address(None, bridge, cidr),
        scope=Scope.NETWORK,
        why="the gateway of the network's containers",
    )


def bridge_up(bridge: str, *, with_key: str | None) -> Step:
    """Switch a bridge on."""
    return Step(
        do=Command(("ip", "link", "set", "dev", bridge, "up")),
        undo=GoesWith(with_key) if with_key else Command(("ip", "link", "set", "dev", bridge, "down")),
        makes=Up(None, bridge),
        scope=Scope.NETWORK,
        why="switches the bridge on",
    )


def refuse_advertisements(bridge: str, *, with_key: str) -> Step:
    """Let no container reconfigure the host by an IPv6 router advertisement (CVE-2020-10749)."""
    name = f"net.ipv6.conf.{bridge.replace('.', '/')}.accept_ra"
    return Step(
        do=Command(("sysctl", "-q", "-w", f"{name}=0")),
        undo=GoesWith(with_key),
        makes=Sysctl(None, name, "0"),
        scope=Scope.NETWORK,
        why="no container may change the host's routes by router advertisements",
    )


def forward(name: str, before: tuple[str, ...]) -> Step:
    """Let the host forward packets; the undo also sets what the kernel changes along with it.

    Setting the one for all interfaces sets each interface's (`before`: `KEY=VALUE` words; Linux,
    Documentation/networking/ip-sysctl.rst).
    """
    return Step(
        do=Command(("sysctl", "-q", "-w", f"{name}=1")),
        undo=Command(("sysctl", "-q", "-w", f"{name}=0", *before)),
        makes=Sysctl(None, name, "1"),
        scope=Scope.HOST,
        why="the host forwards packets between the bridge and its other interfaces",
    )


def hairpin(link: str) -> Step:
    """Let a container reach its own published port (Linux, bridge(8): hairpin).

    With bridge-nf-call-iptables on, what a container sends to its own port is turned round within the
    bridge, which sends nothing back to where it came from.
    """
    command = _port_setting(link, "hairpin")
    return Step(
        do=Command((*command, "on")),
        undo=Command((*command, "off")),
        makes=PortSetting(link, "hairpin"),
        scope=Scope.ENDPOINT,
        why="the sandbox may use its own published port",
    )


def isolate(link: str, *, with_key: str) -> Step:
    """Keep a port from the bridge's other isolated ports (Linux, bridge(8): isolated)."""
    return Step(
        do=Command((*_port_setting(link, "isolated"), "on")),
        undo=GoesWith(with_key),
        makes=PortSetting(link, "isolated"),
        scope=Scope.ENDPOINT,
        why="the containers of this network are kept from each other",
    )


def _port_setting(link: str, name: str) -> tuple[str, ...]:
    return ("ip", "link", "set", "dev", link, "type", "bridge_slave", name)


def route_loopback(bridge: str) -> Step:
    """Let packets of the host's 127.0.0.1 leave by a bridge (Linux, ip-sysctl.rst: route_localnet)."""
    name = f"net.ipv4.conf.{bridge.replace('.', '/')}.route_localnet"
    return Step(
        do=Command(("sysctl", "-q", "-w", f"{name}=1")),
        undo=Command(("sysctl", "-q", "-w", f"{name}=0")),
        makes=Sysctl(None, name, "1"),
        scope=Scope.PUBLISHING,
        why="the host's 127.0.0.1 leads to published ports, too",
    )


def keep_advertised_route(link: str, host: NamespaceFacts) -> Step:
    """Let an uplink go on learning its IPv6 route: a host that forwards would forget it.

    accept_ra=2 says: also when forwarding (Linux, Documentation/networking/ip-sysctl.rst).
    """
    name = f"net.ipv6.conf.{link.replace('.', '/')}.accept_ra"
    return Step(
        do=Command(("sysctl", "-q", "-w", f"{name}=2")),
        undo=Command(("sysctl", "-q", "-w", f"{name}={host.sysctl(name) or '1'}")),
        makes=Sysctl(None, name, "2"),
        scope=Scope.HOST,
        why="the host learned its IPv6 default route here; when it forwards, it would forget it",
    )


def keep_bridge_mac(bridge: str, mac: str) -> Step:
    """Set a bridge's MAC to what it is, so that a new port does not change it."""
    return Step(
        do=Command(("ip", "link", "set", "dev", bridge, "address", mac)),
        undo=Stays("the bridge keeps the MAC that it has"),
        makes=BridgeMac(bridge, mac),
        scope=Scope.HOST,
        why="a bridge without a MAC of its own takes that of a port, and the hosts behind it lose it; "
        "this keeps the one it has",
    )


def add_port(bridge: str, link: str, dialect: str) -> Step:
    """Plug an interface into a bridge."""
    classic = ("brctl", "addif", bridge, link)
    modern = ("ip", "link", "set", "dev", link, "master", bridge)
    return Step(
        do=Command(classic if dialect == CLASSIC else modern),
        undo=GoesWith(f"veth {link}"),
        makes=Port(bridge, link),
        scope=Scope.ENDPOINT,
        why="plugs the host's end into the bridge",
    )


def set_up(link: str, netns: Netns | None, dialect: str, *, with_key: str) -> Step:
    """Switch an interface on."""
    name = _named(link) if dialect == CLASSIC else ("dev", link)
    return Step(
        do=_inside(("ip", "link", "set", *name, "up"), netns, dialect),
        undo=GoesWith(with_key),
        makes=Up(netns, link),
        scope=Scope.ENDPOINT,
        why="switches the sandbox's end on" if netns else "switches the host's end on",
        touches=netns is not None,
    )


def move_into(endpoint: Endpoint, *, with_key: str) -> Step:
    """Put the other end of the cable into the sandbox."""
    netns = endpoint.sandbox.netns
    return Step(
        do=Command(("ip", "link", "set", *_named(endpoint.peer), "netns", netns.name)),
        undo=GoesWith(with_key),
        makes=Inside(endpoint.host_end, endpoint.peer, netns),
        scope=Scope.ENDPOINT,
        why="puts the other end into the sandbox",
        touches=True,
    )


def rename(endpoint: Endpoint, *, with_key: str) -> Step:
    """Give the inner end its final name."""
    netns = endpoint.sandbox.netns
    return Step(
        do=_inside(("ip", "link", "set", "dev", endpoint.peer, "name", endpoint.ifname), netns, CLASSIC),
        undo=GoesWith(with_key),
        makes=InterfaceName(netns, endpoint.ifname, endpoint.host_end),
        scope=Scope.ENDPOINT,
        why="the name that programs expect",
        touches=True,
    )


def enable_ipv6(link: str, netns: Netns, dialect: str, *, with_key: str) -> Step:
    """Allow IPv6 on an interface of a sandbox that has it switched off."""
    name = f"net.ipv6.conf.{link.replace('.', '/')}.disable_ipv6"
    return Step(
        do=_inside(("sysctl", "-q", "-w", f"{name}=0"), netns, dialect),
        undo=GoesWith(with_key),
        makes=Sysctl(netns, name, "0"),
        scope=Scope.ENDPOINT,
        why="the sandbox has IPv6 switched off; an address needs it on this interface",
        touches=True,
    )


def add_address(link: str, cidr: str, netns: Netns, dialect: str, *, with_key: str) -> Step:
    """Give an interface an address.

    IPv6 goes without duplicate address detection, as container engines do: for a second or so the
    address could not be used, and resolve has asked the wire already.
    """
    options = ("nodad",) if ":" in cidr else ()
    return Step(
        do=_inside(("ip", "addr", "add", cidr, "dev", link, *options), netns, dialect),
        undo=GoesWith(with_key),
        makes=Address(netns, link, cidr),
        scope=Scope.ENDPOINT,
        why="the sandbox's address on the network",
        touches=True,
    )


def add_route(
    route: RouteFact, netns: Netns, dialect: str, *, with_key: str, name_device: bool = True
) -> Step:
    """Add a route to a sandbox. Without `name_device` the kernel finds the interface, as by hand."""
    words = (route if name_device else replace(route, link=None)).words()
    return Step(
        do=_inside(("ip", *_family(route), "route", "add", *words), netns, dialect),
        undo=GoesWith(with_key),
        makes=Route(netns, route),
        scope=Scope.ENDPOINT,
        why=_why_route(route),
        touches=True,
    )


def _why_route(route: RouteFact) -> str:
    if route.destination == "default":
        return "sends everything else to the gateway"
    return "a route that was asked for" if route.via else "this destination is straight on the link"


def replace_default(route: RouteFact, old: RouteFact, netns: Netns, dialect: str) -> Step:
    """Put a default route in another one's place; the undo puts the old one back."""
    return Step(
        do=_inside(("ip", *_family(route), "route", "replace", *route.words()), netns, dialect),
        undo=_inside(("ip", *_family(old), "route", "replace", *old.words()), netns, dialect),
        makes=Route(netns, route, instead_of=old),
        scope=Scope.ENDPOINT,
        why="takes the place of the default route that the sandbox had",
        touches=True,
    )


def forget_neighbour(neighbour: NeighbourFact) -> Step:
    """Make the host forget the MAC that an address had before: it would send there for seconds.

    `flush`, since the entry may go by itself at any moment, and `del` fails for one that is gone.
    """
    return Step(
        do=Command(("ip", "neigh", "flush", "to", neighbour.ip, "dev", neighbour.link)),
        undo=Stays("the kernel learns a neighbour again when it needs it"),
        makes=Forgotten(neighbour.link, neighbour.ip, neighbour.mac),
        scope=Scope.HOST,
        why="the host remembers this address with another MAC, and would send there for some seconds",
    )


def _family(route: RouteFact) -> tuple[str, ...]:
    # `default` alone does not say which family; a destination or a gateway with a colon does.
    bare = route.family == 6 and ":" not in route.destination + (route.via or "")
    return ("-6",) if bare else ()


def _inside(argv: tuple[str, ...], netns: Netns | None, dialect: str) -> Command:
    return Command(argv, netns, Entry.EXEC if dialect == CLASSIC else Entry.OPTION)


def _named(link: str) -> tuple[str, ...]:
    return (link,) if re.fullmatch(_PLAIN_NAME, link) else ("dev", link)


def _named_new(link: str) -> tuple[str, ...]:
    return (link,) if re.fullmatch(_PLAIN_NAME, link) else ("name", link)
