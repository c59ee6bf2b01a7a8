"""What is decided for a request, and what is remembered of it: sandboxes, endpoints, networks, records."""

from __future__ import annotations

from nettool.facts import IPVLAN, MACVLAN, ON_PARENT, VLAN
from nettool.naming import shim_of
from nettool.request import RUNTIMES
from nettool.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from nettool.facts import NeighbourFact, Netns, RouteFact
    from nettool.history import Logged
    from nettool.ipam import Subnet
    from nettool.ports import PublishedPort
    from nettool.request import Target


class Sandbox(Value):
    """A container's network stack, fully decided: which namespace, how to reach it, and its pins.

    `named_by_plan` says that the plan has to give the namespace its name.
    """

    target: str
    netns: Netns
    path: str
    pid: int | None
    start_time: int | None
    named_by_plan: bool
    runtime: str | None = None
    container: str | None = None
    name: str | None = None
    """What it is to be called, where the caller said so."""

    @property
    def by_name(self) -> bool:
        """Whether it is reached by its namespace's name."""
        return self.path == self.netns.path

    @property
    def names(self) -> tuple[str, ...]:
        """The targets by which it is known: how it was asked for, and its name in its runtime."""
        return (self.target, *((f"{self.runtime}:{self.container}",) if self.runtime else ()))


class HostFile(Value):
    """A file that an endpoint needs on the host. `folder` is one to make for it; `before` its old text."""

    path: str
    text: str
    why: str
    folder: str | None = None
    before: str | None = None


class Endpoint(Value):
    """One sandbox's interface on one link of the host, fully decided.

    The link is a bridge, and the interface one end of a cable; or the interface is made on the link
    itself (`kind`), as a macvlan is. Then it has no end on the host, and `host_end` is its mark alone.
    """

    sandbox: Sandbox
    bridge: str
    """The link that it is on: the bridge, or the parent."""
    host_end: str
    peer: str
    ifname: str
    addresses: tuple[str, ...]
    routes: tuple[RouteFact, ...] = ()
    replaced: tuple[RouteFact, ...] = ()
    mac: str | None = None
    host_mac: str | None = None
    mtu: int | None = None
    host_mtu: int | None = None
    keep_bridge_mac: str | None = None
    enable_ipv6: bool = False
    forget: tuple[NeighbourFact, ...] = ()
    """What the host remembers of the addresses from the time when somebody else had them."""
    ports: tuple[PublishedPort, ...] = ()
    isolated: bool = False
    """Whether its neighbours on the bridge are kept from it."""
    files: tuple[HostFile, ...] = ()
    """What name servers and the sandbox itself read of it."""
    sole: bool = False
    """Whether the sandbox has no other interface, so that a gateway can be reached one way only."""
    foreign: bool = False
    """Whether somebody else made the interface, and nettool no more than the rules of its ports."""
    kind: str = "veth"
    mode: str | None = None
    """How a macvlan or ipvlan deals with its neighbours on the parent."""

    @property
    def on_parent(self) -> bool:
        """Whether it is made on its link, without a cable."""
        return self.kind in ON_PARENT

    @property
    def has_mac(self) -> bool:
        """Whether its interface has a MAC of its own: an ipvlan's, and in mode passthru, is the parent's."""
        return self.kind != IPVLAN and self.mode != "passthru"

    @property
    def key(self) -> str:
        """The key of the fact that all the rest of it goes with."""
        return f"{self.kind} {self.host_end}"


class Network(Value):
    """Endpoints that can talk to each other, fully decided. `own_bridge`: nettool makes the link."""

    name: str
    driver: str
    bridge: str | None = None
    """The link that its endpoints are on: a bridge, or the parent, or a VLAN's interface on the parent."""
    mac: str | None = None
    subnets: tuple[Subnet, ...] = ()
    mtu: int | None = None
    internal: bool = False
    masquerade: bool = True
    isolate: bool = False
    own_bridge: bool = True
    labels: tuple[str, ...] = ()
    """Each as `KEY=VALUE`."""
    dns: str | None = None
    """The folder that its name server reads; None where it has none."""
    options: tuple[str, ...] = ()
    """What the driver was told of its own, each as `KEY=VALUE`."""
    unmanaged: bool = False
    """Whether the bridge is used as it is: nettool gives it no address and no rules."""
    parent: str | None = None
    """The interface of the host that leads to the network, where no bridge does."""
    vlan: int | None = None
    mode: str | None = None
    host_addresses: tuple[str, ...] = ()
    """The addresses of the host's own interface on a parent, which would not reach it otherwise."""

    @property
    def has_rules(self) -> bool:
        """Whether the firewall has rules for it."""
        return self.driver == "bridge" and not self.unmanaged

    @property
    def kind(self) -> str:
        """The kind of its endpoints' interfaces."""
        return {MACVLAN: MACVLAN, VLAN: MACVLAN, IPVLAN: IPVLAN}.get(self.driver, "veth")

    @property
    def shim(self) -> str | None:
        """The host's own interface on it, where it has one."""
        return shim_of(self.name) if self.host_addresses else None


