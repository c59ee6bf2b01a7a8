"""What is decided of a network straight on an interface of the host's, and what is in its way. Pure."""

from __future__ import annotations

import ipaddress

from nettool import naming
from nettool.drivers.macvlan import MODES, WITH_SHIM, shim_routes
from nettool.errors import UsageError
from nettool.facts import IPVLAN, MACVLAN, ON_PARENT, VLAN
from nettool.interfaces import interface_of
from nettool.ipam import address_fault
from nettool.model import Network
from nettool.text import a

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Final

    from nettool.facts import Facts, LinkFact
    from nettool.ipam import Subnet
    from nettool.model import NetworkRecord, Record, Records
    from nettool.request import CreateNetwork
    from nettool.resolve import Findings

DRIVERS: Final = (MACVLAN, IPVLAN, VLAN)
_TAPS: Final = ("macvtap", "ipvtap")
_LARGEST_VLAN: Final = 4094
"""IEEE 802.1Q keeps 0 and 4095 for itself."""


def check_words(request: CreateNetwork, subnets: tuple[Subnet, ...]) -> None:
    """Refuse what no host could carry out, or what means nothing with the driver. Raises UsageError."""
    if request.driver not in DRIVERS:
        given = {
            "--parent": request.parent, "--vlan": request.vlan is not None, "--mode": request.mode,
            "--host-address": request.host_addresses,
        }  # fmt: skip
        _refuse_all(given, request.driver, f"they are for {', '.join(DRIVERS)}")
        return
    given = {
        "--bridge-name": request.bridge_name, "--isolate": request.isolate,
        "--no-masquerade": not request.masquerade, "--dns": request.dns,
    }  # fmt: skip
    _refuse_all(given, request.driver, "there is no bridge, and no firewall in between")
    if request.parent is None:
        hints = ("--parent eth0, where eth0 is an interface of this host",)
        raise UsageError(f"--driver {request.driver} needs --parent", hints=hints)
    fault = naming.existing_name_fault(request.parent)
    if fault:
        raise UsageError(f"--parent {request.parent!r} {fault}")
    _check_vlan(request)
    kind = IPVLAN if request.driver == IPVLAN else MACVLAN
    if request.mode is not None and request.mode not in MODES[kind]:
        why = f"{a(kind)} has the modes {', '.join(MODES[kind])}"
        raise UsageError(f"there is no --mode {request.mode} with --driver {request.driver}", why=(why,))
    _check_host_addresses(request, subnets, request.mode or MODES[kind][0])


def _refuse_all(given: Mapping[str, object], driver: str, why: str) -> None:
    named = next((option for option, value in given.items() if value), None)
    if named is not None:
        raise UsageError(f"{named} means nothing with --driver {driver}", why=(why,))


def _check_vlan(request: CreateNetwork) -> None:
    if request.vlan is None:
        if request.driver == VLAN:
            raise UsageError("--driver vlan needs --vlan", hints=("--vlan 10",))
        return
    if not 1 <= request.vlan <= _LARGEST_VLAN:
        raise UsageError(f"--vlan {request.vlan} is no VLAN's number", why=(f"1 to {_LARGEST_VLAN}",))
    name = f"{request.parent}.{request.vlan}"
    fault = naming.existing_name_fault(name)
    if fault:
        raise UsageError(
            f"the VLAN's interface cannot be called {name}: it {fault}",
            hints=(
                f"ip link add link {request.parent} name vlan{request.vlan} type vlan id {request.vlan}",
                f"--parent vlan{request.vlan}",
            ),
        )


def _check_host_addresses(request: CreateNetwork, subnets: tuple[Subnet, ...], mode: str) -> None:
    if request.host_addresses and mode not in WITH_SHIM:
        why = f"in mode {mode} the host's own interface reaches no sandbox beside it"
        raise UsageError("--host-address means nothing here", why=(why,))
    families = set()
    for text in request.host_addresses:
        try:
            address = ipaddress.ip_address(text)
        except ValueError as error:
            raise UsageError(f"--host-address {text!r} is no address", why=(str(error),)) from error
        if address.version in families:
            raise UsageError(f"--host-address is given twice for IPv{address.version}")
        families.add(address.version)
        home = [s for s in subnets if address in ipaddress.ip_network(s.cidr)]
        if not home:
            raise UsageError(f"--host-address {text} lies in no --subnet")
        fault = address_fault(home[0], str(address), ())
        if fault and "excluded" not in fault:
            raise UsageError(f"--host-address {text} cannot be the host's", why=(fault,))


