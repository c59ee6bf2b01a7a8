"""What the host decides about ports to publish, and what is in their way. Pure."""

from __future__ import annotations

import shlex

from nettool.firewall import dnat_of
from nettool.iproute import CLASSIC
from nettool.plan import Problem
from nettool.ports import collide, families, parse_ports, same_place
from nettool.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nettool.facts import Facts
    from nettool.model import Endpoint, Records
    from nettool.ports import PublishedPort
    from nettool.resolve import Findings


def decide_ports(
    ports: Iterable[PublishedPort], bridge: str, dialect: str, facts: Facts, records: Records
) -> tuple[PublishedPort, ...]:
    """Decide, for ports of a bridge's endpoint, the variant of iptables and whose chains are used.

    In the classic dialect, a container on Docker's own bridge gets the documented rules.
    """
    firewall = facts.firewall
    variant, rules = (firewall.variant, firewall.rules) if firewall else ("", ())
    own = any(record.network.bridge == bridge for record in records.networks)
    to_docker = ("-o", bridge, "-j", "DOCKER")
    documented = dialect == CLASSIC and not own and any(rule.words == to_docker for rule in rules)
    # Docker's chain is not entered by what the host sends to its own 127.0.0.1.
    return tuple(
        replace(port, variant=variant, documented=documented and not (port.host_ip or "").startswith("127."))
        for port in ports
    )


def check_ports(endpoint: Endpoint, facts: Facts, records: Records, findings: Findings) -> None:
    """Find why an endpoint's ports, save those that it has already, cannot be published."""
    known = records.endpoint(endpoint.host_end)
    new = tuple(port for port in endpoint.ports if known is None or port not in known.endpoint.ports)
    network = next((r.network for r in records.networks if r.network.bridge == endpoint.bridge), None)
    if network is not None and network.internal and new:
        findings.problem(f"network {network.name} is internal: nothing leads into it from outside")
    if new and facts.firewall is None:
        findings.notes.append("the host's rules are not known: what is needed of them is taken to be missing")
    for number, port in enumerate(new):
        problem = next(_faults(port, endpoint, facts, records, new[:number]), None)
        if problem is not None:
            findings.problems.append(problem)
            continue
        if port.host_ip is None and not port.allow_from:
            findings.notes.append(
                f"{port} can be reached by everybody who reaches this host; "
                "--allow-from CIDR, or 127.0.0.1: in front, says who may"
            )
        if port.protocol == "udp" and not facts.has_tool("conntrack"):
            findings.notes.append(
                f"{port}: conntrack is not installed, so flows that are under way go on as before "
                "while they last (no more than 180 seconds without a packet)"
            )


def _faults(
    port: PublishedPort, endpoint: Endpoint, facts: Facts, records: Records, before: Iterable[PublishedPort]
) -> Iterator[Problem]:
    if not families(port, endpoint.addresses):
        have = ", ".join(endpoint.addresses) or "none"
        yield Problem(f"{port} has no address to lead to", (f"the endpoint's addresses: {have}",))
    here = {address.cidr.partition("/")[0] for address in facts.host.addresses}
    local = port.host_ip is None or port.host_ip.startswith("127.") or port.host_ip in here
    if not local:
        have = ", ".join(sorted(ip for ip in here if not ip.startswith("fe80:")))
        yield Problem(f"this host has no address {port.host_ip}", (f"it has {have}",))
    if any(same_place(port, other) for other in before):
        yield Problem(f"{port} is asked for twice")
    for record in records.endpoints:
        if any(same_place(port, other) for other in record.endpoint.ports):
            whose = f"{record.endpoint.sandbox.target} ({record.endpoint.ifname}) has it published"
            hints = ("nettool ports", "nettool gc, for containers that are gone")
            yield Problem(f"{port}: that port is taken", (whose,), hints)
    yield from _promised(port, endpoint, records)
    for socket in facts.sockets:
        if collide(port, socket.protocol, socket.ip, (socket.port, socket.port)):
            yield _listens(port, socket.owner or "a program", socket.port)
    yield from _other_rules(port, facts, records)


def _promised(port: PublishedPort, endpoint: Endpoint, records: Records) -> Iterator[Problem]:
    """Find who gets the port when it starts: a connection on record of somebody who is not there."""
    for network, kept in records.waiting():
        own = kept.target in endpoint.sandbox.names
        if not own and any(same_place(port, other) for other in parse_ports(kept.published, ())):
            whose = f"it is kept for {kept.target}, when it is there, on network {network}"
            hints = (f"nettool network disconnect {network} {kept.target}",)
            yield Problem(f"{port}: that port is taken", (whose,), hints)


def _listens(port: PublishedPort, owner: str, number: int) -> Problem:
    why = (f"{owner} listens on {port.protocol} port {number} of this host",)
    return Problem(f"{port}: that port is taken", why, (f"ss -lnp sport = :{number}",))


def _other_rules(port: PublishedPort, facts: Facts, records: Records) -> Iterator[Problem]:
    """Find rules that lead the same port elsewhere: of somebody else, or left over of ours."""
    known = {record.endpoint.host_end for record in records.endpoints}
    for rule in facts.firewall.rules if facts.firewall else ():
        found = dnat_of(rule)
        if found is None or not collide(port, found.protocol, found.host_ip, found.host_ports):
            continue
        if found.mark in known:
            continue
        program = f"{'ip6tables' if rule.family == 6 else 'iptables'} -t nat"
        where = f"{program} {rule.chain}: {' '.join(rule.words)}"
        if found.mark is not None:
            remove = f"{program} -D {rule.chain} {shlex.join(rule.words)}"
            what = f"{port}: a rule of an endpoint that is gone takes that port"
            yield Problem(what, (where,), ("nettool gc", remove))
        else:
            yield Problem(f"{port}: a rule that is not nettool's takes that port", (where,))
