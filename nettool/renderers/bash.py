"""A plan as a bash script that needs no nettool: apply, undo and check, each step guarded.

The script's commands are the plan's. Whatever came from elsewhere is a quoted word; comments hold
nettool's own words alone, since a newline in a comment would run what follows it.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

from nettool import effects
from nettool.iproute import CLASSIC
from nettool.plan import Command, Scope
from nettool.renderers import Escaped, fill, own, shell
from nettool.renderers.variables import (
    CIDRS,
    IPS,
    NETNS_FOLDER,
    Kind,
    Slashed,
    Variable,
    Words,
    endpoints_of,
    network_of,
    runtime_of,
    variables_of,
)
from nettool.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nettool.effects import Fact
    from nettool.facts import Facts, Netns
    from nettool.model import Endpoint, Sandbox
    from nettool.plan import Plan, Step
    from nettool.renderers.variables import Piece, Word

_V4: Final = r"([0-9]{1,3}\.){3}[0-9]{1,3}"
_V6: Final = "[0-9A-Fa-f:]{2,}[0-9A-Fa-f:.]*"
_PATTERNS: Final = {
    Kind.PID: "[1-9][0-9]{0,6}",
    Kind.CONTAINER: "[A-Za-z0-9][A-Za-z0-9_.-]{0,127}",
    Kind.PATH: "/[^[:cntrl:]]*",
    Kind.NETNS: "[A-Za-z0-9][A-Za-z0-9_.-]{0,63}",
    Kind.BRIDGE: "[^-/:%[:space:][:cntrl:]][^/:%[:space:][:cntrl:]]{0,14}",
    Kind.LINK: "[A-Za-z][A-Za-z0-9_.-]{0,14}",
    Kind.CIDR4: f"{_V4}/[0-9]{{1,2}}",
    Kind.CIDR6: f"{_V6}/[0-9]{{1,3}}",
    Kind.IP4: _V4,
    Kind.IP6: _V6,
    Kind.MTU: "[1-9][0-9]{1,4}",
    Kind.MAC: "[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}",
}
"""What a value may look like: extended regular expressions, in the C locale."""
_PROGRAMS: Final = {
    "docker": "docker", "podman": "podman", "containerd": "ctr", "crio": "crictl", "lxc": "lxc-info",
}  # fmt: skip
_WIDER: Final = (Scope.SANDBOX, Scope.FIREWALL, Scope.HOST)
"""Steps that others may need: those of these scopes are not simply taken back."""
_USED: Final = re.compile(r"\$\{?([A-Z][A-Z0-9_]*)")
_WHY_COLUMN: Final = 34


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


def render(planned: Plan, facts: Facts) -> str:
    """Return the script of a plan."""
    del facts  # what the script needs to know of a host, it finds out when it runs
    if not planned.steps:
        return fill("nothing.sh.j2")
    script = _Script(planned, endpoints_of(planned), Words(variables_of(planned)))
    values = {**script.shared(), **(script.detaching() if planned.inverse else script.attaching())}
    template = "detach.sh.j2" if planned.inverse else "attach.sh.j2"
    return fill(template, **values, **script.top(values), **script.tools())


class _Script:
    """Works out what the templates print: every value is shell already."""

    def __init__(self, planned: Plan, endpoints: tuple[Endpoint, ...], words: Words) -> None:
        self._planned = planned
        self._endpoints = endpoints
        # A plan without endpoints is about the host alone, and reaches into no sandbox.
        self._sandbox = endpoints[0].sandbox if endpoints else None
        self._words = words
        self._runtime = runtime_of(self._sandbox) if self._sandbox and not planned.inverse else None
        self._by_pid = self._runtime is not None or (
            self._sandbox is not None and self._sandbox.pid is not None
        )
        self._classic = planned.dialect == CLASSIC
        self._own = tuple(self._step(n, step) for n, step in enumerate(planned.steps, 1))
        after = len(self._own) + 1
        self._restores = tuple(self._step(n, step) for n, step in enumerate(planned.restores, after))

    # --- what is printed

    def shared(self) -> dict[str, Any]:
        """Return what both kinds of script print."""
        steps = (*self._own, *self._restores)
        return {
            "sandboxed": self._sandbox is not None,
            "purpose": self._purpose(),
            "title": self._title(),
            "trace": self._trace(),
            "shares": any(step.needed for step in steps),
            "inverse": self._planned.inverse,
            "dialect": own(self._planned.dialect),
            "steps": steps,
            "numbers": _join(str(step.number) for step in self._own),
            "restore_numbers": _join(str(step.number) for step in self._restores),
            "touching": _table((step.number, "1") for step in steps if step.step.touches),
            "replaced": any(_replaces(step.step) for step in steps),
            "looks": _needed_looks(
                steps,
                sandboxed=self._sandbox is not None,
                attaching=not self._planned.inverse,
                modern=not self._classic,
            ),
        }

    def attaching(self) -> dict[str, Any]:
        """Return what a script that makes something prints."""
        return {
            "scopes": _table((n.number, n.step.scope.value) for n in self._own if n.step.scope in _WIDER),
            "undoable": _table((step.number, "1") for step in self._own if step.undo),
            "lookup": self._runtime,
            "by_pid": self._by_pid,
            "pinned": self._pinned(),
            "classic": self._classic,
            "started": [Escaped("PID")] * bool(self._runtime) + [Escaped("STARTED")] * self._by_pid,
            "pid_or_dash": Escaped("$PID" if self._by_pid else "-"),
            "pid_or_rest": Escaped("PID" if self._by_pid else "_"),
            "requires": [(bash_word(word), _missing(word)) for word in self._required()],
            **(self._joining(self._endpoints[0]) if self._endpoints else {}),
        }

    def _joining(self, endpoint: Endpoint) -> dict[str, Any]:
        words, source = self._words, self._words.source(endpoint.sandbox)
        return {
            "source": bash_word(source),
            "no_source": bash_word((*source, " leads to no network namespace")),
            "addresses": [(bash_word(words.word(CIDRS, cidr)), _width(cidr)) for cidr in endpoint.addresses],
            "ports": _join(shell(port.note()) for port in endpoint.ports),
        }

    def _required(self) -> tuple[Word, ...]:
        """Return the interfaces that a plan about the host works on, and does not make."""
        made = {step.makes.name for step in self._planned.steps if isinstance(step.makes, effects.Bridge)}
        links: dict[str, Word] = {}
        for step in () if self._endpoints else self._planned.steps:
            match step.makes:
                case effects.PortSetting(link=link):
                    links[link] = self._words.link(link)
                case effects.Up(netns=None, link=link):
                    links[link] = self._words.word((Kind.BRIDGE,), link)
        return tuple(word for link, word in links.items() if link not in made)

    def detaching(self) -> dict[str, Any]:
        """Return what a script that takes something away prints."""
        ends = [bash_word(self._words.word((Kind.LINK,), e.host_end)) for e in self._endpoints]
        sandboxes = [endpoint.sandbox for endpoint in self._endpoints]
        names = [bash_word((NETNS_FOLDER, *self._words.netns(sandbox.netns))) for sandbox in sandboxes]
        sources = [bash_word(self._words.source(sandbox)) for sandbox in sandboxes]
        heirs = [c.endpoint for c in self._planned.changes if c.present] if self._endpoints else []
        return {
            "sources": _join(dict.fromkeys((*sources, *names))),
            "ends": _join(ends),
            "heirs": [
                (shell(heir.host_end), bash_word(("netns ", *self._words.netns(heir.sandbox.netns))))
                for heir in heirs
            ],
        }

    def _purpose(self) -> Escaped:
        if self._endpoints:
            inverse = self._planned.inverse
            return own(
                "Takes an interface away from a sandbox again."
                if inverse
                else "Gives a sandbox an interface on a bridge."
            )
        what = "a network" if network_of(self._planned) else "published ports"
        return own(
            f"{'Takes' if self._planned.inverse else 'Makes'} {what}{' back' * self._planned.inverse}."
        )

    def _title(self) -> Escaped:
        words = self._words
        if not self._endpoints:
            return shell(self._planned.title)
        endpoint = self._endpoints[0]
        if self._planned.inverse:
            return bash_word(("detach ", *words.word((Kind.LINK,), endpoint.host_end)))
        bridge = words.word((Kind.BRIDGE,), endpoint.bridge)
        ifname = words.word((Kind.LINK,), endpoint.ifname, inner=True)
        return bash_word(("attach ", *self._target(endpoint.sandbox), " to ", *bridge, " as ", *ifname))

    def _trace(self) -> Escaped:
        """Return the name of the file of notes: of the endpoint, the network, or these very ports."""
        suffix = ".detached" if self._planned.inverse else ".made"
        network = network_of(self._planned)
        if self._endpoints:
            return bash_word((*self._words.link(self._endpoints[0].host_end), suffix))
        if network is not None:
            return bash_word((*self._words.word((Kind.BRIDGE,), network.bridge or ""), suffix))
        digest = hashlib.sha256(self._planned.title.encode(errors="surrogateescape")).hexdigest()
        return shell(f"ports-{digest[:10]}{suffix}")

    def top(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the variables at the top: those that the script uses, and the sandbox's pins."""
        used = set(_USED.findall(repr(values))) | {"HOST_IF", "NETNS", "CONTAINER"}
        if self._endpoints and not self._planned.inverse:
            used |= {"BRIDGE", "IFNAME", *(("PEER_IF",) if self._classic else ())}
        shown = [
            v for v in self._words.variables if v.name in used and not (self._runtime and v.kind is Kind.PID)
        ]
        lines = [_line(v.name, self._value(v), self._why(v)) for v in shown]
        checks = [(Escaped(v.name), shell(self._pattern(v))) for v in shown]
        for name, value, pattern, why in self._pins():
            lines.append(_line(name, shell(value) if value else Escaped(), why))
            checks.append((Escaped(name), shell(pattern)))
        return {"assignments": lines, "checks": checks}

    def tools(self) -> dict[str, Any]:
        """Return the programs that the script needs, for its header and for its check."""
        programs = {"ip", "stat"}
        for step in (*self._planned.steps, *self._planned.restores):
            commands = [step.do, *([step.undo] if isinstance(step.undo, Command) else [])]
            programs |= {word for c in commands for word in (c.words()[0], c.argv[0])}
        programs |= {_PROGRAMS[self._runtime]} if self._runtime else set()
        ordered = sorted(programs)
        return {"tools": own(", ".join(ordered)), "needed": _join(shell(tool) for tool in ordered)}

    # --- the variables

    def _pinned(self) -> bool:
        """Whether the sandbox has to be the very one: a pid or a path may lead elsewhere one day.

        A container's name, or a namespace's, is what is meant by it at any time.
        """
        sandbox = self._sandbox
        if sandbox is None or self._runtime is not None:
            return False
        return sandbox.path != f"{NETNS_FOLDER}{sandbox.netns.name}"

    def _pins(self) -> list[tuple[str, str, str, str]]:
        sandbox = self._sandbox
        if sandbox is None or not (self._pinned() or self._planned.inverse):
            return []
        empty = "" if self._planned.inverse else "; empty: any"
        inode = f"net:[{sandbox.netns.inode}]" if sandbox.netns.inode is not None else ""
        pins = [("EXPECT_NETNS", inode, r"(net:\[[0-9]+\])?", f"the namespace that is meant{empty}")]
        if self._by_pid and not self._planned.inverse:
            start = str(sandbox.start_time or "")
            why = f"when PID started, in ticks since boot{empty}"
            pins.append(("EXPECT_STARTTIME", start, "[0-9]*", why))
        return pins

    def _value(self, variable: Variable) -> Escaped:
        pid = str(self._sandbox.pid) if self._sandbox else ""
        if variable.kind is not Kind.NETNS or variable.value != pid:
            return shell(variable.value)
        return Escaped() if self._runtime else bash_word(self._words.word((Kind.PID,), variable.value))

    def _why(self, variable: Variable) -> str:
        return variable.why if self._value(variable) else f"{variable.why}; empty: the pid"

    def _pattern(self, variable: Variable) -> str:
        pattern = _PATTERNS[variable.kind]
        return f"({pattern})?" if variable.kind is Kind.NETNS and self._runtime else pattern

    # --- the sandbox

    def _target(self, sandbox: Sandbox) -> Word:
        if self._runtime:
            return (f"{self._runtime}:", *(v for v in self._words.variables if v.kind is Kind.CONTAINER))
        if sandbox.pid is not None:
            return ("pid:", *self._words.word((Kind.PID,), str(sandbox.pid)))
        if sandbox.path == f"{NETNS_FOLDER}{sandbox.netns.name}":
            return ("netns:", *self._words.netns(sandbox.netns))
        return ("path:", *self._words.word((Kind.PATH,), sandbox.path))

    # --- the steps

    def _step(self, number: int, step: Step) -> ScriptStep:
        gone = isinstance(step.makes, effects.Gone)
        fact = step.makes.fact if isinstance(step.makes, effects.Gone) else step.makes
        look = _join(bash_word(word) for word in self._look(fact, step))
        undo = None
        if isinstance(step.undo, Command) and not self._planned.inverse:
            undo = self._command(self._words.undo(step, step.undo))
        needed = self._needed(step, fact)
        look = Escaped(f"{look}; {self._gone(fact)}") if gone else look
        look = Escaped(f"{look}; spare '{number}'") if gone and needed else look
        return ScriptStep(number, step, look, self._command(self._words.do(step)), undo, needed)

    def _needed(self, step: Step, fact: Fact) -> Escaped | None:
        """Return the call that asks whether a rule of somebody else's rests on what a step makes."""
        words, programs = self._words, (("iptables",), ("ip6tables",))
        rule = next((w for w in step.do.words()[:1] if "tables" in w), "")
        of: tuple[Word, ...]
        match step.scope, fact:
            case Scope.FIREWALL, _:
                of = (("networks",), (rule,))
            case Scope.PUBLISHING, effects.Rule(words=spec):
                of = (("bridge",), (rule,), words.word((Kind.BRIDGE,), spec[spec.index("-i") + 1]))
            case Scope.PUBLISHING, effects.Sysctl(name=name):
                bridge = name.removeprefix("net.ipv4.conf.").rpartition(".")[0].replace("/", ".")
                of = (("bridge",), ("iptables",), words.word((Kind.BRIDGE,), bridge))
            case _, effects.PortSetting(link=link, name="hairpin"):
                of = (("mark",), words.link(link), *programs)
            case _:
                return None
        return _join(bash_word(word) for word in (("others",), *of))

    def _gone(self, fact: Fact) -> Escaped:
        """Return the call that turns round what was looked up, as `Gone` does."""
        if not isinstance(fact, effects.Route) or fact.instead_of is None:
            return Escaped("gone")
        route, link = fact.route, self._words.link(fact.instead_of.link or "", inner=True)
        place: tuple[Word, ...] = (("sandbox",), (str(route.family),), (route.destination,))
        call = (("way_back",), *place, (str(route.metric),), link)
        return _join(bash_word(word) for word in call)

    def _command(self, words: Iterable[Word]) -> Escaped:
        return _join(bash_word(word) for word in words)

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
                call = ("look_sysctl",), (_place(netns),), self._sysctl(name), (value,)
            case _:
                call = self._look_further(fact, step)
        return call

    def _look_further(self, fact: Fact, step: Step) -> tuple[Word, ...]:
        words = self._words
        if isinstance(fact, (effects.Chain, effects.Rule)):
            return self._look_in_firewall(fact, step)
        if isinstance(fact, effects.Bridge):
            return ("look_bridge",), words.word((Kind.BRIDGE,), fact.name)
        if isinstance(fact, effects.PortSetting):
            return ("look_port_setting",), words.link(fact.link), (fact.name,)
        if isinstance(fact, effects.Forgotten):
            return ("look_neighbour",), words.word((Kind.BRIDGE,), fact.link), (fact.ip,), (fact.mac,)
        if isinstance(fact, effects.Address):
            link = self._link(fact.link, fact.netns)
            cidr = words.word(CIDRS, fact.cidr)
            return ("look_address",), (_place(fact.netns),), link, cidr, (str(_width(fact.cidr)),)
        if not isinstance(fact, effects.Route):
            raise TypeError(f"no way to look up {fact!r}")
        route, old = fact.route, fact.instead_of
        return (
            ("look_route",),
            (_place(fact.netns),),
            (str(route.family),),
            words.word((*CIDRS, *IPS), route.destination),
            words.word(IPS, route.via) if route.via else ("",),
            self._words.link(route.link or "", inner=fact.netns is not None),
            (str(route.metric),),
            *(((" ".join(old.words()),),) if old else ()),
        )

    def _look_in_firewall(self, fact: effects.Chain | effects.Rule, step: Step) -> tuple[Word, ...]:
        place: tuple[Word, ...] = ((step.do.argv[0],), (fact.table,))
        if isinstance(fact, effects.Chain):
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

    def _sysctl(self, name: str) -> Word:
        return self._words.sysctl_key(name) or (name,)


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


