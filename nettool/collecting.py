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
from nettool.interfaces import interface_of
from nettool.leaving import along_with
from nettool.lowering import check_tools, choose_dialect
from nettool.model import Endpoint, Record, Sandbox
from nettool.plan import Change, Plan, inverse
from nettool.recognizing import orphaned, recognize_rules
from nettool.request import Target
from nettool.resolve import Findings
from nettool.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nettool.facts import Facts
    from nettool.model import Records, Trace
    from nettool.plan import Step
    from nettool.request import Collect


def plan_collect(request: Collect, facts: Facts, records: Records) -> Plan:
    """Plan to remove one leftover: a sandbox's (`net:[INODE]`), or a cable or rules (the host end's name)."""
    dialect = choose_dialect("auto", facts)
    on_record = tuple(record for record in _dead(facts, records) if _place(record) == request.place)
    orphans = tuple(_orphans(facts, records))
    dead = (*on_record, *(record for record in orphans if record.endpoint.host_end == request.place))
    cables = tuple(
        step for step in _loose_cables(facts, records) if step.makes.key == f"veth {request.place}"
    )
    # What several orphans share goes with the last of them.
    along = along_with(dead, (), facts, replace(records, endpoints=(*records.endpoints, *orphans)))
    steps = (
        *(
            step
            for record in dead
            for step in inverse_of_endpoint(_without_lost_number(record, facts), dialect)
        ),
        *along.undone,
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
        changes=(
            *(Change(None, record) for record in on_record),
            *along.heirs(record for record in records.endpoints if record not in dead),
        ),
        problems=tuple(findings.problems),
        inverse=True,
        # The sandbox's name is the last to go: nothing comes behind it that could fail.
        restores=(
            *along.restores(facts),
            *(step for record in dead for step in restore(_without_lost_number(record, facts), facts)),
            *cables,
        ),
    ).against(facts)


def of_sandbox(name: str, records: Records) -> tuple[Record, ...]:
    """Return the endpoints of the sandboxes that have, or had, a name."""
    theirs = {r.endpoint.sandbox.netns.inode for r in known(records) if name in r.endpoint.sandbox.names}
    return tuple(record for record in known(records) if record.endpoint.sandbox.netns.inode in theirs)


def leftovers_of(name: str, facts: Facts, records: Records) -> tuple[str, ...] | None:
    """Return what is left of one sandbox; None when it takes a look at all of them to say.

    That is so while a cable is there: then something holds the namespace.
    """
    there = of_sandbox(name, records)
    if any(facts.host.link(record.endpoint.host_end) for record in there):
        return None
    return tuple(dict.fromkeys(_place(record) for record in there if _is_dead(record, facts)))


def leftovers(facts: Facts, records: Records) -> tuple[str, ...]:
    """Return the places that `plan_collect` can clear. Raises Refused for who cannot see them all."""
    if not facts.privileged:
        raise Refused(
            "what is left behind cannot be told from what is in use",
            why=("only root sees the namespaces of other users' processes",),
            hints=("sudo nettool gc --dry-run",),
        )
    cables = (step.makes.key.removeprefix("veth ") for step in _loose_cables(facts, records))
    orphans = (record.endpoint.host_end for record in _orphans(facts, records))
    return tuple(dict.fromkeys((*map(_place, _dead(facts, records)), *cables, *orphans)))


def held_by_others(facts: Facts, records: Records) -> bool:
    """Whether somebody is in the namespace of a sandbox whose own process is gone: for a look, maybe."""
    there = (record for record in known(records) if not _is_dead(record, facts))
    return any(not _is_where_it_was(record.endpoint.sandbox, facts) for record in there)


def strange_names(facts: Facts, records: Records) -> tuple[str, ...]:
    """Return the dead entries of /var/run/netns that no record is about: they may be anybody's."""
    ours = {record.endpoint.sandbox.netns.name for record in _dead(facts, records)}
    return tuple(e.name for e in facts.netns_names if e.inode is None and e.name not in ours)


def _dead(facts: Facts, records: Records) -> tuple[Record, ...]:
    return tuple(record for record in known(records) if _is_dead(record, facts))


