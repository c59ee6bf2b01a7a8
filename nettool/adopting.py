"""Plan to put on record what is on the host and carries nettool's mark, or a bridge that is there. Pure.

The plan has no steps: it changes records alone. What cannot be told for certain is left alone, and named.
"""

from __future__ import annotations

import re

from nettool import naming, netlist
from nettool.drivers import ports
from nettool.errors import Refused, UsageError
from nettool.facts import Netns
from nettool.interfaces import Present, marked
from nettool.iproute import MODERN
from nettool.lowering import choose_dialect
from nettool.plan import Change, NetworkChange, Plan
from nettool.recognizednets import Unclear, adopt_bridge, names_found, recognize_network
from nettool.recognizing import Found, by_mark, orphaned, recognize, rule_fault
from nettool.request import RUNTIMES, Target
from nettool.resolve import Findings, resolve_sandbox
from nettool.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from nettool.facts import Facts, LinkFact, NamespaceFacts, NetnsNameFact
    from nettool.model import Network, NetworkRecord, Record, Records, Sandbox, Trace
    from nettool.plan import Problem
    from nettool.recognizednets import Marks
    from nettool.request import Adopt

_OF_PROCESS: Final = r"/proc/([1-9][0-9]*)/ns/net"


class _Look(Value):
    """What a look at the host has found: what can be put on record, what cannot, and remarks."""

    endpoints: tuple[Record, ...]
    networks: tuple[NetworkRecord, ...]
    left: tuple[Problem, ...]
    notes: tuple[str, ...]


def check_adopt(request: Adopt) -> None:
    """Refuse a request that no host could carry out. Raises UsageError."""
    if (request.bridge is None) != (request.name is None):
        raise UsageError(
            "--bridge says which bridge, and --name what the network is called: both, or none of them",
            hints=("nettool adopt --bridge br0 --name lab",),
        )
    fault = naming.network_name_fault(request.name) if request.name is not None else None
    if fault:
        raise UsageError(f"{request.name!r} cannot be the name of a network", why=(fault,))
    fault = naming.existing_name_fault(request.bridge) if request.bridge is not None else None
    if fault:
        raise UsageError(f"--bridge {request.bridge!r} {fault}")


def plan_adopt(request: Adopt, facts: Facts, records: Records) -> Plan:
    """Plan to put on record what is found. Raises Refused for who cannot see it all."""
    if not facts.privileged:
        why = ("only root sees into the namespaces of other users' processes",)
        raise Refused("what is here cannot be told", why=why, hints=("sudo nettool adopt --dry-run",))
    found = _bridge(request, facts, records) if request.bridge is not None else _look(request, facts, records)
    of_bridge = f" on {request.bridge}" if request.bridge is not None else ""
    return Plan(
        request=request,
        title=f"adopt {_counted(found)}{of_bridge}",
        dialect=choose_dialect("auto", facts),
        steps=(),
        sandboxes=(),
        changes=tuple(Change(record, None) for record in found.endpoints),
        networks=tuple(NetworkChange(record, None) for record in found.networks),
        problems=found.left if request.bridge is not None else (),
        notes=found.notes,
    ).against(facts)


def _counted(found: _Look) -> str:
    parts = ((len(found.endpoints), "endpoint"), (len(found.networks), "network"))
    words = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in parts if count]
    return " and ".join(words) or "nothing"


def left_alone(request: Adopt, facts: Facts, records: Records) -> tuple[Problem, ...]:
    """Return what carries nettool's mark and cannot be put on record, each with the reason."""
    return _look(request, facts, records).left if request.bridge is None else ()


def _bridge(request: Adopt, facts: Facts, records: Records) -> _Look:
    try:
        record = adopt_bridge(request, by_mark(facts), facts, records)
    except Unclear as unclear:
        return _Look((), (), (unclear.problem,), ())
    return _Look((), (record,) if record else (), (), ())


