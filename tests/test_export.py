"""Where an export goes: the form by the file's name, the file whole or not at all."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

import pytest
from export_plans import PLANS, made_plan, replace
from hosts import Host
from plan_kinds import Kind, furnish

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
