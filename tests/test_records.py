"""Records and the host agree, whenever nettool is killed; records of other versions are read, or refused."""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from shims import Rule as ShimRule
from shims import Shims, commands_in
from snapshot import difference
from state_disk import BROKEN, STATE, TROUBLES, disk_of_its_own
from warm import KILLED

import nettool.ipam
import nettool.model
import nettool.plan
import nettool.ports
from nettool import journal
from nettool.value import Value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import CompletedProcess

    from battery import Cases
    from hosts import Host

ENDPOINTS: Final = "/run/nettool/endpoints"
CREATE: Final = "network create lan --bridge-name br-lan --subnet 10.20.0.0/24 --subnet fd20::/64"
BARE: Final = "network connect lan netns:blue"
SAME: Final = "--ip 10.20.0.2 --ip6 fd20::2"
CONNECT: Final = "network connect lan netns:blue --publish 8080:80"


@dataclass(frozen=True)
class Change:
    """A change of records and of the host: what is there before, what is done, and what takes it back."""

    before: tuple[str, ...]
    done: str
    back: str


CHANGES: Final = {
    "network create": Change((), CREATE, "network rm lan"),
    "network rm": Change((CREATE,), "network rm lan", CREATE),
    "connect": Change((CREATE,), CONNECT, "network disconnect lan netns:blue"),
    "disconnect": Change((CREATE, CONNECT), "network disconnect lan netns:blue", f"{CONNECT} {SAME}"),
    "publish": Change((CREATE, BARE), "publish netns:blue 8080:80", "unpublish netns:blue 8080:80"),
    "unpublish": Change((CREATE, CONNECT), "unpublish netns:blue 8080:80", "publish netns:blue 8080:80"),
    "adopt": Change((CREATE, CONNECT, "forget"), "adopt", "forget"),
}
every_change = pytest.mark.parametrize("name", CHANGES)


