"""Reading never writes: verbs that only look, in every form, recorded call by call by the kernel.

Each is run under the shims, which see the commands, and under strace, which sees every message and
every file; some as an ordinary user. The filter itself is tried on what does change something.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hosts import until
from plan_kinds import ATTACHMENTS, DIALECTS, FULL, Kind, Scene, furnish, some
from recorder import Recorder
from shims import Shims, joined
from snapshot import difference

from nettool.cli import VERBS, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import CompletedProcess

    from battery import Cases
    from hosts import Host

pytestmark = [
    pytest.mark.battery("B10"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]

AT_ONCE: Final = 2
"""How many readings a kind of plan goes through before an attachment, and again after it."""
NOBODY: Final = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
EXPORTS: Final = tuple(f"--export {{folder}}/plan.{suffix}" for suffix in ("sh", "md", "json", "yml", "mmd"))
FORMS: Final = tuple(
    f"--export - --format {form}" for form in ("bash", "runbook", "json", "ansible", "mermaid")
)
PLANNED: Final = (
    "--dry-run", "--dry-run --explain", "--dry-run -o json", "--dry-run --yes --lock-timeout 0",
    "--dry-run --facts {folder}/facts.json", *EXPORTS, *FORMS,
)  # fmt: skip
LOOKING: Final = tuple(
    words
    for words in (
        "show", "show -o json", "show {target}", "show --facts {folder}/facts.json", "facts",
        "facts {target}", "history", "history -o json", "history last", "undo last --dry-run", "gc --dry-run",
        "gc --dry-run -o json", "apply {folder}/saved.json --dry-run", "attach --help", "show --help", "lab",
        "network ls", "network ls -o json", "--version", "--help",
    )
    if words.startswith(("-", *VERBS))
)  # fmt: skip
QUICK: Final = ("both families", "default route replaced", "a namespace by its name")


def _readings() -> tuple[str, ...]:
    """Return every way to look, so that neighbours are of different kinds."""
    plans = [
        f"{verb} {more} --dialect {dialect}"
        for more in PLANNED
        for verb in ("{attach}", "{detach}")
        for dialect in DIALECTS
    ]
    step = len(plans) // len(LOOKING)
    parts = ((look, *plans[n * step : (n + 1) * step]) for n, look in enumerate(LOOKING))
    return tuple(words for part in parts for words in part)


READINGS: Final = _readings()


@dataclass
class Desk:
    """Where one scene is looked at, and everything that could give a change away."""

    scene: Scene
    folder: Path
    shims: Shims
    recorder: Recorder
    cases: Cases

    def read(self, words: str, *, as_nobody: bool) -> CompletedProcess[str]:
        """Look in one way; fail when anything could have changed by it."""
        host, kind = self.scene.host, self.scene.kind
        values = {
            "folder": str(self.folder),
            "target": " ".join(self.scene.target),
            "attach": f"attach {' '.join(self.scene.target)} {kind.request}",
            "detach": f"detach {' '.join(self.scene.target)} {kind.back}",
        }
        state = _state(host)
        self.shims.set()
        done = host.run(
            *self.recorder.argv(*(NOBODY if as_nobody else ()), *host.nettool_argv(*_filled(words, values))),
            env={
                **self.shims.env,
                "PYTHONDONTWRITEBYTECODE": "1",
                "CONTAINERS_STORAGE_CONF": f"{self.folder}/storage.conf",
            },
        )
        assert "Traceback" not in done.stderr, f"{words}: {done.stderr}"
        # An ordinary user may not enter a sandbox; a saved plan may no longer fit; there may be no run.
        refused = (4, 5) if as_nobody or words.startswith(("apply", "undo", "history last")) else ()
        assert done.returncode in (0, *refused), f"{words}: {done.stderr}"
        assert joined(self.shims.changes) == "", words
        assert self.recorder.changes() == [], words
        assert _state(host) == state, words
        self.cases.add()
        return done


def _filled(words: str, values: dict[str, str]) -> list[str]:
    """Put values into words; a value may be several words, and braces in one are its own."""
    for name, value in values.items():
        words = words.replace(f"{{{name}}}", value)
    return words.split()


def _state(host: Host) -> dict[str, tuple[int, int, bytes]]:
    """Return all that nettool keeps on a host: what, since when."""
    top = host.path("/run/nettool")
    paths = [top, *top.rglob("*")] if top.exists() else []
    files = {str(path): path.read_bytes() for path in paths if path.is_file()}
    found = ((str(path), path.stat()) for path in paths)
    return {path: (about.st_mode, about.st_mtime_ns, files.get(path, b"")) for path, about in found}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that an ordinary user reaches, too."""
    with tempfile.TemporaryDirectory() as path:
        place = Path(path)
        place.chmod(0o755)
        _write_storage(place)
        yield place


def _write_storage(folder: Path) -> None:
    """Have Podman keep what it has in a folder that is not there: it writes into its own when it is asked."""
    text = '[storage]\ngraphroot = "/run/never-used"\n'
    (folder / "storage.conf").write_text(text, encoding="utf-8")


