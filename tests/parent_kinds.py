"""Networks straight on a parent: the kinds of them, and a host with a parent and a neighbour behind it.

What this kernel cannot make is marked: `scripts/test --kernel` runs it in one that can.
"""

from __future__ import annotations

import functools
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from plan_kinds import FULL, some
from snapshot import search_path

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet
    from hosts import Host

SUBNET: Final = "--subnet 192.168.1.0/24"
BOTH: Final = f"{SUBNET} --subnet fd19::/64"
# Half of the subnet is the sandboxes': the host has all of it on the parent already.
SHIM: Final = f"{SUBNET} --ip-range 192.168.1.128/25 --host-address 192.168.1.9"
ADDRESSES: Final = {
    "192.168.1.0/24": "192.168.1.130", "fd19::/64": "fd19::130",
    "10.8.0.0/24": "10.8.0.130", "fd18::/64": "fd18::130",
}  # fmt: skip
VLAN_THERE: Final = ("ip link add link up0 name up0.10 type vlan id 10", "ip link set up0.10 up")


@functools.cache
def makes(kind: str) -> bool:
    """Whether this kernel makes that kind of interface, found out by making one nobody sees."""
    number = " id 1" if kind == "vlan" else ""
    lines = f"link add name a0 type veth peer name a1\nlink add link a0 name a2 type {kind}{number}\n"
    done = subprocess.run(
        ("unshare", "--user", "--map-root-user", "--net", "ip", "-batch", "-"),
        input=lines, capture_output=True, encoding="utf-8", check=False, env={"PATH": search_path()},
    )  # fmt: skip
    return done.returncode == 0


def needs(*kinds: str) -> pytest.MarkDecorator:
    """Mark a test that needs a kernel which makes these kinds of interfaces."""
    return pytest.mark.kernel(*kinds)


@dataclass(frozen=True)
class ParentKind:
    """A kind of network on the parent up0: what is asked for, and what is on its host before."""

    name: str
    request: str
    needs: tuple[str, ...] = ()
    host: tuple[str, ...] = ()

    @property
    def create(self) -> tuple[str, ...]:
        return ("network", "create", "lan", "--parent", "up0", *self.request.split())

    @property
    def addresses(self) -> tuple[str, ...]:
        """The options that ask for an address of each subnet."""
        found = [address for subnet, address in ADDRESSES.items() if subnet in self.request]
        return tuple(
            word
            for address in found or ["172.17.0.130"]
            for word in ("--ip6" if ":" in address else "--ip", address)
        )


KINDS: Final = (
    ParentKind("macvlan", f"--driver macvlan {SUBNET}"),
    ParentKind("macvlan, both families", f"--driver macvlan {BOTH} --mtu 1400"),
    ParentKind("macvlan, IPv6", "--driver macvlan --subnet fd19::/64"),
    ParentKind("macvlan, private", f"--driver macvlan --mode private {SUBNET}"),
    ParentKind("macvlan, vepa", f"--driver macvlan --mode vepa {SUBNET}"),
    ParentKind("macvlan, passthru", f"--driver macvlan --mode passthru {SUBNET}"),
    ParentKind("macvlan, internal", f"--driver macvlan --internal {SUBNET}"),
    ParentKind("macvlan, a free subnet", "--driver macvlan"),
    ParentKind("macvlan, the host's address", f"--driver macvlan {SHIM}"),
    ParentKind(
        "macvlan, the host's addresses, elsewhere",
        "--driver macvlan --subnet 10.8.0.0/24 --subnet fd18::/64 --host-address 10.8.0.9 "
        "--host-address fd18::9",
    ),
    ParentKind("ipvlan", f"--driver ipvlan {BOTH}", ("ipvlan",)),
    ParentKind(
        "ipvlan, l3", "--driver ipvlan --mode l3 --subnet 10.8.0.0/24 --subnet fd18::/64", ("ipvlan",)
    ),
    ParentKind("ipvlan, l3s", "--driver ipvlan --mode l3s --subnet 10.8.0.0/24", ("ipvlan",)),
    ParentKind("ipvlan, the host's address", f"--driver ipvlan {SHIM}", ("ipvlan",)),
    ParentKind("vlan", "--driver vlan --vlan 10 --subnet 10.8.0.0/24", ("vlan",)),
    ParentKind("vlan, there before", "--driver vlan --vlan 10 --subnet 10.8.0.0/24", ("vlan",), VLAN_THERE),
    ParentKind(
        "macvlan on a VLAN, the host's address",
        "--driver macvlan --vlan 10 --subnet 10.8.0.0/24 --host-address 10.8.0.9", ("vlan",),
    ),
    ParentKind(
        "ipvlan on a VLAN", "--driver ipvlan --vlan 10 --subnet 10.8.0.0/24", ("ipvlan", "vlan")
    ),
)  # fmt: skip
BY_NAME: Final = {kind.name: kind for kind in KINDS}


def params(*names: str) -> list[ParameterSet]:
    """Return kinds by their names as test parameters; some of them, or all, without a name."""
    chosen = [BY_NAME[name] for name in names] if names else some(KINDS, every=FULL)
    return [pytest.param(k, id=k.name, marks=[needs(*k.needs)] if k.needs else []) for k in chosen]


def furnish(host: Host, kind: ParentKind | None = None) -> int:
    """Give a host the parent up0, and a neighbour behind it, who serves; return the neighbour's pid."""
    pid = host.container(serve=True)
    host.check("ip", "link", "add", "name", "up0", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    for family in ("192.168.1.5/24", "fd19::5/64"):
        host.check("ip", "address", "add", family, "dev", "up0", *_nodad(family))
    host.check("ip", "link", "set", "dev", "up0", "up")
    for family in ("192.168.1.1/24", "fd19::1/64"):
        host.inside(pid, "ip", "address", "add", family, "dev", "eth0", *_nodad(family))
    host.inside(pid, "ip", "link", "set", "dev", "eth0", "up")
    for command in kind.host if kind else ():
        host.check(*command.split())
    return pid


def _nodad(cidr: str) -> tuple[str, ...]:
    return ("nodad",) if ":" in cidr else ()
