"""Find every leftover on the host, or unused network, and show or clear each in a run of its own."""

from __future__ import annotations

import os

from nettool.collecting import held_by_others, leftovers, leftovers_of, strange_names
from nettool.locks import HOST, Locks
from nettool.networks import unused
from nettool.patience import look_again
from nettool.pipeline import change, make_plan, recover_first
from nettool.reading import facts_reader, records_for
from nettool.render import commands
from nettool.request import Collect, RemoveNetwork
from nettool.store.rundir import run_folder
from nettool.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from nettool.facts import Facts
    from nettool.model import Records
    from nettool.pipeline import Mode
    from nettool.plan import Plan


class Gathered(Value):
    """What was found, and whether it was cleared."""

    plans: tuple[Plan, ...]
    strange: tuple[str, ...]
    """Names of namespaces that are dead, too, but nobody knows whose."""
    cleared: bool
    explain: bool

    def document(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        found = [
            {"title": plan.title, "commands": [list(step.do.words()) for step in plan.to_do]}
            for plan in self.plans
        ]
        return {"cleared": self.cleared, "found": found, "left_alone": list(self.strange)}

    def lines(self) -> tuple[str, ...]:
        """Return it as text: what was done, or the commands that would do it."""
        if not self.plans:
            return ("nothing to clear away",)
        if self.cleared:
            return tuple(f"done: {plan.title}" for plan in self.plans)
        return tuple("".join(commands(plan, explain=self.explain) for plan in self.plans).splitlines())


def gather_after(name: str, mode: Mode) -> None:
    """Clear away what is left of the life before of a sandbox that has started again.

    One that has ended has taken its cables along, so that the others need not be looked at.
    """
    request = Collect("", of=name)
    facts, records = facts_reader(request, None)(), records_for(request)
    places = leftovers_of(name, facts, records)
    if places is None:
        gather(mode)
        return
    for place in places:
        change(Collect(place, of=name), mode)


def gather(mode: Mode) -> Gathered:
    """Find what is left behind; unless it is a dry run, clear it. Raises NettoolError."""
    recover_first(mode)
    records = records_for(Collect(""))
    facts = _look(records)
    plans = []
    for place in leftovers(facts, records):
        request = Collect(place)
        if mode.dry_run:
            plans.append(make_plan(request, lambda: facts)[0])
        else:
            done = clear_place(request, replace(mode, quiet=True))
            plans += [done] if done else []
    if not mode.dry_run:
        _tidy(mode, facts)
    return Gathered(tuple(plans), strange_names(facts, records), not mode.dry_run, mode.explain)


def clear_place(request: Collect, mode: Mode) -> Plan | None:
    """Clear one place; return the plan that did it, None where somebody has come in there to stay."""
    planned: list[Plan] = []

    def clear() -> Plan:
        change(request, mode, lambda plan, _: planned.append(plan))
        return planned[-1]

    done = look_again(clear, until=lambda plan: bool(plan.steps))
    return done if done.steps else None


def _look(records: Records) -> Facts:
    """Read the host; again, where a namespace is held by who may be in it for an instant, as a survey is."""

    def look() -> Facts:
        return facts_reader(Collect(""), None)()

    return look_again(look, until=lambda facts: not held_by_others(facts, records))


def prune(mode: Mode) -> Gathered:
    """Find the networks that nobody is on; unless it is a dry run, remove them. Raises NettoolError."""
    recover_first(mode)
    first = RemoveNetwork("")
    names = unused(facts_reader(first, None)(), records_for(first))
    plans = []
    for name in names:
        request = RemoveNetwork(name)
        plans.append(make_plan(request, facts_reader(request, None))[0])
        if not mode.dry_run:
            change(request, replace(mode, quiet=True))
    return Gathered(tuple(plans), (), not mode.dry_run, mode.explain)


def _tidy(mode: Mode, facts: Facts) -> None:
    """Remove the locks of namespaces that are gone: under the host's lock nobody waits for them."""
    if not os.path.isdir(run_folder()):
        return
    locks = Locks(run_folder(), "gc", mode.lock_timeout)
    locks.acquire((HOST,))
    try:
        for name in _stale(os.listdir(run_folder()), facts):
            os.unlink(f"{run_folder()}/{name}")
    finally:
        locks.release()


def _stale(names: Iterable[str], facts: Facts) -> list[str]:
    alive = {f"netns-{sandbox.inode}.lock" for sandbox in facts.sandboxes}
    return [
        name for name in names if name.startswith("netns-") and name.endswith(".lock") and name not in alive
    ]
