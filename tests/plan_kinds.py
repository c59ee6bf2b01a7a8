"""The kinds of plan that the laws are checked on. A new kind is one more entry in KINDS.

Each is then checked for convergence, reversibility, one truth, and minding its own by test_laws.py, for
all or nothing by test_battery_faults.py, and as a script by test_export_bash.py.
"""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import pytest
from snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from _pytest.mark import ParameterSet
    from hosts import Host

T = TypeVar("T")
DIALECTS: Final = ("classic", "modern")
FULL: Final = "NETTOOL_TEST_ALL" in os.environ
"""Whether the battery of faults is run at its whole size."""
EVERY: Final = "NETTOOL_TEST_FULL" in os.environ
"""Whether the other tests try every combination, and not only every value."""

FOREIGN_PORT: Final = (
    "ip link add name port0 type veth peer name port1",
    "ip link set dev port0 master docker0 up",
    "ip link set dev port1 up",
)
OTHER_UPLINK: Final = (
    "ip link add name up0 type veth peer name up1",
    "ip link set dev up0 up",
    "ip address add 192.168.7.2/24 dev up0",
    "ip route add default via 192.168.7.1 dev up0",
)
OTHER_UPLINK_6: Final = (
    "ip link add name up0 type veth peer name up1",
    "ip link set dev up0 up",
    "ip link set dev up1 up",
    "ip address add fd77::2/64 dev up0 nodad",
    "ip route add default via fd77::1 dev up0 metric 512",
)
NO_IPV6: Final = ("sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",)


def with_dialects(names: Iterable[str], *, every: bool = EVERY) -> list[ParameterSet]:
    """Return each name with a dialect in turn, as test parameters; with both where every one is tried."""
    return [_param(name, dialect) for name in names for dialect in DIALECTS] if every else in_turn(names)


def in_turn(names: Iterable[str]) -> list[ParameterSet]:
    """Return each name with a dialect in turn, as test parameters."""
    return [_param(name, DIALECTS[number % 2]) for number, name in enumerate(names)]


def _param(name: str, dialect: str) -> ParameterSet:
    return pytest.param(name, dialect, id=f"{name}-{dialect}")


def some(things: Sequence[T], *, every: bool = EVERY) -> Sequence[T]:
    """Return the first and every third one after it; all of them where every one is tried."""
    return things if every else things[::3]


@dataclass(frozen=True)
class Verbs:
    """How a kind of plan is carried out and how it is taken back, as command lines.

    `gone` is the exit status of taking back what is gone. Where kinds have most of their steps in common,
    each has its `share` of the places where things go wrong: every third one, say, beginning elsewhere.
    """

    do: str
    undo: str
    dialects: tuple[str, ...] = DIALECTS
    gone: int = 0
    share: int = 1


ATTACH: Final = Verbs(
    "attach {target} {request} --dialect {dialect}", "detach {target} {back} --dialect {dialect}"
)
WITH_A_PORT: Final = dataclasses.replace(ATTACH, share=5)
CREATE: Final = Verbs("network create lan {request}", "network rm lan", ("classic",), gone=5, share=4)
CONNECT: Final = Verbs(
    "network connect lan {name} {request} --dialect {dialect}",
    "network disconnect lan {name} --dialect {dialect}",
    share=3,
)
SANDBOX: Final = Verbs("sandbox create {request}", "sandbox rm {request}", ("classic",), gone=5)
PUBLISH: Final = Verbs("publish {name} {request}", "unpublish {name} --all", ("classic",), share=4)


@dataclass(frozen=True)
class Bridge:
    """A bridge of the host; a `mac` of None leaves it to the kernel, as `ip link add` alone does."""

    addresses: tuple[str, ...] = ("172.17.0.1/16", "fd00::1/64")
    name: str = "docker0"
    mac: str | None = ""
    used: bool = True


