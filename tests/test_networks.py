"""Networks: who reaches whom, what is refused, what is on record. The laws: plan_kinds.py."""

from __future__ import annotations

import json
import os
import shlex
import sys
from typing import TYPE_CHECKING, Final

import pytest
from plan_kinds import BY_NAME, FORWARDS, FULL, furnish
from shims import Rule, Shims, commands_in
from snapshot import difference

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any

    from battery import Cases
    from hosts import Host


def _plan(host: Host, words: Sequence[str]) -> list[tuple[str, ...]]:
    return commands_in(host.must(*words, "--dry-run"))


def test_a_network_of_nothing_is_only_on_record(host: Host) -> None:
    words = ("network", "create", "lan", "--driver", "none")
    before = host.snapshot()
    host.must(*words)
    assert host.must(*words).startswith("nothing to do")
    assert "lan" in host.must("network", "ls")
    host.must("undo", "last")
    assert "lan" not in host.must("network", "ls")
    host.must(*words)
    host.must("network", "rm", "lan")
    assert "lan" not in host.must("network", "ls")
    assert difference(before, host.snapshot()) == ""


@pytest.mark.parametrize("name", ["networks", "nt0123456789", "-x", "a b", "a" * 64])
def test_a_name_that_no_network_can_have(host: Host, name: str) -> None:
    """The comments of rules have a network's name, what all networks share, or an endpoint's mark."""
    before = host.snapshot()
    done = host.nettool("network", "create", "--driver", "none", "--", name)
    assert done.returncode == 2
    assert f"{name!r} cannot be the name of a network" in done.stderr
    assert difference(before, host.snapshot()) == ""


def test_what_is_undone_is_on_record_no_more(host: Host) -> None:
    host.check(*FORWARDS[0].split())
    host.must("network", "create", "lan")
    assert "lan" in host.must("network", "ls")
    host.must("undo", "last")
    assert "lan" not in host.must("network", "ls")
    host.must("network", "create", "lan")
    host.must("network", "rm", "lan")
    host.must("undo", "last")
    assert "lan" in host.must("network", "ls")


def test_chains_stay_while_another_network_needs_them(host: Host) -> None:
    host.check(*FORWARDS[0].split())
    host.must("network", "create", "one")
    alone = host.snapshot()
    host.must("network", "create", "two")
    refused = host.nettool("undo", _run_of(host, "create network one"))
    assert refused.returncode == 4
    assert "later work rests on it" in refused.stderr
    host.must("network", "rm", "two")
    assert difference(alone, host.snapshot()) == ""


def test_each_family_of_chains_goes_with_the_last_network_that_has_it(host: Host) -> None:
    host.check(*FORWARDS[0].split())
    before = host.snapshot()
    host.must("network", "create", "both", "--subnet", "10.20.0.0/24", "--subnet", "fd20::/64")
    host.must("network", "create", "one", "--subnet", "10.21.0.0/24")
    host.must("network", "rm", "both")
    assert before["host: ip6tables"] == host.snapshot()["host: ip6tables"]
    host.must("network", "rm", "one")
    assert difference(before, host.snapshot()) == ""


def _run_of(host: Host, title: str) -> str:
    runs: list[dict[str, Any]] = json.loads(host.must("history", "-o", "json"))["runs"]
    return next(str(run["id"]) for run in runs if run["title"] == title)


# --- options of the bridge


OPTIONS: Final = (
    "stp=on", "ageing=0", "multicast_snooping=off", "group_fwd_mask=16384", "priority=4096",
    "forward_delay=2",
)  # fmt: skip


