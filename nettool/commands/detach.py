"""`nettool detach`: take an endpoint away from a sandbox again."""

from __future__ import annotations

from nettool.arguments import Kind, Option, Verb
from nettool.commands.options import PLAN, TARGET, WHOM_OR_OPTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> int:
    """Carry out `nettool detach`."""
    from nettool.errors import UsageError  # help needs none of it
    from nettool.pipeline import Mode, execute
    from nettool.request import Detach
    from nettool.sandboxes import required_target

    if arguments.flag("all") and arguments.text("ifname") is not None:
        raise UsageError("--all and --ifname say two things; one is needed")
    request = Detach(
        target=required_target(arguments),
        ifname=arguments.text("ifname"),
        every=arguments.flag("all"),
        dialect=arguments.text("dialect") or "auto",
    )
    return execute(request, Mode.of(arguments))


VERB = Verb(
    name="detach",
    summary="Take an interface that nettool made away from a container again.",
    description="The inverse of `nettool attach`, also of an exported script. What nettool did not make "
    "is never touched.",
    run=run,
    operands=(WHOM_OR_OPTION,),
    options=(
        *TARGET,
        Option(("--ifname",), "The interface in the sandbox; the only one, if not given.", metavar="NAME"),
        Option(("--all",), "Every interface that nettool made in the sandbox.", Kind.FLAG),
        *PLAN,
    ),
    examples=(
        "nettool detach --pid 1310 --ifname eth0 --dry-run",
        "nettool detach --container docker:web --all",
    ),
)
