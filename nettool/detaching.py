"""Plan to detach: find the endpoints that are meant, lower them again, and turn the steps round.

An endpoint is known from its record, or, where an exported script made it, from the mark in the
name of its host end. What nettool did not make is never in the plan.
"""

from __future__ import annotations

from nettool import naming
from nettool.effects import NetnsName
from nettool.errors import Refused, TargetNotFound
from nettool.interfaces import cabled, interface_of, marked
from nettool.iproute import CLASSIC, MODERN
from nettool.leaving import along_with
from nettool.lowering import check_tools, choose_dialect, lower
from nettool.plan import Change, NetworkChange, Plan, Scope, inverse, is_to_do, needs_sandbox
from nettool.presence import PRESENT
from nettool.recognizing import Found, by_mark, recognize
from nettool.resolve import Findings, check_dialect, resolve_sandbox
from nettool.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nettool.facts import Facts, RouteFact
    from nettool.leaving import Along
    from nettool.model import Record, Records, Sandbox, Trace
    from nettool.plan import Step
    from nettool.request import Detach


def plan_detach(request: Detach, facts: Facts, records: Records) -> Plan:
    """Plan to take endpoints away.

    Raises Refused for an interface that nettool did not make, and TargetNotFound when it is not
    clear which endpoint is meant.
    """
    check_dialect(request.dialect)
    findings = Findings()
    sandbox = resolve_sandbox(request.target, facts, findings)
    there = tuple(r for r in endpoints_of(sandbox, facts, records) if not r.endpoint.foreign)
    if there:
        # What is left of a sandbox that is gone can be cleared away all the same.
        findings.problems = [problem for problem in findings.problems if not problem.not_running]
    chosen = _choose(request, there, sandbox, facts)
    staying = tuple(record for record in there if record not in chosen)
    dialect = choose_dialect(request.dialect, facts)
    as_they_are = tuple(_as_it_is(record, there, chosen, facts) for record in chosen)
    as_they_are = _handed_over(as_they_are, facts)
    along = along_with(as_they_are, staying, facts, records)
    steps = (
        *(step for record in as_they_are for step in inverse_of_endpoint(record, dialect)),
        *along.undone,
        *(() if staying else inverse_of_sandbox(chosen, facts)),
    )
    check_tools(steps, facts, findings)
    _check_way_in(steps, facts, findings)
    names = ", ".join(record.endpoint.ifname for record in chosen) or request.ifname or "what nettool made"
    return Plan(
        request=request,
        title=f"detach {names} from {sandbox.target}",
        dialect=dialect,
        steps=steps,
        sandboxes=(sandbox,) if sandbox.netns.inode is not None else (),
        changes=(*(Change(None, r) for r in chosen), *_inherit(chosen, staying, there, along, records)),
        networks=tuple(_forgotten(chosen, sandbox, records)),
        problems=tuple(findings.problems),
        notes=tuple(findings.notes),
        inverse=True,
        restores=(
            *along.restores(facts),
            *(step for record in as_they_are for step in restore(record, facts)),
        ),
    ).against(facts)


def _check_way_in(steps: tuple[Step, ...], facts: Facts, findings: Findings) -> None:
    """Find what has to be done in a namespace that has lost its name."""
    wanted = {s.do.netns.name: s.do.netns for s in steps if s.do.netns and is_to_do(s, facts)}
    for name, netns in wanted.items():
        if facts.netns_name(name) is None:
            where = next((s.path for s in facts.sandboxes if s.inode == netns.inode), "/proc/PID/ns/net")
            findings.problem(
                f"the sandbox's namespace is no longer called {name}",
                "what is in it is removed under that name",
                hints=(f"ln -s {where} /var/run/netns/{name}",),
            )


def _forgotten(chosen: tuple[Record, ...], sandbox: Sandbox, records: Records) -> Iterator[NetworkChange]:
    """Forget that a sandbox is to be on the networks that it is taken off."""
    bridges = {record.endpoint.bridge for record in chosen}
    for record in records.networks:
        if record.network.bridge in bridges:
            after = record
            for name in sandbox.names:
                after = after.with_connection(name, None)
            if after != record:
                yield NetworkChange(after, record)


