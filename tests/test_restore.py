"""What is on record is made again: after a reboot, a container's restart, a reload of the firewall."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hosts import until, until_said
from plan_kinds import DIALECTS
from real import IMAGE, PAGE
from shims import Rule, Shims, commands_in
from snapshot import difference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hosts import Host
    from real import Docker

SUBNETS = ("--subnet", "10.20.0.0/24", "--subnet", "fd20::/64")


def _network(host: Host) -> None:
    """Make a network, with a sandbox on it that has a port published."""
    host.add_bridge("br-lan")
    host.check("ip", "link", "del", "dev", "br-lan")
    host.must("network", "create", "lan", "--bridge-name", "br-lan", *SUBNETS)
    for name in ("blue", "red"):
        host.check("ip", "netns", "add", name)
        host.must("network", "connect", "lan", f"netns:{name}", "--publish", f"80{len(name)}:80")


def _rules(host: Host) -> list[str]:
    saved = host.check("iptables-save") + host.check("ip6tables-save")
    return sorted(line for line in saved.splitlines() if line.startswith(("-A", ":NETTOOL")))


def test_rules_that_were_flushed_come_back(host: Host) -> None:
    _network(host)
    before = _rules(host)
    assert host.must("restore", "--firewall") == "nothing to restore\n"
    for program in ("iptables", "ip6tables"):
        for table in ("filter", "nat"):
            host.check(program, "-t", table, "-F")
            host.check(program, "-t", table, "-X")
    assert "NETTOOL-PUBLISH" in host.must("restore", "--firewall", "--dry-run")
    assert _rules(host) == []
    said = host.must("restore", "--firewall")
    assert "done: restore network lan" in said
    assert "done: restore eth0 of netns:blue" in said
    assert _rules(host) == before
    assert host.must("restore") == "nothing to restore\n"


def test_what_cannot_be_restored_is_said_once(host: Host, tmp_path: Path) -> None:
    _network(host)
    shims = Shims(tmp_path / "shims")
    host.check("ip", "netns", "del", "blue")
    host.must("gc")
    host.check("ip", "netns", "add", "blue")
    add = next(c for c in commands_in(host.must("restore", "--dry-run")) if c[:3] == ("ip", "link", "add"))
    shims.set(Rule(add, "exit 2"))
    done = host.nettool("restore", env=shims.env)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: cannot connect netns:blue to lan\n")
    assert "host:  as before: what ran was taken back" in done.stderr
    assert f"`{' '.join(add)}` ended with status 2" in done.stderr


def test_a_reboot(host: Host, tmp_path: Path) -> None:
    start = host.snapshot()
    _network(host)
    rules, addresses = _rules(host), _addresses(host)
    # The kernel's state goes, and what was in /run; what is in /var/lib stays.
    for name in ("blue", "red"):
        host.check("ip", "netns", "del", name)
    for program in ("iptables", "ip6tables"):
        for table in ("filter", "nat"):
            host.check(program, "-t", table, "-F")
            host.check(program, "-t", table, "-X")
    host.check("ip", "link", "del", "dev", "br-lan")
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    fresh = {"NETTOOL_RUN_DIR": str(folder)}
    host.check("ip", "netns", "add", "blue")
    done = host.nettool("restore", env=fresh)
    assert done.returncode == 0, done.stderr
    assert "netns:red on lan: not on this host" in done.stderr
    assert "done: connect netns:blue to lan" in done.stdout
    host.check("ip", "netns", "add", "red")
    assert host.must("restore", env=fresh) == "done: connect netns:red to lan\n"
    assert _addresses(host) == addresses
    assert _unnamed(_rules(host)) == _unnamed(rules)
    for name in ("blue", "red"):
        host.must("network", "disconnect", "lan", f"netns:{name}", env=fresh)
        host.check("ip", "netns", "del", name)
    host.must("network", "rm", "lan", env=fresh)
    assert _rules(host) == []
    assert difference({"": start["host: link"]}, {"": host.snapshot()["host: link"]}) == ""


def _unnamed(rules: list[str]) -> list[str]:
    """Leave out the names of host ends, which come from the namespaces' numbers, and the order."""
    return sorted(
        " ".join(word for word in rule.split() if not word.startswith('"nettool:nt')) for rule in rules
    )


