"""Sequences of operations that nobody thought of: nettool, containers that come and go, and other people.

A model says after each operation what may have changed. What is left at the end is taken away, and the
host is then as it was at the beginning.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hosts import Host, HostUnavailableError, until
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plan_kinds import DIALECTS, FULL
from snapshot import difference, snapshot
from warm import KILLED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from subprocess import CompletedProcess

    from battery import Cases

# 500 altogether: several processes share them.
PARTS: Final = 10 if FULL else 2
EXAMPLES: Final = 50 if FULL else 3
STATUSES: Final = (0, 1, 2, 4, 5)
SLOTS: Final = 3
UPLINKED: Final = 1
"""The slot whose containers have a default route of their own."""
REPLACE: Final = "--default-route replace"
REQUESTS: Final = (
    "--ip 172.17.0.1{slot}/16",
    "--ip 172.17.0.1{slot}/16 --ip fd00::1{slot}/64",
    "--ip 172.17.0.2{slot}/16",
    "--ip 10.9.0.1{slot}/24 --bridge br9",
    "--ip 10.9.0.1{slot}/24 --bridge br9 --default-route replace",
    "--ip 172.17.0.3{slot}/16 --ifname lan",
    "--ip 172.17.0.4{slot}/16 --ifname wan --host-ifname web{slot} --default-route replace",
    "--ip 172.17.0.10/16",
    "--ip 172.17.0.1{slot}/16 --mtu 1400 --mac 02:42:ac:11:00:1{slot} --route 10.1.0.0/16",
    "--ip fd00::5{slot}/64 --gateway none --route fd01::/64,fd00::9",
    "--ip 172.17.0.1/16",
    "--ip 172.17.0.1{slot}/16 --bridge nowhere",
)
DETACHMENTS: Final = ("", "--all", "--ifname eth0", "--ifname lan", "--ifname eth1", "--ifname up0")

Operation = tuple[str | int, ...]

_slots = st.integers(0, SLOTS - 1)
_dialects = st.sampled_from(DIALECTS)
_attach = st.tuples(st.just("attach"), _slots, st.sampled_from(REQUESTS), _dialects)
_detach = st.tuples(st.just("detach"), _slots, st.sampled_from(DETACHMENTS), _dialects)
_killed = st.integers(0, 45)
_operations = st.one_of(
    _attach,
    # The same strategy given twice counts once.
    _attach.map(tuple),
    _detach,
    st.tuples(st.just("killed attach"), _slots, st.sampled_from(REQUESTS), _dialects, _killed, st.booleans()),
    st.tuples(
        st.just("killed detach"), _slots, st.sampled_from(DETACHMENTS), _dialects, _killed, st.booleans()
    ),
    st.tuples(st.sampled_from(["dies", "starts", "cut", "named", "link", "route", "address inside"]), _slots),
    st.tuples(st.sampled_from(["address", "port", "recover", "undo", "gc"])),
)


# --- what is there, read without a single process


@dataclass(frozen=True)
class Glance:
    """What can be seen of a network namespace in /proc."""

    links: frozenset[str]
    addresses: frozenset[str]
    routes: frozenset[str]


def glance(pid: int) -> Glance:
    """Look at the namespace of a process, without what the kernel adds by itself and in its own time."""
    folder = Path(f"/proc/{pid}/net")
    devices = (folder / "dev").read_text(encoding="utf-8").splitlines()[2:]
    trie = (folder / "fib_trie").read_text(encoding="utf-8")
    addresses = set(re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", trie))
    routes = [line.split() for line in (folder / "route").read_text(encoding="utf-8").splitlines()[1:]]
    found = {" ".join((*words[:3], *words[6:8])) for words in routes}
    if (folder / "if_inet6").exists():
        lines = (folder / "if_inet6").read_text(encoding="utf-8").splitlines()
        addresses |= {" ".join((line.split()[0], line.split()[5])) for line in lines if line[:4] != "fe80"}
        lines = (folder / "ipv6_route").read_text(encoding="utf-8").splitlines()
        found |= {" ".join((*words[:5], words[-1])) for words in map(str.split, lines) if int(words[4], 16)}
    links = {line.partition(":")[0].strip() for line in devices}
    return Glance(frozenset(links), frozenset(addresses), frozenset(found))


@dataclass
class Box:
    """A container, dead or alive."""

    pid: int
    slot: int
    born: dict[str, str]
    inode: int
    alive: bool = True
    ends: set[str] = field(default_factory=set)
    """The host's ends of all cables that were ever made into it."""

    @property
    def target(self) -> tuple[str, str]:
        return ("--pid", str(self.pid))


