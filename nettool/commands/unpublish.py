"""`nettool unpublish`: take published ports back."""

from __future__ import annotations

from nettool.arguments import Kind, Operand, Option, Verb
from nettool.commands.options import APPLY, DRY_RUN, EXPLAIN, EXPORT, WHOM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> int:
    """Carry out `nettool unpublish`."""
    from nettool.errors import UsageError
    from nettool.pipeline import Mode, execute
    from nettool.request import Unpublish
    from nettool.sandboxes import parse_target

    ports, every = arguments.texts("ports"), arguments.flag("all")
    if every == bool(ports):
        raise UsageError("say which ports, or --all", hints=("nettool ports",))
    request = Unpublish(parse_target(arguments.text("target") or ""), ports, every)
    return execute(request, Mode.of(arguments))


VERB = Verb(
    name="unpublish",
    summary="Take published ports of a container back.",
    run=run,
    operands=(
        WHOM,
        Operand("ports", "The ports, as they were published.", required=False, many=True),
    ),
    options=(Option(("--all",), "All of the container's.", Kind.FLAG), DRY_RUN, *EXPORT, EXPLAIN, *APPLY),
    examples=("nettool unpublish web 8080:80", "nettool unpublish web --all"),
)
