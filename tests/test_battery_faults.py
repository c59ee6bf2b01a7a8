"""The battery of faults, on every kind of plan: whatever goes wrong at whatever step, all is as before.

Driven by one table (faults.py): every kind in plan_kinds.KINDS, done and undone.
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from disks import Disk
from faults import KILL, Planned, Stage, Stages, always, table
from hosts import HostUnavailableError
from plan_kinds import DIALECTS, FULL, KINDS, SANDBOX, furnish
from shims import Rule, Shims, commands_in
from snapshot import difference, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import CompletedProcess

    from battery import Cases
    from hosts import Host

every_plan = pytest.mark.parametrize("planned", table(), scope="module")


@pytest.fixture(scope="module")
def stages(planned: Planned, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    made = Stages(planned, tmp_path_factory.mktemp("shims"))
    try:
        made.ready()
    except HostUnavailableError as error:
        pytest.skip(f"no namespaces here: {error}")
    yield made
    made.close()


# --- B1: a command fails

FAILURES: Final = {
    "refused": "echo RTNETLINK answers: Operation not permitted >&2; exit 2",
    "did its work, then failed": '"$real" "$@"; exit 3',
    "status 1": "exit 1",
    "not found": "exit 127",
    "status 4": "exit 4",
}


@every_plan
@pytest.mark.battery("B1")
def test_a_command_that_fails_leaves_all_as_before(planned: Planned, stages: Stages, cases: Cases) -> None:
    for place, failure in planned.pairs(len(stages.ready().steps), FAILURES, each=1):
        stage = stages.again()
        words = stage.steps[place]
        done = stage.run(Rule(words, FAILURES[failure]))
        case = f"{shlex.join(words)}, {failure}: {done.stderr}"
        assert done.returncode == 1, case
        assert done.stderr.startswith(f"error: cannot {stage.title}\n"), case
        assert f"`{' '.join(words)}` ended with status" in done.stderr, case
        said = re.search(
            r"host:  as before: what ran was taken back \(before (\w+), after (\w+)\)", done.stderr
        )
        assert said is not None, case
        # A named sandbox is looked for in all namespaces of the machine, those of other tests, too.
        assert said[1] == said[2] or planned.kind.verbs is SANDBOX, case
        assert "Traceback" not in done.stderr, case
        assert stage.changed() == "", case
        cases.add()


@every_plan
@pytest.mark.battery("B1")
def test_a_command_that_only_says_that_it_worked_is_found_out(
    planned: Planned, stages: Stages, cases: Cases
) -> None:
    # Every fourth one of the steps that fail in the test before.
    for place in planned.places(len(stages.ready().steps))[::4]:
        stage = stages.again()
        done = stage.run(Rule(stage.steps[place], "exit 0"))
        case = f"{shlex.join(stage.steps[place])}: {done.stderr}"
        cases.add()
        if done.returncode == 0 and planned.verb == "undo":
            # What it should have taken away has gone with a later step.
            assert stage.is_undone(), case
            stages.close()
            continue
        assert done.returncode == 1, case
        assert stage.changed() == "", case


@pytest.mark.battery("B9")
@pytest.mark.parametrize("verb", ["link", "ln"])
def test_what_somebody_makes_in_the_place_of_a_step_stays(host: Host, tmp_path: Path, verb: str) -> None:
    scene, shims = furnish(host, KINDS[0]), Shims(tmp_path / "shims")
    steps = commands_in(host.nettool(*scene.attach("classic", "--dry-run")).stdout)
    words = next(words for words in steps if verb in words[:2])
    before = scene.snapshot()
    shims.set(Rule(words, '"$real" "$@"; exec "$real" "$@"'))
    done = host.nettool(*scene.attach("classic"), env=shims.env)
    assert done.returncode == 1, done.stderr
    assert "File exists" in done.stderr
    # What is there was made by somebody else, a moment before nettool's own command.
    host.check(*(("rm", words[-1]) if verb == "ln" else ("ip", "link", "del", "dev", words[3])))
    assert difference(before, scene.snapshot()) == ""


@pytest.mark.battery("B9")
@pytest.mark.parametrize("said", ["Cannot find device", "RTNETLINK answers: No such device"])
def test_a_cable_that_goes_while_it_is_removed_is_removed(host: Host, tmp_path: Path, said: str) -> None:
    """A sandbox that ends takes it along: between the look-up of its name, too, and its removal."""
    scene, shims = furnish(host, KINDS[0]), Shims(tmp_path / "shims")
    before = scene.snapshot()
    host.must(*scene.attach("classic"))
    steps = commands_in(host.must(*scene.detach("classic", "--dry-run")))
    removal = next(words for words in steps if words[:3] == ("ip", "link", "del"))
    shims.set(Rule(removal, f'"$real" "$@"; echo "{said}" >&2; exit 2'))
    done = host.nettool(*scene.detach("classic"), env=shims.env)
    assert done.returncode == 0, done.stderr
    assert difference(before, scene.snapshot()) == ""


@pytest.mark.battery("B9")
@pytest.mark.parametrize("stop", ["kill -TERM $nettool", "kill -9 $nettool", "exit 3"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stopped_detachment_makes_nothing_for_a_sandbox_that_has_gone(
    host: Host, tmp_path: Path, dialect: str, stop: str
) -> None:
    """Its cable went along, and a new one would lead nowhere."""
    scene, shims = furnish(host, KINDS[0]), Shims(tmp_path / "shims")
    host.must(*scene.attach(dialect))
    steps = commands_in(host.must(*scene.detach(dialect, "--dry-run")))
    removal = next(words for words in steps if words[:3] == ("ip", "link", "del"))
    # A namespace that has a name of its own is there until that goes.
    gone = f"kill -9 {scene.pid}; outside ip netns del {scene.pid}; sleep 0.2"
    shims.set(Rule(removal, f'"$real" "$@"; {gone}; {stop}; exit 0'))
    done = host.nettool(*scene.detach(dialect), env=shims.env)
    assert done.returncode in (143, -signal.SIGKILL, 1), done.stderr
    host.must("recover")
    assert removal[-1] not in host.check("ip", "-o", "link")
    host.must("gc")
    assert list(host.path("/run/netns").iterdir()) == []
    assert list(host.path("/run/nettool/endpoints").iterdir()) == []


@pytest.mark.battery("B1")
def test_a_namespace_that_lives_on_by_its_name_is_as_before(host: Host, tmp_path: Path) -> None:
    """Its process has ended; to detach that fails at the last step."""
    scene, shims = furnish(host, KINDS[0]), Shims(tmp_path / "shims")
    host.must(*scene.attach("modern"))
    host.kill(scene.pid)
    name = f"/run/netns/{scene.pid}"
    steps = commands_in(host.must(*scene.detach("modern", "--dry-run")))
    before = snapshot([name], host=host.pid)
    assert any(part.startswith(name) for part in before)
    shims.set(Rule(steps[-1], "exit 3"))
    done = host.nettool(*scene.detach("modern"), env=shims.env)
    assert done.returncode == 1, done.stderr
    assert difference(before, snapshot([name], host=host.pid)) == ""
    host.must(*scene.detach("modern"))
    assert list(host.path("/run/netns").iterdir()) == []


# --- B2: nettool is killed

DEATHS: Final = {
    "before": f"{KILL}exit 1",
    # The command outlives nettool, and its lock with it.
    "during": f'{KILL}exec "$real" "$@"',
    "after": f'"$real" "$@"\n{KILL}exit 0',
    "before, journal torn": f"{KILL}exit 1",
    "during, slowly": f'{KILL}sleep 0.2; exec "$real" "$@"',
    "after, journal torn": f'"$real" "$@"\n{KILL}exit 0',
}


def _tear_journal(host: Host, place: int, *, ran: bool) -> None:
    """Leave half a line at the end: of the last intent if none of its steps ran, else of a further one."""
    (journal,) = host.path("/run/nettool/tx").glob("*/journal")
    text = journal.read_bytes().rstrip(b"\0")
    *lines, last = text.splitlines(keepends=True)
    if not ran and json.loads(last.partition(b" ")[2])["steps"][0] == place:
        journal.write_bytes(b"".join(lines) + last[: len(last) // 2])
    else:
        journal.write_bytes(text + b'0badc0de {"kind": "done", "st')


def _recovers(stage: Stage, case: str) -> None:
    """Check that one recovery puts all as before, that a second has nothing to do, and nothing is left."""
    done = stage.nettool("recover")
    assert done.returncode == 0, f"{case}: {done.stderr}"
    assert done.stdout.startswith("taken back: run "), case
    assert stage.changed() == "", case
    assert list(stage.host.path("/run/nettool/tx").iterdir()) == [], case
    assert stage.strays() == set(), case


@every_plan
@pytest.mark.battery("B2")
def test_a_killed_run_is_taken_back(planned: Planned, stages: Stages, cases: Cases) -> None:
    for place, death in planned.pairs(len(stages.ready().steps), DEATHS):
        stage = stages.again()
        case = f"{shlex.join(stage.steps[place])}, {death}"
        done = stage.run(Rule(stage.steps[place], DEATHS[death]))
        assert done.returncode == -signal.SIGKILL, f"{case}: {done.stderr}"
        if "torn" in death:
            _tear_journal(stage.host, place, ran="after" in death)
        _recovers(stage, case)
        if place % 3 == 0:
            assert stage.nettool("recover").stdout == "nothing to recover\n", case
        cases.add()


# --- B3: nettool is killed on its way back

FAILED: Final = '"$real" "$@"; exit 3'
DEATHS_ON_THE_WAY_BACK: Final = (
    "rollback before",
    "recovery after",
    "rollback during",
    "recovery before",
    "rollback after",
    "recovery during",
)


def _last(stage: Stage) -> tuple[str, ...]:
    """Return the last step of a plan that is in it each time."""
    return next(words for words in reversed(stage.steps) if words not in stage.staying)


def _undos(stage: Stage) -> list[tuple[str, ...]]:
    """Return the commands that take the plan back after its last step."""
    last = _last(stage)
    assert stage.run(Rule(last, FAILED)).returncode == 1
    changes = stage.shims.changes
    return changes[changes.index(last) + 1 :]


def _killed_on_the_way_back(stage: Stage, where: str, killed: Rule) -> CompletedProcess[str]:
    if where == "rollback":
        return stage.run(Rule(_last(stage), FAILED), killed)
    stage.run(Rule(_last(stage), DEATHS["after"]))
    return stage.nettool("recover", rules=(killed,))


@every_plan
@pytest.mark.battery("B3")
def test_a_run_killed_on_its_way_back_is_taken_back(planned: Planned, stages: Stages, cases: Cases) -> None:
    stage = stages.ready()
    undos = _undos(stage)
    assert undos
    pairs = planned.pairs(len(undos), DEATHS_ON_THE_WAY_BACK, each=1)
    # Two of three: so all kinds together have the size that is meant.
    for place, death in (pair for number, pair in enumerate(pairs) if number % 3 < 2):
        case = f"{shlex.join(undos[place])}, {death}"
        where, moment = death.split()
        done = _killed_on_the_way_back(stage, where, Rule(undos[place], DEATHS[moment]))
        assert done.returncode == -signal.SIGKILL, f"{case}: {done.stderr}"
        _recovers(stage, case)
        cases.add()


# --- B4: signals

SIGNALS: Final = ("INT", "TERM", "HUP", "INT, and again and again")


def _signalled(stage: Stage, words: tuple[str, ...], which: str) -> list[Rule]:
    name, _, again = which.partition(", ")
    kill, begun = f"kill -{name} $nettool", stage.shims.folder / "begun"
    begun.unlink(missing_ok=True)
    return [Rule(words, f"{kill}; : >{begun}"), *(always(f"[ -e {begun} ] && {kill}") if again else ())]


@every_plan
@pytest.mark.battery("B4")
def test_a_signal_leaves_all_as_before(planned: Planned, stages: Stages, cases: Cases) -> None:
    for place, which in planned.pairs(len(stages.ready().steps), SIGNALS):
        stage = stages.again()
        number = signal.Signals[f"SIG{which.partition(',')[0]}"]
        done = stage.run(*_signalled(stage, stage.steps[place], which))
        case = f"{shlex.join(stage.steps[place])}, {which}: {done.stderr}"
        assert done.returncode == 128 + number, case
        assert number.name in done.stderr, case
        assert "Traceback" not in done.stderr, case
        assert stage.changed() == "", case
        cases.add()


# --- B5: the disk dies

DEAD: Final = ("ENOSPC", "EROFS", "EDQUOT", "EIO")


@every_plan
@pytest.mark.battery("B5")
def test_a_disk_that_dies_leaves_all_as_before(
    planned: Planned, stages: Stages, cases: Cases, tmp_path: Path
) -> None:
    """From some call on that writes: the first ones are before the first step, the last ones behind it."""
    stage, log = stages.ready(), tmp_path / "log"
    disk = Disk(stage.host, log)
    stage.shims.set(Rule(_last(stage), f'"$real" "$@"; printf "failed\\036" >>{log}; exit 3'))
    assert disk.run(stage.argv, env=stage.shims.env).returncode == 1
    count = len([call for call in disk.lines("call", until="failed") if call != ("read",)])
    for half in range(2):
        stage = stages.again()
        disk = Disk(stage.host, log)
        place = 1 + half * count // 2 + planned.number % (count // 2)
        fault = f"any:{place}+:{DEAD[(planned.number + half) % len(DEAD)]}"
        done = disk.run(stage.argv, fault)
        case = f"{fault} of {count}: {done.stderr}"
        assert disk.struck, case
        if done.returncode == 0:
            stages.close()
        else:
            _is_taken_back(stage, disk, done, case)
        cases.add()


def _is_taken_back(stage: Stage, disk: Disk, done: CompletedProcess[str], case: str) -> None:
    """Check that the host is as before, on a disk that takes nothing, and all else after a recovery."""
    lost = disk.changed and done.returncode == 8  # a record that such a disk does not take again
    assert lost or disk.judged(done) == [], case
    files = {"files": stage.before["files"]}
    assert difference(stage.before, {**stage.look(), **files}) == "", case
    assert stage.nettool("recover").returncode == 0, case
    assert stage.changed() == "", case


# --- B9: somebody else changes something meanwhile

# `rename FROM TO [HOW TO GET THERE]`; not every kernel renames what is up.
RENAME: Final = """\
rename() {
    $3 ip link set dev "$1" name "$2" && return
    $3 ip link set dev "$1" down && $3 ip link set dev "$1" name "$2" && $3 ip link set dev "$2" up
}
inside="nsenter --net=$path"
"""
# Where there is nothing to do yet, or any more, an act does nothing.
ACTS: Final = {
    "process dies": "kill -9 $pid; sleep 0.05",
    "host's end renamed": f'{RENAME} rename "$host_end" moved0',
    "bridge deleted": 'ip link del dev "$bridge"',
    "inner end renamed": f'{RENAME} rename "$peer" moved1 || rename "$peer" moved1 "$inside" || '
    'rename "$inner_end" moved1 "$inside"',
    "name removed": 'outside ip netns del "$netns"',
    "chain emptied": 'iptables -w 5 -F "$chain"; ip6tables -w 5 -F "$chain"',
}


def _acts(stage: Stage) -> list[str]:
    """Return what others can do to what a plan is about."""
    needed = {act: set(re.findall(r"\$(\w{3,})", script)) - {"inside"} for act, script in ACTS.items()}
    return [act for act, names in needed.items() if names <= stage.names.keys()]


UNMANAGED: Final = ("process dies", "host's end renamed")
"""What a detachment cannot cope with before it has cut the cable."""


# These leave no host that could be used again.
LASTING: Final = ("process dies", "bridge deleted", "chain emptied")


def _script(stage: Stage, act: str) -> str:
    names = "\n".join(f"{name}={shlex.quote(value)}" for name, value in stage.names.items())
    return f"{{ {names}\n{ACTS[act]}\n}} >/dev/null 2>&1"


class Bystanders:
    """Hosts for comparison: what an act alone makes of them, when nettool does nothing meanwhile."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stages: dict[Planned, Stages] = {}
        self._seen: dict[tuple[Planned, str], dict[str, str]] = {}

    def look(self, planned: Planned, act: str) -> dict[str, str]:
        """Return what a host looks like after an act. Each is looked at once."""
        planned = planned.alike()
        if (planned, act) not in self._seen:
            stages = self._stages.setdefault(planned, Stages(planned, self._folder))
            stage = stages.ready()
            stage.host.run("sh", "-c", f'outside() {{ "$@"; }}\n{_script(stage, act)}')
            if act == "process dies":
                stage.host.wait_for_the_dead()
            self._seen[planned, act] = _look_past(stage, act)
        return self._seen[planned, act]

    def close(self) -> None:
        """End the hosts; what was seen is kept."""
        for stages in self._stages.values():
            stages.close()
        self._stages.clear()


