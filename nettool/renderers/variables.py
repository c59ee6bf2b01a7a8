"""The variables of an export: what an engineer may edit, and where each stands in the commands.

A plan's commands hold values. `Words` puts names in their place: a word becomes pieces, of literal
text and of variables. Filled in with the values they had, the pieces are the command again, whatever
was taken for a variable; so an export that is not edited runs the plan's own commands.
"""

from __future__ import annotations

import enum
import ipaddress
from typing import TYPE_CHECKING, Final

from nettool.effects import BridgeMac, Forgotten, Route
from nettool.ipam import gateway_of
from nettool.naming import NETNS_FOLDER, OF_NAMESPACES
from nettool.parenteffects import Marked, OnParent
from nettool.plan import Scope, namespaces_made
from nettool.request import RUNTIMES
from nettool.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nettool.facts import Netns
    from nettool.model import Endpoint, Network, Sandbox
    from nettool.plan import Command, Plan, Step


class Kind(enum.Enum):
    """What a variable holds, and so what its value may look like."""

    PID = "pid"
    CONTAINER = "container"
    PATH = "path"
    NETNS = "netns"
    BRIDGE = "bridge"
    LINK = "link"
    CIDR4 = "cidr4"
    CIDR6 = "cidr6"
    IP4 = "ip4"
    IP6 = "ip6"
    MTU = "mtu"
    MAC = "mac"


class Variable(Value):
    """One value of a plan, with a name. `why` is for the reader."""

    name: str
    kind: Kind
    value: str
    why: str
    inner: bool = False
    """Whether it belongs to the sandbox's end: two ends may have the same value."""


class Slashed(Value):
    """A variable with its dots as slashes: how sysctl(8) spells an interface within a key."""

    variable: Variable


Piece = str | Variable | Slashed
Word = tuple[Piece, ...]

_LINKS: Final = (Kind.LINK, Kind.BRIDGE)
IPS: Final = (Kind.IP4, Kind.IP6)
CIDRS: Final = (Kind.CIDR4, Kind.CIDR6)
# What the word behind each of these words is, in the vocabulary of nettool.iproute.
_AFTER: Final = {
    "exec": (Kind.NETNS,), "-n": (Kind.NETNS,), "attach": (Kind.NETNS,), "netns": (Kind.NETNS,),
    "master": (Kind.BRIDGE,), "addif": (Kind.BRIDGE,), "dev": _LINKS, "name": _LINKS,
    "set": (Kind.LINK,), "del": (Kind.NETNS,), "mtu": (Kind.MTU,), "address": (Kind.MAC,), "via": IPS,
    "add": (Kind.LINK, *CIDRS, *IPS), "replace": (*CIDRS, *IPS),
    "alias": (Kind.LINK,), "-i": (Kind.BRIDGE,), "-o": (Kind.BRIDGE,), "-s": CIDRS,
}  # fmt: skip
_CONF: Final = ("net.ipv6.conf.", "net.ipv4.conf.")
_MARK: Final = "nettool:"
_NAMES: Final = "-dns/names/"


def variables_of(planned: Plan) -> tuple[Variable, ...]:
    """Return a plan's variables, each name once, in the order in which they are read best."""
    named: dict[str, Variable] = {}
    seen: set[tuple[Kind, str, bool]] = set()
    for variable in _all(planned):
        if (variable.kind, variable.value, variable.inner) in seen:
            continue
        seen.add((variable.kind, variable.value, variable.inner))
        name = _free(variable.name, named)
        named[name] = Variable(name, variable.kind, variable.value, variable.why, variable.inner)
    return tuple(named.values())


def _all(planned: Plan) -> Iterator[Variable]:
    network = network_of(planned)
    if network is not None:
        yield from _of_network(network)
    for name in namespaces_made(planned.steps):
        yield Variable("NETNS", Kind.NETNS, name, "the sandbox's name under /var/run/netns")
    for endpoint in endpoints_of(planned):
        yield from _of_endpoint(endpoint, removed=planned.inverse)