def _addresses(host: Host) -> dict[str, list[str]]:
    found = {}
    for name in ("blue", "red"):
        shown: list[dict[str, Any]] = json.loads(
            host.check("ip", "-j", "-n", name, "address", "show", "dev", "eth0")
        )
        found[name] = [a["local"] for a in shown[0]["addr_info"] if a["scope"] == "global"]
    return found


def test_what_is_on_record_is_not_given_to_others(host: Host) -> None:
    host.must("network", "create", "lan", "--subnet", "10.20.0.0/29")
    host.check("ip", "netns", "add", "blue")
    host.must("network", "connect", "lan", "netns:blue")
    host.check("ip", "netns", "del", "blue")
    # The kernel takes the cable away in its own time.
    until(lambda: " nt" not in host.check("ip", "-o", "link", "show", "type", "veth"))
    host.check("ip", "netns", "add", "red")
    refused = host.nettool("network", "connect", "lan", "netns:red", "--ip", "10.20.0.2")
    assert refused.returncode == 4
    assert "it is kept for netns:blue" in refused.stderr
    in_use = host.nettool("network", "rm", "lan")
    assert in_use.returncode == 4
    assert "netns:blue (not wired)" in in_use.stderr
    host.check("ip", "netns", "add", "blue")
    # The kernel may give the new namespace the same number: then the endpoint is made again as it was.
    assert host.must("restore").startswith("done: ")
    assert "10.20.0.2/29" in host.check("ip", "-n", "blue", "-o", "address")
    host.must("undo", "last")
    host.must("network", "disconnect", "lan", "netns:blue")
    assert host.must("restore") == "nothing to restore\n"
    host.must("network", "rm", "lan")


# --- real containers


@pytest.fixture
def network(docker: Docker) -> Iterator[None]:
    docker.must("network", "create", "lan", "--subnet", "10.20.0.0/24")
    yield
    docker.rm("web")
    docker.must("gc")
    docker.nettool("network", "disconnect", "lan", "docker:web")
    docker.nettool("network", "rm", "lan")


