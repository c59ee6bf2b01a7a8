"""What Docker 20.10 and nettool make for the same network, held against each other rule for rule.

A rule is a line of text: `nat POSTROUTING -s SUBNET ! -o BRIDGE -j MASQUERADE`. DIFFERENCES names every
rule that only one of the two has, and why. The tables of docs/compared-with-docker.md are written from it
and from what was measured.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hosts import Host

BRIDGE: Final = "br-same"
SUBNET: Final = "10.20.0.0/24"
CONTAINER: Final = "10.20.0.2"

CHAINS: Final = {
    "NETTOOL-FORWARD": ("FORWARD", "what may pass; of published ports, Docker's filter DOCKER, too"),
    "NETTOOL-ISOLATE": ("DOCKER-ISOLATION-STAGE-1", "what leaves a network"),
    "NETTOOL-ISOLATE-2": ("DOCKER-ISOLATION-STAGE-2", "what would enter another one"),
    "NETTOOL-NAT": ("POSTROUTING", "source addresses"),
    "NETTOOL-PUBLISH": ("DOCKER", "published ports (nat)"),
}
"""Nettool's chains, and where Docker has rules of that kind."""
DOCKERS_OWN: Final = {"DOCKER-USER"}
"""A chain of Docker's without a counterpart: it is the administrator's."""

_SYSCTLS: Final = (
    "net.ipv4.ip_forward",
    f"net.ipv4.conf.{BRIDGE}.route_localnet",
    f"net.ipv6.conf.{BRIDGE}.accept_ra",
)
_NAMES: Final = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r" -m comment --comment \S+", ""),
        (re.escape(SUBNET) + r"|fd20::/64", "SUBNET"),
        (re.escape(CONTAINER) + r"(/32)?\b", "CONTAINER"),
        (BRIDGE, "BRIDGE"),
        (r"-p (tcp|udp) -m \1", "-p PROTOCOL"),
        (r"\b8080\b", "HOSTPORT"),
        (r"(?<=port )80\b|(?<=CONTAINER:)80\b", "PORT"),
    )
)


@dataclass(frozen=True)
class Kind:
    """A kind of network: what each of the two is asked for, and the ports that a container publishes."""

    name: str
    docker: tuple[str, ...] = ()
    nettool: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()


def _option(name: str, value: str) -> tuple[str, str]:
    return "--opt", f"com.docker.network.bridge.{name}={value}"


KINDS: Final = (
    Kind("plain"),
    Kind("internal", ("--internal",), ("--internal",)),
    Kind("without masquerade", _option("enable_ip_masquerade", "false"), ("--no-masquerade",)),
    Kind("containers kept apart", _option("enable_icc", "false"), ("--isolate",)),
    Kind("a tcp port", ports=("8080:80",)),
    Kind("a udp port", ports=("8080:80/udp",)),
    Kind("a port of this host alone", ports=("127.0.0.1:8080:80",)),
    Kind("both families", ("--ipv6", "--subnet", "fd20::/64"), ("--subnet", "fd20::/64")),
)


@dataclass(frozen=True)
class Difference:
    """Rules that only one of the two has, or each in a way of its own, and why."""

    docker: tuple[str, ...]
    nettool: tuple[str, ...]
    why: str


_DNAT: Final = "-m conntrack --ctstate DNAT"
_TO: Final = "-j DNAT --to-destination CONTAINER:PORT"
_IN_NAT: Final = (
    f"nat NETTOOL-NAT -s {{}} -d CONTAINER -o BRIDGE -p PROTOCOL --dport PORT {_DNAT} -j MASQUERADE"
)

