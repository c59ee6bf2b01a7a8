"""`nettool show`: which interface of which sandbox hangs on which bridge."""

from __future__ import annotations

from nettool.arguments import Verb
from nettool.commands.options import FACTS, JSON, TARGET, WHOM_OR_OPTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> None:
    """Carry out `nettool show`."""
    from nettool import output
    from nettool.envelope import envelope
    from nettool.errors import TargetNotFound
    from nettool.factsfile import load_facts
    from nettool.host import read_facts
    from nettool.sandboxes import find, find_all, target_of
    from nettool.survey import survey, table

    target = target_of(arguments)
    file = arguments.text("facts")
    facts = load_facts(file) if file else read_facts(find_all() if target is None else (find(target),))
    sandbox = facts.sandbox(str(target)) if target else None
    if target and (sandbox is None or sandbox.inode is None):
        raise TargetNotFound(f"{target} has no sandbox to show", why=(sandbox.detail,) if sandbox else ())
    rows = survey(facts, sandbox)
    if arguments.text("output") == "json":
        output.print_json(envelope("show", interfaces=[row.document() for row in rows]))
    else:
        print(table(rows))
    unread = sum(1 for s in facts.sandboxes if facts.namespace_of(s.inode) is None)
    if unread and not facts.privileged:
        output.note_line(f"not shown, since only root may enter: {unread}")


VERB = Verb(
    name="show",
    summary="Show which interface belongs to which container, and where its other end is.",
    description="By reading the kernel alone: whoever made the interfaces.",
    run=run,
    operands=(WHOM_OR_OPTION,),
    options=(*TARGET, FACTS, JSON),
    examples=("nettool show", "nettool show --container web", "nettool show -o json"),
)
