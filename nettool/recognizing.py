"""Recognize an endpoint by what the kernel and a script's notes tell of it, without a record. Pure.

A host end is known by the mark in its name, its published ports by the mark in their rules.
"""

from __future__ import annotations

import ipaddress
import re

from nettool import naming
from nettool.drivers import ports
from nettool.facts import Netns, RouteFact
from nettool.firewall import canonical, dnat_of, mark_of
from nettool.firewalleffects import Rule
from nettool.hostnames import LOCALHOST, WHY_HOSTS, WHY_RESOLVER
from nettool.iproute import CLASSIC
from nettool.lowering import lower
from nettool.model import Endpoint, HostFile, Record, Sandbox
from nettool.plan import Scope
from nettool.ports import PublishedPort, families
from nettool.resolve import ETHERNET_MTU
from nettool.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final

    from nettool.facts import Facts, NamespaceFacts, RuleFact
    from nettool.firewall import Translation
    from nettool.interfaces import Present
    from nettool.model import Records, Trace
    from nettool.plan import Step

_TO: Final = r"\[?([0-9a-fA-F.:]+?)\]?:(\d{1,5})(?:-(\d{1,5}))?(?:/\d+)?"
_SET_BY_HAND: Final = ("boot", "static")
"""What the kernel says of a route that `ip route add` made, and of one with `proto static`."""


class Found(Value):
    """An endpoint as it was found, with the rules that carry its mark, and a script's notes."""

    present: Present
    marked: tuple[RuleFact, ...] = ()
    trace: Trace | None = None


def recognize(found: Found, sandbox: Sandbox, facts: Facts) -> Record:
    """Make a record of an endpoint from the kernel, and from what the script that made it noted.

    The sandbox's name is taken to be nettool's own where `sandbox`, or the notes, say so.
    """
    present, inner, trace = found.present, found.present.inner, found.trace
    host_end = facts.host.link(present.host_end)
    names = [line.split(" ", 1)[1] for line in trace.lines if line.startswith("netns ")] if trace else []
    if names:
        sandbox = replace(sandbox, netns=Netns(names[0], sandbox.netns.inode), named_by_plan=True)
    inside = facts.namespace(sandbox.netns)
    addresses = _addresses(inside, inner.name)
    endpoint = Endpoint(
        sandbox,
        present.link or "",
        present.host_end,
        naming.peer_of(present.host_end),
        inner.name,
        addresses=addresses,
        routes=_routes(inside, inner.name),
        replaced=tuple(route for line in trace.lines if (route := _replaced(line))) if trace else (),
        mac=inner.mac,
        mtu=inner.mtu if inner.mtu != ETHERNET_MTU else None,
        host_mtu=host_end.mtu if host_end and host_end.mtu != ETHERNET_MTU else None,
        enable_ipv6=_ipv6_was_off(inside, addresses),
        isolated=host_end.isolated if host_end else False,
        sole=all(link.name in ("lo", inner.name) for link in inside.links) if inside else True,
        kind=inner.kind,
        mode=inner.mode,
    )
    endpoint = replace(_with_ports(endpoint, found.marked, facts), files=tuple(_files(endpoint, facts)))
    steps = (*lower(endpoint, CLASSIC), *_of_the_bridge(endpoint, facts))
    keys = tuple(step.makes.key for step in steps if step.scope is not Scope.HOST)
    return Record(endpoint, CLASSIC, keys)


def _addresses(inside: NamespaceFacts | None, link: str) -> tuple[str, ...]:
    # The kernel gives every interface a link-local one.
    have = inside.addresses_of(link) if inside else ()
    return tuple(cidr for cidr in have if not cidr.startswith("fe80:"))


def _routes(inside: NamespaceFacts | None, link: str) -> tuple[RouteFact, ...]:
    """Return an interface's routes that somebody set, those first that others need to be reached."""
    routes = (r for r in (inside.routes if inside else ()) if r.link == link and r.protocol in _SET_BY_HAND)
    return tuple(sorted(map(_as_planned, routes), key=lambda route: route.via is not None))