@dataclass(frozen=True)
class Thing:
    """Something that another made: on the host (box None) or in a box, and how it is taken away."""

    box: Box | None
    part: str
    name: str
    away: str


class Story:
    """One sequence on a host: it carries out operations and holds what comes of them against the model."""

    def __init__(self, host: Host, before: dict[str, str]) -> None:
        self.host = host
        self.before = before
        self.boxes: list[Box] = []
        self.things: list[Thing] = []
        self.settled = True
        self.number = 0

    # --- operations

    def play(self, operation: Operation) -> None:
        name, *rest = operation
        method = getattr(self, f"do_{str(name).replace(' ', '_')}")
        method(*rest)
        self._check_things()

    def do_attach(self, slot: int, request: str, dialect: str, *kill: int) -> None:
        box = self._box(slot)
        words = ("attach", *box.target, *request.format(slot=slot).split(), "--dialect", dialect)
        before = self._glances()
        done = self._call(box, words, *kill)
        # A recovery on the way brings back what was another's.
        known = {end for other in self.boxes for end in other.ends}
        new = self._host().links - before[None].links - known
        box.ends |= {name for name in new if name.startswith(("nt", "web")) and not name.endswith("p")}
        if done.returncode == 0:
            wanted = re.findall(r"--ip (\S+)/", request.format(slot=slot))
            missing = [ip for ip in wanted if ip not in _spelled(glance(box.pid).addresses)]
            assert missing == []

    def do_detach(self, slot: int, which: str, dialect: str, *kill: int) -> None:
        box = self._box(slot)
        words = ("detach", *box.target, *which.split(), "--dialect", dialect)
        done = self._call(box, words, *kill)
        if done.returncode == 0 and which == "--all":
            assert not box.ends & self._host().links

    def do_killed_attach(self, slot: int, request: str, dialect: str, at: int, recover: int) -> None:
        self.do_attach(slot, request, dialect, at, recover)

    def do_killed_detach(self, slot: int, which: str, dialect: str, at: int, recover: int) -> None:
        self.do_detach(slot, which, dialect, at, recover)

    def do_recover(self) -> None:
        before = self._glances()
        assert self._run("recover").returncode == 0
        assert not self.settled or self._glances() == before
        self.settled = True

    def do_dies(self, slot: int) -> None:
        box = self._box(slot)
        self.host.kill(box.pid)
        box.alive = False
        self.things = [thing for thing in self.things if thing.box is not box]
        # A killed run may have left both ends of its cable on the host.
        if self.settled and not self._is_held(box):
            until(lambda: not box.ends & self._host().links)

    def do_starts(self, slot: int) -> None:
        self._box(slot)

    def do_cut(self, slot: int) -> None:
        """Somebody deletes an interface that nettool made."""
        box = self._box(slot)
        for end in sorted(box.ends & self._host().links)[:1]:
            self.host.check("ip", "link", "del", "dev", end)

    def do_named(self, slot: int) -> None:
        box, name = self._box(slot), self._new("f")
        self.host.check("ip", "netns", "attach", name, str(box.pid))
        self.things.append(Thing(None, "names", name, f"ip netns del {name}"))

    def do_link(self, slot: int) -> None:
        box, name = self._box(slot), self._new("fl")
        self.host.inside(box.pid, "ip", "link", "add", "name", name, "type", "bridge")
        self.things.append(Thing(box, "links", name, f"ip link del {name}"))

    def do_route(self, slot: int) -> None:
        box, number = self._box(slot), int(self._new(""))
        self.host.inside(box.pid, "ip", "route", "add", f"198.18.{number}.0/24", "dev", "lo")
        seen = f"lo 00{number:02X}12C6 00000000 0 00FFFFFF"
        self.things.append(Thing(box, "routes", seen, f"ip route del 198.18.{number}.0/24"))

    def do_address_inside(self, slot: int) -> None:
        """Somebody gives nettool's own interface an address: it goes where the interface goes."""
        box = self._box(slot)
        if "eth0" in glance(box.pid).links:
            self.host.inside(box.pid, "ip", "address", "add", f"192.0.2.{self._new('')}/32", "dev", "eth0")

    def do_address(self) -> None:
        ip = f"192.0.2.{self._new('')}"
        self.host.check("ip", "address", "add", f"{ip}/32", "dev", "docker0")
        self.things.append(Thing(None, "addresses", ip, f"ip address del {ip}/32 dev docker0"))

    def do_port(self) -> None:
        name = self._new("fp")
        lines = f"link add name {name} type veth peer name {name}x\nlink set dev {name} master docker0 up\n"
        self.host.check("ip", "-batch", "-", input=f"{lines}link set dev {name}x up\n")
        self.things.append(Thing(None, "links", name, f"ip link del {name}"))

    def do_undo(self) -> None:
        """Take the last run back: whatever that was, it worked on the host and on one box."""
        before, settled = self._glances(), self.settled
        done = self._run("undo", "last")
        assert done.returncode == 0 or not settled or self._glances() == before, done.stderr
        self.settled = True

    def do_gc(self) -> None:
        """Clear away what dead boxes have left: those that live keep all."""
        before, settled = self._glances(), self.settled
        assert self._run("gc").returncode == 0
        after = self._glances()
        assert not settled or {**after, None: before[None]} == before
        self.settled = True

    # --- calling nettool

    def _call(self, box: Box, words: tuple[str, ...], *kill: int) -> CompletedProcess[str]:
        """Run a command on one box; what it may not change is as before, all of it where it failed."""
        before, settled = self._glances(), self.settled
        done = self._run(*words, kill_at=kill[0] if kill else None)
        self.settled = done.returncode != KILLED
        if done.returncode == KILLED and kill[1]:
            self.do_recover()
        after = self._glances()
        if settled and self.settled and done.returncode not in (0, KILLED):
            assert after == before, done.stderr
        if settled:
            others = [other for other in after if other not in (None, box.pid)]
            assert {other: after[other] for other in others} == {other: before[other] for other in others}
        return done

    def _run(self, *words: str, kill_at: int | None = None) -> CompletedProcess[str]:
        done = self.host.nettool(*words, kill_at=kill_at)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in (*STATUSES, *((KILLED,) if kill_at is not None else ())), done.stderr
        return done

    # --- the model

    def _box(self, slot: int) -> Box:
        """Return the slot's living container; start one where there is none."""
        found = next((box for box in self.boxes if box.alive and box.slot == slot), None)
        if found is not None:
            return found
        pid = self.host.container()
        if slot == UPLINKED:
            lines = "link add name up0 type veth peer name up1\n"
            # An address that the kernel makes by itself comes in its own time.
            lines += "link set dev up0 addrgenmode none\nlink set dev up1 addrgenmode none\n"
            lines += "link set dev up0 up\nlink set dev up1 up\n"
            lines += "address add 192.168.7.2/24 dev up0\nroute add default via 192.168.7.1 dev up0\n"
            self.host.check("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-batch", "-", input=lines)
        netns = Path(f"/proc/{pid}/ns/net")
        box = Box(pid, slot, _inside(pid), netns.stat().st_ino)
        self.boxes.append(box)
        return box

    def _default(self, box: Box) -> str:
        """Return the interface that the default route of a box goes by; none is empty."""
        routes = (route.split() for route in glance(box.pid).routes)
        return next((words[0] for words in routes if words[1] == words[-1] == "00000000"), "")

    def _glances(self) -> dict[int | None, Glance]:
        return {None: self._host(), **{box.pid: glance(box.pid) for box in self.boxes if box.alive}}

    def _host(self) -> Glance:
        return glance(self.host.pid)

    def _is_held(self, box: Box) -> bool:
        """Whether a name keeps the namespace of a box, now that its process is gone."""
        folder = self.host.path("/run/netns")
        return any(not path.is_symlink() and path.stat().st_ino == box.inode for path in folder.iterdir())

    def _new(self, prefix: str) -> str:
        self.number += 1
        return f"{prefix}{self.number}"

    def _check_things(self) -> None:
        for thing in self.things:
            if thing.part == "names":
                assert self.host.path(f"/run/netns/{thing.name}").exists(), thing
            else:
                there = glance(thing.box.pid if thing.box else self.host.pid)
                assert thing.name in getattr(there, thing.part), thing

    def end(self) -> None:
        """Take everything away; what is left is what was there."""
        for box in self.boxes:
            done = self._run("detach", *box.target, "--all")
            assert done.returncode == 0 or not box.alive, done.stderr
        for thing in self.things:
            enter = ("nsenter", f"--net=/proc/{thing.box.pid}/ns/net") if thing.box else ()
            self.host.check(*enter, *thing.away.split())
        for box in self.boxes:
            if box.alive:
                assert difference(box.born, _inside(box.pid)) == ""
                self.host.kill(box.pid)
        ends = {end for box in self.boxes for end in box.ends}
        until(lambda: not ends & self._host().links)
        assert difference(self.before, self.host.snapshot()) == ""


