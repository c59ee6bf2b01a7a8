"""Facts of interfaces that are made on another one: a sandbox's on the host's, and the host's own."""

from __future__ import annotations

from nettool.naming import is_marked
from nettool.presence import ABSENT, PRESENT, State, other
from nettool.text import a
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.facts import Facts, Netns


class OnParent(Value):
    """A sandbox's interface that is made straight on one of the host's; `kind` is macvlan or ipvlan."""

    netns: Netns
    name: str
    mark: str
    kind: str
    parent: str

    @property
    def key(self) -> str:
        """The endpoint: its interface may have another name by now."""
        return f"{self.kind} {self.mark}"

    def state(self, facts: Facts) -> State:
        """Present when the namespace has the marked interface, or one like it without another one's mark."""
        namespace = facts.namespace(self.netns)
        if facts.marked_in(self.mark, namespace) is not None:
            return PRESENT
        link = namespace.link(self.name) if namespace else None
        if namespace is None or link is None:
            return ABSENT
        parent = facts.parent_of(link, namespace)
        alike = link.kind == self.kind and parent is not None and parent.name == self.parent
        if alike and not is_marked(link.alias or ""):
            return PRESENT
        return other(f"is another interface ({link.kind or 'physical'}, {link.mac})")

    def sentence(self) -> str:
        """Say it."""
        return f"{self.name} in namespace {self.netns.name} is {a(self.kind)} on {self.parent}"


class Marked(Value):
    """An interface on a parent carries its endpoint's mark: it has no end on the host that could."""

    netns: Netns
    name: str
    mark: str

    @property
    def key(self) -> str:
        """The mark."""
        return f"mark {self.mark}"

    def state(self, facts: Facts) -> State:
        """Present when the namespace has an interface with that alias."""
        return ABSENT if facts.marked_in(self.mark, facts.namespace(self.netns)) is None else PRESENT

    def sentence(self) -> str:
        """Say it."""
        return f"{self.name} in namespace {self.netns.name} has the alias {self.mark}"


class SubInterface(Value):
    """An interface of the host's that is made on another one of its."""

    name: str
    kind: str
    parent: str
    vlan: int | None = None

    @property
    def key(self) -> str:
        """The interface's name."""
        return f"link {self.name}"

    def state(self, facts: Facts) -> State:
        """Present when the host has it on that parent, and with that number."""
        link = facts.host.link(self.name)
        if link is None:
            return ABSENT
        parent = facts.parent_of(link, facts.host)
        if (link.kind, link.vlan) == (self.kind, self.vlan) and parent and parent.name == self.parent:
            return PRESENT
        on = f" on {parent.name}" if parent else ""
        return other(f"is {a(link.kind or 'physical interface')}{on}{_numbered(link.vlan)}")

    def sentence(self) -> str:
        """Say it."""
        return f"{self.name} is {a(self.kind)} on {self.parent}{_numbered(self.vlan)}"


def _numbered(vlan: int | None) -> str:
    return f" with the number {vlan}" if vlan is not None else ""
