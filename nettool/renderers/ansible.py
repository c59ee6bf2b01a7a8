"""A plan as an Ansible play: command tasks with argv lists, never a shell.

Each step is looked at first and done only when it is not so; when one fails, what the play itself did
is undone, last first. Values stand in variables; what holds a brace is marked !unsafe, so that Ansible
takes nothing from elsewhere for a template.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from nettool import effects
from nettool.errors import Refused
from nettool.parenteffects import Marked, OnParent
from nettool.plan import Command, Scope
from nettool.renderers import Escaped, fill, own
from nettool.renderers.probes import Probe, probe
from nettool.renderers.variables import (
    Kind,
    Slashed,
    Variable,
    Words,
    about,
    endpoints_of,
    runtime_of,
    variables_of,
)
from nettool.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nettool.facts import Facts
    from nettool.model import Endpoint, Sandbox
    from nettool.plan import Plan, Step
    from nettool.renderers.variables import Piece, Word

_NOTES: Final = "/run/nettool/endpoints/"
_STAT: Final = (("stat",), ("-L",), ("-c",), ("%i",))
_INSPECT: Final = ("inspect", "--type", "container", "--format", "{{.State.Pid}}")
# The runtimes that tell a container's process with one command; for others the pid is written down.
_LOOKUPS: Final = {"docker": ("docker", *_INSPECT), "podman": ("podman", *_INSPECT)}


class _Task(Value):
    """One step of the play; every text is YAML already."""

    number: int
    why: Escaped
    look: Escaped
    expect: Escaped
    condition: Escaped
    argv: Escaped
    reads: Escaped
    undo: Escaped
    undo_reads: Escaped
    note: Escaped
    has_undo: bool
    has_note: bool


def render(planned: Plan, facts: Facts) -> str:
    """Return the play of a plan."""
    del facts  # the play looks at the host that it runs on
    endpoints, words = endpoints_of(planned), Words(variables_of(planned))
    tasks = [_task(n, step, words, inverse=planned.inverse) for n, step in enumerate(planned.steps, 1)]
    restores = enumerate(planned.restores, len(tasks) + 1)
    name = _name_of(planned)
    noted = bool(endpoints) and any(task.has_note for task in tasks)
    making = endpoints[0].sandbox if endpoints and not planned.inverse else None
    return fill(
        "playbook.yml.j2",
        name=own(name),
        tasks=tasks,
        undone=[] if planned.inverse else [task for task in reversed(tasks) if task.has_undo],
        restored=[_task(n, step, words, inverse=True) for n, step in restores],
        # A network, and ports by themselves, are taken back by a play of their own.
        notes=_text(_notes(endpoints[0], "made", words)) if noted else Escaped(),
        forgotten=[_text(name) for name in _records(endpoints, words)] if planned.inverse else [],
        making=making is not None,
        **_sandbox(making, words),
    )


def _name_of(planned: Plan) -> str:
    if endpoints_of(planned):
        return "Take an interface away from a sandbox" if planned.inverse else "Give a sandbox an interface"
    what = about(planned)
    return f"{'Take' if planned.inverse else 'Make'} {what}{' away' if planned.inverse else ''}"


def _sandbox(sandbox: Sandbox | None, words: Words) -> dict[str, Any]:
    """Return how the play finds the sandbox; where it makes nothing, it needs none."""
    lookup = _LOOKUPS.get(runtime_of(sandbox) or "") if sandbox else None
    # The pid, and a name that is made of it, are found out when the play runs.
    follows = [v for v in words.variables if lookup and sandbox and v.value == str(sandbox.pid)]
    container = next((v for v in words.variables if v.kind is Kind.CONTAINER), "")
    inode = "" if sandbox is None or lookup else _pin(sandbox)
    return {
        "variables": [(_name(v), _value(v, words), own(v.why)) for v in words.variables if v not in follows],
        "lookup": _list([*((word,) for word in lookup), (container,)]) if lookup else Escaped(),
        "has_lookup": lookup is not None,
        "follows": [_name(variable) for variable in follows],
        "source": _list([*_STAT, words.source(sandbox)]) if sandbox else Escaped(),
        "inode": scalar(inode),
        "pinned": bool(inode),
    }


def _value(variable: Variable, words: Words) -> Escaped:
    pid = words.find((Kind.PID,), variable.value) if variable.kind is Kind.NETNS else None
    return _text((pid,)) if pid else scalar(variable.value)


def _records(endpoints: tuple[Endpoint, ...], words: Words) -> Iterator[Word]:
    for endpoint in endpoints:
        for kind in ("json", "made"):
            yield _notes(endpoint, kind, words)


def _notes(endpoint: Endpoint, kind: str, words: Words) -> Word:
    return (_NOTES, *words.link(endpoint.host_end), f".{kind}")


def _pin(sandbox: Sandbox) -> str:
    """Return the inode that the sandbox has to have: a name means what it is at any time."""
    return "" if sandbox.by_name or sandbox.netns.inode is None else str(sandbox.netns.inode)


def _name(variable: Variable) -> Escaped:
    return own(f"nettool_{variable.name.lower()}")


def scalar(text: str) -> Escaped:
    """Return text as a YAML scalar that Ansible does not take for a template."""
    unsafe = "!unsafe " if "{" in text else ""
    return Escaped(unsafe + _quoted(text))


def _quoted(text: str) -> str:
    return '"' + "".join(_character(character) for character in text) + '"'


def _character(character: str) -> str:
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        raise Refused("a name that is no UTF-8 cannot be written in YAML", hints=("--format bash",))
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _task(number: int, step: Step, words: Words, *, inverse: bool) -> _Task:
    gone = isinstance(step.makes, effects.Gone)
    fact = step.about
    # Another one of that name may be somebody's: what is ours has our mark.
    shown = Marked(fact.netns, fact.name, fact.mark) if isinstance(fact, OnParent) else fact
    looked, output = probe(shown, step, words), f"nettool_look_{number}.stdout"
    is_so = f"{output} == nettool_expect" if looked.exact else f"nettool_expect in {output}"
    if looked.silent:
        is_so = f"nettool_look_{number}.rc == 0"
    if isinstance(fact, effects.NetnsName):
        if not inverse:
            is_so = f"{output} == nettool_sandbox.stdout"
        elif step.do.argv[0] == "rm":
            # The link may lead nowhere by now: what counts is where it points.
            link: Word = words.netns_path(fact.netns)
            looked = Probe((("readlink",), link), (fact.path,), exact=True)
    undo = step.undo if isinstance(step.undo, Command) else None
    return _Task(
        number=number,
        why=own(step.why),
        look=_list(looked.argv),
        expect=_text(looked.expect),
        condition=own(is_so if gone else f"not ({is_so})"),
        argv=_list(words.do(step)),
        reads=_reads(step.do),
        undo=_list(words.undo(step, undo)) if undo else Escaped(),
        undo_reads=_reads(undo),
        note=_text(_key(fact, words)),
        has_undo=undo is not None,
        has_note=undo is not None and step.scope is not Scope.HOST and not gone,
    )


def _reads(command: Command | None) -> Escaped:
    """Return what a command reads; nothing where it reads nothing."""
    return Escaped() if command is None or command.stdin is None else scalar(command.stdin)


def _key(fact: effects.Fact, words: Words) -> Word:
    """Return what is noted of a step, for nettool detach to find."""
    if isinstance(fact, effects.NetnsName):
        return ("netns ", *words.netns(fact.netns))
    if isinstance(fact, effects.Route) and fact.instead_of is not None:
        return (f"replaced {fact.route.family} {' '.join(fact.instead_of.words())}",)
    if isinstance(fact, OnParent):
        return (f"{fact.kind} ", *words.link(fact.mark))
    if isinstance(fact, effects.VethPair):
        return ("veth ", *words.link(fact.host_end))
    return (fact.key,)


def _list(words: Iterable[Word]) -> Escaped:
    return Escaped("[" + ", ".join(_text(word) for word in words) + "]")


def _text(word: Word) -> Escaped:
    if all(isinstance(piece, str) for piece in word):
        return scalar("".join(str(piece) for piece in word))
    return Escaped(_quoted("".join(_piece(piece) for piece in word)))


def _piece(piece: Piece) -> str:
    if isinstance(piece, Slashed):
        return f"{{{{ {_name(piece.variable)} | replace('.', '/') }}}}"
    if isinstance(piece, Variable):
        return f"{{{{ {_name(piece)} }}}}"
    if "{" in piece:
        raise ValueError(f"a brace beside a variable: {piece!r}")
    return piece