def _inside(pid: int) -> dict[str, str]:
    """Take the snapshot of one container alone."""
    parts = snapshot(host=pid)
    # The folder of names is the host's.
    return {part: text for part, text in parts.items() if part != "host: netns"}


def _spelled(addresses: Iterable[str]) -> set[str]:
    """Return addresses as they are typed: /proc has IPv6 in 32 digits, with the interface behind it."""
    long = (address.partition(" ")[0] for address in addresses)
    return {re.sub(r"^fd00(0{24})00(\w\w)$", r"fd00::\2", address) for address in long}


class Stage:
    """The host that stories share; one that a story has failed on is left behind."""

    def __init__(self) -> None:
        self._set: tuple[Host, dict[str, str]] | None = None

    @contextmanager
    def story(self) -> Iterator[Story]:
        self._set = self._set or self._prepare()
        try:
            yield Story(*self._set)
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> tuple[Host, dict[str, str]]:
        host = Host()
        host.add_bridge("docker0", "172.17.0.1/16", "fd00::1/64")
        host.add_bridge("br9", "10.9.0.1/24")
        return host, host.snapshot()

    def close(self) -> None:
        if self._set:
            self._set[0].close()
        self._set = None


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    made = Stage()
    try:
        with made.story():
            pass
    except (HostUnavailableError, FileNotFoundError) as error:
        pytest.skip(f"no namespaces here: {error}")
    yield made
    made.close()


