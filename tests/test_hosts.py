"""The test fixtures themselves: a host is apart from the machine, and a snapshot sees what changes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hosts import mount_namespace, until
from snapshot import difference, snapshot, without_chance

if TYPE_CHECKING:
    from hosts import Host

# Each makes one change to a host with docker0, and takes it back.
CHANGES = [
    pytest.param("ip link add name x0 type veth peer name x1", "ip link del dev x0", id="link"),
    pytest.param("ip link set dev docker0 mtu 1400", "ip link set dev docker0 mtu 1500", id="mtu"),
    pytest.param("ip link set dev lo down", "ip link set dev lo up", id="down"),
    pytest.param("ip address add 10.9.0.1/24 dev lo", "ip address del 10.9.0.1/24 dev lo", id="address"),
    pytest.param("ip -6 address add fd09::1/64 dev lo", "ip -6 address del fd09::1/64 dev lo", id="address6"),
    pytest.param("ip route add 10.9.0.0/24 via 172.17.0.9", "ip route del 10.9.0.0/24", id="route"),
    pytest.param("ip route add 10.8.0.0/24 dev docker0 table 7", "ip route flush table 7", id="table"),
    pytest.param("ip rule add fwmark 7 table 7", "ip rule del fwmark 7", id="rule"),
    pytest.param("ip -6 rule add fwmark 7 table 7", "ip -6 rule del fwmark 7", id="rule6"),
    pytest.param("ip neigh add 172.17.0.7 lladdr 02:00:00:00:00:07 dev docker0",
                 "ip neigh del 172.17.0.7 dev docker0", id="neighbour"),
    pytest.param("ip neigh add proxy 172.17.0.7 dev docker0", "ip neigh del proxy 172.17.0.7 dev docker0",
                 id="proxy"),
    pytest.param("bridge fdb add 02:00:00:00:00:07 dev docker0 self",
                 "bridge fdb del 02:00:00:00:00:07 dev docker0 self", id="fdb"),
    pytest.param("iptables -w 5 -t nat -A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE",
                 "iptables -w 5 -t nat -D POSTROUTING -s 172.17.0.0/16 -j MASQUERADE", id="iptables"),
    pytest.param("iptables -w 5 -P FORWARD DROP", "iptables -w 5 -P FORWARD ACCEPT", id="policy"),
    pytest.param("ip6tables -w 5 -N NETTOOL-X", "ip6tables -w 5 -X NETTOOL-X", id="ip6tables"),
    pytest.param("sysctl -q net.ipv4.ip_forward=1", "sysctl -q net.ipv4.ip_forward=0", id="sysctl"),
    pytest.param("sysctl -q net.ipv4.conf.docker0.route_localnet=1",
                 "sysctl -q net.ipv4.conf.docker0.route_localnet=0", id="sysctl-of-a-link"),
    pytest.param("ln -s /proc/1/ns/net /run/netns/1310", "rm /run/netns/1310", id="symlink"),
    pytest.param("ip netns add x", "ip netns del x", id="netns"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "undo"), CHANGES)
def test_snapshot_sees_a_change_and_its_undoing(module_host: Host, change: str, undo: str) -> None:
    host = module_host
    if not host.run("ip", "link", "show", "dev", "docker0").stdout:
        host.add_bridge("docker0", "172.17.0.1/16")
    before = host.snapshot()
    host.check(*change.split())
    during = host.snapshot()
    host.check(*undo.split())
    assert difference(before, during)
    assert difference(before, host.snapshot()) == ""


@pytest.mark.parametrize(
    "change",
    [
        "ip address add 10.0.0.1/8 dev lo",
        "ip -6 rule add fwmark 7 table 7",
        "iptables -w 5 -N NETTOOL-X",
        "ip6tables -w 5 -N NETTOOL-X",
        "sysctl -q net.ipv6.conf.lo.accept_ra=0",
        "bridge fdb add 02:00:00:00:00:07 dev eth0 self",
    ],
)
def test_snapshot_of_a_container(host: Host, change: str) -> None:
    pid = host.container()
    if "eth0" in change:
        host.inside(pid, "ip", "link", "add", "name", "eth0", "type", "veth")
    before = host.snapshot(pid)
    assert difference(before, host.snapshot(pid)) == ""
    host.inside(pid, *change.split())
    assert f"/proc/{pid}/ns/net: " in difference(before, host.snapshot(pid))


def test_wiring_by_hand_leaves_no_trace(host: Host) -> None:
    host.add_bridge("docker0", "172.17.0.1/16")
    pid = host.container(serve=True, page="it works\n")
    before = host.snapshot(pid)
    for _ in range(3):
        _wire(host, pid)
        assert host.check("curl", "-sm", "5", "http://172.17.0.10/") == "it works\n"
        host.check("ip", "link", "del", "dev", "end-a")
        host.check("rm", "/run/netns/1310")
        assert difference(before, host.snapshot(pid)) == ""


def _wire(host: Host, pid: int) -> None:
    # A fixed MAC, since the host remembers the address's former one for some seconds.
    script = f"""
        ln -s /proc/{pid}/ns/net /run/netns/1310
        ip link add name end-a type veth peer name end-b address 02:42:ac:11:00:0a
        brctl addif docker0 end-a
        ip link set dev end-a up
        ip link set dev end-b netns 1310
        ip netns exec 1310 ip link set dev end-b name eth0
        ip netns exec 1310 ip link set dev eth0 up
        ip netns exec 1310 ip address add 172.17.0.10/16 dev eth0
        ip netns exec 1310 ip route add default via 172.17.0.1
    """
    host.check("sh", "-ec", script)


def test_a_host_is_apart_from_the_machine(host: Host) -> None:
    outside = snapshot()
    host.add_bridge("docker0", "172.17.0.1/16")
    host.check("sysctl", "-q", "net.ipv4.ip_forward=1")
    host.check("ip", "netns", "add", "inside")
    assert host.path("/run/netns/inside").exists()
    assert "docker0" in host.check("brctl", "show")
    assert difference(outside, snapshot()) == ""


def test_close_ends_everything_inside(host: Host) -> None:
    container = host.container(serve=True)
    host.check("sh", "-c", "setsid sleep 600 >/dev/null 2>&1 & setsid sleep 600 >/dev/null 2>&1 &")
    started = host.processes()
    assert len(started) >= 4  # the host's own, the container, and two that left their parent
    assert container in started
    host.close()
    deadline = time.monotonic() + 5
    while any(map(mount_namespace, started)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not list(filter(mount_namespace, started))


def test_a_mac_that_begins_by_chance_as_those_that_are_given_is_left_out(host: Host) -> None:
    """One of 16,384 that the kernel draws: most whole runs of the tests meet one."""
    host.add_bridge("br0")
    seen = []
    for mac in ("02:42:a6:36:6d:ad", "06:11:a6:36:6d:ad"):
        host.check("ip", "link", "add", "name", "v0", "type", "veth", "peer", "name", "v1")
        for end in ("v0", "v1"):
            host.check("ip", "link", "set", "dev", end, "address", mac, "up")
        host.check("ip", "link", "set", "dev", "v0", "master", "br0")
        until(lambda: host.check("ip", "-6", "address", "show", "dev", "v1").count("fe80"))
        seen.append(host.snapshot())
        host.check("ip", "link", "del", "dev", "v0")
    assert difference(*seen)
    assert difference(*map(without_chance, seen)) == ""
    assert "02:42" in str(without_chance(seen[0]))
