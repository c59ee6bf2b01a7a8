"""Plan a request: resolve it, lower it to steps, and hold the steps against the host's facts.

Pure: the same request, facts and records always give the same plan.
"""

from __future__ import annotations

from nettool.errors import Refused
from nettool.plan import Command, Plan
from nettool.request import Attach, Connect, CreateNetwork, Detach, Disconnect, RemoveNetwork, Undo
from nettool.resolve import check_dialect, parse_attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.facts import Facts
    from nettool.model import Records
    from nettool.request import Request


def plan(request: Request, facts: Facts, records: Records) -> Plan:
    """Plan a request.

    Raises UsageError for what no host could do, TargetNotFound for ambiguity, and Refused for what
    could not be shown.
    """
    if isinstance(request, Attach):
        from nettool.attaching import plan_attach

        planned = plan_attach(request, facts, records)
    elif isinstance(request, Detach):
        from nettool.detaching import plan_detach  # most calls attach

        planned = plan_detach(request, facts, records)
    elif isinstance(request, Undo):
        from nettool.undoing import plan_undo

        planned = plan_undo(request, facts, records)
    elif isinstance(request, CreateNetwork):
        from nettool.networks import plan_create

        planned = plan_create(request, facts, records)
    elif isinstance(request, RemoveNetwork):
        from nettool.networks import plan_remove

        planned = plan_remove(request, facts, records)
    elif isinstance(request, Connect):
        from nettool.connecting import plan_connect

        planned = plan_connect(request, facts, records)
    elif isinstance(request, Disconnect):
        from nettool.connecting import plan_disconnect

        planned = plan_disconnect(request, facts, records)
    else:
        from nettool.collecting import plan_collect

        planned = plan_collect(request, facts, records)
    _check_words(planned)
    return planned


def check(request: Request) -> None:
    """Refuse a request that no host could carry out, before any host is read. Raises UsageError."""
    if isinstance(request, Attach):
        parse_attach(request)
    elif isinstance(request, Detach):
        check_dialect(request.dialect)
    elif isinstance(request, CreateNetwork):
        from nettool.networks import check_create

        check_create(request)


def _check_words(planned: Plan) -> None:
    """Refuse a plan with a word that no terminal, script or file could show as it is.

    A container can give an interface any name, and a facts file any path.
    """
    commands = (
        c for s in (*planned.steps, *planned.restores) for c in (s.do, s.undo) if isinstance(c, Command)
    )
    odd = next((word for command in commands for word in command.words() if not word.isprintable()), None)
    if odd is not None:
        raise Refused(
            f"cannot plan with {odd!a}",
            why=("a name or path on this host has characters that cannot be shown",),
            hints=("rename it",),
        )
