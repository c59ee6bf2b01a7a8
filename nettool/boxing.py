"""Plan to make named sandboxes and to remove them again. Pure."""

from __future__ import annotations

from nettool import naming, netns
from nettool.detaching import endpoints_of
from nettool.errors import TargetNotFound, UsageError
from nettool.lowering import check_tools
from nettool.netnseffects import MARK, loopback
from nettool.plan import Plan, Problem, inverse
from nettool.request import Target
from nettool.resolve import Findings, resolve_sandbox

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.facts import Facts
    from nettool.model import Records
    from nettool.plan import Step
    from nettool.request import CreateSandbox, RemoveSandbox


def check_name(name: str) -> None:
    """Refuse what can be no name of a namespace. Raises UsageError."""
    if not naming.is_netns_name(name):
        raise UsageError(
            f"{name!r} cannot be the name of a sandbox",
            why=("letters, digits, '_', '.' and '-', beginning with a letter or a digit",),
        )


def plan_create_sandbox(request: CreateSandbox, facts: Facts) -> Plan:
    """Plan to make a named namespace with `lo` up in it."""
    findings = Findings()
    if facts.netns_name(request.name) is not None and not _is_ours(request.name, facts):
        findings.problem(
            f"there is a namespace {request.name} already", "nettool did not make it",
            hints=(f"nettool network connect NETWORK netns:{request.name}",),
        )  # fmt: skip
    steps = _steps(request.name)
    check_tools(steps, facts, findings)
    return Plan(
        request=request,
        title=f"create sandbox {request.name}",
        dialect="classic",
        steps=steps,
        sandboxes=(),
        changes=(),
        problems=tuple(findings.problems),
    ).against(facts)


def plan_remove_sandbox(request: RemoveSandbox, facts: Facts, records: Records) -> Plan:
    """Plan to remove a named namespace that nettool made. Raises TargetNotFound."""
    name, findings = request.name, Findings()
    if facts.netns_name(name) is None:
        raise TargetNotFound(f"there is no sandbox {name!r}", hints=("nettool sandbox ls",))
    if not _is_ours(name, facts):
        findings.problem(f"the namespace {name} was not made by nettool", "its lo does not carry the mark")
    target = f"netns:{name}"
    sandbox = resolve_sandbox(Target("netns", name), facts, Findings())
    there = endpoints_of(sandbox, facts, records)
    if there:
        findings.problem(
            f"sandbox {name} has endpoints", ", ".join(record.endpoint.ifname for record in there),
            hints=(f"nettool detach --netns {name} --all",),
        )  # fmt: skip
    found = facts.sandbox(target)
    if found is not None and found.pid is not None:
        # It may be there for a look, as a survey of nettool's own is.
        why = (f"process {found.pid} runs in it",)
        findings.problems.append(Problem(f"sandbox {name} is in use", why, passing=True))
    steps = _steps(name)
    undone = inverse(steps)
    check_tools(undone, facts, findings)
    return Plan(
        request=request,
        title=f"remove sandbox {name}",
        dialect="classic",
        steps=undone,
        sandboxes=(),
        changes=(),
        problems=tuple(findings.problems),
        inverse=True,
        restores=tuple(step for step in steps if step.makes.state(facts).is_present),
    ).against(facts)


def _steps(name: str) -> tuple[Step, ...]:
    made = netns.add_netns(name)
    return made, netns.mark_loopback(name, with_key=made.makes.key)


def _is_ours(name: str, facts: Facts) -> bool:
    lo = loopback(name, facts)
    return lo is not None and lo.alias == MARK
