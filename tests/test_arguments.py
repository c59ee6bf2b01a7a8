"""The quick reader and Typer never disagree on what a command line says."""

from __future__ import annotations

import contextlib
import io
import os
from typing import Final

import pytest
import typer.main
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from plan_kinds import EVERY

from nettool.arguments import Arguments, Kind, Verb, parse
from nettool.cli import VERBS, load
from nettool.typer_app import build
from nettool.value import replace

EXAMPLES: Final = 100 if EVERY else 60

_values = st.one_of(
    st.sampled_from(["eth0", "172.17.0.10/16", "7", "007", "0", "-1", "+5", "1_0", "٣", " 7", "1.0", "--ip"]),
    st.sampled_from(["", "-", "--", "-x", "=", "a=b", "json", "text", "auto", "classic", "MODERN", "keep"]),
    st.text(min_size=0, max_size=4),
    st.integers(-5, 1 << 70).map(str),
)


@st.composite
def command_lines(draw: st.DrawFn, verb: Verb) -> list[str]:
    """Draw a command line of a verb: mostly right, now and then mangled."""
    words: list[str] = []
    for option in draw(st.lists(st.sampled_from(verb.options), max_size=5)) if verb.options else ():
        name = draw(st.sampled_from(option.names))
        value = draw(st.sampled_from(option.choices) if option.choices and draw(st.booleans()) else _values)
        form = draw(st.integers(0, 9))
        if option.kind is Kind.FLAG and form < 8:
            words.append(name)
        elif form < 6:
            words += [name, value]
        elif form < 9:
            words.append(f"{name}={value}")
        else:
            words.append(name)
    for word in draw(st.lists(_values, max_size=3 if verb.operands else 1)) if draw(st.booleans()) else ():
        words.insert(draw(st.integers(0, len(words))), word)
    return words


class ByTyper:
    """Typer's own reading of a verb's command lines."""

    def __init__(self, verb: Verb) -> None:
        self._verb = verb
        self._given: list[Arguments] = []
        app = build([replace(verb, run=lambda arguments: self._given.append(arguments) or 0)])
        app.command("another")(lambda: None)  # a lone command would be taken without its name
        self._command = typer.main.get_command(app)

    def read(self, words: list[str]) -> tuple[int, Arguments | None]:
        """Return the exit status, and what the verb would be given."""
        self._given.clear()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            try:
                self._command([*self._verb.name.split(), *words], prog_name="nettool")
                status = 0
            except SystemExit as end:
                status = int(end.code or 0)
        return status, self._given[0] if self._given else None


def _takes_a_command(verb: Verb, read: Arguments) -> bool:
    return any(operand.rest and read.texts(operand.key) for operand in verb.operands)


@pytest.mark.parametrize("name", VERBS)
def test_what_the_quick_reader_understands_typer_understands_alike(name: str) -> None:
    verb = load(name)
    typers = ByTyper(verb)

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(words=command_lines(verb))
    @example(words=["--help"])
    @example(words=["-nn"])
    @example(words=["--", "--help"])
    def agree(words: list[str]) -> None:
        quick = parse(verb, words)
        status, slow = typers.read(words)
        if quick is not None and _takes_a_command(verb, quick):
            return  # a command's own options are left alone, which Typer cannot do
        if quick is not None:
            assert (status, slow) == (0, quick)
        elif slow is None:
            assert status == (0 if {"--help", "-h"} & set(words) and status == 0 else 2)

    agree()


@pytest.mark.parametrize("name", VERBS)
def test_every_example_is_understood_by_both(name: str) -> None:
    for line in load(name).examples:
        words = line.split(" > ")[0].split()
        assert words[0] == "nettool"
        name = next(name for name in VERBS if f"{' '.join(words[1:])} ".startswith(f"{name} "))
        shown, rest = load(name), words[1 + len(name.split()) :]
        quick = parse(shown, rest)
        assert quick is not None, line
        assert _takes_a_command(shown, quick) or ByTyper(shown).read(rest) == (0, quick)


@pytest.mark.parametrize("name", VERBS)
def test_help_shows_every_option_and_example(name: str) -> None:
    verb = load(name)
    printed = _help_of(verb)
    for option in verb.options:
        assert all(name in printed for name in option.names)
    for line in verb.examples:
        assert line[:60].rstrip() in printed


def _help_of(verb: Verb) -> str:
    app = build([verb])
    app.command("another")(lambda: None)
    printed = io.StringIO()
    environment = dict(os.environ)
    os.environ.update(COLUMNS="200", TERM="dumb", NO_COLOR="1")
    try:
        with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as end:
            app(args=[*verb.name.split(), "--help"], prog_name="nettool")
    finally:
        os.environ.clear()
        os.environ.update(environment)
    assert not end.value.code
    return printed.getvalue()


ATTACH: Final = load("attach")


@pytest.mark.parametrize(
    "words",
    [
        ["--pid", "7", "--ip", "10.0.0.1/8", "-n"],
        ["-n", "--ip=10.0.0.1/8", "--pid=7"],
        ["--ip", "10.0.0.1/8", "--dry-run", "--pid", "7"],
        ["--pid", "9", "--pid", "7", "-n", "--ip", "10.0.0.1/8"],
    ],
)
def test_the_order_of_options_does_not_matter_and_the_last_one_holds(words: list[str]) -> None:
    read = parse(ATTACH, words)
    assert read is not None
    assert (read.number("pid"), read.texts("ip"), read.flag("dry_run")) == (7, ("10.0.0.1/8",), True)
    assert ByTyper(ATTACH).read(words) == (0, read)


def test_options_may_follow_operands() -> None:
    verb = load("apply")
    read = parse(verb, ["plan.json", "--dry-run"])
    assert read is not None
    assert read == parse(verb, ["--dry-run", "plan.json"])
    assert ByTyper(verb).read(["plan.json", "--dry-run"]) == (0, read)


def test_a_repeated_option_keeps_its_order() -> None:
    read = parse(ATTACH, ["--ip", "10.0.0.2/8", "--ip=10.0.0.1/8"])
    assert read is not None
    assert read.texts("ip") == ("10.0.0.2/8", "10.0.0.1/8")


@pytest.mark.parametrize(
    "words",
    [
        ["--pidd", "7"],
        ["--pid"],
        ["--pid", "seven"],
        ["--dialect", "latin"],
        ["--dry-run=yes"],
        ["pid:7", "stray"],
        ["--pi", "7"],
    ],
)
def test_a_mistake_is_left_to_typer_which_exits_2(words: list[str]) -> None:
    assert parse(ATTACH, words) is None
    assert ByTyper(ATTACH).read(words) == (2, None)