def test_options_are_given_to_the_bridge_shown_and_compared(host: Host) -> None:
    create = ("network", "create", "lan", "--subnet", "10.20.0.0/24", "--bridge-name", "br-lan")
    host.must(*create, *(f"--option={option}" for option in OPTIONS))
    (link,) = json.loads(host.check("ip", "-d", "-j", "link", "show", "dev", "br-lan"))
    info = link["linkinfo"]["info_data"]
    names = ("stp_state", "ageing_time", "mcast_snooping", "group_fwd_mask", "priority", "forward_delay")
    assert [info[name] for name in names] == [1, 0, 0, "0x4000", 4096, 200]
    shown = json.loads(host.must("network", "inspect", "lan", "-o", "json"))["options"]
    assert shown == {**dict(option.split("=") for option in OPTIONS), "group_fwd_mask": "0x4000"}
    assert "option    stp=on" in host.must("network", "inspect", "lan")
    again = (f"--option={option}" for option in reversed(OPTIONS))
    assert host.must(*create, *again).startswith("nothing to do")
    assert "with another options" in host.nettool(*create, "--option", "stp=on").stderr
    host.check("ip", "link", "del", "dev", "br-lan")
    host.must("restore")
    (link,) = json.loads(host.check("ip", "-d", "-j", "link", "show", "dev", "br-lan"))
    assert [link["linkinfo"]["info_data"][name] for name in names] == [info[name] for name in names]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("stp", "is no KEY=VALUE"),
        ("stp=1", "stp takes on or off"),
        ("colour=red", "is no option of the driver bridge"),
        ("ageing=-1", "ageing takes seconds"),
        ("ageing=1000001", "ageing takes seconds"),
        ("ageing=1e3", "ageing takes seconds"),
        ("ageing=\u0663", "ageing takes seconds"),
        ("forward_delay=1", "2 to 30"),
        ("group_fwd_mask=1", "lowest three bits"),
        ("group_fwd_mask=0x10000", "up to 0xfff8"),
        ("priority=65536", "0 to 65535"),
        ("stp=on;reboot", "stp takes on or off"),
        ("stp=on --option stp=off", "given twice"),
    ],
)
def test_an_option_that_cannot_be_is_refused(host: Host, option: str, said: str) -> None:
    refused = host.nettool("network", "create", "lan", "--option", *option.split())
    assert refused.returncode == 2
    assert said in refused.stderr


def test_a_bridge_that_was_there_keeps_its_options(host: Host) -> None:
    host.add_bridge("br0", "10.20.0.1/24")
    create = ("network", "create", "lan", "--subnet", "10.20.0.0/24", "--bridge-name", "br0")
    refused = host.nettool(*create, "--option", "stp=on")
    assert refused.returncode == 4
    assert "its options stay as they are" in refused.stderr
    none = host.nettool("network", "create", "lan", "--driver", "none", "--option", "stp=on")
    assert none.returncode == 2
    assert "known: none" in none.stderr


# --- what is refused


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("a/b", 2, "cannot be the name"),
        ("lan --subnet 10.0.0.1/24", 2, "is no subnet"),
        ("lan --subnet 10.0.0.0/31", 2, "holds no hosts"),
        ("lan --subnet ::/64", 2, "::/8 is reserved"),
        ("lan --subnet ::ffff:10.0.0.0/120", 2, "write it as 10.0.0.0"),
        ("lan --subnet 10.0.0.0/24 --subnet 10.0.0.0/16", 2, "overlap"),
        ("lan --subnet 10.0.0.0/24 --gateway 10.1.0.1", 2, "lies in no --subnet"),
        ("lan --subnet 10.0.0.0/24 --gateway 10.0.0.0", 2, "no host address"),
        ("lan --subnet 10.0.0.0/24 --gateway 10.0.0.1 --gateway 10.0.0.2", 2, "given twice"),
        ("lan --subnet 10.0.0.0/24 --ip-range x", 2, "no address or range"),
        ("lan --subnet fd00::/64 --mtu 1000", 2, "out of range"),
        ("lan --bridge-name a/b", 2, "--bridge-name"),
        ("lan --label x", 2, "no KEY=VALUE"),
        ("lan --subnet 10.99.0.128/25", 4, "the host's br9 has 10.99.0.1/24"),
        ("lan --subnet 10.98.0.0/16", 4, "the route 10.98.7.0/24"),
        ("lan --subnet 10.97.0.0/24", 4, "the network other"),
        ("other", 4, "there is a network other already, with another"),
        ("lan --subnet 10.1.0.0/24 --bridge-name up0", 4, "is no bridge"),
        ("lan --subnet 10.1.0.0/24 --bridge-name br-other", 4, "is that of network other"),
    ],
)
def test_what_cannot_be_is_refused(module_host: Host, words: str, status: int, said: str) -> None:
    host = module_host
    if "br9" not in host.check("ip", "-o", "link"):
        host.add_bridge("br9", "10.99.0.1/24")
        host.check("ip", "link", "add", "name", "up0", "type", "veth", "peer", "name", "up1")
        host.check("ip", "route", "add", "10.98.7.0/24", "via", "10.99.0.9")
        host.must("network", "create", "other", "--subnet", "10.97.0.0/16", "--bridge-name", "br-other")
    before = host.snapshot()
    done = host.nettool("network", "create", *words.split())
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert difference(before, host.snapshot()) == ""


