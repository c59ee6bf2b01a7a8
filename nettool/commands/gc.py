"""`nettool gc`: clear away what sandboxes that are gone have left."""

from __future__ import annotations

from nettool.arguments import Verb
from nettool.commands.options import DRY_RUN, EXPLAIN, JSON, LOCK_TIMEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> int:
    """Carry out `nettool gc`."""
    from nettool import output
    from nettool.envelope import envelope
    from nettool.gathering import gather
    from nettool.pipeline import Mode

    found = gather(Mode.of(arguments))
    if arguments.text("output") == "json":
        output.print_json(envelope("gc", **found.document()))
    else:
        output.print_lines(found.lines())
    for name in found.strange:
        output.note_line(
            f"left alone: /var/run/netns/{name} leads to no namespace, but no record says that it is ours"
        )
    return 0


VERB = Verb(
    name="gc",
    summary="Clear away what containers that are gone have left behind.",
    description="Names of dead namespaces, cables that lead nowhere, rules of published ports whose "
    "container is gone, and the records of all that: only what nettool made, by its records or by its mark. "
    "Each sandbox's leftovers go as a whole, or stay.",
    run=run,
    options=(DRY_RUN, EXPLAIN, JSON, LOCK_TIMEOUT),
    examples=("nettool gc --dry-run", "nettool gc"),
)