@dataclass(frozen=True)
class Kind:
    """A kind of plan: how its host is furnished, what is asked for, and what takes it back.

    `host` and `sandbox` are commands run before, there; `{pid}` is the sandbox's process, `{other}` that
    of its neighbour. `first` is an attachment that stays. `alters` matches the lines of the snapshot that
    the plan changes or takes away: most plans only add. `stays` matches those that are not taken back.
    """

    name: str
    request: str
    bridges: tuple[Bridge, ...] = (Bridge(),)
    host: tuple[str, ...] = ()
    sandbox: tuple[str, ...] = ()
    target: str = "pid"
    first: str = ""
    back: str = ""
    alters: str = "never"
    stays: str = "never"
    verbs: Verbs = ATTACH

    def dialect(self, number: int) -> str:
        """Return the dialect that is its turn, by its number."""
        return self.verbs.dialects[number % len(self.verbs.dialects)]

    def dialects(self, number: int, *, every: bool = EVERY) -> tuple[str, ...]:
        """Return the dialects to try it in: one in turn, by its number; each where every one is tried."""
        return self.verbs.dialects if every else (self.dialect(number),)


@dataclass(frozen=True)
class Scene:
    """A furnished host with a sandbox in it, and its neighbour where there is one."""

    host: Host
    kind: Kind
    pid: int
    other: int
    target: tuple[str, str]
    netns: str

    def do(self, dialect: str, *options: str) -> tuple[str, ...]:
        """Return the request as a command line of nettool."""
        return self._line(self.kind.verbs.do, dialect, *options)

    def undo(self, dialect: str, *options: str) -> tuple[str, ...]:
        """Return what takes it back."""
        return self._line(self.kind.verbs.undo, dialect, *options)

    # As those say it that are about attachments alone.
    attach, detach = do, undo

    def _line(self, template: str, dialect: str, *options: str) -> tuple[str, ...]:
        known = {"request": self.kind.request, "back": self.kind.back, "dialect": dialect}
        name = f"pid:{self.pid}" if self.kind.target == "pid" else "netns:blue"
        line = template.format(target=" ".join(self.target), name=name, **known)
        return (*line.split(), *options)

    def snapshot(self) -> dict[str, str]:
        """Read the host and the sandbox."""
        parts = snapshot([self.netns], host=self.host.view)
        if self.kind.verbs is SANDBOX:
            # A namespace that is made again has another number.
            parts["host: netns"] = re.sub(r"nsfs f \d+", "nsfs", parts["host: netns"])
        return parts


def furnish(host: Host, kind: Kind, dialect: str = "classic", *, serve: bool = False) -> Scene:
    """Make the bridges, the sandbox and what else a kind of plan needs."""
    for bridge in kind.bridges:
        host.add_bridge(bridge.name, *bridge.addresses, mac=bridge.mac, used=bridge.used)
    pid = host.container(serve=serve)
    other = host.container() if any("{other}" in command for command in kind.host) else 0
    netns = f"/proc/{pid}/ns/net"
    targets = {"pid": ("--pid", str(pid)), "name": ("--netns", "blue"), "path": ("--netns", netns)}
    host.check("ip", "netns", "attach", "blue", str(pid)) if kind.target == "name" else None
    for command in kind.host:
        words = command.format(pid=pid, other=other).split()
        host.nettool(*words[1:]).check_returncode() if words[0] == "nettool" else host.check(*words)
    for command in kind.sandbox:
        host.inside(pid, *command.split())
    scene = Scene(host, kind, pid, other, targets[kind.target], netns)
    if kind.first:
        first = ("attach", *scene.target, *kind.first.split(), "--dialect", dialect)
        assert host.nettool(*first).returncode == 0
    return scene