class Scene:
    """A host on which one change is done again and again, from the same beginning."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self.change = CHANGES[name]
        host.check("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        host.check("ip", "netns", "add", "blue")
        self.must("recover")
        for words in self.change.before:
            self.must(words)
        self.records = self.read()
        self.kept = {path: path.read_bytes() for path in self.files()}
        self.must(self.change.done)
        self.afterwards = self.read()
        self.again()

    def must(self, words: str) -> None:
        if words == "forget":
            shutil.rmtree(self.host.path(STATE), ignore_errors=True)
            for path in self.host.path(ENDPOINTS).glob("nt*"):
                path.unlink()
            return
        done = self.host.nettool(*words.split())
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"

    def again(self) -> None:
        """Go back to the beginning, with the records as they were, last leases and all."""
        self.must(self.change.back)
        for path in self.files():
            path.unlink()
        for path, body in self.kept.items():
            path.write_bytes(body)
        for run in self.host.path("/run/nettool/history").glob("*"):
            shutil.rmtree(run)
        assert self.read() == self.records
        self.start = self.host.snapshot()

    def files(self) -> list[Path]:
        state = self.host.path(STATE)
        return [*self.host.path(ENDPOINTS).glob("nt*"), *(state.glob("*") if state.exists() else ())]

    def read(self) -> dict[str, Any]:
        """Read all that is on record, without nettool."""
        found = {path.name: json.loads(path.read_text()) for path in self.host.path(ENDPOINTS).glob("*.json")}
        database = self.host.path(STATE) / "state.db"
        if database.exists() and database.stat().st_size:
            # SQLite follows links by itself, and this way is one of another mount namespace.
            opened = sqlite3.connect(":memory:")
            opened.deserialize(database.read_bytes())
            rows = opened.execute("SELECT name, record FROM networks").fetchall()
            opened.close()
            found |= {name: json.loads(record) for name, record in rows}
        return found

    def recover(self) -> bool:
        """Recover from a kill; all of the change is there, or nothing: return which."""
        self.must("recover")
        there = self.read()
        assert there in (self.records, self.afterwards)
        nothing = there == self.records and difference(self.start, self.host.snapshot()) == ""
        assert nothing or there == self.afterwards
        assert self.host.nettool("diff").stdout == "no difference\n"
        return not nothing

    def verified(self) -> bool:
        """Whether a run that was cut off had been verified."""
        journals = self.host.path("/run/nettool/tx").glob("*/journal")
        return any(b'"verified"' in journal.read_bytes() for journal in journals)

    def killed(self, **options: Any) -> CompletedProcess[str] | None:
        """Do the change and be killed; None when it came to its end."""
        done = self.host.nettool(*self.change.done.split(), **options)
        assert done.returncode in (0, KILLED), done.stderr
        return done if done.returncode == KILLED else None


@pytest.mark.battery("B2")
@every_change
def test_killed_between_the_verification_and_the_end(host: Host, name: str, cases: Cases) -> None:
    scene = Scene(host, name)
    # How many calls there are before depends on what else is on the machine: the place may be missed.
    assert any(_meets_the_verification(scene, cases) for _ in range(3))


def _meets_the_verification(scene: Scene, cases: Cases) -> bool:
    """Be killed at every other place from before the verification on; whether it was met."""
    seen = []
    for number in _from_the_verification(scene):
        killed = scene.killed(kill_at=number)
        verified = scene.verified()
        whole = scene.recover()
        assert whole or (killed and not verified)
        seen.append(verified)
        cases.add()
        if whole:
            scene.again()
        if killed is None:
            break
    return any(seen)


def _from_the_verification(scene: Scene) -> Iterator[int]:
    """Yield the places to be killed at, from shortly before the verification on."""
    late = next(number for number in (16 << n for n in range(10)) if _is_late(scene, number))
    early = late // 2
    while late - early > 6:
        middle = (early + late) // 2
        early, late = (early, middle) if _is_late(scene, middle) else (middle, late)
    return itertools.count(max(0, late - 6), 2)


def _is_late(scene: Scene, number: int) -> bool:
    """Whether a run that is killed there has been verified, or has come to its end."""
    killed, verified = scene.killed(kill_at=number), scene.verified()
    if scene.recover():
        scene.again()
    return verified or not killed


@every_change
def test_killed_while_the_database_is_written(host: Host, name: str) -> None:
    scene = Scene(host, name)
    for number in itertools.count(step=2):
        env = {"NETTOOL_KILL_SQL": str(number)}
        killed = scene.killed(first="kill_in_sqlite", env=env)
        if scene.recover():
            scene.again()
        if killed is None:
            break
    assert number or name == "publish"


# --- a disk that takes nothing

# What changes the records of networks.
LASTING: Final = ("network create", "network rm", "connect", "disconnect")


def _check_nothing_happened(scene: Scene, done: CompletedProcess[str], heal: str) -> None:
    assert "Traceback" not in done.stderr
    assert difference(scene.start, scene.host.snapshot()) == ""
    assert scene.host.nettool("recover").returncode == 0
    assert difference(scene.start, scene.host.snapshot()) == ""
    scene.host.check("sh", "-c", heal)
    assert scene.read() == scene.records
    scene.must(scene.change.done)
    assert scene.read() == scene.afterwards


@pytest.mark.battery("B5")
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("name", LASTING)
def test_nothing_is_begun_that_cannot_be_recorded(
    host: Host, cases: Cases, tmp_path: Path, name: str, trouble: str
) -> None:
    disk_of_its_own(host)
    scene, shims = Scene(host, name), Shims(tmp_path / "shims")
    begin, heal = TROUBLES[trouble]
    host.run("sh", "-c", begin)
    done = host.nettool(*scene.change.done.split(), env=shims.env)
    assert done.returncode == 4, done.stderr
    assert "cannot be written" in done.stderr
    assert shims.changes == []
    _check_nothing_happened(scene, done, heal)
    cases.add()


@pytest.mark.battery("B5")
@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("name", LASTING)
def test_what_cannot_be_recorded_after_all_is_taken_back(
    host: Host, cases: Cases, tmp_path: Path, name: str, trouble: str
) -> None:
    """The disk gets into trouble while the first command runs."""
    disk_of_its_own(host)
    scene, shims = Scene(host, name), Shims(tmp_path / "shims")
    begin, heal = TROUBLES[trouble]
    steps = commands_in(host.nettool(*scene.change.done.split(), "--dry-run").stdout)
    shims.set(ShimRule(steps[0], begin))
    done = host.nettool(*scene.change.done.split(), env=shims.env)
    assert done.returncode == 1, done.stderr
    assert "state.db" in done.stderr
    assert len(shims.changes) > len(steps)
    _check_nothing_happened(scene, done, heal)
    cases.add()


@pytest.mark.battery("B5")
@pytest.mark.parametrize("name", LASTING)
def test_a_database_that_breaks_meanwhile_does_not_stop_the_way_back(
    host: Host, cases: Cases, tmp_path: Path, name: str
) -> None:
    scene, shims = Scene(host, name), Shims(tmp_path / "shims")
    breaks, heal = BROKEN
    steps = commands_in(host.nettool(*scene.change.done.split(), "--dry-run").stdout)
    shims.set(ShimRule(steps[0], breaks))
    done = host.nettool(*scene.change.done.split(), env=shims.env)
    assert done.returncode == 8, done.stderr
    assert "the records could not be put back" in done.stderr
    assert difference(scene.start, host.snapshot()) == ""
    host.check("sh", "-c", heal)
    scene.must("recover")
    assert difference(scene.start, host.snapshot()) == ""
    assert scene.read() == scene.records
    cases.add()


# --- the file itself


HALF_WRITTEN: Final = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size = 1")
database.execute("BEGIN IMMEDIATE")
for number in range(200):
    database.execute("INSERT INTO networks VALUES (?, ?, ?)", (f"x{number}", None, "x" * 3000))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_file_that_is_half_written_is_read_as_it_was(host: Host) -> None:
    done = host.nettool(*CREATE.split())
    assert done.returncode == 0, done.stderr
    listed = host.nettool("network", "ls").stdout
    host.run(sys.executable, "-c", HALF_WRITTEN, f"{STATE}/state.db")
    assert (host.path(STATE) / "state.db-journal").exists()
    shown = host.nettool("network", "ls")
    assert (shown.returncode, shown.stdout) == (0, listed), shown.stderr
    assert host.nettool("network", "rm", "lan").returncode == 0


@pytest.mark.parametrize("body", [b"no database at all, " * 400, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_broken_file_is_said_and_made_anew_by_adopt(host: Host, body: bytes) -> None:
    assert host.nettool(*CREATE.split()).returncode == 0
    host.path(STATE).joinpath("state.db").write_bytes(body)
    for words in ("network ls", "network rm lan", "diff", "attach --pid 1 --ip 10.20.0.9/24 --bridge br-lan"):
        refused = host.nettool(*words.split())
        assert refused.returncode == 4, words
        assert "nettool adopt" in refused.stderr
    host.check("mv", f"{STATE}/state.db", f"{STATE}/state.db.broken")
    assert "adopted network lan" in host.nettool("adopt").stdout
    assert host.nettool("network", "rm", "lan").returncode == 0


OLD: Final = Path(__file__).parent / "data" / "state-1.db"
"""Written by nettool 0.1.0 with schema 1: three networks, one with a connection."""


def test_an_older_file_is_read_and_brought_up(host: Host) -> None:
    state = host.path(STATE)
    state.mkdir(mode=0o700)
    shutil.copy(OLD, state / "state.db")
    host.check("ip", "netns", "add", "blue")
    before = state.joinpath("state.db").read_bytes()
    listed = host.nettool("network", "ls").stdout
    assert [line.split()[0] for line in listed.splitlines()[1:]] == ["bare", "lan", "vault"]
    vault = json.loads(host.nettool("network", "inspect", "vault", "-o", "json").stdout)
    assert (vault["internal"], vault["isolate"], vault["mtu"], vault["options"]) == (True, True, 1400, {})
    # Reading never writes; the first change brings it up.
    assert (state / "state.db").read_bytes() == before
    assert _schema(state / "state.db") == 1
    restored = host.nettool("restore")
    assert restored.returncode == 0, restored.stderr
    assert "done: connect netns:blue to lan" in restored.stdout
    assert host.nettool("diff").stdout == "no difference\n"
    assert "10.20.0.3/24" in host.check("ip", "-n", "blue", "-o", "address", "show", "dev", "eth0")
    removed = host.nettool("network", "rm", "vault")
    assert removed.returncode == 0, removed.stderr
    assert _schema(state / "state.db") > 1
    assert host.nettool("network", "ls").stdout.count("\n") == 3


def _schema(path: Path) -> int:
    database = sqlite3.connect(":memory:")
    database.deserialize(path.read_bytes())
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    database.close()
    return version


def test_whatever_is_recorded_can_be_read_again() -> None:
    """Each class that a plan, a record or a network is made of is known to whoever reads it."""
    within = {
        name
        for module in (nettool.model, nettool.plan, nettool.ports, nettool.ipam)
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, Value) and value.__module__ == module.__name__
    }
    never_written = {"Plan", "Decision", "Problem", "Records", "Trace", "Pool"}
    assert within - never_written <= {known.__name__ for known in journal.CLASSES}