@pytest.fixture(scope="session")
def all_bystanders(tmp_path_factory: pytest.TempPathFactory) -> Bystanders:
    return Bystanders(tmp_path_factory.mktemp("shims"))


@pytest.fixture
def bystanders(all_bystanders: Bystanders) -> Iterator[Bystanders]:
    yield all_bystanders
    all_bystanders.close()


def _look_past(stage: Stage, act: str) -> dict[str, str]:
    """Look at a host without the interface that somebody else has made his own by a name for it."""
    if "renamed" in act:
        inside = f"nsenter --net={stage.scene.netns}"
        stage.host.run(
            "sh", "-c", f"for i in moved0 moved1; do ip link del $i; {inside} ip link del $i; done"
        )
    return stage.comparable(stage.look())


def _act_meanwhile(planned: Planned, stage: Stage, place: int, act: str, bystanders: Bystanders) -> None:
    """Check that a plan succeeds or fails cleanly, and that all that is left is what somebody else did."""
    words = stage.steps[place]
    done = stage.run(Rule(words, _script(stage, act)))
    case = f"{shlex.join(words)}, {act}: {done.stderr}"
    assert done.returncode in (0, 1), case
    assert "Traceback" not in done.stderr, case
    if done.returncode == 0 and planned.verb == "do":
        assert stage.nettool(*stage.scene.undo(planned.dialect)).returncode == 0, case
    expected = [bystanders.look(planned if done.returncode else planned.undone(), act)]
    # What somebody else has removed meanwhile may be there again, as it was.
    expected += [stage.comparable(stage.before)] if done.returncode else []
    deadline = time.monotonic() + 1
    while (after := _look_past(stage, act)) not in expected and time.monotonic() < deadline:
        time.sleep(0.05)
    assert after in expected, f"{case}\n{difference(expected[0], after)}"


