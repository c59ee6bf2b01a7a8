"""Mind your own, and reading never writes: what nettool did not make stays, whatever it looks like."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

import pytest
from hosts import Host
from plan_kinds import DIALECTS, Kind, Scene, furnish, with_dialects
from shims import Shims, joined
from snapshot import difference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

dialects = pytest.mark.parametrize("dialect", DIALECTS)

# A bridge with ports of its own, a veth that is called nearly like nettool's, somebody's namespaces.
CROWD: Final = (
    "ip link add name br-else address 02:42:00:00:00:01 type bridge",
    "ip link add name nt0123456789x type veth peer name else0",
    "ip link set dev nt0123456789x master docker0 up",
    "ip link set dev else0 up",
    "ip link add name else1 type veth peer name else2",
    "ip link set dev else1 master br-else up",
    "ip address add 172.17.0.200/16 dev else2",
    "ip route add 172.31.0.0/16 via 172.17.0.77",
    "ip neighbour add 172.17.0.77 lladdr 02:42:00:00:00:77 dev docker0 nud permanent",
    "ip netns add bystander",
)
# As a port's publication could look, comment and all.
RULES: Final = (
    "iptables -t nat -N NETTOOL-ELSE",
    "iptables -t nat -A NETTOOL-ELSE -d 172.17.0.10 -j ACCEPT -m comment --comment nettool:nt0123456789",
    "iptables -A FORWARD -i docker0 -j ACCEPT -m comment --comment nettool:nt0123456789",
)
PLAIN: Final = Kind("plain", "--ip 172.17.0.10/16", host=CROWD)


@pytest.fixture
def shims(tmp_path: Path) -> Shims:
    return Shims(tmp_path / "shims")


def _add_rules(host: Host) -> None:
    if shutil.which("iptables"):
        for rule in RULES:
            host.check(*rule.split())


@dialects
def test_attach_and_detach_change_nothing_in_a_crowd(host: Host, dialect: str) -> None:
    scene = furnish(host, PLAIN)
    _add_rules(host)
    before = scene.snapshot()

    host.nettool(*scene.attach(dialect)).check_returncode()
    attached = difference(before, scene.snapshot())
    host.nettool(*scene.detach(dialect)).check_returncode()

    assert [line for line in attached.splitlines()[2:] if line.startswith("-")] == []
    assert difference(before, scene.snapshot()) == ""


@dialects
def test_a_name_that_somebody_else_gave_stays_when_the_endpoint_goes(host: Host, dialect: str) -> None:
    scene = furnish(host, Kind("named", "--ip 172.17.0.10/16", host=("ln -s {pid} /run/netns/else",)))
    link = f"/run/netns/{scene.pid}"
    host.check("ln", "-s", scene.netns, link)

    host.nettool(*scene.attach(dialect)).check_returncode()
    host.nettool(*scene.detach(dialect)).check_returncode()

    assert host.check("readlink", link).strip() == scene.netns


NAMES_IN_THE_WAY: Final = {
    "another namespace, linked": ("ln -s /proc/{other}/ns/net /run/netns/{pid}",),
    "another namespace, mounted": ("ip netns attach {pid} {other}",),
    "a process that has ended": ("ln -s /proc/4194303/ns/net /run/netns/{pid}",),
    "a file that was a mount": ("touch /run/netns/{pid}",),
    "a folder": ("mkdir /run/netns/{pid}",),
}


@pytest.mark.parametrize(("taken", "dialect"), with_dialects(NAMES_IN_THE_WAY))
def test_a_name_that_leads_elsewhere_is_a_conflict_and_stays(
    host: Host, shims: Shims, taken: str, dialect: str
) -> None:
    scene = furnish(host, Kind("plain", "--ip 172.17.0.10/16"))
    other = host.container()
    for command in NAMES_IN_THE_WAY[taken]:
        host.check(*command.format(pid=scene.pid, other=other).split())
    before = host.snapshot(scene.pid, other)

    done = host.nettool(*scene.attach(dialect), env=shims.env)

    assert done.returncode == 4, done.stderr
    assert f"netns {scene.pid} " in done.stderr
    assert joined(shims.changes) == ""
    assert difference(before, host.snapshot(scene.pid, other)) == ""


THINGS_IN_THE_WAY: Final = {
    "eth0": "nsenter --net=/proc/{pid}/ns/net ip link add name eth0 type {kind}",
    "mine0": "ip link add name mine0 type {kind}",
}


@pytest.mark.parametrize(("kind", "dialect"), with_dialects(["bridge", "veth"]))
@pytest.mark.parametrize("name", THINGS_IN_THE_WAY)
def test_an_interface_that_is_in_the_way_is_refused_and_stays(
    host: Host, shims: Shims, dialect: str, name: str, kind: str
) -> None:
    scene = furnish(host, Kind("given", "--ip 172.17.0.10/16 --ifname eth0 --host-ifname mine0"))
    host.check(*THINGS_IN_THE_WAY[name].format(pid=scene.pid, kind=kind).split())
    before = scene.snapshot()

    done = host.nettool(*scene.attach(dialect), env=shims.env)

    assert done.returncode == 4, done.stderr
    assert f"an interface {name} already" in done.stderr
    assert joined(shims.changes) == ""
    assert difference(before, scene.snapshot()) == ""


def _foreign_endpoint(host: Host, pid: int, host_end: str = "else0") -> None:
    host.check(
        "ip", "link", "add", "name", host_end, "type", "veth", "peer", "name", "eth0", "netns", str(pid)
    )
    host.check("ip", "link", "set", "dev", host_end, "master", "docker0", "up")
    host.inside(pid, "ip", "address", "add", "172.17.0.10/16", "dev", "eth0")


@dialects
@pytest.mark.parametrize("more", [("--ifname", "eth0"), (), ("--all",)], ids=["named", "bare", "all"])
def test_an_interface_that_somebody_else_made_is_never_detached(
    host: Host, shims: Shims, dialect: str, more: tuple[str, ...]
) -> None:
    scene = furnish(host, Kind("plain", ""))
    _foreign_endpoint(host, scene.pid)
    before = scene.snapshot()

    done = host.nettool(*scene.detach(dialect, *more), env=shims.env)

    assert done.returncode == (4 if "--ifname" in more else 0), done.stderr
    assert joined(shims.changes) == ""
    assert difference(before, scene.snapshot()) == ""


@dialects
def test_detaching_all_leaves_somebody_elses_interface(host: Host, dialect: str) -> None:
    scene = furnish(host, Kind("plain", "--ip 172.17.0.11/16"))
    _foreign_endpoint(host, scene.pid)
    before = scene.snapshot()
    host.nettool(*scene.attach(dialect)).check_returncode()

    host.nettool(*scene.detach(dialect, "--all")).check_returncode()

    assert difference(before, scene.snapshot()) == ""


@dialects
def test_somebody_elses_endpoint_is_never_taken_for_nettools_own(
    host: Host, shims: Shims, dialect: str
) -> None:
    scene = furnish(host, Kind("same", "--ip 172.17.0.10/16 --ifname eth0"))
    _foreign_endpoint(host, scene.pid)
    before = scene.snapshot()

    done = host.nettool(*scene.attach(dialect), env=shims.env)

    assert done.returncode == 4
    assert joined(shims.changes) == ""
    assert difference(before, scene.snapshot()) == ""


@dialects
def test_what_another_sandbox_has_stays_when_one_is_detached(host: Host, dialect: str) -> None:
    scene = furnish(host, Kind("plain", "--ip 172.17.0.10/16"))
    other = host.container(serve=True, page="still here\n")
    words = ("attach", "--pid", str(other), "--ip", "172.17.0.11/16", "--dialect", dialect)
    host.nettool(*words).check_returncode()
    before = host.snapshot(scene.pid, other)
    host.nettool(*scene.attach(dialect)).check_returncode()

    host.nettool(*scene.detach(dialect, "--all")).check_returncode()

    assert difference(before, host.snapshot(scene.pid, other)) == ""
    assert host.check("curl", "-sm", "5", "http://172.17.0.11/") == "still here\n"


@dialects
@pytest.mark.parametrize(
    "added",
    [
        "ip address add 172.17.0.99/16 dev eth0",
        "ip route add 10.8.0.0/16 via 172.17.0.9",
        "ip link set dev eth0 mtu 1280",
    ],
)
def test_what_somebody_changed_on_the_endpoint_is_shown_or_kept_but_not_overwritten(
    host: Host, shims: Shims, dialect: str, added: str
) -> None:
    scene = furnish(host, Kind("plain", "--ip 172.17.0.10/16"))
    host.nettool(*scene.attach(dialect)).check_returncode()
    host.inside(scene.pid, *added.split())
    before = scene.snapshot()

    done = host.nettool(*scene.attach(dialect), env=shims.env)

    assert done.returncode in (0, 4), done.stderr
    assert joined(shims.changes) == ""
    assert difference(before, scene.snapshot()) == ""


# --- reading never writes

READING: Final = (
    "--version",
    "--help",
    "attach --help",
    "show",
    "show -o json",
    "show --pid {pid}",
    "show --netns bystander",
    "facts",
    "facts --pid {pid}",
    "detach --pid {pid} --dry-run",
    "detach --pid {pid} --all --dry-run -o json",
    "attach --pid {pid} --ip 172.17.0.10/16 --dry-run",
    "attach --pid {free} --ip 172.17.0.12/16 --ip fd00::12/64 --dry-run --explain",
    "attach --pid {free} --ip 172.17.0.12/16 --dry-run -o json --dialect modern",
    "attach --pid {free} --ip 172.17.0.10/16 --dry-run",
    "attach --pid {free} --ip 172.17.0.12/16 --export - --format bash",
    "attach --pid {free} --ip 172.17.0.12/16 --export - --format json",
    "attach --pid {free} --ip 172.17.0.12/16 --export - --format runbook",
    "attach --pid {free} --ip 172.17.0.12/16 --export - --format ansible",
    "attach --pid {free} --ip 172.17.0.12/16 --export - --format mermaid",
    "attach --pid 4194303 --ip 172.17.0.12/16 --dry-run",
    "attach --pid {free} --ip 172.17.0.12/16 --bridge nowhere",
    "attach --pid {free} --ip 172.17.0.10/16",
    "attach --pid {free} --ip nonsense",
)


@pytest.fixture(scope="module")
def crowd() -> Iterator[tuple[Scene, int]]:
    """A host that has an endpoint of nettool's already, and a sandbox without one."""
    with Host() as host:
        scene = furnish(host, PLAIN)
        host.nettool(*scene.attach("classic")).check_returncode()
        yield scene, host.container()


