"""Rules are the same when they mean the same, as iptables itself says."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from nettool.firewall import canonical, parse_saved, same_rule

if TYPE_CHECKING:
    from hosts import Host

SAME = (
    ("-s 10.1.0.0/16 ! -o br0 -j MASQUERADE", "! --out-interface br0 --source 10.1.0.0/16 -j MASQUERADE"),
    ("-d 10.1.0.5 -j ACCEPT", "-d 10.1.0.5/32 -j ACCEPT"),
    ("-d 0/0 -j ACCEPT", "-d 0/0 -j ACCEPT"),
    ("-p tcp --dport 80 -j DROP", "-p tcp -m tcp --dport 80 -j DROP"),
    ("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
     "-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"),
    ("-m comment --comment 'a b' -j DROP", '-m comment --comment "a b" -j DROP'),
)  # fmt: skip
OTHERS = (
    ("-i br0 -j ACCEPT", "! -i br0 -j ACCEPT"),
    ("-i br0 -j ACCEPT", "-i br0 -j DROP"),
    ("-s 10.1.0.0/16 -j ACCEPT", "-d 10.1.0.0/16 -j ACCEPT"),
    ("-s 10.1.0.0/16 -j ACCEPT", "-s 10.1.0.0/24 -j ACCEPT"),
    ("-m comment --comment nettool:a -j DROP", "-m comment --comment nettool:b -j DROP"),
    ("-m comment --comment nettool:a -j DROP", "-j DROP"),
    ("-p tcp --dport 80 -j DROP", "-p udp --dport 80 -j DROP"),
)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_rule_in_other_words(one: str, other: str) -> None:
    assert same_rule(tuple(shlex.split(one)), tuple(shlex.split(other)))


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_another_rule(one: str, other: str) -> None:
    assert not same_rule(tuple(shlex.split(one)), tuple(shlex.split(other)))


@pytest.mark.parametrize("words", [one for pair in (*SAME[:2], *SAME[3:]) for one in pair])
@pytest.mark.parametrize("program", ["iptables", "iptables-legacy"])
def test_iptables_prints_what_is_recognised(host: Host, words: str, program: str) -> None:
    chain = "POSTROUTING" if "MASQUERADE" in words else "FORWARD"
    table = "nat" if chain == "POSTROUTING" else "filter"
    done = host.run(program, "-t", table, "-A", chain, *shlex.split(words))
    if program == "iptables-legacy" and done.returncode:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    _, rules = parse_saved(host.check(f"{program}-save"), 4)
    (rule,) = rules
    assert (rule.table, rule.chain) == (table, chain)
    assert canonical(rule.words) == canonical(tuple(shlex.split(words)))


def test_chains_are_parsed_with_their_policies(host: Host) -> None:
    host.check("iptables", "-P", "FORWARD", "DROP")
    host.check("iptables", "-N", "OWN")
    chains, rules = parse_saved(host.check("iptables-save"), 4)
    assert {(c.name, c.policy) for c in chains} >= {("FORWARD", "DROP"), ("OWN", None)}
    assert rules == ()


COMMENTS = (
    "plain",
    "nettool:br0",
    "two  blanks",
    "#hash",
    'a "quoted" word',
    "it's",
    "back\\slash",
    "-j DROP",
    "tab\there",
)


@pytest.mark.parametrize("comment", COMMENTS)
def test_a_comment_is_one_word_whatever_is_in_it(host: Host, comment: str) -> None:
    host.check("iptables", "-A", "FORWARD", "-m", "comment", "--comment", comment, "-j", "ACCEPT")
    _, rules = parse_saved(host.check("iptables-save"), 4)
    assert rules[0].words == ("-m", "comment", "--comment", comment, "-j", "ACCEPT")


def test_what_somebody_wrote_badly_is_no_rule_of_ours() -> None:
    _, rules = parse_saved('*filter\n-A FORWARD -m comment --comment "x -j DROP\nCOMMIT\n', 4)
    assert rules[0].chain == "FORWARD"
