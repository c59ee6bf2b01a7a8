"""Containers on networks: addresses that are given out once. The laws: plan_kinds.py."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import pytest
from plan_kinds import FULL
from snapshot import difference

if TYPE_CHECKING:
    from typing import Any

    from battery import Cases
    from hosts import Host

SUBNETS: Final = ("--subnet", "10.20.0.0/24", "--subnet", "fd20::/64")
AT_ONCE: Final = 64 if FULL else 12


def _network(host: Host, *options: str) -> int:
    """Make a network whose bridge has had a port; return a container."""
    host.add_bridge("br-lan")
    host.must("network", "create", "lan", "--bridge-name", "br-lan", *(options or SUBNETS))
    return host.container()


def _connect(pid: int, *options: str) -> tuple[str, ...]:
    return ("network", "connect", "lan", f"pid:{pid}", *options)


def _disconnect(pid: int, *options: str) -> tuple[str, ...]:
    return ("network", "disconnect", "lan", f"pid:{pid}", *options)


def _addresses(host: Host) -> dict[str, list[str]]:
    network: dict[str, Any] = json.loads(host.must("network", "inspect", "lan", "-o", "json"))
    return {endpoint["sandbox"]: endpoint["addresses"] for endpoint in network["endpoints"]}


def test_who_is_on_a_network_is_on_record(host: Host) -> None:
    pid = _network(host)
    host.must(*_connect(pid))
    assert _addresses(host) == {f"pid:{pid}": ["10.20.0.2/24", "fd20::2/64"]}
    host.must(*_disconnect(pid))
    assert _addresses(host) == {}
    host.must("undo", "last")
    assert _addresses(host) == {f"pid:{pid}": ["10.20.0.2/24", "fd20::2/64"]}


def test_an_address_given_back_is_the_last_to_be_given_again(host: Host) -> None:
    pid = _network(host, "--subnet", "10.20.0.0/29")
    seen = []
    for _ in range(6):
        host.must(*_connect(pid))
        seen.append(_addresses(host)[f"pid:{pid}"][0])
        host.must(*_disconnect(pid))
    assert seen == [f"10.20.0.{number}/29" for number in (2, 3, 4, 5, 6, 2)]


def test_a_full_subnet_is_refused_until_somebody_leaves(host: Host) -> None:
    pid = _network(host, "--subnet", "10.20.0.0/29", "--exclude", "10.20.0.4/30")
    other, third = host.container(), host.container()
    host.must(*_connect(pid))
    host.must(*_connect(other))
    before = host.snapshot(third)
    done = host.nettool(*_connect(third))
    assert done.returncode == 4
    assert "no free address left in 10.20.0.0/29" in done.stderr
    assert difference(before, host.snapshot(third)) == ""
    host.must(*_disconnect(pid))
    host.must(*_connect(third))
    assert _addresses(host)[f"pid:{third}"] == ["10.20.0.2/29"]


def test_who_answers_on_the_wire_is_passed_over(host: Host) -> None:
    pid = _network(host, "--subnet", "10.20.0.0/24")
    squatter = host.container()
    host.check(
        "ip", "link", "add", "name", "sq0", "type", "veth", "peer", "name", "e", "netns", str(squatter)
    )
    host.check("ip", "link", "set", "dev", "sq0", "master", "br-lan", "up")
    host.inside(squatter, "ip", "address", "add", "10.20.0.2/24", "dev", "e")
    host.inside(squatter, "ip", "address", "add", "10.20.0.3/24", "dev", "e")
    host.inside(squatter, "ip", "link", "set", "dev", "e", "up")
    asked = host.nettool(*_connect(pid, "--ip", "10.20.0.3"))
    assert asked.returncode == 4
    assert "answers for it" in asked.stderr
    host.must(*_connect(pid))
    assert _addresses(host)[f"pid:{pid}"] == ["10.20.0.4/24"]


@pytest.mark.battery("B8")
def test_many_at_once_never_share_an_address(host: Host, cases: Cases) -> None:
    first = _network(host, "--subnet", "10.20.0.0/24")
    pids = [first, *(host.container() for _ in range(AT_ONCE - 1))]
    runs = [host.start(*_connect(pid, "--lock-timeout", "300")) for pid in pids]
    assert [run.wait(timeout=300) for run in runs] == [0] * AT_ONCE
    given = [address for addresses in _addresses(host).values() for address in addresses]
    assert len(given) == len(set(given)) == AT_ONCE
    cases.add(AT_ONCE)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("connect nope pid:{pid}", 5, "there is no network 'nope'"),
        ("connect empty pid:{pid}", 4, "it wires nothing"),
        ("connect lan pid:x", 2, "a process id is a number"),
        ("connect lan pid:4194303", 5, "is not there"),
        ("connect lan pid:{pid} --ip 10.20.0.1", 4, "the gateway's"),
        ("connect lan pid:{pid} --ip 10.99.0.1", 4, "no host address"),
        ("connect lan pid:{pid} --ip x", 2, "is no address"),
        ("connect lan pid:{pid} --mac x", 2, "is no MAC"),
        ("disconnect nope pid:{pid}", 5, "there is no network"),
    ],
)
def test_what_cannot_be_is_refused(module_host: Host, words: str, status: int, said: str) -> None:
    host = module_host
    if "br-lan" not in host.check("ip", "-o", "link"):
        _network(host)
        host.must("network", "create", "empty", "--driver", "none")
    pid = host.container()
    before = host.snapshot(pid)
    done = host.nettool("network", *words.format(pid=pid).split())
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert difference(before, host.snapshot(pid)) == ""
    host.kill(pid)


def test_internal_networks_give_no_default_route(host: Host) -> None:
    pid = _network(host, "--subnet", "10.20.0.0/24", "--internal")
    host.must(*_connect(pid))
    assert "default" not in host.inside(pid, "ip", "route")


def test_a_network_made_anew_is_not_overwritten_by_an_undo(host: Host) -> None:
    pid = _network(host, "--subnet", "10.20.0.0/24")
    host.must(*_connect(pid))
    run = json.loads(host.must("history", "-o", "json"))["runs"][-1]["id"]
    host.must(*_disconnect(pid))
    host.must("network", "rm", "lan")
    host.must("network", "create", "lan", "--bridge-name", "br-lan", "--subnet", "10.30.0.0/24")
    assert host.must("undo", run).startswith("nothing to do")
    assert "10.30.0.0/24" in host.must("network", "inspect", "lan")


def test_a_port_is_kept_for_who_is_not_there(host: Host) -> None:
    """Whoever has a connection on record gets its port when it starts, and nobody else before."""
    host.must("network", "create", "lan", "--subnet", "10.20.0.0/24")
    for name in ("blue", "red"):
        host.check("ip", "netns", "add", name)
    host.must("network", "connect", "lan", "netns:blue", "--publish", "8080:80")
    host.must("network", "connect", "lan", "netns:red")
    host.check("ip", "netns", "del", "blue")
    host.must("gc")
    assert "*:8080   tcp        10.20.0.2:80   netns:blue (not wired)   everybody" in host.must("ports")
    before = host.snapshot()
    for words in ("publish netns:red 8000-8090:8000-8090", "publish netns:red 127.0.0.1:8080:80"):
        done = host.nettool(*words.split())
        assert done.returncode == 4
        assert "it is kept for netns:blue, when it is there, on network lan" in done.stderr
        assert "nettool network disconnect lan netns:blue" in done.stderr
    assert difference(before, host.snapshot()) == ""
    host.check("ip", "netns", "add", "blue")
    host.must("restore")
    assert "netns:blue" in host.must("ports")
    host.must("network", "disconnect", "lan", "netns:blue")
    host.must("publish", "netns:red", "8080:80")
