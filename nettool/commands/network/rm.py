"""`nettool network rm`: remove a network that nobody is on."""

from __future__ import annotations

from nettool.arguments import Operand, Verb
from nettool.commands.options import APPLY, DRY_RUN, EXPLAIN, EXPORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> int:
    """Carry out `nettool network rm`."""
    from nettool.pipeline import Mode, execute
    from nettool.request import RemoveNetwork

    return execute(RemoveNetwork(arguments.text("name") or ""), Mode.of(arguments))


VERB = Verb(
    name="network rm",
    summary="Remove a network that no container is on.",
    description="What create made goes: the bridge, its rules, and with the last network the chains. A "
    "bridge that was there before stays, and so does forwarding.",
    run=run,
    operands=(Operand("name", "The network's name."),),
    options=(DRY_RUN, *EXPORT, EXPLAIN, *APPLY),
    examples=("nettool network rm backend --dry-run", "nettool network rm backend"),
)
