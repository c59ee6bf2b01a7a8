"""Networks straight on an interface of the host's: the laws for each kind, and who reaches whom."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from parent_kinds import BY_NAME, SHIM, SUBNET, ParentKind, furnish, makes, needs, params
from plan_kinds import DIALECTS, FULL
from shims import KILL, Rule, Shims, commands_in
from snapshot import difference

from nettool.facts import Facts, LinkFact, NamespaceFacts
from nettool.model import Network
from nettool.parents import check_parent
from nettool.resolve import Findings

if TYPE_CHECKING:
    from pathlib import Path

    from battery import Cases
    from hosts import Host

AT_ONCE: Final = 64 if FULL else 12

kinds = pytest.mark.parametrize("kind", params())
dialects = pytest.mark.parametrize("dialect", DIALECTS)


def _connect(pid: int, *options: str) -> tuple[str, ...]:
    return ("network", "connect", "lan", f"pid:{pid}", *options)


def _disconnect(pid: int, *options: str) -> tuple[str, ...]:
    return ("network", "disconnect", "lan", f"pid:{pid}", *options)


# --- the laws


@kinds
def test_a_network_converges_and_goes_without_a_trace(host: Host, tmp_path: Path, kind: ParentKind) -> None:
    furnish(host, kind)
    before, shims = host.snapshot(), Shims(tmp_path / "shims")
    planned = commands_in(host.must(*kind.create, "--dry-run"))
    assert difference(before, host.snapshot()) == ""
    done = host.nettool(*kind.create, env=shims.env)
    assert done.returncode == 0, done.stderr
    assert shims.changes == planned
    made = host.snapshot()
    assert host.must(*kind.create).startswith("nothing to do")
    assert "lan" in host.must("network", "ls")
    host.must("network", "rm", "lan")
    assert difference(before, host.snapshot()) == ""
    host.must("undo", "last")
    assert difference(made, host.snapshot()) == ""
    host.must("network", "rm", "lan")
    host.must(*kind.create)
    host.must("undo", "last")
    assert difference(before, host.snapshot()) == ""
    assert "lan" not in host.must("network", "ls")


@kinds
def test_an_endpoint_converges_and_goes_without_a_trace(host: Host, tmp_path: Path, kind: ParentKind) -> None:
    furnish(host, kind)
    host.must(*kind.create)
    pid = host.container()
    before, shims, states = host.snapshot(pid), Shims(tmp_path / "shims"), {}
    for dialect in DIALECTS:
        words = _connect(pid, "--dialect", dialect, *kind.addresses)
        printed = host.must(*words, "--dry-run")
        assert difference(before, host.snapshot(pid)) == ""
        shims.set()
        done = host.nettool(*words, env=shims.env)
        assert done.returncode == 0, done.stderr
        assert shims.changes == commands_in(printed)
        states[dialect] = made = host.snapshot(pid)
        assert host.must(*words).startswith("nothing to do")
        planned = commands_in(host.must(*_disconnect(pid, "--dialect", dialect), "--dry-run"))
        assert difference(made, host.snapshot(pid)) == ""
        shims.set()
        assert host.nettool(*_disconnect(pid, "--dialect", dialect), env=shims.env).returncode == 0
        assert shims.changes == planned
        assert difference(before, host.snapshot(pid)) == ""
        assert host.must(*_disconnect(pid)).startswith("nothing to do")
        host.must("undo", "last")
        assert difference(made, host.snapshot(pid)) == ""
        host.must(*_disconnect(pid))
        assert difference(before, host.snapshot(pid)) == ""
        host.check("sh", "-ex", input=printed)
        assert difference(made, host.snapshot(pid)) == ""
        host.must(*words)
        host.must(*_disconnect(pid))
        host.run("ip", "netns", "del", str(pid))
        assert difference(before, host.snapshot(pid)) == ""
    classic, modern = ({**states[d], "host: netns": ""} for d in DIALECTS)
    assert difference(classic, modern) == ""


@kinds
def test_scripts_do_what_apply_does(host: Host, tmp_path: Path, kind: ParentKind) -> None:
    furnish(host, kind)
    pid, scripts = host.container(), [str(tmp_path / f"{number}.sh") for number in range(4)]
    dialect = ("--dialect", DIALECTS[len(kind.name) % 2])
    before, made = host.snapshot(pid), []
    words = (kind.create, _connect(pid, *dialect, *kind.addresses))
    for argv, script in zip(words, scripts, strict=False):
        host.must(*argv, "--export", script)
        host.must(*argv)
        made.append(host.snapshot(pid))
    for argv, script in zip((_disconnect(pid, *dialect), ("network", "rm", "lan")), scripts[2:], strict=True):
        host.must(*argv, "--export", script)
        host.check("bash", script)
        # The script leaves the record, and that goes without a command.
        host.must(*argv)
    assert difference(before, host.snapshot(pid)) == ""
    for script, after in zip(scripts, made, strict=False):
        assert " (0 commands" not in host.check("bash", script)
        assert difference(after, host.snapshot(pid)) == ""
        assert "nothing to do" in host.check("bash", script)
    for script in reversed(scripts[:2]):
        host.check("bash", script, "undo")
    assert difference(before, host.snapshot(pid)) == ""


@pytest.mark.battery("B1")
@kinds
def test_what_fails_at_any_step_is_taken_back(
    host: Host, tmp_path: Path, kind: ParentKind, cases: Cases
) -> None:
    furnish(host, kind)
    pid, shims = host.container(), Shims(tmp_path / "shims")
    for number, words in enumerate((kind.create, _connect(pid, *kind.addresses), _disconnect(pid))):
        dialect = () if not number else ("--dialect", DIALECTS[len(kind.name) % 2])
        before = host.snapshot(pid)
        for at, step in enumerate(commands_in(host.must(*words, *dialect, "--dry-run"))):
            shims.set(Rule(step, "exit 4" if at % 2 else '"$real" "$@"; exit 3'))
            done = host.nettool(*words, *dialect, env=shims.env)
            assert done.returncode == 1, done.stderr
            assert difference(before, host.snapshot(pid)) == "", step
            cases.add()
        host.must(*words, *dialect)


@pytest.mark.battery("B2")
@kinds
def test_what_is_killed_at_any_step_is_taken_back(
    host: Host, tmp_path: Path, kind: ParentKind, cases: Cases
) -> None:
    furnish(host, kind)
    pid, shims = host.container(), Shims(tmp_path / "shims")
    calls = (kind.create, _connect(pid, *kind.addresses), _disconnect(pid), ("network", "rm", "lan"))
    for number, words in enumerate(calls):
        dialect = ("--dialect", DIALECTS[len(kind.name) % 2]) if number in (1, 2) else ()
        before = host.snapshot(pid)
        for at, step in enumerate(commands_in(host.must(*words, *dialect, "--dry-run"))):
            then = (f"{KILL}exit 1", f'"$real" "$@"; {KILL}exit 0', f'{KILL}sleep 0.1; exec "$real" "$@"')
            shims.set(Rule(step, then[at % 3]))
            host.nettool(*words, *dialect, env=shims.env)
            host.must("recover")
            assert difference(before, host.snapshot(pid)) == "", step
            assert host.must("recover") == "nothing to recover\n"
            cases.add()
        host.must(*words, *dialect)


# --- what happens to endpoints


@dialects
@pytest.mark.parametrize("kind", params("macvlan", "ipvlan"))
def test_without_records_an_endpoint_is_known_by_its_mark(
    host: Host, tmp_path: Path, kind: ParentKind, dialect: str
) -> None:
    furnish(host, kind)
    host.must(*kind.create)
    pid = host.container()
    before = host.snapshot(pid)
    host.must(*_connect(pid, "--dialect", dialect))
    host.check("rm", "-r", "/run/nettool")
    assert f"pid:{pid}" in host.must("show")
    assert host.must(*_connect(pid)).startswith("nothing to do")
    host.check("rm", "-r", "/run/nettool")
    made, shims = host.snapshot(pid), Shims(tmp_path / "shims")
    (step,) = commands_in(host.must("detach", "--pid", str(pid), "--dry-run"))
    shims.set(Rule(step, '"$real" "$@"; exit 3'))
    assert host.nettool("detach", "--pid", str(pid), env=shims.env).returncode == 1
    assert difference(made, host.snapshot(pid)) == ""
    host.must("detach", "--pid", str(pid))
    after = host.snapshot(pid)
    after["host: netns"] = before["host: netns"]  # whoever gave the name: nothing says that it was nettool
    assert difference(before, after) == ""


@pytest.mark.parametrize("kind", params("macvlan", "ipvlan"))
@pytest.mark.parametrize(
    "change",
    # Before Linux 6.2 no interface is renamed while it is up.
    ["ip link set dev eth0 down && ip link set dev eth0 name other && ip link set dev other up",
     "ip link set dev eth0 alias x", "ip link set dev eth0 down", "ip address flush dev eth0",
     "ip link del dev eth0"],
    ids=["renamed", "alias", "down", "flushed", "gone"],
)  # fmt: skip
def test_what_is_done_to_an_interface_keeps_it_from_nothing(
    host: Host, kind: ParentKind, change: str
) -> None:
    furnish(host, kind)
    host.must(*kind.create)
    pid = host.container()
    before = host.snapshot(pid)
    host.must(*_connect(pid))
    host.inside(pid, "sh", "-c", change)
    done = host.nettool(*_disconnect(pid))
    assert done.returncode == 0, done.stderr
    assert difference(before, host.snapshot(pid)) == ""


@dialects
def test_a_sandbox_that_is_gone_takes_its_interface_along(host: Host, dialect: str) -> None:
    furnish(host)
    before = host.snapshot()
    host.must("network", "create", "lan", "--parent", "up0", "--driver", "macvlan", *SHIM.split())
    one, two = host.container(), host.container()
    # The kernel gives a namespace's number again, maybe to another test's: with a name of its own, an
    # interface there does not have the same mark.
    name = f"i{host.pid}"
    for pid in (one, two):
        host.must(*_connect(pid, "--dialect", dialect, "--ifname", name))
        host.kill(pid)
    host.must(*_disconnect(one))
    assert f"clear away pid:{two}" in host.must("gc")
    assert host.must("network", "inspect", "lan").count("endpoint") == 0
    host.must("network", "rm", "lan")
    assert difference(before, host.snapshot()) == ""


def test_a_namespace_that_lost_its_name_is_told(host: Host) -> None:
    furnish(host)
    host.must("network", "create", "lan", "--parent", "up0", "--driver", "macvlan", *SUBNET.split())
    pid = host.container()
    before = host.snapshot(pid)
    host.must(*_connect(pid, "--dialect", "classic"))
    host.check("rm", f"/run/netns/{pid}")
    done = host.nettool(*_disconnect(pid))
    assert done.returncode == 4
    assert f"ln -s /proc/{pid}/ns/net /var/run/netns/{pid}" in done.stderr
    host.check("ln", "-s", f"/proc/{pid}/ns/net", f"/var/run/netns/{pid}")
    host.must(*_disconnect(pid))
    assert difference(before, host.snapshot(pid)) == ""


@pytest.mark.parametrize("kind", params("macvlan, the host's address", "ipvlan, the host's address", "vlan"))
def test_what_lasts_is_restored(host: Host, kind: ParentKind) -> None:
    furnish(host, kind)
    host.must(*kind.create)
    host.check("ip", "netns", "add", "web")
    host.must("network", "connect", "lan", "netns:web")
    made = host.snapshot()
    inside = host.check("ip", "-n", "web", "-4", "-o", "address")
    assert host.must("diff") == "no difference\n"
    host.check("ip", "netns", "del", "web")
    host.check("ip", "netns", "add", "web")
    for link in json.loads(host.check("ip", "-json", "link")):
        if link["ifname"].startswith("nt-") or link["ifname"] == "up0.10":
            host.check("ip", "link", "del", "dev", link["ifname"])
    assert host.nettool("diff").returncode == 3
    host.must("restore")
    assert host.must("diff") == "no difference\n"
    after = host.snapshot()
    made["host: netns"] = after["host: netns"]
    assert difference(made, after) == ""
    assert _addresses(inside) == _addresses(host.check("ip", "-n", "web", "-4", "-o", "address"))


def test_who_comes_into_a_dead_sandbox_for_a_look_hinders_nobody(host: Host) -> None:
    """A survey that has opened a namespace may enter it when all else of the sandbox is gone."""
    furnish(host)
    host.must("network", "create", "lan", "--parent", "up0", "--driver", "macvlan", *SUBNET.split())
    before, pid = host.snapshot(), host.container()
    host.must(*_connect(pid))
    done = host.nettool("gc", env={"NETTOOL_VISIT": str(pid)}, first="visit")
    assert (done.returncode, done.stdout) == (0, f"done: clear away pid:{pid}\n"), done.stderr
    host.wait_for_the_dead()
    assert difference(before, host.snapshot()) == ""


def _addresses(lines: str) -> list[str]:
    return [line.split()[3] for line in lines.splitlines()]


def test_many_at_once_never_share_an_address(host: Host, cases: Cases) -> None:
    furnish(host)
    host.must("network", "create", "lan", "--parent", "up0", "--driver", "macvlan", *SUBNET.split())
    pids = [host.container() for _ in range(AT_ONCE)]
    runs = [host.start(*_connect(pid, "--lock-timeout", "300")) for pid in pids]
    assert [run.wait(timeout=300) for run in runs] == [0] * AT_ONCE
    found = json.loads(host.must("network", "inspect", "lan", "-o", "json"))["endpoints"]
    given = [address for endpoint in found for address in endpoint["addresses"]]
    assert len(given) == len(set(given)) == AT_ONCE
    cases.add(AT_ONCE)


def test_attach_on_the_parent_is_the_same(host: Host) -> None:
    furnish(host)
    host.must("network", "create", "lan", "--parent", "up0", "--driver", "macvlan", *SUBNET.split())
    pid = host.container()
    before = host.snapshot(pid)
    host.must("attach", "--pid", str(pid), "--bridge", "up0", "--ip", "192.168.1.130/24")
    assert host.must(*_connect(pid)).startswith("nothing to do")
    assert "--driver" not in host.must(
        "attach", "--pid", str(pid), "--bridge", "up0", "--ip", "192.168.1.130/24"
    )
    host.must("detach", "--pid", str(pid))
    assert difference(before, host.snapshot(pid)) == ""


# --- who reaches whom


def _serve(host: Host, *options: str) -> int:
    pid = host.container(serve=True)
    host.must(*_connect(pid, *options))
    return pid


def _reaches(host: Host, pid: int | None, address: str, *, expected: bool = True) -> bool:
    """Whether somebody (None: the host) reaches an address; what is expected is waited for longer."""
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    enter = () if pid is None else ("nsenter", f"--net=/proc/{pid}/ns/net")
    return host.run(*enter, "curl", "-sm", "10" if expected else "1", "-o", "/dev/null", url).returncode == 0


@pytest.mark.parametrize(
    ("kind", "each_other"),
    [
        *[pytest.param(*p.values, True, id=p.id, marks=p.marks) for p in params("macvlan", "ipvlan")],
        *[pytest.param(*p.values, False, id=p.id) for p in params("macvlan, private", "macvlan, vepa")],
    ],
)
def test_who_reaches_whom(host: Host, kind: ParentKind, each_other: bool) -> None:  # noqa: FBT001 - a parameter
    outside = furnish(host, kind)
    host.must(*kind.create)
    a, b = _serve(host, "--ip", "192.168.1.20"), _serve(host, "--ip", "192.168.1.21")
    expected = {
        (a, "192.168.1.21"): each_other, (b, "192.168.1.20"): each_other,
        (a, "192.168.1.1"): True, (outside, "192.168.1.20"): True, (outside, "192.168.1.21"): True,
        (None, "192.168.1.20"): False,
    }  # fmt: skip
    assert {pair: _reaches(host, *pair, expected=yes) for pair, yes in expected.items()} == expected
    assert "192.168.1.1/" not in host.check("ip", "-o", "address")


@pytest.mark.parametrize("kind", params("macvlan, both families", "ipvlan"))
def test_who_reaches_whom_by_ipv6(host: Host, kind: ParentKind) -> None:
    outside = furnish(host, kind)
    host.must(*kind.create)
    a, b = _serve(host, "--ip6", "fd19::20"), _serve(host, "--ip6", "fd19::21")
    pairs = ((a, "fd19::21"), (b, "fd19::20"), (a, "fd19::1"), (outside, "fd19::20"))
    assert {pair: _reaches(host, *pair) for pair in pairs} == dict.fromkeys(pairs, True)


@pytest.mark.parametrize("kind", params("macvlan, the host's address", "ipvlan, the host's address"))
def test_the_host_reaches_its_sandboxes_by_an_address_of_its_own(host: Host, kind: ParentKind) -> None:
    outside = furnish(host, kind)
    host.must(*kind.create)
    page = host.container(serve=True)
    host.must(*_connect(page))
    assert _reaches(host, None, "192.168.1.128")
    assert host.inside(page, "ping", "-c1", "-W2", "192.168.1.9")
    # Its other address is asked for, and has one MAC as before: that of the parent.
    host.inside(outside, "ip", "neigh", "flush", "dev", "eth0")
    assert host.inside(outside, "ping", "-c1", "-W2", "192.168.1.5")
    parent = json.loads(host.check("ip", "-json", "link", "show", "dev", "up0"))[0]["address"]
    asked = host.run(
        "nsenter", f"--net=/proc/{outside}/ns/net", "arping", "-c2", "-w3", "-I", "eth0", "192.168.1.5"
    )
    if kind.name.startswith("macvlan"):
        shim = next(w for w in host.must("network", "inspect", "lan").split() if w.startswith("nt-"))
        mac = json.loads(host.check("ip", "-json", "link", "show", "dev", shim))[0]["address"]
        assert parent.upper() in asked.stdout.upper()
        assert mac.upper() not in asked.stdout.upper()


@pytest.mark.parametrize("kind", params("macvlan, the host's addresses, elsewhere"))
def test_the_host_reaches_a_subnet_that_it_has_nowhere_else(host: Host, kind: ParentKind) -> None:
    furnish(host, kind)
    host.must(*kind.create)
    _serve(host, "--ip", "10.8.0.20", "--ip6", "fd18::20")
    assert _reaches(host, None, "10.8.0.20")
    assert _reaches(host, None, "fd18::20")


@pytest.mark.parametrize("kind", params("ipvlan, l3", "ipvlan, l3s"))
def test_an_ipvlan_may_be_a_router(host: Host, kind: ParentKind) -> None:
    outside = furnish(host, kind)
    host.must(*kind.create)
    a, b = _serve(host, "--ip", "10.8.0.20"), _serve(host, "--ip", "10.8.0.21")
    assert "default dev eth0" in host.inside(a, "ip", "route")
    assert _reaches(host, a, "10.8.0.21")
    assert _reaches(host, b, "10.8.0.20")
    assert not _reaches(host, outside, "10.8.0.20", expected=False)
    host.inside(outside, "ip", "route", "add", "10.8.0.0/24", "via", "192.168.1.5")
    assert _reaches(host, outside, "10.8.0.20")
    assert _reaches(host, a, "192.168.1.1")


@pytest.mark.parametrize(
    "kind", params("vlan", "vlan, there before", "ipvlan on a VLAN", "macvlan on a VLAN, the host's address")
)
def test_who_is_on_the_vlan_reaches_it(host: Host, kind: ParentKind) -> None:
    outside = furnish(host, kind)
    host.must(*kind.create)
    a, b = _serve(host, "--ip", "10.8.0.20"), _serve(host, "--ip", "10.8.0.21")
    assert _reaches(host, a, "10.8.0.21")
    host.inside(outside, "ip", "address", "add", "10.8.0.1/24", "dev", "eth0")
    assert not _reaches(host, outside, "10.8.0.20", expected=False)
    host.inside(outside, "ip", "address", "del", "10.8.0.1/24", "dev", "eth0")
    for number, expected in ((11, False), (10, True)):
        tagged = ("ip", "link", "add", "link", "eth0", "name", "v", "type", "vlan", "id", str(number))
        host.inside(outside, *tagged)
        host.inside(outside, "ip", "address", "add", "10.8.0.1/24", "dev", "v")
        host.inside(outside, "ip", "link", "set", "dev", "v", "up")
        assert _reaches(host, outside, "10.8.0.20", expected=expected) is expected
        assert _reaches(host, b, "10.8.0.1", expected=expected) is expected
        host.inside(outside, "ip", "link", "del", "dev", "v")
    shim = "host" in kind.name
    assert _reaches(host, None, "10.8.0.20", expected=shim) is shim


def test_an_address_that_answers_behind_the_parent_is_passed_over(host: Host) -> None:
    outside = furnish(host)
    host.must("network", "create", "lan", "--parent", "up0", "--driver", "macvlan", *SUBNET.split())
    host.inside(outside, "ip", "address", "add", "192.168.1.2/24", "dev", "eth0")
    pid = host.container()
    done = host.nettool(*_connect(pid, "--ip", "192.168.1.2"))
    assert done.returncode == 4
    assert "answers for it" in done.stderr
    host.must(*_connect(pid))
    assert "192.168.1.3/24" in host.inside(pid, "ip", "-o", "address")
    two = host.container()
    done = host.nettool(*_connect(two, "--ip", "192.168.1.3"))
    assert done.returncode == 4
    assert "address 192.168.1.3 is in use" in done.stderr


# --- what is refused


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("--driver macvlan", 2, "--driver macvlan needs --parent"),
        ("--driver vlan --parent up0", 2, "--driver vlan needs --vlan"),
        ("--parent up0", 2, "--parent means nothing with --driver bridge"),
        ("--driver none --vlan 4", 2, "--vlan means nothing with --driver none"),
        ("--driver macvlan --parent up0 --isolate", 2, "--isolate means nothing"),
        ("--driver macvlan --parent up0 --no-masquerade", 2, "--no-masquerade means nothing"),
        ("--driver ipvlan --parent up0 --bridge-name br0", 2, "--bridge-name means nothing"),
        ("--driver vlan --parent up0 --vlan 4 --dns", 2, "--dns means nothing"),
        ("--driver macvlan --parent up0 --mode l2", 2, "there is no --mode l2 with --driver macvlan"),
        ("--driver ipvlan --parent up0 --mode bridge", 2, "there is no --mode bridge"),
        ("--driver macvlan --parent up0 --vlan 0", 2, "--vlan 0 is no VLAN's number"),
        ("--driver macvlan --parent up0 --vlan 4095", 2, "--vlan 4095 is no VLAN's number"),
        ("--driver macvlan --parent averylongname0 --vlan 10", 2, "it has 17 bytes"),
        ("--driver macvlan --parent a/b", 2, "--parent 'a/b'"),
        (f"--driver macvlan --parent up0 {SUBNET} --host-address x", 2, "is no address"),
        (f"--driver macvlan --parent up0 {SUBNET} --host-address 10.0.0.1", 2, "lies in no --subnet"),
        (f"--driver macvlan --parent up0 {SUBNET} --host-address 192.168.1.1", 2, "the gateway's"),
        (f"--driver macvlan --parent up0 {SHIM} --host-address 192.168.1.8", 2, "given twice"),
        (f"--driver macvlan --parent up0 {SHIM} --mode private", 2, "reaches no sandbox"),
        ("--driver macvlan --parent nope", 4, "there is no interface nope"),
        ("--driver macvlan --parent up0.10", 4, "--parent up0 --vlan 10"),
        ("--driver macvlan --parent port0", 4, "port0 is a port of br9"),
        ("--driver macvlan --parent mac0", 4, "mac0 is a macvlan itself"),
        ("--driver macvlan --parent lo", 4, "lo has no neighbours"),
        ("--driver macvlan --parent tun0", 4, "tun0 has no neighbours"),
        ("--driver ipvlan --parent up9", 4, "up9 has a macvlan on it"),
        ("--driver macvlan --parent up9 --mode passthru", 4, "up9 has mac0 on it"),
        ("--driver macvlan --parent up9 --mtu 9000", 4, "above the MTU of up9"),
        ("--driver macvlan --parent up7", 4, "the interface up7 is that of network other"),
        ("--driver ipvlan --parent up7", 4, "the interface up7 is that of network other"),
        ("--driver vlan --vlan 10 --parent down0", 4, "down0 is down"),
        (f"--driver macvlan --parent up0 {SUBNET} --host-address 192.168.1.9", 4, "--ip-range"),
        (f"--driver macvlan --parent up0 {SHIM}", 4, "address 192.168.1.9 is in use"),
        ("--driver macvlan --parent up0 --subnet 10.99.0.0/24", 4, "the host's br9 has 10.99.0.1/24"),
    ],
)
def test_what_cannot_be_is_refused(module_host: Host, words: str, status: int, said: str) -> None:
    host = module_host
    if "up0" not in host.check("ip", "-o", "link"):
        outside = furnish(host)
        host.inside(outside, "ip", "address", "add", "192.168.1.9/24", "dev", "eth0")
        host.add_bridge("br9", "10.99.0.1/24")
        for name in ("port0", "up9", "up7", "down0"):
            host.check("ip", "link", "add", "name", name, "type", "veth", "peer", "name", f"x{name}")
        lines = ("link set dev port0 master br9", "link set dev up9 up", "tuntap add tun0 mode tun",
                 "link set dev up7 up", "link add link up9 name mac0 type macvlan mode bridge")  # fmt: skip
        host.check("ip", "-batch", "-", input="\n".join(lines))
        host.must(
            *[
                "network",
                "create",
                "other",
                "--driver",
                "macvlan",
                "--parent",
                "up7",
                "--subnet",
                "10.97.0.0/16",
            ],
        )
    before = host.snapshot()
    done = host.nettool("network", "create", "lan", *words.split())
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert difference(before, host.snapshot()) == ""


def test_a_kind_that_the_kernel_does_not_make_is_refused(host: Host) -> None:
    if makes("ipvlan"):
        pytest.skip("this kernel makes ipvlans")
    furnish(host)
    done = host.nettool("network", "create", "lan", "--driver", "ipvlan", "--parent", "up0", *SUBNET.split())
    assert done.returncode == 4
    assert "this kernel makes no ipvlan" in done.stderr


def test_a_wireless_parent_has_no_room_for_a_second_mac() -> None:
    wlan = LinkFact("wlan0", 2, "", "02:00:00:00:00:01", 1500, up=True, wireless=True)
    facts = Facts(NamespaceFacts(1, (wlan,)))
    for driver, said in (("macvlan", ["wlan0 is wireless"]), ("ipvlan", [])):
        findings = Findings()
        network = Network("lan", driver, "wlan0", own_bridge=False, parent="wlan0", mode="bridge")
        check_parent(network, facts, findings, new=True)
        assert [problem.what for problem in findings.problems] == said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "network connect lan pid:{new} --publish 80:80",
            "ports are published of endpoints on a bridge alone",
        ),
        ("publish pid:{old} 80:80", "ports are published of endpoints on a bridge alone"),
        ("network connect lan pid:{new} --ip 192.168.1.1", "it is the gateway's"),
        ("network rm lan", "network lan is in use"),
        ("undo {created}", "network lan is in use"),
        ("attach --pid {new} --bridge up0 --ip 192.168.1.7/24 --host-ifname x", "has no end on the host"),
    ],
)
def test_what_makes_no_sense_on_a_parent_is_refused(host: Host, words: str, said: str) -> None:
    furnish(host)
    host.must("network", "create", "lan", "--parent", "up0", "--driver", "macvlan", *SUBNET.split())
    created = json.loads(host.must("history", "-o", "json"))["runs"][0]["id"]
    old, new = host.container(), host.container()
    host.must(*_connect(old))
    before = host.snapshot(old, new)
    done = host.nettool(*words.format(old=old, new=new, created=created).split())
    assert done.returncode == 4, done.stderr
    assert said in done.stderr
    assert difference(before, host.snapshot(old, new)) == ""
    assert host.must("network", "prune") == "nothing to clear away\n"


def test_in_mode_passthru_there_is_room_for_one(host: Host) -> None:
    furnish(host)
    words = ("--driver", "macvlan", "--mode", "passthru", *SUBNET.split())
    host.must("network", "create", "lan", "--parent", "up0", *words)
    one, two = host.container(), host.container()
    done = host.nettool(*_connect(one, "--mac", "02:00:00:00:00:01"))
    assert done.returncode == 4
    assert "has the MAC of up0" in done.stderr
    host.must(*_connect(one))
    done = host.nettool(*_connect(two))
    assert done.returncode == 4
    assert "up0 is taken" in done.stderr


@needs("vlan")
def test_a_vlans_interface_that_others_use_stays(host: Host) -> None:
    furnish(host)
    host.must(*BY_NAME["vlan"].create)
    host.check("ip", "link", "add", "link", "up0.10", "name", "mine", "type", "macvlan", "mode", "bridge")
    done = host.nettool("network", "rm", "lan")
    assert done.returncode == 4
    assert "mine, a macvlan on the host" in done.stderr


@pytest.mark.parametrize(("mode", "status"), [("bridge", 0), ("passthru", 4)])
def test_only_passthru_touches_the_uplink_that_it_is_on(host: Host, mode: str, status: int) -> None:
    furnish(host)
    host.check("ip", "link", "set", "dev", "up0", "name", "eth0")
    host.check("ip", "route", "add", "default", "via", "192.168.1.1")
    words = ("--driver", "macvlan", "--mode", mode, *SUBNET.split())
    host.must("network", "create", "lan", "--parent", "eth0", *words)
    done = host.nettool(*_connect(host.container()))
    assert done.returncode == status, done.stderr
    assert ("which this host is reached by" in done.stderr) is (mode == "passthru")


def test_what_is_known_of_a_network_is_shown(host: Host) -> None:
    furnish(host)
    host.must("network", "create", "lan", "--parent", "up0", "--driver", "macvlan", *SHIM.split())
    pid = host.container()
    host.must(*_connect(pid))
    found: dict[str, Any] = json.loads(host.must("network", "inspect", "lan", "-o", "json"))
    assert (found["driver"], found["parent"], found["mode"], found["bridge"]) == (
        "macvlan",
        "up0",
        "bridge",
        None,
    )
    assert found["host_addresses"] == ["192.168.1.9"]
    assert found["endpoints"] == [
        {"sandbox": f"pid:{pid}", "interface": "eth0", "addresses": ["192.168.1.128/24"], "wired": True}
    ]
    rows = json.loads(host.must("show", "--pid", str(pid), "-o", "json"))
    assert "up0" in json.dumps(rows)
    assert "on up0" in host.must("show", "--pid", str(pid))
    other = host.nettool(*_connect(host.container(), "--ip", "192.168.1.20"))
    assert "192.168.1.20 is out of lan's range: the host does not reach it" in other.stderr