def _as_planned(route: RouteFact) -> RouteFact:
    """Return a route as a plan has it: without what the kernel adds by itself."""
    metric = 0 if route.family == 6 and route.metric == 1024 else route.metric
    scope = "link" if route.family == 4 and route.via is None else None
    return RouteFact(
        route.family, route.destination, route.via, route.link, metric, scope=scope, onlink=route.onlink
    )


def _ipv6_was_off(inside: NamespaceFacts | None, addresses: Iterable[str]) -> bool:
    if inside is None or not any(":" in cidr for cidr in addresses):
        return False
    return inside.sysctl("net.ipv6.conf.default.disable_ipv6") == "1"


def _replaced(line: str) -> RouteFact | None:
    """Read a script's note of the default route it replaced: `replaced 4 default via … dev …`."""
    words = line.split()
    if len(words) < 3 or words[0] != "replaced" or words[1] not in ("4", "6"):
        return None
    onlink = words[-1] == "onlink"
    pairs = words[3:-1] if onlink else words[3:]
    values = dict(zip(pairs[::2], pairs[1::2], strict=False))
    return RouteFact(
        int(words[1]), words[2], values.get("via"), values.get("dev"), int(values.get("metric", "0")),
        values.get("proto"), values.get("src"), values.get("scope"), onlink,
    )  # fmt: skip


def _files(endpoint: Endpoint, facts: Facts) -> Iterator[HostFile]:
    """Yield the files of an endpoint's names; one of the sandbox's own is known by what it says."""
    there = dict(facts.files)
    names = f"{facts.dns_folder}/names/{endpoint.host_end}"
    if names not in there:
        return
    yield HostFile(names, there[names], "the names that the sandbox is found by")
    folder = f"{naming.OF_NAMESPACES}/{endpoint.sandbox.netns.name}"
    gateways = {cidr.partition("/")[0] for cidr in facts.host.addresses_of(endpoint.bridge)}
    resolver = there.get(f"{folder}/resolv.conf", "")
    lines = resolver.splitlines()
    if lines and all(line.removeprefix("nameserver ") in gateways for line in lines):
        yield HostFile(f"{folder}/resolv.conf", resolver, WHY_RESOLVER, folder)
    if there.get(f"{folder}/hosts") == LOCALHOST + there[names]:
        yield HostFile(f"{folder}/hosts", LOCALHOST + there[names], WHY_HOSTS, folder)


# --- published ports


def _with_ports(endpoint: Endpoint, marked: tuple[RuleFact, ...], facts: Facts) -> Endpoint:
    """Return an endpoint with the ports that its rules publish.

    A port leads to the endpoint's first address of a family: the one that the rules name is put first.
    """
    found = tuple(_translations(marked))
    if not found:
        return endpoint
    targets = {address for _, _, address, _ in found}
    first = sorted(endpoint.addresses, key=lambda cidr: cidr.partition("/")[0] not in targets)
    endpoint = replace(endpoint, addresses=tuple(first))
    variant = facts.firewall.variant if facts.firewall else ""
    sources: dict[PublishedPort, list[tuple[int, str | None]]] = {}
    for rule, translation, _, inner in found:
        port = PublishedPort(
            translation.protocol, translation.host_ports, inner, translation.host_ip,
            variant=variant, documented=rule.chain == "DOCKER",
        )  # fmt: skip
        sources.setdefault(port, []).append((rule.family, translation.source))
    published = tuple(_allowed(port, pairs, endpoint.addresses) for port, pairs in sources.items())
    return replace(endpoint, ports=published)


def _translations(
    marked: tuple[RuleFact, ...],
) -> Iterator[tuple[RuleFact, Translation, str, tuple[int, int]]]:
    """Yield each rule that leads ports of the host elsewhere, with the address and ports it leads to."""
    for rule in marked:
        translation = dnat_of(rule)
        to = re.fullmatch(_TO, translation.to) if translation else None
        if translation is not None and to is not None:
            yield rule, translation, to[1], (int(to[2]), int(to[3] or to[2]))


def _allowed(
    port: PublishedPort, pairs: list[tuple[int, str | None]], addresses: tuple[str, ...]
) -> PublishedPort:
    """Return a port with who may use it: everybody, where each family has a rule that names no source."""
    everybody = {family for family, source in pairs if source is None}
    if everybody == {family for family, _ in families(port, addresses)}:
        return port
    whole = {4: "0.0.0.0/0", 6: "::/0"}
    return replace(port, allow_from=tuple(dict.fromkeys(source or whole[family] for family, source in pairs)))


