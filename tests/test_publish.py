"""Published ports: who reaches them, and what is in the way. The laws: plan_kinds.py."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from plan_kinds import BY_NAME, EVERY, PORTS, PUBLISH, furnish, some
from snapshot import difference

if TYPE_CHECKING:
    from hosts import Host


@dataclass(frozen=True)
class Scene:
    """A furnished host: a container that serves, its neighbour, somebody outside, and the request."""

    pid: int
    other: int
    outside: int
    words: tuple[str, ...]


def _furnish(host: Host, name: str) -> Scene:
    """Furnish the host for a kind of ports, with somebody on another network, who knows no way back."""
    scene = furnish(host, BY_NAME[name], serve=True)
    outside = host.container(serve=True)
    host.check("ip", "link", "set", "dev", "up1", "netns", str(outside), "name", "eth0")
    host.inside(outside, "ip", "link", "set", "dev", "eth0", "up")
    host.inside(outside, "ip", "address", "add", "192.0.2.2/24", "dev", "eth0")
    host.inside(outside, "ip", "address", "add", "2001:db8::2/64", "dev", "eth0", "nodad")
    return Scene(scene.pid, scene.other, outside, scene.do("classic"))


def _ports(name: str) -> list[str]:
    return BY_NAME[name].request.split(" --", maxsplit=1)[0].split()


@pytest.mark.parametrize("name", some([kind.name for kind in PORTS if kind.verbs is PUBLISH]))
def test_ports_go_with_their_interface(host: Host, name: str) -> None:
    scene = _furnish(host, name)
    pid, words = scene.pid, scene.words
    host.must("detach", "--pid", str(pid))
    before = host.snapshot(pid)
    ips = ("--ip", "10.20.0.2/24", "--ip", "fd20::2/64")
    attach = ("attach", "--pid", str(pid), "--bridge", "br-lan", *ips)
    ports = [word for text in _ports(name) for word in ("--publish", text)]
    options = words[2 + len(_ports(name)) :]
    host.must(*attach, *ports, *options)
    made = host.snapshot(pid)
    assert host.must(*attach, *ports, *options).startswith("nothing to do")
    assert host.must(*attach).startswith("nothing to do")
    assert f"pid:{pid}" in host.must("ports")
    host.must("detach", "--pid", str(pid))
    assert difference(before, host.snapshot(pid)) == ""
    host.must("undo", "last")
    assert difference(_without_macs(made), _without_macs(host.snapshot(pid))) == ""
    host.kill(pid)
    host.must("gc")
    assert f"pid:{pid}" not in host.must("ports")
    after = _without_macs(host.snapshot())
    assert difference({p: t for p, t in _without_macs(before).items() if p in after}, after) == ""


def _without_macs(parts: dict[str, str]) -> dict[str, str]:
    return {part: text for part, text in parts.items() if "tables" in part}


def test_ports_are_taken_back_one_by_one(host: Host) -> None:
    scene = _furnish(host, "ports of udp and sctp")
    before = host.snapshot(scene.pid)
    host.must(*scene.words)
    host.must("unpublish", f"pid:{scene.pid}", "53:5353/udp")
    assert "udp" not in host.must("ports")
    assert "sctp" in host.must("ports")
    host.must("unpublish", f"pid:{scene.pid}", "132:132/sctp")
    assert difference(before, host.snapshot(scene.pid)) == ""
    assert host.must("ports") == "no ports are published\n"


def test_what_ports_share_goes_with_the_last_that_needs_it(host: Host) -> None:
    scene = _furnish(host, "a port on a bare bridge")
    before = host.snapshot(scene.pid)
    host.must(*scene.words)
    # In IPv4 alone, and not for the host's own 127.0.0.1.
    host.must("publish", f"pid:{scene.other}", "192.0.2.1:9090:90")
    host.must("unpublish", f"pid:{scene.pid}", "--all")
    after = host.snapshot(scene.pid)
    assert before["host: ip6tables"] == after["host: ip6tables"]
    assert before["host: sysctl"] == after["host: sysctl"]
    host.must("unpublish", f"pid:{scene.other}", "--all")
    assert difference(before, host.snapshot(scene.pid)) == ""


# --- who reaches whom


def _reaches(host: Host, pid: int | None, address: str) -> bool:
    enter = ("nsenter", f"--net=/proc/{pid}/ns/net") if pid else ()
    done = host.run(*enter, "curl", "-gsm", "1", "-o", "/dev/null", f"http://{address}/")
    return done.returncode == 0


def _settle(host: Host) -> None:
    """Wait for the bridge's own IPv6 address: the kernel asks for no neighbour without one."""
    for _ in range(300):
        if "tentative" not in host.check("ip", "-6", "address", "show", "dev", "br-lan"):
            return
        time.sleep(0.01)


