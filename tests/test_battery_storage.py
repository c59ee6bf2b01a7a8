"""The disk is full, over quota, broken or read-only at each call that uses it; and a reboot in between.

What the disk does is played by tests/inject.py inside nettool's own process, and by small,
full and read-only file systems. Whatever happens, the host is as before after one `nettool recover`.
"""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import pytest
from disks import Disk
from faults import in_any_order
from plan_kinds import BY_NAME, DIALECTS, FULL, Kind, Scene, furnish, with_dialects
from shims import Rule, Shims, commands_in
from snapshot import difference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from battery import Cases
    from hosts import Host

PLAIN: Final = Kind("both families", "--ip 172.17.0.10/16 --ip fd00::10/64")
WITH_A_PORT: Final = BY_NAME["an interface with a port"]
# What each call can say (the manual pages of section 2); reading cannot be out of space.
ERRORS: Final = {
    "read": ("EIO",),
    "open": ("ENOSPC", "EROFS", "EDQUOT", "EIO"),
    "mkdir": ("ENOSPC", "EROFS", "EDQUOT", "EIO"),
    "posix_fallocate": ("ENOSPC", "EDQUOT", "EIO"),
    "pwrite": ("ENOSPC", "EDQUOT", "EIO"),
    "write": ("ENOSPC", "EDQUOT", "EIO"),
    "fdatasync": ("EIO", "ENOSPC", "EDQUOT"),
    "fsync": ("EIO", "ENOSPC", "EDQUOT"),
    "ftruncate": ("EIO", "EROFS"),
    "rename": ("ENOSPC", "EROFS", "EDQUOT", "EIO"),
    "replace": ("ENOSPC", "EROFS", "EDQUOT", "EIO"),
    "unlink": ("EROFS", "EIO"),
    "rmdir": ("EROFS", "EIO"),
}
KILL: Final = "kill -9 $nettool"
BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


@pytest.fixture
def disk(host: Host, tmp_path: Path) -> Disk:
    return Disk(host, tmp_path / "log")