def test_a_full_pool_is_refused(host: Host) -> None:
    pools = {"NETTOOL_ADDRESS_POOLS": "10.5.0.0/23:24"}
    for name in ("one", "two"):
        assert host.nettool("network", "create", name, env=pools).returncode == 0
    done = host.nettool("network", "create", "three", env=pools)
    assert done.returncode == 4
    assert "no subnet of the pools is free" in done.stderr
    bad = host.nettool("network", "create", "three", env={"NETTOOL_ADDRESS_POOLS": "x"})
    assert bad.returncode == 2


def test_a_network_in_use_is_not_removed(host: Host) -> None:
    host.must("network", "create", "lan", "--subnet", "10.20.0.0/24", "--bridge-name", "br-lan")
    pid = host.container()
    host.must("attach", "--pid", str(pid), "--bridge", "br-lan", "--ip", "10.20.0.9/24")
    assert f"endpoint  pid:{pid} eth0 10.20.0.9/24" in host.must("network", "inspect", "lan")
    before = host.snapshot()
    done = host.nettool("network", "rm", "lan")
    assert done.returncode == 4
    assert f"by pid:{pid} (eth0)" in done.stderr
    assert difference(before, host.snapshot()) == ""
    host.must("detach", "--pid", str(pid))
    host.must("network", "rm", "lan")
    assert host.nettool("network", "rm", "lan").returncode == 5
    assert host.nettool("network", "inspect", "lan").returncode == 5


def test_networks_that_nobody_is_on_are_pruned(host: Host) -> None:
    before = host.snapshot()
    for name in ("one", "two", "three"):
        host.must("network", "create", name)
    pid = host.container()
    host.must("network", "connect", "two", f"pid:{pid}")
    made = host.snapshot(pid)
    shown = host.must("network", "prune", "--dry-run")
    assert "NETTOOL-NAT" in shown
    assert "nettool:two" not in shown
    assert difference(made, host.snapshot(pid)) == ""
    assert host.must("network", "prune") == "done: remove network one\ndone: remove network three\n"
    assert json.loads(host.must("network", "prune", "-o", "json"))["found"] == []
    assert [n["name"] for n in json.loads(host.must("network", "ls", "-o", "json"))["networks"]] == ["two"]
    host.must("network", "disconnect", "two", f"pid:{pid}")
    assert host.must("network", "prune") == "done: remove network two\n"
    assert host.must("network", "prune") == "nothing to clear away\n"
    after = host.snapshot()
    assert before["host: iptables"] == after["host: iptables"]
    assert before["host: link"] == after["host: link"]


# --- who reaches whom


def _serve(host: Host, bridge: str, *addresses: str) -> int:
    pid = host.container(serve=True)
    ips = [word for address in addresses for word in ("--ip", address)]
    host.must("attach", "--pid", str(pid), "--bridge", bridge, *ips)
    return pid


def _reaches(host: Host, pid: int, address: str) -> bool:
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    done = host.run("nsenter", f"--net=/proc/{pid}/ns/net", "curl", "-sm", "1", "-o", "/dev/null", url)
    return done.returncode == 0


