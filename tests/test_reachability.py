"""Who reaches whom: one table, for tcp, udp and sctp, for IPv4 and IPv6, under both policies of FORWARD."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from hosts import Host
from reach import PORT, ask, protocols, serve, settle, uplink

if TYPE_CHECKING:
    from collections.abc import Iterator

# a is on backend, c on frontend, b on both; v and w are on vault, an internal network. a's port is
# published on all addresses, c's on 127.0.0.1 alone. The one outside knows the way to every network.
# "yes": the one that the line is about answers. "-": nobody does. "open": only if FORWARD's policy is ACCEPT.
TABLE: Final = """
who answers, where                          outside host  a     b     c     v     w
outside   192.0.2.2       2001:db8::2       yes     yes   yes   yes   yes   -     -
host      192.0.2.1       2001:db8::1       yes     yes   yes   yes   yes   -     -
host      10.20.0.1       fd20::1           yes     yes   yes   yes   yes   -     -
host      10.22.0.1       fd22::1           yes     yes   yes   yes   yes   yes   yes
a         10.20.0.2       fd20::2           open    yes   yes   yes   -     -     -
b         10.20.0.3       fd20::3           open    yes   yes   yes   -     -     -
b         10.21.0.3       fd21::3           open    yes   -     yes   yes   -     -
c         10.21.0.2       fd21::2           open    yes   -     yes   yes   -     -
v         10.22.0.2       fd22::2           -       yes   -     -     -     yes   yes
a         192.0.2.1:8080  2001:db8::1:8080  yes     yes   yes   yes   -     -     -
a         10.20.0.1:8080  fd20::1:8080      yes     yes   yes   yes   -     -     -
a         127.0.0.1:8080  .                 -       yes   -     -     -     -     -
c         127.0.0.1:8081  .                 -       yes   -     -     -     -     -
c         192.0.2.1:8081  2001:db8::1:8081  -       -     -     -     -     -     -
c         10.21.0.1:8081  fd21::1:8081      -       -     -     -     -     -     -
"""
NETWORKS: Final = {"backend": "20", "frontend": "21", "vault": "22"}


@dataclass(frozen=True)
class Line:
    """One line of the table: who answers at an address, in each family, and what each place gets."""

    who: str
    at: tuple[str, ...]
    cells: dict[str, str]

    def question(self, protocol: str, family: int) -> tuple[str, str, int] | None:
        text = self.at[family == 6]
        address, _, number = text.rpartition(":") if text.endswith((":8080", ":8081")) else (text, "", PORT)
        return None if text == "." else (protocol, address, int(number))

    def expected(self, place: str, policy: str) -> str:
        cell = self.cells[place]
        return self.who if cell == "yes" or (cell == "open" and policy == "ACCEPT") else ""


def _lines() -> tuple[Line, ...]:
    head, *rows = (line.split() for line in TABLE.strip().splitlines())
    places = head[3:]
    return tuple(Line(who, (v4, v6), dict(zip(places, cells, strict=True))) for who, v4, v6, *cells in rows)


LINES: Final = _lines()
PLACES: Final = tuple(LINES[0].cells)


@dataclass(frozen=True)
class Scene:
    host: Host
    policy: str
    pids: dict[str, int | None]


@pytest.fixture(scope="module", params=["ACCEPT", "DROP"])
def scene(request: pytest.FixtureRequest, module_host: Host) -> Iterator[Scene]:
    assert module_host.pid  # skipped where there are no namespaces
    with Host() as host:
        yield _furnished(host, request.param)


def _furnished(host: Host, policy: str) -> Scene:
    outside = uplink(host)
    for program in ("iptables", "ip6tables"):
        host.check(program, "-P", "FORWARD", policy)
    for name, number in NETWORKS.items():
        internal = ("--internal",) if name == "vault" else ()
        subnets = ("--subnet", f"10.{number}.0.0/24", "--subnet", f"fd{number}::/64")
        host.must("network", "create", name, *subnets, *internal)
    pids: dict[str, int | None] = {"outside": outside, "host": None}
    for name in "abcvw":
        pids[name] = host.container()
    a = [word for protocol in protocols() for word in ("--publish", f"8080:{PORT}/{protocol}")]
    c = [word for protocol in protocols() for word in ("--publish", f"127.0.0.1:8081:{PORT}/{protocol}")]
    wires = (
        ("backend", "a", 2, a), ("backend", "b", 3, []), ("frontend", "b", 3, []), ("frontend", "c", 2, c),
        ("vault", "v", 2, []), ("vault", "w", 3, []),
    )  # fmt: skip
    for network, name, number, ports in wires:
        ips = ("--ip", f"10.{NETWORKS[network]}.0.{number}", "--ip6", f"fd{NETWORKS[network]}::{number}")
        host.must("network", "connect", network, f"pid:{pids[name]}", *ips, *ports)
    for number in NETWORKS.values():
        host.inside(outside, "ip", "route", "add", f"10.{number}.0.0/24", "via", "192.0.2.1")
        host.inside(outside, "ip", "route", "add", f"fd{number}::/64", "via", "2001:db8::1")
    for name, pid in pids.items():
        serve(host, name, pid)
    settle(host)
    return Scene(host, policy, pids)


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("protocol", ["tcp", "udp", "sctp"])
def test_who_reaches_whom(scene: Scene, protocol: str, family: int) -> None:
    if protocol not in protocols():
        pytest.skip(f"this kernel has no sockets of {protocol}")
    asked = {
        line: question for line in range(len(LINES)) if (question := LINES[line].question(protocol, family))
    }

    def answers(place: str) -> list[str]:
        return ask(scene.host, scene.pids[place], asked.values())

    with ThreadPoolExecutor(len(PLACES)) as pool:
        found = dict(zip(PLACES, pool.map(answers, PLACES), strict=True))
    wrong = [
        f"{place} asks {question[1]} port {question[2]}: {answer or 'nobody'} answers"
        for place in PLACES
        for (line, question), answer in zip(asked.items(), found[place], strict=True)
        if answer != LINES[line].expected(place, scene.policy)
    ]
    assert "\n".join(wrong) == ""
