"""Plan a request: resolve it, lower it to steps, and hold the steps against the host's facts.

Pure: the same request, facts and records always give the same plan.
"""

from __future__ import annotations

from nettool.checks import check_attach
from nettool.errors import Refused
from nettool.lowering import check_tools, choose_dialect, lower
from nettool.model import Record
from nettool.plan import Change, Command, Plan, Status
from nettool.request import Attach, CreateNetwork, Detach, RemoveNetwork, Undo
from nettool.resolve import Findings, check_dialect, parse_attach, resolve_attach, resolve_sandbox
from nettool.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.facts import Facts
    from nettool.model import Endpoint, Records
    from nettool.request import Request


def plan(request: Request, facts: Facts, records: Records) -> Plan:
    """Plan a request.

    Raises UsageError for what no host could do, TargetNotFound for ambiguity, and Refused for what
    could not be shown.
    """
    if isinstance(request, Attach):
        planned = plan_attach(request, facts, records)
    elif isinstance(request, Detach):
        from nettool.detaching import plan_detach  # most calls attach

        planned = plan_detach(request, facts, records)
    elif isinstance(request, Undo):
        from nettool.undoing import plan_undo

        planned = plan_undo(request, facts, records)
    elif isinstance(request, CreateNetwork):
        from nettool.networks import plan_create

        planned = plan_create(request, facts, records)
    elif isinstance(request, RemoveNetwork):
        from nettool.networks import plan_remove

        planned = plan_remove(request, facts, records)
    else:
        from nettool.collecting import plan_collect

        planned = plan_collect(request, facts, records)
    _check_words(planned)
    return planned


def check(request: Request) -> None:
    """Refuse a request that no host could carry out, before any host is read. Raises UsageError."""
    if isinstance(request, Attach):
        parse_attach(request)
    elif isinstance(request, Detach):
        check_dialect(request.dialect)
    elif isinstance(request, CreateNetwork):
        from nettool.networks import check_create

        check_create(request)


def _check_words(planned: Plan) -> None:
    """Refuse a plan with a word that no terminal, script or file could show as it is.

    A container can give an interface any name, and a facts file any path.
    """
    commands = (
        c for s in (*planned.steps, *planned.restores) for c in (s.do, s.undo) if isinstance(c, Command)
    )
    odd = next((word for command in commands for word in command.words() if not word.isprintable()), None)
    if odd is not None:
        raise Refused(
            f"cannot plan with {odd!a}",
            why=("a name or path on this host has characters that cannot be shown",),
            hints=("rename it",),
        )


def plan_attach(request: Attach, facts: Facts, records: Records) -> Plan:
    """Plan to give a sandbox an interface on a bridge."""
    known = tuple(record.endpoint.host_end for record in records.endpoints)
    wanted = replace(parse_attach(request), known_ends=known)
    findings = Findings()
    sandbox = resolve_sandbox(request.target, facts, findings)
    endpoint = resolve_attach(wanted, sandbox, facts, findings)
    dialect = choose_dialect(request.dialect, facts)
    steps = lower(endpoint, dialect)
    check_attach(wanted, endpoint, facts, findings)
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
    return _with_record(planned, endpoint, records)


def _with_record(planned: Plan, endpoint: Endpoint, records: Records) -> Plan:
    record = records.endpoint(endpoint.host_end)
    before = record.made if record else ()
    done = tuple(d.step.makes.key for d in planned.decisions if d.status is Status.TODO)
    made = (*before, *(key for key in done if key not in before))
    recorded = _with_history(endpoint, record.endpoint) if record else endpoint
    return replace(planned, changes=(Change(Record(recorded, planned.dialect, made), record),))


def _with_history(endpoint: Endpoint, before: Endpoint) -> Endpoint:
    """Return an endpoint with what it once took the place of: today's facts no longer show that."""
    sandbox = endpoint.sandbox
    named = sandbox.named_by_plan or before.sandbox.named_by_plan
    return replace(
        endpoint,
        sandbox=replace(sandbox, named_by_plan=named),
        replaced=before.replaced or endpoint.replaced,
        enable_ipv6=before.enable_ipv6 or endpoint.enable_ipv6,
    )
