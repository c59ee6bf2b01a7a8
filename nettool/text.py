"""Make text from elsewhere safe to print: names, labels and messages may come from a container."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

# Cc control, Cf format (bidi overrides, zero width), Cs lone surrogates, Zl and Zp line separators,
# Co and Cn private and unassigned.
_UNSAFE: Final = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"))


def safe(text: str) -> str:
    """Return the text with every character that a terminal could act on written as an escape."""
    if text.isascii() and text.isprintable():
        return text
    import unicodedata

    return "".join(_escape(c) if unicodedata.category(c) in _UNSAFE else c for c in text)


def safe_lines(text: str) -> str:
    """Like `safe`, for text of several lines."""
    return "\n".join(safe(line) for line in text.split("\n"))


def _escape(character: str) -> str:
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def columns(rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return rows of cells as lines, each column as wide as its widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    return tuple("   ".join(cells).rstrip() for cells in padded)


def a(noun: str) -> str:
    """Return a noun with the article that it takes."""
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"
