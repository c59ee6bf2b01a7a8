"""The linters are tests, so that one command checks everything."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
from hosts import ROOT

from nettool.cli import VERBS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_LINES: Final = 45
PLACES: Final = ("nettool", "tests", "scripts")


def _check(*argv: str) -> None:
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _module(name: str, *words: str) -> None:
    pytest.importorskip(name)
    _check(sys.executable, "-m", name, *words)


def test_ruff_finds_nothing() -> None:
    _module("ruff", "check", "--no-cache", "--output-format", "concise", *PLACES)


def test_the_code_is_formatted() -> None:
    _module("ruff", "format", "--no-cache", "--check", "nettool")


def test_mypy_finds_nothing() -> None:
    _module("mypy", "--strict")


def _shell_scripts() -> Iterator[Path]:
    for folder in (".ci", "scripts", "nettool", "docs"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix == ".sh" or (path.is_file() and not path.suffix and _is_shell(path)):
                yield path


def _is_shell(path: Path) -> bool:
    first = path.read_bytes()[:64].partition(b"\n")[0]
    return first.startswith(b"#!") and first.rstrip().endswith((b"bash", b"sh"))


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    scripts = [str(path) for path in _shell_scripts()]
    assert str(ROOT / ".ci" / "run") in scripts
    _check("shellcheck", "--external-sources", *scripts)


def _functions() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in sorted((ROOT / "nettool").rglob("*.py")):
        if path.parent.name == "commands":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def test_functions_are_short() -> None:
    long = {place: _length(node) for place, node in _functions() if _length(node) > MAX_LINES}
    assert long == {}


def _length(node: ast.FunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_documented(verb: str) -> None:
    pages = [*ROOT.glob("docs/*.md"), *ROOT.glob("README.md")]
    if not pages:
        pytest.skip("there are no docs yet")
    assert any(f"nettool {verb}" in page.read_text(encoding="utf-8") for page in pages)