def _look(request: Adopt, facts: Facts, records: Records) -> _Look:
    marks = by_mark(facts)
    endpoints: list[Record] = []
    networks: list[NetworkRecord] = []
    left: list[Problem] = []
    for host_end in _unknown_ends(facts, records):
        try:
            endpoints.append(_endpoint(host_end, request, marks, facts, records.trace(host_end.name)))
        except Unclear as unclear:
            left.append(unclear.problem)
    for found, inside in _made_on_parents(facts, records):
        try:
            endpoints.append(_on_parent(found, inside, request, facts))
        except Unclear as unclear:
            left.append(unclear.problem)
    for name, bridges in _unknown_networks(marks, records).items():
        try:
            networks.append(_network(name, bridges, marks, facts, records))
        except Unclear as unclear:
            left.append(unclear.problem)
    left += _orphans(marks, facts, records)
    notes = (*(n for record in endpoints for n in _doubts(record, records)), *_doubts_of(networks))
    return _Look(tuple(endpoints), tuple(networks), tuple(left), notes)


# --- endpoints


def _unknown_ends(facts: Facts, records: Records) -> Iterator[LinkFact]:
    """Yield the host ends that are nettool's by their mark or a script's notes, and on no record.

    A cable whose two ends are on the host is what a killed run left: `nettool gc` clears it away.
    """
    known = {record.endpoint.host_end for record in records.endpoints}
    for link in facts.host.links:
        ours = naming.is_marked(link.name) or records.trace(link.name) is not None
        if (
            link.kind == "veth"
            and ours
            and link.name not in known
            and facts.peer_in(link, facts.host) is None
        ):
            yield link


def _endpoint(host_end: LinkFact, request: Adopt, marks: Marks, facts: Facts, trace: Trace | None) -> Record:
    name = host_end.name
    inside, inner = _inner(host_end, facts)
    bridge = facts.host.link(host_end.master or "")
    if bridge is None or bridge.kind != "bridge":
        raise Unclear(f"{name} is in no bridge", f"its other end is {inner.name} in net:[{inside.inode}]")
    fault = naming.existing_name_fault(inner.name)
    if fault:
        raise Unclear(f"{name} has another end whose name {fault}", f"it is called {inner.name!a}")
    rules = marks.get(name, ())
    found = Found(Present(host_end.name, host_end.master, inner), rules, trace)
    record = _recognized(found, inside, request, facts)
    odd = rule_fault(ports.rules(record.endpoint), rules)
    if odd:
        hints = (f"iptables-save | grep nettool:{name}",)
        raise Unclear(f"{name} has rules that are not those of published ports", odd, hints=hints)
    return record


def _made_on_parents(facts: Facts, records: Records) -> Iterator[tuple[Found, NamespaceFacts]]:
    """Yield what a script has noted that it made on a parent, and is on no record, with its namespace.

    The mark alone would not do: whoever is root in a container gives its interfaces what alias he likes, and
    a namespace may be that of another host, with parents of its own.
    """
    known = {record.endpoint.host_end for record in records.endpoints}
    for inside in facts.namespaces:
        for present in marked(facts, inside):
            trace = records.trace(present.host_end) if present.host_end not in known else None
            if trace is not None and any(f"net:[{inside.inode}]" in line for line in trace.lines):
                yield Found(present, (), trace), inside


def _on_parent(found: Found, inside: NamespaceFacts, request: Adopt, facts: Facts) -> Record:
    name = found.present.inner.name
    fault = naming.existing_name_fault(name)
    if fault:
        raise Unclear(
            f"an interface of net:[{inside.inode}] has a name that {fault}", f"it is called {name!a}"
        )
    return _recognized(found, inside, request, facts)


