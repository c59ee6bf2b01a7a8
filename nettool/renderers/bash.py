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
from nettool.parenteffects import SubInterface
from nettool.plan import Command, Scope, namespaces_made
from nettool.renderers import Escaped, fill, own, shell
from nettool.renderers.looks import Steps, bash_word, join, needed_looks, replaces, width
from nettool.renderers.variables import (
    CIDRS,
    Kind,
    Variable,
    Words,
    about,
    endpoints_of,
    network_of,
    runtime_of,
    variables_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nettool.facts import Facts
    from nettool.model import Endpoint, Sandbox
    from nettool.plan import Plan
    from nettool.renderers.variables import Word

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
        steps = Steps(planned, endpoints, words)
        self._own = tuple(steps.step(n, step) for n, step in enumerate(planned.steps, 1))
        after = len(self._own) + 1
        self._restores = tuple(steps.step(n, step) for n, step in enumerate(planned.restores, after))

    # --- what is printed

    def shared(self) -> dict[str, Any]:
        """Return what both kinds of script print."""
        steps = (*self._own, *self._restores)
        namespaces = namespaces_made(self._planned.steps) if self._planned.inverse else ()
        return {
            "sandboxed": self._sandbox is not None,
            "purpose": self._purpose(),
            "title": self._title(),
            "trace": self._trace(),
            "shares": any(step.needed for step in steps),
            "removed": [bash_word(self._words.word((Kind.NETNS,), name)) for name in namespaces],
            "inverse": self._planned.inverse,
            "on_parent": bool(self._endpoints) and self._endpoints[0].on_parent,
            "dialect": own(self._planned.dialect),
            "steps": steps,
            "numbers": join(str(step.number) for step in self._own),
            "restore_numbers": join(str(step.number) for step in self._restores),
            "touching": _table((step.number, "1") for step in steps if step.step.touches),
            "replaced": any(replaces(step.step) for step in steps),
            "looks": needed_looks(
                steps,
                sandboxed=self._sandbox is not None,
                attaching=not self._planned.inverse,
                modern=not self._classic,
                cabled=bool(self._endpoints) and not self._endpoints[0].on_parent,
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
            "own_end": bash_word(words.link(endpoint.host_end)),
            "no_source": bash_word((*source, " leads to no network namespace")),
            "addresses": [(bash_word(words.word(CIDRS, cidr)), width(cidr)) for cidr in endpoint.addresses],
            "ports": join(shell(port.note()) for port in endpoint.ports),
        }

    def _required(self) -> tuple[Word, ...]:
        """Return the interfaces that a plan about the host works on, and does not make."""
        kinds = (effects.Bridge, SubInterface)
        made = {step.makes.name for step in self._planned.steps if isinstance(step.makes, kinds)}
        links: dict[str, Word] = {}
        for step in () if self._endpoints else self._planned.steps:
            match step.makes:
                case effects.PortSetting(link=link):
                    links[link] = self._words.link(link)
                case SubInterface(parent=link):
                    links[link] = self._words.word((Kind.BRIDGE,), link)
                case effects.Up(netns=None, link=link):
                    links[link] = self._words.word((Kind.BRIDGE,), link)
        return tuple(word for link, word in links.items() if link not in made)

    def detaching(self) -> dict[str, Any]:
        """Return what a script that takes something away prints."""
        ends = [bash_word(self._words.word((Kind.LINK,), e.host_end)) for e in self._endpoints]
        sandboxes = [endpoint.sandbox for endpoint in self._endpoints]
        names = [bash_word(self._words.netns_path(sandbox.netns)) for sandbox in sandboxes]
        sources = [bash_word(self._words.source(sandbox)) for sandbox in sandboxes]
        heirs = [c.endpoint for c in self._planned.changes if c.present] if self._endpoints else []
        return {
            "sources": join(dict.fromkeys((*sources, *names))),
            "ends": join(ends),
            "heirs": [
                (shell(heir.host_end), bash_word(("netns ", *self._words.netns(heir.sandbox.netns))))
                for heir in heirs
            ],
        }

    def _purpose(self) -> Escaped:
        if self._endpoints:
            inverse = self._planned.inverse
            on = "one of the host's" if self._endpoints[0].on_parent else "a bridge"
            return own(
                "Takes an interface away from a sandbox again."
                if inverse
                else f"Gives a sandbox an interface on {on}."
            )
        what = about(self._planned)
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
            first = network.bridge if network.own_bridge else network.shim or network.bridge
            return bash_word((*self._words.word((Kind.BRIDGE,), first or ""), suffix))
        made = namespaces_made(self._planned.steps)
        if made:
            return bash_word(("sandbox-", *self._words.word((Kind.NETNS,), made[0]), suffix))
        digest = hashlib.sha256(self._planned.title.encode(errors="surrogateescape")).hexdigest()
        return shell(f"ports-{digest[:10]}{suffix}")

    def top(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the variables at the top: those that the script uses, and the sandbox's pins."""
        used = set(_USED.findall(repr(values))) | {"HOST_IF", "NETNS", "CONTAINER"}
        if self._endpoints and not self._planned.inverse:
            used |= {"BRIDGE", "PARENT", "MARK", "IFNAME", *(("PEER_IF",) if self._classic else ())}
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
        return {"tools": own(", ".join(ordered)), "needed": join(shell(tool) for tool in ordered)}

    # --- the variables

    def _pinned(self) -> bool:
        """Whether the sandbox has to be the very one: a pid or a path may lead elsewhere one day.

        A container's name, or a namespace's, is what is meant by it at any time.
        """
        sandbox = self._sandbox
        if sandbox is None or self._runtime is not None:
            return False
        return not sandbox.by_name

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
        if sandbox.by_name:
            return ("netns:", *self._words.netns(sandbox.netns))
        return ("path:", *self._words.word((Kind.PATH,), sandbox.path))


def _line(name: str, value: Escaped, why: str) -> Escaped:
    """Return an assignment with its comment behind it, in a column where that is possible."""
    return Escaped(f"{name}={value}".ljust(_WHY_COLUMN) + f" # {own(why)}")


def _table(pairs: Iterable[tuple[int, str]]) -> Escaped:
    return join(f"[{number}]={own(text)}" for number, text in pairs)


def _missing(link: Word) -> Escaped:
    return bash_word(("there is no interface ", *link, " on this host"))
