"""`nettool sandbox ls`: list the named network namespaces."""

from __future__ import annotations

from nettool.arguments import Verb
from nettool.commands.options import JSON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> None:
    """Carry out `nettool sandbox ls`."""
    from nettool import output
    from nettool.boxlist import boxes, table
    from nettool.envelope import envelope
    from nettool.host import read_facts
    from nettool.sandboxes import find_all

    found = boxes(read_facts(find_all()))
    if arguments.text("output") == "json":
        output.print_json(envelope("sandboxes", sandboxes=[box.document() for box in found]))
    else:
        output.print_lines(table(found))


VERB = Verb(
    name="sandbox ls",
    summary="List the named sandboxes, who made each, and what is in it.",
    run=run,
    options=(JSON,),
    examples=("nettool sandbox ls", "nettool sandbox ls -o json"),
)