@every_plan
@pytest.mark.battery("B9")
def test_all_that_is_left_is_what_somebody_else_did_meanwhile(
    planned: Planned, stages: Stages, bystanders: Bystanders, cases: Cases
) -> None:
    stage = stages.ready()
    pairs = planned.pairs(len(stage.steps), _acts(stage), each=1)
    # A host each: where kinds have a share, all of them together try each act.
    for place, act in itertools.islice(pairs, None if planned.kind.verbs.share == 1 else 2):
        stage = stages.ready()
        if _is_unmanaged(planned, stage, place, act):
            continue
        _act_meanwhile(planned, stage, place, act, bystanders)
        if act in LASTING:
            stages.close()
        cases.add()


def _is_unmanaged(planned: Planned, stage: Stage, place: int, act: str) -> bool:
    """Whether it is a case of the two tests below."""
    if planned.verb == "undo":
        return act in UNMANAGED and place <= _cut(stage)
    return act == "inner end renamed" and any("replace" in words for words in stage.steps[:place])


def _cut(stage: Stage) -> int:
    """Return the place of the step that takes the cable away; -1 where it stays."""
    command = ("ip", "link", "del", "dev", stage.names.get("host_end", ""))
    return stage.steps.index(command) if command in stage.steps else -1


def _in_both_dialects(name: str, verb: str) -> pytest.MarkDecorator:
    kind = next(kind for kind in KINDS if kind.name == name)
    plans = [Planned(kind, verb, dialect) for dialect in DIALECTS]
    return pytest.mark.parametrize("planned", plans, ids=DIALECTS, scope="module")


