"""`nettool history`: what nettool has done on this host since it was started."""

from __future__ import annotations

from nettool.arguments import Operand, Verb
from nettool.commands.options import JSON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> None:
    """Carry out `nettool history`."""
    from nettool import output
    from nettool.confirmation import is_due
    from nettool.envelope import envelope
    from nettool.history import NOT_CONFIRMED
    from nettool.journal import ENDED, OPEN, read_runs
    from nettool.pastruns import details, entry, table
    from nettool.undoing import choose
    from nettool.value import replace

    still_open = (replace(r, end=NOT_CONFIRMED) if r.pending and is_due(r) else r for r in read_runs(OPEN))
    runs = tuple(sorted((*read_runs(ENDED), *still_open), key=lambda each: each.id))
    name = arguments.text("run")
    chosen = runs if name is None else (choose(name, runs),)
    if arguments.text("output") == "json":
        output.print_json(
            envelope("history", runs=[entry(each, runs, steps=name is not None) for each in chosen])
        )
    else:
        output.print_lines(table(runs) if name is None else details(chosen[0], runs))


VERB = Verb(
    name="history",
    summary="List what nettool has done on this host since it was started.",
    description="The last fifty runs, oldest first: when, what became of each, and the id for "
    "`nettool undo`. With an id, each of that run's commands.",
    run=run,
    operands=(Operand("run", "One run's id, or its beginning.", required=False),),
    options=(JSON,),
    examples=("nettool history", "nettool history 19aa3f07c1b-2210", "nettool history -o json"),
)
