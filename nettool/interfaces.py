"""Which interface of a sandbox is an endpoint's, as the kernel shows it now. Pure.

An endpoint on a bridge is known by its host end, one on a parent by the mark on the interface itself.
"""

from __future__ import annotations

from nettool import naming
from nettool.facts import ON_PARENT
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nettool.facts import Facts, LinkFact, NamespaceFacts
    from nettool.model import Endpoint
    from nettool.resolve import Wanted


class Present(Value):
    """An endpoint that is there: its host end or its mark, the link that it is on, and its interface."""

    host_end: str
    link: str | None
    inner: LinkFact


def marked(facts: Facts, inside: NamespaceFacts) -> Iterator[Present]:
    """Yield the endpoints in a namespace that are on a parent."""
    for inner in inside.links:
        if inner.kind in ON_PARENT and naming.is_marked(inner.alias or ""):
            parent = facts.parent_of(inner, inside)
            yield Present(inner.alias or "", parent.name if parent else None, inner)


def cabled(facts: Facts, inside: NamespaceFacts) -> Iterator[Present]:
    """Yield the interfaces of a namespace that have their other end on the host."""
    for host_end in facts.host.links:
        inner = facts.peer_in(host_end, inside)
        if inner is not None:
            yield Present(host_end.name, host_end.master, inner)


def interface_of(endpoint: Endpoint, facts: Facts) -> LinkFact | None:
    """Return the interface of an endpoint, where its sandbox was read and has it."""
    inside = facts.namespace(endpoint.sandbox.netns)
    if endpoint.on_parent:
        return facts.marked_in(endpoint.host_end, inside)
    host_end = facts.host.link(endpoint.host_end)
    return facts.peer_in(host_end, inside) if inside and host_end else None


def present_interface(wanted: Wanted, facts: Facts, inside: NamespaceFacts | None) -> Present | None:
    """Return the endpoint that the request means, when it is there.

    A sandbox has one endpoint on a network unless the caller names another interface.
    """
    if inside is None:
        return None
    found = marked(facts, inside) if wanted.on_parent else cabled(facts, inside)
    meant = [present for present in found if _is_meant(wanted, present)]
    asked = {str(address) for address in wanted.addresses}
    by_address = (present for present in meant if asked & set(inside.addresses_of(present.inner.name)))
    return next(by_address, meant[0] if meant else None)


def _is_meant(wanted: Wanted, present: Present) -> bool:
    request, name = wanted.request, present.host_end
    own = naming.is_marked(name) or name in (request.host_ifname, *wanted.known_ends)
    if request.ifname is not None:
        return own and present.inner.name == request.ifname
    return own and present.link in (request.bridge, None)
