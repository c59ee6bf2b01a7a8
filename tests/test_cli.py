"""What a caller sees: exit statuses, the form of errors, JSON, saved plans, facts from elsewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import pytest
from hosts import ROOT, Host
from plan_kinds import KINDS, Kind, Scene, furnish
from shims import Shims, commands_in, joined
from snapshot import difference

import nettool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

PLAIN: Final = Kind("plain", "--ip 172.17.0.10/16")
NOBODY_THERE: Final = "4194303"
OUTCOME: Final = {"title", "applied", "run", "confirm_within", "commands", "endpoints", "notes"}
VERBS: Final = ("attach", "detach", "apply", "show", "facts", "lab")


@pytest.fixture
def scene(host: Host) -> Scene:
    return furnish(host, PLAIN)


@pytest.fixture(scope="module")
def quiet() -> Iterator[Scene]:
    """A host for all the tests after which it must be as before."""
    with Host() as host:
        yield furnish(host, PLAIN)


@pytest.fixture
def shims(tmp_path: Path) -> Shims:
    return Shims(tmp_path / "shims")


def _local(*words: str, **options: Any) -> CompletedProcess[str]:
    """Run nettool where no host is needed."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "NETTOOL_RUN_DIR": "/nonexistent"}
    argv = (sys.executable, "-m", "nettool", *words)
    return subprocess.run(
        argv, env=env, capture_output=True, encoding="utf-8", stdin=subprocess.DEVNULL, check=False, **options
    )


# --- statuses and errors


def test_version() -> None:
    done = _local("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"nettool {nettool.__version__}\n", "")


def test_done_is_0_and_says_what_was_done(scene: Scene) -> None:
    done = scene.host.nettool(*scene.attach("classic"))
    assert done.returncode == 0
    assert done.stdout.startswith(f"done: attach pid:{scene.pid} to docker0 as eth0 (")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("attach --pid {pid} --ip nonsense", 2),
        ("attach --pid {pid}", 2),
        ("attach --pid {pid} --ip 172.17.0.10/16 --no-such-option", 2),
        ("attach --pid many --ip 172.17.0.10/16", 2),
        ("attach --pid {pid} --ip 172.17.0.10/16 --dialect latin", 2),
        ("attach --pid {pid} --ip 172.17.0.10/16 --ifname", 2),
        ("attach --ip 172.17.0.10/16", 2),
        ("no-such-verb", 2),
        ("detach --pid {pid} --all --ifname eth0", 2),
        ("show --pid", 2),
        ("apply /nowhere/plan.json", 2),
        ("attach --pid {pid} --ip 172.17.0.10/16 --facts /nowhere/host.json --dry-run", 2),
        ("attach --pid {pid} --ip 172.17.0.1/16", 4),
        ("attach --pid {pid} --ip 172.17.0.10/16 --bridge nowhere", 4),
        ("attach --pid {pid} --ip 172.17.0.1/16 --dry-run", 4),
        ("attach --pid 1 --ip 172.17.0.10/16 --netns nowhere", 2),
        (f"attach --pid {NOBODY_THERE} --ip 172.17.0.10/16", 5),
        ("attach --netns nowhere --ip 172.17.0.10/16", 5),
        ("attach --container docker:nobody-has-this --ip 172.17.0.10/16", 5),
        ("detach --netns nowhere", 5),
        (f"show --pid {NOBODY_THERE}", 5),
    ],
)
def test_whatever_is_wrong_has_its_status_and_changes_nothing(
    quiet: Scene, shims: Shims, words: str, status: int
) -> None:
    done = quiet.host.nettool(*words.format(pid=quiet.pid).split(), env=shims.env)
    assert done.returncode == status, done.stderr
    assert joined(shims.changes) == ""
    assert "Traceback" not in done.stderr
    assert done.stderr
    if "--dry-run" not in words:
        assert done.stdout == ""


