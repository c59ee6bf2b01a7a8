"""`nettool adopt`: put on record what is on the host and is not."""

from __future__ import annotations

from nettool.arguments import Kind, Option, Verb
from nettool.commands.options import DRY_RUN, JSON, LOCK_TIMEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments
    from nettool.facts import Facts
    from nettool.plan import Plan


def run(arguments: Arguments) -> int:
    """Carry out `nettool adopt`."""
    from nettool import adopting, output
    from nettool.envelope import envelope
    from nettool.pipeline import Mode, change, make_plan, unmet
    from nettool.reading import facts_reader, records_for
    from nettool.request import Adopt
    from nettool.value import replace

    request = Adopt(arguments.text("bridge"), arguments.text("name"), arguments.flag("keep_names"))
    mode = Mode.of(arguments)
    plans: list[tuple[Plan, Facts]] = []
    if mode.dry_run:
        plans.append(make_plan(request, facts_reader(request, None)))
    else:
        change(request, replace(mode, quiet=True), lambda planned, facts: plans.append((planned, facts)))
    planned, facts = plans[0]
    left = adopting.left_alone(request, facts, records_for(request))
    if arguments.text("output") == "json":
        output.print_json(envelope("adopt", done=not mode.dry_run, **adopting.document(planned, left)))
    else:
        verb = "would adopt" if mode.dry_run else "adopted"
        output.print_lines([f"{verb} {line}" for line in adopting.lines(planned)] or ["nothing to adopt"])
        for note in planned.notes:
            output.note_line(note)
    for each in left:
        output.warn(f"left alone: {each.what}", *each.why, hints=each.hints)
    return unmet(planned) or (1 if left else 0)


VERB = Verb(
    name="adopt",
    summary="Put on record what is on the host and is not: what lost its record, or a script made.",
    description="Interfaces are known by the mark in their names, networks and ports by that of their rules. "
    "With --bridge, a bridge that nettool did not make becomes a network; it is never removed. Nothing but "
    "records is changed.",
    run=run,
    options=(
        Option(("--bridge",), "A bridge that is there, as a network.", metavar="NAME"),
        Option(("--name",), "What that network is called.", metavar="NAME"),
        Option(
            ("--keep-names",),
            "Take no name of a namespace for nettool's own: it stays when its endpoints go.",
            Kind.FLAG,
        ),
        DRY_RUN,
        JSON,
        LOCK_TIMEOUT,
    ),
    examples=("nettool adopt --dry-run", "nettool adopt", "nettool adopt --bridge br0 --name lab"),
)
