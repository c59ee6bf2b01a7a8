"""Text from elsewhere is hostile: it never runs, never moves a terminal, and never breaks JSON.

A container's root may rename an interface to anything the kernel takes, and give it any alias. Facts
may come from a file. `>c` in a shell makes a file: the canary that must never be there.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
import unicodedata
from typing import TYPE_CHECKING, Final

import pytest
from cases import BASE, facts_of, laid_over
from hosts import ROOT, Host
from plan_kinds import DIALECTS, FULL, Kind, Scene, furnish
from shims import TOOLS

from nettool import export, output, render, survey
from nettool.cli import main
from nettool.codec import encode
from nettool.errors import NettoolError
from nettool.facts import Facts, SandboxFact
from nettool.factsfile import facts_document
from nettool.model import Records
from nettool.planner import plan
from nettool.renderers import rollback
from nettool.request import Attach, Target
from nettool.table import print_plan
from nettool.value import replace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

    from battery import Cases

    from nettool.plan import Plan

pytestmark = pytest.mark.battery("B13")

UNSAFE: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
# As long as an interface's name may be; without what the kernel refuses (blanks, `/`, `:`, `%`).
NAMES: Final = (
    "$(>c)", "`>c`", ";>c;", "|>c|", "&>c&", "'$(>c)'", '"$(>c)"', "'>c'", "\\$(>c)", "${IFS}>c", "-rf",
    "--help", "a'b", 'a"b', "a\\", "<b>", "[red]x[/]", "]]>", "{{7*7}}", "{%raw%}", "#", "a#b", "*", "~", "!",
    "-", "é", "name", "up", "\x1b[31m", "\x1b]0;x\x07", "\x7f", "\u202etxt", "\u200b", "\x9b31m", "a\rb",
    "\ufeff", ">c", "$[$(>c)]", "{a,>c}", "a=$(>c)", "$'\\76c'", "!>c", "<!--", "|a|", "```", "&lt;", "-a",
    "*x", "null", "0x1f", "\x85", "\x9d0;x\x9c", "\u2066x\u2069", "\u061cx", "\x1b[97;44m", "\x1b[2J\x1b[H",
    "\U000e0041", "==x", "@x", "=1+1",
)  # fmt: skip
EXPORTS: Final = ("bash", "runbook", "json", "ansible", "mermaid")
LONG: Final = (
    "$(>c)\n>c\n", "x\n>c #", "'\n>c\n'", "\u2028>c", "-->\n>c", "```\n>c\n", "EOF\n>c\n", "\udcff",
    "\u2029>c", "\r\n>c\r\n", "a\tb", "---\n>c", "end\n>c", "%%{init: 1}%%\n>c", "!unsafe\n>c", "x" * 300,
    "- a", "{{ lookup('pipe', '>c') }}", "\x1b]8;;http://x\x07x\x1b]8;;\x07", "\x1bP+q>c\x1b\\", "a\x00b",
    '"; >c; "',
)  # fmt: skip
WORDS: Final = (*NAMES, *LONG)
FORMS: Final = (
    "commands", "explained", "json", "bash", "runbook", "ansible", "mermaid", "table", "survey", "rollback"
)  # fmt: skip


def assert_harmless(text: str) -> None:
    """Fail for a character that a terminal could act on."""
    bad = {c for c in set(text) if unicodedata.category(c) in UNSAFE and c != "\n"}
    assert not bad, f"{sorted(map(ascii, bad))} in {text!r}"


def _facts(word: str) -> Facts:
    """Return a host with the word wherever the kernel or a runtime could have put it."""
    change = {
        "links": {word: {"index": 7, "kind": word}, "br": {"kind": "bridge", "index": 8, "mac_set": True}},
        "inside": {"links": {f"{word}": {"index": 9, "kind": word}}, "addresses": {word: ["10.9.9.9/24"]}},
        "names": {word: {"symlink": word, "inode": 4026531999}},
        "sandbox": {"answers_to": ["pid:1310", f"docker:{word}"], "detail": word},
        "answering": {"172.17.0.99": word},
    }
    facts = facts_of(laid_over(BASE, change))
    (route,) = facts.host.routes
    hostile_route = replace(route, link=word, protocol=word, scope=word, source=None)
    inside = replace(facts.namespaces[0], routes=(hostile_route,))
    return replace(facts, namespaces=(inside,), hostname=word, boot_id=word)


def _all_plans(dialect: str) -> Iterator[tuple[Plan, Facts]]:
    """Plan requests around every word; in full each kind, and the words by turns in the two dialects."""
    for number, word in enumerate(WORDS[DIALECTS.index(dialect) :: 2] if FULL else WORDS):
        yield from _plans(word, dialect, None if FULL else number)


def _plans(word: str, dialect: str, number: int | None) -> Iterator[tuple[Plan, Facts]]:
    """Plan requests around a word: of the different kinds one in turn, or (None) each."""
    facts = _facts(word)
    target = Target("pid", "1310")
    requests = (
        Attach(target, ("172.17.0.10/16",), dialect=dialect, default_route="replace"),
        Attach(target, ("172.17.0.10/16",), dialect=dialect, bridge=word),
        Attach(Target("path", f"/tmp/{word}"), ("172.17.0.10/16",), dialect=dialect),
        Attach(Target("docker", word), ("172.17.0.10/16",), dialect=dialect),
    )
    for request in requests if number is None else requests[number % len(requests) :][:1]:
        sandbox = SandboxFact((str(request.target),), "running", f"/tmp/{word}", 4026531777)
        known = replace(facts, sandboxes=(*facts.sandboxes, sandbox))
        # What no host could carry out, and what is ambiguous: the words of errors are tried by themselves.
        with contextlib.suppress(NettoolError):
            yield plan(request, known, Records()), known


def _written(form: str, planned: Plan, facts: Facts, capsys: pytest.CaptureFixture[str]) -> str:
    if form in ("commands", "explained"):
        return render.commands(planned, explain=form == "explained")
    if form == "rollback":
        return rollback.render(planned, "/run/nettool/tx/1", "/run/nettool/host.lock")
    if form == "survey":
        return survey.table(survey.survey(facts))
    if form == "table":
        print_plan(planned, facts, explain=True)
        return capsys.readouterr().out
    try:
        return export.render(planned, facts, form)
    except NettoolError as error:
        output.print_error(error, as_json=False)
        return capsys.readouterr().err


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_form_of_a_plan_moves_the_terminal(
    form: str, dialect: str, cases: Cases, capsys: pytest.CaptureFixture[str]
) -> None:
    for planned, facts in _all_plans(dialect):
        assert_harmless(_written(form, planned, facts, capsys))
        cases.add()


def test_every_json_of_a_plan_and_of_facts_can_be_parsed(cases: Cases) -> None:
    for word in WORDS:
        assert json.loads(json.dumps(encode(_facts(word))))["hostname"] == word
        for planned, facts in _plans(word, "classic", None):
            assert json.loads(json.dumps(render.document(planned, facts)))["host"]["hostname"] == word
            cases.add()


def test_no_error_moves_the_terminal(cases: Cases, capsys: pytest.CaptureFixture[str]) -> None:
    for word in WORDS:
        output.print_error(NettoolError(word, why=(word,), host=word, hints=(word,)), as_json=False)
        output.print_error(NettoolError(word, why=(word,)), as_json=True)
        output.note_line(word)
        output.warn(word, word, hints=(word,))
        printed = capsys.readouterr()
        assert_harmless(printed.out + printed.err)
        assert json.loads(printed.out)["error"]["what"] == word
        cases.add()


# --- what is run, and what is read by other programs


@pytest.mark.parametrize("form", ["commands", "explained", "bash", "rollback", "runbook"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_script_runs_what_a_name_says(
    form: str, dialect: str, tmp_path: Path, cases: Cases, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script is run with tools that do nothing, in an empty folder that stays empty."""
    tools, folder = tmp_path / "tools", tmp_path / "empty"
    _tools_that_do_nothing(tools)
    folder.mkdir()
    for number, (planned, facts) in enumerate(_all_plans(dialect)):
        # What one dialect leaves out, the other one takes.
        if (number + number // 4) % 2 != DIALECTS.index(dialect):
            continue
        text = _written(form, planned, facts, capsys)
        script = "\n".join(_blocks(text)) if form == "runbook" else text
        shell = ("bash",) if form == "bash" else ("/bin/sh", "-x")
        _run_harmlessly(shell, script.encode("utf-8", "surrogateescape"), tools, folder)
        assert list(folder.iterdir()) == [], script
        cases.add()


def _blocks(text: str) -> list[str]:
    """Return what a reader of a runbook would paste into a shell."""
    parsed = pytest.importorskip("markdown_it").MarkdownIt("commonmark").enable("table").parse(text)
    return [token.content for token in parsed if token.type == "fence" and token.info == "bash"]


def _tools_that_do_nothing(folder: Path) -> None:
    folder.mkdir()
    for name in (*TOOLS, "docker", "flock", "sleep"):
        (folder / name).write_text("#!/bin/sh\nexit 0\n", encoding="utf-8")
        (folder / name).chmod(0o755)


def _run_harmlessly(shell: tuple[str, ...], script: bytes, tools: Path, folder: Path) -> None:
    """Run a script as nobody, in a network namespace of its own, in `folder`."""
    unshare = ("unshare", "--net") if os.geteuid() == 0 else ("unshare", "--user", "--net")
    env = {"PATH": f"{tools}:/usr/bin:/bin", "NETTOOL_RUN_DIR": str(folder.parent / "run")}
    subprocess.run(
        (*unshare, *shell), input=script, cwd=folder, env=env, capture_output=True, timeout=20, check=False
    )


@pytest.mark.parametrize("form", ["runbook", "ansible", "mermaid"])
def test_no_document_has_a_line_that_a_name_made(
    form: str, cases: Cases, capsys: pytest.CaptureFixture[str]
) -> None:
    for planned, facts in _all_plans("classic"):
        lines = _written(form, planned, facts, capsys).splitlines()
        assert [line for line in lines if line.strip() in (">c", ">c #", "EOF", ">c'")] == []
        cases.add()


def test_a_playbook_stays_yaml_whatever_a_name_says(cases: Cases, capsys: pytest.CaptureFixture[str]) -> None:
    yaml = pytest.importorskip("yaml")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))
    for planned, facts in _all_plans("modern"):
        text = _written("ansible", planned, facts, capsys)
        if not text.startswith("error: "):
            assert isinstance(yaml.load(text, loader), list)
            cases.add()


