"""The runs of the past as text and as JSON values. Pure."""

from __future__ import annotations

import datetime as dt

from nettool.history import standing
from nettool.text import columns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from nettool.history import Logged

_HEAD = ("RUN", "WHEN", "STATE", "WHAT")


def state(run: Logged, runs: Sequence[Logged]) -> str:
    """Return what became of a run: also that it was undone, and by which later one."""
    if run.pending:
        return "waits to be confirmed"
    if run.end is None:
        return "cut off"
    stand = standing(runs)
    undoer = next((other.id for other in runs if other.undoes == run.id and other.id in stand), None)
    return f"undone by {undoer}" if undoer else "done" if run.end == "committed" else run.end


def entry(run: Logged, runs: Sequence[Logged], *, steps: bool) -> dict[str, Any]:
    """Return a run as a JSON value; with `steps` its commands, too."""
    made = {
        "id": run.id,
        "when": _when(run).isoformat(),
        "title": run.title,
        "state": state(run, runs),
        "undoes": run.undoes,
        "snapshot_before": run.snapshot,
    }
    return made | ({"steps": _steps(run)} if steps else {})


def _steps(run: Logged) -> list[dict[str, Any]]:
    return [
        {"command": list(step.do.words()), "ran": place in run.started, "why": step.why}
        for place, step in enumerate(run.steps)
    ]


def table(runs: Sequence[Logged]) -> tuple[str, ...]:
    """Return a line for each run, aligned."""
    if not runs:
        return ("nothing yet",)
    lines = [_HEAD, *((run.id, _clock(run), state(run, runs), run.title) for run in runs)]
    return columns(lines)


def details(run: Logged, runs: Sequence[Logged]) -> tuple[str, ...]:
    """Return one run with its commands, those that never ran in brackets."""
    commands = ((step.do.typed(), place in run.started) for place, step in enumerate(run.steps))
    return (
        f"{run.id}  {_clock(run)}  {state(run, runs)}",
        run.title,
        f"host before: {run.snapshot}",
        *(f"  {words}" if ran else f"  ({words})" for words, ran in commands),
    )


def _when(run: Logged) -> dt.datetime:
    return dt.datetime.fromtimestamp(run.milliseconds / 1000, dt.UTC)


def _clock(run: Logged) -> str:
    return _when(run).astimezone().strftime("%Y-%m-%d %H:%M:%S")
