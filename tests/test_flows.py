"""Flows of udp that are under way when a port is published, or taken back: the kernel remembers them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hosts import until
from reach import PORT, Flow, serve, settle, uplink
from shims import Rule, Shims, commands_in
from snapshot import difference

from nettool.facts import FlowFact
from nettool.traffic import parse_flows

if TYPE_CHECKING:
    from hosts import Host

CREATE: Final = "network create lan --bridge-name br-lan --subnet 10.20.0.0/24 --subnet fd20::/64"
PUBLISH: Final = ("publish", "netns:web", f"5353:{PORT}/udp")


def _furnish(host: Host) -> int:
    """Make a network with a container `web` that answers, and somebody outside; return the latter."""
    outside = uplink(host)
    host.must(*CREATE.split())
    host.check("ip", "netns", "add", "web")
    host.must("network", "connect", "lan", "netns:web")
    serve(host, "web", "web")
    settle(host)
    return outside


def _forgets(commands: list[tuple[str, ...]]) -> list[str]:
    return [" ".join(words) for words in commands if words[0] == "conntrack"]


def test_flows_that_are_under_way_follow_the_port(host: Host) -> None:
    outside = _furnish(host)
    flows = {
        "IPv4": Flow(host, outside, "192.0.2.1", 5353),
        "IPv6": Flow(host, outside, "2001:db8::1", 5353),
        "the host": Flow(host, None, "192.0.2.1", 5353),
        "127.0.0.1": Flow(host, None, "127.0.0.1", 5353),
    }
    assert {name: flow.ask() for name, flow in flows.items()} == dict.fromkeys(flows, "")
    host.must(*PUBLISH)
    assert {name: flow.ask() for name, flow in flows.items()} == dict.fromkeys(flows, "web")
    assert host.must(*PUBLISH).startswith("nothing to do")
    assert host.nettool("diff").returncode == 0
    host.must("unpublish", "netns:web", "--all")
    assert {name: flow.ask() for name, flow in flows.items()} == dict.fromkeys(flows, "")
    assert host.nettool("gc", "--dry-run").stdout == "nothing to clear away\n"


@pytest.mark.parametrize("ends", ["when it is about to be forgotten", "by the script"])
def test_flows_follow_a_port_of_a_script(host: Host, tmp_path: Path, ends: str) -> None:
    outside, script, shims = _furnish(host), str(tmp_path / "ports.sh"), Shims(tmp_path / "shims")
    flow = Flow(host, outside, "192.0.2.1", 5353)
    flow.ask()
    (forget,) = [words for words in commands_in(host.must(*PUBLISH, "--dry-run")) if "-D" in words[:2]]
    host.must(*PUBLISH, "--export", script)
    if ends == "when it is about to be forgotten":
        shims.set(Rule(forget, '"$real" "$@"'))
    assert "verified" in host.check("bash", script, env=shims.env)
    assert forget in shims.calls
    assert flow.ask() == "web"
    assert "nothing to do" in host.check("bash", script)
    host.check("bash", script, "undo")
    host.must(*PUBLISH)
    assert flow.ask() == "web"
    host.must("unpublish", "netns:web", "--all", "--export", script)
    assert "conntrack -D" in Path(script).read_text()
    host.check("bash", script)
    assert flow.ask() == ""


def test_only_flows_that_the_rule_is_for_are_forgotten(host: Host) -> None:
    outside = _furnish(host)
    # To another port, to another address, and from somebody who may not use it.
    others = [Flow(host, outside, "192.0.2.1", 5354), Flow(host, outside, "192.0.2.1", 5353)]
    for flow in others:
        flow.ask()
    words = ("publish", "netns:web", f"127.0.0.1:5353:{PORT}/udp")
    assert _forgets(commands_in(host.must(*words, "--dry-run"))) == []
    allowed = (*PUBLISH, "--allow-from", "198.51.100.0/24")
    assert _forgets(commands_in(host.must(*allowed, "--dry-run"))) == []
    allowed = (*PUBLISH, "--allow-from", "192.0.2.0/24")
    planned = _forgets(commands_in(host.must(*allowed, "--dry-run")))
    assert planned == ["conntrack -D -p udp -s 192.0.2.0/24 -d 192.0.2.1 --dport 5353 -r 192.0.2.1"]
    host.must(*allowed)
    assert [flow.ask() for flow in others] == ["", "web"]


@pytest.mark.parametrize("verb", ["detach", "disconnect", "gc", "gc without a record"])
def test_flows_end_with_the_interface(host: Host, verb: str) -> None:
    outside = _furnish(host)
    host.must(*PUBLISH)
    flow = Flow(host, outside, "192.0.2.1", 5353)
    assert flow.ask() == "web"
    if verb.startswith("gc"):
        # A gc of another test may be in there for a moment.
        inside = {int(pid) for pid in host.check("ip", "netns", "pids", "web").split()}
        for pid in inside.intersection(host.processes()):
            host.kill(pid)
        until(lambda: not host.check("ip", "netns", "pids", "web"))
        host.check("ip", "netns", "del", "web")
    if verb == "gc without a record":
        host.check("sh", "-c", "rm /run/nettool/endpoints/*")
    words = {"detach": "detach --netns web", "disconnect": "network disconnect lan netns:web"}
    host.must(*words.get(verb, "gc").split())
    serve(host, "the host", None, 5353)
    assert flow.ask() == "the host"


def test_a_flow_that_ends_by_itself_is_no_failure(host: Host, tmp_path: Path) -> None:
    outside = _furnish(host)
    Flow(host, outside, "192.0.2.1", 5353).ask()
    (forget,) = [words for words in commands_in(host.must(*PUBLISH, "--dry-run")) if "-D" in words[:2]]
    shims = Shims(tmp_path / "shims")
    shims.set(Rule(forget, '"$real" "$@"'))
    host.must(*PUBLISH, env=shims.env)


@pytest.mark.parametrize("ending", ["exit 4", '"$real" "$@"; exit 3'])
def test_a_failure_takes_all_back(host: Host, tmp_path: Path, ending: str) -> None:
    outside = _furnish(host)
    Flow(host, outside, "192.0.2.1", 5353).ask()
    before, planned = host.snapshot(), commands_in(host.must(*PUBLISH, "--dry-run"))
    (forget,) = [words for words in planned if words[0] == "conntrack"]
    shims = Shims(tmp_path / "shims")
    shims.set(Rule(forget, ending))
    done = host.nettool(*PUBLISH, env=shims.env)
    assert done.returncode == 1, done.stderr
    assert difference(before, host.snapshot()) == ""


def test_what_conntrack_says_is_understood() -> None:
    text = (
        "udp      17 29 src=192.0.2.2 dst=192.0.2.1 sport=3412 dport=53 [UNREPLIED] src=10.20.0.2 "
        "dst=192.0.2.2 sport=7000 dport=3412 mark=0 use=1\n"
        "udp      17 29 src=2001:db8::2 dst=2001:db8::1 sport=1 dport=53 packets=1 bytes=29 "
        "src=2001:db8::1 dst=2001:db8::2 sport=53 dport=1 packets=0 bytes=0 [ASSURED] mark=0 use=1\n"
        "conntrack v1.4.7 (conntrack-tools): 2 flow entries have been shown.\n"
    )
    assert parse_flows(text) == (
        FlowFact("udp", "192.0.2.2", "192.0.2.1", 53, "10.20.0.2"),
        FlowFact("udp", "2001:db8::2", "2001:db8::1", 53, "2001:db8::1"),
    )
