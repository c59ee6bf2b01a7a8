"""Exported scripts, run for real: they do what apply does, once, and take back what they made."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING, Final

import pytest
from export_plans import PLANS, check_golden, made_plan, plan_with_path
from faults import in_any_order
from hosts import Host, until, wait_for_links
from plan_kinds import (
    ATTACH,
    BY_NAME,
    CONNECT,
    DIALECTS,
    EVERY,
    FULL,
    KINDS,
    OTHER_UPLINK,
    WITH_A_PORT,
    Kind,
    Scene,
    furnish,
)
from real import PAGE
from shims import Rule, Shims, commands_in, joined
from snapshot import difference, search_path, without_chance

if TYPE_CHECKING:
    from pathlib import Path

    from battery import Cases
    from real import Docker

from nettool.renderers import bash
from nettool.value import replace

NOTES: Final = "/run/nettool/endpoints"
OTHER_NOTES: Final = "/run/nettool/scripts"
HOSTILE: Final = (
    "$(touch {c})", "`touch {c}`", "';touch {c};'", '";touch {c};"', "a\ntouch {c}\n", "-rf", "\x1b]0;x\x07",
    "{{{{ 7 }}}}", "'", "\\", "#", "a b", "\u202e", "%s", "${{IFS}}",
)  # fmt: skip
QUICK: Final = (
    "both families", "a name with a dot", "a bridge with an odd name", "default route replaced",
    "IPv6 default route replaced", "a second endpoint takes the default route", "no folder of names",
    "a network on a bridge that was there", "a network beside another one", "a connection with a port",
    "a port for some", "a port on a bare bridge", "an interface with a port", "a network with names",
    "a named sandbox and its names", "a named sandbox", "a macvlan connection",
)  # fmt: skip
"""The kinds of plan that every run of the tests takes; NETTOOL_TEST_ALL takes all."""
CASES: Final = [
    pytest.param(kind, kind.dialect(number), number, id=f"{kind.name}-{kind.dialect(number)}")
    for number, kind in enumerate(k for k in KINDS if (FULL or k.name in QUICK))
]
DETACHED: Final = CASES[::4]
# Optional checks: all but the taste for braces (SC2250), and for a command a line (SC2312).
SHELLCHECK: Final = ("shellcheck", "-o", "all", "-e", "SC2250,SC2312")
# The script is the parent of the shell that it starts the command in.
KILL: Final = "kill -9 $(ps -o ppid= $nettool)"
PLAIN: Final = Kind("plain", "--ip 172.17.0.10/16 --ip fd00::10/64 --route 10.1.0.0/16")
REPLACED: Final = Kind(
    "replaced", "--ip 172.17.0.10/16 --default-route replace", sandbox=OTHER_UPLINK, alters="default"
)


class Script:
    """A script for a scene, and what came of its runs; each call of a tool is `noted` by a stand-in."""

    noted = True

    def __init__(self, scene: Scene, path: Path, *argv: str, shims: Shims | None = None) -> None:
        self.scene, self.path, self.shims = scene, path, shims
        done = scene.host.nettool(*argv, "--export", str(path))
        assert done.returncode == 0, done.stderr
        if FULL and shutil.which("shellcheck"):
            _check_shell(path)

    def run(self, *action: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        env = self.shims.env if self.shims and self.noted else None
        # Under a job in the background, SIGINT would be ignored, and could not be caught.
        argv = ("env", "--default-signal", "bash", str(self.path), *action)
        done = self.scene.host.run(*argv, env=env)
        assert done.returncode == status, f"{action}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def killed_at(self, command: tuple[str, ...], then: str) -> None:
        """Run it with something happening to it at one of its commands; from then on all is well."""
        assert self.shims is not None
        self.shims.set(Rule(command, then))
        before, self.noted = self.noted, True
        self.run(status=-signal.SIGKILL)
        self.noted = before
        self.shims.set()

    def edit(self, **values: str) -> None:
        text = self.path.read_text()
        for name, value in values.items():
            text, count = re.subn(rf"(?m)^{name}=.*$", lambda _, n=name, v=value: f"{n}={v}", text)
            assert count == 1, name
        self.path.write_text(text)


def _check_shell(path: Path) -> None:
    """Check a script that has a piece which none before had, or a new set of them: it takes two seconds."""
    pieces = re.findall(r"^\w+\(\)|\blook_\w+", path.read_text(), re.MULTILINE)
    new = [piece for piece in ([" ".join(pieces)] if EVERY else pieces) if _is_first(piece, path)]
    if new:
        # A name that looks like code is remarked upon (SC2016, SC1003), and one that is a command's (SC2209).
        argv = (*SHELLCHECK, "-e", "SC2016,SC1003,SC2209", str(path))
        found = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert found.stdout == ""


def _is_first(piece: str, path: Path) -> bool:
    """Whether no worker of this run has seen a script with this yet; their folders lie side by side."""
    worker = f"popen-{os.environ.get('PYTEST_XDIST_WORKER')}"
    folder = next((parent.parent for parent in path.parents if parent.name == worker), path.parent)
    try:
        (folder / f"shell-{hashlib.sha256(piece.encode()).hexdigest()}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def changes(shims: Shims) -> list[tuple[str, ...]]:
    """Return the calls that change the host's network: neither reading nor the script's own notes."""
    notes = (NOTES, OTHER_NOTES)
    return [
        call
        for call in shims.calls
        if not _reads(call) and not any(folder in word for folder in notes for word in call)
    ]


def _reads(call: tuple[str, ...]) -> bool:
    if call[0] in ("iptables", "ip6tables"):
        return bool({"-S", "-C"} & set(call))
    return call[0] in ("cat", "nsenter") or (call[0] == "ip" and bool({"-o", "-json", "show"} & set(call)))


@pytest.mark.battery("B14")
@pytest.mark.parametrize(("kind", "dialect", "number"), CASES)
def test_script_does_what_apply_does(
    kind: Kind, dialect: str, number: int, tmp_path: Path, cases: Cases
) -> None:
    with Host() as host:
        scene = furnish(host, kind, dialect)
        before, shims = scene.snapshot(), Shims(tmp_path / "shims")
        script = Script(scene, tmp_path / "attach.sh", *scene.do(dialect), shims=shims)
        _check_runs(script, _planned(scene, scene.do(dialect)))
        script.noted = False
        made = scene.snapshot()
        assert "undone: " in script.run("undo").stdout
        _check_before(before, scene)
        assert "nothing to undo" in script.run("undo").stdout
        host.must(*scene.do(dialect))
        assert difference(without_chance(made), without_chance(scene.snapshot())) == ""
        host.must(*scene.undo(dialect))
        cases.add(len(("run", "run again", "undone")))
        # Each kind goes one of two ways on.
        if number % 2:
            _check_killed(script, scene.do(dialect), number, before, made)
            cases.add(len(("killed and undone", "killed and run")))
        else:
            _check_detached(script, kind, dialect)
            _check_before(before, scene)
            cases.add(len(("detached",)))


def _check_detached(script: Script, kind: Kind, dialect: str) -> None:
    """Take what a script made away with nettool, as far as that knows it for its own."""
    script.run()
    if kind.verbs in (ATTACH, WITH_A_PORT, CONNECT):
        script.scene.host.must(*script.scene.undo(dialect))
    if kind.verbs not in (ATTACH, WITH_A_PORT, CONNECT) or "--host-ifname" in kind.request:
        # Without the mark in its name, detach does not know the endpoint for one of nettool's.
        script.run("undo")


def _check_killed(
    script: Script, argv: tuple[str, ...], number: int, before: dict[str, str], made: dict[str, str]
) -> None:
    """Kill a script right before a step and undo it; kill it right after one, and run it to its end."""
    # What belongs to the host stays: there is less to do from the second time on.
    planned = _planned(script.scene, argv)
    script.killed_at(planned[number % len(planned)], f"{KILL}; exit 1")
    script.run("undo")
    _check_before(before, script.scene)
    planned = _planned(script.scene, argv)
    script.killed_at(planned[-1 - number % len(planned)], f'"$real" "$@"; {KILL}; exit 0')
    script.run()
    assert difference(without_chance(made), without_chance(script.scene.snapshot())) == ""
    script.run("undo")
    _check_before(before, script.scene)


def _planned(scene: Scene, argv: tuple[str, ...]) -> list[tuple[str, ...]]:
    return commands_in(scene.host.nettool(*argv, "--dry-run").stdout)


@pytest.mark.battery("B14")
@pytest.mark.parametrize(("kind", "dialect", "number"), DETACHED)
def test_detach_script_that_is_killed(
    kind: Kind, dialect: str, number: int, tmp_path: Path, cases: Cases
) -> None:
    with Host() as host:
        scene = furnish(host, kind, dialect)
        before = scene.snapshot()
        host.nettool(*scene.do(dialect)).check_returncode()
        attached, shims = scene.snapshot(), Shims(tmp_path / "shims")
        script = Script(scene, tmp_path / "detach.sh", *scene.undo(dialect), shims=shims)
        planned = _planned(scene, scene.undo(dialect))
        script.noted = False
        script.killed_at(planned[number % len(planned)], f'"$real" "$@"; {KILL}; exit 0')
        script.run("undo")
        assert difference(in_any_order(attached), in_any_order(scene.snapshot())) == ""
        script.killed_at(planned[-1 - number % len(planned)], f"{KILL}; exit 1")
        script.run()
        _check_before(before, scene)
        assert "nothing to do" in script.run().stdout
        cases.add(len(("killed and undone", "killed and run", "run again")))


def _check_before(before: dict[str, str], scene: Scene) -> None:
    after = scene.snapshot()
    if "no folder" in before["host: netns"]:
        # Only the rollback of its own run takes the folder of names away.
        assert after.pop("host: netns") == ""
    if scene.kind.alters == '"docker0"':
        # A bridge that has been given the MAC that it had keeps it without a port, too.
        before, after = {**before, "host: link": ""}, {**after, "host: link": ""}
    left = difference({part: before[part] for part in after}, after).splitlines()[2:]
    assert [line for line in left if line[0] in "+-" and not re.search(scene.kind.stays, line)] == []


def _check_runs(script: Script, planned: list[tuple[str, ...]]) -> None:
    shims = script.shims
    assert shims is not None
    assert script.run("check", status=7).stdout.count("missing") == len(planned)
    assert changes(shims) == []
    assert "verified" in script.run().stdout
    assert joined(changes(shims)) == joined(planned)
    shims.set()
    assert "nothing to do" in script.run("apply").stdout
    assert "missing" not in script.run("check").stdout
    assert changes(shims) == []


# --- what fails is taken back


@pytest.fixture
def plain(host: Host, tmp_path: Path) -> Script:
    scene = furnish(host, PLAIN)
    return Script(scene, tmp_path / "attach.sh", *scene.attach("classic"), shims=Shims(tmp_path / "shims"))


FAILING: Final = [(REPLACED, dialect, 1) for dialect in DIALECTS] + [
    (BY_NAME["a network on a host that does not forward"], "classic", 2 if FULL else 7),
    (BY_NAME["a port of the host's own"], "classic", 2 if FULL else 3),
    (BY_NAME["a macvlan connection"], "modern", 1 if FULL else 3),
    (BY_NAME["a macvlan network with an address of the host's"], "classic", 2 if FULL else 3),
    (BY_NAME["a network with names"], "classic", 4 if FULL else 14),
    (BY_NAME["a named sandbox and its names"], "modern", 1 if FULL else 4),
    (BY_NAME["a named sandbox"], "classic", 1),
]


@pytest.mark.parametrize(("kind", "dialect", "stride"), FAILING)
def test_a_failure_at_any_step_leaves_all_as_before(
    host: Host, tmp_path: Path, kind: Kind, dialect: str, stride: int
) -> None:
    scene = furnish(host, kind)
    host.check("rmdir", "/run/netns") if (kind, dialect) == (REPLACED, "classic") else None
    shims = Shims(tmp_path / "shims")
    script = Script(scene, tmp_path / "attach.sh", *scene.do(dialect), shims=shims)
    before = scene.snapshot()
    planned = json.loads(host.nettool(*scene.do(dialect), "--dry-run", "-o", "json").stdout)["steps"]
    steps = [step for step in planned if step["status"] == "to do"]
    for number, step in list(enumerate(steps))[::stride]:
        shims.set(Rule(tuple(step["command"]), "echo broken >&2; exit 2"))
        told = script.run(status=1).stderr
        assert ": broken" in told
        assert "host:  as before: what ran was taken back" in told
        undone = [tuple(each["undo"]) for each in reversed(steps[:number]) if each["undo"]]
        assert changes(shims)[number + 1 :] == undone
        assert difference(before, scene.snapshot()) == ""
        assert host.run("ls", NOTES, OTHER_NOTES).stdout.count(".made") == 0


def test_a_command_that_does_nothing_is_noticed(plain: Script) -> None:
    before = plain.scene.snapshot()
    command = commands_in(plain.scene.host.nettool(*plain.scene.attach("classic"), "--dry-run").stdout)[-1]
    plain.shims.set(Rule(command, "exit 0"))
    assert "did not do what it should: 10.1.0.0/16 goes via" in plain.run(status=1).stderr
    _check_before(before, plain.scene)


def test_what_cannot_be_taken_back_is_said(plain: Script) -> None:
    end = _value(plain, "HOST_IF")
    plain.shims.set(
        Rule(("brctl", "addif", "docker0", end), "exit 1"), Rule(("ip", "link", "del", "dev", end), "exit 1")
    )
    told = plain.run(status=8).stderr
    assert f"left: {end} is a veth on the host" in told
    assert "host:  NOT as before" in told
    plain.shims.set()
    assert "undone" in plain.run("undo").stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_takes_all_back(plain: Script, number: signal.Signals) -> None:
    before = plain.scene.snapshot()
    end = _value(plain, "HOST_IF")
    # The script is the parent of the shell that it starts the command in.
    then = f"kill -{number.value} $(ps -o ppid= $nettool); sleep 0.1"
    plain.shims.set(Rule(("brctl", "addif", "docker0", end), then))
    assert f"ended by signal {number.value}" in plain.run(status=128 + number).stderr
    _check_before(before, plain.scene)


def test_killed_in_the_middle_and_undone(plain: Script) -> None:
    before = plain.scene.snapshot()
    end = _value(plain, "HOST_IF")
    plain.shims.set(Rule(("brctl", "addif", "docker0", end), "kill -9 $(ps -o ppid= $nettool); sleep 0.1"))
    plain.run(status=-signal.SIGKILL)
    plain.shims.set()
    assert "missing" in plain.run("check", status=7).stdout
    plain.run("undo")
    _check_before(before, plain.scene)
    plain.run()
    plain.run("undo")
    _check_before(before, plain.scene)


# --- what is refused before anything runs


def test_another_process_with_the_pid_is_refused(plain: Script) -> None:
    scene, start = plain.scene, _value(plain, "EXPECT_STARTTIME")
    plain.edit(EXPECT_STARTTIME=str(int(start) + 1))
    assert "is another one than" in plain.run(status=4).stderr
    plain.edit(EXPECT_STARTTIME=start, PID=str(scene.host.container()))
    told = plain.run(status=4).stderr
    assert "this script was made for net:[" in told
    assert "host:  unchanged" in told
    plain.edit(PID=str(scene.host.pid))
    assert "no network namespace of its own" in plain.run(status=4).stderr
    scene.host.kill(scene.pid)
    plain.edit(PID=str(scene.pid))
    assert "leads to no network namespace" in plain.run(status=5).stderr
    assert changes(plain.shims) == []


def test_a_sandbox_that_is_replaced_on_the_way(plain: Script) -> None:
    host, pid, end = plain.scene.host, plain.scene.pid, _value(plain, "HOST_IF")
    before, other = plain.scene.snapshot(), host.container()
    untouched = host.snapshot(other)
    move = f"rm /run/netns/{pid}; ln -s /proc/{other}/ns/net /run/netns/{pid}"
    plain.shims.set(Rule(("brctl", "addif", "docker0", end), move))
    assert "no longer the sandbox" in plain.run(status=1).stderr
    host.check("rm", f"/run/netns/{pid}")
    _check_before(before, plain.scene)
    assert difference(untouched, host.snapshot(other)) == ""


def test_a_sandbox_that_dies_on_the_way(plain: Script) -> None:
    host, pid, end = plain.scene.host, plain.scene.pid, _value(plain, "HOST_IF")
    before = host.snapshot()
    plain.shims.set(Rule(("brctl", "addif", "docker0", end), f"kill -9 {pid}; sleep 0.1"))
    assert "no longer the sandbox" in plain.run(status=1).stderr
    assert difference(before, host.snapshot()) == ""


OBSTACLES: Final = [
    ("ip link del dev docker0", "there is no bridge docker0"),
    ("ip address add 172.17.0.10/32 dev lo", "address 172.17.0.10 is in use: the host's lo has it"),
    ("ip -n {pid} address add fd00::10/128 dev lo", "address fd00::10 is in use: the sandbox's lo has it"),
    ("ip link add name {end}p type veth peer name x0", "the host has an interface {end}p already"),
    ("ip link add name {end} type bridge", "but it is another kind of interface"),
    ("ip -n {pid} link add name eth0 type bridge", "but it is another interface"),
    ("rm /run/netns/{pid}; ip netns add {pid}", "but it is another namespace"),
    ("rm /run/netns/{pid}; ln -s /proc/4194303/ns/net /run/netns/{pid}", "but it leads to no namespace"),
    ("mkdir -p {notes}; chmod 0777 {notes}", "others may write to it"),
]  # fmt: skip


@pytest.mark.parametrize(("command", "said"), OBSTACLES)
def test_what_is_in_the_way_is_found_before_the_first_step(plain: Script, command: str, said: str) -> None:
    scene = plain.scene
    host, pid, end = scene.host, scene.pid, _value(plain, "HOST_IF")
    host.check("ln", "-s", f"/proc/{pid}/ns/net", f"/run/netns/{pid}")
    for part in command.format(pid=pid, end=end, notes=NOTES).split("; "):
        host.check(*part.split())
    before = scene.snapshot()
    told = plain.run(status=4).stderr
    assert said.format(end=end) in told
    assert "host:  unchanged" in told
    assert changes(plain.shims) == []
    assert difference(before, scene.snapshot()) == ""


def test_a_default_route_that_is_neither_the_old_nor_the_new_stays(host: Host, tmp_path: Path) -> None:
    scene = furnish(host, REPLACED)
    script = Script(scene, tmp_path / "attach.sh", *scene.attach("modern"))
    host.inside(scene.pid, "ip", "route", "replace", "default", "via", "192.168.7.9", "dev", "up0")
    before = scene.snapshot()
    assert "but it goes via 192.168.7.9 dev up0" in script.run(status=4).stderr
    host.inside(scene.pid, "ip", "route", "del", "default")
    script.run()
    script.run("undo")
    assert "default" not in host.inside(scene.pid, "ip", "route")
    host.inside(scene.pid, "ip", "route", "add", "default", "via", "192.168.7.9", "dev", "up0")
    _check_before(before, scene)


def test_indices_that_agree_by_chance_are_no_cable(host: Host, tmp_path: Path) -> None:
    scene = furnish(host, PLAIN)
    script = Script(scene, tmp_path / "attach.sh", *scene.attach("modern"))
    host.check("ip", "netns", "attach", str(scene.pid), str(scene.pid))
    host.check("ip", "netns", "attach", "third", str(host.container()))
    end = _value(script, "HOST_IF")
    for command in (
        f"ip link add name {end} index 77 type veth peer name eth0 index 55 netns third",
        f"ip -n third link add name z index 77 type veth peer name eth0 index 55 netns {scene.pid}",
    ):
        host.check(*command.split())
    assert "its other end is not the sandbox's eth0" in script.run(status=4).stderr


def test_a_route_through_a_gateway_is_not_one_without(host: Host, tmp_path: Path) -> None:
    scene = furnish(host, Kind("off", "--ip 172.17.0.10/32 --gateway 172.17.0.1"))
    script = Script(scene, tmp_path / "attach.sh", *scene.attach("modern"))
    script.run()
    for command in (
        "ip address add 172.17.0.77/24 dev eth0",
        "ip route replace 172.17.0.1/32 via 172.17.0.9 dev eth0",
    ):
        host.inside(scene.pid, *command.split())
    told = script.run("check", status=7).stdout
    assert "conflict  172.17.0.1 goes dev eth0" in told


# --- whose the things are


def test_what_was_there_before_is_not_undone(plain: Script) -> None:
    scene, end = plain.scene, _value(plain, "HOST_IF")
    scene.host.check("ln", "-s", f"/proc/{scene.pid}/ns/net", f"/run/netns/{scene.pid}")
    before = scene.snapshot()
    plain.run()
    plain.run("undo")
    _check_before(before, scene)
    plain.scene.host.check("ip", "link", "add", "name", end, "type", "veth", "peer", "name", f"{end}p")
    before = scene.snapshot()
    plain.shims.set(Rule(("brctl", "addif", "docker0", end), "exit 1"))
    assert "as before" in plain.run(status=1).stderr
    assert difference(before, scene.snapshot()) == ""
    plain.run("undo")
    assert difference(before, scene.snapshot()) == ""


def test_the_name_goes_with_the_last_endpoint(host: Host, tmp_path: Path) -> None:
    kind = Kind("two", "--ip 172.17.0.10/16")
    scene = furnish(host, kind)
    before = scene.snapshot()
    first = Script(scene, tmp_path / "1.sh", *scene.attach("classic"))
    first.run()
    host.add_bridge("br9", "10.9.0.1/24")
    second = Script(
        scene, tmp_path / "2.sh", "attach", *scene.target, "--ip", "10.9.0.10/24", "--bridge", "br9"
    )
    second.run()
    first.run("undo")
    assert host.run("test", "-e", f"/run/netns/{scene.pid}").returncode == 0
    second.run("undo")
    assert host.run("test", "-e", f"/run/netns/{scene.pid}").returncode == 1
    host.check("ip", "link", "del", "dev", "br9")
    _check_before(before, scene)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_undo_clears_away_what_a_dead_sandbox_left(host: Host, tmp_path: Path, dialect: str) -> None:
    scene = furnish(host, PLAIN)
    script = Script(scene, tmp_path / "attach.sh", *scene.attach(dialect))
    script.run()
    host.kill(scene.pid)
    script.run("undo")
    assert host.check("ls", "/run/netns") == ""
    until(lambda: host.run("ls", f"/sys/class/net/{_value(script, 'HOST_IF')}").returncode != 0)


@pytest.mark.battery("B14")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_notes_of_a_dead_sandbox_with_the_same_number_are_cleared_away(
    host: Host, tmp_path: Path, dialect: str
) -> None:
    """The kernel gives the number of a namespace again, and the names in the notes come from it."""
    scene = furnish(host, PLAIN)
    script = Script(scene, tmp_path / "attach.sh", *scene.attach(dialect))
    before, dead, end = scene.snapshot(), 4194303, _value(script, "HOST_IF")
    folder = host.path(NOTES)
    folder.mkdir(mode=0o700, parents=True)
    inode = os.stat(scene.netns).st_ino
    lines = (f"sandbox net:[{inode}] {dead} {dead}", f"netns {dead}", f"veth {end}", f"up {dead} eth0")
    (folder / f"{end}.made").write_text("".join(f"{line}\n" for line in lines))
    host.path(f"/run/netns/{dead}").symlink_to(f"/proc/{dead}/ns/net")
    script.run()
    script.run("undo")
    _check_before(before, scene)


# --- a container, by its name


def _fake_docker(folder: Path, pid: int) -> None:
    docker = folder / "docker"
    docker.write_text(
        f'#!/bin/sh\n[ "$*" = "inspect --type container --format {{{{.State.Pid}}}} web" ] && echo {pid}\n'
    )
    docker.chmod(0o755)


def test_a_container_is_looked_up_when_the_script_runs(host: Host, tmp_path: Path) -> None:
    host.add_bridge("docker0", "172.17.0.1/16", "fd00::1/64")
    shims = Shims(tmp_path / "shims")
    path, pid = tmp_path / "attach.sh", host.container()
    path.write_text(bash.render(*PLANS["container"]))
    scene = Scene(host, PLAIN, pid, 0, ("--pid", str(pid)), f"/proc/{pid}/ns/net")
    script = Script.__new__(Script)
    script.scene, script.path, script.shims = scene, path, shims
    before = scene.snapshot()
    _fake_docker(tmp_path / "shims", pid)
    script.run()
    assert f"ln -s /proc/{pid}/ns/net /var/run/netns/{pid}" in joined(changes(shims))
    assert "nothing to do" in script.run().stdout
    again = host.container()
    host.kill(pid)
    wait_for_links(host, 2)  # lo, the bridge
    _fake_docker(tmp_path / "shims", again)
    script.run()
    assert host.check("ls", "/run/netns").split() == [str(again)]
    assert "172.17.0.10/16" in host.inside(again, "ip", "address")
    _fake_docker(tmp_path / "shims", 0)
    assert "there is no container web" in script.run(status=5).stderr
    script.run("undo")
    assert host.check("ls", "/run/netns").split() == []
    assert before["host: link"] == scene.host.snapshot()["host: link"]


def test_a_real_container(docker: Docker, tmp_path: Path) -> None:
    pid, path = docker.run_none("exported"), tmp_path / "attach.sh"
    words = ("--container", "docker:exported", "--ip", "172.17.0.77/16", "--export", str(path))
    assert docker.nettool("attach", *words).returncode == 0
    docker.check("bash", str(path))
    assert docker.check("curl", "-sm", "5", "http://172.17.0.77/") == PAGE
    docker.check("bash", str(path), "undo")
    # The first port of all has given docker0 its link-local address.
    before = docker.snapshot(pid)
    docker.check("bash", str(path))
    docker.check("bash", str(path), "undo")
    assert difference(before, docker.snapshot(pid)) == ""
    docker.rm("exported")
    assert "there is no container exported" in docker.run("bash", str(path)).stderr


# --- what it needs


@pytest.mark.parametrize("dialect", DIALECTS)
def test_bash_iproute2_and_coreutils_are_all_it_needs(host: Host, tmp_path: Path, dialect: str) -> None:
    scene, folder = furnish(host, PLAIN), tmp_path / "bin"
    script = Script(scene, tmp_path / "attach.sh", *scene.attach(dialect))
    folder.mkdir()
    for tool in ("bash", "stat", "readlink", "mkdir", "rm", "rmdir", "ln", "ip", "brctl"):
        place = shutil.which(tool, path=search_path())
        (folder / tool).symlink_to(place or tool)
    before = scene.snapshot()
    for action, said in (
        ("apply", "verified"),
        ("apply", "nothing to do"),
        ("check", "ok"),
        ("undo", "undone"),
    ):
        assert said in host.check("env", f"PATH={folder}", "bash", str(script.path), action)
    _check_before(before, scene)


# --- detach as a script


@pytest.mark.parametrize("dialect", DIALECTS if FULL else DIALECTS[:1])
@pytest.mark.parametrize(
    "kind",
    [REPLACED, BY_NAME["a macvlan connection"], BY_NAME["a named sandbox and its names"]],
    ids=["a cable", "on a parent", "names"],
)
def test_detach_script(host: Host, tmp_path: Path, kind: Kind, dialect: str) -> None:
    scene = furnish(host, kind)
    shims = Shims(tmp_path / "shims")
    before = scene.snapshot()
    assert host.nettool(*scene.attach(dialect)).returncode == 0
    attached = scene.snapshot()
    script = Script(scene, tmp_path / "detach.sh", *scene.detach(dialect), shims=shims)
    planned = commands_in(host.nettool(*scene.detach(dialect), "--dry-run").stdout)
    _check_runs(script, planned)
    _check_before(before, scene)
    assert ".json\n" not in host.check("ls", NOTES)
    assert "undone" in script.run("undo").stdout
    assert ".json\n" in host.check("ls", NOTES)
    assert difference(attached, scene.snapshot()) == ""
    assert "nothing to undo" in script.run("undo").stdout
    for command in planned:
        shims.set(Rule(command, "exit 2"))
        assert "as before" in script.run(status=1).stderr
        assert difference(attached, scene.snapshot()) == ""
    assert host.nettool(*scene.detach(dialect)).returncode == 0
    _check_before(before, scene)


def test_a_namespace_of_somebody_elses_is_left_alone(host: Host, tmp_path: Path) -> None:
    script = tmp_path / "blue.sh"
    host.must("sandbox", "create", "blue", "--export", str(script))
    host.check("ip", "netns", "add", "blue")
    before = host.snapshot()
    done = host.run("bash", str(script))
    assert done.returncode == 4
    assert "blue is a network namespace" in done.stderr
    assert "was not made by nettool" in done.stderr
    assert "nothing to undo" in host.check("bash", str(script), "undo")
    assert difference(before, host.snapshot()) == ""


@pytest.mark.parametrize("use", ["a process", "a cable"])
def test_a_sandbox_in_use_is_not_removed_by_a_script(host: Host, tmp_path: Path, use: str) -> None:
    script = tmp_path / "gone.sh"
    host.must("sandbox", "create", "blue")
    host.must("sandbox", "rm", "blue", "--export", str(script))
    if use == "a process":
        host.popen("ip", "netns", "exec", "blue", "sleep", "60")
        until(lambda: host.check("ip", "netns", "pids", "blue"))
    else:
        host.check("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", "blue")
    before = host.snapshot()
    done = host.run("bash", str(script))
    assert done.returncode == 4
    assert "in namespace blue" in done.stderr or "namespace blue has an interface" in done.stderr
    assert difference(before, host.snapshot()) == ""


def test_who_is_in_a_sandbox_for_a_look_only_does_not_keep_it_from_a_script(
    host: Host, tmp_path: Path
) -> None:
    host.must("sandbox", "create", "blue")
    script, shims = tmp_path / "gone.sh", Shims(tmp_path / "shims")
    host.must("sandbox", "rm", "blue", "--export", str(script))
    visitor = host.popen("ip", "netns", "exec", "blue", "sleep", "60").pid
    until(lambda: host.check("ip", "netns", "pids", "blue"))
    pids = ("ip", "netns", "pids", "blue")
    shims.set(Rule(pids, f'"$real" "$@"; kill {visitor} 2>/dev/null; exit'))
    host.check("bash", str(script), env=shims.env)
    assert shims.calls.count(pids) == 2
    assert "blue" not in host.check("ip", "netns")


def test_detach_script_of_a_dead_sandbox(host: Host, tmp_path: Path) -> None:
    scene = furnish(host, PLAIN)
    assert host.nettool(*scene.attach("classic")).returncode == 0
    script = Script(scene, tmp_path / "detach.sh", *scene.detach("classic"))
    host.kill(scene.pid)
    # The kernel takes a namespace down, and its cables, a moment later.
    until(lambda: host.run("ls", f"/sys/class/net/{_value(script, 'HOST_IF')}").returncode != 0)
    script.run()
    assert host.check("ls", "/run/netns") == ""
    assert "nothing to undo" in script.run("undo").stdout


def test_detach_script_when_the_cable_vanishes(host: Host, tmp_path: Path) -> None:
    scene, shims = furnish(host, PLAIN), Shims(tmp_path / "shims")
    assert host.nettool(*scene.attach("classic")).returncode == 0
    script = Script(scene, tmp_path / "detach.sh", *scene.detach("classic"), shims=shims)
    remove = ("ip", "link", "del", "dev", _value(script, "HOST_IF"))
    shims.set(Rule(remove, '"$real" "$@"; exit 1'))
    script.run()
    assert host.check("ls", "/run/netns") == ""


def test_undo_when_the_cable_vanishes(plain: Script) -> None:
    plain.run()
    remove = ("ip", "link", "del", "dev", _value(plain, "HOST_IF"))
    plain.shims.set(Rule(remove, '"$real" "$@"; exit 1'))
    assert "undone" in plain.run("undo").stdout


# --- the text of the scripts


@pytest.mark.parametrize("name", PLANS)
def test_golden(name: str) -> None:
    check_golden(f"{name}.sh", bash.render(*PLANS[name]))


@pytest.mark.parametrize("name", PLANS)
def test_unedited_the_words_are_the_plans(name: str) -> None:
    planned, facts = PLANS[name]
    text = bash.render(planned, facts)
    top = text[text.index("# --- Variables") : text.index("# --- Nothing")]
    pid = 'PID=1310\n: "${NETNS:=$PID}"\n'
    steps = re.findall(r"'\d+ make'\) (.*) ;;", text)
    shown = "".join(f"printf '%s\\037' {step}; echo\n" for step in steps)
    done = subprocess.run(["bash", "-c", top + pid + shown], capture_output=True, text=True, check=True)
    words = [tuple(line.split("\037")[:-1]) for line in done.stdout.splitlines()]
    assert words == [step.do.words() for step in (*planned.steps, *planned.restores)]


def test_the_route_that_was_there_before_is_no_variable() -> None:
    planned, facts = PLANS["replaced"]
    (inside,) = facts.namespaces
    old = replace(inside.routes[0], via="172.17.0.1")
    planned, facts = made_plan(planned.request, replace(facts, namespaces=(replace(inside, routes=(old,)),)))
    text = bash.render(planned, facts)
    assert 'ip route replace default via "$GATEWAY" dev "$IFNAME"' in text
    assert "ip route replace default via 172.17.0.1 dev up0" in text


def of_runtime(runtime: str) -> str:
    planned, facts = PLANS["container"]
    (change,) = planned.changes
    sandbox = replace(change.endpoint.sandbox, target=f"{runtime}:web", runtime=runtime)
    assert change.after is not None
    endpoint = replace(change.endpoint, sandbox=sandbox)
    change = replace(change, after=replace(change.after, endpoint=endpoint))
    return bash.render(replace(planned, changes=(change,)), facts)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize(
    "name",
    [*PLANS, "podman", "containerd", "crio", "lxc"] if FULL else ["replaced", "detach", "containerd", "crio"],
)
def test_shellcheck_finds_nothing(name: str) -> None:
    script = bash.render(*PLANS[name]) if name in PLANS else of_runtime(name)
    done = subprocess.run((*SHELLCHECK, "-"), input=script, capture_output=True, text=True, check=False)
    assert done.stdout == ""


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_stay_words(text: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    path = "/" + text.format(c=canary)
    script = bash.render(*plan_with_path(path))
    assert all(line.isprintable() for line in script.splitlines())
    assert not any(path in line for line in script.splitlines() if line.lstrip().startswith("#"))
    file = tmp_path / "attach.sh"
    file.write_text(script)
    done = subprocess.run(["bash", str(file), "check"], capture_output=True, text=True, check=False)
    assert done.returncode in (2, 4, 5)
    assert not canary.exists()
    assert "\x1b" not in done.stdout + done.stderr
    found = subprocess.run(
        ["bash", "-c", _line(script, "NETNS_PATH") + '\nprintf %s "$NETNS_PATH"'],
        capture_output=True, check=True,
    )  # fmt: skip
    assert found.stdout == path.encode()


@pytest.mark.parametrize(
    "name", ["PID", "HOST_IF", "BRIDGE", "IFNAME", "ADDRESS", "GATEWAY", "NETNS", "EXPECT_NETNS"]
)
def test_an_edited_value_is_checked(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for value in ("'$(touch {c})'", "'x;touch {c}'", "'a[$(touch {c})]'", "'-rf'", "'a b'", "'x\ny'", "../x"):
        text = bash.render(*PLANS["pid-classic"])
        edited = re.sub(rf"(?m)^{name}=\S*", lambda _, v=value: f"{name}={v.format(c=canary)}", text)
        file = tmp_path / "attach.sh"
        file.write_text(edited)
        done = subprocess.run(["bash", str(file)], capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert f"{name} cannot be" in done.stderr
        assert not canary.exists()


@pytest.mark.parametrize(("words", "status"), [("--help", 0), ("destroy", 2), ("apply undo", 2)])
def test_usage(words: str, status: int, tmp_path: Path) -> None:
    file = tmp_path / "attach.sh"
    file.write_text(bash.render(*PLANS["pid-classic"]))
    done = subprocess.run(["bash", str(file), *words.split()], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "usage: attach.sh [apply|undo|check]" in done.stdout + done.stderr


def _line(text: str, name: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"{name}="))


def _value(script: Script, name: str) -> str:
    return shlex.split(_line(script.path.read_text(), name), comments=True)[0].partition("=")[2]