def endpoints_of(sandbox: Sandbox, facts: Facts, records: Records) -> tuple[Record, ...]:
    """Return nettool's endpoints in a sandbox: those on record, and those that carry the mark."""
    known = tuple(
        _with_trace(record, records.trace(record.endpoint.host_end))
        for record in records.endpoints
        if _is_of(record.endpoint.sandbox, sandbox)
    )
    inside = facts.namespace(sandbox.netns)
    if inside is None:
        return known
    on_record = {record.endpoint.host_end for record in known}
    nameless = replace(sandbox, named_by_plan=False)
    rules = by_mark(facts)
    found = (
        Found(present, rules.get(present.host_end, ()), records.trace(present.host_end))
        for present in (*cabled(facts, inside), *marked(facts, inside))
        if (naming.is_marked(present.host_end) or records.trace(present.host_end))
        and present.host_end not in on_record
    )
    adopted = (recognize(each, nameless, facts) for each in found)
    return tuple(sorted((*known, *adopted), key=lambda record: record.endpoint.ifname))


def _with_trace(record: Record, trace: Trace | None) -> Record:
    """Add what a script has left to an endpoint that stays: the name of the sandbox's namespace."""
    names = tuple(line for line in trace.lines if line.startswith("netns ")) if trace else ()
    new = tuple(name for name in names if name not in record.made)
    if not new:
        return record
    sandbox = replace(record.endpoint.sandbox, named_by_plan=True)
    endpoint = replace(record.endpoint, sandbox=sandbox)
    return replace(record, endpoint=endpoint, made=(*record.made, *new))


def _is_of(known: Sandbox, sandbox: Sandbox) -> bool:
    # A container that was restarted has the same name and another namespace.
    if sandbox.netns.inode is None:
        return not set(known.names).isdisjoint(sandbox.names)
    return known.netns.inode == sandbox.netns.inode


def _choose(request: Detach, there: tuple[Record, ...], sandbox: Sandbox, facts: Facts) -> tuple[Record, ...]:
    if request.every:
        return there
    if request.ifname is None:
        if len(there) > 1:
            names = ", ".join(record.endpoint.ifname for record in there)
            raise TargetNotFound(
                f"{sandbox.target} has several endpoints: {names}",
                hints=(f"--ifname {there[0].endpoint.ifname}", "--all"),
            )
        return there
    chosen = tuple(record for record in there if record.endpoint.ifname == request.ifname)
    inside = facts.namespace(sandbox.netns)
    link = inside.link(request.ifname) if inside else None
    if not chosen and link is not None:
        raise Refused(
            f"{request.ifname} of {sandbox.target} was not made by nettool",
            why=("it is on no record and its other end does not carry the mark nt…",),
            hints=("nettool show",),
        )
    return chosen


def _as_it_is(record: Record, there: tuple[Record, ...], leaving: tuple[Record, ...], facts: Facts) -> Record:
    """Return an endpoint's record as it has to be taken away now, whatever was renamed or removed.

    Default routes cannot be put back by an interface that is gone, or goes, too.
    """
    inside = facts.namespace(record.endpoint.sandbox.netns)
    current = renamed(record, facts)
    gone = {each.endpoint.ifname for each in leaving}
    here: set[str | None] = {link.name for link in inside.links} if inside else set()
    return _followed_up(current, there, here - gone)


def _handed_over(leaving: tuple[Record, ...], facts: Facts) -> tuple[Record, ...]:
    """Let whose default route is there put back what one that has lost its interface had replaced."""
    records = list(leaving)
    for lost in leaving:
        if interface_of(lost.endpoint, facts) is not None:
            continue
        for old in lost.endpoint.replaced:
            at = next((n for n, each in enumerate(records) if _holds_default(each, old.family, facts)), None)
            if at is not None:
                holder = records[at].endpoint
                endpoint = replace(holder, replaced=(*holder.replaced, old))
                records[at] = replace(records[at], endpoint=endpoint)
    return tuple(records)


def _holds_default(record: Record, family: int, facts: Facts) -> bool:
    """Whether an endpoint's default route is there, and took no other one's place."""
    endpoint = record.endpoint
    inside = facts.namespace(endpoint.sandbox.netns)
    if inside is None or any(old.family == family for old in endpoint.replaced):
        return False
    own = {(route.via, route.link) for route in endpoint.routes if _is_default(route, family)}
    return any((have.via, have.link) in own for have in inside.routes if _is_default(have, family))


def _is_default(route: RouteFact, family: int) -> bool:
    return route.destination == "default" and route.family == family


def renamed(record: Record, facts: Facts) -> Record:
    """Return an endpoint's record with the name that its interface has by now."""
    endpoint = record.endpoint
    inner = interface_of(endpoint, facts)
    if inner is None or inner.name == endpoint.ifname:
        return record
    routes = tuple(replace(route, link=inner.name) for route in endpoint.routes)
    current = replace(endpoint, ifname=inner.name, routes=routes)
    steps = zip(lower(endpoint, record.dialect), lower(current, record.dialect), strict=True)
    keys = {before.makes.key: after.makes.key for before, after in steps}
    return replace(record, endpoint=current, made=tuple(keys.get(key, key) for key in record.made))


