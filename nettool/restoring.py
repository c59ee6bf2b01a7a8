"""Make again what records say and the host no longer has: after a reboot, a restart, a firewall reload.

What dead sandboxes have left is cleared; then come the networks, what is gone of the endpoints that are
there, and each sandbox that runs and is not wired. Each is a run of its own: what cannot be restored does
not keep the rest from it.
"""

from __future__ import annotations

from nettool.connecting import is_waiting, lasting_name
from nettool.errors import NettoolError, TargetAbsent
from nettool.gathering import gather, gather_after
from nettool.pipeline import change, make_plan, recover_first
from nettool.reading import facts_reader, records_for
from nettool.request import Connect, RestoreEndpoint, RestoreNetwork, Target
from nettool.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from nettool.model import Records
    from nettool.pipeline import Mode
    from nettool.plan import Plan
    from nettool.request import Request


class Restored(Value):
    """What was restored, or would be, what waits for its container, and what failed."""

    plans: tuple[Plan, ...]
    waiting: tuple[tuple[str, str], ...]
    """Pairs of who is to be on which network, and why that is not so."""
    failures: tuple[NettoolError, ...]
    done: bool

    def missing(self) -> tuple[str, ...]:
        """Return what is no longer so, a line each: what several networks need, once."""
        lines = (f"missing: {step.makes.sentence()}" for plan in self.plans for step in plan.to_do)
        return tuple(dict.fromkeys(lines))

    def document(self) -> dict[str, Any]:
        """Return it as a JSON value."""
        found = [
            {
                "title": plan.title,
                "missing": [step.makes.sentence() for step in plan.to_do],
                "commands": [list(step.do.words()) for step in plan.to_do],
            }
            for plan in self.plans
        ]
        failed = [failure.what for failure in self.failures]
        return {
            "done": self.done,
            "restored": found,
            "waiting": [who for who, _ in self.waiting],
            "failed": failed,
        }


def restore(mode: Mode, *, firewall_only: bool = False, only: str | None = None) -> Restored:
    """Restore all that is on record, its rules alone, or (`only`) what one sandbox is to have."""
    plans: list[Plan] = []
    failures: list[NettoolError] = []
    waiting: list[tuple[str, str]] = []
    recover_first(mode)
    if not firewall_only and not mode.dry_run:
        quiet = replace(mode, quiet=True)
        gather(quiet) if only is None else gather_after(only, quiet)
    records = records_for(RestoreNetwork(""))

    def carry_out(requests: Iterable[Request]) -> None:
        for request in requests:
            try:
                planned = make_plan(request, facts_reader(request, None))[0]
                if planned.to_do or planned.networks or planned.problems:
                    if not mode.dry_run:
                        change(request, replace(mode, quiet=True))
                    plans.append(planned)
            except NettoolError as error:
                failures.append(_about(request, error))

    if only is None:
        carry_out(RestoreNetwork(record.network.name) for record in records.networks)
        carry_out(
            RestoreEndpoint(record.endpoint.host_end, ports_only=firewall_only)
            for record in records.endpoints
            if record.endpoint.ports or not firewall_only
        )
    if not firewall_only:
        carry_out(_connections(records, only, waiting, failures))
    return Restored(tuple(plans), tuple(waiting), tuple(failures), not mode.dry_run)


def _connections(
    records: Records, only: str | None, waiting: list[tuple[str, str]], failures: list[NettoolError]
) -> Iterator[Connect]:
    """Yield the connections whose sandbox runs; note those that wait for it."""
    for record in records.networks:
        for kept in record.connections:
            if only not in (None, kept.target):
                continue
            kind, _, value = kept.target.partition(":")
            request = Connect(record.network.name, Target(kind, value), kept=True)
            who = f"{kept.target} on {record.network.name}"
            try:
                facts = facts_reader(request, None)()
            except TargetAbsent:
                waiting.append((who, "not on this host"))
                continue
            except NettoolError as error:
                failures.append(_about(request, error))
                continue
            wired = any(
                each.endpoint.bridge == record.network.bridge and facts.namespace(each.endpoint.sandbox.netns)
                for each in records.endpoints
            )
            if wired and only is None:
                # What is gone of it has been made again with the endpoints.
                continue
            found = facts.sandbox(str(request.target))
            if is_waiting(request.target, facts) or lasting_name(request.target, facts) is None:
                waiting.append((who, "not running"))
            elif found is not None and found.state == "gone":
                waiting.append((who, "not on this host"))
            else:
                yield request


def _about(request: Request, error: NettoolError) -> NettoolError:
    """Return an error that says which connection it is about."""
    if not isinstance(request, Connect):
        return error
    title = f"cannot connect {request.target} to {request.network}"
    if error.what.startswith(title):
        return error
    return NettoolError(f"{title}: {error.what}", why=error.why, host=error.host, hints=error.hints)