def _of_network(network: Network) -> Iterator[Variable]:
    if network.parent is not None:
        yield from _of_parent(network, network.parent)
        return
    yield Variable("BRIDGE", Kind.BRIDGE, network.bridge or "", "the network's bridge")
    # A name server is told its addresses in a form that would not follow.
    for subnet in () if network.dns else network.subnets:
        cidr = f"{gateway_of(subnet)}/{subnet.cidr.partition('/')[2]}"
        yield Variable("GATEWAY", _kind(cidr, CIDRS), cidr, "the bridge's address, with the prefix length")
        yield Variable("SUBNET", _kind(subnet.cidr, CIDRS), subnet.cidr, "the addresses of its containers")


def _of_parent(network: Network, parent: str) -> Iterator[Variable]:
    yield Variable("PARENT", Kind.BRIDGE, parent, "the interface that leads to the network")
    if network.own_bridge:
        yield Variable("VLAN_IF", Kind.BRIDGE, network.bridge or "", "the VLAN's interface on it")
    if network.shim is not None:
        yield Variable("HOST_IF", Kind.BRIDGE, network.shim, "the host's own interface on the network")
    for cidr in network.host_addresses:
        yield Variable("HOST_ADDRESS", _kind(cidr, CIDRS), cidr, "the host's address there")


def endpoints_of(planned: Plan) -> tuple[Endpoint, ...]:
    """Return the endpoints that a plan makes, or takes away; one that it only publishes ports of is none."""
    cables = {step.makes.key for step in planned.steps}
    changed = (c.endpoint for c in planned.changes if c.present is not planned.inverse)
    return tuple(e for e in changed if planned.inverse or e.key in cables)


def network_of(planned: Plan) -> Network | None:
    """Return the network that a plan makes, or takes away; None where it is about something else."""
    about = {step.scope for step in planned.steps}
    records = (c.before if planned.inverse else c.after for c in planned.networks)
    networks = (record.network for record in records if record)
    return next(networks, None) if Scope.NETWORK in about else None


def about(planned: Plan) -> str:
    """Return what a plan makes that has no endpoints, or takes away."""
    if network_of(planned):
        return "a network"
    return "a named sandbox" if namespaces_made(planned.steps) else "published ports"


def runtime_of(sandbox: Sandbox) -> str | None:
    """Return the runtime that knows the sandbox's container; None when it is no container."""
    if not sandbox.path.startswith("/proc/") and sandbox.pid is not None:
        return None
    kind = sandbox.target.partition(":")[0]
    if kind in (*RUNTIMES, "container"):
        return sandbox.runtime or ("docker" if kind == "container" else kind)
    return None


def container_of(sandbox: Sandbox) -> str:
    """Return what the runtime calls the sandbox's container."""
    return sandbox.container or sandbox.target.partition(":")[2]