def _each(calls: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Return a fault for each call of a run, the errors taking turns."""
    counts = dict.fromkeys(ERRORS, 0)
    for number, (call,) in enumerate(calls):
        counts[call] += 1
        errors = ERRORS[call]
        yield f"{call}:{counts[call]}:{errors[number % len(errors)]}"


def _onward(calls: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Return a fault from each call that writes on: a disk that is dead from there."""
    writing = [call for call in calls if call != ("read",)]
    for number in range(1, len(writing) + 1):
        yield f"any:{number}+:{('ENOSPC', 'EROFS', 'EDQUOT', 'EIO')[number % 4]}"


def _compared(scene: Scene, before: Mapping[str, str], when: str) -> list[str]:
    changed = difference(in_any_order(before), in_any_order(scene.snapshot()))
    return [f"{when} the host is not as before:\n{changed}"] if changed else []


def _go_wrong(
    disk: Disk, scene: Scene, argv: Sequence[str], fault: str, before: Mapping[str, str]
) -> tuple[bool, list[str]]:
    """Run on a disk that goes wrong, and recover on one that works; whether it succeeded, and problems."""
    had = disk.left()
    done = disk.run(argv, fault)
    # A record that is gone and that a dead disk does not take again is something that is left.
    lost = disk.changed and disk.left("endpoints") != had
    problems = disk.judged(done) if not lost or done.returncode != 8 else []
    failed = done.returncode != 0
    problems += _compared(scene, before, "at once") if failed and disk.changed else []
    recovered = scene.host.nettool("recover")
    if recovered.returncode:
        problems.append(f"recover: {recovered.stderr}")
    if failed:
        problems += _compared(scene, before, "after recover")
        if disk.left() != had:
            problems.append(f"left in the run folder: {disk.left()}, before: {had}")
    problems += [f"left half written: {name}" for name in disk.unfinished()]
    disk.forget()
    return not failed, [f"{fault}: {problem}" for problem in problems]


def _begin_anew(scene: Scene) -> None:
    """Clear away everything, so that one case that went wrong does not spoil the next."""
    _forget_kernel_state(scene)
    scene.host.check("rm", "-r", "/run/nettool")
    scene.host.nettool("recover").check_returncode()


def _calls(disk: Disk, argv: Sequence[str]) -> list[tuple[str, ...]]:
    """Run on a disk that works; return the calls that use it."""
    disk.run(argv).check_returncode()
    disk.forget()
    return disk.lines("call")


FAULTS: Final = {"one call": _each, "all from one on": _onward}


@dataclass(frozen=True)
class Going:
    """Which faults one test goes through, on a plan of which kind."""

    part: str
    dialect: str
    kind: Kind

    def faults(self, calls: Sequence[tuple[str, ...]]) -> list[str]:
        """Return every fourth fault for these calls; of a kind with more steps, which take longer, fewer."""
        stride = (4 if FULL else 12) * (1 if self.kind is PLAIN else 4)
        return list(FAULTS[self.part](calls))[(len(self.part) + len(self.dialect)) % stride :: stride]


GOING: Final = [
    pytest.param(Going(part, dialect, kind), id=f"{part}-{dialect}-{kind.name}")
    for kind, dialects in ((PLAIN, DIALECTS), (WITH_A_PORT, DIALECTS[::-1]))
    for part, dialect in zip(FAULTS, dialects, strict=True)
]


@pytest.mark.battery("B5")
@pytest.mark.parametrize("going", GOING)
def test_attach_on_a_disk_that_goes_wrong(disk: Disk, cases: Cases, going: Going) -> None:
    host, scene = disk.host, furnish(disk.host, going.kind)
    attach, detach = scene.attach(going.dialect), scene.detach(going.dialect)
    host.nettool("recover").check_returncode()
    before = scene.snapshot()
    calls = _calls(disk, attach)
    host.nettool(*detach).check_returncode()
    disk.forget()
    problems = []
    for fault in going.faults(calls):
        done, wrong = _go_wrong(disk, scene, attach, fault, before)
        cases.add(disk.struck)
        problems += wrong
        if wrong:
            _begin_anew(scene)
        elif done:
            host.nettool(*detach).check_returncode()
            problems += _compared(scene, before, f"{fault}: after detach")
            disk.forget()
    assert not problems, "\n".join(problems)


@pytest.mark.battery("B5")
@pytest.mark.parametrize("going", GOING)
def test_detach_on_a_disk_that_goes_wrong(disk: Disk, cases: Cases, going: Going) -> None:
    host, scene = disk.host, furnish(disk.host, going.kind)
    attach, detach = scene.attach(going.dialect), scene.detach(going.dialect)
    bare = scene.snapshot()
    host.nettool(*attach).check_returncode()
    calls = _calls(disk, detach)
    host.nettool(*attach).check_returncode()
    wired = scene.snapshot()
    problems = []
    for fault in going.faults(calls):
        disk.forget()
        done, wrong = _go_wrong(disk, scene, detach, fault, wired)
        cases.add(disk.struck)
        problems += wrong
        problems += _compared(scene, bare, f"{fault}: after detach") if done else []
        if wrong:
            _begin_anew(scene)
        if done or wrong:
            host.nettool(*attach).check_returncode()
            wired = scene.snapshot()
    assert not problems, "\n".join(problems)


def _cut_off(scene: Scene, shims: Shims, dialect: str, step: int) -> None:
    """Kill an attachment after one of its steps, and wait for the commands that outlive it."""
    steps = commands_in(scene.host.nettool(*scene.attach(dialect, "--dry-run")).stdout)
    shims.set(Rule(steps[step], f'"$real" "$@"; {KILL}; exit'))
    scene.host.nettool(*scene.attach(dialect), env=shims.env)
    with open(scene.host.path("/run/nettool/host.lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


@pytest.mark.battery("B5")
@pytest.mark.parametrize("going", GOING)
def test_recover_on_a_disk_that_goes_wrong(disk: Disk, cases: Cases, tmp_path: Path, going: Going) -> None:
    scene, shims = furnish(disk.host, going.kind), Shims(tmp_path / "shims")
    before = scene.snapshot()
    _cut_off(scene, shims, going.dialect, -1)
    calls = _calls(disk, ("recover",))
    problems = []
    for fault in going.faults(calls):
        _cut_off(scene, shims, going.dialect, -1)
        done = disk.run(("recover",), fault)
        cases.add(disk.struck)
        problems += [f"{fault}: {problem}" for problem in disk.judged(done)]
        again = disk.host.nettool("recover")
        problems += [f"{fault}: recover: {again.stderr}"] if again.returncode else []
        problems += _compared(scene, before, f"{fault}: after recover")
        disk.forget()
    assert not problems, "\n".join(problems)


@pytest.mark.battery("B5")
@pytest.mark.parametrize("dialect", DIALECTS if FULL else DIALECTS[:1])
def test_a_journal_that_is_written_by_halves_is_still_worth_something(
    disk: Disk, cases: Cases, tmp_path: Path, dialect: str
) -> None:
    scene, shims = furnish(disk.host, PLAIN), Shims(tmp_path / "shims")
    before = scene.snapshot()
    steps = commands_in(disk.host.nettool(*scene.attach(dialect, "--dry-run")).stdout)
    shims.set(Rule(steps[-1], f'"$real" "$@"; {KILL}; exit'))
    disk.run(scene.attach(dialect), env=shims.env)
    writes = disk.lines("call").count(("pwrite",))
    disk.host.nettool("recover").check_returncode()
    problems = []
    for number in range(1, writes + 1, 1 if FULL else 5):
        disk.run(scene.attach(dialect), f"pwrite:{number}:SHORT", env=shims.env)
        cases.add(disk.struck)
        disk.host.nettool("recover").check_returncode()
        problems += _compared(scene, before, f"write {number} of {writes}: after recover")
        if problems:
            break
    assert not problems, "\n".join(problems)


# --- disks that are really so


@pytest.mark.battery("B5")
def test_a_disk_that_is_too_small(disk: Disk, cases: Cases) -> None:
    host, scene = disk.host, furnish(disk.host, PLAIN)
    host.check("mkdir", "-m", "700", "/run/nettool")
    before = scene.snapshot()
    sizes = [f"size={size}k" for size in (4, 8, 16, 60, 64, 68, 72, 76, 80, 128)]
    sizes += [f"nr_inodes={number}" for number in range(1, 13)]
    statuses = []
    for number, size in enumerate(sizes if FULL else sizes[::5]):
        dialect = DIALECTS[number % 2]
        host.check("mount", "-t", "tmpfs", "-o", f"mode=700,{size}", "tmpfs", "/run/nettool")
        done = disk.run(scene.attach(dialect))
        statuses.append((size, done.returncode))
        assert disk.judged(done) == [], f"{size}: {done.stderr}"
        host.check("mount", "-o", "remount,size=1m,nr_inodes=1000", "/run/nettool")
        assert host.nettool("recover").returncode == 0
        if done.returncode == 0:
            host.nettool(*scene.detach(dialect)).check_returncode()
        assert difference(before, scene.snapshot()) == "", size
        host.check("umount", "-l", "/run/nettool")
        cases.add()
    assert {4, 0} <= {status for _, status in statuses}, statuses


FILL: Final = "dd if=/dev/zero of=/run/nettool/filler bs=4k 2>/dev/null"
SEALED: Final = "{0} mount --bind /run/nettool /run/nettool; {0} mount -o remount,bind,ro /run/nettool"
COVERED: Final = "{0} mount -t tmpfs -o ro,mode=700 none /run/nettool"
MIDWAY: Final = {
    "full": FILL,
    "full, and the step fails": f"{FILL}; exit 3",
    "full, and nettool is killed": f"{FILL}; {KILL}; exit",
    "read-only": SEALED,
    "read-only, and the step fails": f"{SEALED}; exit 3",
    "read-only, and nettool is killed": f"{SEALED}; {KILL}; exit",
    "covered": COVERED,
    "gone": "rm -r /run/nettool/*; touch /run/nettool/endpoints",
}


def _run_midway(disk: Disk, scene: Scene, shims: Shims, dialect: str, trouble: str) -> list[str]:
    """Attach on a disk that gets into trouble in the middle; return what is not as promised."""
    host, before = disk.host, scene.snapshot()
    done = disk.run(scene.attach(dialect), env=shims.env)
    problems = [] if done.returncode < 0 else disk.judged(done)
    if done.returncode > 0:
        problems += _compared(scene, before, "at once")
    if done.returncode < 0 and "full" in trouble:
        # The journal has its space: the way back needs no more.
        host.nettool("recover").check_returncode()
        problems += _compared(scene, before, "after recover")
    ways = {"full": "rm /run/nettool/filler", "gone": "rm -r /run/nettool/*"}
    host.check("sh", "-c", ways.get(trouble.partition(",")[0], "umount -l /run/nettool"))
    host.nettool("recover").check_returncode()
    if done.returncode == 0:
        host.nettool(*scene.detach(dialect)).check_returncode()
    problems += _compared(scene, before, "in the end")
    problems += [f"left: {disk.left()}"] if disk.left() else []
    return problems


@pytest.mark.battery("B5")
@pytest.mark.parametrize("trouble", list(MIDWAY)[:: 1 if FULL else 2])
def test_a_disk_that_gets_into_trouble_at_a_step(
    disk: Disk, cases: Cases, tmp_path: Path, trouble: str
) -> None:
    host, scene = disk.host, furnish(disk.host, PLAIN)
    shims = Shims(tmp_path / "shims")
    host.check("mkdir", "-m", "700", "/run/nettool")
    host.check("mount", "-t", "tmpfs", "-o", "mode=700,size=512k", "tmpfs", "/run/nettool")
    problems = []
    for dialect in DIALECTS if FULL else DIALECTS[len(trouble) % 2 :][:1]:
        steps = commands_in(host.nettool(*scene.attach(dialect, "--dry-run")).stdout)
        for number, words in enumerate(steps[len(trouble) % 4 :: 2 if FULL else 8]):
            shims.set(Rule(words, MIDWAY[trouble].format("outside")))
            wrong = _run_midway(disk, scene, shims, dialect, trouble)
            problems += [f"{dialect} {number} {' '.join(words)}: {problem}" for problem in wrong]
            cases.add()
    assert not problems, "\n".join(problems)


@pytest.mark.battery("B5")
@pytest.mark.parametrize("trouble", ["full", "read-only", "covered"] if FULL else ["read-only"])
def test_a_disk_that_is_in_trouble_before(disk: Disk, cases: Cases, trouble: str) -> None:
    host, scene = disk.host, furnish(disk.host, PLAIN)
    bare = scene.snapshot()
    host.check("mkdir", "-m", "700", "/run/nettool")
    host.check("mount", "-t", "tmpfs", "-o", "mode=700,size=512k", "tmpfs", "/run/nettool")
    host.nettool(*scene.attach("classic")).check_returncode()
    wired = scene.snapshot()
    host.run("sh", "-c", MIDWAY[trouble].format("command"))
    for argv in (scene.detach("classic"), scene.attach("modern", "--bridge", "docker0"), ("recover",)):
        done = disk.run(argv)
        assert disk.judged(done) == [], done.stderr
        assert difference(wired, scene.snapshot()) == ""
        cases.add()
    host.check(*(("rm", "/run/nettool/filler") if trouble == "full" else ("umount", "-l", "/run/nettool")))
    host.nettool(*scene.detach("classic")).check_returncode()
    assert difference(bare, scene.snapshot()) == ""


# --- a reboot


def _boot(host: Host, name: str) -> None:
    """Let this be another boot, as far as the kernel tells."""
    host.path("/run/boot_id").write_text(f"00000000-0000-4000-8000-{name:0>12}\n")
    host.check("mount", "--bind", "/run/boot_id", BOOT_ID)


def _forget_kernel_state(scene: Scene) -> None:
    """Remove what an attachment made, as the end of a boot does."""
    host = scene.host
    for link in host.check("ls", "/sys/class/net").split():
        if link.startswith("nt"):
            host.run("ip", "link", "del", "dev", link)
    host.run("ip", "netns", "del", str(scene.pid))


@pytest.mark.battery("B17")
@pytest.mark.parametrize(
    ("survives", "dialect"), with_dialects(["the run folder survives", "it is empty"], every=FULL)
)
def test_what_another_boot_left_is_not_taken_back(
    disk: Disk, cases: Cases, tmp_path: Path, survives: str, dialect: str
) -> None:
    host, scene = disk.host, furnish(disk.host, PLAIN)
    shims = Shims(tmp_path / "shims")
    bare = scene.snapshot()
    steps = commands_in(host.nettool(*scene.attach(dialect, "--dry-run")).stdout)
    for number in range(0, len(steps), 1 if FULL else 4):
        _boot(host, f"{number}1")
        _cut_off(scene, shims, dialect, number)
        left = scene.snapshot()
        _boot(host, f"{number}2")
        if "empty" in survives:
            host.check("sh", "-c", "rm -r /run/nettool/*")
        shims.set()
        done = host.nettool("recover", env=shims.env)
        assert (done.returncode, done.stdout) == (0, "nothing to recover\n"), done.stderr
        assert shims.changes == []
        assert difference(left, scene.snapshot()) == "", steps[number]
        assert disk.left() == []
        _forget_kernel_state(scene)
        assert difference(bare, scene.snapshot()) == ""
        cases.add()


@pytest.mark.battery("B17")
@pytest.mark.parametrize("verb", ["detach", "gc", "undo"])
def test_records_of_another_boot_are_not_believed(host: Host, cases: Cases, verb: str) -> None:
    kind = Kind("names given", "--ip 172.17.0.10/16 --host-ifname web-lan --ifname lan")
    scene = furnish(host, kind)
    _boot(host, "1")
    host.nettool(*scene.attach("classic")).check_returncode()
    host.check("ip", "link", "del", "dev", "web-lan")
    host.check("rm", f"/run/netns/{scene.pid}")
    _boot(host, "2")
    # On this boot somebody else has made interfaces of the same names.
    inside = ("netns", str(scene.pid)) if verb != "gc" else ()
    host.check("ip", "link", "add", "web-lan", "type", "veth", "peer", "name", "lan", *inside)
    if verb == "gc":
        host.kill(scene.pid)
    before = host.snapshot() if verb == "gc" else scene.snapshot()
    words = {"detach": scene.detach("classic"), "gc": ("gc",), "undo": ("undo", "last")}[verb]
    done = host.nettool(*words)
    cases.add()
    after = host.snapshot() if verb == "gc" else scene.snapshot()
    assert difference(before, after) == "", f"exit {done.returncode}: {done.stdout}{done.stderr}"


@pytest.mark.battery("B5")
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_disk_that_fills_up_meanwhile_takes_the_way_back(host: Host, tmp_path: Path, dialect: str) -> None:
    scene, shims = furnish(host, PLAIN), Shims(tmp_path / "shims")
    host.check("mkdir", "-p", "/run/nettool")
    host.check("mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", "/run/nettool")
    before = scene.snapshot()
    # A file has what is left of its last page without asking for it: each plan leaves less of that.
    for number in range(7):
        routes = [word for n in range(number) for word in ("--route", f"10.{n + 100}.0.0/16")]
        words = scene.attach(dialect, *routes)
        steps = commands_in(host.nettool(*words, "--dry-run").stdout)
        fill = 'dd if=/dev/zero of=/run/nettool/full bs=1k 2>/dev/null; "$real" "$@"; exit'
        shims.set(Rule(steps[0], fill), Rule(steps[-1], "exit 4"))
        done = host.nettool(*words, env=shims.env)
        assert done.returncode == 1, done.stderr
        assert difference(before, scene.snapshot()) == ""
        # How the run ended could be written: its space was taken before the first step.
        assert host.check("ls", "/run/nettool/tx") == ""
        assert host.nettool("recover").stdout == "nothing to recover\n"
        ended = host.check("sh", "-c", "cat /run/nettool/history/*/journal")
        assert ended.count('"taken back"') == number + 1
        host.check("rm", "/run/nettool/full")
