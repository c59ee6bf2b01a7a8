"""`nettool network ls`: list the networks."""

from __future__ import annotations

from nettool.arguments import Verb
from nettool.commands.options import JSON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> None:
    """Carry out `nettool network ls`."""
    from nettool import output
    from nettool.envelope import envelope
    from nettool.netlist import document, table
    from nettool.store.database import read_networks

    networks = tuple(record.network for record in read_networks())
    if arguments.text("output") == "json":
        output.print_json(envelope("networks", networks=[document(network) for network in networks]))
    else:
        output.print_lines(table(networks))


VERB = Verb(
    name="network ls",
    summary="List the networks of this host.",
    run=run,
    options=(JSON,),
    examples=("nettool network ls", "nettool network ls -o json"),
)
