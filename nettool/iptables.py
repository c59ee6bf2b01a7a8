"""The vocabulary of the firewall: one function a verb, which returns a Step.

Every rule of nettool's carries a comment with its mark, so that it is never taken for somebody
else's, nor theirs for ours. Own chains are called NETTOOL-…, at most 28 characters (XT_EXTENSION_MAXNAMELEN).
"""

from __future__ import annotations

from nettool.model import Chain, Rule
from nettool.plan import Command, Step
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from nettool.plan import Scope

LOCK_SECONDS: Final = "5"
"""How long a command waits for the lock of iptables; without -w some versions wait for ever."""


def add_chain(family: int, table: str, name: str, *, scope: Scope, why: str) -> Step:
    """Make a chain of our own."""
    return Step(
        do=Command((*_iptables(family, table), "-N", name)),
        undo=Command((*_iptables(family, table), "-X", name)),
        makes=Chain(family, table, name),
        scope=scope,
        why=why,
    )


class Place(Value):
    """Where a rule goes: a chain's end, or its beginning."""

    family: int
    table: str
    chain: str
    first: bool = False


def add_rule(place: Place, words: tuple[str, ...], *, mark: str, scope: Scope, why: str) -> Step:
    """Add a rule, with nettool's mark in front of its target."""
    at = words.index("-j")
    marked = (*words[:at], "-m", "comment", "--comment", f"nettool:{mark}", *words[at:])
    head = _iptables(place.family, place.table)
    return Step(
        do=Command((*head, "-I" if place.first else "-A", place.chain, *marked)),
        undo=Command((*head, "-D", place.chain, *marked)),
        makes=Rule(place.family, place.table, place.chain, marked),
        scope=scope,
        why=why,
    )


def _iptables(family: int, table: str) -> tuple[str, ...]:
    program = "ip6tables" if family == 6 else "iptables"
    return (program, "-w", LOCK_SECONDS, *(() if table == "filter" else ("-t", table)))
