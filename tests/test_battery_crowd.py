"""More than one nettool at a time: locks that are held, two runs at once, 64 at once; and 1,000 in turn.

Whoever wins, nothing is done by halves, no address is given twice, and what is detached leaves no trace.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest
from plan_kinds import DIALECTS, FOREIGN_PORT, FULL, Kind, Scene, furnish
from shims import Rule, Shims, commands_in
from snapshot import difference

from nettool.sandboxes import find_all

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from battery import Cases
    from hosts import Host
    from warm import Call

PLAIN: Final = Kind("both families", "--ip 172.17.0.10/16 --ip fd00::10/64", host=FOREIGN_PORT)
RUN_FOLDER: Final = "/run/nettool"
PATIENT: Final = ("--lock-timeout", "600")


@dataclass
class Run:
    """One nettool of several; `result` waits for it."""

    host: Host
    argv: Sequence[str]
    process: Call = field(init=False)

    def __post_init__(self) -> None:
        self.process = self.host.start(*self.argv)

    def result(self) -> tuple[int, str]:
        """Return the exit status, and what was said."""
        done = self.process.result(timeout=600)
        return done.returncode, f"{' '.join(self.argv)}: {done.stdout}{done.stderr}"


def _dice() -> random.Random:
    return random.Random(20)  # noqa: S311 - the same throws every time


def _left(host: Host) -> list[str]:
    """Return which records and unended runs there are."""
    folder = host.path(RUN_FOLDER)
    return sorted(path.name for part in ("endpoints", "tx") for path in (folder / part).glob("*"))


# --- locks


@contextlib.contextmanager
def _held(path: Path, seconds: float | None, text: bytes = b"pid 4711, attach\n") -> Iterator[None]:
    """Hold a lock for some seconds, or until the end."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.ftruncate(fd, 0)
    os.pwrite(fd, text, 0)
    timer = threading.Timer(seconds or 0, fcntl.flock, (fd, fcntl.LOCK_UN))
    if seconds is not None:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join() if seconds is not None else None
        os.close(fd)


def _cut_off(scene: Scene, shims: Shims, dialect: str, then: str) -> int:
    """Kill an attachment at its last step; return its pid."""
    steps = commands_in(scene.host.nettool(*scene.attach(dialect, "--dry-run")).stdout)
    shims.set(Rule(steps[-1], then))
    argv = scene.host.nettool_argv(*scene.attach(dialect))
    process = scene.host.popen(*argv, env=shims.env, output=subprocess.DEVNULL)
    assert process.wait(60) == -signal.SIGKILL
    scene.host.kill(process.pid)
    return process.pid


def _prepare(scene: Scene, shims: Shims, verb: str, dialect: str) -> tuple[str, ...]:
    """Make something for a verb to do; return its command line."""
    if verb == "detach":
        scene.host.nettool(*scene.attach(dialect)).check_returncode()
        return scene.detach(dialect)
    if verb == "recover":
        _cut_off(scene, shims, dialect, '"$real" "$@"; kill -9 $nettool; exit')
        return ("recover",)
    return scene.attach(dialect)


def _tidy(scene: Scene, dialect: str) -> None:
    scene.host.nettool("recover").check_returncode()
    scene.host.nettool(*scene.detach(dialect)).check_returncode()


def _check_refused(status: int, said: str, waited: float, timeout: float, holder: str) -> None:
    assert status == 6, said
    assert timeout <= waited < timeout + 2, said
    assert holder in said
    assert "Traceback" not in said


LOCKS: Final = ("attach host", "detach netns", "recover host", "attach netns", "detach host")
# How long the lock is held (None: for ever), and how long nettool waits.
TIMES: Final = ((0.2, 10), (None, 0), (2.0, 10), (None, 1)) if FULL else ((0.2, 10), (None, 0))


@pytest.mark.battery("B6")
@pytest.mark.parametrize("what", LOCKS if FULL else LOCKS[:3])
def test_a_lock_that_somebody_holds(host: Host, cases: Cases, tmp_path: Path, what: str) -> None:
    verb, lock = what.split()
    scene, shims = furnish(host, PLAIN), Shims(tmp_path / "shims")
    bare = scene.snapshot()
    host.nettool("recover").check_returncode()
    name = "host" if lock == "host" else f"netns-{os.stat(scene.netns).st_ino}"
    for number, (seconds, timeout) in enumerate(TIMES):
        dialect = DIALECTS[number % 2]
        argv = (*_prepare(scene, shims, verb, dialect), "--lock-timeout", str(timeout))
        before = scene.snapshot()
        with _held(host.path(f"{RUN_FOLDER}/{name}.lock"), seconds):
            started = time.monotonic()
            status, said = Run(host, argv).result()
            waited = time.monotonic() - started
        if seconds is None:
            _check_refused(status, said, waited, timeout, "pid 4711, attach")
            assert difference(before, scene.snapshot()) == ""
        else:
            assert status == 0, said
            assert waited >= seconds
        _tidy(scene, dialect)
        assert difference(bare, scene.snapshot()) == ""
        cases.add()


