"""The steps of a script as shell: how each is looked up, done and undone, and whether others need it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from nettool import effects
from nettool.fileeffects import File, Folder, NameServer
from nettool.firewalleffects import Chain, FlowForgotten, Rule
from nettool.netnseffects import Loopback, NewNetns
from nettool.parenteffects import Marked, OnParent, SubInterface
from nettool.plan import Command, Scope
from nettool.renderers import Escaped, shell
from nettool.renderers.variables import CIDRS, IPS, Kind, Slashed, Variable
from nettool.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nettool.effects import Fact
    from nettool.facts import Netns
    from nettool.model import Endpoint
    from nettool.plan import Plan, Step
    from nettool.renderers.variables import Piece, Word, Words


class ScriptStep(Value):
    """One step of the script: three bits of shell, and the plan's word for why."""

    number: int
    step: Step
    look: Escaped
    do: Escaped
    undo: Escaped | None
    needed: Escaped | None
    """The call that tells whether others need what it makes; None where nobody else can."""

    @property
    def why(self) -> str:
        """What the step is for."""
        return self.step.why


class Steps:
    """Turns a plan's steps into those of a script."""

    def __init__(self, planned: Plan, endpoints: tuple[Endpoint, ...], words: Words) -> None:
        self._inverse = planned.inverse
        self._endpoints = endpoints
        self._words = words
        # The variant of iptables that the host's rules are in: both families of it.
        used = (step.do.words()[0] for step in (*planned.steps, *planned.restores))
        self._programs = tuple(sorted({program for program in used if "tables" in program}))

    def step(self, number: int, step: Step) -> ScriptStep:
        """Return one step as shell."""
        gone = isinstance(step.makes, effects.Gone)
        fact = step.about
        look = join(bash_word(word) for word in self._look(fact, step))
        undo = None
        if isinstance(step.undo, Command) and not self._inverse:
            undo = self._command(self._words.undo(step, step.undo), step.undo.stdin)
        needed = self._needed(step, fact)
        look = Escaped(f"{look}; {self._gone(fact)}") if gone else look
        look = Escaped(f"{look}; spare '{number}'") if gone and needed else look
        do = self._command(self._words.do(step), step.do.stdin)
        # A flow may end by itself meanwhile; whether one is left is looked up afterwards.
        do = Escaped(f"{do} || true") if isinstance(fact, FlowForgotten) else do
        return ScriptStep(number, step, look, do, undo, needed)

    def _needed(self, step: Step, fact: Fact) -> Escaped | None:
        """Return the call that asks whether a rule of somebody else's rests on what a step makes."""
        words, programs = self._words, tuple((program,) for program in self._programs)
        rule = next((w for w in step.do.words()[:1] if "tables" in w), "")
        of: tuple[Word, ...]
        match step.scope, fact:
            case Scope.FIREWALL, _:
                of = (("networks",), (rule,))
            case Scope.PUBLISHING, Rule(words=spec):
                of = (("bridge",), (rule,), words.word((Kind.BRIDGE,), spec[spec.index("-i") + 1]))
            case Scope.PUBLISHING, effects.Sysctl(name=name):
                bridge = name.removeprefix("net.ipv4.conf.").rpartition(".")[0].replace("/", ".")
                ipv4 = next(program for program in self._programs if not program.startswith("ip6"))
                of = (("bridge",), (ipv4,), words.word((Kind.BRIDGE,), bridge))
            case _, effects.PortSetting(link=link, name="hairpin"):
                of = (("mark",), words.link(link), *programs)
            case _, Folder(path=path, holds=holds) if holds:
                held = (self._words.path(file) for file in holds)
                return join(bash_word(word) for word in (("holds_others",), self._words.path(path), *held))
            case _:
                return None
        return join(bash_word(word) for word in (("others",), *of))

    def _gone(self, fact: Fact) -> Escaped:
        """Return the call that turns round what was looked up, as `Gone` does."""
        if not isinstance(fact, effects.Route) or fact.instead_of is None:
            return Escaped("gone")
        route, link = fact.route, self._words.link(fact.instead_of.link or "", inner=True)
        place: tuple[Word, ...] = (("sandbox",), (str(route.family),), (route.destination,))
        call = (("way_back",), *place, (str(route.metric),), link)
        return join(bash_word(word) for word in call)

    def _command(self, words: Iterable[Word], stdin: str | None) -> Escaped:
        command = join(bash_word(word) for word in words)
        if stdin is None:
            return command
        return Escaped(f"printf '%s\\n' {join(map(shell, stdin.splitlines()))} | {command}")

    def _look(self, fact: Fact, step: Step) -> tuple[Word, ...]:
        """Return the call that looks a fact up: the same question as the fact's own `state`."""
        words = self._words
        call: tuple[Word, ...]
        match fact:
            case effects.NetnsFolder(path=path):
                call = ("look_folder",), (path,)
            case effects.NetnsName(netns=netns):
                call = ("look_name",), words.netns(netns), self._source_of(fact)
            case effects.VethPair(host_end=host_end):
                call = ("look_veth",), words.link(host_end)
            case effects.Port(bridge=bridge, link=link):
                call = ("look_port",), words.link(link), words.word((Kind.BRIDGE,), bridge)
            case effects.BridgeMac(bridge=bridge, mac=mac):
                call = ("look_bridge_mac",), words.word((Kind.BRIDGE,), bridge), (mac,)
            case effects.Inside(host_end=host_end, peer=peer):
                names = dict.fromkeys((peer, *(e.ifname for e in self._endpoints if e.host_end == host_end)))
                inner = (words.link(name, inner=True) for name in names)
                call = ("look_inside",), words.link(host_end), *inner
            case effects.InterfaceName(name=name, host_end=host_end):
                call = ("look_interface",), words.link(name, inner=True), words.link(host_end)
            case effects.Up(netns=netns, link=link):
                call = ("look_up",), (_place(netns),), self._link(link, netns)
            case effects.Sysctl(netns=netns, name=name, value=value):
                call = ("look_sysctl",), (_place(netns),), self._sysctl(name, netns), (value,)
            case _:
                call = self._look_further(fact, step)
        return call

    def _look_further(self, fact: Fact, step: Step) -> tuple[Word, ...]:
        words = self._words
        call: tuple[Word, ...]
        match fact:
            case Chain() | Rule():
                call = self._look_in_firewall(fact, step)
            case Folder() | File() | NameServer() | NewNetns() | Loopback() | FlowForgotten():
                call = self._look_beside(fact)
            case OnParent() | Marked() | SubInterface():
                call = self._look_on_parent(fact)
            case effects.Bridge(name=name):
                call = ("look_bridge",), words.word((Kind.BRIDGE,), name)
            case effects.PortSetting(link=link, name=name):
                call = ("look_port_setting",), words.link(link), (name,)
            case effects.Forgotten(link=link, ip=ip, mac=mac):
                call = ("look_neighbour",), words.word((Kind.BRIDGE,), link), (ip,), (mac,)
            case effects.Address(netns=netns, link=link, cidr=cidr):
                place = ("look_address",), (_place(netns),), self._link(link, netns)
                call = *place, words.word(CIDRS, cidr), (str(width(cidr)),)
            case effects.Route():
                call = self._look_route(fact)
            case _:
                raise TypeError(f"no way to look up {fact!r}")
        return call

    def _look_beside(
        self, fact: Folder | File | NameServer | NewNetns | Loopback | FlowForgotten
    ) -> tuple[Word, ...]:
        """Return the call for what is no interface, no address and no rule."""
        words = self._words
        match fact:
            case Folder(path=path):
                return ("look_folder",), words.path(path)
            case File(path=path, text=text, instead_of=before):
                lines = text.splitlines()
                both = ((line,) for line in (*lines, *(before or "").splitlines()))
                return ("look_file",), words.path(path), (str(len(lines)),), *both
            case NameServer(pid_file=path):
                return ("look_server",), words.path(path)
            case FlowForgotten():
                return ("look_flow",), *((word,) for word in fact.filter())
        look = "look_namespace" if isinstance(fact, NewNetns) else "look_loopback"
        return (look,), words.word((Kind.NETNS,), fact.name)

    def _look_route(self, fact: effects.Route) -> tuple[Word, ...]:
        words, route, old = self._words, fact.route, fact.instead_of
        return (
            ("look_route",),
            (_place(fact.netns),),
            (str(route.family),),
            words.word((*CIDRS, *IPS), route.destination),
            words.word(IPS, route.via) if route.via else ("",),
            words.link(route.link or "", inner=fact.netns is not None),
            (str(route.metric),),
            *(((" ".join(old.words()),),) if old else ()),
        )

    def _look_on_parent(self, fact: OnParent | Marked | SubInterface) -> tuple[Word, ...]:
        words = self._words
        if isinstance(fact, Marked):
            return ("look_mark",), words.link(fact.mark), words.link(fact.name, inner=True)
        parent = words.word((Kind.BRIDGE,), fact.parent)
        if isinstance(fact, OnParent):
            inner = words.link(fact.name, inner=True)
            return ("look_on_parent",), words.link(fact.mark), inner, (fact.kind,), parent
        number: tuple[Word, ...] = ((str(fact.vlan),),) if fact.vlan is not None else ()
        return ("look_sub_interface",), self._link(fact.name, None), (fact.kind,), parent, *number

    def _look_in_firewall(self, fact: Chain | Rule, step: Step) -> tuple[Word, ...]:
        place: tuple[Word, ...] = ((step.do.argv[0],), (fact.table,))
        if isinstance(fact, Chain):
            return ("look_chain",), *place, (fact.name,)
        # The words of the command itself, behind the chain's name.
        words = self._words.do(step)
        return ("look_rule",), *place, (fact.chain,), *words[len(words) - len(fact.words) :]

    def _link(self, name: str, netns: Netns | None) -> Word:
        kinds = (Kind.LINK,) if netns else (Kind.LINK, Kind.BRIDGE)
        return self._words.word(kinds, name, inner=netns is not None)

    def _source_of(self, name: effects.NetnsName) -> Word:
        sandbox = next((e.sandbox for e in self._endpoints if e.sandbox.path == name.path), None)
        return self._words.source(sandbox) if sandbox else (name.path,)

    def _sysctl(self, name: str, netns: Netns | None) -> Word:
        return self._words.sysctl_key(name, inner=netns is not None) or (name,)