def test_an_error_says_what_why_the_hosts_state_and_what_to_try(quiet: Scene) -> None:
    done = quiet.host.nettool("attach", "--pid", str(quiet.pid), "--ip", "172.17.0.1/16")
    form = (
        r"error: \S.*\n  why:   \S.*\n(         \S.*\n)*  host:  unchanged\n  try:   \S.*\n(         \S.*\n)*"
    )
    assert re.fullmatch(form, done.stderr), done.stderr
    assert done.stdout == ""


def test_an_error_in_json_is_an_envelope_on_stdout(quiet: Scene) -> None:
    done = quiet.host.nettool("attach", "--pid", str(quiet.pid), "--ip", "172.17.0.1/16", "-o", "json")
    body = json.loads(done.stdout)
    assert (body["schema"], body["kind"], body["nettool"]) == (1, "error", nettool.__version__)
    assert set(body["error"]) == {"what", "why", "host", "try", "exit_status"}
    assert body["error"]["exit_status"] == done.returncode == 4


def test_an_ordinary_user_is_refused_and_told_how(quiet: Scene) -> None:
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    words = quiet.host.nettool_argv("attach", "--pid", str(quiet.pid), "--ip", "172.17.0.10/16")
    done = quiet.host.run(*_AS_NOBODY, *words)
    assert done.returncode == 4, done.stderr
    assert "sudo nettool" in done.stderr


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), *((verb, "--help") for verb in VERBS)])
def test_help_is_given_with_examples(words: tuple[str, ...]) -> None:
    done = _local(*words)
    assert done.returncode in ((0, 2) if not words else (0,))
    assert "Usage: " in done.stdout + done.stderr
    if len(words) > 1:
        assert f"nettool {words[0]}" in done.stdout


@pytest.mark.parametrize(
    "words", ["facts", "show -o json", "attach --pid {pid} --ip 172.17.0.10/16 --dry-run"]
)
def test_a_reader_that_goes_away_is_no_error(quiet: Scene, words: str) -> None:
    nettool_words = quiet.host.nettool_argv(*words.format(pid=quiet.pid).split())
    script = '"$@" | head -n 1; exit ${PIPESTATUS[0]}'
    done = quiet.host.run("bash", "-c", script, "bash", *nettool_words)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1


# --- JSON


@pytest.mark.parametrize(
    ("words", "kind", "keys"),
    [
        ("show", "show", {"interfaces"}),
        ("facts", "facts", {"facts"}),
        (
            "attach --pid {pid} --ip 172.17.0.10/16 --dry-run", "plan",
            {"title", "request", "dialect", "host", "sandboxes", "steps", "notes", "problems"},
        ),
        (
            "attach --pid {pid} --ip 172.17.0.10/16", "outcome",
            OUTCOME,
        ),
        ("detach --pid {pid}", "outcome", OUTCOME),
    ],
)  # fmt: skip
def test_every_answer_has_a_json_form(scene: Scene, words: str, kind: str, keys: set[str]) -> None:
    json_words = () if words == "facts" else ("-o", "json")
    done = scene.host.nettool(*words.format(pid=scene.pid).split(), *json_words)
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    assert (body["schema"], body["nettool"], body["kind"]) == (1, nettool.__version__, kind)
    assert set(body) - {"schema", "nettool", "kind"} == keys


def test_the_json_of_a_plan_has_the_commands_of_the_text(quiet: Scene) -> None:
    text = quiet.host.nettool(*quiet.attach("classic", "--dry-run")).stdout
    body = json.loads(quiet.host.nettool(*quiet.attach("classic", "--dry-run", "-o", "json")).stdout)
    planned = [tuple(step["command"]) for step in body["steps"] if step["status"] == "to do"]
    assert joined(planned) == joined(commands_in(text))
    assert [step["number"] for step in body["steps"]] == list(range(1, len(body["steps"]) + 1))


def test_the_outcome_names_the_commands_that_ran(scene: Scene) -> None:
    text = scene.host.nettool(*scene.attach("classic", "--dry-run")).stdout
    body = json.loads(scene.host.nettool(*scene.attach("classic", "-o", "json")).stdout)
    assert joined(tuple(command) for command in body["commands"]) == joined(commands_in(text))
    again = json.loads(scene.host.nettool(*scene.attach("classic", "-o", "json")).stdout)
    assert (again["applied"], again["commands"]) == (False, [])


