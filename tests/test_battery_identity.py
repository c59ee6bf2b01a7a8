"""What nettool was asked to wire is what it wires: pids that are given again, names that move.

Whenever a pid or a name leads elsewhere all of a sudden, the namespace that it leads to is not touched.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from hosts import Host, HostUnavailableError
from plan_kinds import DIALECTS, FULL, Kind, Scene, furnish
from shims import Rule, Shims, commands_in
from snapshot import difference, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from battery import Cases

    Done = subprocess.CompletedProcess[str]

PLAIN: Final = Kind("plain", "--ip 172.17.0.10/16")
# What a wrong namespace has where the planned one gets its interface: an address on it would stay.
SAME_NAME: Final = (
    "ip link add name eth0 type veth peer name far0",
    "ip link set dev eth0 up",
    "ip link set dev far0 up",
)
READ: Final = ("ip", "-json", "-details", "-batch", "-")

# Gives the pid of a process that it kills to one of its own: "PID PLACE", in that network namespace.
_HEIR: Final = """
import ctypes, os, signal, struct, sys

LIBC = ctypes.CDLL(None)
NEW_NETWORK = 0x40000000
CLONE3 = 435

def enter(place):
    if place != "host" and LIBC.setns(os.open(place, os.O_RDONLY), NEW_NETWORK):
        os._exit(1)

def take(pid, place):
    # clone(2): with set_tid nobody else can come before, as with ns_last_pid.
    chosen = (ctypes.c_int * 1)(pid)
    how = struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(chosen), 1, 0)
    ready, told = os.pipe()
    while (child := LIBC.syscall(CLONE3, how, len(how))) < 0:
        pass
    if not child:
        enter(place)
        os.write(told, b"x")
        while True:
            signal.pause()
    os.close(told)
    assert os.read(ready, 1)
    os.close(ready)
    return child

asked, answered = sys.argv[1:]
heir = None
print("ready", flush=True)
while True:
    with open(asked) as words:
        pid, place = words.read().split()
    if heir is not None:
        os.kill(heir, signal.SIGKILL)
        os.waitpid(heir, 0)
    os.kill(int(pid), signal.SIGKILL)
    while os.path.exists(f"/proc/{pid}"):
        pass
    heir = take(int(pid), place)
    with open(answered, "w") as answer:
        answer.write("done\\n")
"""


class PidHost(Host):
    """A host with process ids of its own: one can be given again at once."""

    def __init__(self) -> None:
        super().__init__()
        first = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
        outer = self._started(*first, "sh", "-c", "echo ready && exec cat")
        self.view = _child(outer)
        self.enter = ("nsenter", "--target", str(self.view), *self.enter[3:], "--pid")

    def nettool(self, *args: str, **options: Any) -> Done:
        """Run nettool as a program of its own: only its children could enter another pid namespace."""
        return self.run(*self.nettool_argv(*args), **options)

    def _started(self, *words: str) -> int:
        """Start a program that stays, with the host's own process ids."""
        return self._hold(self.popen(*words, stdin=subprocess.PIPE))

    def container(self, **_: Any) -> int:
        """Start a container; return its pid, as this host counts."""
        inside = "ip link set lo up && echo ready && exec cat"
        outer = self._started("unshare", "--net", "setpriv", "--pdeathsig", "KILL", "sh", "-c", inside)
        status = Path(f"/proc/{_child(outer)}/status").read_text()
        return int(next(line.split()[-1] for line in status.splitlines() if line.startswith("NSpid:")))


def _child(pid: int) -> int:
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


class Heir:
    """Who gets the pid of a process that is killed; `after` is what a stand-in does for that."""

    def __init__(self, host: Host, folder: Path) -> None:
        self._ways = folder / "asked", folder / "answered"
        for way in self._ways:
            subprocess.run(("mkfifo", str(way)), check=True)
        process = host.popen(sys.executable, "-I", "-S", "-c", _HEIR, *map(str, self._ways))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"

    def takes(self, pid: int, place: str) -> str:
        """Return shell commands that kill a process and give its pid to another one in a namespace."""
        # Without a process of its own, which could get the very pid and hold it while it waits.
        return f'echo "{pid} {place}" >{self._ways[0]}; read -r answer <{self._ways[1]}'


