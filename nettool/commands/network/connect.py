"""`nettool network connect`: put a container on a network."""

from __future__ import annotations

from nettool.arguments import Kind, Operand, Option, Verb
from nettool.commands.options import APPLY, DIALECT, DRY_RUN, EXPLAIN, EXPORT, PUBLISH, WHOM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> int:
    """Carry out `nettool network connect`."""
    from nettool.pipeline import Mode, execute
    from nettool.request import Connect
    from nettool.sandboxes import parse_target

    request = Connect(
        network=arguments.text("network") or "",
        target=parse_target(arguments.text("target") or ""),
        ip=arguments.text("ip"),
        ip6=arguments.text("ip6"),
        ifname=arguments.text("ifname"),
        mac=arguments.text("mac"),
        default_route=arguments.text("default_route") or "keep",
        aliases=arguments.texts("alias"),
        published=arguments.texts("publish"),
        allow_from=arguments.texts("allow_from"),
        dialect=arguments.text("dialect") or "auto",
    )
    return execute(request, Mode.of(arguments))


VERB = Verb(
    name="network connect",
    summary="Put a container on a network, with the next free address of each of its subnets.",
    description="The same as `nettool attach` on the network's bridge. An address that somebody answers for "
    "on the wire is passed over.",
    run=run,
    operands=(
        Operand("network", "The network's name."),
        WHOM,
    ),
    options=(
        Option(("--ip",), "This IPv4 address.", metavar="ADDR"),
        Option(("--ip6",), "This IPv6 address.", metavar="ADDR"),
        Option(
            ("--alias",),
            "A further name for it, on a network with --dns; may be repeated.",
            Kind.TEXTS,
            metavar="NAME",
        ),
        Option(("--ifname",), "The interface's name in the sandbox; the next free ethN.", metavar="NAME"),
        Option(("--mac",), "The interface's MAC address; the kernel's choice.", metavar="MAC"),
        Option(
            ("--default-route",),
            "What to do when the sandbox has a default route already.",
            default="keep",
            choices=("keep", "replace"),
        ),
        *PUBLISH,
        DIALECT,
        DRY_RUN,
        *EXPORT,
        EXPLAIN,
        *APPLY,
    ),
    examples=(
        "nettool network connect backend pid:1310",
        "nettool network connect backend docker:web --ip 10.20.0.9 --dry-run",
    ),
)