DIFFERENCES: Final = (
    Difference(
        ("filter FORWARD policy DROP",), (),
        "The policy of `FORWARD` is the host's own: nettool works with both, and sets neither.",
    ),
    Difference(
        ("filter FORWARD -j DOCKER-USER", "filter DOCKER-USER -j RETURN"), (),
        "Docker has a chain for the administrator, which comes first. Beside nettool that is `FORWARD` "
        "itself: what is inserted there comes first. Where Docker is, nettool's chain is entered from "
        "`DOCKER-USER`, too.",
    ),
    Difference(
        (), ("filter FORWARD -j NETTOOL-FORWARD", "nat POSTROUTING -j NETTOOL-NAT"),
        "Docker's rules stand in the built-in chains themselves. Nettool's are in chains of their own, "
        "so that nobody's rule stands between two of them, and each is entered by one jump.",
    ),
    Difference(
        ("filter DOCKER-ISOLATION-STAGE-1 -j RETURN", "filter DOCKER-ISOLATION-STAGE-2 -j RETURN"), (),
        "A chain that comes to its end returns by itself.",
    ),
    Difference(
        ("filter FORWARD -o BRIDGE -j DOCKER",), (),
        "Nettool has no chain of its own for what published ports let pass: it is in `NETTOOL-FORWARD`.",
    ),
    Difference(
        ("nat PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",),
        ("nat PREROUTING ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j NETTOOL-PUBLISH",),
        "Nobody else may send to this host's 127.0.0.1. With Docker a neighbour on the wire may try: "
        "its rule for a port of 127.0.0.1 looks at the address alone.",
    ),
    Difference(
        ("nat OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",),
        ("nat OUTPUT -m addrtype --dst-type LOCAL -j NETTOOL-PUBLISH",),
        "What this host sends to its own 127.0.0.1 Docker leaves to a program, `docker-proxy`. Nettool "
        "has no program that runs: rules lead there.",
    ),
    Difference(
        ("nat DOCKER -i BRIDGE -j RETURN",), (),
        "What containers send to ports of this host Docker leaves to `docker-proxy`, too. With nettool "
        "they go by the rule, as everybody does.",
    ),
    Difference(
        ("filter DOCKER-ISOLATION-STAGE-1 ! -d SUBNET -i BRIDGE -j DROP",
         "filter DOCKER-ISOLATION-STAGE-1 ! -s SUBNET -o BRIDGE -j DROP"),
        ("filter NETTOOL-ISOLATE -i BRIDGE ! -o BRIDGE -j DROP",
         "filter NETTOOL-ISOLATE ! -i BRIDGE -o BRIDGE -j DROP"),
        "An internal network is its bridge. By addresses, as Docker has it, somebody outside who sends "
        "with an address of the subnet is stopped by the policy alone.",
    ),
    Difference(
        (), ("filter NETTOOL-ISOLATE-2 -o BRIDGE -j DROP",),
        "Internal networks have this wall twice: nettool writes it for each of its networks.",
    ),
    Difference(
        ("sysctl net.ipv4.ip_forward=1",), ("sysctl net.ipv4.ip_forward=0",),
        "Docker lets the host forward from the start on, nettool when a network needs it: an internal "
        "one does not.",
    ),
    Difference(
        (f"nat DOCKER ! -i BRIDGE -p PROTOCOL --dport HOSTPORT {_TO}",),
        (f"nat NETTOOL-PUBLISH -p PROTOCOL --dport HOSTPORT {_TO}",),
        "The container's neighbours use the rule, too (see above).",
    ),
    Difference(
        (f"nat DOCKER -d 127.0.0.1/32 ! -i BRIDGE -p PROTOCOL --dport HOSTPORT {_TO}",),
        (f"nat NETTOOL-PUBLISH -d 127.0.0.1/32 -p PROTOCOL --dport HOSTPORT {_TO}",),
        "The same for a port of this host alone; with Docker nothing that this host sends comes to its "
        "rule.",
    ),
    Difference(
        ("filter DOCKER -d CONTAINER ! -i BRIDGE -o BRIDGE -p PROTOCOL --dport PORT -j ACCEPT",),
        (f"filter NETTOOL-FORWARD -d CONTAINER -o BRIDGE -p PROTOCOL --dport PORT {_DNAT} -j ACCEPT",),
        "Nettool lets in what was sent to the published port. Docker opens the container's own port as "
        "well, to everybody who has a route to the container.",
    ),
    Difference(
        (), (f"filter NETTOOL-FORWARD -s CONTAINER -i BRIDGE -p PROTOCOL --sport PORT {_DNAT} -j ACCEPT",),
        "Replies have a rule of their own, so that a port can be published on a bridge that is no "
        "network of nettool's.",
    ),
    Difference(
        ("nat POSTROUTING -s CONTAINER -d CONTAINER -p PROTOCOL --dport PORT -j MASQUERADE",),
        (_IN_NAT.format("SUBNET"),),
        "Replies to all neighbours that come by the host must go back by it, not only to the container "
        "itself: Docker's others come by `docker-proxy`, which sends as the host.",
    ),
    Difference(
        ("sysctl net.ipv4.conf.BRIDGE.route_localnet=0",),
        (
            _IN_NAT.format("127.0.0.0/8"),
            "sysctl net.ipv4.conf.BRIDGE.route_localnet=1",
            "filter INPUT -d 127.0.0.0/8 -i BRIDGE -m conntrack ! --ctstate RELATED,ESTABLISHED -j DROP",
        ),
        "So that 127.0.0.1 leads to the container by rules: the kernel may send from there to the "
        "bridge, the container can reply, and no container reaches what else listens there "
        "(CVE-2020-8558).",
    ),
    Difference(
        (),
        tuple(f"ip6tables {rule}" for rule in (
            "filter FORWARD -j NETTOOL-FORWARD",
            "filter NETTOOL-FORWARD -j NETTOOL-ISOLATE",
            "filter NETTOOL-FORWARD -i BRIDGE -o BRIDGE -j ACCEPT",
            "filter NETTOOL-FORWARD -o BRIDGE -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
            "filter NETTOOL-FORWARD -i BRIDGE ! -o BRIDGE -j ACCEPT",
            "filter NETTOOL-ISOLATE -i BRIDGE ! -o BRIDGE -j NETTOOL-ISOLATE-2",
            "filter NETTOOL-ISOLATE-2 -o BRIDGE -j DROP",
            "nat PREROUTING -m addrtype --dst-type LOCAL -j NETTOOL-PUBLISH",
            "nat OUTPUT -m addrtype --dst-type LOCAL -j NETTOOL-PUBLISH",
            "nat POSTROUTING -j NETTOOL-NAT",
            "nat NETTOOL-NAT -s SUBNET ! -o BRIDGE -j MASQUERADE",
        )),
        "Docker 20.10 writes no rules for IPv6, unless it is started with `--ip6tables`, an experiment "
        "then: its containers are open to whoever has a route. Nettool treats both families alike.",
    ),
)  # fmt: skip
"""Every rule that only one of the two has."""