@pytest.fixture
def pid_host() -> Iterator[PidHost]:
    try:
        made = PidHost()
    except (HostUnavailableError, FileNotFoundError) as error:
        pytest.skip(f"no namespaces here: {error}")
    with made:
        if made.run("sh", "-c", "echo 1000 >/proc/sys/kernel/ns_last_pid").returncode:
            pytest.skip("pids cannot be chosen here")
        yield made


def _plan(scene: Scene, dialect: str) -> list[tuple[str, ...]]:
    return commands_in(scene.host.nettool(*scene.attach(dialect, "--dry-run")).stdout)


def _inside(steps: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return the steps within the sandbox: they share a process, which stays there."""
    return [step for step in steps if step[:3] == ("ip", "netns", "exec") or step[:2] == ("ip", "-n")]


def _beginnings_of_processes(steps: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [step for step in steps if step not in _inside(steps)[1:]]


def _ends_of_processes(steps: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [step for step in steps if step not in _inside(steps)[:-1]]


def _moments(scene: Scene, dialect: str) -> list[tuple[str, ...]]:
    """Return the calls behind which something can happen: while the host is read, and between steps."""
    return [READ, *_ends_of_processes(_plan(scene, dialect))]


def _let_happen(shims: Shims, moment: tuple[str, ...], action: str) -> None:
    """Let something happen behind one call, or while the host is read; what is read again, once."""
    happened = shims.folder / "happened"
    happened.rmdir() if happened.is_dir() else None
    once = f"if mkdir {happened} 2>/dev/null; then {action}; fi"
    shims.set(Rule(moment, once if moment == READ else f'"$real" "$@"; {once}; exit'))


def _happened(shims: Shims) -> bool:
    return (shims.folder / "happened").is_dir()


def _changes(before: Mapping[str, str], after: Mapping[str, str], when: str) -> list[str]:
    changed = difference(before, after)
    return [f"{when}:\n{changed}"] if changed else []


@pytest.mark.battery("B11")
def test_a_pid_that_is_given_to_another_process(pid_host: PidHost, cases: Cases, tmp_path: Path) -> None:
    host, shims = pid_host, Shims(tmp_path / "shims")
    host.add_bridge("docker0", "172.17.0.1/16")
    other, heir = host.container(), Heir(host, tmp_path)
    for command in SAME_NAME:
        host.inside(other, *command.split())
    before = host.snapshot(other)
    problems = []
    for number in range(50 if FULL else 3):
        pid, dialect = host.container(), DIALECTS[number % 2]
        scene = Scene(host, PLAIN, pid, 0, ("--pid", str(pid)), f"/proc/{pid}/ns/net")
        place = "host" if number // 2 % 2 else f"/proc/{other}/ns/net"
        moments = _moments(scene, dialect)
        moment = moments[(number // 4 if FULL else number) % len(moments)]
        _let_happen(shims, moment, heir.takes(pid, place))
        done = host.nettool(*scene.attach(dialect), env=shims.env)
        what = f"{number}: {dialect}, {place}, {' '.join(moment)}: exit {done.returncode}: {done.stderr}"
        problems += [what] if done.returncode not in (1, 4) or not _happened(shims) else []
        host.nettool(*scene.detach(dialect)) if done.returncode == 0 else None
        recovered = host.nettool("recover")
        problems += [f"{what} recover: {recovered.stderr}"] if recovered.returncode else []
        host.run("rm", "-f", f"/run/netns/{pid}")
        problems += _changes(before, host.snapshot(other), what)
        cases.add()
    assert not problems, "\n".join(problems)


@pytest.mark.battery("B11")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_name_of_a_pid_that_was_given_again_is_taken_back(
    pid_host: PidHost, cases: Cases, tmp_path: Path, dialect: str
) -> None:
    scene, shims = furnish(pid_host, PLAIN), Shims(tmp_path / "shims")
    heir, before = Heir(pid_host, tmp_path), pid_host.snapshot()
    _let_happen(shims, _moments(scene, dialect)[1], heir.takes(scene.pid, "host"))
    done = pid_host.nettool(*scene.attach(dialect), env=shims.env)
    assert done.returncode == 1, done.stderr
    cases.add()
    assert difference(before, pid_host.snapshot()) == "", done.stderr


# --- decoys


def _with_decoy(scene: Scene) -> dict[str, str]:
    """Read the host, the sandbox, and the foreign namespace whose name is the sandbox's pid."""
    parts = snapshot([f"/run/netns/{scene.pid}", scene.netns], host=scene.host.view)
    del parts["host: netns"]  # it is a new one each time
    return parts


@pytest.mark.battery("B11")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_foreign_namespace_that_is_called_like_the_pid(
    host: Host, cases: Cases, tmp_path: Path, dialect: str
) -> None:
    scene, shims = furnish(host, PLAIN), Shims(tmp_path / "shims")
    add, first = ("ip", "netns", "add", str(scene.pid)), _plan(scene, dialect)[0]
    host.check(*add)
    before = _with_decoy(scene)
    for number in range(10 if FULL else 2):
        if number % 2:
            # It is not there yet when the host is read, but right before the name is given.
            host.check("ip", "netns", "del", str(scene.pid))
            shims.set(Rule(first, f"outside {' '.join(add)}"))
        done = host.nettool(*scene.attach(dialect), env=shims.env)
        assert done.returncode == (1 if number % 2 else 4), done.stderr
        assert difference(before, _with_decoy(scene)) == ""
        host.nettool("recover").check_returncode()
        assert difference(before, _with_decoy(scene)) == ""
        cases.add()


@pytest.mark.battery("B11")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_namespace_that_is_called_like_another_ones_pid(host: Host, cases: Cases, dialect: str) -> None:
    scene, named = furnish(host, PLAIN), host.container()
    host.check("ip", "netns", "attach", str(scene.pid), str(named))
    before, theirs = host.snapshot(scene.pid, named), host.snapshot(scene.pid)
    own = f"/proc/{scene.pid}/ns/net"
    target = ("--netns", str(scene.pid), "--dialect", dialect)
    host.nettool("attach", "--ip", "172.17.0.10/16", *target).check_returncode()
    wired = host.snapshot(scene.pid)
    assert all(wired[part] == text for part, text in theirs.items() if part.startswith(own))
    assert difference(before, host.snapshot(scene.pid, named)) != ""
    host.nettool("detach", *target).check_returncode()
    assert difference(before, host.snapshot(scene.pid, named)) == ""
    cases.add()


# --- a name that leads to two namespaces in turn

_FLIP: Final = """
import itertools, os, random, sys, time
name, *paths = sys.argv[1:]
dice = random.Random(11)
print("ready", flush=True)
for number in itertools.count():
    os.symlink(paths[number % 2], name + ".new")
    os.rename(name + ".new", name)
    time.sleep(dice.uniform(0, (0.02, 0.003)[number % 2]))
"""


def _seen(host: Host, *pids: int) -> dict[str, str]:
    """Read the host and these sandboxes, but for where the flipped name leads."""
    parts = host.snapshot(*pids)
    names = parts["host: netns"].splitlines()
    return {**parts, "host: netns": "\n".join(name for name in names if not name.startswith("flip"))}


def _attach_to_flipped(host: Host, flipping: subprocess.Popen[str], paths: list[str], dialect: str) -> Done:
    """Attach while the name is flipped, and take it back while it is not."""
    flipping.send_signal(signal.SIGCONT)
    done = host.nettool("attach", "--netns", "flip", "--ip", "172.17.0.10/16", "--dialect", dialect)
    flipping.send_signal(signal.SIGSTOP)
    records = "".join(path.read_text() for path in host.path("/run/nettool/endpoints").glob("*.json"))
    for path in paths:
        if str(host.path(path).stat().st_ino) in records:
            host.nettool("detach", "--netns", path, "--all").check_returncode()
    if os.listdir(host.path("/run/nettool/tx")):
        host.nettool("recover")
    return done


@pytest.mark.battery("B11")
def test_a_name_that_is_flipped_between_two_sandboxes(host: Host, cases: Cases) -> None:
    host.add_bridge("docker0", "172.17.0.1/16")
    first, second = host.container(), host.container()
    for command in SAME_NAME:
        host.inside(second, *command.split())
    paths = [f"/proc/{pid}/ns/net" for pid in (first, second)]
    flipping = host.popen(sys.executable, "-I", "-S", "-c", _FLIP, "/run/netns/flip", *paths)
    assert flipping.stdout is not None
    assert flipping.stdout.readline() == "ready\n"
    before = _seen(host, first, second)
    problems = []
    for number in range(500 if FULL else 10):
        done = _attach_to_flipped(host, flipping, paths, DIALECTS[number % 2])
        cases.add()
        # Where nothing ran there is nothing to see; but look at times.
        after = before if done.returncode == 4 and number % 10 else _seen(host, first, second)
        if after != before or done.returncode not in (0, 1, 4):
            said = f"exit {done.returncode}: {done.stderr}\n{difference(before, after)}"
            problems.append(f"{number}: {DIALECTS[number % 2]}: {said}")
            host.run("sh", "-c", "rm -rf /run/nettool /run/netns/nt-*")
            before = _seen(host, first, second)
    assert not problems, f"{len(problems)} of {cases.count}:\n" + "\n".join(problems)


@pytest.mark.battery("B11")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_name_that_moves_right_before_a_command_uses_it(
    host: Host, cases: Cases, tmp_path: Path, dialect: str
) -> None:
    scene, shims = (
        furnish(host, Kind("named", "--ip 172.17.0.10/16", target="name")),
        Shims(tmp_path / "shims"),
    )
    other = host.container()
    for command in SAME_NAME:
        host.inside(other, *command.split())
    point = "ln -sfn {} /run/netns/blue"
    host.check("ip", "netns", "del", "blue")
    host.check(*point.format(scene.netns).split())
    before = host.snapshot(scene.pid, other)
    problems = []
    for step in _beginnings_of_processes(_plan(scene, dialect))[:: 1 if FULL else 3]:
        shims.set(Rule(step, f"outside {point.format(f'/proc/{other}/ns/net')}"))
        done = host.nettool(*scene.attach(dialect), env=shims.env)
        host.check(*point.format(scene.netns).split())
        what = f"{' '.join(step)}: exit {done.returncode}: {done.stderr}"
        if done.returncode == 0:
            host.nettool(*scene.detach(dialect)).check_returncode()
        else:
            host.nettool("recover").check_returncode()
        problems += _changes(before, host.snapshot(scene.pid, other), what)
        before = host.snapshot(scene.pid, other)
        cases.add()
    assert not problems, "\n".join(problems)


@pytest.mark.battery("B11")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_nothing_more_is_done_in_a_sandbox_whose_process_has_ended(
    host: Host, cases: Cases, tmp_path: Path, dialect: str
) -> None:
    scene, shims = furnish(host, PLAIN), Shims(tmp_path / "shims")
    before = host.snapshot()
    steps = _plan(scene, dialect)
    # The namespace is held by now: commands in it would work still.
    at = next(number for number, step in enumerate(steps) if "netns" in step[3:] or "netns" in step[1:2])
    moved = next(step for step in steps[at:] if step[:3] in (("ip", "link", "set"), ("ip", "link", "add")))
    shims.set(Rule(moved, f'"$real" "$@"; kill -9 {scene.pid}; sleep 0.1; exit'))
    done = host.nettool(*scene.attach(dialect), env=shims.env)
    assert done.returncode == 1, done.stderr
    assert "is no longer the sandbox that was planned for" in done.stderr
    assert not [step for step in _inside(steps) if step in shims.calls]
    host.nettool("recover").check_returncode()
    host.nettool("gc").check_returncode()
    assert difference(before, host.snapshot()) == ""
    cases.add()