def _recognized(found: Found, inside: NamespaceFacts, request: Adopt, facts: Facts) -> Record:
    """Make the record of what was found in a namespace, in the dialect that it was made in."""
    sandbox = _sandbox(inside.inode, request, facts, found.trace)
    record = recognize(found, sandbox, facts)
    entry = facts.netns_name(sandbox.netns.name)
    mounted = sandbox.named_by_plan and entry is not None and entry.symlink is None
    return replace(record, dialect=MODERN if mounted else choose_dialect("auto", facts))


def _inner(host_end: LinkFact, facts: Facts) -> tuple[NamespaceFacts, LinkFact]:
    """Return the other end of a cable, and the namespace that it is in. Raises Unclear."""
    ends = [(ns, link) for ns in facts.namespaces if (link := facts.peer_in(host_end, ns)) is not None]
    # Without the namespace's id, numbers of interfaces can agree by chance.
    ends = [end for end in ends if end[0].nsid is not None] or ends
    if len(ends) == 1:
        return ends[0]
    if not ends:
        why = "no process and no name leads to it"
        raise Unclear(f"{host_end.name} has its other end in a namespace that could not be read", why)
    where = ", ".join(f"{link.name} in net:[{ns.inode}]" for ns, link in ends)
    raise Unclear(f"{host_end.name} has an other end that is not clear", where)


def _sandbox(inode: int, request: Adopt, facts: Facts, trace: Trace | None) -> Sandbox:
    """Return the sandbox of a namespace, with the name that nettool gave it, where it gave one."""
    found = [sandbox for sandbox in facts.sandboxes if sandbox.inode == inode]
    own = _own_name(inode, facts, trace) if trace or not request.keep_names else None
    answers = [answer for sandbox in found for answer in sandbox.answers_to]
    kind, _, value = min(answers, key=lambda answer: _rank(answer, own)).partition(":")
    sandbox = replace(resolve_sandbox(Target(kind, value), facts, Findings()), named_by_plan=False)
    if own is None:
        return sandbox
    path = own.symlink or f"/proc/{own.name}/ns/net"
    process = re.fullmatch(_OF_PROCESS, path)
    fact = facts.sandbox(f"pid:{process[1]}") if process else None
    return replace(
        sandbox,
        netns=Netns(own.name, inode),
        path=path,
        pid=int(process[1]) if process else None,
        start_time=fact.start_time if fact else None,
        named_by_plan=True,
    )


def _rank(answer: str, own: NetnsNameFact | None) -> int:
    """Rank what a sandbox is known by: a container's name before a namespace's, and that before a pid."""
    kind, _, value = answer.partition(":")
    if kind in RUNTIMES:
        return 0
    if kind == "netns":
        return 3 if own is not None and own.name == value else 1
    return 2 if kind == "pid" else 3


def _own_name(inode: int, facts: Facts, trace: Trace | None) -> NetnsNameFact | None:
    """Return the namespace's name that a script noted as its own, or else that is as nettool gives it."""
    entries = [entry for entry in facts.netns_names if entry.inode == inode]
    if trace is not None:
        return next((entry for entry in entries if f"netns {entry.name}" in trace.lines), None)
    return next((entry for entry in entries if _is_as_given(entry, facts)), None)


def _is_as_given(entry: NetnsNameFact, facts: Facts) -> bool:
    """Whether a namespace's name is the one that nettool makes: a process's id, or a path's hash."""
    if entry.symlink is not None:
        of_process = entry.symlink == f"/proc/{entry.name}/ns/net"
        return of_process or entry.name == naming.netns_name_for_path(entry.symlink)
    process = facts.sandbox(f"pid:{entry.name}") if entry.name.isdecimal() else None
    return process is not None and process.inode == entry.inode


def _doubts(record: Record, records: Records) -> Iterator[str]:
    endpoint = record.endpoint
    target, name = endpoint.sandbox.target, endpoint.sandbox.netns.name
    if records.trace(endpoint.host_end) is not None:
        return
    if any(route.destination == "default" for route in endpoint.routes) and not endpoint.sole:
        yield f"{endpoint.ifname} of {target} has the default route: whose place it took is not known"
    if endpoint.sandbox.named_by_plan:
        yield f"/var/run/netns/{name} is as nettool makes it: it goes with the last endpoint of {target}"