# --- sequences that somebody did think of


def _attach_to(slot: int, request: int, dialect: str = "classic") -> Operation:
    return ("attach", slot, REQUESTS[request], dialect)


def _detach_from(slot: int, which: str = "--all") -> Operation:
    return ("detach", slot, which, "classic")


REPLACED: Final = _attach_to(1, 6)
TWICE: Final = (_attach_to(1, 4), REPLACED)
SEQUENCES: Final[dict[str, tuple[Operation, ...]]] = {
    "undo, undo the undo": (_attach_to(1, 4), ("undo",), ("undo",), ("undo",), ("undo",)),
    "detach, undo, undo": (_attach_to(1, 4), _detach_from(1), ("undo",), ("undo",), _detach_from(1)),
    "dies and is cleared away": (
        _attach_to(1, 4), _attach_to(1, 0), ("dies", 1), ("gc",), ("starts", 1), _attach_to(1, 4)
    ),
    "dies with mounts": (
        _attach_to(1, 4, "modern"), _attach_to(1, 0, "modern"), ("dies", 1), ("gc",), _attach_to(1, 4)
    ),
    "dies under another's name": (_attach_to(1, 4), ("named", 1), ("dies", 1), ("gc",), _attach_to(1, 4)),
    "dies, undo": (_attach_to(1, 4, "modern"), ("dies", 1), ("undo",)),
    "cut, undo, gc": (_attach_to(0, 0), ("cut", 0), ("undo",), ("gc",)),
    "cut, again": (_attach_to(0, 1), ("cut", 0), _attach_to(0, 1, "modern"), ("undo",)),
    "both dialects": (_attach_to(1, 4, "modern"), _attach_to(1, 0), _detach_from(1, "--ifname eth0")),
    "two on a bridge": (
        _attach_to(0, 0), _attach_to(0, 5), _detach_from(0, "--ifname eth0"), _attach_to(0, 0)
    ),
    "killed, dies": (("killed attach", 0, REQUESTS[1], "classic", 30, False), ("dies", 0), ("recover",)),
    "killed, cut": (("killed attach", 0, REQUESTS[1], "modern", 30, False), ("cut", 0), ("recover",)),
    "killed before the cable is inside": (
        ("killed attach", 0, REQUESTS[0], "classic", 16, False), ("dies", 0), _attach_to(0, 0), ("undo",)
    ),
    "killed detaching, dies": (
        _attach_to(1, 6, "modern"), ("killed detach", 1, "--all", "modern", 18, False), ("dies", 1)
    ),
    "killed detaching, cut": (
        _attach_to(0, 1), ("killed detach", 0, "--all", "classic", 18, False), ("cut", 0), ("recover",)
    ),
    "a foreign port": (("port",), _attach_to(0, 0), ("address",), ("undo",)),
    "all that took a default route from each other": TWICE,
    "the first one alone": (*TWICE, _detach_from(1, "--ifname eth0")),
    "the first one is cut": (*TWICE, ("cut", 1)),
    "the one that replaced the uplink is cut": (REPLACED, ("cut", 1)),
    "it is cut, undo": (REPLACED, ("cut", 1), ("undo",)),
    "it is cut, gc": (REPLACED, ("cut", 1), ("gc",)),
    # The kernel gives the next namespace the number of the one that is gone.
    "dies, another has its number": (
        _attach_to(0, 0), ("dies", 0), ("starts", 0), _attach_to(1, 4, "modern")
    ),
}  # fmt: skip


@pytest.mark.battery("B12")
@pytest.mark.parametrize("name", list(SEQUENCES) if FULL else list(SEQUENCES)[::2])
def test_a_sequence_can_be_taken_back(name: str, stage: Stage) -> None:
    _play(stage, SEQUENCES[name])


def _play(stage: Stage, operations: Iterable[Operation]) -> None:
    with stage.story() as story:
        for operation in operations:
            story.play(operation)
        story.end()


# --- and those that nobody did


@pytest.mark.battery("B12")
@pytest.mark.parametrize("part", range(PARTS))
@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=False, print_blob=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(operations=st.lists(_operations, min_size=4, max_size=20))
def test_any_sequence_can_be_taken_back(
    operations: list[Operation],
    part: int,  # noqa: ARG001 - each process draws its own
    stage: Stage,
    cases: Cases,
) -> None:
    cases.add()
    _play(stage, operations)