@pytest.mark.xdist_group("reading")
@pytest.mark.parametrize("words", READING)
def test_reading_changes_nothing(crowd: tuple[Scene, int], tmp_path: Path, words: str) -> None:
    scene, free = crowd
    shims = Shims(tmp_path / "shims")
    before = scene.host.snapshot(scene.pid, free)

    done = scene.host.nettool(*words.format(pid=scene.pid, free=free).split(), env=shims.env)

    assert "Traceback" not in done.stderr
    assert joined(shims.changes) == ""
    assert difference(before, scene.host.snapshot(scene.pid, free)) == ""


# An answer of the kernel names RTM_NEW…, but is read with recvmsg.
_CHANGES: Final = re.compile(r"\bRTM_(NEW|DEL|SET)(?!NSID)\w+|\bIPSET_CMD|\bNFT_MSG_(NEW|DEL)")
_CALLS: Final = "sendto,sendmsg,openat,mkdir,mkdirat,unlink,unlinkat,rename,renameat2,symlink,mount,umount2"


def _can_trace() -> bool:
    strace = shutil.which("strace")
    return (
        strace is not None
        and subprocess.run((strace, "-o", "/dev/null", "true"), check=False).returncode == 0
    )


@pytest.mark.skipif(not _can_trace(), reason="strace is not installed, or may not trace here")
@pytest.mark.xdist_group("reading")
@pytest.mark.parametrize("words", READING[3:12])
def test_reading_sends_the_kernel_no_request_for_a_change(
    crowd: tuple[Scene, int], tmp_path: Path, words: str
) -> None:
    scene, free = crowd
    log = tmp_path / "strace"
    nettool = scene.host.nettool_argv(*words.format(pid=scene.pid, free=free).split())

    strace = ("strace", "-f", "-qq", "-o", str(log), "-e", f"trace={_CALLS}", "-e", "signal=none")
    done = scene.host.run(*strace, *nettool, env={"PYTHONDONTWRITEBYTECODE": "1"})

    assert done.returncode == 0, done.stderr
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    assert any("RTM_GETLINK" in line for line in lines), "nothing was traced"
    assert [line for line in lines if _CHANGES.search(line)] == []
    # What it asks may keep files of its own: Podman does.
    own = [line for line in lines if line.split()[0] == lines[0].split()[0]]
    assert [line for line in own if _writes(line)] == []