@pytest.mark.battery("B9")
@pytest.mark.parametrize("act", UNMANAGED)
@_in_both_dialects("IPv4", "undo")
def test_a_detachment_whose_cable_has_gone_meanwhile_leaves_nothing(
    planned: Planned, stages: Stages, bystanders: Bystanders, act: str
) -> None:
    stage = stages.ready()
    _act_meanwhile(planned, stage, _cut(stage), act, bystanders)


@pytest.mark.battery("B9")
@_in_both_dialects("as many kinds of steps as one plan can have", "do")
def test_the_default_route_comes_back_when_the_inner_end_was_renamed(
    planned: Planned, stages: Stages, bystanders: Bystanders
) -> None:
    stage = stages.ready()
    _act_meanwhile(planned, stage, len(stage.steps) - 1, "inner end renamed", bystanders)


_PODMAN: Final = """\
#!/bin/sh
[ ! -e {folder}/removed ] || {{ echo Error: no such container web >&2; exit 125; }}
echo '[{{"Id": "{id}", "Name": "web", "Created": "2026-01-02T03:04:05Z",
       "State": {{"Status": "running", "Running": true, "Pid": {pid}, "ExitCode": 0}}}}]'
"""


@pytest.mark.battery("B9")
def test_rules_are_put_back_once_when_nobody_knows_the_container_any_more(host: Host, tmp_path: Path) -> None:
    """Whom the request means cannot be asked again: on the way back, the plan says what is to be read."""
    host.must("network", "create", "lan", "--subnet", "10.20.0.0/24", "--bridge-name", "br-lan")
    shims, pid = Shims(tmp_path / "shims"), host.container()
    podman = shims.folder / "podman"
    podman.write_text(_PODMAN.format(folder=shims.folder, id="0123456789ab" * 5 + "0123", pid=pid))
    podman.chmod(0o755)
    env = {**shims.env, "CONTAINER_HOST": "unix:///run/podman.sock"}
    wired = ("--bridge", "br-lan", "--ip", "10.20.0.2/24", "--publish", "8080:80")
    host.must("attach", "--container", "web", *wired, env=env)
    before, words = host.snapshot(), ("detach", "--container", "web")
    steps = commands_in(host.must(*words, "--dry-run", env=env))
    shims.set(Rule(steps[-1], f'"$real" "$@"; : >{shims.folder}/removed; {_death(pid)}; exit 3'))
    done = host.nettool(*words, env=env)
    assert done.returncode == 1, done.stderr
    after = host.snapshot()
    for part in ("host: iptables", "host: ip6tables"):
        assert sorted(after[part].splitlines()) == sorted(before[part].splitlines())


