"""What containers that are gone have left is found and cleared; what is somebody else's stays."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hosts import until, wait_for_links
from plan_kinds import DIALECTS, Kind, furnish
from shims import Rule, Shims
from snapshot import difference

from nettool import gathering
from nettool.facts import Facts, NamespaceFacts
from nettool.netns import add_netns
from nettool.pipeline import Mode
from nettool.plan import Plan
from nettool.request import Collect
from nettool.value import replace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hosts import Host

PLAIN: Final = Kind("plain", "--ip 172.17.0.10/16")
PORTS: Final = ("--publish", "8080:80", "--publish", "127.0.0.1:5353:53/udp", "--publish", "9000-9002:90-92")

dialects = pytest.mark.parametrize("dialect", DIALECTS)


def _gc(host: Host, *options: str) -> str:
    done = host.nettool("gc", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _namespaces() -> Iterator[str]:
    """Yield the name of the lock of each network namespace that a process of this machine is in."""
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            yield f"netns-{os.stat(f'/proc/{pid}/ns/net').st_ino}.lock"


@dialects
def test_what_dead_containers_left_is_cleared(host: Host, dialect: str) -> None:
    scene = furnish(host, PLAIN)
    alive, before = scene.pid, host.snapshot()
    dead = [host.container() for _ in range(3)]
    for number, pid in enumerate(dead):
        words = ("attach", "--pid", str(pid), "--ip", f"172.17.0.{20 + number}/16", "--dialect", dialect)
        host.nettool(*words).check_returncode()
    host.nettool(*scene.attach(dialect)).check_returncode()
    for pid in dead:
        host.kill(pid)
    if dialect == "classic":
        wait_for_links(host, 3)  # lo, the bridge, the one that lives
    left = host.snapshot()

    shown = json.loads(_gc(host, "--dry-run", "-o", "json"))
    found = sorted(each["title"] for each in shown["found"])
    assert found == sorted(f"clear away pid:{pid}" for pid in dead)
    assert difference(left, host.snapshot()) == ""
    said = _gc(host)

    assert sorted(said.splitlines()) == sorted(f"done: clear away pid:{pid}" for pid in dead)
    assert host.check("ls", "/run/netns").split() == [str(alive)]
    host.nettool(*scene.detach(dialect)).check_returncode()
    assert difference(before, host.snapshot()) == ""
    in_use = set(_namespaces())
    assert _gc(host) == "nothing to clear away\n"
    locks = {path.name for path in host.path("/run/nettool").glob("netns-*.lock")}
    # The kernel may have given a dead one's number to a namespace that somebody else has made, or had.
    in_use |= set(_namespaces())
    assert f"netns-{Path(f'/proc/{alive}/ns/net').stat().st_ino}.lock" in locks
    assert locks <= in_use


def test_what_a_script_left_is_cleared(host: Host, tmp_path: Path) -> None:
    scene = furnish(host, PLAIN)
    before = host.snapshot()
    script = tmp_path / "attach.sh"
    host.nettool(*scene.attach("classic", "--export", str(script))).check_returncode()
    host.check("bash", str(script))
    host.kill(scene.pid)
    wait_for_links(host, 2)
    assert str(scene.pid) in host.check("ls", "/run/netns")
    _gc(host)
    assert difference(before, host.snapshot()) == ""
    assert host.check("sh", "-c", "ls /run/nettool/endpoints") == ""


def test_what_a_script_published_is_cleared(host: Host, tmp_path: Path) -> None:
    host.check("sysctl", "-qw", "net.ipv4.ip_forward=1")
    scene = furnish(host, PLAIN)
    before = host.snapshot()
    script = tmp_path / "attach.sh"
    host.must(*scene.attach("classic", *PORTS, "--export", str(script)))
    host.check("bash", str(script))
    host.kill(scene.pid)
    wait_for_links(host, 2)
    _gc(host)
    assert difference(before, host.snapshot()) == ""
    assert host.check("sh", "-c", "ls /run/nettool/endpoints") == ""


def test_a_cable_of_a_killed_script_is_cleared(host: Host, tmp_path: Path) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()
    script = tmp_path / "attach.sh"
    host.nettool(*scene.attach("classic", "--export", str(script))).check_returncode()
    shims = Shims(tmp_path / "shims")
    shims.set(Rule(("brctl", "addif", "docker0", _host_end(script)), f"pkill -9 -f {script}; exit 1"))
    host.run("bash", str(script), env=shims.env)
    assert _host_end(script) in host.check("ip", "-o", "link")
    assert _gc(host) == f"done: clear away {_host_end(script)}\n"
    after = scene.snapshot()
    assert after["host: netns"] == f"{scene.pid} -> /proc/{scene.pid}/ns/net"  # of a sandbox that is alive
    host.check("bash", str(script), "undo")
    assert difference(before, scene.snapshot()) == ""


def _host_end(script: Path) -> str:
    lines = script.read_text().splitlines()
    return next(line.split()[0].removeprefix("HOST_IF=") for line in lines if line.startswith("HOST_IF="))


def test_what_is_somebody_elses_stays(host: Host) -> None:
    furnish(host, PLAIN)
    gone = host.container()
    host.check("ln", "-s", f"/proc/{gone}/ns/net", f"/run/netns/{gone}")
    host.check("ip", "link", "add", "name", "nt01234567", "type", "veth", "peer", "name", "nt01234567p")
    host.check("ip", "link", "add", "name", "nt0123456789", "type", "veth", "peer", "name", "other")
    host.kill(gone)
    before = host.snapshot()
    done = host.nettool("gc")
    assert done.stdout == "nothing to clear away\n"
    assert f"left alone: /var/run/netns/{gone}" in done.stderr
    assert difference(before, host.snapshot()) == ""


def test_a_namespace_that_another_process_is_in_stays(host: Host) -> None:
    scene = furnish(host, PLAIN)
    host.nettool(*scene.attach("modern")).check_returncode()
    other = host.popen("nsenter", f"--net=/proc/{scene.pid}/ns/net", "sleep", "60")
    while os.stat(f"/proc/{other.pid}/ns/net").st_ino != os.stat(scene.netns).st_ino:
        time.sleep(0.02)
    host.kill(scene.pid)
    before = host.snapshot()
    assert _gc(host) == "nothing to clear away\n"
    assert difference(before, host.snapshot()) == ""
    host.kill(other.pid)
    assert _gc(host) == f"done: clear away pid:{scene.pid}\n"


def test_who_is_in_a_namespace_for_a_look_only_does_not_keep_it(host: Host, tmp_path: Path) -> None:
    """What watches a machine enters its namespaces, as a survey of nettool's own does, for an instant."""
    scene, shims = furnish(host, PLAIN), Shims(tmp_path / "shims")
    host.must(*scene.attach("modern"))
    other = host.popen("nsenter", f"--net=/proc/{scene.pid}/ns/net", "sleep", "60")
    until(lambda: os.stat(f"/proc/{other.pid}/ns/net").st_ino == os.stat(scene.netns).st_ino)
    host.kill(scene.pid)
    # It leaves between the moment when processes are listed, and the end of what is read there.
    shims.set(Rule(("ip", "*"), f"kill {other.pid} 2>/dev/null"))
    assert host.must("gc", env=shims.env) == f"done: clear away pid:{scene.pid}\n"
    assert shims.calls


