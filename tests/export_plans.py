"""Plans for the tests of exports, made from facts that are written down: the same on every machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nettool import __version__
from nettool.facts import (
    AddressFact,
    Facts,
    LinkFact,
    NamespaceFacts,
    Netns,
    NetnsNameFact,
    RouteFact,
    SandboxFact,
)
from nettool.lowering import lower
from nettool.model import Endpoint, Record, Records, Sandbox
from nettool.planner import plan
from nettool.request import Attach, Detach, Target
from nettool.value import replace

if TYPE_CHECKING:
    from nettool.plan import Plan

HOST: Final = NamespaceFacts(
    4026531840,
    (LinkFact("lo", 1, "", "00:00:00:00:00:00", 65536, up=True),
     LinkFact("docker0", 2, "bridge", "02:42:ac:11:00:01", 1500, up=True, mac_set=True)),
    (AddressFact("lo", "127.0.0.1/8"), AddressFact("docker0", "172.17.0.1/16"),
     AddressFact("docker0", "fd00::1/64")),
)  # fmt: skip
INSIDE: Final = NamespaceFacts(
    4026532465,
    (LinkFact("lo", 1, "", "00:00:00:00:00:00", 65536, up=True),),
    (AddressFact("lo", "127.0.0.1/8"),),
)
UPLINK: Final = replace(
    INSIDE,
    links=(*INSIDE.links, LinkFact("up0", 2, "veth", "02:00:00:00:00:01", 1500, up=True)),
    addresses=(*INSIDE.addresses, AddressFact("up0", "192.168.7.2/24")),
    routes=(RouteFact(4, "default", "192.168.7.1", "up0", protocol="boot", scope="global"),),
    sysctls=(("net.ipv6.conf.default.disable_ipv6", "1"),),
)
PID: Final = SandboxFact(("pid:1310",), "running", "/proc/1310/ns/net", 4026532465, 1310, 4711)
WEB: Final = replace(PID, answers_to=("container:web", "docker:web", "pid:1310"))
BLUE: Final = SandboxFact(("netns:blue",), "running", "/var/run/netns/blue", 4026532465)
TOOLS: Final = tuple(
    (tool, f"/bin/{tool}") for tool in ("brctl", "ip", "ln", "mkdir", "rm", "rmdir", "sysctl")
)
FACTS: Final = Facts(
    HOST, (INSIDE,), (PID,), netns_folder=True, tools=TOOLS, hostname="host1",
    boot_id="00000000-0000-4000-8000-000000000000",
)  # fmt: skip
BOTH: Final = Attach(Target("pid", "1310"), ("172.17.0.10/16", "fd00::10/64"), routes=("10.9.0.0/16",))


def path_facts(path: str) -> Facts:
    """Return the facts of a host whose sandbox is known by a path only."""
    return replace(FACTS, sandboxes=(SandboxFact((f"path:{path}",), "running", path, 4026532465),))


def made_plan(
    request: Attach | Detach, facts: Facts = FACTS, records: Records | None = None
) -> tuple[Plan, Facts]:
    """Plan a request on a host that is written down."""
    return plan(request, facts, records or Records()), facts


def plan_with_path(path: str) -> tuple[Plan, Facts]:
    """Return a plan with a path in it that no request may have: renderers trust nobody."""
    planned, facts = PLANS["path"]
    (change,) = planned.changes
    sandbox = replace(change.endpoint.sandbox, path=path, target=f"path:{path}")
    endpoint = replace(change.endpoint, sandbox=sandbox)
    record = replace(change.after, endpoint=endpoint)
    steps, changed = lower(endpoint, "classic"), (replace(change, after=record),)
    title = f"attach path:{path} to docker0 as eth0"
    planned = replace(planned, title=title, steps=steps, sandboxes=(sandbox,), changes=changed)
    return planned.against(facts), facts


def _detach() -> tuple[Plan, Facts]:
    sandbox = Sandbox(
        "pid:1310", Netns("1310", 4026532465), "/proc/1310/ns/net", 1310, 4711, named_by_plan=True
    )  # fmt: skip
    endpoint = Endpoint(
        sandbox, "docker0", "nt0123456789", "nt0123456789p", "eth0", ("172.17.0.10/16",),
        (RouteFact(4, "default", "172.17.0.1", "eth0"),), sole=True,
    )  # fmt: skip
    keys = ("netns 1310", "veth nt0123456789", "port nt0123456789", "up host nt0123456789",
            "inside nt0123456789", "interface 1310 eth0", "up 1310 eth0", "address 1310 eth0 172.17.0.10",
            "route 1310 4 default 0")  # fmt: skip
    outer = LinkFact("nt0123456789", 7, "veth", "02:00:00:00:00:07", 1500, up=True, master="docker0",
                     peer_index=3, peer_nsid=0)  # fmt: skip
    inner = LinkFact("eth0", 3, "veth", "02:00:00:00:00:03", 1500, up=True, peer_index=7, peer_nsid=0)
    facts = replace(
        FACTS,
        host=replace(HOST, links=(*HOST.links, outer)),
        namespaces=(
            replace(
                INSIDE,
                links=(*INSIDE.links, inner),
                addresses=(*INSIDE.addresses, AddressFact("eth0", "172.17.0.10/16")),
                routes=(RouteFact(4, "default", "172.17.0.1", "eth0"),),
                nsid=0,
            ),
        ),
        netns_names=(NetnsNameFact("1310", 4026532465, "/proc/1310/ns/net"),),
    )
    return made_plan(Detach(Target("pid", "1310")), facts, Records((Record(endpoint, "classic", keys),)))


PLANS: Final = {
    "pid-classic": made_plan(replace(BOTH, dialect="classic")),
    "pid-modern": made_plan(replace(BOTH, dialect="modern", mac="02:42:ac:11:00:0a", mtu=1400)),
    "container": made_plan(replace(BOTH, target=Target("docker", "web")), replace(FACTS, sandboxes=(WEB,))),
    "netns": made_plan(
        Attach(Target("netns", "blue"), ("172.17.0.10/16",)),
        replace(FACTS, sandboxes=(BLUE,), netns_names=(NetnsNameFact("blue", 4026532465),)),
    ),
    "path": made_plan(
        Attach(Target("path", "/run/docker/netns/1a2b"), ("172.17.0.10/16",), dialect="classic"),
        path_facts("/run/docker/netns/1a2b"),
    ),
    "replaced": made_plan(
        replace(BOTH, default_route="replace"),
        replace(
            FACTS,
            namespaces=(UPLINK,),
            host=replace(HOST, links=(*HOST.links[:1], replace(HOST.links[1], mac_set=False))),
        ),
    ),
    "detach": _detach(),
}


def check_golden(name: str, text: str) -> None:
    """Compare a text with the one that is kept; NETTOOL_GOLDEN=write keeps it."""
    path = Path(__file__).parent / "golden" / name
    text = text.replace(f"nettool {__version__}", "nettool VERSION")
    if os.environ.get("NETTOOL_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text, f"NETTOOL_GOLDEN=write writes tests/golden/{name} anew"
