"""Frozen values: what a frozen dataclass is, at a hundredth of its cost at start-up.

`dataclasses` imports `inspect` and compiles the methods of every class anew in each process: 35
classes take 60 to 90 ms where the ten commands of an attachment take 47 (docs/benchmarks.md). Here
the methods are written once, in the base class. To a type checker the two are the same (PEP 681).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, TypeVar, dataclass_transform

    _V = TypeVar("_V", bound="Value")
else:

    def dataclass_transform(**_options):  # noqa: ANN003, ANN201 - never type-checked
        """Stand in for `typing.dataclass_transform`, which only type checkers read."""
        return lambda cls: cls


@dataclass_transform(frozen_default=True)
class Value:
    """A frozen object made of its annotated fields, equal to another of its class with the same."""

    _defaults: ClassVar[dict[str, Any]]

    def __init_subclass__(cls) -> None:
        cls._defaults = {name: cls.__dict__[name] for name in cls.__annotations__ if name in cls.__dict__}

    def __init__(self, *args: Any, **named: Any) -> None:
        fields = type(self).__annotations__
        if len(args) > len(fields):
            raise TypeError(f"{type(self).__name__} has {len(fields)} fields, not {len(args)}")
        given = dict(zip(fields, args, strict=False))
        for name in named:
            if name not in fields or name in given:
                raise TypeError(f"{type(self).__name__} has no field {name} to set here")
        given.update(named)
        if len(given) < len(fields):
            given = {**self._defaults, **given}
            missing = [name for name in fields if name not in given]
            if missing:
                raise TypeError(f"{type(self).__name__} needs the field {missing[0]}")
        self.__dict__.update(given)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be set")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *values(self)))

    def __repr__(self) -> str:
        body = ", ".join(f"{name}={getattr(self, name)!r}" for name in field_types(type(self)))
        return f"{type(self).__name__}({body})"


def field_types(cls: type) -> dict[str, str]:
    """Return the names of a value's fields in order, with their types as written."""
    return dict(cls.__annotations__)


def values(value: Value) -> tuple[Any, ...]:
    """Return a value's fields in order."""
    return tuple(getattr(value, name) for name in field_types(type(value)))


def replace(value: _V, **changes: Any) -> _V:
    """Return a copy with some fields changed."""
    return type(value)(**{**value.__dict__, **changes})
