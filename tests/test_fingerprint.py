"""The hash in the message of a failure: it changes with what a plan can change, and with nothing else."""

from __future__ import annotations

from typing import Final

import pytest
from cases import facts_in

from nettool.facts import ChainFact, Facts, FirewallFacts, NetnsNameFact, RuleFact
from nettool.fingerprint import fingerprint
from nettool.value import replace

BUILT_IN: Final = ChainFact(4, "filter", "FORWARD", "ACCEPT")
OWN: Final = ChainFact(4, "filter", "NETTOOL-FORWARD")
ONE: Final = RuleFact(4, "filter", "FORWARD", ("-i", "br0", "-j", "ACCEPT"))
OTHER: Final = RuleFact(4, "filter", "FORWARD", ("-i", "br1", "-j", "ACCEPT"))


@pytest.fixture
def facts() -> Facts:
    return replace(facts_in({}), firewall=FirewallFacts((BUILT_IN, OWN), (ONE, OTHER)))


def test_what_a_plan_can_change_changes_it(facts: Facts) -> None:
    links = tuple(replace(link, up=not link.up) for link in facts.host.links)
    others = (
        replace(facts, host=replace(facts.host, links=links)),
        replace(facts, host=replace(facts.host, addresses=())),
        replace(facts, host=replace(facts.host, routes=())),
        replace(facts, netns_names=(NetnsNameFact("blue", None, "/proc/1/ns/net"),)),
        replace(facts, firewall=FirewallFacts((BUILT_IN, OWN), (ONE,))),
        replace(facts, firewall=FirewallFacts((BUILT_IN,), (ONE, OTHER))),
    )
    assert len({fingerprint(each) for each in (facts, *others)}) == 1 + len(others)


def test_what_comes_back_otherwise_does_not(facts: Facts) -> None:
    links = tuple(replace(link, index=link.index + 7, mac_set=True) for link in facts.host.links)
    others = (
        replace(facts, host=replace(facts.host, links=links)),
        replace(facts, firewall=FirewallFacts((OWN,), (OTHER, ONE))),
        replace(facts, netns_folder=not facts.netns_folder),
    )
    assert {fingerprint(each) for each in others} == {fingerprint(facts)}
