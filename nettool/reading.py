"""Read all that planning one request needs to know of the host."""

from __future__ import annotations

import os

from nettool.errors import TargetNotFound
from nettool.facts import SandboxFact
from nettool.host import Reading
from nettool.plan import namespaces_made, reads_firewall
from nettool.request import (
    Attach,
    Collect,
    Connect,
    CreateNetwork,
    CreateSandbox,
    Detach,
    Disconnect,
    Publish,
    RemoveNetwork,
    RemoveSandbox,
    RestoreEndpoint,
    RestoreNetwork,
    Target,
    Undo,
    Unpublish,
)
from nettool.sandboxes import find, find_all
from nettool.store.rundir import read_records
from nettool.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Final

    from nettool.facts import Facts
    from nettool.history import Logged
    from nettool.model import Records, Sandbox
    from nettool.request import Request

_MOST_PROBES: Final = 16
"""How many addresses that somebody unknown has are passed over, at 100 ms each."""


def facts_reader(request: Request, facts_file: str | None) -> Callable[[], Facts]:
    """Return a function that reads the facts: of this host, or those in a file."""
    if facts_file is not None:
        from nettool.factsfile import load_facts  # most calls read the host itself

        stored = load_facts(facts_file)
        return lambda: stored
    return _HostReader(request).read


def records_for(request: Request) -> Records:
    """Return what nettool remembers, with the runs of the past where the request is about one."""
    records = read_records()
    from nettool.store.database import read_networks

    records = replace(records, networks=read_networks())
    if not isinstance(request, Undo):
        return records
    from nettool.journal import read_runs  # only what is undone is looked up there

    return replace(records, runs=read_runs())


class _HostReader:
    """Reads the host for one request. The first reading is under way as soon as this is made."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._answers: tuple[tuple[str, str], ...] | None = None
        self._reading: Reading | None = self._start()

    def _start(self) -> Reading:
        request = self._request
        # What is taken away may have to be put back: a detachment knows only later what it was.
        ipv6 = not isinstance(request, Attach) or any(":" in text for text in request.addresses)
        runs = _runs(request)
        firewall = _needs_firewall(request) or any(reads_firewall(run.steps) for run in runs)
        sockets = isinstance(request, Publish) or _publishes(request)
        return Reading(
            _sandboxes(request, runs), with_ipv6=ipv6, with_firewall=firewall, with_sockets=sockets
        )

    def read(self) -> Facts:
        """Return the facts of this moment; who answers on the wire is asked once."""
        reading, self._reading = self._reading or self._start(), None
        facts = reading.finish()
        if self._answers is None:
            self._answers = _ask_wire(self._request, facts)
        return facts.answered(self._answers)


def _needs_firewall(request: Request) -> bool:
    """Whether the request is about rules: its own, or those of endpoints that it takes away."""
    rules = (CreateNetwork, RemoveNetwork, RestoreNetwork, RestoreEndpoint, Publish, Unpublish)
    if isinstance(request, rules) or _publishes(request):
        return True
    if not isinstance(request, (Detach, Disconnect, Collect)):
        return False
    records = read_records()
    noted = any(line.startswith("port ") for trace in records.traces for line in trace.lines)
    return noted or any(record.endpoint.ports for record in records.endpoints)


def _publishes(request: Request) -> bool:
    """Whether an endpoint may be made with published ports: those of a kept one are on record."""
    if isinstance(request, Connect) and request.kept:
        return True
    return isinstance(request, (Attach, Connect)) and bool(request.published)


def _runs(request: Request) -> tuple[Logged, ...]:
    """Return the runs of the past that a request is about."""
    if not isinstance(request, Undo):
        return ()
    from nettool.history import meant

    return meant(request.run, records_for(request).runs)


def _sandboxes(request: Request, runs: tuple[Logged, ...]) -> tuple[SandboxFact, ...]:
    if isinstance(request, Disconnect):
        return _found_or_kept(request)
    if isinstance(request, (Attach, Detach, Connect, Publish, Unpublish)):
        return (find(request.target),)
    if isinstance(request, CreateSandbox):
        return (find(Target("netns", request.name)),)
    if isinstance(request, (RemoveSandbox, Collect)):
        # Who lives in it is found by looking at every process.
        return (*find_all(), *(_on_record(request) if isinstance(request, Collect) else ()))
    if isinstance(request, RestoreEndpoint):
        record = read_records().endpoint(request.host_end)
        return as_found((record.endpoint.sandbox,)) if record else ()
    return tuple(found for run in runs for found in of_run(run))


def _on_record(request: Collect) -> tuple[SandboxFact, ...]:
    from nettool.collecting import known, place_of

    places = {place_of(record.endpoint.sandbox) for record in known(records_for(request))}
    return tuple(found for place in places if (found := find(place)).inode is not None)


def _found_or_kept(request: Disconnect) -> tuple[SandboxFact, ...]:
    """Return whom a request means; a container that was removed may be on the network's record still."""
    try:
        return (find(request.target),)
    except TargetNotFound:
        record = records_for(request).network(request.network)
        if record is None or record.kept_as(request.target) is None:
            raise
        return ()


def of_run(run: Logged) -> tuple[SandboxFact, ...]:
    """Return the sandboxes of a run of the past, with the namespaces that it has made."""
    made = namespaces_made((*run.steps, *run.restores))
    return (*as_found(run.sandboxes), *(find(Target("netns", name)) for name in made))


def as_found(sandboxes: Iterable[Sandbox]) -> tuple[SandboxFact, ...]:
    """Return sandboxes of the past as facts; one whose path leads elsewhere by now is not read."""
    return tuple(
        SandboxFact((s.target,), "running", _path(s), s.netns.inode)
        for s in sandboxes
        if s.netns.inode is not None
    )


def _path(sandbox: Sandbox) -> str:
    """Return where a sandbox can be entered: its process may be gone while its name keeps it."""
    named = f"/var/run/netns/{sandbox.netns.name}"
    for path in (sandbox.path, named):
        try:
            if os.stat(path).st_ino == sandbox.netns.inode:
                return path
        except OSError:
            continue
    return sandbox.path


def _ask_wire(request: Request, facts: Facts) -> tuple[tuple[str, str], ...]:
    """Ask the bridge's other hosts for the addresses that the request is about."""
    if isinstance(request, Attach):
        return _answers(request.bridge, request.addresses, facts)
    if not isinstance(request, Connect):
        return ()
    from nettool.connecting import choose_addresses, network_record

    records = records_for(request)
    bridge = network_record(request.network, records).network.bridge or ""
    heard: tuple[tuple[str, str], ...] = ()
    for _ in range(_MOST_PROBES):
        chosen = choose_addresses(request, facts.answered(heard), records)
        new = _answers(bridge, chosen, facts)
        heard += new
        # What is asked for by name is not passed over: the plan says who has it.
        if not new or chosen == choose_addresses(request, facts.answered(heard), records):
            break
    return heard


def _answers(bridge: str, addresses: tuple[str, ...], facts: Facts) -> tuple[tuple[str, str], ...]:
    """Return who answers on the wire; one without ports is not worth the wait."""
    if all(link.master != bridge for link in facts.host.links):
        return ()
    from nettool.probe import probe

    return probe(bridge, addresses)
