"""What lost its record, or was made by a script, is put on record again, and goes without a trace."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final

import pytest
from plan_kinds import ATTACHMENTS, DIALECTS, furnish, in_turn, some
from plan_kinds import BY_NAME as EVERY
from real import IMAGE
from snapshot import difference

if TYPE_CHECKING:
    from pathlib import Path

    from hosts import Host
    from real import Docker

# Nothing tells what a default route took the place of, nor a name without the mark; a bridge that was given
# its MAC keeps it.
UNTOLD: Final = (
    "default route replaced",
    "IPv6 default route replaced",
    "a second endpoint takes the default route",
)
UNMARKED: Final = ("names given", "a name with a dot", "a keyword as a name")
ADOPTED: Final = [
    kind
    for kind in ATTACHMENTS
    if kind.name not in (*UNTOLD, *UNMARKED, "as many kinds of steps as one plan can have")
    and kind.name not in ("named by somebody else", "mounted by somebody else")
]
BY_NAME: Final = {kind.name: kind for kind in ATTACHMENTS}
ON_A_PARENT: Final = EVERY["a macvlan connection"]
SUBNETS: Final = ("--subnet", "10.20.0.0/24", "--subnet", "fd20::/64")


def _lose_records(host: Host) -> None:
    host.check("rm", "-rf", "/run/nettool", "/run/nettool-state")


def _adopt(host: Host, *options: str) -> dict[str, Any]:
    """Adopt; the host stays as it is, a second time there is nothing to adopt, and nothing differs."""
    before = host.snapshot()
    shown = json.loads(host.must("adopt", *options, "--dry-run", "-o", "json"))
    assert json.loads(host.must("adopt", *options, "-o", "json")) == {**shown, "done": True}
    assert difference(before, host.snapshot()) == ""
    assert host.must("adopt", *options) == "nothing to adopt\n"
    assert host.must("diff") == "no difference\n"
    found: dict[str, Any] = shown
    return found


@pytest.mark.parametrize(("name", "dialect"), in_turn(some([kind.name for kind in ADOPTED])))
def test_an_endpoint_without_its_record(host: Host, name: str, dialect: str) -> None:
    scene = furnish(host, BY_NAME[name], dialect)
    before = scene.snapshot()
    host.must(*scene.attach(dialect))
    wired = scene.snapshot()
    _lose_records(host)
    assert _adopt(host)["endpoints"]
    assert host.must(*scene.attach(dialect)).startswith("nothing to do")
    assert difference(wired, scene.snapshot()) == ""
    host.must(*scene.detach(dialect))
    assert difference(before, scene.snapshot()) == ""


@pytest.mark.parametrize("name", ["named by somebody else", "mounted by somebody else"])
def test_a_name_that_is_to_be_kept_stays(host: Host, name: str) -> None:
    scene = furnish(host, BY_NAME[name])
    before = scene.snapshot()
    host.must(*scene.attach("classic"))
    _lose_records(host)
    _adopt(host, "--keep-names")
    host.must(*scene.detach("classic"))
    assert difference(before, scene.snapshot()) == ""


SCRIPTED: Final = (
    "IPv4",
    "both families",
    "names given",
    *UNTOLD,
    "no folder of names",
    "a namespace by its path",
)


@pytest.mark.parametrize(("name", "dialect"), in_turn(some(SCRIPTED)))
def test_what_a_script_made(host: Host, tmp_path: Path, name: str, dialect: str) -> None:
    scene = furnish(host, BY_NAME[name], dialect)
    before = scene.snapshot()
    script = tmp_path / "attach.sh"
    host.must(*scene.attach(dialect, "--export", str(script)))
    host.check("bash", str(script))
    wired = scene.snapshot()
    (found,) = _adopt(host)["endpoints"]
    assert host.must(*scene.attach(dialect)).startswith("nothing to do")
    assert difference(wired, scene.snapshot()) == ""
    host.must("detach", *scene.target, "--ifname", found["interface"], "--dialect", dialect)
    assert difference(before, scene.snapshot()) == ""
    assert found["host_end"] not in host.check("ls", "/run/nettool/endpoints")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_a_script_made_on_a_parent(host: Host, tmp_path: Path, dialect: str) -> None:
    scene, script = furnish(host, ON_A_PARENT, dialect), tmp_path / "connect.sh"
    before = scene.snapshot()
    host.must(*scene.do(dialect, "--export", str(script)))
    host.check("bash", str(script))
    wired = scene.snapshot()
    (found,) = _adopt(host)["endpoints"]
    assert (found["interface"], found["bridge"]) == ("eth0", "up0")
    assert host.must(*scene.do(dialect)).startswith("nothing to do")
    assert difference(wired, scene.snapshot()) == ""
    host.must(*scene.undo(dialect))
    assert difference(before, scene.snapshot()) == ""


def test_a_mark_that_a_container_gives_itself_is_not_believed(host: Host) -> None:
    scene = furnish(host, ON_A_PARENT)
    host.check("ip", "link", "add", "link", "up0", "name", "x0", "netns", str(scene.pid), "type", "macvlan")
    host.inside(scene.pid, "ip", "link", "set", "dev", "x0", "alias", "nt0123456789")
    before = scene.snapshot()
    assert host.must("adopt") == "nothing to adopt\n"
    assert difference(before, scene.snapshot()) == ""


# --- networks


NETWORKS: Final = {
    "both families": ("lan", *SUBNETS),
    "a gateway of its own": ("lan", "--subnet", "10.20.0.0/24", "--gateway", "10.20.0.254"),
    "internal": ("lan", *SUBNETS, "--internal"),
    "isolated": ("lan", *SUBNETS, "--isolate"),
    "without masquerade": ("lan", *SUBNETS, "--no-masquerade"),
    "internal and isolated": ("lan", *SUBNETS, "--internal", "--isolate"),
    "options": ("lan", *SUBNETS, "--option", "ageing=20", "--option", "group_fwd_mask=0x4000"),
    "a bridge name of its own": ("lan", *SUBNETS, "--bridge-name", "br-lan"),
}
PUBLISHED: Final = ("8080:80", "127.0.0.1:9090:90", "8000-8003:80-83/udp")


@pytest.mark.parametrize(("name", "dialect"), in_turn(some(list(NETWORKS))))
def test_a_network_and_all_on_it(host: Host, name: str, dialect: str) -> None:
    host.check("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    pids = [host.container(), host.container()]
    before = host.snapshot(*pids)
    words = ("network", "create", *NETWORKS[name])
    host.must(*words)
    networked = host.snapshot(*pids)
    for pid in pids:
        host.must("network", "connect", "lan", f"pid:{pid}", "--dialect", dialect)
    if "internal" not in name:
        host.must("publish", f"pid:{pids[0]}", *PUBLISHED)
        both = SUBNETS[-1] in words
        sources = ("192.0.2.0/24", "198.51.100.0/24", *(("fd99::/64",) if both else ()))
        allowed = [word for source in sources for word in ("--allow-from", source)]
        host.must("publish", f"pid:{pids[1]}", "53:53/udp", *allowed)
        # Where there is no other family, that is everybody.
        whom = ("--allow-from", "0.0.0.0/0") if both else ()
        host.must("publish", f"pid:{pids[1]}", "54:54", *whom)
    wired, shown, inspected = host.snapshot(*pids), host.must("ports"), _inspect(host)
    _lose_records(host)
    found = _adopt(host)
    assert (len(found["endpoints"]), len(found["networks"])) == (2, 1)
    assert (host.must("ports"), _inspect(host)) == (shown, inspected)
    assert host.must(*words).startswith("nothing to do")
    assert "in use" in host.nettool("network", "rm", "lan").stderr
    assert difference(wired, host.snapshot(*pids)) == ""
    for pid in pids:
        host.must("network", "disconnect", "lan", f"pid:{pid}", "--dialect", dialect)
    assert difference(_without_own_port(networked), _without_own_port(host.snapshot(*pids))) == ""
    host.must("network", "rm", "lan")
    assert difference(before, host.snapshot(*pids)) == ""


def _inspect(host: Host) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(host.must("network", "inspect", "lan", "-o", "json"))
    return document


def _without_own_port(snapshot: dict[str, str]) -> dict[str, str]:
    """Leave out what the first port ever gives a bridge, and the bridge keeps: its fe80:: address."""
    return {
        part: "\n".join(line for line in text.splitlines() if "fe80" not in line and "ff00" not in line)
        for part, text in snapshot.items()
    }


def test_a_network_on_a_bridge_that_was_there(host: Host) -> None:
    host.check("sysctl", "-qw", "net.ipv4.ip_forward=1")
    host.add_bridge("br0", "10.20.0.1/24")
    before = host.snapshot()
    host.must("network", "create", "lan", "--bridge-name", "br0", "--subnet", "10.20.0.0/24")
    _lose_records(host)
    assert "stay when network lan goes" in host.nettool("adopt", "--dry-run").stderr
    _adopt(host)
    host.must("network", "rm", "lan")
    assert difference(before, host.snapshot()) == ""


def test_rules_and_chains_go_with_the_last_that_needs_them(host: Host) -> None:
    host.add_bridge("br0", "10.9.0.1/24")
    pid = host.container()
    host.check("sysctl", "-qw", "net.ipv4.ip_forward=1")
    before = host.snapshot(pid)
    host.must("attach", "--pid", str(pid), "--bridge", "br0", "--ip", "10.9.0.5/24", "--publish", "8080:80")
    _lose_records(host)
    _adopt(host)
    host.must("adopt", "--bridge", "br0", "--name", "lab")
    host.must("detach", "--pid", str(pid))
    assert difference(before, host.snapshot(pid)) == ""


# --- a bridge that nettool did not make


def test_a_bridge_becomes_a_network_and_stays(host: Host) -> None:
    host.add_bridge("br0", "10.20.0.1/24", "10.20.0.7/24", "fd20::1/64", "192.0.2.9/32")
    pid = host.container()
    before = host.snapshot(pid)
    (found,) = _adopt(host, "--bridge", "br0", "--name", "lab")["networks"]
    assert [(s["subnet"], s["gateway"], s["excluded"]) for s in found["subnets"]] == [
        ("10.20.0.0/24", "10.20.0.1", ["10.20.0.7"]),
        ("fd20::/64", "fd20::1", []),
    ]
    assert "br0" in host.must("network", "inspect", "lab")
    said = host.must("network", "connect", "lab", f"pid:{pid}", "--publish", "8080:80")
    assert "10.20.0.2/24, fd20::2/64" in said
    assert host.must("diff") == "no difference\n"
    other = host.nettool("network", "create", "lab", "--bridge-name", "br0", *SUBNETS)
    assert "with another subnets, unmanaged" in other.stderr
    host.must("network", "disconnect", "lab", f"pid:{pid}")
    host.check("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
    host.must("network", "rm", "lab")
    assert difference(before, host.snapshot(pid)) == ""
    host.must("undo", "last")
    assert host.must("adopt", "--bridge", "br0", "--name", "lab") == "nothing to adopt\n"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("--bridge br0", 2, "both, or none"),
        ("--bridge br0 --name a/b", 2, "cannot be the name"),
        ("--bridge a/b --name lab", 2, "no interface name can have"),
        ("--bridge br9 --name lab", 4, "there is no bridge br9"),
        ("--bridge lo --name lab", 4, "lo is no bridge"),
        ("--bridge bare --name lab", 4, "has no address"),
        ("--bridge odd --name lab", 4, "which overlap"),
        ("--bridge same --name lab", 4, "is in use"),
        ("--bridge br-lan --name lab", 4, "is that of network lan"),
        ("--bridge br0 --name lan", 4, "already, on another bridge"),
    ],
)
def test_what_can_be_no_network_is_refused(host: Host, words: str, status: int, said: str) -> None:
    host.must("network", "create", "lan", "--bridge-name", "br-lan", "--subnet", "10.20.0.0/24")
    for name, *addresses in (
        ("br0", "10.0.0.1/24"), ("bare",), ("odd", "10.1.0.1/16", "10.1.1.1/24"), ("same", "10.0.0.2/24"),
    ):  # fmt: skip
        host.check("ip", "link", "add", "name", name, "type", "bridge")
        host.check("ip", "link", "set", "dev", name, "up")
        for address in addresses:
            host.check("ip", "address", "add", address, "dev", name)
    for dry in ((), ("--dry-run",)):
        refused = host.nettool("adopt", *words.split(), *dry)
        assert refused.returncode == status, refused.stdout + refused.stderr
        assert said in refused.stderr
    assert host.must("network", "ls").count("\n") == 2


def test_the_bridge_of_a_network_without_record_is_adopted_as_that(host: Host) -> None:
    host.must("network", "create", "lan", "--bridge-name", "br-lan", "--subnet", "10.20.0.0/24")
    _lose_records(host)
    refused = host.nettool("adopt", "--bridge", "br-lan", "--name", "lan")
    assert refused.returncode == 4
    assert "is the bridge of nettool's network lan" in refused.stderr


# --- what cannot be told is left alone, and named


def _left(host: Host, said: str) -> None:
    before = host.snapshot()
    done = host.nettool("adopt")
    assert done.returncode == 1, done.stdout + done.stderr
    assert said in done.stderr
    assert difference(before, host.snapshot()) == ""
    assert done.stderr.isprintable() or done.stderr.replace("\n", "").isprintable()


def _wired(host: Host, *options: str) -> tuple[int, str]:
    """Wire a sandbox, lose its record; return it and its host end."""
    host.add_bridge("br0", "10.9.0.1/24")
    pid = host.container()
    done = host.must(
        "attach", "--pid", str(pid), "--bridge", "br0", "--ip", "10.9.0.5/24", *options, "-o", "json"
    )
    _lose_records(host)
    return pid, str(json.loads(done)["endpoints"][0]["host_end"])


def test_a_host_end_without_a_bridge(host: Host) -> None:
    _, end = _wired(host)
    host.check("ip", "link", "set", "dev", end, "nomaster")
    _left(host, f"left alone: {end} is in no bridge")


def test_rules_that_make_no_whole_port(host: Host) -> None:
    _, end = _wired(host, "--publish", "8080:80")
    host.check("iptables", "-t", "nat", "-F", "NETTOOL-NAT")
    _left(host, f"left alone: {end} has rules that are not those of published ports")


def test_a_rule_that_is_none_of_a_port(host: Host) -> None:
    _, end = _wired(host, "--publish", "8080:80")
    host.check("iptables", "-A", "INPUT", "-m", "comment", "--comment", f"nettool:{end}", "-j", "ACCEPT")
    _left(host, "not understood: filter INPUT")


def test_rules_of_an_endpoint_that_is_gone(host: Host) -> None:
    _, end = _wired(host, "--publish", "8080:80")
    host.check("ip", "link", "del", "dev", end)
    _left(host, f"rules of the endpoint {end}, which is gone")


def test_a_network_whose_rules_are_not_whole(host: Host) -> None:
    host.must("network", "create", "lan", "--subnet", "10.20.0.0/24")
    _lose_records(host)
    host.check("iptables", "-F", "NETTOOL-FORWARD")
    _left(host, "the rules of network lan are not those that nettool makes")
    host.check("iptables", "-F", "NETTOOL-ISOLATE-2")
    _left(host, "no rule says of which")


def test_a_network_with_the_rules_of_two_bridges(host: Host) -> None:
    host.must("network", "create", "lan", "--subnet", "10.20.0.0/24")
    _lose_records(host)
    words = "-A NETTOOL-ISOLATE-2 -o br7 -m comment --comment nettool:lan -j DROP"
    host.check("iptables", *words.split())
    _left(host, "network lan has rules for several bridges")
    host.check("iptables", *words.replace(":lan", ":$(id)x").split())
    _left(host, "rules are marked '$(id)x'")


def test_a_name_that_a_container_gave(host: Host) -> None:
    pid, end = _wired(host)
    host.inside(pid, "ip", "link", "set", "dev", "eth0", "down")
    host.inside(pid, "ip", "link", "set", "dev", "eth0", "name", "\x1b]0;owned")
    _left(host, f"left alone: {end} has another end whose name")


def test_what_others_made_is_not_adopted(host: Host) -> None:
    host.add_bridge("br0", "10.9.0.1/24")
    pid = host.container()
    host.check("ip", "link", "add", "name", "web0", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    host.check("ip", "link", "set", "dev", "web0", "master", "br0")
    host.check("ip", "link", "add", "name", "nt0123456789", "type", "bridge")
    host.check("iptables", "-A", "FORWARD", "-m", "comment", "--comment", "nettool:", "-j", "ACCEPT")
    assert host.must("adopt") == "nothing to adopt\n"


def test_hostile_rules_of_others_are_read_over(host: Host) -> None:
    _wired(host, "--publish", "8080:80")
    for comment in ("nettool:'$(id)`", "a \" b ' c", "-j DROP", "nettool:networks"):
        host.check("iptables", "-A", "FORWARD", "-m", "comment", "--comment", comment, "-j", "ACCEPT")
    assert len(_adopt(host)["endpoints"]) == 1


def test_an_adoption_can_be_undone(host: Host) -> None:
    pid, _ = _wired(host)
    before = host.snapshot(pid)
    assert "adopted eth0 of pid:" in host.must("adopt")
    assert "adopt 1 endpoint" in host.must("history")
    host.must("undo", "last")
    assert difference(before, host.snapshot(pid)) == ""
    assert "adopted eth0 of pid:" in host.must("adopt")


def test_only_root_can_tell(host: Host) -> None:
    refused = host.run(
        "setpriv", "--reuid", "65534", "--clear-groups", *host.nettool_argv("adopt", "--dry-run")
    )
    assert refused.returncode == 4, refused.stderr
    assert "only root" in refused.stderr


@pytest.mark.parametrize("lost", ["/run/nettool", "/run/nettool-state"])
def test_one_of_two_stores_is_lost(host: Host, lost: str) -> None:
    host.check("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    host.check("ip", "netns", "add", "blue")
    before = host.snapshot()
    host.must("network", "create", "lan", *SUBNETS)
    host.must("network", "connect", "lan", "netns:blue", "--publish", "8080:80")
    host.check("rm", "-rf", lost)
    found = _adopt(host)
    assert [len(found[kind]) for kind in ("endpoints", "networks")] == [
        lost == "/run/nettool",
        "state" in lost,
    ]
    if "state" in lost:
        # Who is to be on the network again is said anew, and nothing else changes.
        wired = host.snapshot()
        host.must("network", "connect", "lan", "netns:blue")
        assert difference(wired, host.snapshot()) == ""
    (record,) = host.path("/run/nettool/endpoints").glob("*.json")
    assert json.loads(record.read_text())["record"]["endpoint"]["sandbox"]["target"] == "netns:blue"
    host.must("network", "disconnect", "lan", "netns:blue")
    host.must("network", "rm", "lan")
    assert difference(before, host.snapshot()) == ""


def test_several_in_several_sandboxes(host: Host) -> None:
    host.add_bridge("br0", "10.9.0.1/24")
    host.add_bridge("br1", "10.8.0.1/24", "fd08::1/64")
    pids = [host.container() for _ in range(3)]
    before = host.snapshot(*pids)
    for number, pid in enumerate(pids, 5):
        for bridge, ips in (
            ("br0", ("--ip", f"10.9.0.{number}/24")),
            ("br1", ("--ip", f"10.8.0.{number}/24", "--ip", f"fd08::{number}/64")),
        ):
            port = f"80{number}{bridge[2]}:80"
            host.must("attach", "--pid", str(pid), "--bridge", bridge, *ips, "--publish", port)
    _lose_records(host)
    assert len(_adopt(host)["endpoints"]) == 6
    for pid in pids:
        host.must("detach", "--pid", str(pid), "--ifname", "eth0")
        assert host.must("diff") == "no difference\n"
        host.must("detach", "--pid", str(pid))
    host.check("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
    assert difference(before, host.snapshot(*pids)) == ""


def test_a_container_is_known_by_its_name(docker: Docker) -> None:
    host = docker
    host.cli("run", "-d", "--network", "none", "--name", "web", IMAGE, "sleep", "1000")
    host.add_bridge("br7", "10.7.0.1/24")
    try:
        pid = host.container_pid("web")
        before = host.snapshot(pid)
        host.must("attach", "--container", "web", "--bridge", "br7", "--ip", "10.7.0.5/24")
        _lose_records(host)
        (found,) = _adopt(host)["endpoints"]
        assert found["sandbox"] == "docker:web"
        host.must("detach", "--container", "web")
        assert difference(before, host.snapshot(pid)) == ""
    finally:
        host.cli("rm", "-f", "web")
        host.check("ip", "link", "del", "dev", "br7")


@pytest.mark.skipif(os.geteuid() != 0, reason="dnsmasq gives up its rights: needs root")
def test_a_network_with_a_name_server(host: Host) -> None:
    host.check("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
    host.check("ip", "netns", "add", "web")
    pid = host.container()
    before = host.snapshot(pid)
    host.must("network", "create", "lan", *SUBNETS, "--dns")
    host.must("network", "connect", "lan", "netns:web", "--alias", "www")
    host.must("network", "connect", "lan", f"pid:{pid}", "--alias", "api")
    inspected = _inspect(host)
    _lose_records(host)
    assert len(_adopt(host)["endpoints"]) == 2
    assert _inspect(host) == inspected
    # It is wired as asked for; what is put on record is that it is to be so again.
    assert "(0 commands" in host.must("network", "connect", "lan", "netns:web", "--alias", "www")
    for target in ("netns:web", f"pid:{pid}"):
        host.must("network", "disconnect", "lan", target)
    host.must("network", "rm", "lan")
    assert host.run("find", "/etc/netns", "/run/nettool-dns", "-type", "f").stdout == ""
    assert difference(before, host.snapshot(pid)) == ""