@pytest.mark.usefixtures("network")
def test_a_containers_life(docker: Docker) -> None:
    host = docker
    host.cli("create", "--network", "none", "--name", "web", IMAGE, "sleep", "1000")
    said = host.nettool("network", "connect", "lan", "web", "--ip", "10.20.0.9", "--publish", "8080:80")
    assert said.returncode == 0, said.stderr
    assert "it is wired when it runs" in said.stderr
    assert host.must("network", "connect", "lan", "web").startswith("nothing to do")
    assert "docker:web (not wired)" in host.nettool("network", "rm", "lan").stderr
    assert "docker:web on lan: not running" in host.nettool("restore").stderr

    for _ in range(2):
        host.cli("restart", "-t", "0", "web")
        assert "done: connect docker:web to lan" in host.must("restore")
        if "9090" not in host.must("ports"):
            host.must("publish", "web", "9090:90", "--allow-from", "192.0.2.0/24")
            host.must("publish", "web", "7070:70")
            host.must("unpublish", "web", "7070:70")
        assert "192.0.2.0/24" in host.must("ports")
        assert "7070" not in host.must("ports")
        shown = host.inside(host.container_pid("web"), "ip", "-o", "address", "show", "dev", "eth0")
        assert "10.20.0.9/24" in shown
        assert "10.20.0.9:80" in host.must("ports")
        assert host.must("restore") == "nothing to restore\n"

    host.cli("kill", "web")
    host.must("network", "disconnect", "lan", "web")
    assert host.must("network", "disconnect", "lan", "web").startswith("nothing to do")
    host.cli("start", "web")
    assert host.must("restore") == "nothing to restore\n"
    assert "eth0" not in host.inside(host.container_pid("web"), "ip", "-o", "link")
    assert host.nettool("network", "connect", "lan", "docker:nobody").returncode == 5


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize("called", ["web", "docker:web"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_container_that_has_ended_is_taken_off(docker: Docker, dialect: str, called: str) -> None:
    host = docker
    host.run_none("web")
    # The first port gives a bridge an address that stays.
    host.must("network", "connect", "lan", "docker:web")
    until(lambda: "fe80" in host.check("ip", "-6", "route"))
    host.must("network", "disconnect", "lan", "docker:web")
    before = host.snapshot()
    connect = ("network", "connect", "lan", "docker:web", "--ip", "10.20.0.9", "--dialect", dialect)
    host.must(*connect, "--publish", "8080:80")
    host.cli("kill", "web")
    assert "docker:web eth0 10.20.0.9/24 (not wired)" in host.must("network", "inspect", "lan")
    assert "docker:web (eth0, not wired)" in host.must("ports")
    host.must("unpublish", called, "8080:80")
    assert host.must("ports") == "no ports are published\n"
    host.must("network", "disconnect", "lan", called)
    assert difference(before, host.snapshot()) == ""
    assert "endpoint" not in host.must("network", "inspect", "lan")


@pytest.mark.usefixtures("network")
def test_a_container_that_was_removed_is_waited_for(docker: Docker) -> None:
    host = docker
    host.run_none("web")
    host.must("network", "connect", "lan", "docker:web", "--ip", "10.20.0.9", "--publish", "8080:80")
    host.rm("web")
    done = host.nettool("restore")
    assert done.returncode == 0, done.stderr
    assert "docker:web on lan: not on this host" in done.stderr
    (member,) = json.loads(host.must("network", "inspect", "lan", "-o", "json"))["endpoints"]
    assert member == {
        "sandbox": "docker:web", "interface": None, "addresses": ["10.20.0.9/24"], "wired": False,
    }  # fmt: skip
    host.run_none("web")
    assert host.must("restore") == "done: connect docker:web to lan\n"
    assert host.check("curl", "-sm", "5", "http://127.0.0.1:8080/") == PAGE


@pytest.mark.usefixtures("network")
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("--alias www", 4, "network lan has no name server"),
        ("--ip 10.20.0.1", 4, "it is the gateway's"),
        ("--ip 10.20.0.7", 4, "address 10.20.0.7 is in use"),
        ("--publish 8000:80", 4, "that port is taken"),
        ("--publish 192.0.2.1:8080:80", 4, "this host has no address 192.0.2.1"),
        ("--mac 01:00:5e:00:00:01", 2, "--mac"),
        ("--ifname lo", 2, "reserved by the kernel"),
    ],
)
def test_what_cannot_be_is_refused_before_the_container_runs(
    docker: Docker, words: str, status: int, said: str
) -> None:
    host = docker
    host.cli("create", "--network", "none", "--name", "web", IMAGE, "sleep", "1000")
    pid = host.container()
    try:
        host.must("network", "connect", "lan", f"pid:{pid}", "--ip", "10.20.0.7", "--publish", "8000:80")
        before = host.must("network", "inspect", "lan")
        done = host.nettool("network", "connect", "lan", "docker:web", *words.split())
        assert (done.returncode, said in done.stderr) == (status, True), done.stderr
        assert host.must("network", "inspect", "lan") == before
    finally:
        host.must("network", "disconnect", "lan", f"pid:{pid}")
        host.kill(pid)


@pytest.mark.usefixtures("network")
def test_a_container_is_wired_as_soon_as_it_starts(docker: Docker, tmp_path: Path) -> None:
    host = docker
    host.cli("create", "--network", "none", "--name", "web", IMAGE, "httpd", "-f", "-p", "80", "-h", "/www")
    host.must("network", "connect", "lan", "web", "--publish", "8080:80")
    said = tmp_path / "said"
    with said.open("w") as file:
        watching = host.popen(*host.nettool_argv("watch"), output=file)
    try:
        for number, verb in enumerate(("start", "restart -t 0", "restart -t 0"), 1):
            host.cli(*verb.split(), "web")
            until_said(said, "done: ", number)
            page = host.check("curl", "-sm", "5", "--retry-connrefused", "--retry", "5", "http://10.20.0.2/")
            assert page == PAGE
        end = next(
            link["ifname"]
            for link in json.loads(host.check("ip", "-j", "link"))
            if link["ifname"].startswith("nt") and link.get("master")
        )
        host.check("ip", "link", "del", "dev", end)
        until_said(said, "done: ", 4)
        # What is taken off is not put on again.
        host.must("network", "disconnect", "lan", "web")
        host.cli("restart", "-t", "0", "web")
        time.sleep(1)
        assert "eth0" not in host.inside(host.container_pid("web"), "ip", "-o", "link")
    finally:
        watching.terminate()
    assert watching.wait(10) == 0
    assert not any("docker events" in command for command in host.commands())


# --- what somebody has undone


