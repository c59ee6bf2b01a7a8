"""Plan to undo a run of the past: turn its own steps round. Pure.

What later work rests on is not taken away under it: the plan then has a problem that names the
later run. Steps of the host's scope stay, as with every inverse plan.
"""

from __future__ import annotations

from nettool.detaching import restore
from nettool.errors import Refused
from nettool.facts import ON_PARENT
from nettool.history import COMMITTED, later_work, meant
from nettool.networks import users_of
from nettool.plan import Change, NetworkChange, Plan, Problem, Scope, undo_steps
from nettool.presence import PRESENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nettool.facts import Facts
    from nettool.history import Logged
    from nettool.model import Records
    from nettool.plan import Step
    from nettool.request import Undo


def plan_undo(request: Undo, facts: Facts, records: Records) -> Plan:
    """Plan to take back what a run did. Raises Refused for a run that is not known, or did not stay."""
    run = choose(request.run, records.runs)
    if run.end != COMMITTED:
        raise Refused(f"run {run.id} has been taken back already: {run.title}", why=(f"it ended: {run.end}",))
    started = tuple(step for step in run.ran if step.scope is not Scope.HOST)
    planned = Plan(
        request=request,
        title=_title(run),
        dialect="classic",
        steps=undo_steps(run.inverse, run.restores, started),
        sandboxes=tuple(s for s in run.sandboxes if facts.namespace(s.netns) is not None),
        changes=tuple(_turned_round(run, records)),
        networks=tuple(_networks_turned_round(run, records)),
        inverse=not run.inverse,
        restores=() if run.inverse else tuple(_as_it_is(run, started, facts)),
        undoes=run.id,
    ).against(facts)
    planned = planned.with_problems(_in_use(run, facts, records))
    if not planned.to_do:
        return planned
    return planned.with_problems((*_missing(run, planned), *_later(run, records.runs)))


def _in_use(run: Logged, facts: Facts, records: Records) -> Iterator[Problem]:
    """Find networks that would go from under their endpoints: one without steps is used by no other run."""
    for change in run.networks if not run.inverse else ():
        record = records.network(change.name)
        if change.before is None and record is not None and record.network.kind in ON_PARENT:
            users = users_of(record.network, facts, records)
            if users:
                yield Problem(f"network {change.name} is in use", (f"by {', '.join(users)}",))


def choose(name: str, runs: Iterable[Logged]) -> Logged:
    """Return the run that an id, the beginning of one, or `last` means. Raises Refused."""
    found = meant(name, runs)
    if len(found) != 1:
        what = f"several runs begin with {name!r}" if found else f"there is no run {name!r} on this host"
        raise Refused(what, why=tuple(run.id for run in found), hints=("nettool history",))
    return found[0]


def _title(run: Logged) -> str:
    if run.undoes is None:
        return f"undo {run.title}"
    return f"redo {run.title[5:]}" if run.title.startswith("undo ") else f"undo {run.title[5:]}"


def _turned_round(run: Logged, records: Records) -> Iterator[Change]:
    for change in run.changes:
        if records.endpoint(change.endpoint.host_end) != change.before:
            yield change.turned()


def _networks_turned_round(run: Logged, records: Records) -> Iterator[NetworkChange]:
    """Yield the records to put back; of what has changed since, only who is to be on the network."""
    for change in run.networks:
        now = records.network(change.name)
        if now == change.after:
            yield change.turned()
        elif now is not None and change.before is None and not now.connections:
            # Which addresses were given out last went on since then.
            yield NetworkChange(None, now)
        elif now is not None and change.before is not None and change.after is not None:
            back = now
            for kept in {*change.before.connections, *change.after.connections}:
                if now.connection(kept.target) == change.after.connection(kept.target):
                    back = back.with_connection(kept.target, change.before.connection(kept.target))
            if back != now:
                yield NetworkChange(back, now)


def _as_it_is(run: Logged, started: Iterable[Step], facts: Facts) -> Iterator[Step]:
    """Yield the steps that make again what is there of a run, MACs included."""
    exact = {s.makes.key: s for c in run.changes if c.after for s in restore(c.after, facts)}
    for step in started:
        if step.makes.state(facts) == PRESENT:
            yield exact.get(step.makes.key, step)


def _missing(run: Logged, planned: Plan) -> Iterator[Problem]:
    """Find sandboxes that are gone: nothing can be put back into them."""
    for sandbox in run.sandboxes if run.inverse else ():
        if sandbox not in planned.sandboxes:
            yield Problem(
                f"{sandbox.target} is no longer there", (f"it was net:[{sandbox.netns.inode}]",),
                target_missing=True,
            )  # fmt: skip


def _later(run: Logged, runs: Iterable[Logged]) -> Iterator[Problem]:
    for other, shared in later_work(run, runs):
        yield Problem(
            f"later work rests on it: run {other.id}",
            (f"{other.title}: it works on {shared}, too",),
            (f"nettool undo {other.id}",),
        )
