"""The kinds of plan that the laws are checked on. A new kind is one more entry in KINDS.

Each is then checked for convergence, reversibility, one truth, and minding its own, in both
dialects, by test_laws.py.
"""

from __future__ import annotations

import os
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
"""Whether every combination is tried, and not only every value."""

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


def with_dialects(names: Iterable[str]) -> list[ParameterSet]:
    """Return each name with a dialect in turn, as test parameters; with both when all is tested."""
    return [
        pytest.param(name, dialect, id=f"{name}-{dialect}")
        for number, name in enumerate(names)
        for dialect in (DIALECTS if FULL else (DIALECTS[number % 2],))
    ]


def some(things: Sequence[T]) -> Sequence[T]:
    """Return the first and every third one after it; all of them when all is tested."""
    return things if FULL else things[::3]


@dataclass(frozen=True)
class Bridge:
    """A bridge of the host; a `mac` of None leaves it to the kernel, as `ip link add` alone does."""

    addresses: tuple[str, ...] = ("172.17.0.1/16", "fd00::1/64")
    name: str = "docker0"
    mac: str | None = ""
    used: bool = True


@dataclass(frozen=True)
class Kind:
    """A kind of plan: how its host is furnished, and what is asked for.

    `host` and `sandbox` are commands run before, there; `first` is an attachment that stays. `alters`
    matches the lines of the snapshot that the plan changes or takes away: most plans only add.
    """

    name: str
    request: str
    bridges: tuple[Bridge, ...] = (Bridge(),)
    host: tuple[str, ...] = ()
    sandbox: tuple[str, ...] = ()
    target: str = "pid"
    first: str = ""
    detach: str = ""
    alters: str = "never"


@dataclass(frozen=True)
class Scene:
    """A furnished host with one sandbox in it."""

    host: Host
    kind: Kind
    pid: int
    target: tuple[str, str]
    netns: str

    def attach(self, dialect: str, *options: str) -> tuple[str, ...]:
        """Return the request as a command line of nettool."""
        return ("attach", *self.target, *self.kind.request.split(), "--dialect", dialect, *options)

    def detach(self, dialect: str, *options: str) -> tuple[str, ...]:
        """Return what takes it back."""
        return ("detach", *self.target, *self.kind.detach.split(), "--dialect", dialect, *options)

    def snapshot(self) -> dict[str, str]:
        """Read the host and the sandbox."""
        return snapshot([self.netns], enter=self.host.enter)


def furnish(host: Host, kind: Kind, dialect: str = "classic") -> Scene:
    """Make the bridges and the sandbox that a kind of plan needs."""
    for bridge in kind.bridges:
        host.add_bridge(bridge.name, *bridge.addresses, mac=bridge.mac, used=bridge.used)
    pid = host.container()
    netns = f"/proc/{pid}/ns/net"
    targets = {"pid": ("--pid", str(pid)), "name": ("--netns", "blue"), "path": ("--netns", netns)}
    host.check("ip", "netns", "attach", "blue", str(pid)) if kind.target == "name" else None
    for command in kind.host:
        host.check(*command.format(pid=pid).split())
    for command in kind.sandbox:
        host.inside(pid, *command.split())
    scene = Scene(host, kind, pid, targets[kind.target], netns)
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
KINDS: Final = (
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
        first="--ip 172.17.0.10/16", detach="--ifname eth1",
    ),
    Kind(
        "a second endpoint takes the default route", "--ip 10.9.0.10/24 --bridge br9 --default-route replace",
        bridges=(Bridge(), SECOND_BRIDGE), first="--ip 172.17.0.10/16", detach="--ifname eth1",
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
