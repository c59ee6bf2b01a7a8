"""Plan a request: resolve it, lower it to steps, and hold the steps against the host's facts.

Pure: the same request, facts and records always give the same plan.
"""

from __future__ import annotations

from nettool import iproute
from nettool.checks import check_attach
from nettool.drivers import bridge
from nettool.errors import Refused
from nettool.iproute import CLASSIC, MODERN
from nettool.plan import Change, Command, Plan, Status
from nettool.request import Attach
from nettool.resolve import Findings, check_dialect, parse_attach, resolve_attach, resolve_sandbox
from nettool.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from nettool.facts import Facts
    from nettool.model import Endpoint, Records, Sandbox
    from nettool.plan import Step
    from nettool.request import Request


def plan(request: Request, facts: Facts, records: Records) -> Plan:
    """Plan a request.

    Raises UsageError for what no host could do, TargetNotFound for ambiguity, and Refused for what
    could not be shown.
    """
    if isinstance(request, Attach):
        planned = plan_attach(request, facts, records)
    else:
        from nettool.detaching import plan_detach  # most calls attach

        planned = plan_detach(request, facts, records)
    _check_words(planned)
    return planned


def check(request: Request) -> None:
    """Refuse a request that no host could carry out, before any host is read. Raises UsageError."""
    if isinstance(request, Attach):
        parse_attach(request)
    else:
        check_dialect(request.dialect)


def _check_words(planned: Plan) -> None:
    """Refuse a plan with a word that no terminal, script or file could show as it is.

    A container can give an interface any name, and a facts file any path.
    """
    commands = (c for s in planned.steps for c in (s.do, s.undo) if isinstance(c, Command))
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
    return replace(planned, changes=(Change(recorded, present=True, made=made),))


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


def lower(endpoint: Endpoint, dialect: str) -> tuple[Step, ...]:
    """Return the whole procedure for an endpoint, in order."""
    return (
        *name_sandbox(endpoint.sandbox, dialect),
        *bridge.plug(endpoint, dialect),
        *bridge.join(endpoint, dialect),
    )


def name_sandbox(sandbox: Sandbox, dialect: str) -> tuple[Step, ...]:
    """Return the steps that give the sandbox's namespace a name, when it has none."""
    if not sandbox.named_by_plan:
        return ()
    if dialect == MODERN and sandbox.pid is not None:
        return (iproute.attach_netns_name(sandbox),)
    return (iproute.make_netns_folder(), iproute.link_netns_name(sandbox))


def choose_dialect(wanted: str, facts: Facts) -> str:
    """Return the dialect to write: `auto` is classic where the host has brctl."""
    if wanted != "auto":
        return wanted
    return CLASSIC if facts.has_tool("brctl") else MODERN


def check_tools(steps: Iterable[Step], facts: Facts, findings: Findings) -> None:
    """Find the programs that the steps need and the host has not."""
    needed = dict.fromkeys(word for step in steps for word in _programs(step))
    for tool in needed:
        if not facts.has_tool(tool):
            package = iproute.PACKAGES.get(tool, tool)
            other = ("--dialect modern",) if tool == "brctl" else ()
            findings.problem(
                f"{tool} is not installed", f"the package {package} has it",
                hints=(f"apt-get install {package}", *other),
            )  # fmt: skip


def _programs(step: Step) -> tuple[str, ...]:
    words = step.do.words()
    return tuple(dict.fromkeys((words[0], step.do.argv[0])))
