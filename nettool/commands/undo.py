"""`nettool undo`: take back what a run of the past did."""

from __future__ import annotations

from nettool.arguments import Operand, Verb
from nettool.commands.options import APPLY, DRY_RUN, EXPLAIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> int:
    """Carry out `nettool undo`."""
    from nettool.pipeline import Mode, execute, take_back_waiting
    from nettool.request import Undo

    mode, name = Mode.of(arguments), arguments.text("run") or ""
    if not mode.dry_run and take_back_waiting(name, mode):
        return 0
    return execute(Undo(name), mode)


VERB = Verb(
    name="undo",
    summary="Take back what a run of nettool did.",
    description="Only what that run itself made or removed. It is refused when later work rests on it, "
    "with the run that has to be undone first. A run that waits to be confirmed is taken back at once.",
    run=run,
    operands=(Operand("run", "The run's id, or its beginning, from `nettool history`; or `last`."),),
    options=(DRY_RUN, EXPLAIN, *APPLY),
    examples=("nettool history", "nettool undo 19aa3f07c1b-2210 --dry-run", "nettool undo last"),
)
