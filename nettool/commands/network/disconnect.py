"""`nettool network disconnect`: take a container off a network."""

from __future__ import annotations

from nettool.arguments import Operand, Verb
from nettool.commands.options import APPLY, DIALECT, DRY_RUN, EXPLAIN, EXPORT, WHOM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> int:
    """Carry out `nettool network disconnect`."""
    from nettool.pipeline import Mode, execute
    from nettool.request import Disconnect
    from nettool.sandboxes import parse_target

    request = Disconnect(
        network=arguments.text("network") or "",
        target=parse_target(arguments.text("target") or ""),
        dialect=arguments.text("dialect") or "auto",
    )
    return execute(request, Mode.of(arguments))


VERB = Verb(
    name="network disconnect",
    summary="Take a container off a network again.",
    run=run,
    operands=(
        Operand("network", "The network's name."),
        WHOM,
    ),
    options=(DIALECT, DRY_RUN, *EXPORT, EXPLAIN, *APPLY),
    examples=("nettool network disconnect backend pid:1310",),
)
