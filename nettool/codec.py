"""Frozen values to JSON values and back: one form for saved plans, records and facts files.

An object becomes a mapping with its class name under `is`. Reading accepts only the classes it is
given, only the fields they have, and only values of the fields' types, so that a file from elsewhere
cannot make anything else.
"""

from __future__ import annotations

import enum

from nettool.value import Value, field_types

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any


class Malformed(ValueError):  # noqa: N818 - the caller turns it into an error with a status
    """The JSON value does not describe one of the expected objects."""


def encode(value: object) -> Any:
    """Return the JSON value of frozen values, enums, tuples, mappings and plain values."""
    # Most of a plan is text.
    if value is None or type(value) is str:
        return value
    if isinstance(value, Value):
        body = {name: encode(getattr(value, name)) for name in type(value).__annotations__}
        return {"is": type(value).__name__, **body}
    if isinstance(value, enum.Enum):
        return {"is": type(value).__name__, "value": value.value}
    if isinstance(value, (tuple, list)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {str(key): encode(item) for key, item in value.items()}
    return value


def decode(value: Any, classes: Iterable[type], unions: Mapping[str, Iterable[type]] | None = None) -> Any:
    """Build the object that `encode` was given; lists become tuples.

    `unions` names the classes behind a union that fields are annotated with. Raises Malformed for an
    unknown class, an unknown field, a missing one, or a value of another type.
    """
    members = {name: {cls.__name__ for cls in union} for name, union in (unions or {}).items()}
    return _decode(value, {cls.__name__: cls for cls in classes}, members)


def _decode(value: Any, classes: dict[str, type], unions: dict[str, set[str]]) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item, classes, unions) for item in value)
    if isinstance(value, str) and not value.isascii():
        _check_text(value)
    if not isinstance(value, dict):
        return value
    if "is" not in value:
        return {key: _decode(item, classes, unions) for key, item in value.items()}
    cls = classes.get(value["is"]) if isinstance(value["is"], str) else None
    if cls is None:
        raise Malformed(f"unknown object {value['is']!r}")
    body = {key: _decode(item, classes, unions) for key, item in value.items() if key != "is"}
    if issubclass(cls, enum.Enum):
        return _member(cls, body)
    try:
        made = cls(**body)
    except TypeError as error:
        raise Malformed(f"{value['is']}: {error}") from error
    for name, kind in field_types(cls).items():
        if not _fits(getattr(made, name), kind, unions):
            raise Malformed(f"{value['is']}.{name} is no {kind}")
    return made


def _member(cls: type[enum.Enum], body: dict[str, Any]) -> enum.Enum:
    try:
        return cls(body["value"])
    except (KeyError, ValueError) as error:
        raise Malformed(f"{cls.__name__}: {error}") from error


def _check_text(text: str) -> None:
    """Refuse what could be no text of a file or of the kernel: surrogates that stand for no byte."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise Malformed(f"{text!a} is no text") from error


def _fits(value: Any, annotation: str, unions: dict[str, set[str]]) -> bool:
    """Whether a value has the type that a field's annotation names (as text, PEP 563)."""
    kinds = annotation.split(" | ") if not annotation.startswith("tuple[") else [annotation]
    return any(_is_a(value, kind, unions) for kind in kinds)


def _is_a(value: Any, kind: str, unions: dict[str, set[str]]) -> bool:
    if kind.startswith("tuple["):
        inner = kind.removeprefix("tuple[").removesuffix("]")
        if not isinstance(value, tuple):
            return False
        if inner.endswith(", ..."):
            return all(_fits(item, inner.removesuffix(", ..."), unions) for item in value)
        kinds = inner.split(", ")
        pairs = zip(value, kinds, strict=False)
        return len(kinds) == len(value) and all(_fits(item, one, unions) for item, one in pairs)
    name = type(value).__name__
    return name == ("NoneType" if kind == "None" else kind) or name in unions.get(kind, ())