@pytest.mark.parametrize("looks", [2, 9])
def test_what_somebody_came_into_meanwhile_is_not_said_to_be_done(
    monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    """Between the look and the removal somebody may come in, for an instant or to stay."""
    held = Plan(Collect("net:[1]"), "clear away net:[1]", "classic", (), (), ())
    free = replace(held, steps=(add_netns("blue"),))
    plans = [held] * looks + [free]
    monkeypatch.setattr(gathering, "change", lambda _request, _mode, agree: agree(plans.pop(0), None))
    monkeypatch.setattr(gathering, "recover_first", lambda _mode: None)
    monkeypatch.setattr(gathering, "_look", lambda _records: Facts(NamespaceFacts(1)))
    monkeypatch.setattr(gathering, "leftovers", lambda _facts, _records: ("net:[1]",))
    monkeypatch.setattr(gathering, "_tidy", lambda _mode, _facts: None)
    said = ("done: clear away net:[1]",) if looks == 2 else ("nothing to clear away",)
    assert gathering.gather(Mode()).lines() == said


@pytest.mark.parametrize("lost", ["all", "one"])
def test_rules_without_a_record_go_with_what_they_alone_needed(host: Host, lost: str) -> None:
    """Who has lost the records has the rules of containers that are gone."""
    host.add_bridge("docker0", "172.17.0.1/16", "fd00::1/64")
    # That the host forwards stays.
    host.check("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    before, pids = host.snapshot(), [host.container() for _ in range(2)]
    for number, pid in enumerate(pids):
        addresses = ("--ip", f"172.17.0.{number + 5}/16", "--ip", f"fd00::{number + 5}/64")
        host.must("attach", "--pid", str(pid), *addresses, *(PORTS if number else ("--publish", "81:80")))
        before = before if number or lost == "all" else host.snapshot()
    folder = host.path("/run/nettool/endpoints")
    for path in folder.iterdir():
        if lost == "all" or f"/proc/{pids[1]}/" in path.read_text():
            path.unlink()
    for pid in pids if lost == "all" else pids[1:]:
        host.kill(pid)
    wait_for_links(host, 2 if lost == "all" else 3)
    said = _gc(host, "--dry-run")
    assert "NETTOOL-PUBLISH" in said
    assert _gc(host).count("clear away the rules of nt") == (2 if lost == "all" else 1)
    host.run("sh", "-c", "for pid in $(ls /run/netns); do [ -e /run/netns/$pid ] || rm /run/netns/$pid; done")
    assert difference(before, host.snapshot()) == ""
    assert _gc(host) == "nothing to clear away\n"


def test_rules_of_which_some_are_flushed_go_and_come_back(host: Host) -> None:
    host.add_bridge("docker0", "172.17.0.1/16")
    host.check("sysctl", "-qw", "net.ipv4.ip_forward=1")
    before, pid = host.snapshot(), host.container()
    host.must("attach", "--pid", str(pid), "--ip", "172.17.0.5/16", *PORTS)
    host.check("sh", "-c", "rm /run/nettool/endpoints/*")
    host.kill(pid)
    wait_for_links(host, 2)
    host.check("rm", f"/run/netns/{pid}")
    own = "iptables -S NETTOOL-FORWARD | grep nettool:nt | head -1 | sed 's/^-A/-D/' | xargs iptables"
    host.check("sh", "-c", own)
    left = host.snapshot()
    assert "clear away the rules of nt" in _gc(host)
    assert difference(before, host.snapshot()) == ""
    host.must("undo", "last")
    assert difference(left, host.snapshot()) == ""


def test_rules_of_one_that_lives_under_another_name_stay(host: Host) -> None:
    host.add_bridge("docker0", "172.17.0.1/16")
    pid = host.container()
    host.must("attach", "--pid", str(pid), "--ip", "172.17.0.5/16", *PORTS)
    host.check("sh", "-c", "rm /run/nettool/endpoints/*")
    (end,) = re.findall(r"\bnt[0-9a-f]{10}\b", host.check("ip", "-o", "link", "show", "master", "docker0"))
    host.check("ip", "link", "set", "dev", end, "down")
    host.check("ip", "link", "set", "dev", end, "name", "moved0")
    host.check("ip", "link", "set", "dev", "moved0", "up")
    before = host.snapshot()
    assert _gc(host) == "nothing to clear away\n"
    assert difference(before, host.snapshot()) == ""
    host.check("ip", "link", "del", "dev", "moved0")
    assert "clear away the rules of nt" in _gc(host)


@dialects
def test_a_namespace_that_is_given_a_dead_ones_number_is_left_alone(host: Host, dialect: str) -> None:
    """It may even look as the dead one did, with another one's default route in the place of its own."""
    host.add_bridge("docker0", "172.17.0.1/16")
    before = host.snapshot()
    gone, pid = host.container(), host.container()
    for line in UPLINK:
        host.inside(gone, "ip", *line.split())
    wired = ("--ip", "172.17.0.5/16", "--default-route", "replace", "--dialect", dialect)
    host.must("attach", "--pid", str(gone), *wired)
    if dialect == "modern":
        host.check("ip", "netns", "del", str(gone))
    numbers = [os.stat(f"/proc/{each}/ns/net").st_ino for each in (gone, pid)]
    host.kill(gone)
    wait_for_links(host, 2)
    # As if the kernel had given that number again; it may give it to another test's.
    host.check("sh", "-c", "sed -i s/{}/{}/g /run/nettool/endpoints/*".format(*numbers))
    for line in (*UPLINK, *ALIKE):
        host.inside(pid, "ip", *line.split())
    alike = host.snapshot(pid)
    assert _gc(host) == f"done: clear away pid:{gone}\n"
    assert difference({**alike, **before}, host.snapshot(pid)) == ""


UPLINK: Final = (
    "link add name up0 type veth peer name up1",
    "link set dev up0 up",
    "address add 10.8.0.2/24 dev up0",
    "route add default via 10.8.0.1",
)
ALIKE: Final = (
    "address add 172.17.0.5/16 dev up1",
    "link set dev up1 name eth0 up",
    "route replace default via 172.17.0.1 dev eth0",
)


def test_rules_of_a_dead_one_whose_number_is_given_again_go_first(host: Host) -> None:
    host.add_bridge("docker0", "172.17.0.1/16")
    host.check("sysctl", "-qw", "net.ipv4.ip_forward=1")
    before, gone = host.snapshot(), host.container()
    number = os.stat(f"/proc/{gone}/ns/net").st_ino
    host.must("attach", "--pid", str(gone), "--ip", "172.17.0.5/16", *PORTS)
    host.kill(gone)
    wait_for_links(host, 2)
    found = (pid for _ in range(100) if os.stat(f"/proc/{(pid := host.container())}/ns/net").st_ino == number)
    pid = next(found, None)
    if pid is None:
        pytest.skip("another test's namespace has got the number")
    words = ("attach", "--pid", str(pid), "--ip", "172.17.0.6/16")
    refused = host.nettool(*words)
    assert refused.returncode == 4
    assert f"rules of pid:{gone} are left" in refused.stderr
    assert _gc(host) == f"done: clear away pid:{gone}\n"
    host.must(*words)
    host.must("detach", "--pid", str(pid))
    assert difference(before, host.snapshot()) == ""


def test_an_ordinary_user_is_told_why_not(host: Host) -> None:
    done = host.run("setpriv", "--reuid=65534", "--clear-groups", *host.nettool_argv("gc", "--dry-run"))
    assert done.returncode == 4
    assert "only root sees" in done.stderr