def _line(name: str, value: Escaped, why: str) -> Escaped:
    """Return an assignment with its comment behind it, in a column where that is possible."""
    return Escaped(f"{name}={value}".ljust(_WHY_COLUMN) + f" # {own(why)}")


def _join(words: Iterable[str]) -> Escaped:
    return Escaped(" ".join(words))


def _table(pairs: Iterable[tuple[int, str]]) -> Escaped:
    return _join(f"[{number}]={own(text)}" for number, text in pairs)


def _missing(link: Word) -> Escaped:
    return bash_word(("there is no interface ", *link, " on this host"))


def _place(netns: Netns | None) -> str:
    return "sandbox" if netns else "host"


def _width(cidr: str) -> Escaped:
    return Escaped("128" if ":" in cidr else "32")


def _replaces(step: Step) -> bool:
    fact = step.makes.fact if isinstance(step.makes, effects.Gone) else step.makes
    return isinstance(fact, effects.Route) and fact.instead_of is not None


_PLACED: Final = frozenset({"look_up", "look_address", "look_route", "look_sysctl"})
_LINKED: Final = frozenset({"look_bridge", "look_port_setting", "look_up"})
_HELPERS: Final = {
    "place": _PLACED, "link_of": _LINKED, "at": _PLACED | _LINKED,
    "conflict": {"look_bridge", "look_address"},
}  # fmt: skip
"""What a script about the host alone needs of what all looks share."""


def _needed_looks(
    steps: tuple[ScriptStep, ...], *, sandboxed: bool, attaching: bool, modern: bool
) -> frozenset[str]:
    """Return the functions that the script needs of those that look things up."""
    looks = {step.look.split(" ", 1)[0] for step in steps}
    for helper, users in _HELPERS.items():
        if looks & users or (sandboxed and helper != "place"):
            looks.add(helper)
    if not sandboxed:
        return frozenset(looks)
    if (attaching and modern) or looks & {"look_inside", "look_interface"}:
        looks.add("ends_meet")
    if attaching or looks & {"look_inside", "ends_meet"}:
        looks |= {"sandbox_number", "number"}
    if "look_bridge_mac" in looks:
        looks.add("number")
    return frozenset(looks)
