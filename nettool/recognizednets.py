"""Recognize networks: nettool's own by the marks of their rules, and any bridge by its addresses. Pure."""

from __future__ import annotations

import ipaddress

from nettool import naming
from nettool.drivers import bridge as driver
from nettool.drivers import dns
from nettool.fileeffects import Folder, NameServer
from nettool.firewall import canonical
from nettool.firewalleffects import Rule
from nettool.ipam import Subnet, gateway_of
from nettool.model import Network, NetworkRecord
from nettool.networks import check_subnets
from nettool.plan import Problem, Scope
from nettool.recognizing import rule_fault
from nettool.resolve import ETHERNET_MTU, Findings
from nettool.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nettool.facts import Facts, LinkFact, RuleFact
    from nettool.ipam import IPNetwork
    from nettool.model import Records
    from nettool.request import Adopt

    Marks = Mapping[str, tuple[RuleFact, ...]]


class Unclear(Exception):  # noqa: N818 - it never leaves what recognizes
    """Something cannot be read for certain: what, why, and what to try."""

    def __init__(self, what: str, *why: str, hints: tuple[str, ...] = ()) -> None:
        super().__init__(what)
        self.problem = Problem(what, why, hints)


class _Written(Value):
    """The rules of one network, as options by name; what is turned round has a `!` in front of its value."""

    family: int
    chain: str
    options: tuple[tuple[str, str], ...]

    def says(self, chain: str, target: str, **interfaces: str) -> bool:
        """Whether it is a rule of that chain with that target and exactly these interfaces."""
        have = {name: value for name, value in self.options if name in ("-i", "-o")}
        wanted = {f"-{name}": value for name, value in interfaces.items()}
        return (self.chain, dict(self.options).get("-j"), have) == (chain, target, wanted)


def _written(rule: RuleFact) -> _Written:
    options = tuple((option[0], " ".join(option[1:])) for option in canonical(rule.words))
    return _Written(rule.family, rule.chain, options)


def names_found(marks: Marks) -> dict[str, tuple[str, ...]]:
    """Return the networks whose rules there are, by name, each with its bridge; several are a doubt."""
    found = {
        mark: tuple(dict.fromkeys(_bridge_of(rule) for rule in rules if rule.chain == driver.ISOLATE_2))
        for mark, rules in marks.items()
        if mark != naming.SHARED_MARK
    }
    return {mark: bridges for mark, bridges in found.items() if bridges}


def _bridge_of(rule: RuleFact) -> str:
    return dict(_written(rule).options).get("-o", "")


def recognize_network(
    name: str, bridges: tuple[str, ...], rules: tuple[RuleFact, ...], facts: Facts
) -> NetworkRecord:
    """Make a record of a network from its rules and its bridge. Raises Unclear."""
    link = facts.host.link(bridges[0])
    fault = naming.network_name_fault(name)
    if fault:
        raise Unclear(f"rules are marked {name!a}", f"no network can have that name: {fault}")
    if len(bridges) > 1:
        raise Unclear(f"network {name} has rules for several bridges", ", ".join(bridges))
    if link is None or link.kind != "bridge":
        raise Unclear(f"network {name} has rules, and {bridges[0]} is no bridge of this host")
    written = tuple(map(_written, rules))
    here = link.name
    networks = tuple(
        dict.fromkeys(
            dict(rule.options).get("-s", "")
            for rule in written
            if rule.says(driver.NAT, "MASQUERADE", o=f"! {here}")
        )
    )
    internal = any(rule.says(driver.ISOLATE, "DROP", i=here, o=f"! {here}") for rule in written)
    families = {rule.family for rule in written}
    own = link.mac == naming.mac_of("bridge", name)
    network = Network(
        name, "bridge", here,
        mac=link.mac if own else None,
        subnets=_subnets_of(link, networks, families, facts),
        mtu=link.mtu if own and link.mtu != ETHERNET_MTU else None,
        internal=internal,
        masquerade=internal or bool(networks),
        isolate=any(rule.says(driver.FORWARD, "DROP", i=here, o=here) for rule in written),
        own_bridge=own,
        options=link.options if own else (),
        dns=facts.dns_folder if f"{facts.dns_folder}/servers/{name}/pid" in facts.servers else None,
    )  # fmt: skip
    all_steps = (*driver.create(network, facts), *dns.create(network))
    steps = tuple(step for step in all_steps if step.scope is Scope.NETWORK)
    odd = rule_fault(steps, rules)
    if odd:
        hints = (f"iptables-save | grep nettool:{name}", f"nettool network create {name} … makes all of them")
        raise Unclear(f"the rules of network {name} are not those that nettool makes", odd, hints=hints)
    mine = (s for s in steps if own or isinstance(s.makes, (Rule, Folder, NameServer)))
    return NetworkRecord(network, tuple(s.makes.key for s in mine if s.makes.state(facts).is_present))


