"""A run that is killed is taken back; two runs wait for each other."""

from __future__ import annotations

import fcntl
import json
import os
import time
import zlib
from typing import TYPE_CHECKING, Final

import pytest
from plan_kinds import KINDS, furnish
from shims import KILL, Rule, Shims, commands_in
from snapshot import difference

from nettool.cli import VERBS

if TYPE_CHECKING:
    from pathlib import Path

    from hosts import Host

PLAIN = next(kind for kind in KINDS if kind.name == "both families")


def test_the_next_change_takes_back_what_was_left(host: Host, tmp_path: Path) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()
    shims = Shims(tmp_path / "shims")
    steps = commands_in(host.nettool(*scene.attach("classic", "--dry-run")).stdout)
    shims.set(Rule(steps[-1], f"{KILL}exit 1"))
    host.nettool(*scene.attach("classic"), env=shims.env)
    assert difference(before, scene.snapshot()) != ""
    done = host.nettool(*scene.attach("classic"))
    assert done.returncode == 0, done.stderr
    assert "was cut off and has been taken back" in done.stderr
    host.nettool(*scene.detach("classic")).check_returncode()
    assert difference(before, scene.snapshot()) == ""


# How each verb is called that changes something: what there is to do for it does not matter.
CHANGING: Final = {
    "attach": "--pid {pid} --ip 172.17.0.99/16",
    "detach": "--pid {pid}",
    "adopt": "",
    "undo": "last",
    "recover": "",
    "gc": "",
    "network create": "dmz",
    "network rm": "lan",
    "network prune": "",
    "network connect": "lan pid:{pid}",
    "network disconnect": "lan pid:{pid}",
    "publish": "pid:{pid} 8080:80",
    "unpublish": "pid:{pid} --all",
    "restore": "--firewall",
    "repair": "",
    "run": "--network lan -- true",
    "sandbox create": "red",
    "sandbox rm": "blue",
}
# These only look, or wait, or are about a run that has ended well; `apply` is as what it carries out.
OTHERS: Final = {
    "apply", "confirm", "history", "network ls", "network inspect", "ports", "watch", "diff", "sandbox ls",
    "sandbox exec", "show", "facts", "lab",
}  # fmt: skip


def test_every_verb_is_known_to_change_something_or_not() -> None:
    assert {*CHANGING, *OTHERS} == set(VERBS)


@pytest.mark.parametrize("verb", CHANGING)
def test_every_change_begins_with_what_was_left(host: Host, tmp_path: Path, verb: str) -> None:
    host.must("network", "create", "lan", "--subnet", "10.20.0.0/24")
    host.must("sandbox", "create", "blue")
    scene, shims = furnish(host, PLAIN), Shims(tmp_path / "shims")
    steps = commands_in(host.must(*scene.attach("classic", "--dry-run")))
    shims.set(Rule(steps[-1], f"{KILL}exit 1"))
    host.nettool(*scene.attach("classic"), env=shims.env)
    assert os.listdir(host.path("/run/nettool/tx")) != []
    done = host.nettool(*verb.split(), *CHANGING[verb].format(pid=scene.pid).split())
    assert "Traceback" not in done.stderr
    assert "taken back" in done.stdout + done.stderr
    assert os.listdir(host.path("/run/nettool/tx")) == []
    assert "172.17.0.10" not in host.inside(scene.pid, "ip", "address")


def test_the_last_fifty_runs_are_kept(host: Host) -> None:
    """The folder of one that was confirmed has another folder in it."""
    history = host.path("/run/nettool/history")
    for number in range(60):
        (history / f"0{number:02}-1" / "claimed").mkdir(parents=True)
        (history / f"0{number:02}-1" / "journal").touch()
    for path in (history, history.parent):
        path.chmod(0o700)
    host.must("sandbox", "create", "blue")
    kept = sorted(path.name for path in history.iterdir())
    assert kept[:-1] == [f"0{number:02}-1" for number in range(11, 60)]


