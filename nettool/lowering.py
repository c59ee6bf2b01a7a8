"""Lower a decided endpoint to steps: the whole procedure, in order, in one of the dialects. Pure."""

from __future__ import annotations

from nettool import iproute
from nettool.drivers import bridge, dns, ports
from nettool.iproute import CLASSIC, MODERN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from nettool.facts import Facts
    from nettool.model import Endpoint, Sandbox
    from nettool.plan import Step
    from nettool.resolve import Findings


def lower(endpoint: Endpoint, dialect: str) -> tuple[Step, ...]:
    """Return the whole procedure for an endpoint, in order."""
    if endpoint.foreign:
        return tuple(ports.rules(endpoint))
    return (
        *name_sandbox(endpoint.sandbox, dialect),
        *_wire(endpoint, dialect),
        *ports.rules(endpoint),
        *dns.join(endpoint),
    )


def _wire(endpoint: Endpoint, dialect: str) -> tuple[Step, ...]:
    if endpoint.on_parent:
        from nettool.drivers import macvlan  # most endpoints are on a bridge

        return (*macvlan.plug(endpoint, dialect), *macvlan.join(endpoint, dialect))
    return (*bridge.plug(endpoint, dialect), *bridge.join(endpoint, dialect))


def name_sandbox(sandbox: Sandbox, dialect: str) -> tuple[Step, ...]:
    """Return the steps that give the sandbox's namespace a name, when it has none."""
    if not sandbox.named_by_plan:
        return ()
    if dialect == MODERN and sandbox.pid is not None:
        return (iproute.attach_netns_name(sandbox),)
    return (iproute.make_netns_folder(), iproute.link_netns_name(sandbox))


def choose_dialect(wanted: str, facts: Facts) -> str:
    """Return the dialect to write: `auto` is classic where the host has brctl."""
    if wanted != "auto":
        return wanted
    return CLASSIC if facts.has_tool("brctl") else MODERN


def check_tools(steps: Iterable[Step], facts: Facts, findings: Findings) -> None:
    """Find the programs that the steps need and the host has not."""
    needed = dict.fromkeys(word for step in steps for word in _programs(step))
    for tool in needed:
        if not facts.has_tool(tool):
            package = iproute.PACKAGES.get(tool, tool)
            other = ("--dialect modern",) if tool == "brctl" else ()
            findings.problem(
                f"{tool} is not installed", f"the package {package} has it",
                hints=(f"apt-get install {package}", *other),
            )  # fmt: skip


def _programs(step: Step) -> tuple[str, ...]:
    words = step.do.words()
    return tuple(dict.fromkeys((words[0], step.do.argv[0])))