TEXTS: Final = (b"\xff\xfe\x1b[31m\0\n", b"", b"x" * 5000)


@pytest.mark.battery("B6")
@pytest.mark.parametrize(
    "text", TEXTS if FULL else TEXTS[:1], ids=["odd", "empty", "long"][: 3 if FULL else 1]
)
def test_a_lock_whose_holder_is_not_written_down_well(host: Host, cases: Cases, text: bytes) -> None:
    scene = furnish(host, PLAIN)
    host.nettool("recover").check_returncode()
    before = scene.snapshot()
    with _held(host.path(f"{RUN_FOLDER}/host.lock"), None, text):
        for argv in (scene.attach("classic"), ("recover",)):
            status, said = Run(host, (*argv, "--lock-timeout", "0", "-o", "json")).result()
            _check_refused(status, said, 0, 0, "holds")
            assert '"exit_status": 6' in said
            assert "\x1b" not in said
            cases.add()
    assert difference(before, scene.snapshot()) == ""


@pytest.mark.battery("B6")
@pytest.mark.parametrize("verb", ["attach", "detach", "recover"] if FULL else ["attach"])
def test_a_lock_that_a_command_holds_whose_nettool_was_killed(
    host: Host, cases: Cases, tmp_path: Path, verb: str
) -> None:
    scene, shims = furnish(host, PLAIN), Shims(tmp_path / "shims")
    bare = scene.snapshot()
    for dialect in DIALECTS if FULL else DIALECTS[len(verb) % 2 :][:1]:
        pid = _cut_off(scene, shims, dialect, 'kill -9 $nettool; sleep 1; exec "$real" "$@"')
        argv = {"attach": scene.attach(dialect), "detach": scene.detach(dialect), "recover": ("recover",)}
        started = time.monotonic()
        status, said = Run(host, (*argv[verb], "--lock-timeout", "0")).result()
        _check_refused(status, said, time.monotonic() - started, 0, f"pid {pid}, attach")
        status, said = Run(host, argv[verb]).result()
        assert status == 0, said
        if verb == "attach":
            assert difference(bare, scene.snapshot()) != ""
            host.nettool(*scene.detach(dialect)).check_returncode()
        assert difference(bare, scene.snapshot()) == ""
        assert _left(host) == []
        cases.add(2)


# --- two at once


def _at_once(host: Host, rng: random.Random, *argvs: Sequence[str]) -> list[tuple[int, str]]:
    """Run several nettools that begin within some milliseconds."""
    runs = []
    for argv in argvs:
        runs.append(Run(host, (*argv, *PATIENT)))
        time.sleep(rng.choice((0, 0, 0.01, 0.05)))
    return [run.result() for run in runs]


def _statuses(results: Sequence[tuple[int, str]]) -> tuple[int, ...]:
    assert not any("Traceback" in said for _, said in results), results
    return tuple(status for status, _ in results)


@pytest.mark.battery("B7")
def test_two_at_once_on_one_sandbox(host: Host, cases: Cases) -> None:
    scene, rng = furnish(host, PLAIN), _dice()
    before = scene.snapshot()
    other = ("attach", *scene.target, "--ip", "172.17.0.11/16")
    for number in range(100 if FULL else 5):
        dialect = DIALECTS[number % 2]
        rival = other if number % 3 == 2 else scene.attach(dialect)
        results = _at_once(host, rng, *rng.sample((scene.attach(dialect), rival), 2))
        if rival is other:
            assert sorted(_statuses(results)) == [0, 4], results
        else:
            assert _statuses(results) == (0, 0), results
            assert sum("nothing to do" in said for _, said in results) == 1
        host.nettool(*scene.detach(dialect)).check_returncode()
        assert difference(before, scene.snapshot()) == ""
        assert _left(host) == []
        cases.add()


@pytest.mark.battery("B7")
def test_two_at_once_on_two_sandboxes(host: Host, cases: Cases) -> None:
    scene, rng = furnish(host, PLAIN), _dice()
    second = host.container()
    before = host.snapshot(scene.pid, second)
    other = ("--pid", str(second))
    for number in range(100 if FULL else 5):
        dialect = ("--dialect", DIALECTS[number % 2])
        attaches = (scene.attach(dialect[1]), ("attach", *other, "--ip", "172.17.0.11/16", *dialect))
        detaches = (scene.detach(dialect[1]), ("detach", *other, *dialect))
        results = _at_once(host, rng, *rng.sample(attaches, 2))
        assert _statuses(results) == (0, 0), results
        assert len(_left(host)) == 2
        results = _at_once(host, rng, *rng.sample(detaches, 2))
        assert _statuses(results) == (0, 0), results
        assert difference(before, host.snapshot(scene.pid, second)) == ""
        assert _left(host) == []
        cases.add()