@dataclass
class Made:
    """The rules that a host has for a network, and its chains."""

    rules: list[str] = field(default_factory=list)
    chains: set[str] = field(default_factory=set)


def read(host: Host) -> Made:
    """Read the rules of a host, those of Docker's own bridge left out, with names in the place of values."""
    made, table = Made(), ""
    for family, program in (("", "iptables-save"), ("ip6tables ", "ip6tables-save")):
        for line in host.check(program).splitlines():
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith(":"):
                chain, policy = line[1:].split()[:2]
                if policy == "-":
                    made.chains.add(chain)
                elif policy != "ACCEPT":
                    made.rules.append(f"{family}{table} {chain} policy {policy}")
            elif line.startswith("-A ") and "docker0" not in line:
                made.rules.append(f"{family}{table} {_named(line[3:])}")
    for key in _SYSCTLS:
        made.rules.append(f"sysctl {_named(key)}={host.check('sysctl', '-n', key).strip()}")
    return made


def _named(text: str) -> str:
    for pattern, name in _NAMES:
        text = pattern.sub(name, text)
    return text


def as_docker(rule: str) -> str:
    """Return a rule of nettool's with the names of Docker's chains."""
    return " ".join(CHAINS[word][0] if word in CHAINS else word for word in rule.split())


@dataclass(frozen=True)
class Comparison:
    """What is the same in both, as pairs, and what only one of them has."""

    same: tuple[tuple[str, str], ...]
    docker: tuple[str, ...]
    nettool: tuple[str, ...]


def compare(docker: Made, nettool: Made) -> Comparison:
    """Hold two sets of rules against each other."""
    same = tuple((as_docker(rule), rule) for rule in nettool.rules if as_docker(rule) in docker.rules)
    theirs, ours = {pair[0] for pair in same}, {pair[1] for pair in same}
    return Comparison(
        same,
        tuple(rule for rule in docker.rules if rule not in theirs),
        tuple(rule for rule in nettool.rules if rule not in ours),
    )


def unexplained(found: Comparison) -> list[str]:
    """Return the rules that only one of the two has, and that no difference explains.

    A difference with rules on both sides explains one of them only beside the other.
    """
    explained: set[tuple[str, str]] = set()
    for each in DIFFERENCES:
        if _complete(each.docker, found.docker) and _complete(each.nettool, found.nettool):
            explained |= {("Docker", rule) for rule in each.docker}
            explained |= {("nettool", rule) for rule in each.nettool}
    left = [("Docker", rule) for rule in found.docker] + [("nettool", rule) for rule in found.nettool]
    return [f"{who}: {rule}" for who, rule in left if (who, rule) not in explained]


def _complete(wanted: Iterable[str], found: Iterable[str]) -> bool:
    """Whether all of a side's rules are there."""
    return set(wanted) <= set(found)


def tables(found: Mapping[str, Comparison]) -> dict[str, str]:
    """Return the page's tables, by their names."""
    pairs = dict.fromkeys(pair for each in found.values() for pair in each.same)
    return {
        "chains": _table(
            ("nettool", "Docker", "for"), [(f"`{o}`", f"`{d}`", w) for o, (d, w) in CHAINS.items()]
        ),
        "same": _table(("Docker", "nettool"), [(_code((d,)), _code((n,))) for d, n in pairs]),
        "differences": _table(
            ("Docker", "nettool", "why"), [(_code(d.docker), _code(d.nettool), d.why) for d in DIFFERENCES]
        ),
    }


def _code(rules: Iterable[str]) -> str:
    return "<br>".join(f"`{rule}`" for rule in rules) or "nothing"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [tuple(head), *map(tuple, rows)]
    lines.insert(1, tuple("---" for _ in lines[0]))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