def _death(pid: int) -> str:
    """Return shell commands that end a process, and wait until its namespace is no longer its own."""
    return f"kill -9 {pid}; while [ -e /proc/{pid}/ns/net ]; do sleep 0.01; done"


@pytest.mark.battery("B9")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_container_may_die_at_any_moment_of_the_way_back(
    host: Host, tmp_path: Path, cases: Cases, dialect: str
) -> None:
    """What a detachment had made again for it by then goes, too; what outlasts it is made again."""
    host.must("network", "create", "lan", "--subnet", "10.20.0.0/24", "--bridge-name", "br-lan")
    shims = Shims(tmp_path / "shims")
    # A bridge gets a link-local address with its first port, and keeps it.
    first = str(host.container())
    host.must("attach", "--pid", first, "--bridge", "br-lan", "--ip", "10.20.0.2/24")
    host.must("detach", "--pid", first)
    empty = host.snapshot()
    for place in itertools.count(step=1 if FULL else 5):
        pid = host.container()
        wired = ("--bridge", "br-lan", "--ip", "10.20.0.2/24", "--publish", "8080:80", "--dialect", dialect)
        host.must("attach", "--pid", str(pid), *wired)
        words, before = ("detach", "--pid", str(pid)), host.snapshot()
        steps = commands_in(host.must(*words, "--dry-run"))
        fails = Rule(steps[-1], '"$real" "$@"; exit 3')
        shims.set(fails)
        assert host.nettool(*words, env=shims.env).returncode == 1
        back = shims.changes[len(steps) :]
        if place >= len(back):
            break
        when = ('{}; exec "$real" "$@"', '"$real" "$@"; {}; exit 0')[place % 2]
        shims.set(fails, Rule(back[place], when.format(_death(pid))))
        done = host.nettool(*words, env=shims.env)
        case = f"{shlex.join(back[place])}: {done.stderr}"
        assert not (Path(f"/proc/{pid}/ns/net")).exists(), case
        assert done.returncode == 1, case
        lost = "as before, save for what has gone with the sandbox" in done.stderr
        # A name that is a mount keeps the namespace; one that is a link into /proc does not.
        assert lost != any(words[:3] == ("ip", "netns", "attach") for words in back[:place]), case
        after = host.snapshot()
        assert after["host: link"] == (empty if lost else before)["host: link"], case
        for part in ("host: iptables", "host: ip6tables"):
            assert sorted(after[part].splitlines()) == sorted(before[part].splitlines()), case
        host.must("gc")
        assert difference(empty, host.snapshot()) == "", case
        cases.add()
