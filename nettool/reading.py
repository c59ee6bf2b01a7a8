"""Read all that planning one request needs to know of the host."""

from __future__ import annotations

import re

from nettool.errors import TargetNotFound
from nettool.facts import IPVLAN, MACVLAN, VLAN, SandboxFact
from nettool.host import Reading, read_facts, read_netns_names
from nettool.naming import is_marked
from nettool.plan import namespaces_made, reads_firewall, reads_sysctls
from nettool.processes import place_of
from nettool.request import (
    Adopt,
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
    from nettool.plan import Step
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
    """Reads the host for one request. The first reading is under way as soon as this is made.

    What is read is decided then, by records that the request may change.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._runs = _runs(request)
        of_runs = any(reads_firewall(run.all_steps) for run in self._runs)
        self._firewall = of_runs or _needs_firewall(request)
        self._traffic = _is_about_ports(request)
        self._answers: tuple[tuple[str, str], ...] | None = None
        self._earlier: Facts | None = None
        self._reading: Reading | None = self._start()
        self._kinds = _kinds(request)

    def _start(self) -> Reading:
        request = self._request
        # What is taken away may have to be put back: a detachment knows only later what it was.
        ipv6 = not isinstance(request, Attach) or any(":" in text for text in request.addresses)
        return Reading(
            _sandboxes(request, self._runs),
            with_ipv6=ipv6,
            with_firewall=self._firewall,
            with_traffic=self._traffic,
            earlier=self._earlier,
        )

    def read(self) -> Facts:
        """Return the facts of this moment; who answers on the wire is asked once."""
        reading, self._reading = self._reading or self._start(), None
        facts = self._earlier = reading.finish()
        facts = replace(facts, kinds=self._kinds) if self._kinds else facts
        if self._answers is None:
            self._answers = _ask_wire(self._request, facts)
        return facts.answered(self._answers)


def _kinds(request: Request) -> tuple[tuple[str, str], ...]:
    """Return what this kernel says of the kinds of interfaces that a request needs."""
    if not isinstance(request, CreateNetwork) or request.parent is None:
        return ()
    from nettool.kinds import Trial  # most networks are bridges

    kinds = (IPVLAN if request.driver == IPVLAN else MACVLAN, *((VLAN,) if request.vlan is not None else ()))
    found = [(kind, trial.finish()) for kind, trial in [(kind, Trial(kind)) for kind in kinds]]
    return tuple((kind, fault) for kind, fault in found if fault is not None)


def _needs_firewall(request: Request) -> bool:
    """Whether the request is about rules: its own, or those of endpoints that it takes away."""
    rules = (Adopt, CreateNetwork, RemoveNetwork, RestoreNetwork, RestoreEndpoint)
    # There may be some of which there is no record.
    of_all = isinstance(request, Collect) and request.of is None
    return isinstance(request, rules) or of_all or _is_about_ports(request)


def _is_about_ports(request: Request) -> bool:
    """Whether ports may be published, or taken back."""
    if isinstance(request, (Publish, Unpublish)) or _publishes(request):
        return True
    if not isinstance(request, (Detach, Disconnect, Collect, RestoreEndpoint)):
        return False
    if isinstance(request, Collect) and is_marked(request.place):
        return True
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
    if isinstance(request, (Attach, Detach, Connect, Publish, Unpublish, CreateSandbox)):
        own = Target("netns", request.name) if isinstance(request, CreateSandbox) else request.target
        found = find(own)
        return (found, *_as_it_was(found)) if isinstance(request, (Detach, Unpublish)) else (found,)
    if isinstance(request, Adopt):
        return (*find_all(), *_named_by_pid()) if request.bridge is None else ()
    if isinstance(request, (RemoveSandbox, Collect)):
        ours = _on_record(request) if isinstance(request, Collect) else ()
        of_one = isinstance(request, Collect) and request.of is not None
        # Who lives in it is found by looking at every process.
        return ours if of_one else (*find_all(), *ours)
    if isinstance(request, RestoreEndpoint):
        record = read_records().endpoint(request.host_end)
        return as_found((record.endpoint.sandbox,)) if record else ()
    on_parents = _on_parents() if runs or isinstance(request, RemoveNetwork) else ()
    return (*on_parents, *(found for run in runs for found in _of_steps(run.sandboxes, run.all_steps)))


def _on_record(request: Collect) -> tuple[SandboxFact, ...]:
    from nettool.collecting import known, of_sandbox, place_of

    records = records_for(request)
    meant = known(records) if request.of is None else of_sandbox(request.of, records)
    places = {place_of(record.endpoint.sandbox) for record in meant}
    return tuple(found for place in places if (found := find(place)).inode is not None)


def _found_or_kept(request: Disconnect) -> tuple[SandboxFact, ...]:
    """Return whom a request means; a container that was removed may be on the network's record still."""
    try:
        found = find(request.target)
    except TargetNotFound:
        record = records_for(request).network(request.network)
        kept = record.kept_as(request.target) if record else None
        if kept is None:
            raise
        return _recorded((kept,))
    return (found, *_as_it_was(found))


def _as_it_was(found: SandboxFact) -> tuple[SandboxFact, ...]:
    """Return what is on record of one that does not run: its namespace may live on by its name."""
    return _recorded(found.answers_to) if found.inode is None else ()


def _recorded(names: Iterable[str]) -> tuple[SandboxFact, ...]:
    known = set(names)
    sandboxes = (record.endpoint.sandbox for record in read_records().endpoints)
    return as_found(sandbox for sandbox in sandboxes if not known.isdisjoint(sandbox.names))


def steps_reader(sandboxes: Iterable[Sandbox], steps: tuple[Step, ...]) -> Callable[[], Facts]:
    """Return a function that reads what steps are held against, whether who was asked for is there or not."""
    ipv6, firewall = reads_sysctls(steps), reads_firewall(steps)
    earlier: Facts | None = None

    def read() -> Facts:
        nonlocal earlier
        found = _of_steps(sandboxes, steps)
        earlier = read_facts(found, with_ipv6=ipv6, with_firewall=firewall, earlier=earlier)
        return earlier

    return read


def _of_steps(sandboxes: Iterable[Sandbox], steps: Iterable[Step]) -> tuple[SandboxFact, ...]:
    """Return the sandboxes of the past that steps are about, with the namespaces that these have made."""
    return (*as_found(sandboxes), *(find(Target("netns", name)) for name in namespaces_made(steps)))


def _named_by_pid() -> tuple[SandboxFact, ...]:
    """Return the processes that namespaces are called after, as a plan calls them."""
    pids = (entry.name for entry in read_netns_names() if re.fullmatch("[1-9][0-9]{0,6}", entry.name))
    return tuple(find(Target("pid", pid)) for pid in pids)


def _on_parents() -> tuple[SandboxFact, ...]:
    """Return the sandboxes that may have an interface on a parent: nothing on the host shows it."""
    records = read_records().endpoints
    return as_found(record.endpoint.sandbox for record in records if record.endpoint.on_parent)


def as_found(sandboxes: Iterable[Sandbox]) -> tuple[SandboxFact, ...]:
    """Return sandboxes of the past as facts; one whose path leads elsewhere by now is not read."""
    return tuple(
        SandboxFact((s.target,), "running", place_of(s) or s.path, s.netns.inode)
        for s in sandboxes
        if s.netns.inode is not None
    )


def wired(records: Records) -> frozenset[str]:
    """Return the host ends of those endpoints on record whose sandbox is there, and still the same."""
    endpoints = (record.endpoint for record in records.endpoints)
    return frozenset(e.host_end for e in endpoints if place_of(e.sandbox) == e.sandbox.path)


def _ask_wire(request: Request, facts: Facts) -> tuple[tuple[str, str], ...]:
    """Ask the bridge's other hosts for the addresses that the request is about."""
    if isinstance(request, CreateNetwork):
        link = request.parent if request.vlan is None else f"{request.parent}.{request.vlan}"
        return _answers(link or "", request.host_addresses, facts) if request.host_addresses else ()
    if isinstance(request, Attach):
        return _answers(request.bridge, request.addresses, facts)
    if not isinstance(request, Connect):
        return ()
    from nettool.connecting import choose_addresses, network_record

    records = records_for(request)
    network = network_record(request.network, records).network
    # From the host's own place there, the sandboxes hear it, too.
    shim = network.shim if network.shim and facts.host.link(network.shim) else None
    link = shim or network.bridge or ""
    heard: tuple[tuple[str, str], ...] = ()
    for _ in range(_MOST_PROBES):
        chosen = choose_addresses(request, facts.answered(heard), records)
        new = _answers(link, chosen, facts)
        heard += new
        # What is asked for by name is not passed over: the plan says who has it.
        if not new or chosen == choose_addresses(request, facts.answered(heard), records):
            break
    return heard


def _answers(name: str, addresses: tuple[str, ...], facts: Facts) -> tuple[tuple[str, str], ...]:
    """Return who answers on the wire; a bridge without ports is not worth the wait."""
    link = facts.host.link(name)
    if link is None or (link.kind == "bridge" and all(port.master != name for port in facts.host.links)):
        return ()
    from nettool.probe import probe

    return probe(name, addresses)
