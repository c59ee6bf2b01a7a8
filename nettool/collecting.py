"""Find what is left of sandboxes that are gone, and plan to clear it away. Pure.

Only what a record or a script's notes know, or what carries nettool's mark and leads nowhere, is
ever in a plan. Each sandbox is a plan of its own: what is left of it goes as a whole, or stays.
"""

from __future__ import annotations

import re

from nettool import iproute, naming
from nettool.detaching import inverse_of_endpoint, inverse_of_sandbox, restore
from nettool.errors import Refused
from nettool.facts import Netns
from nettool.lowering import check_tools, choose_dialect
from nettool.model import Endpoint, Record, Sandbox
from nettool.plan import Change, Plan, inverse
from nettool.resolve import Findings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nettool.facts import Facts
    from nettool.model import Records, Trace
    from nettool.plan import Step
    from nettool.request import Collect


def plan_collect(request: Collect, facts: Facts, records: Records) -> Plan:
    """Plan to remove one leftover: a sandbox's (`net:[INODE]`), or a cable (its host end's name)."""
    dialect = choose_dialect("auto", facts)
    dead = tuple(record for record in _dead(facts, records) if _place(record) == request.place)
    cables = tuple(
        step for step in _loose_cables(facts, records) if step.makes.key == f"veth {request.place}"
    )
    steps = (
        *(step for record in dead for step in inverse_of_endpoint(record, dialect)),
        *inverse_of_sandbox(dead, facts),
        *inverse(cables),
    )
    findings = Findings()
    check_tools(steps, facts, findings)
    targets = dict.fromkeys(record.endpoint.sandbox.target for record in dead)
    return Plan(
        request=request,
        title=f"clear away {', '.join(targets) or request.place}",
        dialect=dialect,
        steps=steps,
        sandboxes=(),
        changes=tuple(Change(None, record) for record in dead),
        problems=tuple(findings.problems),
        inverse=True,
        # The sandbox's name is the last to go: nothing comes behind it that could fail.
        restores=(*(step for record in dead for step in restore(record, facts)), *cables),
    ).against(facts)


def leftovers(facts: Facts, records: Records) -> tuple[str, ...]:
    """Return the places that `plan_collect` can clear. Raises Refused for who cannot see them all."""
    if not facts.privileged:
        raise Refused(
            "what is left behind cannot be told from what is in use",
            why=("only root sees the namespaces of other users' processes",),
            hints=("sudo nettool gc --dry-run",),
        )
    cables = (step.makes.key.removeprefix("veth ") for step in _loose_cables(facts, records))
    return tuple(dict.fromkeys((*map(_place, _dead(facts, records)), *cables)))


def strange_names(facts: Facts, records: Records) -> tuple[str, ...]:
    """Return the dead entries of /var/run/netns that no record is about: they may be anybody's."""
    ours = {record.endpoint.sandbox.netns.name for record in _dead(facts, records)}
    return tuple(e.name for e in facts.netns_names if e.inode is None and e.name not in ours)


def _dead(facts: Facts, records: Records) -> tuple[Record, ...]:
    on_record = {record.endpoint.host_end for record in records.endpoints}
    from_scripts = (
        record
        for trace in records.traces
        if trace.host_end not in on_record and (record := _record_of(trace)) is not None
    )
    return tuple(record for record in (*records.endpoints, *from_scripts) if _is_dead(record, facts))


def _is_dead(record: Record, facts: Facts) -> bool:
    """Whether an endpoint's sandbox is gone: no process is in it, and only our own name leads to it.

    A namespace that is held by nothing we see, but has its cable still, is somebody's.
    """
    sandbox = record.endpoint.sandbox
    own = f"netns:{sandbox.netns.name}"
    named = f"netns {sandbox.netns.name}" in record.made
    holders = {a for s in facts.sandboxes if s.inode == sandbox.netns.inode for a in s.answers_to}
    if holders - ({own} if named else set()):
        return False
    return bool(holders) or facts.host.link(record.endpoint.host_end) is None


def _place(record: Record) -> str:
    return f"net:[{record.endpoint.sandbox.netns.inode}]"


def _record_of(trace: Trace) -> Record | None:
    """Make a record of a script's notes: `sandbox net:[INODE] NAME PID`, and a key a line."""
    first = next((line for line in trace.lines if line.startswith("sandbox ")), "")
    found = re.fullmatch(r"sandbox net:\[(\d+)\] (\S+) (\d+|-)", first)
    if found is None:
        return None
    inode, name, pid = found.groups()
    target, path = f"pid:{pid}", f"/proc/{pid}/ns/net"
    if pid == "-":
        target, path = f"netns:{name}", f"/var/run/netns/{name}"
    sandbox = Sandbox(target, Netns(name, int(inode)), path, None, None, f"netns {name}" in trace.lines)
    endpoint = Endpoint(sandbox, "", trace.host_end, naming.peer_of(trace.host_end), "eth0", ())
    return Record(endpoint, iproute.CLASSIC, trace.lines)


def _loose_cables(facts: Facts, records: Records) -> Iterator[Step]:
    """Find cables with nettool's mark that no record knows and whose two ends are on the host.

    A script that was killed leaves them. With an end in some sandbox, it may be a script's endpoint.
    """
    known = {record.endpoint.host_end for record in records.endpoints}
    for link in facts.host.links:
        peer = facts.peer_in(link, facts.host) if naming.is_marked(link.name) else None
        if peer is None or link.name in known or peer.name != naming.peer_of(link.name):
            continue
        yield iproute.add_loose_veth(link.name, peer.name, link.mac, peer.mac)
