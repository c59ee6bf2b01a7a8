"""`nettool diff`: show what is on record and no longer so on the host."""

from __future__ import annotations

from nettool.arguments import Verb
from nettool.commands.options import EXPLAIN, JSON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from nettool.arguments import Arguments

CHANGES_PENDING: Final = 3


def run(arguments: Arguments) -> int:
    """Carry out `nettool diff`."""
    from nettool import output
    from nettool.envelope import envelope
    from nettool.pipeline import Mode
    from nettool.restoring import restore
    from nettool.value import replace

    found = restore(replace(Mode.of(arguments), dry_run=True))
    if arguments.text("output") == "json":
        output.print_json(envelope("diff", **found.document()))
    else:
        output.print_lines(found.missing() or ["no difference"])
    for failure in found.failures:
        output.warn(failure.what, *failure.why, hints=failure.hints)
    if found.plans:
        return CHANGES_PENDING
    return 1 if found.failures else 0


VERB = Verb(
    name="diff",
    summary="Show what is on record and no longer so on the host; exit 3 when there is something.",
    description="A line for each fact that somebody, or a restart, has undone. `nettool repair` makes it so "
    "again.",
    run=run,
    options=(EXPLAIN, JSON),
    examples=("nettool diff", "nettool diff -o json"),
)