def test_what_was_undone_is_shown_and_mended(host: Host) -> None:
    _network(host)
    host.add_bridge("br9", "10.9.0.1/24")
    pid = host.container()
    host.must("attach", "--pid", str(pid), "--bridge", "br9", "--ip", "10.9.0.5/24")
    assert host.nettool("diff").returncode == 0
    assert host.nettool("diff").stdout == "no difference\n"
    before = _comparable(host, pid)
    # An address, a route, a rule and a port, one each.
    host.inside(pid, "ip", "address", "del", "10.9.0.5/24", "dev", "eth0")
    host.check("ip", "-n", "blue", "route", "del", "default")
    host.check("iptables", "-t", "nat", "-F", "NETTOOL-PUBLISH")
    end = next(
        link["ifname"] for link in json.loads(host.check("ip", "-j", "link")) if link.get("master") == "br9"
    )
    host.check("ip", "link", "set", "dev", end, "nomaster")
    shown = host.nettool("diff")
    assert shown.returncode == 3, shown.stderr
    assert f"missing: eth0 has 10.9.0.5/24 in namespace {pid}" in shown.stdout
    assert f"missing: {end} is a port of br9" in shown.stdout
    assert "missing: default goes via 10.20.0.1 dev eth0 in namespace blue" in shown.stdout
    assert "missing: iptables has in nat NETTOOL-PUBLISH" in shown.stdout
    assert json.loads(host.nettool("diff", "-o", "json").stdout)["restored"]
    host.must("repair")
    assert difference(before, _comparable(host, pid)) == ""
    assert host.nettool("diff").returncode == 0
    host.must("detach", "--pid", str(pid))
    host.must("detach", "--netns", "blue")
    assert host.nettool("diff").returncode == 0


def test_what_two_networks_need_is_missed_once(host: Host) -> None:
    for name in ("lan", "wan"):
        host.must("network", "create", name)
    host.check("iptables", "-F", "NETTOOL-FORWARD")
    missed = host.nettool("diff").stdout.splitlines()
    assert [line for line in missed if "nettool:networks" in line]
    assert len(missed) == len(set(missed))


def _comparable(host: Host, pid: int) -> dict[str, str]:
    """Take the snapshot, rules in any order: one that is made again comes last."""
    return {part: "\n".join(sorted(text.splitlines())) for part, text in host.snapshot(pid).items()}


def test_a_name_that_somebody_gave_is_no_difference(host: Host) -> None:
    host.add_bridge("docker0", "172.17.0.1/16")
    pid = host.container()
    host.must("attach", "--pid", str(pid), "--ip", "172.17.0.10/16")
    for words in ("down", "name wan0", "up"):
        host.inside(pid, "ip", "link", "set", "dev", "wan0" if words == "up" else "eth0", *words.split())
    host.inside(pid, "ip", "route", "add", "default", "via", "172.17.0.9")
    assert host.nettool("repair").returncode == 0
    assert "via 172.17.0.9" in host.inside(pid, "ip", "route")
    assert "wan0" in host.inside(pid, "ip", "-o", "link")


# --- units of systemd


def test_units_are_written_and_understood(host: Host, tmp_path: Path) -> None:
    folder = {"NETTOOL_UNIT_DIR": str(tmp_path), "NETTOOL_STATE_DIR": "/var/lib/a b%"}
    shown = host.must("restore", "--install", "--dry-run", env=folder)
    assert list(tmp_path.iterdir()) == []
    said = host.must("restore", "--install", env=folder)
    assert said == f"written: {tmp_path}/nettool-restore.service\nwritten: {tmp_path}/nettool-watch.service\n"
    assert (
        'Environment="NETTOOL_STATE_DIR=/var/lib/a b%%"' in (tmp_path / "nettool-watch.service").read_text()
    )
    units = json.loads(host.must("restore", "--install", "-o", "json", env=folder))
    assert units["done"]
    for unit in units["files"]:
        assert unit["text"] == Path(unit["path"]).read_text()
        assert f"# {unit['path']}\n{unit['text']}" in shown
    if shutil.which("systemd-analyze"):
        units = (f"{tmp_path}/nettool-restore.service", f"{tmp_path}/nettool-watch.service")
        assert "nettool" not in host.run("systemd-analyze", "verify", *units).stderr
    (tmp_path / "nettool-watch.service").write_text("somebody's own\n")
    refused = host.nettool("restore", "--install", env=folder)
    assert refused.returncode == 4
    assert (tmp_path / "nettool-watch.service").read_text() == "somebody's own\n"
    nowhere = host.nettool("restore", "--install", env={"NETTOOL_UNIT_DIR": f"{tmp_path}/nowhere"})
    assert nowhere.returncode == 4