def decide(
    request: CreateNetwork, subnets: tuple[Subnet, ...], facts: Facts, known: NetworkRecord | None
) -> Network:
    """Decide the network: which link its endpoints are on, and whether nettool makes that."""
    parent = request.parent or ""
    link = parent if request.vlan is None else f"{parent}.{request.vlan}"
    there = facts.host.link(link) is not None and not (known and f"link {link}" in known.made)
    kind = IPVLAN if request.driver == IPVLAN else MACVLAN
    return Network(
        request.name, request.driver, link, subnets=subnets, mtu=request.mtu, internal=request.internal,
        own_bridge=request.vlan is not None and not there, labels=request.labels,
        parent=parent, vlan=request.vlan, mode=request.mode or MODES[kind][0],
        host_addresses=tuple(_with_width(text) for text in request.host_addresses),
    )  # fmt: skip


def _with_width(text: str) -> str:
    # For itself alone: the way to the sandboxes is a route, and the host may have the subnet elsewhere.
    address = ipaddress.ip_address(text)
    return f"{address}/{address.max_prefixlen}"


def check_parent(network: Network, facts: Facts, findings: Findings, *, new: bool) -> None:
    """Find why a network cannot be on its parent."""
    parent = facts.host.link(network.parent or "")
    if parent is None:
        there = ", ".join(link.name for link in facts.host.links if link.name != "lo")
        why = f"interfaces here: {there or 'none'}"
        hints = ("--parent NAME", *_as_vlan(network, facts))
        findings.problem(f"there is no interface {network.parent} on this host", why, hints=hints)
        return
    _check_nature(parent, network, findings)
    _check_kinds(network, facts, findings)
    if network.mtu is not None and network.mtu > parent.mtu:
        what = f"--mtu {network.mtu} is above the MTU of {parent.name}, {parent.mtu}"
        findings.problem(what, hints=(f"--mtu {parent.mtu}",))
    if new:
        _check_neighbours(parent, network, facts, findings)
        _check_shim(network, facts, findings)


def _as_vlan(network: Network, facts: Facts) -> tuple[str, ...]:
    base, dot, number = (network.parent or "").rpartition(".")
    fits = dot and number.isdecimal() and facts.host.link(base) is not None and network.vlan is None
    return (f"--parent {base} --vlan {number}",) if fits else ()


def _check_nature(parent: LinkFact, network: Network, findings: Findings) -> None:
    """Find what kind of interface cannot be a parent at all."""
    name = parent.name
    if parent.master is not None:
        why = f"all that it gets goes to {parent.master}"
        hints = (f"--parent {parent.master}, if it is a bridge",)
        findings.problem(f"{name} is a port of {parent.master}", why, hints=hints)
    if parent.kind in (*ON_PARENT, *_TAPS):
        findings.problem(f"{name} is {a(parent.kind)} itself", "those are made on its parent only")
    if name == "lo" or not parent.mac:
        findings.problem(f"{name} has no neighbours with a MAC", "it cannot be a parent")
    if parent.wireless and network.kind == MACVLAN:
        findings.problem(
            f"{name} is wireless", "an access point knows one MAC for each of its stations",
            hints=("--driver ipvlan, whose interfaces share the MAC of their parent",),
        )  # fmt: skip
    if not parent.up and network.own_bridge:
        why = "a VLAN's interface cannot be switched on before"
        findings.problem(f"{name} is down", why, hints=(f"ip link set dev {name} up",))
    elif not parent.up:
        findings.notes.append(f"{name} is down: nothing passes it until `ip link set dev {name} up`")


def _check_kinds(network: Network, facts: Facts, findings: Findings) -> None:
    """Find what this kernel does not make. What is not known of it is no problem."""
    for kind in (network.kind, *((VLAN,) if network.own_bridge else ())):
        fault = dict(facts.kinds).get(kind)
        if fault:
            findings.problem(f"this kernel makes no {kind}", fault, hints=(f"modprobe {kind_module(kind)}",))


