"""Saved plans: compare what was planned with what would be planned now, and carry it out.

The file says what was wanted and what was going to happen. Only the request in it is used: the plan
is made again, so that the file can never bring a command of its own.
"""

from __future__ import annotations

from nettool.errors import Refused
from nettool.factsfile import decode_in, load_document
from nettool.pipeline import change, execute, make_plan
from nettool.reading import facts_reader
from nettool.render import document
from nettool.request import (
    Attach,
    Connect,
    CreateNetwork,
    CreateSandbox,
    Detach,
    Disconnect,
    Publish,
    RemoveNetwork,
    RemoveSandbox,
    Target,
    Unpublish,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Final

    from nettool.facts import Facts
    from nettool.pipeline import Mode
    from nettool.plan import Plan
    from nettool.request import Request

_REQUESTS: Final[dict[str, type[Request]]] = {
    each.__name__: each
    for each in (
        Attach, Detach, CreateNetwork, RemoveNetwork, Connect, Disconnect, Publish, Unpublish, CreateSandbox,
        RemoveSandbox,
    )
}  # fmt: skip
CLASSES: Final = (*_REQUESTS.values(), Target)
_COMPARED: Final = ("host", "dialect", "sandboxes", "steps")


def apply_saved(path: str, mode: Mode) -> int:
    """Carry out the plan in a file. Raises Refused when the host has changed, with what differs."""
    saved = load_document(path, "plan")
    wanted = saved.get("request")
    named = _REQUESTS.get(str(wanted.get("is"))) if isinstance(wanted, dict) else None
    request: Request = decode_in(path, wanted, CLASSES, named or Attach)

    def agree(planned: Plan, facts: Facts) -> None:
        _compare(saved, planned, facts)

    if not mode.dry_run:
        return change(request, mode, agree)
    agree(*make_plan(request, facts_reader(request, None)))
    return execute(request, mode)


def _compare(saved: dict[str, Any], planned: Plan, facts: Facts) -> None:
    now = document(planned, facts)
    steps = saved.get("steps")
    if planned.decisions and not planned.to_do and not planned.conflicts:
        # Carried out already: that it is done is no reason to refuse it.
        steps = _with_status_of(now["steps"], steps)
    differing = tuple(differences({**saved, "steps": _run_or_not(steps)}, _as_compared(now)))
    if differing:
        raise Refused(
            "this host is no longer the one that the plan was made for",
            why=differing,
            hints=("plan again, and read the new plan",),
        )


def _as_compared(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "steps": _run_or_not(document["steps"])}


def _run_or_not(steps: Any) -> Any:
    """Return steps without the undo of those that do not run: what it would be is of no account."""
    if not _is_list_of_objects(steps):
        return steps
    return [{**step, "undo": None} if step.get("status") == "already so" else step for step in steps]


def _with_status_of(steps: list[dict[str, Any]], saved: Any) -> Any:
    if not _is_list_of_objects(saved) or len(saved) != len(steps):
        return saved
    return [{**then, "status": step["status"]} for then, step in zip(saved, steps, strict=True)]


def differences(saved: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Say in what a saved plan and today's differ, a line each."""
    for key in _COMPARED:
        yield from _differ(key, saved.get(key), now.get(key))


def _differ(place: str, then: Any, now: Any) -> Iterator[str]:
    if then == now:
        return
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted({*then, *now}):
            yield from _differ(f"{place}.{key}", then.get(key), now.get(key))
    elif _is_list_of_objects(then) and _is_list_of_objects(now) and len(then) == len(now):
        for index, (before, after) in enumerate(zip(then, now, strict=True), 1):
            yield from _differ(f"{place}[{index}]", before, after)
    else:
        yield f"{place}: {_brief(then)} then, {_brief(now)} now"


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _brief(value: Any) -> str:
    if isinstance(value, list):
        words = all(isinstance(item, str) for item in value)
        return f"`{' '.join(value)}`" if words else f"{len(value)} of them"
    return "none" if value is None else str(value)
