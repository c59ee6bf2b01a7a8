"""Where an export goes: the form by the file's name, the file whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
from typing import TYPE_CHECKING

import pytest
from export_plans import PLANS, made_plan, replace
from hosts import Host
from plan_kinds import FURTHER, Kind, furnish, some
from shims import Shims, commands_in
from snapshot import difference

from nettool.errors import NettoolError, Refused, UsageError
from nettool.export import choose_form, export, render
from nettool.facts import Facts, SandboxFact
from nettool.pipeline import Mode
from nettool.request import Attach, Target

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("target", "wanted", "form"),
    [
        ("a.sh", None, "bash"), ("a.md", None, "runbook"), ("a.json", None, "json"),
        ("a.yml", None, "ansible"),
        ("a.YAML", None, "ansible"), ("a.mmd", None, "mermaid"), ("-", None, "bash"), ("-", "json", "json"),
        ("a.sh", "runbook", "runbook"), ("a.b/c", "bash", "bash"),
    ],
)  # fmt: skip
def test_the_form(target: str, wanted: str | None, form: str) -> None:
    assert choose_form(target, wanted) == form


@pytest.mark.parametrize("target", ["a", "a.txt", "a.sh/x", ".sh"])
def test_an_unknown_name_needs_a_format(target: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_form(target, None)
    assert caught.value.hints == (f"--format bash --export {target}",)


@pytest.mark.parametrize(("name", "mode"), [("a.sh", 0o755), ("a.md", 0o644), ("a.json", 0o644)])
def test_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, mode: int) -> None:
    target = tmp_path / name
    target.write_text("old")
    before = os.umask(0o022)
    export(*PLANS["pid-classic"], Mode(export=str(target)))
    os.umask(before)
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert target.read_text() == render(*PLANS["pid-classic"], choose_form(name, None))
    assert os.listdir(tmp_path) == [name]
    out, told = capsys.readouterr()
    assert out == ""
    assert told.startswith(f"wrote {target} (")
    assert told.endswith(", 13 steps)\n")


def test_what_a_link_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "real.sh").write_text("old")
    (tmp_path / "a.sh").symlink_to("real.sh")
    export(*PLANS["pid-classic"], Mode(export=str(tmp_path / "a.sh")))
    assert (tmp_path / "a.sh").is_symlink()
    assert (tmp_path / "real.sh").read_text().startswith("#!")


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(NettoolError, match="cannot write"):
        export(*PLANS["pid-classic"], Mode(export=str(tmp_path / "none" / "a.sh")))
    (tmp_path / "b.sh").mkdir()
    with pytest.raises(UsageError, match="is no file"):
        export(*PLANS["pid-classic"], Mode(export=str(tmp_path / "b.sh")))
    assert os.listdir(tmp_path) == ["b.sh"]


def test_json_is_the_saved_plan(capsys: pytest.CaptureFixture[str]) -> None:
    export(*PLANS["pid-classic"], Mode(export="-", format="json"))
    document = json.loads(capsys.readouterr().out)
    assert (document["kind"], len(document["steps"])) == ("plan", 13)


@pytest.mark.parametrize("form", ["bash", "ansible"])
def test_a_container_that_is_not_running(form: str) -> None:
    stopped = SandboxFact(("docker:web",), "exited", "/proc/PID/ns/net")
    facts: Facts = replace(PLANS["pid-classic"][1], sandboxes=(stopped,))
    planned, facts = made_plan(Attach(Target("docker", "web"), ("172.17.0.10/16",)), facts)
    with pytest.raises(Refused, match="docker:web"):
        render(planned, facts, form)
    assert "docker:web" in render(planned, facts, "runbook")


@pytest.mark.parametrize("form", ["bash", "runbook", "json", "ansible", "mermaid"])
def test_nothing_to_detach(form: str) -> None:
    with Host() as host:
        scene = furnish(host, Kind("x", ""))
        done = host.nettool(*scene.detach("classic"), "--export", "-", "--format", form)
        assert (done.returncode, done.stderr) == (0, "")
        if form == "bash":
            assert host.check("bash", input=done.stdout) == "nothing to do\n"


KINDS = [pytest.param(kind, id=kind.name) for kind in some(FURTHER)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_plan_does_what_was_planned(tmp_path: Path, kind: Kind) -> None:
    with Host() as host:
        scene, plan = furnish(host, kind), str(tmp_path / "plan.json")
        before, shims = scene.snapshot(), Shims(tmp_path / "shims")
        for argv in (scene.do("classic"), scene.undo("classic")):
            planned = commands_in(host.nettool(*argv, "--dry-run").stdout)
            assert host.nettool(*argv, "--export", plan).returncode == 0
            assert host.nettool("apply", plan, "--dry-run").returncode == 0
            shims.set()
            done = host.nettool("apply", plan, env=shims.env)
            assert done.returncode == 0, done.stderr
            assert shims.changes == planned
            shims.set()
            again = host.nettool("apply", plan, env=shims.env)
            assert again.stdout.startswith("nothing to do") or argv != scene.do("classic")
            assert shims.changes == []
        left = [line for line in difference(before, scene.snapshot()).splitlines()[2:] if line[0] in "+-"]
        assert [line for line in left if not re.search(kind.stays, line)] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_runbook_has_every_command(kind: Kind) -> None:
    with Host() as host:
        scene = furnish(host, kind)
        for argv in (scene.do("classic"), scene.undo("classic")):
            plan = json.loads(host.nettool(*argv, "--dry-run", "-o", "json").stdout)["steps"]
            done = host.nettool(*argv, "--export", "-", "--format", "runbook")
            assert done.returncode == 0, done.stderr
            steps = done.stdout.partition("## Steps")[2].partition("## Verification")[0]
            sections = re.split(r"^### Step [0-9]+: ", steps, flags=re.MULTILINE)[1:]
            blocks = [re.findall(r"```bash\n(.*)\n```", section) for section in sections]
            # What is done, how it is verified, and how it is undone.
            assert [_words(commands[0]) for commands in blocks] == [s["command"] for s in plan]
            undone = [_words(c[2]) if len(c) > 2 else None for c in blocks]
            assert undone == [step["undo"] for step in plan]
            assert host.nettool(*argv).returncode == 0
            _check_verified(host, blocks, gone=argv == scene.undo("classic"))


def _words(line: str) -> list[str]:
    """Return the words of a command, without what it is given to read."""
    return [*commands_in(line)[0]]


def _check_verified(host: Host, blocks: list[list[str]], *, gone: bool) -> None:
    """Check what the verification of each step that asks for an exit status says, once it is done."""
    for command in (commands[1] for commands in blocks):
        if " -C " in command:
            assert (host.run(*shlex.split(command)).returncode != 0) is gone, command
