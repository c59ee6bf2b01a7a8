"""Facts as a file: written by `nettool facts` on one machine, planned from on another."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nettool.codec import Malformed, decode, encode
from nettool.envelope import SCHEMA, envelope
from nettool.errors import UsageError
from nettool.facts import (
    AddressFact,
    ChainFact,
    Facts,
    FirewallFacts,
    FlowFact,
    LinkFact,
    NamespaceFacts,
    NeighbourFact,
    NetnsNameFact,
    RouteFact,
    RuleFact,
    SandboxFact,
    SocketFact,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

CLASSES: Final = (
    AddressFact, ChainFact, Facts, FirewallFacts, FlowFact, LinkFact, NamespaceFacts, NeighbourFact,
    NetnsNameFact, RouteFact, RuleFact, SandboxFact, SocketFact,
)  # fmt: skip


_T = TypeVar("_T")


def facts_document(facts: Facts) -> dict[str, Any]:
    """Return facts as a JSON document."""
    return envelope("facts", facts=encode(facts))


def load_facts(path: str) -> Facts:
    """Read facts from a file, or from standard input for `-`. Raises UsageError."""
    document = load_document(path, "facts")
    return decode_in(path, document.get("facts"), CLASSES, Facts)


def load_document(path: str, kind: str) -> dict[str, Any]:
    """Read a JSON document of nettool's and check that it is of that kind. Raises UsageError."""
    try:
        if path == "-":
            text = sys.stdin.read()
        else:
            with open(path, encoding="utf-8") as file:
                text = file.read()
        document = json.loads(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no JSON", why=(str(error),)) from error
    if not isinstance(document, dict) or document.get("kind") != kind:
        raise UsageError(f"{path} is no {kind} document of nettool's")
    if document.get("schema") != SCHEMA:
        raise UsageError(
            f"{path} has schema {document.get('schema')!r}; this nettool reads {SCHEMA}",
            hints=("use the nettool that wrote it",),
        )
    return document


def decode_in(path: str, value: Any, classes: Iterable[type], expected: type[_T]) -> _T:
    """Build the expected object from a document's part. Raises UsageError."""
    try:
        made = decode(value, classes)
    except Malformed as error:
        raise UsageError(f"{path} is malformed", why=(str(error),)) from error
    if not isinstance(made, expected):
        raise UsageError(f"{path} is malformed", why=(f"there is no {expected.__name__} in it",))
    return made