def _outside(host: Host) -> int:
    """Make somebody on another network, who knows no way back into a container's."""
    pid = host.container(serve=True)
    host.check("ip", "link", "add", "name", "up0", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    for family in ("192.0.2.1/24", "2001:db8::1/64"):
        host.check("ip", "address", "add", family, "dev", "up0", *(["nodad"] if ":" in family else []))
    host.check("ip", "link", "set", "dev", "up0", "up")
    for family in ("192.0.2.2/24", "2001:db8::2/64"):
        host.inside(pid, "ip", "address", "add", family, "dev", "eth0", *(["nodad"] if ":" in family else []))
    host.inside(pid, "ip", "link", "set", "dev", "eth0", "up")
    return pid


def test_a_script_isolates_too(host: Host, tmp_path: Path) -> None:
    host.add_bridge("br0")
    host.must("network", "create", "lan", "--isolate", "--subnet", "10.20.0.0/24", "--bridge-name", "br0")
    pid, script = host.container(), tmp_path / "attach.sh"
    words = ("attach", "--pid", str(pid), "--bridge", "br0", "--ip", "10.20.0.2/24")
    before = host.snapshot(pid)
    host.must(*words, "--export", str(script))
    host.check("bash", str(script), "apply")
    assert "isolated on" in host.check("bridge", "-d", "link")
    assert host.must(*words).startswith("nothing to do")
    host.check("bash", str(script), "apply")
    host.check("bash", str(script), "undo")
    assert difference(before, host.snapshot(pid)) == ""


def test_isolated_containers_reach_the_gateway_and_not_each_other(host: Host) -> None:
    _outside(host)
    host.must("network", "create", "lan", "--isolate", "--subnet", "10.20.0.0/24", "--bridge-name", "br0")
    a, b = _serve(host, "br0", "10.20.0.2/24"), host.container(serve=True)
    host.must("network", "connect", "lan", f"pid:{b}", "--ip", "10.20.0.3")
    host.check("ip", "address", "add", "10.20.0.9/32", "dev", "lo")
    expected = {
        ("10.20.0.3", a): False,
        ("10.20.0.2", b): False,
        ("192.0.2.2", a): True,
        ("192.0.2.2", b): True,
    }
    assert {pair: _reaches(host, pair[1], pair[0]) for pair in expected} == expected
    # Nor by way of the gateway.
    for pid, neighbour in ((a, "10.20.0.3"), (b, "10.20.0.2")):
        host.inside(pid, "ip", "route", "add", f"{neighbour}/32", "via", "10.20.0.1")
    assert {pair: _reaches(host, pair[1], pair[0]) for pair in expected} == expected
    assert host.run("curl", "-sm", "1", "http://10.20.0.3/").returncode == 0


# --- the two variants of iptables


@pytest.fixture
def legacy(host: Host) -> Host:
    """A host whose rules are in the variant that `iptables` does not mean."""
    done = host.run("iptables-legacy", "-A", "FORWARD", "-i", "nt-other", "-j", "ACCEPT")
    if done.returncode or "legacy" in host.check("iptables", "-V"):
        pytest.skip(f"no second variant of iptables here: {done.stderr.strip()}")
    host.check(*FORWARDS[0].split())
    return host


def _legacy_rules(host: Host) -> list[str]:
    lines = host.check("iptables-legacy-save").splitlines()
    return [line for line in lines if line.startswith(("-A", ":NETTOOL"))]


def test_rules_go_where_the_hosts_rules_are(legacy: Host) -> None:
    before, rules = legacy.snapshot(), _legacy_rules(legacy)
    planned = _plan(legacy, ("network", "create", "lan"))
    assert {words[0] for words in planned if "tables" in words[0]} == {"iptables-legacy"}
    legacy.must("network", "create", "lan")
    assert difference({"host: iptables": ""}, {"host: iptables": legacy.snapshot()["host: iptables"]}) == ""
    assert any("nettool:lan" in rule for rule in _legacy_rules(legacy))
    legacy.must("network", "rm", "lan")
    assert difference(before, legacy.snapshot()) == ""
    assert _legacy_rules(legacy) == rules


def test_a_mix_of_the_variants_is_told(legacy: Host) -> None:
    legacy.check("iptables", "-A", "FORWARD", "-i", "nt-other", "-j", "ACCEPT")
    done = legacy.nettool("network", "create", "lan", "--subnet", "10.20.0.0/24")
    assert done.returncode == 0
    assert "both variants of iptables" in done.stderr


# Somebody takes it right before a command, and keeps it for so many seconds.
_HOLD: Final = """\
setsid flock --no-fork /run/xtables.lock sleep {seconds} >/dev/null 2>&1 </dev/null &
echo $! >/run/holder
while flock -n /run/xtables.lock true; do :; done"""
_SHORT: Final = 0.2
_FOR_EVER: Final = 60


@pytest.mark.battery("B6")
@pytest.mark.parametrize("seconds", [_SHORT, 2, _FOR_EVER])
@pytest.mark.parametrize("variant", ["legacy", "host"])
def test_the_lock_of_iptables_is_held_at_any_step(
    request: pytest.FixtureRequest, cases: Cases, tmp_path: Path, variant: str, seconds: float
) -> None:
    """A short while is waited for; what could not be taken back after a long one, recover takes back.

    The other variant, which is nftables', knows no lock.
    """
    host: Host = request.getfixturevalue(variant)
    shims, create = Shims(tmp_path / "shims"), ("network", "create", "lan", "--subnet", "10.20.0.0/24")
    host.check("sysctl", "-qw", "net.ipv4.ip_forward=1")
    # The first network of all makes the chains, too.
    if seconds != _SHORT:
        host.must("network", "create", "other", "--subnet", "10.21.0.0/24")
    before, rules = host.snapshot(), _legacy_rules(host)
    steps = [words for words in _plan(host, create) if "tables" in words[0]]
    assert len(steps) > 5
    # The first and the last one, too, where that takes long.
    long = seconds == _FOR_EVER
    stride = (2 if long else 1) if FULL else len(steps) - 1 if long else 3
    for words in steps[::stride]:
        shims.set(Rule(words, _HOLD.format(seconds=seconds)))
        done = host.nettool(*create, env=shims.env)
        case = f"{shlex.join(words)}: {done.stderr}"
        assert words in shims.calls, case
        host.run("sh", "-c", "kill $(cat /run/holder)")
        if variant == "legacy" and long:
            assert done.returncode == (6 if words == steps[0] else 8), case
            assert "xtables lock" in done.stderr, case
            # One has waited for all.
            tried = shims.changes[shims.changes.index(words) + 1 :]
            assert sum("tables" in call[0] for call in tried) == (words != steps[0]), case
            host.must("recover")
        else:
            assert done.returncode == 0, case
            host.must("network", "rm", "lan")
        assert difference(before, host.snapshot()) == "", case
        assert _legacy_rules(host) == rules, case
        cases.add()


# --- the records


def test_the_records_are_for_their_owner_alone(host: Host) -> None:
    host.must("network", "create", "lan")
    folder = host.path("/run/nettool-state")
    assert os.stat(folder).st_mode & 0o777 == 0o700
    assert os.stat(folder / "state.db").st_mode & 0o777 == 0o600


def test_records_of_a_newer_nettool_are_refused(host: Host) -> None:
    host.must("network", "create", "lan")
    script = (
        "import sqlite3; sqlite3.connect('/run/nettool-state/state.db').execute('PRAGMA user_version = 99')"
    )
    host.check(sys.executable, "-c", script)
    before = host.snapshot()
    for words in (("network", "ls"), ("network", "create", "other")):
        done = host.nettool(*words)
        assert done.returncode == 4
        assert "newer nettool" in done.stderr
    assert difference(before, host.snapshot()) == ""


@pytest.mark.parametrize("state", ["read-only", "a folder of somebody else's"])
def test_records_that_cannot_be_written_leave_the_host_as_before(host: Host, state: str) -> None:
    host.check(*FORWARDS[0].split())
    host.check("mkdir", "-m", "700", "/run/nettool-state")
    spoil = {
        "read-only": "mount -t tmpfs -o ro,mode=700 none /run/nettool-state",
        "a folder of somebody else's": "chmod 777 /run/nettool-state",
    }[state]
    host.check(*spoil.split())
    before = host.snapshot()
    done = host.nettool("network", "create", "lan")
    assert done.returncode in (1, 4)
    assert done.stderr.startswith("error: ")
    assert difference(before, host.snapshot()) == ""


def test_a_crash_before_the_record_is_made_good(host: Host) -> None:
    host.check(*FORWARDS[0].split())
    host.must("network", "create", "lan")
    made = host.snapshot()
    (run,) = os.listdir(host.path("/run/nettool/history"))
    host.check("mv", f"/run/nettool/history/{run}", f"/run/nettool/tx/{run}")
    journal = host.path(f"/run/nettool/tx/{run}/journal")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(line for line in lines if b'"end"' not in line))
    host.check("rm", "/run/nettool-state/state.db")
    assert host.must("network", "ls") == "no networks\n"
    host.must("recover")
    assert "lan" in host.must("network", "ls")
    assert difference(made, host.snapshot()) == ""
    host.must("network", "rm", "lan")


def test_forwarding_of_single_interfaces_outlives_a_rollback(host: Host, tmp_path: Path) -> None:
    words = furnish(host, BY_NAME["a network on a host that does not forward"]).do("classic")
    before, shims = host.snapshot(), Shims(tmp_path / "shims")
    shims.set(Rule(_plan(host, words)[-1], "exit 1"))
    assert host.nettool(*words, env=shims.env).returncode == 1
    assert difference(before, host.snapshot()) == ""
    assert host.check("sysctl", "-n", "net.ipv4.conf.up0.forwarding") == "1\n"