def _free(name: str, taken: dict[str, Variable]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _of_endpoint(endpoint: Endpoint, *, removed: bool) -> Iterator[Variable]:
    yield from _of_sandbox(endpoint.sandbox, removed=removed)
    if endpoint.on_parent:
        yield Variable(
            "MARK", Kind.LINK, endpoint.host_end, "the alias by which the interface is found again"
        )
    else:
        yield Variable("HOST_IF", Kind.LINK, endpoint.host_end, "the host's end of the cable")
    if removed:
        return
    if endpoint.on_parent:
        yield Variable("PARENT", Kind.BRIDGE, endpoint.bridge, "the host's interface to make it on")
    else:
        yield Variable("BRIDGE", Kind.BRIDGE, endpoint.bridge, "the bridge to plug into")
        yield Variable(
            "PEER_IF", Kind.LINK, endpoint.peer, "the other end, until it has its name", inner=True
        )
    yield Variable("IFNAME", Kind.LINK, endpoint.ifname, "the interface in the sandbox", inner=True)
    # The rules of published ports, and files of names, hold an address in forms that would not follow.
    for cidr in () if endpoint.ports or endpoint.files else endpoint.addresses:
        yield Variable("ADDRESS", _kind(cidr, CIDRS), cidr, "its address, with the prefix length")
    yield from _of_routes(endpoint)
    if endpoint.mac:
        yield Variable("MAC", Kind.MAC, endpoint.mac, "its MAC address", inner=True)
    if endpoint.mtu:
        yield Variable("MTU", Kind.MTU, str(endpoint.mtu), "its MTU", inner=True)
    if endpoint.host_mtu:
        yield Variable("HOST_MTU", Kind.MTU, str(endpoint.host_mtu), "the host end's MTU, the bridge's")


def _of_sandbox(sandbox: Sandbox, *, removed: bool) -> Iterator[Variable]:
    if runtime_of(sandbox) and not removed:
        yield Variable("CONTAINER", Kind.CONTAINER, container_of(sandbox), "the container, by name or id")
    if sandbox.pid is not None:
        yield Variable("PID", Kind.PID, str(sandbox.pid), "a process in the sandbox")
    elif not sandbox.by_name:
        yield Variable("NETNS_PATH", Kind.PATH, sandbox.path, "the sandbox's network namespace")
    yield Variable("NETNS", Kind.NETNS, sandbox.netns.name, "the namespace's name under /var/run/netns")


def _of_routes(endpoint: Endpoint) -> Iterator[Variable]:
    for route in endpoint.routes:
        if route.destination == "default" and route.via:
            name = "GATEWAY" if route.family == 4 else "GATEWAY_6"
            yield Variable(name, _kind(route.via, IPS), route.via, "where everything else is sent")
    for route in endpoint.routes:
        if route.destination != "default" and "/" in route.destination:
            yield Variable("ROUTE", _kind(route.destination, CIDRS), route.destination, "a further route")
            if route.via:
                yield Variable("ROUTE_VIA", _kind(route.via, IPS), route.via, "the gateway of that route")


def _kind(text: str, pair: tuple[Kind, Kind]) -> Kind:
    return pair[0] if ipaddress.ip_interface(text).version == 4 else pair[1]


class Words:
    """Finds a plan's variables in the words of its commands."""

    def __init__(self, variables: tuple[Variable, ...]) -> None:
        self.variables = variables

    def find(self, kinds: tuple[Kind, ...], value: str, *, inner: bool = False) -> Variable | None:
        """Return the variable of one of these kinds that has the value."""
        found = [v for v in self.variables if v.kind in kinds and v.value == value]
        # An interface of the sandbox is never the host's, whatever it is called.
        found = [v for v in found if v.inner or not inner or v.kind is not Kind.LINK]
        return next((v for v in found if v.inner is inner), found[0] if found else None)

    def word(self, kinds: tuple[Kind, ...], value: str, *, inner: bool = False) -> Word:
        """Return a value as a word: the variable that holds it, else the value itself."""
        return (self.find(kinds, value, inner=inner) or value,)

    def link(self, name: str, *, inner: bool = False) -> Word:
        """Return an interface's name as a word."""
        return self.word((Kind.LINK,), name, inner=inner)

    def netns(self, netns: Netns) -> Word:
        """Return a namespace's name as a word."""
        return self.word((Kind.NETNS,), netns.name)

    def netns_path(self, netns: Netns) -> Word:
        """Return where a namespace's name is, as a word."""
        return (f"{NETNS_FOLDER}/", *self.netns(netns))

    def source(self, sandbox: Sandbox) -> Word:
        """Return the path that leads to a sandbox's namespace, whatever names it has."""
        if sandbox.pid is not None:
            return ("/proc/", *self.word((Kind.PID,), str(sandbox.pid)), "/ns/net")
        if sandbox.by_name:
            return self.netns_path(sandbox.netns)
        return self.word((Kind.PATH,), sandbox.path)

    def do(self, step: Step) -> tuple[Word, ...]:
        """Return the words of a step's command."""
        return self._command(step.do, step)

    def undo(self, step: Step, command: Command) -> tuple[Word, ...]:
        """Return the words of a step's undo."""
        return self._command(command, step)

    def _command(self, command: Command, step: Step) -> tuple[Word, ...]:
        words = command.words()
        fact = step.about
        # The route that was there before is no variable: it is put back exactly as it was.
        old = isinstance(fact, Route) and fact.instead_of is not None and command is step.undo
        last = words.index("route") if old else len(words)
        result: list[Word] = []
        for at, word in enumerate(words):
            inner = _is_inner(words, at, fact, command)
            kinds = _kinds(words, at, fact) if at < last else ()
            result.append(self._composite(word, inner=inner) or self.word(kinds, word, inner=inner))
        return tuple(result)

    def path(self, path: str) -> Word:
        """Return where a file is as a word."""
        return self._composite(path, inner=False) or (path,)

    def _composite(self, word: str, *, inner: bool) -> Word | None:
        for variable in self.variables:
            for before, after in _places(variable, word):
                if word == f"{before}{variable.value}{after}":
                    return tuple(piece for piece in (before, variable, after) if piece)
        key, equals, value = word.partition("=")
        return (*pieces, "=", value) if equals and (pieces := self.sysctl_key(key, inner=inner)) else None

    def sysctl_key(self, key: str, *, inner: bool) -> Word | None:
        """Return the key of an interface's parameter, with the interface as a variable."""
        for variable in self.variables:
            name = variable.value.replace(".", "/")
            meant = variable.kind in _LINKS and variable.inner is inner
            for prefix in _CONF if meant else ():
                if key.startswith(f"{prefix}{name}."):
                    return (prefix, Slashed(variable), key.removeprefix(f"{prefix}{name}"))
        return None


def _places(variable: Variable, word: str) -> tuple[tuple[str, str], ...]:
    """Return where a variable can stand within a word: what is before it, and what behind."""
    own_mark = ((_MARK, ""),) if variable.kind in _LINKS and not variable.inner else ()
    match variable.kind:
        case Kind.PID:
            return (("/proc/", "/ns/net"),)
        case Kind.PATH:
            return (("", ""),)
        case Kind.NETNS:
            own = f"{OF_NAMESPACES}/"
            return ((f"{NETNS_FOLDER}/", ""), *((own, file) for file in ("", "/hosts", "/resolv.conf")))
        case Kind.LINK if own_mark:
            folder = word[: word.rfind("/") + 1]
            return (*own_mark, *(((folder, ""),) if folder.endswith(_NAMES) else ()))
    return own_mark


def _is_inner(words: tuple[str, ...], at: int, fact: object, command: Command) -> bool:
    """Return whether the word at a place is about the sandbox's end."""
    before = words[at - 1] if at else ""
    if isinstance(fact, (OnParent, Marked)):
        return before in ("name", "dev")
    return command.netns is not None or "peer" in words[:at]


def _kinds(words: tuple[str, ...], at: int, fact: object) -> tuple[Kind, ...]:
    """Return what the word at a place can be, from the one or two in front of it."""
    before, earlier = words[at - 1] if at else "", words[at - 2] if at > 1 else ""
    if isinstance(fact, (BridgeMac, Forgotten)):
        return (Kind.BRIDGE,) if before == "dev" else ()
    if (earlier, before) == ("ip", "netns"):
        return ()
    if earlier == "attach":
        return (Kind.PID,)
    if (earlier, before) == ("add", "link"):
        return (Kind.BRIDGE,)
    if (earlier, before) == ("netns", "add"):
        return (Kind.NETNS,)
    return (Kind.LINK,) if earlier == "addif" else _AFTER.get(before, ())
