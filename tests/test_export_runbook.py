"""Runbooks and diagrams: they hold the plan's commands, and nothing from elsewhere leaves its place."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

import pytest
from export_plans import BOTH, FACTS, PLANS, check_golden, made_plan, plan_with_path
from hosts import Host
from plan_kinds import Kind, furnish

from nettool.renderers import mermaid, runbook
from nettool.value import replace

if TYPE_CHECKING:
    from nettool.facts import Facts
    from nettool.plan import Plan

markdown_it = pytest.importorskip("markdown_it")

HOSTILE: Final = (
    "```\n# Owned\n```", "a|b", "`x`", "``", "<script>x</script>", "[x](javascript:y)", "\n\n| a |\n|---|\n",
    '"]; x["', "#quot;", "end", "\x1b[2J", "\u202e", "*x*", "$x$", "%% x", "&lt;",
)  # fmt: skip


def _tokens(text: str) -> list[tuple[str, str, str]]:
    parsed = markdown_it.MarkdownIt("commonmark").enable("table").parse(text)
    return [(token.type, token.info, token.content) for token in parsed]


def _blocks(text: str, language: str = "bash") -> list[str]:
    return [content for kind, info, content in _tokens(text) if kind == "fence" and info == language]


def _hostile(text: str) -> tuple[Plan, Facts]:
    planned, facts = plan_with_path(f"/{text}")
    return planned, replace(facts, hostname=text)


@pytest.mark.parametrize("name", ["pid-classic", "replaced", "detach"])
def test_golden(name: str) -> None:
    check_golden(f"{name}.md", runbook.render(*PLANS[name]))
    check_golden(f"{name}.mmd", mermaid.render(*PLANS[name]))


@pytest.mark.parametrize("name", PLANS)
def test_the_commands_are_the_plans(name: str) -> None:
    planned, facts = PLANS[name]
    blocks = [tuple(shlex.split(block)) for block in _blocks(runbook.render(planned, facts))]
    steps = [step.do.words() for step in planned.steps]
    assert [words for words in blocks if words in steps][: len(steps)] == steps
    at = [blocks.index(words) for words in steps]
    assert at == sorted(at)


def test_the_rollback_is_reversed() -> None:
    text = runbook.render(*PLANS["replaced"])
    rollback = text[text.index("## Rollback") :]
    assert [int(number) for number in re.findall(r"Undo of step (\d+)", rollback)] == [13, 4, 2, 1]


def test_every_section_is_there() -> None:
    text = runbook.render(*PLANS["pid-classic"])
    sections = re.findall(r"(?m)^## (.*)", text)
    assert sections == [
        "Variables", "Before", "After", "Pre-checks", "Steps", "Verification", "Rollback",
    ]  # fmt: skip
    assert "| Sandbox | `pid:1310`, `net:[4026532465]`, `process 1310`, `started at tick 4711` |" in text
    assert "| Dialect | `classic` |" in text


def test_what_does_not_hold_is_said() -> None:
    planned, facts = made_plan(replace(BOTH, bridge="br7"), FACTS)
    assert "there is no bridge br7 on this host" in runbook.render(planned, facts)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_changes_no_structure(text: str) -> None:
    shown, plain = runbook.render(*_hostile(text)), runbook.render(*_hostile("plain"))
    assert [(kind, info) for kind, info, _ in _tokens(shown)] == [
        (kind, info) for kind, info, _ in _tokens(plain)
    ]
    assert all(line.isprintable() for line in shown.splitlines())


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_stays_in_its_label(text: str) -> None:
    shown, plain = mermaid.render(*_hostile(text)), mermaid.render(*_hostile("plain"))
    unlabelled = [re.sub(r'\["[^"\[\]]*"\]', "[]", chart) for chart in (shown, plain)]
    assert unlabelled[0] == unlabelled[1]


def test_the_expectations_come_true() -> None:
    with Host() as host:
        kind = Kind("x", "--ip 172.17.0.10/16 --ip fd00::10/64 --route 10.1.0.0/16")
        scene = furnish(host, kind)
        text = host.nettool(*scene.attach("classic"), "--export", "-", "--format", "runbook").stdout
        assert host.nettool(*scene.attach("classic")).returncode == 0
        steps = text[text.index("## Steps") : text.index("## Verification")]
        found = re.findall(
            r"Verify that .*?```bash\n(.*?)\n```\n\nExpected: (output with )?`(.*?)`", steps, re.DOTALL
        )
        assert len(found) == len(re.findall(r"(?m)^### Step", steps))
        for command, within, expected in found:
            said = host.check("sh", "-c", command).strip()
            assert expected in said if within else expected == said, command


def test_a_picture_before_and_after() -> None:
    planned, facts = PLANS["pid-classic"]
    before, after = (mermaid.picture(planned, facts, after=after) for after in (False, True))
    assert 'docker0<br/>172.17.0.1/16<br/>fd00::1/64"' in before
    assert "eth0" not in before
    assert 'eth0<br/>172.17.0.10/16<br/>fd00::10/64"' in after
    gone = mermaid.picture(*PLANS["detach"], after=True)
    assert "eth0" not in gone
    assert "nt0123456789" in mermaid.picture(*PLANS["detach"], after=False)