def bash_word(word: Word) -> Escaped:
    """Return pieces as one word of bash: in double quotes where it holds a variable."""
    if all(isinstance(piece, str) for piece in word):
        return shell("".join(str(piece) for piece in word))
    following = [*word[1:], ""]
    return Escaped(f'"{"".join(_piece(piece, after) for piece, after in zip(word, following, strict=True))}"')


def _piece(piece: Piece, after: Piece) -> str:
    if isinstance(piece, Slashed):
        return f"${{{piece.variable.name}//.//}}"
    if isinstance(piece, Variable):
        joined = isinstance(after, str) and re.match(r"[\w\[]", after)
        return f"${{{piece.name}}}" if joined else f"${piece.name}"
    return re.sub(r'([\\"$`])', r"\\\1", piece)


def join(words: Iterable[str]) -> Escaped:
    """Return words of bash as one line."""
    return Escaped(" ".join(words))


def _place(netns: Netns | None) -> str:
    return "sandbox" if netns else "host"


def width(cidr: str) -> Escaped:
    """Return how many bits an address of that family has."""
    return Escaped("128" if ":" in cidr else "32")


def replaces(step: Step) -> bool:
    """Whether a step puts a route in the place of another."""
    fact = step.about
    return isinstance(fact, effects.Route) and fact.instead_of is not None


