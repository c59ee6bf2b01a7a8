"""`nettool network prune`: remove the networks that nobody is on."""

from __future__ import annotations

from nettool.arguments import Verb
from nettool.commands.options import DRY_RUN, EXPLAIN, JSON, LOCK_TIMEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> int:
    """Carry out `nettool network prune`."""
    from nettool import output
    from nettool.envelope import envelope
    from nettool.gathering import prune
    from nettool.pipeline import Mode

    found = prune(Mode.of(arguments))
    if arguments.text("output") == "json":
        output.print_json(envelope("prune", **found.document()))
    else:
        output.print_lines(found.lines())
    return 0


VERB = Verb(
    name="network prune",
    summary="Remove the networks that no container is on.",
    description="Each as `nettool network rm` does, in a run of its own.",
    run=run,
    options=(DRY_RUN, EXPLAIN, JSON, LOCK_TIMEOUT),
    examples=("nettool network prune --dry-run", "nettool network prune"),
)
