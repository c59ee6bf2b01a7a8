"""`nettool run`: start a process with a network of its own."""

from __future__ import annotations

from nettool.arguments import Kind, Operand, Option, Verb
from nettool.commands.options import DIALECT, DRY_RUN, EXPLAIN, JSON, LOCK_TIMEOUT, PUBLISH, YES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from nettool.arguments import Arguments
    from nettool.request import Connect

_WITHOUT: Final = ("none", "host")
_OF_ENDPOINT: Final = ("ip", "ip6", "name", "alias", "mac", "publish", "allow_from")


def run(arguments: Arguments) -> int:
    """Carry out `nettool run`."""
    from nettool.cgroups import parse_limits
    from nettool.errors import UsageError
    from nettool.launching import Launch, launch
    from nettool.pipeline import Mode

    command = arguments.texts("command")
    command = command[1:] if command[:1] == ("--",) else command
    if not command:
        raise UsageError("there is no command to run", hints=("nettool run --network backend -- sh",))
    wanted = Launch(
        command=command,
        network=arguments.text("network") or "none",
        connect=_connect(arguments),
        isolate=tuple(kind for kind in (arguments.text("isolate") or "").split(",") if kind),
        limits=parse_limits(arguments.text("memory"), arguments.text("cpus")),
        servers=_addresses(arguments.texts("dns")),
    )
    return launch(wanted, Mode.of(arguments))


def _connect(arguments: Arguments) -> Connect | None:
    """Return what wires the process; None where its network is nobody's, or another's. Raises UsageError."""
    from nettool.boxing import check_name
    from nettool.errors import UsageError
    from nettool.request import Connect, Target

    network = arguments.text("network") or "none"
    if network in _WITHOUT or network.startswith("container:"):
        odd = next((key for key in _OF_ENDPOINT if arguments.values.get(key)), None)
        if odd is not None:
            raise UsageError(f"--{odd.replace('_', '-')} is for a network; this is --network {network}")
        return None
    name = arguments.text("name")
    if name is not None:
        check_name(name)
    return Connect(
        network=network,
        target=Target("pid", "0"),
        ip=arguments.text("ip"),
        ip6=arguments.text("ip6"),
        mac=arguments.text("mac"),
        name=name,
        aliases=arguments.texts("alias"),
        published=arguments.texts("publish"),
        allow_from=arguments.texts("allow_from"),
        dialect=arguments.text("dialect") or "auto",
    )


def _addresses(texts: tuple[str, ...]) -> tuple[str, ...]:
    import ipaddress

    from nettool.errors import UsageError

    try:
        return tuple(str(ipaddress.ip_address(text)) for text in texts)
    except ValueError as error:
        raise UsageError(f"--dns: {error}", hints=("--dns 9.9.9.9",)) from error


VERB = Verb(
    name="run",
    summary="Start a process with a network of its own: none, the host's, another container's, or one by "
    "name.",
    description="The process gets its namespaces, then its control group, then its network, and becomes the "
    "command only when that is up. Signals and the exit status pass through; its endpoint goes with it.",
    run=run,
    operands=(Operand("command", "The command, behind `--`.", rest=True),),
    options=(
        Option(
            ("--network",),
            "none, host, container:TARGET, or the name of a network.",
            default="none",
            metavar="NETWORK",
        ),
        Option(("--name",), "What its namespace is called, and what others find it by.", metavar="NAME"),
        Option(("--ip",), "This IPv4 address.", metavar="ADDR"),
        Option(("--ip6",), "This IPv6 address.", metavar="ADDR"),
        Option(("--mac",), "The interface's MAC address; the kernel's choice.", metavar="MAC"),
        Option(
            ("--alias",),
            "A further name for it, on a network with --dns; may be repeated.",
            Kind.TEXTS,
            metavar="NAME",
        ),
        Option(
            ("--dns",),
            "A name server that it asks, instead of its network's; may be repeated.",
            Kind.TEXTS,
            metavar="ADDR",
        ),
        Option(("--isolate",), "Further namespaces of its own: pid, mount, uts, ipc.", metavar="KIND,…"),
        Option(("--memory",), "How much memory it may use: 64m, 1g.", metavar="BYTES"),
        Option(("--cpus",), "How many CPUs it may use: 0.5, 2.", metavar="NUMBER"),
        *PUBLISH,
        DIALECT,
        DRY_RUN,
        EXPLAIN,
        JSON,
        LOCK_TIMEOUT,
        YES,
    ),
    examples=(
        "nettool run --network backend --name web -p 8080:80 -- busybox httpd -f",
        "nettool run --network container:netns:web -- curl -s localhost",
        "nettool run --network none --isolate pid,uts --memory 64m -- sh",
    ),
)
