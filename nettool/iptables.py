"""The vocabulary of the firewall: one function a verb, which returns a Step.

Every rule of nettool's carries a comment with its mark, so that it is never taken for somebody
else's, nor theirs for ours. Own chains are called NETTOOL-…, at most 28 characters (XT_EXTENSION_MAXNAMELEN).
"""

from __future__ import annotations

from nettool.firewalleffects import Chain, Rule
from nettool.plan import Command, Scope, Stays, Step
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from nettool.firewalleffects import FlowForgotten

LOCK_SECONDS: Final = "5"
"""How long a command waits for the lock of iptables; without -w some versions wait for ever."""


class Place(Value):
    """A chain, and for a rule its end or its beginning.

    `variant` is what the program's name ends with, where the host's rules are not in the usual one.
    """

    family: int
    table: str
    chain: str
    first: bool = False
    variant: str = ""

    def program(self) -> tuple[str, ...]:
        """Return how iptables is called for this table."""
        name = f"{'ip6tables' if self.family == 6 else 'iptables'}{self.variant}"
        return (name, "-w", LOCK_SECONDS, *(() if self.table == "filter" else ("-t", self.table)))


def add_chain(place: Place, *, scope: Scope, why: str) -> Step:
    """Make a chain of our own."""
    return Step(
        do=Command((*place.program(), "-N", place.chain)),
        undo=Command((*place.program(), "-X", place.chain)),
        makes=Chain(place.family, place.table, place.chain),
        scope=scope,
        why=why,
    )


def add_rule(place: Place, words: tuple[str, ...], *, mark: str, scope: Scope, why: str) -> Step:
    """Add a rule, with nettool's mark in front of its target."""
    at = words.index("-j")
    marked = (*words[:at], "-m", "comment", "--comment", f"nettool:{mark}", *words[at:])
    return Step(
        do=Command((*place.program(), "-I" if place.first else "-A", place.chain, *marked)),
        undo=Command((*place.program(), "-D", place.chain, *marked)),
        makes=Rule(place.family, place.table, place.chain, marked),
        scope=scope,
        why=why,
    )


def forget_flows(flows: FlowForgotten, why: str) -> Step:
    """Make the kernel forget flows: their next packet is held against the rules again (conntrack(8))."""
    return Step(
        do=Command(("conntrack", "-D", *flows.filter())),
        undo=Stays("the next packet makes the kernel remember the flow again"),
        makes=flows,
        scope=Scope.HOST,
        why=why,
    )