# --- by the command line, in this process

LINES: Final = (
    "show", "show -o json", "attach --pid 1310 --ip 172.17.0.10/16 --dry-run",
    "attach --pid 1310 --ip 172.17.0.10/16 --dry-run -o json", "detach --pid 1310 --all --dry-run --explain",
    "attach --container {word} --ip 172.17.0.10/16 --dry-run", "attach --netns {word} --ip {word} -o json",
    "attach --pid 1310 --ip 172.17.0.10/16 --ifname {word} --export {word} --format bash",
    "history {word}", "undo {word} --dry-run", "{word}", "attach --pid {word}",
)  # fmt: skip
MISTAKES: Final = ("attach web {word}", "attach --{word}", "undo a b {word}")


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with no state and no runtimes."""
    for name in ("RUN", "STATE"):
        monkeypatch.setenv(f"NETTOOL_{name}_DIR", str(tmp_path / "state" / name))
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def _typed(line: str, word: str, *more: str) -> int:
    words = [part.replace("{word}", word) for part in line.split()]
    try:
        return main([*words, *more])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1


@pytest.mark.parametrize("line", LINES)
def test_no_command_line_moves_the_terminal(
    line: str, nowhere: Path, cases: Cases, capsys: pytest.CaptureFixture[str]
) -> None:
    from_file = line.startswith(("show", "attach --pid", "detach"))
    for word in WORDS:
        file = nowhere.parent / "facts.json"
        file.write_text(json.dumps(facts_document(_facts(word))), encoding="utf-8")
        assert _typed(line, word, *(("--facts", str(file)) if from_file else ())) in (0, 2, 4, 5), word
        printed = capsys.readouterr()
        assert_harmless(printed.out + printed.err)
        if "json" in line and printed.out:
            assert isinstance(json.loads(printed.out), dict)
        assert not (nowhere / "c").exists()
        cases.add()


@pytest.mark.parametrize("line", MISTAKES)
def test_no_mistake_moves_the_terminal(
    line: str, nowhere: Path, cases: Cases, capsys: pytest.CaptureFixture[str]
) -> None:
    for word in WORDS[:: 2 if FULL else 6]:
        assert _typed(line, word) in (0, 2), word
        printed = capsys.readouterr()
        assert_harmless(printed.out + printed.err)
        assert list(nowhere.iterdir()) == []
        cases.add()


# --- on a terminal

_STYLES: Final = re.compile(r"\x1b\[[0-9;]*m")


# What ends a piece of output: the terminal itself would answer it, and nettool never asks.
END: Final = "\x1b[5n"


@contextlib.contextmanager
def _terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """Make stdout a terminal; what is given returns all that it was sent since."""
    master, slave = pty.openpty()
    sent: list[bytes] = []
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("NO_COLOR", raising=False)
    threading.Thread(target=_drain, args=(master, sent), daemon=True).start()
    with (
        open(slave, "w", encoding="utf-8", errors="surrogateescape") as screen,
        monkeypatch.context() as here,
    ):
        here.setattr(sys, "stdout", screen)

        def shown() -> str:
            screen.write(END)
            screen.flush()
            while END not in (text := b"".join(sent).decode("utf-8", "surrogateescape")):
                time.sleep(0.001)
            sent.clear()
            return text.removesuffix(END).replace("\r\n", "\n")

        yield shown
    os.close(master)


def _drain(master: int, sent: list[bytes]) -> None:
    with contextlib.suppress(OSError):
        while data := os.read(master, 65536):
            sent.append(data)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_name_moves_a_real_terminal(dialect: str, cases: Cases, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan's own colours aside: those are the same whatever the names are."""
    request, plain = Attach(Target("pid", "1310"), ("172.17.0.10/16",), dialect=dialect), _facts("br9")
    with _terminal(monkeypatch) as shown:
        output.show_plan(plan(request, plain, Records()), plain, explain=True, as_json=False)
        own = {*_STYLES.findall(shown()), "\x1b[31m", "\x1b[1;31m"}
        for planned, facts in _all_plans(dialect):
            output.show_plan(planned, facts, explain=True, as_json=False)
            output.print_lines((facts.hostname, *survey.table(survey.survey(facts)).splitlines()))
            text = shown()
            assert "Plan" in text
            assert set(_STYLES.findall(text)) <= own
            assert_harmless(_STYLES.sub("", text))
            cases.add()