def _cut_off(host: Host, *, behind: bytes) -> Path:
    """Make the last run one that was killed right after it wrote a line with that text."""
    (run,) = os.listdir(host.path("/run/nettool/history"))
    host.check("mv", f"/run/nettool/history/{run}", f"/run/nettool/tx/{run}")
    journal = host.path(f"/run/nettool/tx/{run}/journal")
    lines = journal.read_bytes().splitlines(keepends=True)
    last = next(number for number, line in enumerate(lines) if behind in line)
    journal.write_bytes(b"".join(lines[: last + 1]))
    return journal


def test_a_run_that_was_verified_is_finished_forward(host: Host) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()
    host.nettool(*scene.attach("classic")).check_returncode()
    wired = scene.snapshot()
    _cut_off(host, behind=b'"verified"')
    host.check("sh", "-c", "rm /run/nettool/endpoints/*")
    host.nettool("recover").check_returncode()
    assert difference(wired, scene.snapshot()) == ""
    host.nettool(*scene.detach("classic")).check_returncode()
    assert difference(before, scene.snapshot()) == ""


def test_a_verified_run_that_was_on_its_way_back_is_taken_back(host: Host) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()
    host.nettool(*scene.attach("classic")).check_returncode()
    journal = _cut_off(host, behind=b'"verified"')
    host.check("sh", "-c", "rm /run/nettool/endpoints/*")
    text = b'{"kind": "undo", "key": "veth"}'
    journal.write_bytes(journal.read_bytes() + b"%08x %s\n" % (zlib.crc32(text), text))
    host.nettool("recover").check_returncode()
    assert difference(before, scene.snapshot()) == ""


def test_a_journal_of_another_version_is_refused_with_words(host: Host) -> None:
    scene = furnish(host, PLAIN)
    host.nettool("recover").check_returncode()
    text = b'{"kind": "begin", "title": "x", "boot_id": "y", "steps": [{"is": "Other"}]}'
    host.check("mkdir", "/run/nettool/tx/1")
    host.path("/run/nettool/tx/1/journal").write_bytes(b"%08x %s\n" % (zlib.crc32(text), text))
    done = host.nettool(*scene.attach("classic"))
    assert done.returncode == 4
    assert "the journal of run 1 cannot be read" in done.stderr


def test_a_held_lock_is_waited_for_and_its_holder_named(host: Host) -> None:
    scene = furnish(host, PLAIN)
    host.nettool("recover").check_returncode()
    before = scene.snapshot()
    with open(host.path("/run/nettool/host.lock"), "r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write("pid 4711, attach\n")
        lock.flush()
        started = time.monotonic()
        done = host.nettool(*scene.attach("classic", "--lock-timeout", "1", "-o", "json"))
        waited = time.monotonic() - started
    assert done.returncode == 6
    assert waited >= 1
    assert "pid 4711, attach" in done.stderr
    assert json.loads(done.stdout)["error"]["exit_status"] == 6
    assert difference(before, scene.snapshot()) == ""
    assert host.nettool(*scene.attach("classic")).returncode == 0


def test_two_at_once_give_one_endpoint(host: Host) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()
    for _ in range(5):
        runs = [host.start(*scene.attach("classic")) for _ in range(2)]
        assert [run.wait(timeout=60) for run in runs] == [0, 0]
        host.nettool(*scene.detach("classic")).check_returncode()
        assert difference(before, scene.snapshot()) == ""


def test_many_at_once_never_share_an_address(host: Host) -> None:
    host.add_bridge("docker0", "172.17.0.1/16")
    pids = [host.container() for _ in range(6)]
    words = [("attach", "--pid", str(pid), "--ip", "172.17.0.10/16") for pid in pids]
    runs = [host.start(*each) for each in words]
    assert sorted(run.wait(timeout=60) for run in runs) == [0, 4, 4, 4, 4, 4]


def test_the_state_is_for_its_owner_alone(host: Host) -> None:
    scene = furnish(host, PLAIN)
    host.nettool(*scene.attach("classic")).check_returncode()
    for folder, _, files in os.walk(host.path("/run/nettool")):
        assert os.stat(folder).st_mode & 0o777 == 0o700
        assert all(os.stat(os.path.join(folder, file)).st_mode & 0o777 == 0o600 for file in files)
