"""`nettool recover`: take back what a killed run left."""

from __future__ import annotations

from nettool.arguments import Verb
from nettool.commands.options import JSON, LOCK_TIMEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> None:
    """Carry out `nettool recover`."""
    from nettool import output
    from nettool.confirmation import waiting
    from nettool.envelope import envelope
    from nettool.locks import HOST, Locks
    from nettool.recovery import recover
    from nettool.store.rundir import prepare, run_folder

    prepare()
    locks = Locks(run_folder(), "recover", arguments.number("lock_timeout") or 0)
    locks.acquire((HOST,))
    recovered = recover(locks)
    if arguments.text("output") == "json":
        runs = [{"id": each.id, "title": each.title} for each in recovered]
        output.print_json(envelope("recovered", runs=runs))
        return
    for each in recovered:
        output.print_line(f"taken back: run {each.id}, {each.title}")
    if not recovered:
        print("nothing to recover")
    if (logged := waiting()) is not None:
        output.note_line(f"run {logged.id} waits to be confirmed: {logged.title}")


VERB = Verb(
    name="recover",
    summary="Take back what a run of nettool that was killed has left.",
    description="Every command that changes something does this by itself before. Running it twice does "
    "nothing more.",
    run=run,
    options=(LOCK_TIMEOUT, JSON),
    examples=("nettool recover",),
)