SECOND_BRIDGE: Final = Bridge(("10.9.0.1/24",), "br9")
ODD_NAME: Final = "b#'$(id)\"\\"
ODD_BRIDGE: Final = (
    f"ip link add name {ODD_NAME} address 02:42:00:00:00:09 type bridge",
    f"sysctl -qw net/ipv6/conf/{ODD_NAME}/disable_ipv6=1",
    f"ip link set dev {ODD_NAME} up",
    f"ip address add 172.17.0.1/16 dev {ODD_NAME}",
)
ATTACHMENTS: Final = (
    Kind("IPv4", "--ip 172.17.0.10/16"),
    Kind("IPv6", "--ip fd00::10/64"),
    Kind(
        "an address that was another MAC's",
        "--ip 172.17.0.10/16",
        # The port keeps the bridge's carrier: the kernel forgets its neighbours when that goes.
        host=(*FOREIGN_PORT, "ip neigh add 172.17.0.10 lladdr 02:42:00:00:00:99 dev docker0 nud stale"),
    ),
    Kind("both families", "--ip 172.17.0.10/16 --ip fd00::10/64 --ip 172.17.0.11/16"),
    Kind("further routes", "--ip 172.17.0.10/16 --route 10.1.0.0/16 --route 10.2.0.0/16,172.17.0.9"),
    Kind("IPv6 routes", "--ip fd00::10/64 --route fd01::/64 --route fd02::/64,fd00::9 --gateway none"),
    Kind("a gateway of one's own", "--ip 172.17.0.10/16 --gateway 172.17.0.254"),
    Kind("a link-local gateway", "--ip fd00::10/64 --gateway fe80::1"),
    Kind("no gateway", "--ip 172.17.0.10/16 --gateway none"),
    Kind("an address off the bridge's subnet", "--ip 192.0.2.7/24"),
    Kind("an IPv6 address off the bridge's subnet", "--ip fd09::7/64"),
    Kind("a gateway off every subnet", "--ip 172.17.0.10/32 --gateway 172.17.0.1"),
    Kind("a bridge without addresses", "--ip 172.17.0.10/16", bridges=(Bridge(addresses=()),)),
    Kind(
        "MAC and MTU on a bridge of jumbo frames",
        "--ip 172.17.0.10/16 --mac 02:42:ac:11:00:0a --mtu 8000",
        host=("ip link set dev docker0 mtu 9000",),
    ),
    Kind("a bridge of jumbo frames", "--ip 172.17.0.10/16", host=("ip link set dev docker0 mtu 9000",)),
    Kind("a bridge of small frames", "--ip 172.17.0.10/16", host=("ip link set dev docker0 mtu 1300",)),
    Kind("names given", "--ip 172.17.0.10/16 --ifname lan --host-ifname web-lan"),
    Kind("a name with a dot", "--ip fd00::10/64 --ifname eth0.5 --host-ifname a", sandbox=NO_IPV6),
    Kind("a keyword as a name", "--ip 172.17.0.10/16 --ifname up --host-ifname type"),
    Kind(
        "a bridge with an odd name", f"--ip 172.17.0.10/16 --bridge {ODD_NAME}",
        bridges=(Bridge(name="b"),), host=ODD_BRIDGE,
    ),
    Kind("default route kept", "--ip 172.17.0.10/16", sandbox=OTHER_UPLINK),
    Kind(
        "default route replaced", "--ip 172.17.0.10/16 --default-route replace", sandbox=OTHER_UPLINK,
        alters="default",
    ),
    Kind(
        "IPv6 default route replaced", "--ip fd00::10/64 --default-route replace", sandbox=OTHER_UPLINK_6,
        alters="default",
    ),
    Kind(
        "a bridge with the kernel's MAC", "--ip 172.17.0.10/16", bridges=(Bridge(mac=None),),
        alters='"docker0"',
    ),
    Kind(
        "the kernel's MAC and a foreign port", "--ip 172.17.0.10/16", bridges=(Bridge(mac=None),),
        host=FOREIGN_PORT,
    ),
    Kind("IPv6 switched off in the sandbox", "--ip 172.17.0.10/16 --ip fd00::10/64", sandbox=NO_IPV6),
    Kind(
        "a second endpoint", "--ip 10.9.0.10/24 --bridge br9", bridges=(Bridge(), SECOND_BRIDGE),
        first="--ip 172.17.0.10/16", back="--ifname eth1",
    ),
    Kind(
        "a second endpoint takes the default route", "--ip 10.9.0.10/24 --bridge br9 --default-route replace",
        bridges=(Bridge(), SECOND_BRIDGE), first="--ip 172.17.0.10/16", back="--ifname eth1",
        alters="default",
    ),
    Kind(
        "named by somebody else", "--ip 172.17.0.10/16",
        host=("ln -s /proc/{pid}/ns/net /var/run/netns/{pid}",),
    ),
    Kind("mounted by somebody else", "--ip 172.17.0.10/16", host=("ip netns attach {pid} {pid}",)),
    Kind("another name by somebody else", "--ip 172.17.0.10/16", host=("ip netns attach red {pid}",)),
    Kind("no folder of names", "--ip 172.17.0.10/16", host=("rmdir /run/netns",)),
    Kind(
        "as many kinds of steps as one plan can have",
        "--ip 172.17.0.10/16 --ip fd00::10/64 --route 10.1.0.0/16 --mac 02:42:ac:11:00:0a "
        "--default-route replace",
        bridges=(Bridge(mac=None),), host=(*FOREIGN_PORT, "rmdir /run/netns"),
        sandbox=(*NO_IPV6, *OTHER_UPLINK), alters="default",
    ),
    Kind("a namespace by its name", "--ip 172.17.0.10/16", target="name"),
    Kind("a namespace by its path", "--ip 172.17.0.10/16", target="path"),
)  # fmt: skip

