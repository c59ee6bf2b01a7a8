"""A plan as text: the bare commands, the JSON document, the line that says what was done. Pure."""

from __future__ import annotations

from nettool.codec import encode
from nettool.envelope import envelope
from nettool.plan import Command, GoesWith, Status, Stays

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nettool.facts import Facts
    from nettool.plan import Decision, Plan, Problem, Step


def commands(planned: Plan, *, explain: bool = False) -> str:
    """Return the commands that would run, one a line, ready for `| sudo sh -ex`.

    Comments hold nettool's own words alone: in a comment, text from elsewhere could bring a
    newline, and what follows it would run.
    """
    lines: list[str] = []
    for decision in planned.decisions:
        step = decision.step
        lines.append(f"# {step.why}" + (f" ({decision.status.value})" if _idle(decision) else ""))
        if _idle(decision):
            continue
        lines.append(step.do.typed())
        if explain and isinstance(step.undo, Command):
            # A quoted word cannot bring a newline into the comment: such a plan is not explained.
            undo = step.undo.typed()
            lines += [f"#   undo: {undo}"] if undo.isprintable() else []
    return "".join(f"{line}\n" for line in lines) or "# nothing to do\n"


def _idle(decision: Decision) -> bool:
    return decision.status is not Status.TODO


def document(planned: Plan, facts: Facts) -> dict[str, Any]:
    """Return a plan as a JSON document: what `--export plan.json` saves and `-o json` prints."""
    return envelope(
        "plan",
        title=planned.title,
        request=encode(planned.request),
        dialect=planned.dialect,
        host={"boot_id": facts.boot_id, "hostname": facts.hostname},
        sandboxes=[encode(sandbox) for sandbox in planned.sandboxes],
        steps=[step_document(number, d) for number, d in enumerate(planned.decisions, 1)],
        notes=list(planned.notes),
        problems=[_problem_document(problem) for problem in planned.problems],
    )


def step_document(number: int, decision: Decision) -> dict[str, Any]:
    """Return one step of a plan as a JSON value."""
    step = decision.step
    return {
        "number": number,
        "where": where(step),
        "command": list(step.do.words()),
        "input": step.do.stdin,
        "undo": list(step.undo.words()) if isinstance(step.undo, Command) else None,
        "goes_with": step.undo.key if isinstance(step.undo, GoesWith) else None,
        "stays": step.undo.why if isinstance(step.undo, Stays) else None,
        "why": step.why,
        "scope": step.scope.value,
        "makes": step.makes.sentence(),
        "status": decision.status.value,
        "found": decision.found or None,
    }


def where(step: Step) -> str:
    """Return where a step works: the host, or the sandbox by its name."""
    return step.do.netns.name if step.do.netns else "host"


def _problem_document(problem: Problem) -> dict[str, Any]:
    return {"what": problem.what, "why": list(problem.why), "try": list(problem.hints)}


def outcome_line(planned: Plan, *, applied: bool) -> str:
    """Return the line that a person reads after a plan has been carried out."""
    if not applied:
        return f"nothing to do: {planned.title}"
    count = len(planned.to_do)
    steps = f"{count} command{'' if count == 1 else 's'}"
    lines = [f"done: {planned.title} ({steps}, verified)"]
    for change in planned.changes:
        endpoint = change.endpoint
        if change.present and not planned.inverse:
            end = endpoint.kind if endpoint.on_parent else endpoint.host_end
            addresses = ", ".join(endpoint.addresses)
            lines.append(f"  {endpoint.ifname} {addresses}  <->  {end} on {endpoint.bridge}")
    return "\n".join(lines)


def outcome_document(planned: Plan, run: str | None, wait: int = 0) -> dict[str, Any]:
    """Return what became of a plan as a JSON document; `run` is None when nothing was to do.

    `confirm_within` is how many seconds there are to confirm it, 0 for no need.
    """
    applied = run is not None
    return envelope(
        "outcome",
        title=planned.title,
        applied=applied,
        run=run,
        confirm_within=wait,
        commands=[list(step.do.words()) for step in planned.to_do] if applied else [],
        endpoints=[{"present": c.present, **encode(c.endpoint)} for c in planned.changes],
        notes=list(planned.notes),
    )