@pytest.fixture
def desk(host: Host, folder: Path, cases: Cases, request: pytest.FixtureRequest) -> Desk:
    scene = furnish(host, request.param)
    shims = Shims(folder / "shims")
    (shims.folder / "calls").chmod(0o666)
    saved = scene.attach("auto", "--export", "-", "--format", "json")
    for name, argv in (("facts", ("facts", *scene.target)), ("saved", saved)):
        done = host.nettool(*argv)
        assert done.returncode == 0, done.stderr
        (folder / f"{name}.json").write_text(done.stdout, encoding="utf-8")
    allowed = (f"{folder}/plan.", f"{shims.folder}/calls")
    return Desk(scene, folder, shims, Recorder(folder / "trace", allowed), cases)


def _as_nobody(words: str, number: int) -> bool:
    # What is kept of runs is root's alone: see below.
    asks_root = "--export {" in words or words.startswith(("history", "undo"))
    return number % 3 == 2 and os.geteuid() == 0 and not asks_root


_KINDS: Final = [kind for kind in ATTACHMENTS if FULL or kind.name in QUICK]


@pytest.mark.parametrize(
    ("number", "desk"),
    [pytest.param(n, kind, id=kind.name) for n, kind in enumerate(_KINDS)],
    indirect=["desk"],
)
def test_looking_changes_nothing(number: int, desk: Desk) -> None:
    scene, first = desk.scene, number * 2 * AT_ONCE
    before = scene.snapshot()
    fresh = not scene.kind.first
    for at in range(first, first + AT_ONCE):
        words = READINGS[at % len(READINGS)]
        desk.read(words, as_nobody=_as_nobody(words, at))
    assert scene.host.path("/run/nettool").exists() != fresh
    assert difference(before, scene.snapshot()) == ""
    scene.host.nettool(*scene.attach(DIALECTS[number % 2])).check_returncode()
    # The kernel notices a new cable's carrier in its own time: under load within a second.
    ends = "^nt[0-9a-f]{10}@?[^ ]* +(?!UP )"
    until(lambda: not re.search(ends, scene.host.check("ip", "-br", "link"), re.MULTILINE))
    attached = scene.snapshot()
    for at in range(first + AT_ONCE, first + 2 * AT_ONCE):
        words = READINGS[at % len(READINGS)]
        desk.read(words, as_nobody=_as_nobody(words, at))
    assert difference(attached, scene.snapshot()) == ""
    assert scene.host.run("ls", "/run/never-used").returncode != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize("words", ["history", "undo last --dry-run"])
@pytest.mark.parametrize("desk", [ATTACHMENTS[0]], indirect=True, ids=[ATTACHMENTS[0].name])
def test_an_ordinary_user_is_told_so_with_words(desk: Desk, words: str) -> None:
    desk.scene.host.nettool(*desk.scene.attach("classic")).check_returncode()
    desk.read(words, as_nobody=True)


# --- networks, and what is on them

ON_NETWORKS: Final = (
    "network create dmz --subnet 10.21.0.0/24 --dry-run", "network create dmz --dry-run -o json",
    "network create dmz --subnet 10.21.0.0/24 --export -", "network ls", "network inspect lan",
    "network rm spare --dry-run", "network rm spare --export -", "network prune --dry-run",
    "network connect lan netns:green --publish 8080:80 --dry-run",
    "network connect spare netns:blue --dry-run",
    "network connect lan netns:green --export -", "network disconnect lan netns:blue --dry-run",
    "publish netns:blue 8080:80 --dry-run", "publish netns:blue 8080:80/udp --export -",
    "unpublish netns:blue 8000:80 --dry-run", "ports", "ports -o json", "diff", "diff -o json",
    "restore --dry-run", "restore --firewall --dry-run", "restore --install --dry-run", "repair --dry-run",
    "adopt --dry-run", "adopt --dry-run -o json", "sandbox ls", "sandbox create red --dry-run",
    "sandbox rm green --dry-run", "run --network lan --dry-run -- true", "show", "gc --dry-run",
    "undo last --dry-run", "history",
)  # fmt: skip


def test_every_verb_that_can_only_look_is_tried() -> None:
    tried = (*LOOKING, *ON_NETWORKS, "attach", "detach")
    can = [verb for verb in VERBS if any("--dry-run" in option.names for option in load(verb).options)]
    assert [verb for verb in can if not any(words.startswith(verb) for words in tried)] == []


@pytest.fixture(scope="module")
def desk_with_networks(
    module_host: Host, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Host, Recorder, Shims]:
    host, folder = module_host, tmp_path_factory.mktemp("reading")
    _write_storage(folder)
    host.must("network", "create", "lan", "--subnet", "10.20.0.0/24")
    host.must("network", "create", "spare", "--subnet", "10.22.0.0/24")
    for name in ("blue", "green"):
        host.must("sandbox", "create", name)
    host.must("network", "connect", "lan", "netns:blue", "--publish", "8000:80")
    shims = Shims(folder / "shims")
    return host, Recorder(folder / "trace", (f"{shims.folder}/calls",)), shims