FORWARDS: Final = ("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",)
DOCKER_USER: Final = (
    "iptables -N DOCKER-USER",
    "iptables -A DOCKER-USER -j RETURN",
    "iptables -I FORWARD -j DOCKER-USER",
    "iptables -N DOCKER-ISOLATION-STAGE-2",
    "iptables -A DOCKER-ISOLATION-STAGE-2 -j RETURN",
    "iptables -P FORWARD DROP",
    "iptables -A FORWARD -i nt-other -j ACCEPT",
)
BRIDGE_THERE: Final = (
    "ip link add name br0 address 02:42:00:00:00:07 type bridge",
    "ip link set br0 up",
)


def _network(name: str, request: str, *host: str, **more: str) -> Kind:
    """Return a kind of network, on a host that forwards and has these things besides."""
    return Kind(name, request, bridges=(), host=(*FORWARDS, *host), verbs=CREATE, **more)


NETWORKS: Final = (
    _network("a network of a free subnet", ""),
    _network("an IPv4 network", "--subnet 10.20.0.0/24 --gateway 10.20.0.254"),
    _network("an IPv6 network", "--subnet fd20::/64"),
    _network("a network of both families", "--subnet 10.20.0.0/24 --subnet fd20::/64 --mtu 1400"),
    _network("an internal network", "--subnet 10.20.0.0/24 --internal"),
    _network("an isolated network", "--subnet 10.20.0.0/24 --isolate"),
    _network("a network without masquerade", "--subnet 10.20.0.0/24 --no-masquerade"),
    _network("a network with a bridge of its own name", "--subnet 10.20.0.0/24 --bridge-name br-lan"),
    _network(
        "a network on a bridge that was there", "--subnet 10.20.0.0/24 --bridge-name br0",
        # What was up once has another qdisc than what never was.
        *BRIDGE_THERE, "ip link set br0 down", alters='"br0"',
    ),
    _network(
        "a network on a bridge that was there, up and addressed", "--subnet 10.20.0.0/24 --bridge-name br0",
        *BRIDGE_THERE, "ip address add 10.20.0.1/24 dev br0",
    ),
    _network("a network beside Docker", "--subnet 10.20.0.0/24", *DOCKER_USER),
    _network("a network with options", "--subnet 10.20.0.0/24 --option stp=on --option ageing=20"),
    _network("a network beside another one", "", "nettool network create other"),
    Kind(
        "a network on a host that does not forward", "--subnet 10.20.0.0/24 --subnet fd20::/64", bridges=(),
        # One interface forwards by itself, though the host as a whole does not.
        host=("ip link add name up0 type veth peer name up1", "sysctl -qw net.ipv4.conf.up0.forwarding=1"),
        alters="forward", stays="forward", verbs=CREATE,
    ),
)  # fmt: skip

