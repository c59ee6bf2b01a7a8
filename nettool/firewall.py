"""The rules of iptables as values: parsed from iptables-save, and compared by what they mean. Pure.

iptables prints a rule in an order of its own, with lengths added and modules named. Two rules are
the same when they have the same options, in whatever order (iptables(8), iptables-extensions(8)).
"""

from __future__ import annotations

import functools
import ipaddress
import re

from nettool.facts import ChainFact, FirewallFacts, RuleFact
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Final

    Parsed = tuple[tuple[ChainFact, ...], tuple[RuleFact, ...]]

_SHORT: Final = {
    "--source": "-s", "--src": "-s", "--destination": "-d", "--dst": "-d", "--in-interface": "-i",
    "--out-interface": "-o", "--protocol": "-p", "--jump": "-j", "--match": "-m", "--goto": "-g",
    "--destination-port": "--dport", "--source-port": "--sport",
}  # fmt: skip
_WORD: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')


def parse_saved(text: str, family: int) -> tuple[tuple[ChainFact, ...], tuple[RuleFact, ...]]:
    """Parse what iptables-save or ip6tables-save (family 6) prints: the chains and the rules."""
    chains: list[ChainFact] = []
    rules: list[RuleFact] = []
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            name, policy = line[1:].split()[:2]
            chains.append(ChainFact(family, table, name, None if policy == "-" else policy))
        elif line.startswith("-A "):
            chain, *words = _split(line[3:])
            rules.append(RuleFact(family, table, chain, tuple(words)))
    return tuple(chains), tuple(rules)


def _split(line: str) -> list[str]:
    """Split a line into words as iptables-restore does (iptables/xshared.c, add_param_to_argv).

    Within quotes, a backslash takes what follows as it is. A lone quote is a letter: in no rule of ours.
    """
    return [plain or re.sub(r"\\(.)", r"\1", quoted) for quoted, plain in _WORD.findall(line)]


def choose(found: Mapping[str, Iterable[Parsed]], usual: str) -> FirewallFacts:
    """Return the rules of the variant that the host uses: the usual one, unless only the other has any."""
    sides = {variant: _joined(tuple(parsed)) for variant, parsed in found.items()}
    with_rules = [variant for variant, (_, rules) in sides.items() if rules]
    chosen = usual if usual in sides else next(iter(sides))
    if with_rules and chosen not in with_rules:
        chosen = with_rules[0]
    chains, rules = sides[chosen]
    return FirewallFacts(chains, rules, "" if chosen == usual else chosen, mixed=len(with_rules) > 1)


def _joined(parsed: tuple[Parsed, ...]) -> Parsed:
    chains = tuple(chain for some, _ in parsed for chain in some)
    return chains, tuple(rule for _, some in parsed for rule in some)


class Translation(Value):
    """Where a rule sends what comes to a port of this host; `mark` is what nettool's own rules carry."""

    protocol: str
    host_ip: str | None
    host_ports: tuple[int, ...]
    mark: str | None
    source: str | None = None
    """Who may send there; None for everybody."""
    to: str = ""
    """The new destination, as iptables writes it."""


def dnat_of(rule: RuleFact) -> Translation | None:
    """Return what a rule takes of the host's ports; None when it changes no destination."""
    options = {option[0]: option[1:] for option in canonical(rule.words)}
    ports = options.get("--dport") or options.get("--dports")
    if options.get("-j", ("",))[0] not in ("DNAT", "REDIRECT") or not ports or "-p" not in options:
        return None
    numbers = [int(number) for number in re.findall(r"[0-9]+", ports[-1])]
    to = options.get("-d", ("",))[-1].partition("/")
    single = to[0] if to[2] in ("32", "128") else None
    source, target = options.get("-s", (None,))[-1], options.get("--to-destination", ("",))[-1]
    return Translation(options["-p"][-1], single, (min(numbers), max(numbers)), mark_of(rule), source, target)


def mark_of(rule: RuleFact) -> str | None:
    """Return the mark that a rule of nettool's carries: the name of a network, bridge or host end."""
    at = rule.words.index("--comment") + 1 if "--comment" in rule.words else len(rule.words)
    comment = "".join(rule.words[at : at + 1])
    return comment.removeprefix("nettool:") if comment.startswith("nettool:") else None


def same_rule(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two rules, as words behind the chain's name, mean the same."""
    return canonical(one) == canonical(other)


# Bounded, since `nettool watch` lives for weeks and rules come and go.
@functools.lru_cache(maxsize=8192)
def canonical(words: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return a rule's options in one order, each with its values as iptables prints them."""
    # A module is named by the options that it brings; iptables adds some by itself (`-m tcp`).
    options = (option for option in _options(words) if option[0] != "-m")
    return tuple(sorted(option for option in options if not _says_nothing(option)))


def _options(words: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield each option with its values; `!` stands in front of the option that it turns round."""
    group: list[str] = []
    negated = False
    for word in words:
        if word == "!":
            negated = True
        elif word.startswith("-") and not word.lstrip("-").isdigit():
            if group:
                yield _normal(group)
            group = [*(("!",) if negated else ()), _SHORT.get(word, word)]
            negated = False
        else:
            group += ["!"] * negated + [word]
            negated = False
    if group:
        yield _normal(group)


def _normal(group: list[str]) -> tuple[str, ...]:
    name = group[1] if group[0] == "!" else group[0]
    values = group[2:] if group[0] == "!" else group[1:]
    if name in ("-s", "-d"):
        values = [_network(value) for value in values]
    elif name == "--ctstate":
        values = [",".join(sorted(value.split(","))) for value in values]
    return (name, *("!" for _ in group[:1] if group[0] == "!"), *values)


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return text


def _says_nothing(option: tuple[str, ...]) -> bool:
    return option[0] in ("-s", "-d") and option[1:] in (("0.0.0.0/0",), ("::/0",))
