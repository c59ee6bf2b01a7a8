"""Named sandboxes as text and as JSON values. Pure."""

from __future__ import annotations

from nettool.netnseffects import MARK
from nettool.text import columns, safe
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from nettool.facts import Facts

_HEAD = ("SANDBOX", "MADE BY", "PROCESS", "INTERFACES")


class Box(Value):
    """A named namespace: whether nettool made it, a process in it, and its interfaces' addresses."""

    name: str
    ours: bool
    pid: int | None
    interfaces: tuple[tuple[str, tuple[str, ...]], ...]

    def document(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        interfaces = [{"name": name, "addresses": list(cidrs)} for name, cidrs in self.interfaces]
        made_by = "nettool" if self.ours else None
        return {"name": self.name, "made_by": made_by, "pid": self.pid, "interfaces": interfaces}


def boxes(facts: Facts) -> tuple[Box, ...]:
    """Return the namespaces that have a name, by name."""
    names = ((entry.name, entry.inode) for entry in facts.netns_names)
    return tuple(_box(name, inode, facts) for name, inode in names if inode is not None)


def _box(name: str, inode: int, facts: Facts) -> Box:
    namespace = facts.namespace_of(inode)
    links = namespace.links if namespace else ()
    lo = namespace.link("lo") if namespace else None
    pid = next((s.pid for s in facts.sandboxes if s.inode == inode), None)
    return Box(
        name,
        lo is not None and lo.alias == MARK,
        pid,
        tuple((n, namespace.addresses_of(n)) for link in links if (n := link.name) != "lo" and namespace),
    )


def table(found: Iterable[Box]) -> tuple[str, ...]:
    """Return a line for each, aligned."""
    rows = [_HEAD]
    for box in found:
        inside = ", ".join(" ".join((name, *cidrs)) for name, cidrs in box.interfaces)
        rows.append((box.name, "nettool" if box.ours else "-", str(box.pid or "-"), safe(inside) or "-"))
    return columns(rows) if len(rows) > 1 else ("no named sandboxes",)