# --- on a real kernel

# What the kernel takes for the name of an interface, or refuses: then there is nothing to show. It looks
# at bytes, and takes 0xA0 for a blank.
KERNEL_NAMES: Final = tuple(
    name for name in NAMES if not set(name) & set("/%\r") and b"\xa0" not in name.encode()
)
TRIED: Final = KERNEL_NAMES if FULL else KERNEL_NAMES[::3]
PLAIN: Final = Kind("plain", "--ip 172.17.0.10/16")


@pytest.fixture(scope="module")
def infested() -> Iterator[Scene]:
    """A sandbox with a hostile interface of every kind, and aliases that are no better."""
    with Host() as host:
        scene = furnish(host, PLAIN)
        for number, name in enumerate(KERNEL_NAMES):
            host.inside(scene.pid, "ip", "link", "add", "name", f"x{number}", "type", "bridge")
            host.inside(scene.pid, "ip", "link", "set", "dev", f"x{number}", "alias", f"{name}\n\x1b[31m>c")
            host.inside(scene.pid, "ip", "link", "set", "dev", f"x{number}", "name", name)
        yield scene


def _harmless(done: CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr, done.stderr
    assert_harmless(done.stdout)
    assert_harmless(done.stderr)
    return done.stdout


@pytest.mark.xdist_group("infested")
@pytest.mark.parametrize(
    "words",
    ["show", "show --pid {pid}", "attach --pid {pid} --ip 172.17.0.10/16 --dry-run",
     "attach --pid {pid} --ip 172.17.0.10/16 --dry-run --explain", "detach --pid {pid} --ifname $(>c)",
     "gc --dry-run", *(f"attach --pid {{pid}} --ip 172.17.0.10/16 --export - --format {f}" for f in EXPORTS)],
)  # fmt: skip
def test_a_hostile_container_is_shown_harmlessly(infested: Scene, words: str) -> None:
    _harmless(infested.host.nettool(*words.format(pid=infested.pid).split()))


@pytest.mark.xdist_group("infested")
@pytest.mark.parametrize("words", ["show -o json", "facts", "facts --pid {pid}", "show --pid {pid} -o json"])
def test_a_hostile_container_leaves_json_whole(infested: Scene, words: str) -> None:
    text = _harmless(infested.host.nettool(*words.format(pid=infested.pid).split()))
    said = json.dumps(json.loads(text), ensure_ascii=False)
    for name in KERNEL_NAMES:
        assert json.dumps(name, ensure_ascii=False)[1:-1] in said


@pytest.mark.xdist_group("infested")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_hostile_container_is_attached_and_detached_like_any_other(infested: Scene, dialect: str) -> None:
    attached = infested.host.nettool(*infested.attach(dialect))
    assert attached.returncode == 0, attached.stderr
    _harmless(attached)
    detached = infested.host.nettool(*infested.detach(dialect))
    assert detached.returncode == 0, detached.stderr
    _harmless(detached)


@pytest.mark.parametrize("name", ["b\udcff", "caf\udce9", "\udcf0\udc9f"])
@pytest.mark.parametrize("words", ["show", "facts", "attach --pid {pid} --ip 172.17.0.10/16 --dry-run"])
def test_a_name_that_is_no_utf8_is_shown_harmlessly(host: Host, name: str, words: str) -> None:
    scene = furnish(host, PLAIN)
    host.inside(scene.pid, "ip", "link", "add", "name", name, "type", "bridge")
    host.check("ip", "link", "add", "name", name, "type", "bridge")
    done = host.nettool(*words.format(pid=scene.pid).split())
    assert done.returncode == 0, done.stderr
    _harmless(done)


def test_a_bridge_of_any_name_is_used_or_refused(module_host: Host, cases: Cases) -> None:
    for name in TRIED:
        if not name.startswith("-"):
            _check_bridge(module_host, name)
            cases.add()


def _check_bridge(host: Host, name: str) -> None:
    pid = host.container()
    host.check("ip", "link", "add", "name", name, "type", "bridge")
    done = host.nettool("attach", "--pid", str(pid), "--ip", "172.17.0.10/16", "--bridge", name)
    _harmless(done)
    assert done.returncode in (0, 2), done.stderr
    assert (done.returncode == 0) == name.isprintable()
    for words in ("history last", "undo last --dry-run"):
        _harmless(host.nettool(*words.split()))
    host.nettool("detach", "--pid", str(pid), "--all").check_returncode()
    host.check("ip", "link", "del", "dev", name)
    host.kill(pid)


def test_a_namespace_at_any_path_is_used_or_refused(module_host: Host, tmp_path: Path, cases: Cases) -> None:
    pid = module_host.container()
    for name in (*TRIED, "x\n>c", "\udcff"):
        path = str(tmp_path / name)
        os.symlink(f"/proc/{pid}/ns/net", path)
        words = ("attach", "--netns", path, "--ip", "172.17.0.10/16", "--bridge", "none")
        for more in ((), ("--dry-run",), ("--dry-run", "-o", "json"), ("--export", "-"), ("--explain", "-n")):
            done = module_host.nettool(*words, *more)
            _harmless(done)
            assert done.returncode in (2, 4), done.stderr
            cases.add()


def test_words_that_are_no_utf8_are_no_traceback() -> None:
    words = ("attach", "--pid", "1", "--ip", "\udcff", "--bridge", "b\udcff", "--dry-run")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        (sys.executable, "-m", "nettool", *words), env=env, capture_output=True, encoding="utf-8", check=False
    )
    _harmless(done)
    assert done.returncode == 2
