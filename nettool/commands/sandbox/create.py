"""`nettool sandbox create`: make a named network namespace."""

from __future__ import annotations

from nettool.arguments import Operand, Verb
from nettool.commands.options import APPLY, DRY_RUN, EXPLAIN, EXPORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> int:
    """Carry out `nettool sandbox create`."""
    from nettool.pipeline import Mode, execute
    from nettool.request import CreateSandbox

    return execute(CreateSandbox(arguments.text("name") or ""), Mode.of(arguments))


VERB = Verb(
    name="sandbox create",
    summary="Make a named network namespace with only lo in it.",
    description="It stays until `nettool sandbox rm`, or a reboot, whether anything runs in it or not.",
    run=run,
    operands=(Operand("name", "The sandbox's name, as `ip netns` has it."),),
    options=(DRY_RUN, *EXPORT, EXPLAIN, *APPLY),
    examples=("nettool sandbox create blue", "nettool network connect backend netns:blue"),
)