# --- networks


def _unknown_networks(marks: Marks, records: Records) -> dict[str, tuple[str, ...]]:
    return {name: at for name, at in names_found(marks).items() if records.network(name) is None}


def _network(
    name: str, bridges: tuple[str, ...], marks: Marks, facts: Facts, records: Records
) -> NetworkRecord:
    other = next((r.network.name for r in records.networks if r.network.bridge in bridges), None)
    if other is not None:
        raise Unclear(f"rules are marked {name}, for the bridge of network {other}")
    rules = tuple(rule for rule in marks[name] if rule.chain != "INPUT")
    return recognize_network(name, bridges, rules, facts)


def _doubts_of(networks: list[NetworkRecord]) -> Iterator[str]:
    for record in networks:
        if not record.network.own_bridge:
            name, bridge = record.network.name, record.network.bridge
            yield f"who made {bridge} is not known: it and its addresses stay when network {name} goes"


# --- what is left


def _orphans(marks: Marks, facts: Facts, records: Records) -> Iterator[Problem]:
    """Find what carries a mark, and what it belonged to is gone."""
    for mark, rules in orphaned(facts, records):
        first = f"{rules[0].table} {rules[0].chain}: {' '.join(rules[0].words)}"
        what = f"rules of the endpoint {mark}, which is gone, are there still"
        yield Unclear(what, first, hints=("nettool gc --dry-run",)).problem
    bridges = {at for found in names_found(marks).values() for at in found}
    bridges |= {record.network.bridge or "" for record in records.networks}
    for link in facts.host.links:
        if naming.is_marked_bridge(link.name) and link.kind == "bridge" and link.name not in bridges:
            yield Unclear(
                f"{link.name} is a network's bridge, and no rule says of which",
                hints=(f"nettool adopt --bridge {link.name} --name NAME",),
            ).problem


# --- as text


def lines(planned: Plan) -> tuple[str, ...]:
    """Return what a plan puts on record, a line each."""
    endpoints = (_line(change.after) for change in planned.changes if change.after)
    networks = (_network_line(change.after.network) for change in planned.networks if change.after)
    return (*networks, *endpoints)


def _line(record: Record) -> str:
    endpoint = record.endpoint
    published = f", ports {', '.join(map(str, endpoint.ports))}" if endpoint.ports else ""
    inner = f"{endpoint.ifname} of {endpoint.sandbox.target}: {', '.join(endpoint.addresses) or 'no address'}"
    near = endpoint.kind if endpoint.on_parent else endpoint.host_end
    return f"{inner}  <->  {near} on {endpoint.bridge}{published}"


def _network_line(network: Network) -> str:
    subnets = ", ".join(subnet.cidr for subnet in network.subnets)
    kinds = (("internal", network.internal), ("isolated", network.isolate), ("unmanaged", network.unmanaged))
    words = "".join(f", {word}" for word, so in kinds if so)
    return f"network {network.name}: {subnets} on {network.bridge}{words}"


def document(planned: Plan, left: tuple[Problem, ...]) -> dict[str, Any]:
    """Return what a plan puts on record, and what is left alone, as a JSON value."""
    return {
        "endpoints": [_document(change.after) for change in planned.changes if change.after],
        "networks": [netlist.document(c.after.network) for c in planned.networks if c.after],
        "left_alone": [{"what": each.what, "why": list(each.why)} for each in left],
        "notes": list(planned.notes),
    }


def _document(record: Record) -> dict[str, Any]:
    endpoint = record.endpoint
    return {
        "sandbox": endpoint.sandbox.target,
        "interface": endpoint.ifname,
        "addresses": list(endpoint.addresses),
        "host_end": endpoint.host_end,
        "bridge": endpoint.bridge,
        "ports": [str(port) for port in endpoint.ports],
    }
