"""A plan as a Mermaid flowchart: host, bridge and sandbox, before and after."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nettool.interfaces import interface_of
from nettool.renderers.variables import endpoints_of
from nettool.text import safe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nettool.facts import Facts
    from nettool.model import Endpoint, Sandbox
    from nettool.plan import Plan


def render(planned: Plan, facts: Facts) -> str:
    """Return both pictures as one chart."""
    lines = ["flowchart LR"]
    for title, after in (("before", False), ("after", True)):
        lines += [f"  subgraph {title}", *_scene(planned, facts, title[0], after=after), "  end"]
    return "\n".join(lines) + "\n"


def picture(planned: Plan, facts: Facts, *, after: bool) -> str:
    """Return the chart of one of the two moments."""
    return "\n".join(["flowchart LR", *_scene(planned, facts, "n", after=after)]) + "\n"


def label(text: str) -> str:
    """Return text as it can stand in a quoted label: all but plain characters by their codes."""
    return re.sub(r"[^A-Za-z0-9 ./:_-]", lambda match: f"#{ord(match[0])};", safe(text))


def _scene(planned: Plan, facts: Facts, prefix: str, *, after: bool) -> Iterator[str]:
    numbered = enumerate(endpoints_of(planned))
    endpoints = [(n, e) for n, e in numbered if _is_there(planned, facts, e, after=after)]
    bridges = dict.fromkeys(e.bridge for e in endpoints_of(planned) if e.bridge)
    ids = {bridge: f"{prefix}_bridge{n}" for n, bridge in enumerate(bridges)}
    yield f'    subgraph {prefix}_host["host {label(facts.hostname)}"]'
    for bridge, name in ids.items():
        yield f"      {name}{_box(bridge, facts.host.addresses_of(bridge))}"
    for number, endpoint in endpoints:
        if not endpoint.on_parent:
            yield f"      {prefix}_end{number}{_box(endpoint.host_end, ())}"
    yield "    end"
    yield from _sandboxes(planned, facts, endpoints, prefix)
    for number, endpoint in endpoints:
        near = ids.get(endpoint.bridge) if endpoint.on_parent else f"{prefix}_end{number}"
        if endpoint.bridge in ids and not endpoint.on_parent:
            yield f"    {ids[endpoint.bridge]} --- {near}"
        if near is not None:
            yield f"    {near} --- {prefix}_if{number}"


def _sandboxes(
    planned: Plan, facts: Facts, endpoints: list[tuple[int, Endpoint]], prefix: str
) -> Iterator[str]:
    sandboxes = {e.sandbox.target: e.sandbox for e in endpoints_of(planned)}
    for place, (target, sandbox) in enumerate(sandboxes.items()):
        yield f'    subgraph {prefix}_sandbox{place}["{label(target)}"]'
        for at, (name, addresses) in enumerate(_others(planned, facts, sandbox)):
            yield f"      {prefix}_other{place}_{at}{_box(name, addresses)}"
        for number, endpoint in endpoints:
            if endpoint.sandbox.target == target:
                yield f"      {prefix}_if{number}{_box(endpoint.ifname, endpoint.addresses)}"
        yield "    end"


def _others(planned: Plan, facts: Facts, sandbox: Sandbox) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Tell the interfaces that the sandbox has besides; a loopback at the least."""
    inside = facts.namespace(sandbox.netns)
    own = {e.ifname for e in endpoints_of(planned) if e.sandbox == sandbox}
    if inside is None:
        yield "lo", ()
        return
    for link in inside.links:
        if link.name not in own:
            yield link.name, inside.addresses_of(link.name)


def _is_there(planned: Plan, facts: Facts, endpoint: Endpoint, *, after: bool) -> bool:
    if after:
        return not planned.inverse
    if endpoint.on_parent:
        return interface_of(endpoint, facts) is not None
    return facts.host.link(endpoint.host_end) is not None


def _box(name: str, addresses: tuple[str, ...]) -> str:
    return '["' + "<br/>".join(label(text) for text in (name, *addresses)) + '"]'
