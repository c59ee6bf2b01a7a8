"""A plan as a runbook in Markdown: what to know, check, do, verify and take back, for people."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

from nettool import effects
from nettool.plan import Command, Status, Stays, namespaces_made
from nettool.renderers import Escaped, fill, own, shell, typed
from nettool.renderers.mermaid import picture
from nettool.renderers.probes import probe
from nettool.renderers.variables import Words, endpoints_of, network_of, variables_of
from nettool.text import safe
from nettool.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nettool.facts import Facts
    from nettool.model import Endpoint, Sandbox
    from nettool.plan import Decision, Plan, Step
    from nettool.renderers.variables import Word


_PING: Final = ("ping", "-c", "1", "-W", "2")


class _Check(Value):
    """A command to run, what it is for, and what it should say."""

    what: Escaped
    command: Escaped
    expected: Escaped


def render(planned: Plan, facts: Facts) -> str:
    """Return the runbook of a plan."""
    decisions = planned.decisions
    return fill(
        "runbook.md.j2",
        title=text(planned.title),
        header=list(_header(planned, facts)),
        purpose=_purpose(planned),
        notes=[text(note) for note in planned.notes],
        problems=[text("; ".join((problem.what, *problem.why))) for problem in planned.problems],
        variables=[(own(v.name), code(v.value, table=True), own(v.why)) for v in variables_of(planned)],
        before=Escaped(picture(planned, facts, after=False)),
        after=Escaped(picture(planned, facts, after=True)),
        prechecks=list(_prechecks(planned)),
        steps=[_step(number, d, planned) for number, d in enumerate(decisions, 1)],
        verification=list(_verification(planned)),
        rollback=list(_rollback(planned)),
        inverse=planned.inverse,
    )  # fmt: skip


def _purpose(planned: Plan) -> Escaped:
    if endpoints_of(planned):
        on_parent = endpoints_of(planned)[0].on_parent
        on = "an interface of this host's" if on_parent else "a bridge of this host"
        gives = own(f"Gives a sandbox an interface on {on}.")
        takes = own("Takes an interface away from a sandbox again, and leaves everything else as it is.")
    elif network_of(planned):
        gives = own("Makes a network that containers can be put on.")
        takes = own("Takes a network away again, and leaves everything else as it is.")
    elif namespaces_made(planned.steps):
        gives = own("Makes a named network namespace.")
        takes = own("Takes a named network namespace away again.")
    else:
        gives = own("Lets ports of this host lead to a container.")
        takes = own("Takes published ports back, and leaves everything else as it is.")
    return takes if planned.inverse else gives


# --- Markdown


def text(raw: str) -> Escaped:
    """Return text that Markdown and HTML leave as it is, in one line."""
    return Escaped(re.sub(r"([\\`*_{}\[\]()<>#+!|&~$])", r"\\\1", safe(raw)))


def code(raw: str, *, table: bool = False) -> Escaped:
    """Return a code span, with more backticks round it than there are within."""
    shown = safe(raw) or " "
    if table:
        # GFM splits cells before it looks for code spans.
        shown = shown.replace("|", "\\|")
    ticks = "`" * (_longest_run(shown) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return Escaped(f"{ticks}{pad}{shown}{pad}{ticks}")


def block(lines: Iterable[str], language: str = "bash") -> Escaped:
    """Return a fenced block, with a longer fence than any within."""
    body = "\n".join(lines)
    fence = "`" * max(3, _longest_run(body) + 1)
    return Escaped(f"{fence}{language}\n{body}\n{fence}")


def _longest_run(body: str) -> int:
    return max((len(run) for run in re.findall(r"`+", body)), default=0)


def _line(words: Sequence[str]) -> str:
    return " ".join(shell(word) for word in words)


# --- the sections


def _header(planned: Plan, facts: Facts) -> Iterator[tuple[Escaped, Escaped]]:
    lines = "\n".join(typed(step.do) for step in planned.steps)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    to_do = len(planned.to_do)
    for name in ("Change", "Window", "Owner"):
        yield own(name), Escaped("  ")
    host, boot = code(facts.hostname, table=True), code(facts.boot_id, table=True)
    yield own("Made for"), Escaped(f"host {host}, boot {boot}")
    for sandbox in _sandboxes(planned):
        pins = [f"net:[{sandbox.netns.inode}]"] if sandbox.netns.inode is not None else []
        pins += [f"process {sandbox.pid}"] if sandbox.pid is not None else []
        pins += [f"started at tick {sandbox.start_time}"] if sandbox.start_time is not None else []
        yield own("Sandbox"), Escaped(", ".join(code(pin, table=True) for pin in (sandbox.target, *pins)))
    yield own("Dialect"), code(planned.dialect, table=True)
    yield own("Steps"), own(f"{len(planned.steps)}, of which {to_do} were to do when this was written")
    yield own("Commands"), code(f"sha256:{digest}")


def _sandboxes(planned: Plan) -> tuple[Sandbox, ...]:
    return tuple({e.sandbox.target: e.sandbox for e in endpoints_of(planned)}.values())


def _prechecks(planned: Plan) -> Iterator[_Check]:
    yield _check("This is done as root.", ("id", "-u"), "0")
    steps = (*planned.steps, *planned.restores)
    commands = [c for step in steps for c in (step.do, step.undo) if isinstance(c, Command)]
    tools = sorted({word for c in commands for word in (c.words()[0], c.argv[0])})
    yield _check("The programs are installed.", ("which", *tools), "a path for each")
    for sandbox in _sandboxes(planned):
        inode = str(sandbox.netns.inode) if sandbox.netns.inode is not None else "a number"
        source = _plain(Words(()).source(sandbox))
        yield _check("The sandbox is the one that is meant.", ("stat", "-L", "-c", "%i", source), inode)
    for endpoint in () if planned.inverse else endpoints_of(planned):
        yield from _prechecks_of(endpoint)


def _prechecks_of(endpoint: Endpoint) -> Iterator[_Check]:
    link = ("ip", "-d", "link", "show", "dev", endpoint.bridge)
    if endpoint.on_parent:
        yield _check("The interface that it is made on is there, and up.", link, "UP")
    else:
        yield _check("The bridge is there, and is one.", link, "bridge")
    for name in () if endpoint.on_parent else (endpoint.host_end, endpoint.peer):
        taken = block([_line(("ip", "link", "show", "dev", name))])
        yield _Check(own("The name is free."), taken, own("does not exist"))
    for cidr in endpoint.addresses:
        ip, width = cidr.partition("/")[0], 128 if ":" in cidr else 32
        show = ("ip", "-o", "addr", "show", "to", f"{ip}/{width}")
        yield _Check(own("Nobody on this host has the address."), block([_line(show)]), own("nothing"))


def _check(what: str, argv: Sequence[str], expected: str) -> _Check:
    return _Check(own(what), block([_line(argv)]), Escaped(f"output with {code(expected)}"))


def _step(number: int, decision: Decision, planned: Plan) -> dict[str, Any]:
    step = decision.step
    state = ""
    if decision.status is Status.ALREADY:
        state = "This was so already when the runbook was written: skip it when its verification holds."
    elif decision.status is Status.CONFLICT:
        state = "Something else was in the way when the runbook was written."
    return {
        "number": number,
        "why": own(step.why),
        "state": own(state),
        "has_state": bool(state),
        "command": block([typed(step.do)]),
        "verify": _verify(step),
        "undo": _undo(step, planned),
    }


def _verify(step: Step) -> _Check:
    gone = isinstance(step.makes, effects.Gone)
    fact = step.about
    looked = probe(fact, step, Words(()))
    words = [_plain(word) for word in looked.argv]
    expect = code(_plain(looked.expect).strip())
    says = f"not {expect}, or an error" if gone else f"{'' if looked.exact else 'output with '}{expect}"
    if looked.silent:
        says = "an error" if gone else "no output, exit status 0"
    return _Check(text(step.makes.sentence()), block([_line(words)]), Escaped(says))


def _undo(step: Step, planned: Plan) -> Escaped:
    if isinstance(step.undo, Command):
        return block([typed(step.undo)])
    if isinstance(step.undo, Stays):
        return own(f"Nothing to take back: {step.undo.why}.")
    if step.undo is None:
        return own("It cannot be taken back.")
    number = next((n for n, s in enumerate(planned.steps, 1) if s.makes.key == step.undo.key), 0)
    return own(f"Goes with step {number}." if number else "Goes with the cable.")


def _verification(planned: Plan) -> Iterator[_Check]:
    for endpoint in () if planned.inverse else endpoints_of(planned):
        enter = ("ip", "netns", "exec", endpoint.sandbox.netns.name)
        show = ("ip", "addr", "show", "dev", endpoint.ifname)
        yield _check("The interface has its addresses.", (*enter, *show), ", ".join(endpoint.addresses))
        for route in endpoint.routes:
            if route.destination == "default" and route.via:
                yield _check("The gateway answers.", (*enter, *_PING, route.via), "1 received")
        # From the parent itself, the kernel lets nobody reach what is on it.
        for cidr in () if endpoint.on_parent else endpoint.addresses:
            ping = (*_PING, cidr.partition("/")[0])
            yield _check("The sandbox answers, where the host is on its network.", ping, "1 received")
    if not endpoints_of(planned):
        for step in planned.steps:
            yield _verify(step)
    for endpoint in endpoints_of(planned) if planned.inverse else ():
        argv = ("ip", "link", "show", "dev")
        if endpoint.on_parent:
            inside = ("nsenter", f"--net={_plain(Words(()).source(endpoint.sandbox))}", "--")
            yield _check("The interface is gone.", (*inside, *argv, endpoint.ifname), "does not exist")
        else:
            yield _check("The cable is gone.", (*argv, endpoint.host_end), "does not exist")


def _rollback(planned: Plan) -> Iterator[tuple[Escaped, Escaped]]:
    if planned.inverse:
        for step in planned.restores:
            yield own(step.why), block([typed(step.do)])
        return
    for number, step in reversed(tuple(enumerate(planned.steps, 1))):
        if isinstance(step.undo, Command):
            yield own(f"step {number}: {step.why}"), block([typed(step.undo)])


def _plain(word: Word) -> str:
    return "".join(str(piece) for piece in word)