def recognize_rules(host_end: str, marked: tuple[RuleFact, ...], facts: Facts) -> Record | None:
    """Make a record of an endpoint that is gone from the rules of its published ports.

    None where they do not tell to which addresses, of which bridge, the ports have led.
    """
    places = {place for rule in marked if (place := _place_behind(rule)) is not None}
    bridge = next((bridge for bridge, _ in places), "")
    if {bridge} != {each for each, _ in places}:
        return None
    gone = Sandbox(f"the rules of {host_end}", Netns("", 0), "", None, None, named_by_plan=False)
    addresses = tuple(sorted(cidr for _, cidr in places))
    endpoint = Endpoint(gone, bridge, host_end, naming.peer_of(host_end), "", addresses, foreign=True)
    endpoint = _with_ports(endpoint, marked, facts)
    steps = (*lower(endpoint, CLASSIC), *_of_the_bridge(endpoint, facts))
    keys = tuple(step.makes.key for step in steps if step.makes.state(facts).is_present)
    return Record(endpoint, CLASSIC, keys) if endpoint.ports else None


def _place_behind(rule: RuleFact) -> tuple[str, str] | None:
    """Return the bridge and the address with its prefix that a rule for replies to neighbours is about."""
    options = {option[0]: option[1:] for option in canonical(rule.words)}
    if options.get("-j") != ("MASQUERADE",) or not {"-s", "-d", "-o"} <= options.keys():
        return None
    try:
        subnet = ipaddress.ip_network(options["-s"][-1])
    except ValueError:
        return None
    if subnet.is_loopback:
        return None
    return options["-o"][-1], f"{options['-d'][-1].partition('/')[0]}/{subnet.prefixlen}"


def by_mark(facts: Facts) -> dict[str, tuple[RuleFact, ...]]:
    """Return the rules that carry a mark of nettool's, by that mark."""
    found: dict[str, list[RuleFact]] = {}
    for rule in facts.firewall.rules if facts.firewall else ():
        mark = mark_of(rule)
        if mark is not None:
            found.setdefault(mark, []).append(rule)
    return {mark: tuple(rules) for mark, rules in found.items()}


def orphaned(facts: Facts, records: Records) -> Iterator[tuple[str, tuple[RuleFact, ...]]]:
    """Yield the marks of endpoints that are neither on record nor on the host, with the rules they left."""
    for mark, rules in by_mark(facts).items():
        if naming.is_marked(mark) and facts.host.link(mark) is None and records.endpoint(mark) is None:
            yield mark, rules


def rule_fault(steps: Iterable[Step], there: Iterable[RuleFact]) -> str | None:
    """Say in which rule the host's differ from those that steps make, or None."""
    wanted = {_identity(s.makes): s.makes for s in steps if isinstance(s.makes, Rule)}
    found = {_identity(rule): rule for rule in there}
    for identity, rule in wanted.items():
        if identity not in found:
            return f"missing: {rule.sentence()}"
    odd = next((rule for identity, rule in found.items() if identity not in wanted), None)
    return f"not understood: {odd.table} {odd.chain} {' '.join(odd.words)}" if odd else None


def _identity(rule: Rule | RuleFact) -> tuple[int, str, str, tuple[tuple[str, ...], ...]]:
    return rule.family, rule.table, rule.chain, canonical(rule.words)


def _of_the_bridge(endpoint: Endpoint, facts: Facts) -> Iterator[Step]:
    """Yield what lets the host's 127.0.0.1 lead to published ports, as far as it must be nettool's own.

    The rule carries the mark. The parameter goes with it, unless interfaces have it from the start.
    """
    from_start = "1" in (facts.host.sysctl(f"net.ipv4.conf.{n}.route_localnet") for n in ("all", "default"))
    for step in ports.shared(endpoint, facts) if endpoint.ports else ():
        own = isinstance(step.makes, Rule) or not from_start
        if step.scope is Scope.PUBLISHING and own and step.makes.state(facts).is_present:
            yield step
