"""`nettool network create`: make a network that containers can be put on."""

from __future__ import annotations

from nettool.arguments import Kind, Operand, Option, Verb
from nettool.commands.options import APPLY, DRY_RUN, EXPLAIN, EXPORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> int:
    """Carry out `nettool network create`."""
    import os

    from nettool.ipam import DEFAULT_POOLS
    from nettool.pipeline import Mode, execute
    from nettool.request import CreateNetwork

    request = CreateNetwork(
        name=arguments.text("name") or "",
        driver=arguments.text("driver") or "bridge",
        subnets=arguments.texts("subnet"),
        gateways=arguments.texts("gateway"),
        ranges=arguments.texts("ip_range"),
        excluded=arguments.texts("exclude"),
        mtu=arguments.number("mtu"),
        internal=arguments.flag("internal"),
        masquerade=not arguments.flag("no_masquerade"),
        isolate=arguments.flag("isolate"),
        bridge_name=arguments.text("bridge_name"),
        labels=arguments.texts("label"),
        dns=arguments.flag("dns"),
        options=arguments.texts("option"),
        parent=arguments.text("parent"),
        vlan=arguments.number("vlan"),
        mode=arguments.text("mode"),
        host_addresses=arguments.texts("host_address"),
        pools=os.environ.get("NETTOOL_ADDRESS_POOLS") or DEFAULT_POOLS,
    )
    return execute(request, Mode.of(arguments))


VERB = Verb(
    name="network create",
    summary="Make a network: a bridge with a gateway, a way out, and walls to the other networks.",
    description="Without --subnet the next free one is taken: it overlaps no route, no address and no other "
    "network of this host. `NETTOOL_ADDRESS_POOLS` says where from, as `CIDR:LENGTH,…`.",
    run=run,
    operands=(Operand("name", "The network's name."),),
    options=(
        Option(
            ("--driver",),
            "What it is made of: a bridge; interfaces straight on one of the host's (macvlan, ipvlan; vlan: "
            "macvlan on a VLAN's); or nothing (none: sandboxes with only lo).",
            default="bridge",
            choices=("bridge", "macvlan", "ipvlan", "vlan", "none"),
        ),
        Option(("--subnet",), "Its addresses, IPv4 or IPv6; may be repeated.", Kind.TEXTS, metavar="CIDR"),
        Option(
            ("--gateway",),
            "The bridge's address in a subnet, or the router's that is there; the first one.",
            Kind.TEXTS,
            metavar="ADDR",
        ),
        Option(("--ip-range",), "The part that addresses are given out of.", Kind.TEXTS, metavar="CIDR"),
        Option(
            ("--exclude",), "Addresses never to give out; may be repeated.", Kind.TEXTS, metavar="ADDR|CIDR"
        ),
        Option(("--mtu",), "The MTU of its interfaces in bytes.", Kind.NUMBER, metavar="BYTES"),
        Option(("--internal",), "No way out of it, and none into it.", Kind.FLAG),
        Option(("--isolate",), "Its containers reach the gateway and beyond, not each other.", Kind.FLAG),
        Option(("--no-masquerade",), "Outside, its containers are seen by their own addresses.", Kind.FLAG),
        Option(
            ("--bridge-name",),
            "The bridge's name; one that is there is used, and never removed.",
            metavar="NAME",
        ),
        Option(
            ("--option",),
            "Of the driver: stp, ageing, multicast_snooping, group_fwd_mask, …; may be repeated.",
            Kind.TEXTS,
            metavar="KEY=VALUE",
        ),
        Option(
            ("--parent",), "The host's interface that leads there; for macvlan, ipvlan, vlan.", metavar="NAME"
        ),
        Option(
            ("--vlan",),
            "The number of a VLAN on the parent; its interface is made where there is none.",
            Kind.NUMBER,
            metavar="N",
        ),
        Option(
            ("--mode",),
            "macvlan: bridge, private, vepa or passthru. ipvlan: l2, l3 or l3s. The first is usual.",
            metavar="MODE",
        ),
        Option(
            ("--host-address",),
            "The host's own address beside the containers, by which it reaches them; may be repeated.",
            Kind.TEXTS,
            metavar="ADDR",
        ),
        Option(("--label",), "A note of your own; may be repeated.", Kind.TEXTS, metavar="KEY=VALUE"),
        Option(("--dns",), "A name server on its gateway that knows its containers' names.", Kind.FLAG),
        DRY_RUN,
        *EXPORT,
        EXPLAIN,
        *APPLY,
    ),
    examples=(
        "nettool network create backend",
        "nettool network create frontend --subnet 10.20.0.0/24 --subnet fd20::/64 --dry-run",
        "nettool network create vault --internal --subnet 10.30.0.0/24",
        "nettool network create lan --driver macvlan --parent eth0 --subnet 192.168.1.0/24",
    ),
)