def _followed_up(record: Record, there: tuple[Record, ...], here: set[str | None]) -> Record:
    """Replace the default routes of interfaces that are not here by those that they had replaced."""
    found = (_put_back(route, there, here) for route in record.endpoint.replaced)
    replaced = tuple(route for route in found if route is not None)
    return replace(record, endpoint=replace(record.endpoint, replaced=replaced))


def _put_back(route: RouteFact, there: tuple[Record, ...], here: set[str | None]) -> RouteFact | None:
    older: RouteFact | None = route
    seen: set[str | None] = set()
    while older is not None and older.link not in here and older.link not in seen:
        seen.add(older.link)
        owner = next((each.endpoint for each in there if each.endpoint.ifname == older.link), None)
        of_owner = (each for each in owner.replaced if each.family == route.family) if owner else iter(())
        older = next(of_owner, None)
    return older if older is not None and older.link in here else None


def inverse_of_endpoint(record: Record, dialect: str) -> tuple[Step, ...]:
    """Return the steps that take an endpoint away, as far as nettool made it."""
    steps = lower(record.endpoint, dialect)
    return inverse(s for s in steps if s.scope is Scope.ENDPOINT and s.makes.key in record.made)


def inverse_of_sandbox(chosen: tuple[Record, ...], facts: Facts) -> tuple[Step, ...]:
    """Return the steps that take the namespace's name back, in the way that it was given."""
    steps: dict[str, Step] = {}
    for record in chosen:
        entry = facts.netns_name(record.endpoint.sandbox.netns.name)
        mounted = entry is not None and entry.symlink is None
        for step in lower(record.endpoint, MODERN if mounted else CLASSIC):
            if step.scope is Scope.SANDBOX and step.makes.key in record.made:
                steps[step.makes.key] = step
    return inverse(steps.values())


def restore(record: Record, facts: Facts) -> tuple[Step, ...]:
    """Return the procedure that makes what there is of an endpoint again, MACs included."""
    host_end = facts.host.link(record.endpoint.host_end)
    inside = facts.namespace(record.endpoint.sandbox.netns)
    inner = inside.link(record.endpoint.ifname) if inside else None
    endpoint = replace(
        record.endpoint,
        host_mac=host_end.mac if host_end else None,
        mac=inner.mac if inner and record.endpoint.has_mac else record.endpoint.mac,
    )
    steps = (s for s in lower(endpoint, record.dialect) if s.makes.key in record.made)
    if inside is None:
        steps = (s for s in steps if not needs_sandbox(s))
    elif interface_of(record.endpoint, facts) is None:
        # What has its name by now is another endpoint's.
        steps = (s for s in steps if not s.touches or isinstance(s.makes, NetnsName))
    return tuple(s for s in steps if s.makes.state(facts) == PRESENT)


def _inherit(
    chosen: tuple[Record, ...],
    staying: tuple[Record, ...],
    there: tuple[Record, ...],
    along: Along,
    records: Records,
) -> Iterator[Change]:
    """Hand on what endpoints that stay take back at their end.

    That is the sandbox's name, to one of them, the default routes that were replaced twice, and what
    published ports share.
    """
    near = {each.endpoint.host_end for each in there}
    yield from along.heirs(r for r in records.endpoints if r.endpoint.host_end not in near)
    if not staying or not chosen:
        return
    here = {None, *(route.link for each in there for route in each.endpoint.replaced)}
    here -= {each.endpoint.ifname for each in chosen}
    heirs = (_name_handed(chosen, staying[0]), *staying[1:])
    for heir, before in zip(heirs, staying, strict=True):
        after = along.heir(_followed_up(heir, there, here))
        if after != before:
            yield Change(after, before)


def _name_handed(chosen: tuple[Record, ...], heir: Record) -> Record:
    handed = tuple(
        step.makes.key
        for record in chosen
        for step in lower(record.endpoint, CLASSIC)
        if step.scope is Scope.SANDBOX and step.makes.key in record.made and step.makes.key not in heir.made
    )
    if not handed:
        return heir
    sandbox = replace(heir.endpoint.sandbox, named_by_plan=True, netns=chosen[0].endpoint.sandbox.netns)
    endpoint = replace(heir.endpoint, sandbox=sandbox)
    return replace(heir, endpoint=endpoint, made=(*heir.made, *handed))
