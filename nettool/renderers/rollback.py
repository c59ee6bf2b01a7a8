"""How a plan is taken back, as a script in plain shell: what a confirm timer runs.

It works without Python and without nettool, since it may be needed when neither can be reached any
more. Which steps have begun it reads from the journal, at the time it runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nettool.plan import Command
from nettool.renderers import Escaped, fill, shell, typed
from nettool.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nettool.plan import Plan, Step

_LOCK_SECONDS = 120
"""How long the script waits for a run that is at work still."""


class _Undo(Value):
    """One command of the script, with what must hold for it to run."""

    why: str
    guard: Escaped
    command: Escaped


def render(planned: Plan, folder: str, lock: str) -> str:
    """Return the script for a plan whose journal is in `folder`."""
    steps = tuple(_again(planned) if planned.inverse else _back(planned))
    values = {"run": shell(folder), "lock": shell(lock), "patience": shell(str(_LOCK_SECONDS))}
    return fill("rollback.sh.j2", steps=steps, **values)


def _back(planned: Plan) -> Iterator[_Undo]:
    """Undo each step that has begun, last first."""
    for number, step in reversed(tuple(enumerate(planned.to_do))):
        if isinstance(step.undo, Command):
            guard = Escaped(f"ran {number} && {_name_is_ours(planned, step)}")
            yield _Undo(f"takes back: {step.why}", guard, typed(step.undo))


def _again(planned: Plan) -> Iterator[_Undo]:
    """Make again what an inverse plan takes away; what is there still says so itself."""
    for step in planned.restores:
        yield _Undo(step.why, Escaped(_name_is_ours(planned, step)), typed(step.do))


def _name_is_ours(planned: Plan, step: Step) -> str:
    named = [s.netns for s in planned.sandboxes if s.netns.inode is not None] if step.touches else []
    return "".join(f"ours {shell(netns.name)} {shell(str(netns.inode))} && " for netns in named)