# --- planning for what is not there, and for elsewhere


def test_a_plan_for_nobody_is_printed_with_the_preconditions_that_fail(quiet: Scene) -> None:
    words = ("attach", "--pid", NOBODY_THERE, "--ip", "172.17.0.10/16", "--bridge", "br9", "--dry-run")
    done = quiet.host.nettool(*words, "--dialect", "classic")
    assert done.returncode == 4
    assert f"ip link set nt{_hash(done.stdout)}p netns {NOBODY_THERE}" in done.stdout
    assert "precondition failed: there is no bridge br9" in done.stderr
    assert f"precondition failed: pid:{NOBODY_THERE} is not there" in done.stderr


def _hash(script: str) -> str:
    found = re.search(r"ip link add nt([0-9a-f]{10}) ", script)
    assert found, script
    return found[1]


_AS_NOBODY: Final = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def test_facts_from_a_file_give_the_same_plan_without_root_or_host(quiet: Scene, tmp_path: Path) -> None:
    here = quiet.host.nettool(*quiet.attach("classic", "--dry-run"))
    file = tmp_path / "host.json"
    file.write_text(quiet.host.nettool("facts", *quiet.target).stdout, encoding="utf-8")
    file.chmod(0o644)
    readable = file.read_text(encoding="utf-8")

    words = (*quiet.attach("classic", "--dry-run"), "--facts", "-")
    elsewhere = quiet.host.run(
        *(_AS_NOBODY if os.geteuid() == 0 else ()), *quiet.host.nettool_argv(*words), input=readable
    )

    assert elsewhere.returncode == 0, elsewhere.stderr
    assert elsewhere.stdout == here.stdout


def test_facts_hold_what_published_ports_need(host: Host) -> None:
    scene = furnish(host, Kind("plain", ""))
    words = ("attach", *scene.target, "--ip", "172.17.0.10/16", "--publish", "8080:80")
    other = host.container()
    host.must("attach", "--pid", str(other), "--ip", "172.17.0.11/16", "--publish", "9090:90")
    facts = host.must("facts")
    away = host.nettool(*words, "--facts", "-", "--dry-run", input=facts)
    assert away.stdout == host.must(*words, "--dry-run")
    assert "-N NETTOOL" not in away.stdout
    unknown = json.loads(facts)
    unknown["facts"]["firewall"] = None
    shown = (*words, "--facts", "-", "--dry-run", "-o", "json")
    away = host.nettool(*shown, input=json.dumps(unknown))
    assert '"NETTOOL-FORWARD"' in away.stdout
    assert "the host's rules are not known" in json.loads(away.stdout)["notes"][0]


def test_facts_from_a_file_are_never_applied(quiet: Scene, shims: Shims, tmp_path: Path) -> None:
    file = tmp_path / "host.json"
    file.write_text(quiet.host.nettool("facts", *quiet.target).stdout, encoding="utf-8")
    done = quiet.host.nettool(*quiet.attach("classic"), "--facts", str(file), env=shims.env)
    assert done.returncode == 4
    assert joined(shims.changes) == ""


_FACTS: Final = '{"kind": "facts", "schema": 1, "facts": %s}'
NO_FACTS: Final = (
    "", "{}", "[]", "null", "nonsense", "[" * 100_000, '{"kind": "plan", "schema": 1}',
    '{"kind": "facts", "schema": 2}', '{"kind": "facts", "schema": 1}', _FACTS % "7",
    _FACTS % '{"is": "Facts"}', _FACTS % '{"is": ["Facts"]}', _FACTS % '{"is": "Command"}',
)  # fmt: skip


@pytest.mark.parametrize("text", NO_FACTS, ids=range(len(NO_FACTS)))
def test_a_facts_file_that_is_none_is_a_usage_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "host.json"
    file.write_text(text, encoding="utf-8")
    done = _local("attach", "--pid", "7", "--ip", "172.17.0.10/16", "--dry-run", "--facts", str(file))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


