"""Plan to publish ports of sandboxes on the host, and to take them back. Pure.

The rules are part of their endpoint: whatever takes the endpoint away takes them along.
"""

from __future__ import annotations

from nettool import naming
from nettool.checks import no_ports
from nettool.detaching import endpoints_of
from nettool.drivers import ports as rules
from nettool.errors import Refused, TargetNotFound
from nettool.iproute import CLASSIC
from nettool.leaving import along_with
from nettool.lowering import check_tools, choose_dialect
from nettool.model import Endpoint, Record
from nettool.plan import Change, NetworkChange, Plan, inverse
from nettool.portchecks import check_ports, decide_ports
from nettool.ports import parse_ports
from nettool.resolve import Findings, resolve_sandbox
from nettool.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nettool.facts import Facts
    from nettool.leaving import Along
    from nettool.model import NetworkRecord, Records, Sandbox
    from nettool.plan import Step
    from nettool.ports import PublishedPort
    from nettool.request import Publish, Unpublish


def plan_publish(request: Publish, facts: Facts, records: Records) -> Plan:
    """Plan to publish ports of a running sandbox. Raises TargetNotFound and Refused."""
    findings = Findings()
    sandbox = resolve_sandbox(request.target, facts, findings)
    record = _chosen(request, sandbox, facts, records)
    dialect = choose_dialect(request.dialect, facts)
    if record is None:
        _no_endpoint(sandbox, findings)
        return _empty(request, sandbox, dialect, findings).against(facts)
    if record.endpoint.on_parent:
        no_ports(record.endpoint.bridge, record.endpoint.addresses, findings)
        return _empty(request, sandbox, dialect, findings).against(facts)
    asked = parse_ports(request.ports, request.allow_from)
    wanted = decide_ports(asked, record.endpoint.bridge, dialect, facts, records)
    new = tuple(port for port in wanted if port not in record.endpoint.ports)
    endpoint = replace(record.endpoint, ports=wanted)
    check_ports(endpoint, facts, records, findings)
    steps = (
        *rules.shared(endpoint, facts),
        *rules.rules(endpoint),
        *rules.turned_flows(endpoint, facts),
    )
    check_tools(steps, facts, findings)
    planned = Plan(
        request=request,
        title=f"publish {', '.join(map(str, wanted))} of {sandbox.target}",
        dialect=dialect,
        steps=steps,
        sandboxes=(sandbox,) if sandbox.netns.inode is not None else (),
        changes=(),
        problems=tuple(findings.problems),
        notes=tuple(findings.notes),
    ).against(facts)
    after = replace(
        record,
        endpoint=replace(endpoint, ports=(*record.endpoint.ports, *new)),
        made=planned.made(record.made),
    )
    known = records.endpoint(endpoint.host_end)
    if after == known:
        return planned
    return replace(planned, changes=(Change(after, known),), networks=_kept(after, records))


def _empty(request: Publish, sandbox: Sandbox, dialect: str, findings: Findings) -> Plan:
    title = f"publish {', '.join(request.ports)} of {sandbox.target}"
    return Plan(request, title, dialect, (), (), (), problems=tuple(findings.problems))


def _no_endpoint(sandbox: Sandbox, findings: Findings) -> None:
    if not findings.problems:
        findings.problem(
            f"{sandbox.target} has no interface on a bridge", "its ports have no address to lead to",
            hints=("nettool attach …", "nettool network connect …"),
        )  # fmt: skip


def _chosen(request: Publish, sandbox: Sandbox, facts: Facts, records: Records) -> Record | None:
    """Return the endpoint that is meant: the named one, else the only one, else that of the default route."""
    known = endpoints_of(sandbox, facts, records)
    there = (*known, *_of_others(sandbox, known, facts))
    network = _network(request.network, records) if request.network else None
    meant = tuple(
        record
        for record in there
        if request.ifname in (None, record.endpoint.ifname)
        if network is None or record.endpoint.bridge == network.network.bridge
    )
    if len(meant) > 1:
        inside = facts.namespace(sandbox.netns)
        default = inside.default_route(4) or inside.default_route(6) if inside else None
        meant = tuple(r for r in meant if default and r.endpoint.ifname == default.link) or meant
    if len(meant) > 1 or (there and not meant):
        names = ", ".join(record.endpoint.ifname for record in there)
        raise TargetNotFound(
            f"it is not clear which endpoint of {sandbox.target} is meant: there are {names}",
            hints=(f"--ifname {there[0].endpoint.ifname}",),
        )
    return meant[0] if meant else None


def _kept(record: Record, records: Records) -> tuple[NetworkChange, ...]:
    """Return the change of the ports that a sandbox gets again when it is restored."""
    endpoint = record.endpoint
    for network in records.networks:
        for name in endpoint.sandbox.names if network.network.bridge == endpoint.bridge else ():
            kept = network.connection(name)
            if kept is not None:
                ports = replace(kept, published=tuple(map(str, endpoint.ports)))
                after = network.with_connection(name, ports)
                return (NetworkChange(after, network),) if after != network else ()
    return ()


