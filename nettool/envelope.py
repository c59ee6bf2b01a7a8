"""The form of every JSON document that nettool writes. Pure."""

from __future__ import annotations

from nettool import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

SCHEMA: Final = 1
"""The version of every JSON document that nettool writes; a field's meaning never changes in one."""


def envelope(kind: str, **body: Any) -> dict[str, Any]:
    """Return a JSON document: what wrote it, what it is, and its body."""
    return {"schema": SCHEMA, "nettool": __version__, "kind": kind, **body}