def _orphans(facts: Facts, records: Records) -> Iterator[Record]:
    """Find rules of published ports that no record knows and whose endpoint is not on the host."""
    for mark, rules in orphaned(facts, records):
        record = recognize_rules(mark, rules, facts)
        if record is not None and not _is_somebodys(record.endpoint, facts):
            yield record


def _is_somebodys(endpoint: Endpoint, facts: Facts) -> bool:
    """Whether somebody on the bridge has an endpoint's address: its host end may have been renamed."""
    wanted = {cidr.partition("/")[0] for cidr in endpoint.addresses}
    ports = (link for link in facts.host.links if link.master == endpoint.bridge)
    ends = ((space, facts.peer_in(port, space)) for port in ports for space in facts.namespaces)
    have = (cidr for space, end in ends if end for cidr in space.addresses_of(end.name))
    return any(cidr.partition("/")[0] in wanted for cidr in have)


def _is_dead(record: Record, facts: Facts) -> bool:
    """Whether an endpoint's sandbox is gone.

    Without its cable, it is gone when its own process, or path, is: the inode alone would not do,
    since the kernel gives it to the next namespace. With its cable the namespace is there still: then
    it is gone when our own name is all that leads to it.
    """
    endpoint, sandbox = record.endpoint, record.endpoint.sandbox
    if not _is_there(endpoint, facts):
        return not _is_where_it_was(sandbox, facts)
    holders = {a for s in facts.sandboxes if s.inode == sandbox.netns.inode for a in s.answers_to}
    return holders == {f"netns:{sandbox.netns.name}"} and f"netns {sandbox.netns.name}" in record.made


def _is_there(endpoint: Endpoint, facts: Facts) -> bool:
    """Whether an endpoint has its cable, or its interface on a parent."""
    if endpoint.on_parent:
        return interface_of(endpoint, facts) is not None
    return facts.host.link(endpoint.host_end) is not None


def _without_lost_number(record: Record, facts: Facts) -> Record:
    """Return a dead one's record; without the number of a namespace that is gone: it is given again."""
    endpoint = record.endpoint
    # A namespace that was not read may have an interface on a parent still.
    unseen = endpoint.on_parent and facts.namespace(endpoint.sandbox.netns) is None
    if unseen or _is_there(endpoint, facts):
        return record
    netns = replace(endpoint.sandbox.netns, inode=None)
    return replace(record, endpoint=replace(endpoint, sandbox=replace(endpoint.sandbox, netns=netns)))


def _is_where_it_was(sandbox: Sandbox, facts: Facts) -> bool:
    found = facts.sandbox(str(place_of(sandbox)))
    if found is None or found.inode != sandbox.netns.inode:
        return False
    return None in (found.start_time, sandbox.start_time) or found.start_time == sandbox.start_time


def place_of(sandbox: Sandbox) -> Target:
    """Return the process, or the path, by which a sandbox was reached."""
    if sandbox.pid is not None:
        return Target("pid", str(sandbox.pid))
    return Target("netns", sandbox.netns.name) if sandbox.by_name else Target("path", sandbox.path)


def known(records: Records) -> tuple[Record, ...]:
    """Return the endpoints on record, and those that a script has noted."""
    on_record = {record.endpoint.host_end for record in records.endpoints}
    noted = (_record_of(trace) for trace in records.traces if trace.host_end not in on_record)
    return (*records.endpoints, *(record for record in noted if record is not None))


def _place(record: Record) -> str:
    return f"net:[{record.endpoint.sandbox.netns.inode}]"


def _record_of(trace: Trace) -> Record | None:
    """Make a record of a script's notes: `sandbox net:[INODE] NAME PID`, and a key a line."""
    first = next((line for line in trace.lines if line.startswith("sandbox ")), "")
    found = re.fullmatch(r"sandbox net:\[(\d+)\] (\S+) (\d+|-)", first)
    if found is None:
        return None
    inode, name, pid = found.groups()
    named, netns = f"netns {name}" in trace.lines, Netns(name, int(inode))
    if pid == "-":
        sandbox = Sandbox(f"netns:{name}", netns, netns.path, None, None, named)
    else:
        sandbox = Sandbox(f"pid:{pid}", netns, f"/proc/{pid}/ns/net", int(pid), None, named)
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
