"""Ansible plays: valid YAML, the plan's commands as argv lists, and nothing from elsewhere a template."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from export_plans import PLANS, check_golden, plan_with_path
from hosts import Host
from plan_kinds import BY_NAME, EVERY, FULL, FURTHER, OTHER_UPLINK, Kind, furnish, some
from shims import Rule, Shims, commands_in
from snapshot import difference, without_chance

from nettool.errors import Refused
from nettool.renderers import ansible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from battery import Cases

HOSTILE: Final = (
    "{{ lookup('pipe', 'touch /x') }}", "{% raw %}", "{#", "'", '"', "\\", "a: b", "# x", "\n- x", "\x07",
    "\x85", "\u2028", "\U0001f600", "!unsafe", "- x",
)  # fmt: skip
FOR_REAL: Final = ("a macvlan connection", "an internal network", "an interface with a port")
# scripts/test --all installs it beside the Python that runs this.
PLAYBOOK: Final = str(Path(sys.executable).with_name("ansible-playbook"))

with_ansible = pytest.mark.skipif(not Path(PLAYBOOK).exists(), reason="for scripts/test --all: ansible-core")


class Unsafe(str):
    """What !unsafe marks: Ansible takes it as it is."""

    __slots__ = ()


class Loader(yaml.SafeLoader):
    """YAML as Ansible reads it."""


Loader.add_constructor("!unsafe", lambda _, node: Unsafe(node.value))


def _load(text: str) -> dict[str, Any]:
    (play,) = yaml.load(text, Loader)  # noqa: S506 - a SafeLoader with one more tag
    found: dict[str, Any] = play
    return found


def _tasks(play: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for task in play["tasks"]:
        yield task
        for part in ("block", "rescue"):
            yield from task.get(part, ())


def _filled(word: Any, values: dict[str, Any]) -> str:
    if isinstance(word, Unsafe):
        return str(word)

    def value(match: re.Match[str]) -> str:
        text = _filled(values[match[1]], values)
        return text.replace(".", "/") if match[2] else text

    return re.sub(r"\{\{ (\w+)( \| replace\('\.', '/'\))? \}\}", value, word)


def _argv(play: dict[str, Any], task: dict[str, Any]) -> tuple[str, ...]:
    values = {"nettool_pid": "1310", "nettool_netns": "1310", **play.get("vars", {})}
    return tuple(_filled(word, values) for word in task["ansible.builtin.command"]["argv"])


def _steps(play: dict[str, Any]) -> list[tuple[str, ...]]:
    (block,) = (task["block"] for task in play["tasks"] if "block" in task)
    return [_argv(play, t) for t in block if str(t.get("register", "")).startswith("nettool_step_")]


@pytest.mark.parametrize("name", ["pid-classic", "container", "detach"])
def test_golden(name: str) -> None:
    check_golden(f"{name}.yml", ansible.render(*PLANS[name]))


@pytest.mark.parametrize("name", PLANS)
def test_the_commands_are_the_plans(name: str) -> None:
    planned, facts = PLANS[name]
    play = _load(ansible.render(planned, facts))
    assert _steps(play) == [step.do.words() for step in planned.steps]
    for task in _tasks(play):
        modules = {key for key in task if key.startswith("ansible.")}
        assert not {module for module in modules if "shell" in module or "raw" in module}
        command = task.get("ansible.builtin.command")
        assert command is None or list(command) == ["argv"]


def test_undo_is_last_first() -> None:
    planned, facts = PLANS["replaced"]
    play = _load(ansible.render(planned, facts))
    (rescue,) = (task["rescue"] for task in play["tasks"] if "rescue" in task)
    undone = [_argv(play, task) for task in rescue if "ansible.builtin.command" in task]
    undos = [step.undo.words() for step in reversed(planned.steps) if hasattr(step.undo, "words")]
    assert undone == undos
    assert "ansible.builtin.fail" in rescue[-1]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_no_template(text: str) -> None:
    path = f"/{text}"
    planned, facts = plan_with_path(path)
    shown = ansible.render(planned, facts)
    assert all(line.isprintable() for line in shown.splitlines())
    play = _load(shown)
    assert play["vars"]["nettool_netns_path"] == path
    assert isinstance(play["vars"]["nettool_netns_path"], Unsafe) or "{" not in path
    assert _steps(play) == [step.do.words() for step in planned.steps]


def test_what_is_no_utf8_is_refused() -> None:
    with pytest.raises(Refused, match="no UTF-8"):
        ansible.scalar("/\udcff")


@with_ansible
@pytest.mark.parametrize("name", ["replaced", "container", "detach"])
def test_ansible_reads_it(name: str, tmp_path: Path) -> None:
    file = tmp_path / "play.yml"
    file.write_text(ansible.render(*PLANS[name]))
    argv = [PLAYBOOK, "-i", "localhost,", "--syntax-check", str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not FULL, reason="a run takes ten seconds: scripts/test --all")
@pytest.mark.battery("B14")
@with_ansible
def test_run_for_real(tmp_path: Path, cases: Cases) -> None:
    kind = Kind("x", "--ip 172.17.0.10/16 --default-route replace", sandbox=OTHER_UPLINK)
    with Host() as host:
        scene = furnish(host, kind)
        file, shims = tmp_path / "attach.yml", Shims(tmp_path / "shims")
        assert host.nettool(*scene.attach("modern"), "--export", str(file)).returncode == 0
        text = file.read_text()
        file.write_text(text.replace("PATH: ", f"PATH: {shims.folder}:"))
        before = scene.snapshot()
        planned = [step for step in _steps(_load(text)) if "default" in step]
        shims.set(Rule(planned[-1], "exit 2"))
        assert _play(host, file) == 2
        assert difference(before, scene.snapshot()) == ""
        cases.add()
        shims.set()
        assert _play(host, file) == 0
        assert "nothing to do" in host.nettool(*scene.attach("modern")).stdout
        assert _play(host, file, changed=0) == 0
        cases.add(2)
        assert host.nettool(*scene.detach("modern")).returncode == 0
        assert difference(before, scene.snapshot()) == ""


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, id=k.name) for k in some(FURTHER)],
)
def test_networks_and_ports_are_played_command_by_command(kind: Kind) -> None:
    with Host() as host:
        scene = furnish(host, kind)
        for argv in (scene.do("modern"), scene.undo("modern")):
            done = host.nettool(*argv, "--export", "-", "--format", "ansible")
            assert done.returncode == 0, done.stderr
            planned = json.loads(host.nettool(*argv, "--dry-run", "-o", "json").stdout)["steps"]
            assert _steps(_load(done.stdout)) == [tuple(step["command"]) for step in planned]
            assert host.nettool(*argv).returncode == 0


@pytest.mark.skipif(not FULL, reason="a run takes a minute: scripts/test --all")
@pytest.mark.battery("B14")
@with_ansible
@pytest.mark.parametrize("name", FOR_REAL if EVERY else FOR_REAL[:1])
def test_networks_and_ports_for_real(tmp_path: Path, cases: Cases, name: str) -> None:
    with Host() as host:
        scene = furnish(host, BY_NAME[name])
        make, take, shims = tmp_path / "make.yml", tmp_path / "take.yml", Shims(tmp_path / "shims")
        before = scene.snapshot()
        assert host.nettool(*scene.do("classic"), "--export", str(make)).returncode == 0
        planned = commands_in(host.nettool(*scene.do("classic"), "--dry-run").stdout)
        assert host.nettool(*scene.do("classic")).returncode == 0
        made = scene.snapshot()
        assert host.nettool(*scene.undo("classic"), "--export", str(take)).returncode == 0
        assert _play(host, take) == 0
        assert difference(before, scene.snapshot()) == ""
        text = make.read_text()
        make.write_text(text.replace("PATH: ", f"PATH: {shims.folder}:"))
        shims.set(Rule(planned[-1], "exit 2"))
        assert _play(host, make) == 2
        assert difference(before, scene.snapshot()) == ""
        make.write_text(text)
        assert _play(host, make) == 0
        assert difference(without_chance(made), without_chance(scene.snapshot())) == ""
        assert _play(host, make, changed=0) == 0
        cases.add(4)


def _play(host: Host, file: Path, changed: int | None = None) -> int:
    argv = (PLAYBOOK, "-i", "localhost,", "-c", "local", "-e",
            "ansible_python_interpreter=/usr/bin/python3", str(file))  # fmt: skip
    done = host.run(*argv, timeout=300)
    if changed is not None:
        assert f"changed={changed} " in done.stdout
    return done.returncode