def test_a_facts_file_that_is_no_text_is_a_usage_error(tmp_path: Path) -> None:
    file = tmp_path / "host.json"
    file.write_bytes(b"\xff\xfe\x00")
    done = _local("attach", "--pid", "7", "--ip", "172.17.0.10/16", "--dry-run", "--facts", str(file))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


# --- saved plans


@pytest.fixture
def saved(scene: Scene, tmp_path: Path) -> Path:
    file = tmp_path / "plan.json"
    done = scene.host.nettool(*scene.attach("classic"), "--export", str(file))
    assert done.returncode == 0, done.stderr
    return file


def test_a_saved_plan_runs_the_commands_that_it_shows(scene: Scene, shims: Shims, saved: Path) -> None:
    steps = json.loads(saved.read_text(encoding="utf-8"))["steps"]
    before = scene.snapshot()

    done = scene.host.nettool("apply", str(saved), env=shims.env)

    assert done.returncode == 0, done.stderr
    shown = [tuple(step["command"]) for step in steps if step["status"] == "to do"]
    assert joined(shims.changes) == joined(shown)
    scene.host.nettool(*scene.detach("classic")).check_returncode()
    assert difference(before, scene.snapshot()) == ""


def test_a_saved_plan_that_was_carried_out_has_nothing_left_to_do(host: Host, tmp_path: Path) -> None:
    kind = next(kind for kind in KINDS if kind.name == "default route replaced")
    scene, file = furnish(host, kind), tmp_path / "plan.json"
    host.nettool(*scene.attach("classic"), "--export", str(file)).check_returncode()
    host.nettool("apply", str(file)).check_returncode()
    again = host.nettool("apply", str(file))
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("nothing to do")


def test_a_saved_plan_is_read_from_standard_input_too(scene: Scene, saved: Path) -> None:
    done = scene.host.nettool("apply", "-", input=saved.read_text(encoding="utf-8"))
    assert done.returncode == 0, done.stderr


def test_a_saved_plan_can_be_looked_at_first(scene: Scene, shims: Shims, saved: Path) -> None:
    done = scene.host.nettool("apply", str(saved), "--dry-run", env=shims.env)
    assert done.returncode == 0, done.stderr
    assert done.stdout == scene.host.nettool(*scene.attach("classic", "--dry-run")).stdout
    assert joined(shims.changes) == ""


def test_a_detachment_can_be_saved_too(scene: Scene, tmp_path: Path) -> None:
    before = scene.snapshot()
    scene.host.nettool(*scene.attach("classic")).check_returncode()
    file = tmp_path / "detach.json"
    scene.host.nettool(*scene.detach("classic"), "--export", str(file)).check_returncode()

    done = scene.host.nettool("apply", str(file))

    assert done.returncode == 0, done.stderr
    assert difference(before, scene.snapshot()) == ""