def _writes(line: str) -> bool:
    opened = re.search(r"openat\(.*O_(WRONLY|RDWR|CREAT)", line) and "/dev/" not in line
    return bool(opened or re.search(r" (mk|un|rename|sym|mount|umount)\w*\(", line))


@pytest.mark.parametrize("net", [8, 9])
@dialects
def test_the_default_route_comes_back_whose_replacers_cable_was_cut(
    host: Host, dialect: str, net: int
) -> None:
    for bridge, address in (("br8", "10.8.0.1/24"), ("br9", "10.9.0.1/24")):
        host.add_bridge(bridge, address)
    pid = host.container()
    host.inside(pid, "ip", "link", "add", "up0", "type", "veth", "peer", "name", "up1")
    for words in ("address add 192.0.2.2/24 dev up0", "link set up0 up", "link set up1 up"):
        host.inside(pid, "ip", *words.split())
    host.inside(pid, "ip", "route", "add", "default", "via", "192.0.2.1")
    before = host.inside(pid, "ip", "route")
    target = ("--pid", str(pid), "--dialect", dialect)
    replaced = ("--bridge", "br9", "--ip", "10.9.0.9/24", "--default-route", "replace")
    host.must("attach", *target, *replaced, "--host-ifname", "cut0")
    host.check("ip", "link", "del", "dev", "cut0")
    host.must("attach", *target, "--bridge", f"br{net}", "--ip", f"10.{net}.0.10/24")
    assert f"default via 10.{net}.0.1" in host.inside(pid, "ip", "route")
    host.must("detach", *target, "--all")
    assert host.inside(pid, "ip", "route") == before
    # The run can be undone, and done again.
    host.must("undo", "last")
    assert f"default via 10.{net}.0.1" in host.inside(pid, "ip", "route")
    host.must("detach", *target, "--all")
    assert host.inside(pid, "ip", "route") == before