@pytest.mark.parametrize("policy", ["ACCEPT", "DROP"])
@pytest.mark.parametrize(
    "name", ["a port in both families", "a port on a bare bridge", "a port in own chains beside Docker's"]
)
def test_everybody_reaches_a_published_port(host: Host, name: str, policy: str) -> None:
    scene = _furnish(host, name)
    pid, words = scene.pid, scene.words
    other, outside = scene.other, scene.outside
    for program in ("iptables", "ip6tables"):
        host.check(program, "-P", "FORWARD", policy)
    host.must(*words)
    _settle(host)
    expected = {
        (outside, "192.0.2.1:8080"): True, (outside, "[2001:db8::1]:8080"): True,
        (None, "192.0.2.1:8080"): True, (None, "127.0.0.1:8080"): True, (None, "10.20.0.1:8080"): True,
        (None, "[2001:db8::1]:8080"): True,
        (other, "192.0.2.1:8080"): True, (other, "10.20.0.1:8080"): True, (other, "[fd20::1]:8080"): True,
        (pid, "192.0.2.1:8080"): True, (pid, "[2001:db8::1]:8080"): True,
        (outside, "192.0.2.1:80"): False,
    }  # fmt: skip
    assert {pair: _reaches(host, *pair) for pair in expected} == expected
    host.must("unpublish", f"pid:{pid}", "--all")
    expected = dict.fromkeys(expected, False)
    assert {pair: _reaches(host, *pair) for pair in expected} == expected


def test_a_port_of_this_host_alone_is_for_nobody_else(host: Host) -> None:
    scene = _furnish(host, "a port of the host's own")
    outside, other = scene.outside, scene.other
    host.must(*scene.words)
    # Somebody beside the host, or in a container, may send to 127.0.0.1 by force.
    for place, gateway in ((outside, "192.0.2.1"), (other, "10.20.0.1")):
        host.inside(place, "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
        host.inside(
            place,
            "ip",
            "route",
            "add",
            "127.0.0.1/32",
            "via",
            gateway,
            "src",
            "192.0.2.2" if place == outside else "10.20.0.3",
            "table",
            "9",
        )
        host.inside(place, "ip", "rule", "add", "pref", "0", "to", "127.0.0.1", "table", "9")
        host.inside(place, "ip", "rule", "del", "pref", "0", "lookup", "local")
        host.inside(place, "ip", "rule", "add", "pref", "1", "lookup", "local")
    expected = {
        (None, "127.0.0.1:8080"): True, (outside, "127.0.0.1:8080"): False, (other, "127.0.0.1:8080"): False,
        (outside, "192.0.2.1:8080"): False, (other, "10.20.0.1:8080"): False,
    }  # fmt: skip
    assert {pair: _reaches(host, *pair) for pair in expected} == expected
    assert host.nettool("unpublish", f"pid:{scene.pid}", "127.0.0.1:8080:80").returncode == 0


def test_only_some_may_use_it(host: Host) -> None:
    scene = _furnish(host, "a port for some")
    outside, other = scene.outside, scene.other
    host.must(*scene.words)
    _settle(host)
    expected = {
        (outside, "192.0.2.1:8080"): True, (outside, "[2001:db8::1]:8080"): True,
        (other, "10.20.0.1:8080"): False, (None, "127.0.0.1:8080"): False,
    }  # fmt: skip
    assert {pair: _reaches(host, *pair) for pair in expected} == expected


def test_a_range_keeps_its_order(host: Host) -> None:
    scene = _furnish(host, "a range of ports")
    pid, outside = scene.pid, scene.outside
    server = host.popen(
        "nsenter", f"--net=/proc/{pid}/ns/net", "python3", "-m", "http.server", "--bind", "::", "82"
    )
    host.must(*scene.words)
    while not _reaches(host, pid, "127.0.0.1:82"):
        assert server.poll() is None
    found = {port: _reaches(host, outside, f"192.0.2.1:{port}") for port in (8080, 8081, 8082)}
    server.terminate()
    assert found == {8080: True, 8081: False, 8082: True}


def test_ports_of_an_interface_that_somebody_else_made(host: Host) -> None:
    scene = _furnish(host, "a port of an interface made by hand")
    before = host.snapshot(scene.pid)
    host.must(*scene.words)
    assert _reaches(host, scene.outside, "192.0.2.1:8080")
    # It is theirs: nothing of it is taken away, or made again.
    assert host.must("detach", "--pid", str(scene.pid)).startswith("nothing to do")
    assert host.nettool("detach", "--pid", str(scene.pid), "--ifname", "eth0").returncode == 4
    assert host.nettool("diff").returncode == 0
    made = host.snapshot(scene.pid)
    host.must("undo", "last")
    assert difference(before, host.snapshot(scene.pid)) == ""
    host.must(*scene.words)
    assert difference(made, host.snapshot(scene.pid)) == ""
    host.kill(scene.pid)
    host.must("restore")
    host.must("gc")
    assert "nettool" not in host.check("iptables-save").lower()
    assert host.must("ports") == "no ports are published\n"


def test_ports_where_the_hosts_rules_are_in_the_other_variant(host: Host) -> None:
    done = host.run("iptables-legacy", "-A", "FORWARD", "-i", "nt-other", "-j", "ACCEPT")
    if done.returncode or "legacy" in host.check("iptables", "-V"):
        pytest.skip(f"no second variant of iptables here: {done.stderr.strip()}")
    scene = _furnish(host, "ports of udp and sctp")
    before = host.check("iptables-legacy-save")
    host.must("publish", f"pid:{scene.pid}", "8080:80", "--allow-from", "192.0.2.0/24")
    assert _reaches(host, scene.outside, "192.0.2.1:8080")
    assert not _reaches(host, scene.other, "10.20.0.1:8080")
    assert "nettool" not in host.check("iptables-save").lower()
    taken = host.nettool("publish", f"pid:{scene.other}", "8080:80")
    assert taken.returncode == 4
    host.must("unpublish", f"pid:{scene.pid}", "--all")
    rules = [
        [line for line in text.splitlines() if line.startswith("-A")]
        for text in (before, host.check("iptables-legacy-save"))
    ]
    assert rules[0] == rules[1]


# --- what is refused


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("8080", 2, "no port to publish"),
        ("0:80", 2, "no port, or range"),
        ("80-90:80-91", 2, "not of the same length"),
        ("8080:80/icmp", 2, "protocols: tcp, udp, sctp"),
        ("x:8080:80", 2, "does not appear to be"),
        ("[::1]:8080:80", 2, "forwards nothing from ::1"),
        ("8080:80 --allow-from x", 2, "no network"),
        ("8080:80 --network nowhere", 5, "there is no network"),
        ("8080:80 --ifname eth7", 5, "it is not clear which endpoint"),
        ("198.51.100.1:8080:80", 4, "this host has no address 198.51.100.1"),
        ("8080:80 8080:81", 4, "is asked for twice"),
        ("9090:80", 4, "has it published"),
        ("9000-9100:8000-8100", 4, "has it published"),
        ("7070:80", 4, "listens on tcp port 7070"),
        ("127.0.0.1:7070:80", 4, "listens on tcp port 7070"),
        ("6060:80", 4, "a rule that is not nettool's takes that port"),
        ("5050:80/udp", 4, "a rule of an endpoint that is gone takes that port"),
    ],
)
def test_what_cannot_be_published_is_refused(module_host: Host, words: str, status: int, said: str) -> None:
    host = module_host
    if "br-lan" not in host.check("ip", "-o", "link"):
        _furnish(host, "a port beside a published one")
        host.popen("python3", "-m", "http.server", "7070")
        while not _reaches(host, None, "127.0.0.1:7070"):
            pass
        for rule in (
            "PREROUTING -p tcp -m multiport --dports 6059,6060 -j DNAT --to-destination 10.9.9.9",
            "PREROUTING -p udp --dport 5050 -m comment --comment nettool:nt0123456789 -j DNAT --to 10.9.9.9",
        ):
            host.check("iptables", "-t", "nat", "-A", *rule.split())
    shown = json.loads(host.must("show", "-o", "json"))["interfaces"]
    pid = next(row["sandbox"] for row in shown if "10.20.0.2/24" in row["addresses"] and row["bridge"])
    before = host.snapshot()
    done = host.nettool("publish", pid, *words.split())
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert difference(before, host.snapshot()) == ""


