"""Imports point only downwards, what decides is pure, and a dry run loads nothing that it does not use."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
from hosts import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PACKAGE: Final = ROOT / "nettool"

# From the ground up: a module may import what stands in a line above its own, and in its own line.
ROOMS: Final = (
    ("nettool", "nettool.value", "nettool.text", "nettool.errors", "nettool.naming", "nettool.request"),
    ("nettool.envelope",),
    ("nettool.facts", "nettool.ipam", "nettool.ports"),
    ("nettool.firewall",),
    ("nettool.presence",),
    ("nettool.fileeffects", "nettool.firewalleffects", "nettool.netnseffects", "nettool.parenteffects"),
    ("nettool.effects", "nettool.model"),
    ("nettool.plan", "nettool.codec"),
    ("nettool.history",),
    (
        "nettool.iproute",
        "nettool.iptables",
        "nettool.dnsmasq",
        "nettool.netns",
        "nettool.drivers",
        "nettool.hostnames",
    ),
    ("nettool.interfaces", "nettool.resolve", "nettool.checks"),
    ("nettool.parents",),
    ("nettool.portchecks",),
    ("nettool.lowering", "nettool.leaving"),
    ("nettool.recognizing",),
    ("nettool.attaching", "nettool.detaching"),
    ("nettool.connecting",),
    (
        "nettool.undoing",
        "nettool.collecting",
        "nettool.pastruns",
        "nettool.networks",
        "nettool.netlist",
        "nettool.boxlist",
        "nettool.publishing",
        "nettool.repairing",
        "nettool.boxing",
    ),
    ("nettool.recognizednets",),
    ("nettool.adopting",),
    ("nettool.planner",),
    ("nettool.survey",),
    ("nettool.render",),
    ("nettool.table",),
    ("nettool.output",),
    ("nettool.renderers",),
    ("nettool.fingerprint",),
    ("nettool.namespaces",),
    ("nettool.run", "nettool.pinning", "nettool.processes", "nettool.store", "nettool.probe"),
    ("nettool.patience", "nettool.traffic"),
    ("nettool.hostfiles",),
    ("nettool.netnsid",),
    ("nettool.locks",),
    ("nettool.journal",),
    ("nettool.watch",),
    ("nettool.host", "nettool.arguments"),
    ("nettool.kinds",),
    ("nettool.runtimes", "nettool.sandboxes"),
    ("nettool.factsfile",),
    ("nettool.reading",),
    ("nettool.confirmation",),
    ("nettool.rollback",),
    ("nettool.apply",),
    ("nettool.recovery",),
    ("nettool.countdown",),
    ("nettool.pipeline", "nettool.savedplan", "nettool.export", "nettool.lab", "nettool.gathering"),
    ("nettool.cgroups",),
    ("nettool.launching",),
    ("nettool.restoring", "nettool.units"),
    ("nettool.watching",),
    ("nettool.plugins",),
    ("nettool.commands",),
    ("nettool.typer_app",),
    ("nettool.cli",),
    ("nettool.__main__",),
)
PURE: Final = (
    "value", "text", "errors", "naming", "request", "facts", "effects", "model", "plan", "codec", "iproute",
    "ipam",    "firewall", "iptables", "drivers", "resolve", "checks", "lowering", "planner", "attaching",
    "connecting", "detaching", "recognizing", "recognizednets", "adopting",
    "interfaces", "parents", "parenteffects", "ports", "portchecks", "leaving", "publishing", "repairing",
    "presence", "fileeffects", "firewalleffects", "netnseffects", "netns", "boxing", "boxlist", "dnsmasq",
    "hostnames",
    "undoing", "collecting", "networks", "netlist", "history", "pastruns",
    "survey", "envelope", "fingerprint", "render", "renderers", "arguments",
)  # fmt: skip
IMPURE: Final = frozenset(
    ("os", "subprocess", "sh", "time", "random", "secrets", "socket", "typer", "rich", "pathlib", "shutil")
)
STARTERS: Final = ("nettool.run", "nettool.watch")
SLOW: Final = ("typer", "click", "rich", "jinja2", "sh", "dataclasses", "typing", "inspect", "pathlib")


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES: Final = {_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _imports(name: str, *, types: bool = False) -> Iterator[str]:
    """Return what a module imports, also within its functions; with `types` for type checkers, too."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    for_types = {id(inner) for node in ast.walk(tree) if _is_for_types(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in for_types and not types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports say the whole name"
            yield from (_module_of(node.module or "", alias.name) for alias in node.names)


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _module_of(module: str, name: str) -> str:
    return f"{module}.{name}" if f"{module}.{name}" in MODULES else module


def _floor(name: str) -> int:
    floors = [
        (len(room), number)
        for number, rooms in enumerate(ROOMS)
        for room in rooms
        if name == room or (name.startswith(f"{room}.") and room != "nettool")
    ]
    assert floors, f"{name} has no room: give it a line in ROOMS"
    return max(floors)[1]


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_only_downwards(name: str) -> None:
    own = [other for other in _imports(name) if other.split(".")[0] == "nettool"]
    upwards = [other for other in own if _floor(other) > _floor(name)]
    assert upwards == []


@pytest.mark.parametrize(
    "name", [name for name in MODULES if name.split(".")[1:2] and name.split(".")[1] in PURE]
)
def test_what_decides_is_pure(name: str) -> None:
    assert {other.split(".")[0] for other in _imports(name)} & IMPURE == set()


@pytest.mark.parametrize("name", [name for name in MODULES if name not in STARTERS])
def test_only_two_modules_start_processes(name: str) -> None:
    assert not {other.split(".")[0] for other in _imports(name)} & {
        "subprocess",
        "sh",
        "pty",
        "multiprocessing",
    }
    text = MODULES[name].read_text(encoding="utf-8")
    calls = {node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)}
    assert not calls & {"system", "popen", "posix_spawn", "posix_spawnp", "fork", "forkpty", "spawnv"}


def test_nothing_runs_a_shell() -> None:
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.keyword) and node.arg == "shell"), name


def _loaded_by(words: tuple[str, ...]) -> set[str]:
    """Return the modules that a call of nettool loads, in a child that starts with nothing."""
    script = f"""
import sys
before = set(sys.modules)
import nettool.cli
try:
    nettool.cli.main({list(words)!r})
except SystemExit:
    pass
print("loaded:", *sorted(set(sys.modules) - before), file=sys.stderr)
"""
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    done = subprocess.run(
        (sys.executable, "-S", "-c", script), env=env, capture_output=True, encoding="utf-8", check=True
    )
    return set(done.stderr.partition("loaded:")[2].split())


@pytest.mark.parametrize(
    "words",
    [
        ("attach", "--pid", "1", "--ip", "172.17.0.10/16", "--dry-run"),
        ("attach", "--pid", "1", "--ip", "fd00::10/64", "--dry-run", "--dialect", "modern", "-o", "json"),
        ("attach", "--pid", "1", "--ip", "nonsense"),
        ("detach", "--pid", "1", "--dry-run"),
        ("--version",),
    ],
    ids=" ".join,
)
def test_what_is_slow_to_load_is_not_loaded_for_a_plan(words: tuple[str, ...]) -> None:
    loaded = _loaded_by(words)
    assert loaded
    assert sorted(loaded & set(SLOW)) == []
    verbs = {name for name in loaded if name.startswith("nettool.commands.")}
    assert verbs <= {f"nettool.commands.{words[0]}", "nettool.commands.options"}
