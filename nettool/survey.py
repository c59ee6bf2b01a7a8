"""Who is wired to what: every sandbox's interfaces, and the host's end of each. Pure."""

from __future__ import annotations

from nettool import naming
from nettool.text import columns, safe
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from nettool.facts import Facts, NamespaceFacts, SandboxFact

_HEAD = ("SANDBOX", "INTERFACE", "ADDRESS", "HOST END", "BRIDGE")


class Row(Value):
    """One interface of a sandbox; a sandbox without any has one row with no interface."""

    sandbox: str
    answers_to: tuple[str, ...]
    interface: str | None = None
    addresses: tuple[str, ...] = ()
    host_end: str | None = None
    bridge: str | None = None
    parent: str | None = None
    """The host's interface that it is made on, where it has no end on the host."""

    def document(self) -> dict[str, Any]:
        """Return the row as a JSON value."""
        return {**self.__dict__, "answers_to": list(self.answers_to), "addresses": list(self.addresses)}


def survey(facts: Facts, only: SandboxFact | None = None) -> tuple[Row, ...]:
    """Return a row for each interface of each sandbox, or of one."""
    sandboxes = facts.sandboxes if only is None else (only,)
    return tuple(row for sandbox in sandboxes for row in _rows(sandbox, facts))


def _rows(sandbox: SandboxFact, facts: Facts) -> Iterator[Row]:
    namespace = facts.namespace_of(sandbox.inode)
    name = display_name(sandbox)
    links = [link for link in namespace.links if link.name != "lo"] if namespace else []
    if namespace is None or not links:
        yield Row(name, sandbox.answers_to)
        return
    for link in links:
        host_end = next((end for end in facts.host.links if facts.are_peers(end, link, namespace)), None)
        parent = facts.parent_of(link, namespace) if naming.is_marked(link.alias or "") else None
        yield Row(
            name,
            sandbox.answers_to,
            link.name,
            _addresses(namespace, link.name),
            host_end.name if host_end else None,
            host_end.master if host_end else None,
            parent.name if parent else None,
        )


def display_name(sandbox: SandboxFact) -> str:
    """Return the target that says most to a person: a container's name, a namespace's, or a pid."""

    def rank(answer: str) -> int:
        kind, _, value = answer.partition(":")
        # A name of digits is what a plan gives to a process's namespace: the pid says the same.
        worst = kind in ("container", "path") or (kind == "netns" and value.isdigit())
        return 2 if worst else int(kind == "pid")

    return min(sandbox.answers_to, key=rank)


def _addresses(namespace: NamespaceFacts, link: str) -> tuple[str, ...]:
    # Every interface has a link-local IPv6 address: it would only push the others out of sight.
    return tuple(cidr for cidr in namespace.addresses_of(link) if not cidr.startswith("fe80:"))


def table(rows: Iterable[Row]) -> str:
    """Return the rows as aligned text."""
    lines = [_HEAD, *(_cells(row) for row in rows)]
    if len(lines) == 1:
        return "no sandboxes"
    return "\n".join(columns(lines))


def _cells(row: Row) -> tuple[str, ...]:
    end = f"on {row.parent}" if row.parent else row.host_end
    cells = (row.sandbox, row.interface, ", ".join(row.addresses), end, row.bridge)
    return tuple(safe(cell) if cell else "-" for cell in cells)