def _of_others(sandbox: Sandbox, known: tuple[Record, ...], facts: Facts) -> Iterator[Record]:
    """Find the interfaces on a bridge that somebody else made, as Docker does: they can have ports, too."""
    inside = facts.namespace(sandbox.netns)
    ends = {record.endpoint.host_end for record in known}
    for host_end in facts.host.links if inside else ():
        inner = facts.peer_in(host_end, inside) if inside and host_end.master else None
        if inner is None or inside is None or host_end.name in ends:
            continue
        found = Endpoint(
            sandbox, host_end.master or "", host_end.name, naming.peer_of(host_end.name), inner.name,
            addresses=inside.addresses_of(inner.name), foreign=True,
        )  # fmt: skip
        yield Record(found, CLASSIC, ())


def _network(name: str, records: Records) -> NetworkRecord:
    record = records.network(name)
    if record is None:
        raise TargetNotFound(f"there is no network {name!r}", hints=("nettool network ls",))
    return record


def plan_unpublish(request: Unpublish, facts: Facts, records: Records) -> Plan:
    """Plan to take published ports back. Raises UsageError, TargetNotFound and Refused."""
    findings = Findings()
    sandbox = resolve_sandbox(request.target, facts, findings)
    there = endpoints_of(sandbox, facts, records)
    if there:
        findings.problems = [problem for problem in findings.problems if not problem.not_running]
    leaving = _leaving(request, sandbox, there)
    changed = tuple(
        (r, _without(r, leaving[r.endpoint.host_end])) for r in there if leaving[r.endpoint.host_end]
    )
    goes = tuple(
        replace(r, endpoint=replace(r.endpoint, ports=leaving[r.endpoint.host_end])) for r, _ in changed
    )
    along = along_with(goes, (after for _, after in changed), facts, records)
    own = tuple(step for before, after in zip(goes, changed, strict=True) for step in _gone(before, after[1]))
    undone = (*inverse(own), *along.undone)
    check_tools(undone, facts, findings)
    names = ", ".join(str(port) for record in goes for port in record.endpoint.ports)
    shared = {step.makes.key for step in along.taken}
    near = {record.endpoint.host_end for record, _ in changed}
    others = (record for record in records.endpoints if record.endpoint.host_end not in near)
    return Plan(
        request=request,
        title=f"unpublish {names or 'nothing'} of {sandbox.target}",
        dialect=CLASSIC,
        steps=undone,
        sandboxes=(sandbox,) if sandbox.netns.inode is not None else (),
        changes=(
            *(Change(_kept_record(_unmade(a, shared), along), r) for r, a in changed),
            *along.heirs(others),
        ),
        networks=tuple(change for _, after in changed for change in _kept(after, records)),
        problems=tuple(findings.problems),
        inverse=True,
        restores=(*along.restores(facts), *(s for s in own if s.makes.state(facts).is_present)),
    ).against(facts)


def _leaving(
    request: Unpublish, sandbox: Sandbox, there: tuple[Record, ...]
) -> dict[str, tuple[PublishedPort, ...]]:
    """Return the ports that are meant, by the host end of their endpoint. Raises Refused."""
    wanted = parse_ports(request.ports)
    leaving = {
        record.endpoint.host_end: tuple(
            port for port in record.endpoint.ports if request.every or any(_is(port, w) for w in wanted)
        )
        for record in there
    }
    unknown = [w for w in wanted if not any(_is(port, w) for ports in leaving.values() for port in ports)]
    if unknown:
        have = ", ".join(str(port) for record in there for port in record.endpoint.ports) or "none"
        raise Refused(f"{sandbox.target} has not published {unknown[0]}", why=(f"it has {have}",))
    return leaving


def _gone(leaving: Record, staying: Record) -> Iterator[Step]:
    """Yield the steps of ports that go which nettool made, and which those that stay do not need."""
    needed = {step.makes.key for step in rules.rules(staying.endpoint)}
    for step in rules.rules(leaving.endpoint):
        if step.makes.key in leaving.made and step.makes.key not in needed:
            yield step


def _is(port: PublishedPort, wanted: PublishedPort) -> bool:
    return (port.protocol, port.host_ports, port.ports, port.host_ip) == (
        wanted.protocol, wanted.host_ports, wanted.ports, wanted.host_ip,
    )  # fmt: skip


def _without(record: Record, leaving: tuple[PublishedPort, ...]) -> Record:
    gone = {s.makes.key for s in rules.rules(replace(record.endpoint, ports=leaving))}
    left = replace(record.endpoint, ports=tuple(p for p in record.endpoint.ports if p not in leaving))
    gone -= {step.makes.key for step in rules.rules(left)}
    return replace(record, endpoint=left, made=tuple(key for key in record.made if key not in gone))


def _kept_record(record: Record, along: Along) -> Record | None:
    """Return what stays on record: of an interface that somebody else made, nothing but its ports."""
    after = along.heir(record)
    return None if after.endpoint.foreign and not after.endpoint.ports else after


def _unmade(record: Record, keys: set[str]) -> Record:
    return replace(record, made=tuple(key for key in record.made if key not in keys))