_PLACED: Final = frozenset({"look_up", "look_address", "look_route", "look_sysctl"})
_LINKED: Final = frozenset({"look_bridge", "look_port_setting", "look_up", "look_sub_interface"})
_HELPERS: Final = {
    "place": _PLACED, "link_of": _LINKED, "at": _PLACED | _LINKED,
    "conflict": frozenset({
        "look_bridge", "look_name", "look_veth", "look_port", "look_bridge_mac", "look_inside",
        "look_interface", "look_address", "look_route", "look_on_parent", "look_sub_interface",
        "look_file", "look_namespace",
    }),
    "namespace_of": frozenset({"look_namespace"}),
    "is_marked": frozenset({"look_namespace", "look_loopback"}),
    "marked": frozenset({"look_on_parent", "look_mark"}),
}  # fmt: skip
"""What looks need of what they share; a script about a sandbox looks at more than its steps."""


def needed_looks(
    steps: tuple[ScriptStep, ...], *, sandboxed: bool, attaching: bool, modern: bool, cabled: bool
) -> frozenset[str]:
    """Return the functions that the script needs of those that look things up."""
    looks = {step.look.split(" ", 1)[0] for step in steps}
    looks |= {step.needed.split(" ", 1)[0] for step in steps if step.needed}
    for helper, users in _HELPERS.items():
        if looks & users or (sandboxed and helper in ("link_of", "at")):
            looks.add(helper)
    if not sandboxed:
        return frozenset(looks)
    if (attaching and modern and cabled) or looks & {"look_inside", "look_interface"}:
        looks.add("ends_meet")
    if attaching or looks & {"look_inside", "ends_meet"}:
        looks |= {"find_number", "number"}
    if "look_bridge_mac" in looks:
        looks.add("number")
    return frozenset(looks)
