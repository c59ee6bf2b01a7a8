"""Lets a nettool that runs under stand-ins (shims.py) start the real tool, where no rule is about the call.

A stand-in is a shell, which costs as much as the tool. The call is noted as the stand-in would.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

from nettool.run import Started

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

FOLDER: Final = "NETTOOL_SHIMS"
RULES: Final = "rules.json"
CALLS: Final = "calls"


def install(folder: Path) -> None:
    """Have the stand-ins in this folder passed by, from now on, in this process."""
    rules: dict[str, list[str]] = json.loads((folder / RULES).read_bytes())
    start = Started.__init__

    def started(self: Started, argv: Sequence[str], *, stdin: str | None = None, **options: Any) -> None:
        calls = list(_calls(tuple(argv), stdin))
        wanted = rules.get(argv[0], ("*",))
        if "*" in wanted or any(" ".join(call[1:]) in wanted for call in calls):
            start(self, argv, stdin=stdin, **options)
            return
        if argv[:2] != ("nsenter", "--target"):
            _note(folder / CALLS, calls)
        path = os.environ["PATH"]
        os.environ["PATH"] = path.replace(f"{folder}:", "", 1)
        try:
            start(self, argv, stdin=stdin, **options)
        finally:
            os.environ["PATH"] = path

    Started.__init__ = started  # type: ignore[method-assign]  # that is the point


def _calls(argv: tuple[str, ...], stdin: str | None) -> Iterator[tuple[str, ...]]:
    """Yield what is called: the lines of a batch are a call each, unless they only read."""
    if argv[-2:] != ("-batch", "-") or "-json" in argv or stdin is None:
        yield argv
        return
    for line in stdin.splitlines():
        yield (*argv[:-2], *line.split())


def _note(log: Path, calls: list[tuple[str, ...]]) -> None:
    text = "".join("".join(f"{word}\037" for word in (*call, "\036")) for call in calls)
    with log.open("ab", buffering=0) as file:
        file.write(text.encode("utf-8", "surrogateescape"))
