"""`nettool facts`: print what planning has to know of this host."""

from __future__ import annotations

import os

from nettool.arguments import Verb
from nettool.commands.options import TARGET, WHOM_OR_OPTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> None:
    """Carry out `nettool facts`."""
    from nettool import output
    from nettool.factsfile import facts_document
    from nettool.host import Reading
    from nettool.sandboxes import find, find_all, target_of

    target = target_of(arguments)
    sandboxes = find_all() if target is None else (find(target),)
    # Nobody else is shown the rules, nor the flows.
    root = os.geteuid() == 0
    reading = Reading(sandboxes, with_ipv6=True, with_firewall=root, with_traffic=root)
    output.print_json(facts_document(reading.finish()))


VERB = Verb(
    name="facts",
    summary="Print what planning has to know of this host, as JSON.",
    description="With `--facts FILE` a plan is made from it on another machine, without root. Without a "
    "target every sandbox of the host is in it.",
    run=run,
    operands=(WHOM_OR_OPTION,),
    options=TARGET,
    examples=(
        "nettool facts > host.json",
        "nettool attach --pid 1310 --ip 172.17.0.10/16 --facts host.json --dry-run",
    ),
)