class Connection(Value):
    """That a sandbox is to be on a network, also when it starts again: whom, and as what.

    The target is one that lasts: a container's name, or a namespace's.
    """

    target: str
    addresses: tuple[str, ...]
    ifname: str | None = None
    mac: str | None = None
    default_route: str = "keep"
    published: tuple[str, ...] = ()
    """Ports as they are written, each with those who may use it."""
    dialect: str = "auto"
    aliases: tuple[str, ...] = ()


class NetworkRecord(Value):
    """What nettool remembers of a network: how it was decided, and which steps were its own."""

    network: Network
    made: tuple[str, ...]
    last: tuple[str, ...] = ()
    """The addresses that were given out last, one a family at most."""
    connections: tuple[Connection, ...] = ()

    def connection(self, target: str) -> Connection | None:
        """Return what is kept of a sandbox that is to be on the network."""
        return next((kept for kept in self.connections if kept.target == target), None)

    def waiting(self, wired: Container[str]) -> tuple[Connection, ...]:
        """Return the connections of those sandboxes whose names are not among the `wired` ones."""
        return tuple(kept for kept in self.connections if kept.target not in wired)

    def kept_as(self, target: Target) -> str | None:
        """Return under which name a sandbox that is not there is on record: `web` may be `docker:web`."""
        names = (kept.target for kept in self.connections)
        wanted = (str(target), *(f"{runtime}:{target.value}" for runtime in RUNTIMES))
        words = wanted if target.kind == "container" else wanted[:1]
        return next((name for name in names if name in words), None)

    def with_connection(self, target: str, kept: Connection | None) -> NetworkRecord:
        """Return the record with another connection of that sandbox, or with none."""
        if kept == self.connection(target):
            return self
        others = tuple(other for other in self.connections if other.target != target)
        return replace(self, connections=(*others, *((kept,) if kept else ())))


class Record(Value):
    """What nettool remembers of an endpoint: how it was decided, and which steps were its own."""

    endpoint: Endpoint
    dialect: str
    made: tuple[str, ...]


class Trace(Value):
    """What an exported script noted of its run: the keys of its own steps, a line each."""

    host_end: str
    lines: tuple[str, ...]


class Records(Value):
    """All that nettool remembers of this host."""

    endpoints: tuple[Record, ...] = ()
    traces: tuple[Trace, ...] = ()
    networks: tuple[NetworkRecord, ...] = ()
    runs: tuple[Logged, ...] = ()
    """The runs of the past that are still known, oldest first; read only to undo one."""

    def waiting(self) -> Iterator[tuple[str, Connection]]:
        """Yield the connections, each with its network's name, that have no endpoint on record."""
        for record in self.networks:
            names = {name for endpoint in self.on(record.network) for name in endpoint.sandbox.names}
            for kept in record.waiting(names):
                yield record.network.name, kept

    def on(self, network: Network) -> tuple[Endpoint, ...]:
        """Return the endpoints on record that are on a network's link."""
        endpoints = (record.endpoint for record in self.endpoints)
        return tuple(endpoint for endpoint in endpoints if endpoint.bridge == network.bridge)

    def network(self, name: str) -> NetworkRecord | None:
        """Return the record of the network of that name."""
        return next((record for record in self.networks if record.network.name == name), None)

    def network_on(self, link: str | None) -> Network | None:
        """Return the network whose endpoints are on that link."""
        return next((r.network for r in self.networks if link and r.network.bridge == link), None)

    def trace(self, host_end: str) -> Trace | None:
        """Return what a script noted of the endpoint with that host end."""
        return next((trace for trace in self.traces if trace.host_end == host_end), None)

    def endpoint(self, host_end: str) -> Record | None:
        """Return the record of the endpoint with that host end."""
        return next((record for record in self.endpoints if record.endpoint.host_end == host_end), None)
