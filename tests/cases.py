"""The form of the case files: a command line, a host in short, and what has to come of the two.

A host is cases/base.json, with another file of that folder (`on`) and then the case's own `facts` laid
over it; null takes a thing away. `records` are earlier attachments, made on the host of `was`. In what
is expected, A and B stand for the two ends of the cable, whose names come from a hash.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import nettool.apply
import nettool.pipeline
from nettool.arguments import parse
from nettool.cli import load
from nettool.facts import AddressFact, Facts, LinkFact, NamespaceFacts, NetnsNameFact, RouteFact, SandboxFact
from nettool.locks import Locks
from nettool.model import Record, Records
from nettool.pipeline import Mode, carry_out
from nettool.planner import check, plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from nettool.plan import Plan
    from nettool.request import Request

Case = dict[str, Any]

FOLDER: Final = Path(__file__).parent / "cases"
HOST_INODE: Final = 4026531840


def _read(name: str) -> Case:
    facts: Case = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return facts


BASE: Final = _read("base")


def case_files() -> list[Path]:
    return sorted(path for path in FOLDER.glob("*/*.json"))


def planned(case: Case, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Take a case as far as to where commands would run. Raises NettoolError."""
    monkeypatch.setattr(nettool.apply, "apply", lambda *_: None)
    monkeypatch.setattr(Locks, "acquire", lambda *_: None)
    request, mode = typed(case["request"], monkeypatch)
    check(request)
    facts = facts_in(case)
    made = plan(request, facts, Records(tuple(records_in(case, monkeypatch))))
    carry_out(made, facts, lambda: facts, Locks("/nowhere", "test"), mode)
    return made


def facts_in(case: Case) -> Facts:
    """Return the host of a case."""
    before = laid_over(BASE, _read(case["on"])) if "on" in case else BASE
    return facts_of(laid_over(before, case.get("facts", {})))


def typed(line: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Request, Mode]:
    """Return what a command line makes of itself. Raises UsageError."""
    caught: list[tuple[Request, Mode]] = []
    monkeypatch.setattr(nettool.pipeline, "execute", lambda request, mode: caught.append((request, mode)))
    verb, *words = json.loads(line) if line.startswith("[") else line.split()
    declared = load(verb)
    arguments = parse(declared, words)
    assert arguments is not None, f"not a complete command line: {line}"
    declared.run(arguments)
    return caught[0]


def records_in(case: Case, monkeypatch: pytest.MonkeyPatch) -> Iterator[Record]:
    """Remember earlier attachments, as they were made on the host of `was`."""
    facts = facts_of(laid_over(BASE, case.get("was", {})))
    for line in case.get("records", ()):
        made = plan(typed(line, monkeypatch)[0], facts, Records())
        yield from (change.after for change in made.changes if change.after)


def shortened(text: str) -> str:
    """Put A and B for the cable's ends."""
    return re.sub(r"\bnt[0-9a-f]{10}\b", "A", re.sub(r"\bnt[0-9a-f]{10}p\b", "B", text))


# --- a host in short


def laid_over(base: Any, change: Any) -> Any:
    """Return `base` with what `change` says of it; null takes away."""
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    merged = {key: laid_over(base.get(key), value) for key, value in change.items()}
    return {key: value for key, value in {**base, **merged}.items() if value is not None}


def facts_of(short: Case) -> Facts:
    """Write a host out in full."""
    inside = [short["inside"]] if "inside" in short else []
    return Facts(
        host=_namespace({**short, "inode": HOST_INODE}),
        namespaces=tuple(_namespace(each) for each in (*inside, *short["others"].values())),
        sandboxes=(_sandbox(short["sandbox"]),) if "sandbox" in short else (),
        netns_names=tuple(
            NetnsNameFact(n, e.get("inode"), e.get("symlink")) for n, e in short["names"].items()
        ),
        netns_folder=short["folder"],
        tools=tuple((tool, f"/usr/sbin/{tool}") for tool in short["tools"]),
        answering=tuple(short["answering"].items()),
        privileged=short["privileged"],
        ssh_links=tuple(short["ssh_links"]),
    )


def _sandbox(short: Case) -> SandboxFact:
    return SandboxFact(**{**short, "answers_to": tuple(short["answers_to"])})


def _namespace(short: Case) -> NamespaceFacts:
    addresses = short.get("addresses", {}).items()
    return NamespaceFacts(
        inode=short["inode"],
        links=tuple(_link(name, each) for name, each in short.get("links", {}).items()),
        addresses=tuple(AddressFact(link, cidr) for link, cidrs in addresses for cidr in cidrs),
        routes=tuple(_route(line) for line in short.get("routes", ())),
        sysctls=tuple(short.get("sysctls", {}).items()),
    )


def _link(name: str, short: Case) -> LinkFact:
    usual = {"kind": "", "mac": "", "mtu": 1500, "up": True, "index": 9}
    return LinkFact(**{"name": name, **usual, **short})


def _route(line: str) -> RouteFact:
    destination, *words = line.replace(" inexact", "").split()
    pairs = dict(zip(words[::2], words[1::2], strict=True))
    via = pairs.get("via")
    family = 6 if ":" in destination + (via or "") else 4
    exact = not line.endswith(" inexact")
    return RouteFact(family, destination, via, pairs.get("dev"), int(pairs.get("metric", "0")), exact=exact)
