"""Frozen dataclasses to JSON values and back: one form for saved plans, records and facts files.

An object becomes a mapping with its class name under `is`. Reading accepts only the classes it is
given and only the fields they have, so that a file from elsewhere cannot make anything else.
"""

from __future__ import annotations

import enum
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class Malformed(ValueError):  # noqa: N818 - the caller turns it into an error with a status
    """The JSON value does not describe one of the expected objects."""


def encode(value: object) -> Any:
    """Return the JSON value of dataclasses, enums, tuples, mappings and plain values."""
    if isinstance(value, enum.Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        body = {field.name: encode(getattr(value, field.name)) for field in fields(value)}
        return {"is": type(value).__name__, **body}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    return value


def decode(value: Any, classes: Iterable[type]) -> Any:
    """Build the object that `encode` was given; lists become tuples.

    Raises Malformed for an unknown class, an unknown field or a missing one.
    """
    return _decode(value, {cls.__name__: cls for cls in classes})


def _decode(value: Any, classes: dict[str, type]) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item, classes) for item in value)
    if not isinstance(value, dict):
        return value
    if "is" not in value:
        return {key: _decode(item, classes) for key, item in value.items()}
    cls = classes.get(value["is"]) if isinstance(value["is"], str) else None
    if cls is None:
        raise Malformed(f"unknown object {value['is']!r}")
    body = {key: _decode(item, classes) for key, item in value.items() if key != "is"}
    try:
        return cls(**body)
    except (TypeError, ValueError) as error:
        raise Malformed(f"{value['is']}: {error}") from error