@pytest.mark.battery("B7")
def test_attach_against_detach(host: Host, cases: Cases) -> None:
    scene, rng = furnish(host, PLAIN), _dice()
    before = scene.snapshot()
    wired = 0
    for number in range(100 if FULL else 5):
        dialect = DIALECTS[number % 2]
        if number % 3:
            host.nettool(*scene.attach(dialect)).check_returncode()
        results = _at_once(host, rng, *rng.sample((scene.attach(dialect), scene.detach(dialect)), 2))
        assert _statuses(results) == (0, 0), results
        again = host.nettool(*scene.attach(dialect))
        assert again.returncode == 0, again.stderr
        wired += "nothing to do" in again.stdout
        host.nettool(*scene.detach(dialect)).check_returncode()
        assert difference(before, scene.snapshot()) == ""
        assert _left(host) == []
        cases.add()
    # Who is last is chance: with few rounds it may be the same one each time.
    assert not FULL or 0 < wired < cases.count


# --- many at once


@dataclass
class Crowd:
    """Many sandboxes on one bridge."""

    host: Host
    pids: list[int]

    def addresses(self) -> dict[int, list[str]]:
        """Return the IPv4 addresses of each sandbox, and check that a sandbox without one has only lo."""
        script = 'for pid; do nsenter --net="/proc/$pid/ns/net" ip -json addr; echo; done'
        lines = self.host.check("sh", "-c", script, "sh", *map(str, self.pids)).splitlines()
        links = [json.loads(line) for line in lines if line]
        assert len(links) == len(self.pids)
        found = {pid: _addresses(mine) for pid, mine in zip(self.pids, links, strict=True)}
        for pid, mine in zip(self.pids, links, strict=True):
            assert found[pid] or [link["ifname"] for link in mine] == ["lo"], mine
        return found

    def attach(self, addresses: Sequence[str], options: Sequence[str]) -> dict[int, Run]:
        """Start an attachment of each sandbox, the addresses taking turns."""
        return {
            pid: Run(
                self.host,
                ("attach", "--pid", str(pid), "--ip", addresses[number % len(addresses)], *options,
                 "--dialect", DIALECTS[number % 2]),
            )
            for number, pid in enumerate(self.pids)
        }  # fmt: skip

    def kill_some(self, runs: dict[int, Run], number: int, rng: random.Random) -> None:
        """Kill some runs with -9, half of them such as hold the lock."""
        waiting = [run.process for run in runs.values()]
        for turn in range(number):
            time.sleep(rng.uniform(0, 0.3))
            running = [process for process in waiting if process.poll() is None]
            holder = re.match(r"pid (\d+),", self.host.path(f"{RUN_FOLDER}/host.lock").read_text())
            at_work = [process for process in running if holder and process.pid == int(holder[1])]
            chosen = at_work if turn % 2 and at_work else running
            if chosen:
                rng.choice(chosen).kill()


def _addresses(links: list[dict[str, list[dict[str, str]]]]) -> list[str]:
    found = [address for link in links for address in link["addr_info"]]
    return [address["local"] for address in found if address["local"].startswith("172.")]


@pytest.fixture
def crowd(host: Host) -> Crowd:
    host.add_bridge("docker0", "172.17.0.1/16")
    for command in FOREIGN_PORT:
        host.check(*command.split())
    host.nettool("recover").check_returncode()
    return Crowd(host, [host.container() for _ in range(64 if FULL else 16)])


def _go(crowd: Crowd, addresses: Sequence[str], options: Sequence[str], kill: int, rng: random.Random) -> int:
    """Attach all at once, recover, detach all, and check each; return how many are wired in between."""
    host = crowd.host
    before = host.snapshot()
    runs = crowd.attach(addresses, options)
    crowd.kill_some(runs, kill, rng)
    results = {pid: run.result() for pid, run in runs.items()}
    assert not [said for _, said in results.values() if "Traceback" in said]
    recovered = host.nettool("recover")
    assert recovered.returncode == 0, recovered.stderr
    found = crowd.addresses()
    given = [address for mine in found.values() for address in mine]
    assert len(given) == len(set(given)), f"given twice: {sorted(given)}"
    allowed = (0, 4, 6, -signal.SIGKILL) if options != PATIENT else (0, 4, -signal.SIGKILL)
    for pid, (status, said) in results.items():
        assert status in allowed, said
        assert status == -signal.SIGKILL or len(found[pid]) == (status == 0), said
        assert status != 4 or "is in use" in said, said
    wired = [pid for pid in crowd.pids if found[pid]]
    assert len(_left(host)) == len(wired)
    detached = [Run(host, ("detach", "--pid", str(pid), *PATIENT)) for pid in wired]
    assert not [said for status, said in (run.result() for run in detached) if status]
    assert not any(crowd.addresses().values())
    assert difference(before, host.snapshot()) == ""
    assert _left(host) == []
    return len(wired)


