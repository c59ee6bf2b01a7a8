"""The command line as data: each verb's options, declared once.

Two readers share the declaration. `parse` is the quick one: it understands a complete, valid
command line and nothing else. Whatever it does not understand (help, a typo, a missing value) it
leaves to the Typer application that `nettool.cli` builds from the same data, which then answers.
Importing Typer costs several times what the rest of a dry run does (docs/benchmarks.md); this way
only those who need its answers pay for it.
"""

from __future__ import annotations

import enum

from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Final


class Kind(enum.Enum):
    """What an option takes."""

    TEXT = "text"
    NUMBER = "number"
    FLAG = "flag"
    TEXTS = "texts"


class Option(Value):
    """One option of a verb: `names` as typed (`--pid`, `-n`), the first long one gives the key."""

    names: tuple[str, ...]
    help: str
    kind: Kind = Kind.TEXT
    default: str | int | None = None
    choices: tuple[str, ...] = ()
    metavar: str | None = None

    @property
    def key(self) -> str:
        """The name under which `Arguments` holds the value: `--host-ifname` is `host_ifname`."""
        long = next(name for name in self.names if name.startswith("--"))
        return long[2:].replace("-", "_")

    @property
    def empty(self) -> Given:
        """The value when the option is not given."""
        if self.kind is Kind.FLAG:
            return False
        return () if self.kind is Kind.TEXTS else self.default


class Operand(Value):
    """A positional argument; `many` takes all further ones, `rest` all that is left, dashes and all."""

    key: str
    help: str
    required: bool = True
    rest: bool = False
    many: bool = False


class Verb(Value):
    """A command: its words, its options, and the function that carries it out."""

    name: str
    summary: str
    run: Callable[[Arguments], int | None]
    options: tuple[Option, ...] = ()
    operands: tuple[Operand, ...] = ()
    examples: tuple[str, ...] = ()
    description: str = ""


Given = str | int | bool | tuple[str, ...] | None


class Arguments(Value):
    """The values of one command line, by option key, with an accessor for each kind.

    An option that the verb does not have reads like one that was not given.
    """

    values: Mapping[str, Given]

    def text(self, key: str) -> str | None:
        """Return a text option's value, or None when it was not given and has no default."""
        value = self.values.get(key)
        return None if value is None else str(value)

    def number(self, key: str) -> int | None:
        """Return a number option's value, or None when it was not given."""
        value = self.values.get(key)
        return value if isinstance(value, int) else None

    def flag(self, key: str) -> bool:
        """Whether the flag was given."""
        return bool(self.values.get(key))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return every value of a repeatable option, in order."""
        value = self.values.get(key)
        return value if isinstance(value, tuple) else ()


class _NotUnderstoodError(Exception):
    """The quick reader leaves this command line to Typer."""


_NUMBER: Final = frozenset("0123456789")
_MOST_DIGITS: Final = 18


def parse(verb: Verb, words: Sequence[str]) -> Arguments | None:
    """Read a complete and valid command line; None when Typer has to look at it."""
    by_name = {name: option for option in verb.options for name in option.names}
    values: dict[str, Given] = {option.key: option.empty for option in verb.options}
    positional: list[str] = []
    rest = iter(words)
    try:
        for word in rest:
            if word == "--":
                positional.extend(rest)
            elif word.startswith("-") and word != "-":
                _take_option(by_name, word, rest, values)
            else:
                positional.append(word)
                if verb.operands and verb.operands[-1].rest and len(positional) >= len(verb.operands):
                    positional.extend(rest)
        _take_operands(verb.operands, positional, values)
    except _NotUnderstoodError:
        return None
    return Arguments(values)


def _take_option(
    by_name: Mapping[str, Option], word: str, rest: Iterator[str], values: dict[str, Given]
) -> None:
    name, equals, attached = word.partition("=") if word.startswith("--") else (word, "", "")
    option = by_name.get(name)
    if option is None:
        raise _NotUnderstoodError
    if option.kind is Kind.FLAG:
        if equals:
            raise _NotUnderstoodError
        values[option.key] = True
        return
    raw = attached if equals else next(rest, None)
    # Typer refuses a value that looks like an option only when it is one: leave the doubt to it.
    if raw is None or (not equals and raw.startswith("-") and raw != "-"):
        raise _NotUnderstoodError
    values[option.key] = _value(option, raw, values[option.key])


def _value(option: Option, raw: str, before: Given) -> Given:
    if option.choices and raw not in option.choices:
        raise _NotUnderstoodError
    if option.kind is Kind.TEXTS:
        return (*before, raw) if isinstance(before, tuple) else (raw,)
    if option.kind is Kind.NUMBER:
        # Python refuses to read a number of thousands of digits, with an error of its own.
        if not 0 < len(raw) < _MOST_DIGITS or not set(raw) <= _NUMBER:
            raise _NotUnderstoodError
        return int(raw)
    return raw


def _take_operands(operands: Sequence[Operand], positional: list[str], values: dict[str, Given]) -> None:
    for operand in operands:
        if operand.rest or operand.many:
            if operand.required and not positional:
                raise _NotUnderstoodError
            values[operand.key] = tuple(positional)
            positional = []
        elif positional:
            values[operand.key] = positional.pop(0)
        elif operand.required:
            raise _NotUnderstoodError
        else:
            values[operand.key] = None
    if positional:
        raise _NotUnderstoodError
