"""`nettool apply`: carry out a saved plan, if the host still is the one it was made for."""

from __future__ import annotations

from nettool.arguments import Kind, Operand, Option, Verb
from nettool.commands.options import APPLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> int:
    """Carry out `nettool apply`."""
    from nettool.pipeline import Mode  # help needs none of it
    from nettool.savedplan import apply_saved

    return apply_saved(arguments.text("file") or "-", Mode.of(arguments))


VERB = Verb(
    name="apply",
    summary="Carry out a saved plan.",
    description="The plan is made again from its request, and refused (exit 4) when this is no longer the "
    "host it was made for, with what differs. No command is ever taken from the file.",
    run=run,
    operands=(Operand("file", "The plan, from --export plan.json; - is standard input."),),
    options=(
        Option(("--dry-run", "-n"), "Say what differs, and show the plan; change nothing.", Kind.FLAG),
        *APPLY,
    ),
    examples=("nettool attach --pid 1310 --ip 172.17.0.10/16 --export plan.json", "nettool apply plan.json"),
)
