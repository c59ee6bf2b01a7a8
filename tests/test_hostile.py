"""Text from elsewhere is hostile: it never runs, never moves a terminal, and never breaks JSON.

A container's root may rename an interface to anything the kernel takes, and give it any alias. Facts
may come from a file. `>c` in a shell makes a file: the canary that must never be there.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import unicodedata
from typing import TYPE_CHECKING, Final

import pytest
from cases import BASE, facts_of, laid_over
from hosts import ROOT, Host
from plan_kinds import DIALECTS, FULL, Kind, Scene, furnish

from nettool import export, output, render, survey
from nettool.codec import encode
from nettool.errors import NettoolError
from nettool.facts import Facts, SandboxFact
from nettool.model import Records
from nettool.planner import plan
from nettool.request import Attach, Target
from nettool.table import print_plan
from nettool.value import replace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

    from nettool.plan import Plan

UNSAFE: Final = ("Cc", "Cf", "Cs", "Zl", "Zp")
# As long as an interface's name may be; without what the kernel refuses (blanks, `/`, `:`, `%`).
NAMES: Final = (
    "$(>c)", "`>c`", ";>c;", "|>c|", "&>c&", "'$(>c)'", '"$(>c)"', "'>c'", "\\$(>c)", "${IFS}>c", "-rf",
    "--help", "a'b", 'a"b', "a\\", "<b>", "[red]x[/]", "]]>", "{{7*7}}", "{%raw%}", "#", "a#b", "*", "~", "!",
    "-", "é", "name", "up", "\x1b[31m", "\x1b]0;x\x07", "\x7f", "\u202etxt", "\u200b", "\x9b31m", "a\rb",
    "\ufeff",
)  # fmt: skip
LONG: Final = (
    "$(>c)\n>c\n", "x\n>c #", "'\n>c\n'", "\u2028>c", "-->\n>c", "```\n>c\n", "EOF\n>c\n", "\udcff",
)  # fmt: skip
FORMS: Final = ("commands", "explained", "json", "bash", "runbook", "ansible", "mermaid", "table", "survey")


def assert_harmless(text: str) -> None:
    """Fail for a character that a terminal could act on."""
    bad = {c for c in text if unicodedata.category(c) in UNSAFE and c != "\n"}
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
    for number, word in enumerate((*NAMES, *LONG)):
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
    form: str, dialect: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for planned, facts in _all_plans(dialect):
        assert_harmless(_written(form, planned, facts, capsys))


def test_every_json_of_a_plan_and_of_facts_can_be_parsed() -> None:
    for word in (*NAMES, *LONG):
        assert json.loads(json.dumps(encode(_facts(word))))["hostname"] == word
        for planned, facts in _plans(word, "classic", None):
            assert json.loads(json.dumps(render.document(planned, facts)))["host"]["hostname"] == word


def test_no_error_moves_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    for word in (*NAMES, *LONG):
        output.print_error(NettoolError(word, why=(word,), host=word, hints=(word,)), as_json=False)
        output.print_error(NettoolError(word, why=(word,)), as_json=True)
        output.note_line(word)
        output.warn(word, word, hints=(word,))
        printed = capsys.readouterr()
        assert_harmless(printed.out + printed.err)
        assert json.loads(printed.out)["error"]["what"] == word


@pytest.mark.parametrize("form", ["commands", "explained", "bash"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_no_script_runs_what_a_name_says(
    form: str, dialect: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script is run with tools that do nothing, in an empty folder that stays empty."""
    tools, folder = tmp_path / "tools", tmp_path / "empty"
    _tools_that_do_nothing(tools)
    folder.mkdir()
    for planned, facts in _all_plans(dialect):
        script = _written(form, planned, facts, capsys)
        shell = ("bash",) if form == "bash" else ("/bin/sh", "-x")
        _run_harmlessly(shell, script.encode("utf-8", "surrogateescape"), tools, folder)
        assert list(folder.iterdir()) == [], script


def _tools_that_do_nothing(folder: Path) -> None:
    folder.mkdir()
    for name in ("ip", "brctl", "mkdir", "rmdir", "ln", "rm", "sysctl", "nsenter", "docker", "bridge"):
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
def test_no_document_has_a_line_that_a_name_made(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    for planned, facts in _all_plans("classic"):
        lines = _written(form, planned, facts, capsys).splitlines()
        assert [line for line in lines if line.strip() in (">c", ">c #", "EOF", ">c'")] == []


def test_a_playbook_stays_yaml_whatever_a_name_says(capsys: pytest.CaptureFixture[str]) -> None:
    yaml = pytest.importorskip("yaml")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))
    for planned, facts in _all_plans("modern"):
        text = _written("ansible", planned, facts, capsys)
        if not text.startswith("error: "):
            assert isinstance(yaml.load(text, loader), list)


# --- on a real kernel

# What the kernel takes for the name of an interface, or refuses: then there is nothing to show.
KERNEL_NAMES: Final = tuple(name for name in NAMES if not set(name) & set("/%\r"))
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
     "attach --pid {pid} --ip 172.17.0.10/16 --dry-run --explain", "detach --pid {pid} --ifname $(>c)"],
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


@pytest.mark.parametrize("name", [name for name in KERNEL_NAMES if not name.startswith("-")])
def test_a_bridge_of_any_name_is_used_or_refused(module_host: Host, name: str) -> None:
    pid = module_host.container()
    module_host.check("ip", "link", "add", "name", name, "type", "bridge")
    words = ("attach", "--pid", str(pid), "--ip", "172.17.0.10/16", "--bridge", name)
    try:
        done = module_host.nettool(*words)
        _harmless(done)
        assert done.returncode in (0, 2), done.stderr
        assert (done.returncode == 0) == name.isprintable()
        module_host.nettool("detach", "--pid", str(pid), "--all").check_returncode()
    finally:
        module_host.check("ip", "link", "del", "dev", name)
        module_host.kill(pid)


@pytest.mark.parametrize("name", [*KERNEL_NAMES, "x\n>c", "\udcff"])
def test_a_namespace_at_any_path_is_used_or_refused(module_host: Host, tmp_path: Path, name: str) -> None:
    pid = module_host.container()
    path = str(tmp_path / name)
    os.symlink(f"/proc/{pid}/ns/net", path)
    for more in (("--dry-run",), ("--dry-run", "-o", "json"), ()):
        done = module_host.nettool(
            "attach", "--netns", path, "--ip", "172.17.0.10/16", "--bridge", "none", *more
        )
        _harmless(done)
        assert done.returncode in (2, 4), done.stderr


def test_words_that_are_no_utf8_are_no_traceback() -> None:
    words = ("attach", "--pid", "1", "--ip", "\udcff", "--bridge", "b\udcff", "--dry-run")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        (sys.executable, "-m", "nettool", *words), env=env, capture_output=True, encoding="utf-8", check=False
    )
    _harmless(done)
    assert done.returncode == 2
