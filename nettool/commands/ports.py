"""`nettool ports`: list the published ports."""

from __future__ import annotations

from nettool.arguments import Verb
from nettool.commands.options import JSON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> None:
    """Carry out `nettool ports`."""
    from nettool import output
    from nettool.envelope import envelope
    from nettool.netlist import port_documents, port_table
    from nettool.reading import records_for, wired
    from nettool.request import Collect

    records = records_for(Collect(""))
    if arguments.text("output") == "json":
        output.print_json(envelope("ports", ports=port_documents(records, wired(records))))
    else:
        output.print_lines(port_table(records, wired(records)))


VERB = Verb(
    name="ports",
    summary="List the ports that are published on this host.",
    run=run,
    options=(JSON,),
    examples=("nettool ports", "nettool ports -o json"),
)
