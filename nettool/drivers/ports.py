"""Published ports as rules: destination NAT on the way in, and what has to pass for it.

`rules` is an endpoint's own part, `shared` what belongs to its bridge and to the host.
"""

from __future__ import annotations

import ipaddress

from nettool import iproute, iptables
from nettool.drivers.bridge import FORWARD, NAT, PUBLISH, forwarding, shared_chains
from nettool.firewalleffects import FlowForgotten, is_from
from nettool.iptables import Place
from nettool.plan import Scope
from nettool.ports import families, range_of, sources, span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nettool.facts import Facts, FlowFact
    from nettool.model import Endpoint
    from nettool.plan import Step
    from nettool.ports import PublishedPort


def rules(endpoint: Endpoint) -> Iterator[Step]:
    """Yield what an endpoint's published ports need of its own."""
    if endpoint.ports:
        yield iproute.hairpin(endpoint.host_end)
    for port in endpoint.ports:
        for family, cidr in families(port, endpoint.addresses):
            for source in sources(port, family) or (None,):
                one = _Rules(endpoint, port, family, cidr, source)
                yield from one.documented() if port.documented else one.own()


class _Rules:
    """The rules of one port, in one family, for one network that may use it."""

    def __init__(
        self, endpoint: Endpoint, port: PublishedPort, family: int, cidr: str, source: str | None
    ) -> None:
        self._endpoint, self._port, self._family, self._cidr = endpoint, port, family, cidr
        self._from = ("-s", source) if source else ()
        self._address = cidr.partition("/")[0]
        self._bridge = endpoint.bridge
        self._inner = ("-p", port.protocol, "--dport", span(port.ports, ":"))
        self._why = f"{port} leads to {self._address}"

    def own(self) -> Iterator[Step]:
        """Yield the rules in nettool's own chains."""
        translated = ("-m", "conntrack", "--ctstate", "DNAT", "-j")
        to, out, inner = ("-d", self._address), ("-o", self._bridge), self._inner
        yield self._rule("nat", PUBLISH, (*self._outside(), *self._target()), self._why)
        passes = (*self._from, *to, *out, *inner, *translated, "ACCEPT")
        yield self._rule("filter", FORWARD, passes, "what was sent to a published port may pass")
        reply = ("-s", self._address, "-i", self._bridge, "-p", self._port.protocol)
        sent_from = ("--sport", span(self._port.ports, ":"))
        yield self._rule("filter", FORWARD, (*reply, *sent_from, *translated, "ACCEPT"), "and its replies")
        yield from self._back(NAT)

    def _back(self, chain: str) -> Iterator[Step]:
        """Yield what makes replies come back by the host, where the container would send them elsewhere."""
        translated = ("-m", "conntrack", "--ctstate", "DNAT", "-j", "MASQUERADE")
        inward = ("-d", self._address, "-o", self._bridge, *self._inner, *translated)
        subnet = str(ipaddress.ip_interface(self._cidr).network)
        why = "neighbours that come by the host get their replies by it"
        yield self._rule("nat", chain, ("-s", subnet, *inward), why)
        if reaches_loopback(self._port) and self._family == 4:
            why = "the sandbox cannot reply to the host's 127.0.0.1"
            yield self._rule("nat", chain, ("-s", "127.0.0.0/8", *inward), why)

    def documented(self) -> Iterator[Step]:
        """Yield the rules of the manual procedure, in Docker's own chains."""
        away, bridge = ("!", "-i", self._bridge), self._bridge
        yield self._rule("nat", "DOCKER", (*away, *self._outside(), *self._target()), self._why)
        passes = (*self._from, "-d", self._address, *away, "-o", bridge, *self._inner, "-j", "ACCEPT")
        yield self._rule("filter", "DOCKER", passes, "Docker lets in only what is in its chain")
        itself = ("-s", self._address, "-d", self._address, *self._inner, "-j", "MASQUERADE")
        yield self._rule("nat", "POSTROUTING", itself, "a container may use its own published port")
        yield from self._as_docker_proxy()

    def _as_docker_proxy(self) -> Iterator[Step]:
        """Yield what stands in for docker-proxy: no rule of Docker's is for its bridge, or for 127.0.0.1."""
        bridge, new = self._bridge, self._outside()
        elsewhere = () if self._port.host_ip else ("!", "-d", "127.0.0.0/8")
        here = ("-m", "addrtype", "--dst-type", "LOCAL")
        near = ("-i", bridge, *elsewhere, *new, *here, *self._target())
        yield self._rule("nat", "PREROUTING", near, "Docker's chain lets its own bridge's packets pass by")
        if reaches_loopback(self._port):
            own = ("-d", "127.0.0.0/8", *new, *self._target())
            yield self._rule("nat", "OUTPUT", own, "Docker's chain is not entered for 127.0.0.1")
        yield from self._back("POSTROUTING")

    def _outside(self) -> tuple[str, ...]:
        """Return what a packet to the published port has, before its destination is changed."""
        to = ("-d", self._port.host_ip) if self._port.host_ip else ()
        return (*self._from, *to, "-p", self._port.protocol, "--dport", span(self._port.host_ports, ":"))

    def _target(self) -> tuple[str, ...]:
        address = f"[{self._address}]" if self._family == 6 else self._address
        ports, host_ports = self._port.ports, self._port.host_ports
        # A range keeps its order: the part behind the slash is where the published one begins.
        base = f"/{host_ports[0]}" if ports[0] != ports[-1] else ""
        return "-j", "DNAT", "--to-destination", f"{address}:{span(ports)}{base}"

    def _rule(self, table: str, chain: str, words: tuple[str, ...], why: str) -> Step:
        place = Place(self._family, table, chain, variant=self._port.variant)
        mark = self._endpoint.host_end
        return iptables.add_rule(place, words, mark=mark, scope=Scope.ENDPOINT, why=why)


