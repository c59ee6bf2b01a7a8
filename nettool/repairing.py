"""Plan to make again what is gone of an endpoint: an address, a route, a rule, or all of it. Pure.

What somebody put in the place of something stays, and so does a name that somebody gave.
"""

from __future__ import annotations

from nettool.detaching import renamed
from nettool.drivers import ports
from nettool.errors import TargetNotFound
from nettool.lowering import check_tools, lower
from nettool.plan import Change, Plan
from nettool.presence import Presence
from nettool.resolve import Findings
from nettool.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nettool.facts import Facts
    from nettool.model import Record, Records
    from nettool.plan import Step
    from nettool.request import RestoreEndpoint


def plan_restore_endpoint(request: RestoreEndpoint, facts: Facts, records: Records) -> Plan:
    """Plan to make again what is gone of an endpoint, where its sandbox is there. Raises TargetNotFound."""
    record = records.endpoint(request.host_end)
    if record is None:
        raise TargetNotFound(f"there is no endpoint {request.host_end!r} on record")
    sandbox, findings = record.endpoint.sandbox, Findings()
    alive = facts.namespace(sandbox.netns) is not None
    now = renamed(record, facts)
    wanted = tuple(_steps(now, request, facts)) if alive else ()
    taken = [state.found for s in wanted if (state := s.makes.state(facts)).presence is Presence.OTHER]
    steps = tuple(s for s in wanted if s.makes.state(facts).presence is not Presence.OTHER)
    check_tools(steps, facts, findings)
    planned = Plan(
        request=request,
        title=f"restore {record.endpoint.ifname} of {sandbox.target}",
        dialect=record.dialect,
        steps=steps,
        sandboxes=(sandbox,) if alive else (),
        changes=(),
        problems=tuple(findings.problems),
        notes=tuple(f"left as it is: {found}" for found in taken),
    ).against(facts)
    after = replace(record, made=planned.made(record.made))
    return planned if not planned.to_do else replace(planned, changes=(Change(after, record),))


def _steps(record: Record, request: RestoreEndpoint, facts: Facts) -> Iterator[Step]:
    endpoint = record.endpoint
    if (request.ports_only or endpoint.foreign) and facts.host.link(endpoint.host_end) is None:
        return
    yield from ports.shared(endpoint, facts)
    yield from ports.rules(endpoint) if request.ports_only else lower(endpoint, record.dialect)
    yield from ports.turned_flows(endpoint, facts)