def test_a_stale_rule_goes_as_is_said(host: Host) -> None:
    scene = _furnish(host, "a port in both families")
    rule = (
        "-p tcp --dport 8080 -m comment --comment nettool:nt0123456789 -j DNAT --to-destination 10.9.9.9:80"
    )
    host.check("iptables", "-t", "nat", "-A", "PREROUTING", *rule.split())
    done = host.nettool(*scene.words)
    assert done.returncode == 4
    command = next(line for line in done.stderr.splitlines() if "iptables -t nat -D" in line)
    host.check(*shlex.split(command.split("try:")[-1]))
    said = host.nettool(*scene.words)
    assert said.returncode == 0, said.stderr
    assert "can be reached by everybody who reaches this host" in said.stderr
    assert "everybody" not in host.nettool("publish", f"pid:{scene.pid}", "127.0.0.1:8081:80").stderr


def test_nothing_leads_into_an_internal_network(host: Host) -> None:
    host.must("network", "create", "vault", "--internal")
    pid = host.container()
    host.must("network", "connect", "vault", f"pid:{pid}")
    done = host.nettool("publish", f"pid:{pid}", "8080:80")
    assert done.returncode == 4
    assert "network vault is internal" in done.stderr
    assert host.nettool("unpublish", f"pid:{pid}", "8080:80").returncode == 4
    assert host.nettool("publish", f"pid:{host.container()}", "8080:80").returncode == 4


@pytest.mark.skipif(not EVERY, reason="a second network's containers: scripts/test --full")
def test_a_published_port_is_no_way_round_isolation(host: Host) -> None:
    scene = _furnish(host, "a port in both families")
    host.must(*scene.words)
    host.must("network", "create", "apart", "--subnet", "10.30.0.0/24")
    apart = host.container()
    host.must("network", "connect", "apart", f"pid:{apart}")
    assert not _reaches(host, apart, "10.30.0.1:8080")
    assert not _reaches(host, apart, "10.20.0.2:80")
