"""What a step makes true of the firewall: chains, rules, and flows that the kernel has forgotten.

Each has the four faces of a fact that `nettool.effects` describes.
"""

from __future__ import annotations

import ipaddress

from nettool.presence import ABSENT, PRESENT
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.facts import Facts, FlowFact
    from nettool.presence import State


class FlowForgotten(Value):
    """The kernel remembers no flow to a port of an address that somebody answers who no longer should.

    With `source`, only what comes from that network is meant.
    """

    protocol: str
    destination: str
    port: int
    answered_by: str
    source: str | None = None

    @property
    def key(self) -> str:
        """The flows."""
        source = f" from {self.source}" if self.source else ""
        return f"flow {self.protocol} {self.destination} {self.port} {self.answered_by}{source}"

    def state(self, facts: Facts) -> State:
        """Present when there is no such flow."""
        return ABSENT if any(map(self._is_meant, facts.flows)) else PRESENT

    def filter(self) -> tuple[str, ...]:
        """Return what conntrack(8) knows such flows by."""
        source = ("-s", self.source) if self.source else ()
        where = ("-d", self.destination, "--dport", str(self.port))
        return ("-p", self.protocol, *source, *where, "-r", self.answered_by)

    def _is_meant(self, flow: FlowFact) -> bool:
        ours = (self.protocol, self.destination, self.port, self.answered_by)
        if (flow.protocol, flow.destination, flow.port, flow.answered_by) != ours:
            return False
        return self.source is None or is_from(flow, self.source)

    def sentence(self) -> str:
        """Say it."""
        whose = f" from {self.source}" if self.source else ""
        where = f"{self.destination} port {self.port}"
        return f"no {self.protocol} flow{whose} to {where} is remembered as answered by {self.answered_by}"


def is_from(flow: FlowFact, network: str) -> bool:
    """Whether a flow comes from a network."""
    return ipaddress.ip_address(flow.source) in ipaddress.ip_network(network)


class Chain(Value):
    """A chain of our own in the firewall."""

    family: int
    table: str
    name: str

    @property
    def key(self) -> str:
        """The chain's place."""
        return f"chain {self.family} {self.table} {self.name}"

    def state(self, facts: Facts) -> State:
        """Present when the table has a chain of that name."""
        place = (self.family, self.table, self.name)
        chains = facts.firewall.chains if facts.firewall else ()
        there = any((chain.family, chain.table, chain.name) == place for chain in chains)
        return PRESENT if there else ABSENT

    def sentence(self) -> str:
        """Say it."""
        return f"{_tables(self.family)} has a chain {self.name} in the table {self.table}"


class Rule(Value):
    """A rule of the firewall: the words behind its chain's name."""

    family: int
    table: str
    chain: str
    words: tuple[str, ...]

    @property
    def key(self) -> str:
        """The whole rule: what differs in one word is another rule."""
        return f"rule {self.family} {self.table} {self.chain} {' '.join(self.words)}"

    def state(self, facts: Facts) -> State:
        """Present when the chain has a rule that means the same."""
        from nettool.firewall import same_rule  # most plans have no rules

        place = (self.family, self.table, self.chain)
        rules = facts.firewall.rules if facts.firewall else ()
        there = (rule for rule in rules if (rule.family, rule.table, rule.chain) == place)
        return PRESENT if any(same_rule(rule.words, self.words) for rule in there) else ABSENT

    def sentence(self) -> str:
        """Say it."""
        return f"{_tables(self.family)} has in {self.table} {self.chain}: {' '.join(self.words)}"


def _tables(family: int) -> str:
    return "ip6tables" if family == 6 else "iptables"
