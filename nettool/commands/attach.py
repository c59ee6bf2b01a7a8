"""`nettool attach`: give a sandbox an interface on a bridge."""

from __future__ import annotations

from nettool.arguments import Kind, Option, Verb
from nettool.commands.options import PLAN, PUBLISH, TARGET, WHOM_OR_OPTION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> int:
    """Carry out `nettool attach`."""
    from nettool.pipeline import Mode, execute  # help needs none of it
    from nettool.request import Attach
    from nettool.sandboxes import required_target

    request = Attach(
        target=required_target(arguments),
        addresses=arguments.texts("ip"),
        bridge=arguments.text("bridge") or "docker0",
        gateway=arguments.text("gateway") or "auto",
        ifname=arguments.text("ifname"),
        host_ifname=arguments.text("host_ifname"),
        mac=arguments.text("mac"),
        mtu=arguments.number("mtu"),
        routes=arguments.texts("route"),
        default_route=arguments.text("default_route") or "keep",
        published=arguments.texts("publish"),
        allow_from=arguments.texts("allow_from"),
        dialect=arguments.text("dialect") or "auto",
    )
    return execute(request, Mode.of(arguments))


VERB = Verb(
    name="attach",
    summary="Give a container without a network an interface on a bridge.",
    description="Does what is done by hand with ip link, brctl and ip netns exec: shows it first with "
    "--dry-run, writes it as a script with --export, and takes it back with `nettool detach`.",
    run=run,
    operands=(WHOM_OR_OPTION,),
    options=(
        *TARGET,
        Option(("--ip",), "An address with its prefix length; may be repeated.", Kind.TEXTS, metavar="CIDR"),
        Option(("--bridge",), "The bridge to plug into.", default="docker0", metavar="NAME"),
        Option(
            ("--gateway",),
            "Where the default route goes: auto (the bridge's address), none, or an address.",
            default="auto",
            metavar="auto|none|ADDR",
        ),
        Option(("--ifname",), "The interface's name in the sandbox; the next free ethN.", metavar="NAME"),
        Option(("--host-ifname",), "The name of the host's end; made from a hash.", metavar="NAME"),
        Option(("--mac",), "The interface's MAC address; the kernel's choice.", metavar="MAC"),
        Option(("--mtu",), "The interface's MTU in bytes; the bridge's.", Kind.NUMBER, metavar="BYTES"),
        Option(
            ("--route",),
            "A further route, to the gateway or through another; may be repeated.",
            Kind.TEXTS,
            metavar="CIDR[,VIA]",
        ),
        Option(
            ("--default-route",),
            "What to do when the sandbox has a default route already.",
            default="keep",
            choices=("keep", "replace"),
        ),
        *PUBLISH,
        *PLAN,
    ),
    examples=(
        "nettool attach --pid 1310 --ip 172.17.0.10/16 --dry-run",
        "nettool attach docker:web --ip 172.17.0.10/16 --export attach.sh",
        "nettool attach --netns blue --bridge br0 --ip 10.0.0.5/24 --ip fd00::5/64 --gateway none",
    ),
)
