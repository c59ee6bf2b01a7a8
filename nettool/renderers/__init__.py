"""Renderers: each turns a plan into one form of text, by a Jinja2 template. All are pure.

Nothing reaches a template's output as it is: a value has to be `Escaped` by the filter for that
place and form, or rendering fails. So a forgotten filter is an error in every test, and not a hole.
"""

from __future__ import annotations

import shlex
from functools import cache
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from nettool import __version__

if TYPE_CHECKING:
    from nettool.plan import Command


class Escaped(str):
    """Text that is safe where it is put."""

    __slots__ = ()


def shell(text: object) -> Escaped:
    """Return one word as bash takes it, with nothing in it that a terminal could act on."""
    word = str(text)
    if word.isprintable():
        return Escaped(shlex.quote(word))
    escaped = (_ansi_c(byte) for byte in word.encode(errors="surrogateescape"))
    return Escaped(f"$'{''.join(escaped)}'")


def _ansi_c(byte: int) -> str:
    character = chr(byte)
    if character in "\\'":
        return f"\\{character}"
    # Three octal digits, unlike \\x, never run into the character behind them.
    return character if 0x20 <= byte < 0x7F else f"\\{byte:03o}"


def typed(command: Command) -> Escaped:
    """Return a command as one line of shell, with what it reads put in front."""
    line = " ".join(shell(word) for word in command.words())
    if command.stdin is None:
        return Escaped(line)
    lines = " ".join(shell(text) for text in command.stdin.splitlines())
    return Escaped(f"printf '%s\\n' {lines} | {line}")


def own(text: object) -> Escaped:
    """Pass nettool's own words, which may stand in a comment: one printable line of ASCII."""
    words = str(text)
    if not (words.isascii() and words.isprintable()):
        raise ValueError(f"not nettool's own words: {words!r}")
    return Escaped(words)


def fill(template: str, **values: Any) -> str:
    """Render one of `nettool/templates`."""
    return _environment().get_template(template).render(version=own(__version__), **values)


@cache
def _environment() -> Environment:
    environment = Environment(  # noqa: S701 - no HTML; `_require_escaped` lets nothing through unescaped
        loader=PackageLoader("nettool"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        comment_start_string="{##",  # bash has ${#name}
        comment_end_string="##}",
        finalize=_require_escaped,
    )
    environment.filters |= {"q": shell, "own": own}
    return environment


def _require_escaped(value: object) -> object:
    if not isinstance(value, (Escaped, int)):
        raise TypeError(f"unescaped text in a template: {value!r}")
    return value