def kind_module(kind: str) -> str:
    """Return the module of the kernel that has a kind of interface."""
    return "8021q" if kind == VLAN else kind


def _check_neighbours(parent: LinkFact, network: Network, facts: Facts, findings: Findings) -> None:
    """Find who is on the parent in a way that leaves no room."""
    link = facts.host.link(network.bridge or "")
    if network.vlan is not None and link is not None:
        _check_vlan_link(link, parent, network, facts, findings)
    own = link or parent
    if network.bridge != own.name:
        return
    for other in facts.host.links:
        below = facts.parent_of(other, facts.host)
        if below is None or below.name != own.name or other.kind not in ON_PARENT:
            continue
        if other.kind != network.kind:
            why = f"an interface is a parent of macvlans or of ipvlans, and {other.name} is {a(other.kind)}"
            findings.problem(f"{own.name} has {a(other.kind)} on it", why)
        elif network.mode == "passthru":
            findings.problem(f"{own.name} has {other.name} on it", "in mode passthru one has it alone")


def _check_vlan_link(
    link: LinkFact, parent: LinkFact, network: Network, facts: Facts, findings: Findings
) -> None:
    below = facts.parent_of(link, facts.host)
    if link.kind != VLAN or link.vlan != network.vlan or below is None or below.name != parent.name:
        findings.problem(
            f"{link.name} is not the VLAN {network.vlan} of {parent.name}",
            f"it is {a(link.kind or 'physical interface')}",
        )
        return
    findings.notes.append(f"the interface {link.name} was there: it is used, and never removed")
    if link.master is not None:
        findings.problem(f"{link.name} is a port of {link.master}", f"all that it gets goes to {link.master}")


def _check_shim(network: Network, facts: Facts, findings: Findings) -> None:
    for cidr in network.host_addresses:
        address = cidr.partition("/")[0]
        mac = dict(facts.answering).get(address)
        if mac is not None:
            findings.problem(f"address {address} is in use", f"the MAC {mac} answers for it")
        for had in facts.host.addresses:
            if had.cidr.partition("/")[0] == address:
                findings.problem(f"address {address} is in use", f"the host's {had.link} has it")
    for route in shim_routes(network):
        taken = next((r for r in facts.host.routes if r.destination == route.destination), None)
        if taken is not None:
            findings.problem(
                f"the host sends {route.destination} by {taken.link}, and not by its own interface there",
                hints=("--ip-range CIDR, a part of the subnet that is the sandboxes' alone",),
            )


def check_there(network: Network, facts: Facts, findings: Findings) -> None:
    """Find what is gone of a network and cannot be made again."""
    for name in (network.parent, *(() if network.own_bridge else (network.bridge,))):
        if facts.host.link(name or "") is None:
            findings.problem(f"the interface {name} is gone", "it was not nettool's, so it is not made again")
            return


def users_of(network: Network, facts: Facts, records: Records) -> list[str]:
    """Return who is on a network, as words: whose sandbox is there still, or who is to be on it."""
    on_it = [r for r in records.endpoints if r.endpoint.bridge == network.bridge and r.endpoint.on_parent]
    there = [record for record in on_it if _is_there(record, facts)]
    named = {name for record in there for name in record.endpoint.sandbox.names}
    record = records.network(network.name)
    waiting = record.waiting(named) if record else ()
    return [
        *(f"{r.endpoint.sandbox.target} ({r.endpoint.ifname})" for r in there),
        *(f"{kept.target} (not wired)" for kept in waiting),
        *_strangers(network, facts),
    ]


def _is_there(record: Record, facts: Facts) -> bool:
    return interface_of(record.endpoint, facts) is not None


def _strangers(network: Network, facts: Facts) -> Iterator[str]:
    """Yield what others have made on a VLAN's interface of nettool's: it would go along."""
    if not network.own_bridge:
        return
    for link in facts.host.links:
        parent = facts.parent_of(link, facts.host)
        if parent is not None and parent.name == network.bridge and link.name != network.shim:
            yield f"{link.name}, {a(link.kind)} on the host"