UPLINK: Final = (
    "ip link add name up0 type veth peer name up1",
    "ip link set dev up0 up",
    "ip link set dev up1 up",
    "ip address add 192.0.2.1/24 dev up0",
    "ip address add 2001:db8::1/64 dev up0 nodad",
)
LAN: Final = ("nettool network create lan --bridge-name br-lan --subnet 10.20.0.0/24 --subnet fd20::/64",)
WIRED: Final = (
    "nettool attach --pid {pid} --bridge br-lan --ip 10.20.0.2/24 --ip fd20::2/64",
    "nettool attach --pid {other} --bridge br-lan --ip 10.20.0.3/24 --ip fd20::3/64",
)
DOCKER: Final = (
    "iptables -t nat -N DOCKER", "iptables -N DOCKER",
    "iptables -P FORWARD DROP", "iptables -A FORWARD -o br-lan -j DOCKER",
    "iptables -A FORWARD -i br-lan -j ACCEPT",
    "iptables -A FORWARD -o br-lan -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    "iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
    "iptables -t nat -A OUTPUT -m addrtype --dst-type LOCAL ! --dst 127.0.0.0/8 -j DOCKER",
)  # fmt: skip
ON_LAN: Final = Bridge((), "br-lan")
BARE: Final = Bridge(("10.20.0.1/24", "fd20::1/64"), "br-lan")


SWITCHED: Final = 'route_localnet|"hairpin": false'
"""What published ports alter: a switch of the bridge, and one of its port."""


def _connected(name: str, request: str, network: str, **more: str) -> Kind:
    """Return a kind of connection to a network of these options."""
    host = (*UPLINK, *FORWARDS, f"nettool network create lan --bridge-name br-lan {network}")
    return Kind(name, request, bridges=(ON_LAN,), host=host, verbs=CONNECT, **more)


def _published(name: str, request: str, bridge: Bridge = ON_LAN, *host: str, last: str = "true") -> Kind:
    """Return a kind of published ports of a sandbox that has a neighbour: on a network, or a bare bridge."""
    network = LAN if bridge is ON_LAN else ()
    furnished = (*UPLINK, *FORWARDS, *network, *host, *WIRED, last)
    return Kind(name, request, bridges=(bridge,), host=furnished, alters=SWITCHED, verbs=PUBLISH)


