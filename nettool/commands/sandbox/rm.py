"""`nettool sandbox rm`: remove a named network namespace."""

from __future__ import annotations

from nettool.arguments import Operand, Verb
from nettool.commands.options import APPLY, DRY_RUN, EXPLAIN, EXPORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> int:
    """Carry out `nettool sandbox rm`."""
    from nettool.pipeline import Mode, execute
    from nettool.request import RemoveSandbox

    return execute(RemoveSandbox(arguments.text("name") or ""), Mode.of(arguments))


VERB = Verb(
    name="sandbox rm",
    summary="Remove a sandbox that nettool made, when nothing is in it any more.",
    run=run,
    operands=(Operand("name", "The sandbox's name."),),
    options=(DRY_RUN, *EXPORT, EXPLAIN, *APPLY),
    examples=("nettool sandbox rm blue",),
)
