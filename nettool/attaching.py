"""Plan to attach: resolve the endpoint, lower it, and say what will be on record. Pure."""

from __future__ import annotations

from nettool.checks import check_attach, no_ports
from nettool.drivers.ports import shared, turned_flows
from nettool.lowering import check_tools, choose_dialect, lower
from nettool.model import Record
from nettool.plan import Change, Plan
from nettool.resolve import PASSTHRU, Findings, parse_attach, resolve_attach, resolve_sandbox
from nettool.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.facts import Facts
    from nettool.model import Endpoint, Records
    from nettool.plan import Step
    from nettool.request import Attach


def plan_attach(request: Attach, facts: Facts, records: Records) -> Plan:
    """Plan to give a sandbox an interface on a bridge."""
    ends = tuple(record.endpoint.host_end for record in records.endpoints)
    network = records.network_on(request.bridge)
    wanted = replace(parse_attach(request), known_ends=ends, network=network)
    findings = Findings()
    sandbox = resolve_sandbox(request.target, facts, findings, request.name)
    endpoint = resolve_attach(wanted, sandbox, facts, findings)
    dialect = choose_dialect(request.dialect, facts)
    endpoint = replace(endpoint, isolated=network is not None and network.isolate)
    before = records.endpoint(endpoint.host_end)
    known = None if before is not None and _has_died(before, facts) else before
    if (network is not None and network.dns) or request.aliases:
        from nettool.hostnames import files_of  # most bridges have no name server

        had = known.endpoint if known else None
        endpoint = replace(endpoint, files=files_of(endpoint, network, request.aliases, had, facts))
    if known is not None:
        # Today's facts no longer show what it took the place of.
        endpoint = replace(endpoint, replaced=known.endpoint.replaced or endpoint.replaced)
    if request.published and endpoint.on_parent:
        no_ports(endpoint.bridge, endpoint.addresses, findings)
    elif request.published:
        from nettool.portchecks import check_ports  # most publish nothing

        endpoint = _with_ports(endpoint, request, dialect, facts, records)
        check_ports(endpoint, facts, records, findings)
    steps = (*shared(endpoint, facts), *lower(endpoint, dialect), *turned_flows(endpoint, facts))
    steps = (*_left_by(before, known, facts, findings), *steps)
    check_attach(wanted, endpoint, facts, findings)
    if endpoint.on_parent:
        _check_neighbours(endpoint, records, findings)
    check_tools(steps, facts, findings)
    planned = Plan(
        request=request,
        title=f"attach {sandbox.target} to {endpoint.bridge} as {endpoint.ifname}",
        dialect=dialect,
        steps=steps,
        sandboxes=(sandbox,),
        changes=(),
        problems=tuple(findings.problems),
        notes=tuple(findings.notes),
    ).against(facts)
    return _with_record(planned, endpoint, known, before)


def _with_ports(
    endpoint: Endpoint, request: Attach, dialect: str, facts: Facts, records: Records
) -> Endpoint:
    from nettool.portchecks import decide_ports
    from nettool.ports import parse_ports

    asked = parse_ports(request.published, request.allow_from)
    return replace(endpoint, ports=decide_ports(asked, endpoint.bridge, dialect, facts, records))


def _has_died(record: Record, facts: Facts) -> bool:
    """Whether a record is about a sandbox before, whose namespace had the same number: its name is dead."""
    name = record.endpoint.sandbox.netns.name
    entry = facts.netns_name(name)
    return entry is not None and entry.inode is None and f"netns {name}" in record.made


def _check_neighbours(endpoint: Endpoint, records: Records, findings: Findings) -> None:
    """Find which endpoint on the parent leaves no room: the host does not hear what they have."""
    addresses = {cidr.partition("/")[0] for cidr in endpoint.addresses}
    for record in records.endpoints:
        other = record.endpoint
        if other.bridge != endpoint.bridge or other.host_end == endpoint.host_end:
            continue
        why, hints = f"{other.sandbox.target} ({other.ifname}) has it", ("nettool gc, if that is gone",)
        if endpoint.mode == PASSTHRU:
            what = f"{endpoint.bridge} is taken: in mode {PASSTHRU} one has it alone"
            findings.problem(what, why, hints=hints)
        for address in addresses & {cidr.partition("/")[0] for cidr in other.addresses}:
            findings.problem(f"address {address} is in use", why, hints=hints)


def _left_by(
    before: Record | None, known: Record | None, facts: Facts, findings: Findings
) -> tuple[Step, ...]:
    """Return the steps that take the name of a sandbox away that has died.

    Rules of its ports carry the same mark as this endpoint's would: they have to go before.
    """
    if before is None or before is known:
        return ()
    if before.endpoint.ports:
        findings.problem(
            f"rules of {before.endpoint.sandbox.target} are left, which is gone",
            "the kernel has given its namespace's number to this one",
            hints=("nettool gc",),
        )
    from nettool.detaching import inverse_of_sandbox  # it is seldom that a number is given again so soon

    return inverse_of_sandbox((before,), facts)


def _with_record(planned: Plan, endpoint: Endpoint, record: Record | None, before: Record | None) -> Plan:
    made = planned.made(record.made if record else ())
    recorded = _with_history(endpoint, record.endpoint) if record else endpoint
    # What a file said before is put back by a rollback, and not when the endpoint goes.
    recorded = replace(recorded, files=tuple(replace(file, before=None) for file in recorded.files))
    return replace(planned, changes=(Change(Record(recorded, planned.dialect, made), before),))


def _with_history(endpoint: Endpoint, before: Endpoint) -> Endpoint:
    """Return an endpoint with what it once took the place of: today's facts no longer show that."""
    sandbox = endpoint.sandbox
    named = sandbox.named_by_plan or before.sandbox.named_by_plan
    return replace(
        endpoint,
        sandbox=replace(sandbox, named_by_plan=named),
        replaced=before.replaced or endpoint.replaced,
        ports=(*before.ports, *(port for port in endpoint.ports if port not in before.ports)),
        enable_ipv6=before.enable_ipv6 or endpoint.enable_ipv6,
    )