# How many addresses there are for the crowd in each of some rounds (0: one for each), and who is patient.
ROUNDS: Final = {
    "one address each": (0, 0, 0, 0, 0, 0),
    "few addresses": (1, 4, 8, 1, 4, 2, 8),
    "impatient": (0, 1, 4, 8, 4, 2),
}


@pytest.mark.battery("B8")
@pytest.mark.parametrize("kind", list(ROUNDS) if FULL else ["few addresses"])
def test_many_at_once(crowd: Crowd, cases: Cases, kind: str) -> None:
    rng, count = _dice(), len(crowd.pids)
    options = ("--lock-timeout", "2") if kind == "impatient" else PATIENT
    for number, few in enumerate(ROUNDS[kind] if FULL else ROUNDS[kind][1:2]):
        addresses = [f"172.17.1.{last}/16" for last in range(1, 1 + (few or count))]
        kill = 0 if number == 1 else count // 8
        wired = _go(crowd, addresses, options, kill, rng)
        assert wired <= len(addresses)
        assert (
            wired >= (count - kill if not few else len(addresses) if not kill else 0) or kind == "impatient"
        )
        cases.add(count)


# --- over and over

SOAK: Final = """
import contextlib, io, json, os, sys
from nettool.cli import main

def measure():
    pages = int(open("/proc/self/statm").read().split()[1])
    files = sum(len(names) for _, _, names in os.walk("/run/nettool"))
    fds, size = len(os.listdir("/proc/self/fd")), os.sysconf("SC_PAGESIZE")
    return {"fds": fds, "bytes": pages * size, "files": files}

measured = []
rounds, dialects, target, attach = json.loads(sys.argv[1])
for number in range(rounds):
    for words in (["attach", *target, *attach], ["detach", *target]):
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            status = main([*words, "--dialect", dialects[number % 2]])
        if status or "done:" not in output.getvalue():
            sys.exit(f"round {number}: {words}: {output.getvalue()}")
    measured.append(measure())
print(json.dumps(measured))
"""


@pytest.mark.battery("B16")
@pytest.mark.parametrize("dialects", [DIALECTS, DIALECTS[::-1]], ids=["classic first", "modern first"])
def test_attach_and_detach_over_and_over(host: Host, cases: Cases, dialects: tuple[str, str]) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()
    # A thousand altogether: two processes share them.
    rounds = 500 if FULL else 5
    asked = json.dumps([rounds, dialects, scene.target, scene.kind.request.split()])
    measured = json.loads(host.check(sys.executable, "-c", SOAK, asked, timeout=900))
    cases.add(len(measured))
    assert difference(before, scene.snapshot()) == ""
    assert _left(host) == []
    early, last = measured[rounds // 5], measured[-1]
    assert last["fds"] == measured[0]["fds"]
    assert last["bytes"] - early["bytes"] < 5 << 20
    # 50 ended runs, and two locks.
    assert max(each["files"] for each in measured) <= 55


@pytest.mark.battery("B16")
def test_what_is_kept_does_not_grow_with_the_sandboxes(host: Host, cases: Cases) -> None:
    host.add_bridge("docker0", "172.17.0.1/16")
    before = host.snapshot()
    pids = [host.container() for _ in range(60 if FULL else 5)]
    for pid in pids:
        asked = json.dumps([1, DIALECTS, ("--pid", str(pid)), ("--ip", "172.17.0.10/16")])
        host.check(sys.executable, "-c", SOAK, asked)
        cases.add()
    for pid in pids:
        host.kill(pid)
    host.must("gc")
    assert difference(before, host.snapshot()) == ""
    # Other tests' hosts are on this machine, too, and may have got the numbers of the namespaces, or had
    # them in the time that it took.
    found = find_all()
    host.must("gc")
    others = {f"netns-{each.inode}.lock" for each in (*found, *find_all())}
    files = [p for p in host.path(RUN_FOLDER).rglob("*") if p.is_file() and p.name not in others]
    assert len(files) <= 55, f"{len(files)} files: {sorted(path.name for path in files)[-10:]}"