@pytest.mark.xdist_group("reading of networks")
@pytest.mark.parametrize("words", some(ON_NETWORKS, every=FULL))
def test_looking_at_networks_changes_nothing(
    desk_with_networks: tuple[Host, Recorder, Shims], cases: Cases, words: str
) -> None:
    host, recorder, shims = desk_with_networks
    before, state = host.snapshot(), _state(host)
    shims.set()
    storage = str(shims.folder.parent / "storage.conf")
    env = {**shims.env, "PYTHONDONTWRITEBYTECODE": "1", "CONTAINERS_STORAGE_CONF": storage}
    done = host.run(*recorder.argv(*host.nettool_argv(*words.split())), env=env)
    assert done.returncode == 0, done.stderr
    # The process that `run` starts has a namespace of its own from the first, and changes that.
    if not words.startswith("run "):
        assert joined(shims.changes) == ""
        assert recorder.changes() == []
    assert _state(host) == state
    assert difference(before, host.snapshot()) == ""
    cases.add()


# --- the filter catches what does change something

PLAIN: Final = Kind("plain", "--ip 172.17.0.10/16 --ip fd00::10/64", sandbox=(
    "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1",
))  # fmt: skip


@pytest.mark.parametrize(
    ("dialect", "seen"),
    [
        ("classic", ("RTM_NEWLINK", "nlmsg_type=0x14 ", "nlmsg_type=0x18 ", "SIOCBRADDIF", "symlinkat(",
                     "/proc/sys/net/ipv6", '/run/nettool"')),
        ("modern", ("RTM_NEWLINK", "nlmsg_type=0x14 ", "nlmsg_type=0x18 ", "mount(", "/proc/sys/net/ipv6",
                    '/run/nettool"')),
    ],
    ids=DIALECTS,
)  # fmt: skip
def test_the_filter_sees_what_an_attachment_does(
    host: Host, tmp_path: Path, cases: Cases, dialect: str, seen: tuple[str, ...]
) -> None:
    scene = furnish(host, PLAIN)
    recorder = Recorder(tmp_path / "trace")
    host.check(*recorder.argv(*host.nettool_argv(*scene.attach(dialect))))
    changes = "\n".join(recorder.changes())
    for text in seen:
        assert text in changes
        cases.add()
    host.check(*recorder.argv(*host.nettool_argv(*scene.detach(dialect))))
    assert "RTM_DELLINK" in "\n".join(recorder.changes())


CHANGING: Final = (
    "ip link add name x0 type bridge", "ip link set dev x0 mtu 1400", "ip address add 10.0.0.1/24 dev x0",
    "ip -6 address add fd07::1/64 dev x0", "ip address del 10.0.0.1/24 dev x0",
    "ip route add 10.9.0.0/16 dev lo", "ip route del 10.9.0.0/16",
    "ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:01 dev docker0 nud stale",
    "ip rule add from 10.0.0.9 lookup 100", "ip netns add red", "ip netns exec red ip link set lo up",
    "ip -n red link add name y0 type bridge", "ip netns set red 7",
    "bridge fdb add 02:00:00:00:00:02 dev docker0",
    "nsenter --net=/run/netns/red ip link del y0", "ip netns del red", "brctl addbr x1", "brctl delbr x1",
    "ip link del x0", "sysctl -qw net.ipv4.ip_forward=1", "sh -c echo 0 >/proc/sys/net/ipv4/ip_forward",
    "mkdir /run/x", "rmdir /run/x", "ln -s /nowhere /run/y", "mv /run/y /run/z", "rm /run/z", "touch /run/x",
    "chmod 600 /run/x", "truncate -s 1 /run/x", "sh -c : >>/run/x", "mount -t tmpfs none /run/netns",
    "umount /run/netns", "iptables -A INPUT -s 10.0.0.9 -j DROP", "ip6tables -F",
)  # fmt: skip
LOOKING_TOOLS: Final = (
    "ip -json -details address", "ip -6 route show table all",
    "nsenter --net=/proc/{pid}/ns/net ip -json link",
    "bridge -json fdb show", "bridge vlan show", "ip neigh", "ip rule", "ip netns list", "cat /proc/net/dev",
    "sysctl -n net.ipv4.ip_forward", "sh -c ls >/dev/null", "stat /run", "ls -l /run/netns",
)  # fmt: skip


def test_the_filter_tells_changing_from_looking(host: Host, tmp_path: Path, cases: Cases) -> None:
    pid, recorder = furnish(host, PLAIN).pid, Recorder(tmp_path / "trace")
    for words in LOOKING_TOOLS:
        host.check(*recorder.argv(*_command(words.format(pid=pid))))
        assert recorder.changes() == [], words
        cases.add()
    for words in CHANGING:
        host.check(*recorder.argv(*_command(words)))
        assert recorder.changes() != [], words
        cases.add()


def _command(words: str) -> list[str]:
    return ["sh", "-c", words.removeprefix("sh -c ")] if words.startswith("sh -c ") else words.split()
