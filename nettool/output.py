"""What is printed: results on stdout, the rest on stderr, everything from elsewhere made safe."""

from __future__ import annotations

import os
import sys

from nettool.envelope import envelope
from nettool.text import safe, safe_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from nettool.errors import NettoolError
    from nettool.facts import Facts
    from nettool.plan import Plan


def print_json(document: dict[str, Any]) -> None:
    """Print a JSON document on stdout."""
    import json

    print(json.dumps(document, indent=2))


def print_line(text: str) -> None:
    """Print one line on stdout."""
    print(safe(text))


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on stdout."""
    for line in lines:
        print_line(line)


def show_plan(planned: Plan, facts: Facts, *, explain: bool, as_json: bool) -> None:
    """Print a plan: a table on a terminal, else the bare commands, or JSON."""
    from nettool.render import commands, document  # apply prints no plan

    if as_json:
        print_json(document(planned, facts))
    elif sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        from nettool.table import print_plan  # rich takes 70 ms to import

        print_plan(planned, facts, explain=explain)
    else:
        print(commands(planned, explain=explain), end="")


def show_outcome(planned: Plan, *, run: str | None, wait: int, as_json: bool) -> None:
    """Print what became of a plan: applied as that run, or (None) nothing to do."""
    from nettool.render import outcome_document, outcome_line

    if as_json:
        print_json(outcome_document(planned, run, wait))
        return
    for note in planned.notes:
        note_line(note)
    print(safe_lines(outcome_line(planned, applied=run is not None)))


def note_line(text: str) -> None:
    """Print a remark on stderr."""
    print(f"note: {safe(text)}", file=sys.stderr)


def warn(what: str, *why: str, hints: tuple[str, ...] = ()) -> None:
    """Print a warning on stderr, with its reasons and what to try."""
    lines = [what, *(f"  why:   {line}" for line in why), *(f"  try:   {line}" for line in hints)]
    print("\n".join(safe(line) for line in lines), file=sys.stderr)


def print_error(error: NettoolError, *, as_json: bool) -> None:
    """Print an error: what, why, the state of the host, what to try."""
    if as_json:
        print_json(envelope("error", error=_error_body(error)))
    lines = [f"error: {error.what}"]
    for label, texts in (("why:", error.why), ("host:", (error.host,)), ("try:", error.hints)):
        for index, text in enumerate(texts):
            lines.append(f"  {label if index == 0 else '':<6} {text}")
    print("\n".join(safe_lines(line.replace("\n", "\n         ")) for line in lines), file=sys.stderr)


def _error_body(error: NettoolError) -> dict[str, Any]:
    return {
        "what": error.what,
        "why": list(error.why),
        "host": error.host,
        "try": list(error.hints),
        "exit_status": error.exit_status,
    }
