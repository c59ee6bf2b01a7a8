"""`nettool confirm`: keep what a run did that would be taken back else."""

from __future__ import annotations

from nettool.arguments import Operand, Verb
from nettool.commands.options import JSON, LOCK_TIMEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> None:
    """Carry out `nettool confirm`."""
    from nettool import output
    from nettool.confirmation import confirm
    from nettool.envelope import envelope
    from nettool.locks import HOST, Locks
    from nettool.recovery import recover
    from nettool.store.rundir import prepare, run_folder

    prepare()
    locks = Locks(run_folder(), "confirm", arguments.number("lock_timeout") or 0)
    locks.acquire((HOST,))
    recover(locks)
    kept = confirm(arguments.text("run"))
    if arguments.text("output") == "json":
        output.print_json(envelope("confirmed", run=kept.id, title=kept.title))
    else:
        output.print_line(f"confirmed: run {kept.id}, {kept.title}")


VERB = Verb(
    name="confirm",
    summary="Keep what a run did, before its time is over.",
    description="A run with --confirm-within, or one that touched the host's own uplink, is taken back "
    "unless this comes first. There is one such run at most. Exit status 9: it was too late.",
    run=run,
    operands=(Operand("run", "The run's id, or its beginning; the one that waits.", required=False),),
    options=(LOCK_TIMEOUT, JSON),
    examples=("nettool attach --pid 1310 --ip 172.17.0.10/16 --confirm-within 60s", "nettool confirm"),
)
