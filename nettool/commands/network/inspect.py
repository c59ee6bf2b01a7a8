"""`nettool network inspect`: all that is known of one network, and who is on it."""

from __future__ import annotations

from nettool.arguments import Operand, Verb
from nettool.commands.options import JSON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> None:
    """Carry out `nettool network inspect`."""
    from nettool import output
    from nettool.envelope import envelope
    from nettool.errors import TargetNotFound
    from nettool.model import Records
    from nettool.netlist import details, document, members
    from nettool.reading import wired
    from nettool.store.database import read_networks
    from nettool.store.rundir import read_records

    name = arguments.text("name") or ""
    record = Records(networks=read_networks()).network(name)
    if record is None:
        raise TargetNotFound(f"there is no network {name!r}", hints=("nettool network ls",))
    records = read_records()
    found = members(record, records, wired(records))
    if arguments.text("output") == "json":
        output.print_json(envelope("network", **document(record.network, found)))
    else:
        output.print_lines(details(record.network, found))


VERB = Verb(
    name="network inspect",
    summary="Show all that is known of a network, and which containers are on it.",
    run=run,
    operands=(Operand("name", "The network's name."),),
    options=(JSON,),
    examples=("nettool network inspect backend",),
)
