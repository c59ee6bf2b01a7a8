"""What a step makes true of a namespace that nettool makes: its name, and its `lo`, which carries the mark.

Each has the four faces of a fact that `nettool.effects` describes.
"""

from __future__ import annotations

from nettool.presence import ABSENT, PRESENT
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from nettool.facts import Facts, LinkFact
    from nettool.presence import State

MARK: Final = "nettool"
"""What the alias of `lo` says in a namespace that nettool has made."""


class NewNetns(Value):
    """A namespace that is there under a name, whichever it is."""

    name: str

    @property
    def key(self) -> str:
        """The name."""
        return f"namespace {self.name}"

    def state(self, facts: Facts) -> State:
        """Present when the name leads to a namespace."""
        entry = facts.netns_name(self.name)
        return PRESENT if entry is not None and entry.inode is not None else ABSENT

    def sentence(self) -> str:
        """Say it."""
        return f"/var/run/netns/{self.name} is a network namespace"


class Loopback(Value):
    """The `lo` of a namespace that is up, and says by its alias who made the namespace."""

    name: str

    @property
    def key(self) -> str:
        """The namespace."""
        return f"loopback {self.name}"

    def state(self, facts: Facts) -> State:
        """Present when it is up and marked."""
        lo = loopback(self.name, facts)
        return PRESENT if lo is not None and lo.up and lo.alias == MARK else ABSENT

    def sentence(self) -> str:
        """Say it."""
        return f"lo is up in namespace {self.name}, and marked as nettool's"


def loopback(name: str, facts: Facts) -> LinkFact | None:
    """Return the `lo` of a namespace by its name, when that was read."""
    entry = facts.netns_name(name)
    namespace = facts.namespace_of(entry.inode) if entry else None
    return namespace.link("lo") if namespace else None
