"""`nettool publish`: let ports of the host lead to a running container."""

from __future__ import annotations

from nettool.arguments import Operand, Option, Verb
from nettool.commands.options import APPLY, DIALECT, DRY_RUN, EXPLAIN, EXPORT, PUBLISH, WHOM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> int:
    """Carry out `nettool publish`."""
    from nettool.pipeline import Mode, execute
    from nettool.request import Publish
    from nettool.sandboxes import parse_target

    request = Publish(
        target=parse_target(arguments.text("target") or ""),
        ports=arguments.texts("ports"),
        allow_from=arguments.texts("allow_from"),
        network=arguments.text("network"),
        ifname=arguments.text("ifname"),
        dialect=arguments.text("dialect") or "auto",
    )
    return execute(request, Mode.of(arguments))


VERB = Verb(
    name="publish",
    summary="Let ports of this host lead to a running container.",
    description="For everybody who reaches this host, for the host itself (also by 127.0.0.1), and for the "
    "container's neighbours. A port that a program, or another rule, has already is refused. The rules go "
    "with the container's interface, or with `nettool unpublish`.",
    run=run,
    operands=(
        WHOM,
        Operand(
            "ports",
            "HOSTPORT:PORT, with HOSTIP: in front and /tcp, /udp or /sctp behind it, or ranges.",
            many=True,
        ),
    ),
    options=(
        PUBLISH[1],
        Option(("--network",), "The container's endpoint on this network.", metavar="NAME"),
        Option(("--ifname",), "The container's interface; that of its default route.", metavar="NAME"),
        DIALECT,
        DRY_RUN,
        *EXPORT,
        EXPLAIN,
        *APPLY,
    ),
    examples=(
        "nettool publish web 8080:80",
        "nettool publish pid:1310 127.0.0.1:5432:5432 --dry-run",
        "nettool publish docker:web 8000-8003:80-83/tcp 53:53/udp --allow-from 192.0.2.0/24",
    ),
)