def _subnets_of(
    link: LinkFact, masqueraded: tuple[str, ...], families: set[int], facts: Facts
) -> tuple[Subnet, ...]:
    """Return a network's subnets: those that are masqueraded, or else those of its bridge's addresses."""
    have = [c for c in facts.host.addresses_of(link.name) if (6 if ":" in c else 4) in families]
    subnets = subnets_of(have)
    if not masqueraded:
        return subnets
    by_cidr = {subnet.cidr: subnet for subnet in subnets}
    missing = next((cidr for cidr in masqueraded if cidr not in by_cidr), None)
    if missing is not None:
        raise Unclear(f"the gateway of {missing} is not known", f"{link.name} has no address in it")
    return tuple(by_cidr[cidr] for cidr in masqueraded)


def subnets_of(cidrs: Iterable[str]) -> tuple[Subnet, ...]:
    """Return the subnets that a bridge's addresses are in, each with its gateway. Raises Unclear.

    The first address of a subnet is the one that the kernel uses; further ones are not to be given out.
    """
    found: dict[IPNetwork, list[str]] = {}
    for interface in map(ipaddress.ip_interface, cidrs):
        if not interface.is_link_local and interface.network.num_addresses > 2:
            found.setdefault(interface.network, []).append(str(interface.ip))
    networks = list(found)
    for one, other in ((a, b) for n, a in enumerate(networks) for b in networks[:n]):
        if one.version == other.version and one.overlaps(other):
            raise Unclear(f"its addresses are in {other} and in {one}, which overlap")
    return tuple(_subnet(str(network), *addresses) for network, addresses in found.items())


def _subnet(cidr: str, gateway: str, *others: str) -> Subnet:
    plain = Subnet(cidr, excluded=others)
    return plain if gateway_of(plain) == gateway else replace(plain, gateway=gateway)


def adopt_bridge(request: Adopt, marks: Marks, facts: Facts, records: Records) -> NetworkRecord | None:
    """Make a record of a network on a bridge that is there; None when it is on record. Raises Unclear."""
    name, bridge = request.name or "", request.bridge or ""
    link = facts.host.link(bridge)
    here = next((r.network for r in records.networks if r.network.bridge == bridge), None)
    if here is not None and here.name == name:
        return None
    if here is not None:
        raise Unclear(f"the bridge {bridge} is that of network {here.name}")
    if records.network(name) is not None:
        inspect = (f"nettool network inspect {name}",)
        raise Unclear(f"there is a network {name} already, on another bridge", hints=inspect)
    if link is None:
        known = ", ".join(each.name for each in facts.host.links if each.kind == "bridge") or "none"
        raise Unclear(f"there is no bridge {bridge} on this host", f"bridges here: {known}")
    if link.kind != "bridge":
        raise Unclear(f"{bridge} is no bridge", f"it is a {link.kind or 'physical'} interface")
    owner = next((mark for mark, bridges in names_found(marks).items() if bridge in bridges), None)
    if owner is not None:
        raise Unclear(f"{bridge} is the bridge of nettool's network {owner}", hints=("nettool adopt",))
    subnets = subnets_of(facts.host.addresses_of(bridge))
    if not subnets:
        raise Unclear(
            f"{bridge} has no address, so its subnet is not known",
            hints=(f"nettool network create {name} --bridge-name {bridge} --subnet CIDR",),
        )
    network = Network(name, "bridge", bridge, subnets=subnets, own_bridge=False, unmanaged=True)
    findings = Findings()
    check_subnets(network, facts, records, findings)
    for problem in findings.problems:
        raise Unclear(problem.what, *problem.why)
    return NetworkRecord(network, ())