def turned_flows(endpoint: Endpoint, facts: Facts) -> tuple[Step, ...]:
    """Return what makes the flows that were under way before a port was published go to the sandbox, too."""
    why = "packets of flows that are under way take the new rule"
    return _forgotten(_known_flows(endpoint, facts, stale=True), why)


def ended_flows(endpoint: Endpoint, facts: Facts) -> tuple[Step, ...]:
    """Return what makes the flows end that still go to a sandbox whose port is no longer published."""
    why = "packets of flows that are under way are led to the port no more"
    return _forgotten(_known_flows(endpoint, facts, stale=False), why)


def _forgotten(found: Iterator[FlowForgotten], why: str) -> tuple[Step, ...]:
    return tuple(iptables.forget_flows(flows, why) for flows in dict.fromkeys(found))


def _known_flows(endpoint: Endpoint, facts: Facts, *, stale: bool) -> Iterator[FlowForgotten]:
    """Yield the flows to an endpoint's published ports that it answers, or (stale) that another does."""
    here = {address.cidr.partition("/")[0] for address in facts.host.addresses}
    for port in endpoint.ports:
        for family, cidr in families(port, endpoint.addresses):
            address = cidr.partition("/")[0]
            for flow in facts.flows:
                if not _is_to(flow, port, here, family) or (flow.answered_by != address) != stale:
                    continue
                for source in sources(port, family) or (None,):
                    if source is None or is_from(flow, source):
                        to = (flow.protocol, flow.destination, flow.port)
                        yield FlowForgotten(*to, flow.answered_by, source)


def _is_to(flow: FlowFact, port: PublishedPort, here: set[str], family: int) -> bool:
    """Whether a flow was sent to a published port of this host, which has the addresses `here`."""
    if (flow.protocol, ":" in flow.destination) != (port.protocol, family == 6):
        return False
    if flow.port not in range_of(port.host_ports):
        return False
    if port.host_ip is not None:
        return flow.destination == port.host_ip
    return flow.destination in here or flow.destination.startswith("127.")


def reaches_loopback(port: PublishedPort) -> bool:
    """Whether the host's own 127.0.0.1 leads to a published port."""
    return port.host_ip is None or port.host_ip.startswith("127.")


def shared(endpoint: Endpoint, facts: Facts) -> tuple[Step, ...]:
    """Return what an endpoint's published ports need that belongs to the bridge, and to the host."""
    ours = tuple(port for port in endpoint.ports if not port.documented)
    found = sorted({family for port in ours for family, _ in families(port, endpoint.addresses)})
    in_ipv4 = (port for port in endpoint.ports if any(f == 4 for f, _ in families(port, endpoint.addresses)))
    loopback = next((port for port in in_ipv4 if reaches_loopback(port)), None)
    return (
        *(step for family in found for step in forwarding(family, facts)),
        *(step for family in found for step in shared_chains(family, facts)),
        *(_on_bridge(endpoint.bridge, loopback.variant) if loopback else ()),
    )


def _on_bridge(bridge: str, variant: str) -> tuple[Step, ...]:
    """Return what lets the host's 127.0.0.1 lead to a bridge's containers, and nothing lead back.

    With route_localnet alone, every container could reach what listens on the host's 127.0.0.1
    (CVE-2020-8558).
    """
    place = Place(4, "filter", "INPUT", first=True, variant=variant)
    new = ("-m", "conntrack", "!", "--ctstate", "RELATED,ESTABLISHED")
    words = ("-i", bridge, "-d", "127.0.0.0/8", *new, "-j", "DROP")
    why = "no container reaches what listens on the host's 127.0.0.1"
    return (
        iptables.add_rule(place, words, mark=bridge, scope=Scope.PUBLISHING, why=why),
        iproute.route_loopback(bridge),
    )