def _refused(scene: Scene, shims: Shims, file: Path) -> str:
    before = scene.snapshot()
    done = scene.host.nettool("apply", str(file), env=shims.env)
    assert done.returncode in (2, 4, 5), (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert joined(shims.changes) == ""
    assert difference(before, scene.snapshot()) == ""
    return done.stderr


CHANGES: Final[dict[str, tuple[str, str]]] = {
    "no bridge": ("ip link del dev docker0", "docker0"),
    "address taken": ("ip address add 172.17.0.10/32 dev lo", "172.17.0.10 is in use"),
    "name taken": ("ip netns add {pid}", "another namespace"),
    "another MTU": ("ip link set dev docker0 mtu 1300", "mtu 1300"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_saved_plan_is_refused_when_the_host_has_changed(
    scene: Scene, shims: Shims, saved: Path, change: str
) -> None:
    command, said = CHANGES[change]
    scene.host.check(*command.format(pid=scene.pid).split())
    assert re.search(said, _refused(scene, shims, saved))


def test_a_saved_plan_is_refused_when_its_sandbox_was_replaced(
    scene: Scene, shims: Shims, saved: Path
) -> None:
    other = scene.host.container()
    text = saved.read_text(encoding="utf-8").replace(str(scene.pid), str(other))
    saved.write_text(text, encoding="utf-8")
    said = _refused(scene, shims, saved)
    assert "no longer the one that the plan was made for" in said
    assert "inode" in said


def test_a_saved_plan_is_refused_when_its_sandbox_is_gone(scene: Scene, shims: Shims, saved: Path) -> None:
    scene.host.kill(scene.pid)
    shims.set()
    done = scene.host.nettool("apply", str(saved), env=shims.env)
    assert done.returncode in (4, 5)
    assert joined(shims.changes) == ""


def _put(*path: str | int, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return change


@pytest.fixture(scope="module")
def quiet_plan(quiet: Scene) -> str:
    words = quiet.attach("classic", "--export", "-", "--format", "json")
    return quiet.host.check(*quiet.host.nettool_argv(*words))


def _target(kind: str, value: str) -> dict[str, str]:
    return {"is": "Target", "kind": kind, "value": value}


TAMPERINGS: Final[dict[str, Callable[[Any], None]]] = {
    "another boot": _put("host", "boot_id", value="00000000-0000-0000-0000-000000000000"),
    "another host": _put("host", "hostname", value="elsewhere"),
    "another command": _put("steps", 1, "command", value=["touch", "/run/canary"]),
    "another undo": _put("steps", 1, "undo", value=["touch", "/run/canary"]),
    "a command more": lambda document: document["steps"].append(
        {**document["steps"][-1], "command": ["touch", "/run/canary"]}
    ),
    "a command less": lambda document: document["steps"].pop(),
    "commands in words": _put("steps", 1, "command", value="touch /run/canary"),
    "steps are none": _put("steps", value=None),
    "steps are numbers": _put("steps", value=[1, 2, 3]),
    "another address": _put("request", "addresses", value=["172.17.0.66/16"]),
    "an address of numbers": _put("request", "addresses", value=[7]),
    "addresses in words": _put("request", "addresses", value="172.17.0.10/16"),
    "an unknown field": _put("request", "command", value="touch /run/canary"),
    "a missing field": lambda document: document["request"].pop("addresses"),
    "an unknown request": _put("request", "is", value="Command"),
    "a request of lists": _put("request", "is", value=["Attach"]),
    "a request of nothing": _put("request", value=None),
    "a target of nothing": _put("request", "target", value=None),
    "a target that is a request": lambda document: document["request"].update(
        target=document["request"].copy()
    ),
    "a pid in words": _put("request", "target", "value", value="$(touch /run/canary)"),
    "a pid below zero": _put("request", "target", "value", value="-1"),
    "a target of a new kind": _put("request", "target", "kind", value="shell"),
    "a name that leads out": _put(
        "request", "target", value={"is": "Target", "kind": "netns", "value": "../../etc"}
    ),
    "a path with a null": _put("request", "target", value={"is": "Target", "kind": "path", "value": "/x\0y"}),
    "a dialect of its own": _put("request", "dialect", value="$(touch /run/canary)"),
    "a default route of its own": _put("request", "default_route", value="drop"),
    "an MTU in words": _put("request", "mtu", value="1400"),
    "an MTU that is true": _put("request", "mtu", value=True),
    "another schema": _put("schema", value=2),
    "another kind": _put("kind", value="facts"),
}


@pytest.mark.parametrize("name", TAMPERINGS)
def test_a_saved_plan_that_was_tampered_with_runs_nothing(
    quiet: Scene, shims: Shims, quiet_plan: str, name: str, tmp_path: Path
) -> None:
    document = json.loads(quiet_plan)
    TAMPERINGS[name](document)
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(document), encoding="utf-8")

    said = _refused(quiet, shims, file)

    assert said.startswith("error: ")
    assert not quiet.host.path("/run/canary").exists()
