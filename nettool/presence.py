"""Whether a fact is true on a host: not at all, quite so, or something else is in its place. Pure."""

from __future__ import annotations

import enum

from nettool.value import Value


class Presence(enum.Enum):
    """Whether a fact is true on a host."""

    ABSENT = "absent"
    PRESENT = "present"
    OTHER = "other"


class State(Value):
    """What a look-up found; `found` describes the other thing that takes the place."""

    presence: Presence
    found: str = ""
    leftover: bool = False
    """Whether what takes the place is what is left of the fact itself."""

    @property
    def is_present(self) -> bool:
        """Whether the fact is true."""
        return self.presence is Presence.PRESENT


ABSENT = State(Presence.ABSENT)
PRESENT = State(Presence.PRESENT)


def other(found: str) -> State:
    """Return the state of a place that something else takes."""
    return State(Presence.OTHER, found)
