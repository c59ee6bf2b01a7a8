"""A plan as a table, for a person at a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from nettool.plan import Command, Decision, Plan, Status, Stays
from nettool.render import where
from nettool.text import safe

if TYPE_CHECKING:
    from nettool.facts import Facts

_MARKS = {Status.TODO: "[green]+[/]", Status.ALREADY: "[dim]=[/]", Status.CONFLICT: "[red]![/]"}


def print_plan(planned: Plan, facts: Facts, *, explain: bool) -> None:
    """Print a plan on the terminal; colour follows NO_COLOR and TERM."""
    console = Console(highlight=False)
    where_from = f" on {facts.hostname}" if facts.hostname else ""
    console.print(f"[bold]Plan[/]  {escape(safe(planned.title))}{escape(safe(where_from))}")
    console.print(_table(planned, explain=explain))
    for note in planned.notes:
        console.print(f"[dim]note:[/] {escape(safe(note))}")
    console.print(_count(planned))


def _table(planned: Plan, *, explain: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("", "#", "where", "command", *(("undo",) if explain else ()), "why"):
        table.add_column(title, justify="right" if title == "#" else "left", overflow="fold")
    for number, decision in enumerate(planned.decisions, 1):
        table.add_row(*_cells(number, decision, planned, explain=explain))
    return table


def _cells(number: int, decision: Decision, planned: Plan, *, explain: bool) -> list[str]:
    step = decision.step
    idle = decision.status is not Status.TODO
    why = f"{step.why} ({decision.found or decision.status.value})" if idle else step.why
    cells = [where(step), step.do.typed()]
    if explain:
        cells.append(_undo(decision, planned))
    styled = [escape(safe(cell)) for cell in (*cells, why)]
    return [_MARKS[decision.status], str(number), *(f"[dim]{cell}[/]" if idle else cell for cell in styled)]


def _undo(decision: Decision, planned: Plan) -> str:
    undo = decision.step.undo
    if isinstance(undo, Command):
        return undo.typed()
    if isinstance(undo, Stays):
        return f"stays: {undo.why}"
    if undo is None:
        return "cannot be undone"
    keys = [step.makes.key for step in planned.steps]
    return f"(with {keys.index(undo.key) + 1})" if undo.key in keys else "-"


def _count(planned: Plan) -> str:
    counts = {status: sum(d.status is status for d in planned.decisions) for status in Status}
    parts = [f"{counts[Status.TODO]} to do", f"{counts[Status.ALREADY]} already so"]
    if counts[Status.CONFLICT]:
        parts.append(f"[red]{counts[Status.CONFLICT]} in conflict[/]")
    return ", ".join(parts)