CONNECTIONS: Final = (
    # One address is free: after it was given back, the next one would be another.
    _connected("a connection", "", "--subnet 10.20.0.0/30"),
    _connected(
        "a connection of both families", "--ip 10.20.0.2 --ip6 fd20::2", LAN[0].partition("br-lan ")[2]
    ),
    _connected("a connection to an isolated network", "--ip 10.20.0.2", "--subnet 10.20.0.0/24 --isolate"),
    _connected("a connection with a port", "--publish 8080:80", "--subnet 10.20.0.0/30", alters=SWITCHED),
)
PUBLISHED: Final = "--bridge br-lan --ip 10.20.0.2/24 --ip fd20::2/64 --publish"
PORTS: Final = (
    _published("a port in both families", "8080:80"),
    _published("a port of one address", "192.0.2.1:8080:80/tcp"),
    _published("a port of the host's own", "127.0.0.1:8080:80"),
    _published("a port in IPv6 alone", "[2001:db8::1]:8080:80"),
    _published("a range of ports", "8080-8083:80-83"),
    _published("ports of udp and sctp", "53:5353/udp 132:132/sctp"),
    _published("a port for some", "8080:80 --allow-from 192.0.2.0/24 --allow-from 2001:db8::/64"),
    _published("a port on a bare bridge", "8080:80", BARE),
    _published("a port beside a published one", "8080:80", last="nettool publish pid:{other} 9090:90"),
    _published("a port in the documented form", "8080:80 --dialect classic", BARE, *DOCKER),
    _published("a port in own chains beside Docker's", "8080:80 --dialect modern", BARE, *DOCKER),
    Kind(
        "an interface with a port", f"{PUBLISHED} 8080:80",
        bridges=(ON_LAN,), host=(*UPLINK, *FORWARDS, *LAN), alters=SWITCHED, verbs=WITH_A_PORT,
    ),
    Kind(
        "an interface with ports on a bare bridge", f"{PUBLISHED} 8080:80 --publish 127.0.0.1:8443:443",
        bridges=(BARE,), host=(*UPLINK, *FORWARDS), alters=SWITCHED, verbs=WITH_A_PORT,
    ),
)  # fmt: skip
BY_HAND: Final = tuple(
    command.format(end=end, box=box, number=number)
    for end, box, number in (("hand2", "{pid}", 2), ("hand3", "{other}", 3))
    for command in (
        "ip link add name {end} master br-lan up type veth peer name eth0 netns {box}",
        "nsenter --net=/proc/{box}/ns/net ip link set dev eth0 up",
        "nsenter --net=/proc/{box}/ns/net ip address add 10.20.0.{number}/24 dev eth0",
        "nsenter --net=/proc/{box}/ns/net ip address add fd20::{number}/64 dev eth0 nodad",
        "nsenter --net=/proc/{box}/ns/net ip route add default via 10.20.0.1",
        "nsenter --net=/proc/{box}/ns/net ip route add default via fd20::1",
    )
)


def _of_another(name: str, request: str, *host: str) -> Kind:
    """Return a kind of published ports of an interface that somebody else has made."""
    furnished = (*UPLINK, *FORWARDS, *host, *BY_HAND)
    return Kind(name, request, bridges=(BARE,), host=furnished, alters=SWITCHED, verbs=PUBLISH)


OF_OTHERS: Final = (
    _of_another("a port of an interface made by hand", "8080:80"),
    _of_another("a port of one on Docker's bridge", "8080:80 --dialect classic", *DOCKER),
)
WITH_NAMES: Final = (
    _network("a network with names", "--subnet 10.20.0.0/24 --subnet fd20::/64 --dns"),
    _connected("a connection with names", "--alias www --alias api", "--subnet 10.20.0.0/30 --dns"),
    _connected("a named sandbox and its names", "--alias www", "--subnet 10.20.0.0/30 --dns", target="name"),
)
SANDBOXES: Final = (
    Kind("a named sandbox", "blue", bridges=(), verbs=SANDBOX),
    Kind("a named sandbox, the first", "blue", bridges=(), host=("rmdir /run/netns",), verbs=SANDBOX),
)
ON_UP0: Final = "--driver macvlan --parent up0 --subnet 192.0.2.0/24"
ON_A_PARENT: Final = (
    Kind(
        "a macvlan network with an address of the host's",
        f"{ON_UP0} --ip-range 192.0.2.128/25 --host-address 192.0.2.9",
        bridges=(), host=UPLINK, verbs=CREATE,
    ),
    Kind(
        "a macvlan connection", "--ip 192.0.2.130 --ip6 2001:db8::130", bridges=(),
        host=(*UPLINK, f"nettool network create lan {ON_UP0} --subnet 2001:db8::/64"), verbs=CONNECT,
    ),
)  # fmt: skip
FURTHER: Final = (*NETWORKS, *CONNECTIONS, *PORTS, *ON_A_PARENT, *WITH_NAMES, *SANDBOXES)
"""What is not an attachment, and not of an interface that somebody else has made."""
KINDS: Final = (*ATTACHMENTS, *OF_OTHERS, *FURTHER)
BY_NAME: Final = {kind.name: kind for kind in KINDS}
