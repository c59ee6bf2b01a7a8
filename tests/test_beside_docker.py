"""On a host with a real Docker: its rules stay as they are, and its containers can have nettool's ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from reach import PORT, ask, serve, uplink
from real import IMAGE, PAGE, Docker
from snapshot import difference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hosts import Host


def _dockers(host: Host) -> list[str]:
    """Return the rules and chains that are not nettool's, in their order."""
    saved = host.check("iptables-save").splitlines() + host.check("ip6tables-save").splitlines()
    return [
        line.partition(" [")[0]
        for line in saved
        if line.startswith((":", "-A")) and "NETTOOL" not in line and "nettool:" not in line
    ]


def _rules(host: Host) -> list[str]:
    """Return all rules, in any order: one that is made again comes last."""
    saved = host.check("iptables-save").splitlines()
    return sorted(line for line in saved if line.startswith("-A"))


def _addresses(host: Docker, name: str) -> str:
    return host.cli("inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", name)


@pytest.fixture
def outside(docker: Docker) -> Iterator[int]:
    """Somebody on another network of Docker's host."""
    pid = uplink(docker)
    yield pid
    docker.kill(pid)
    docker.run("ip", "link", "del", "dev", "up0")


@pytest.fixture
def tidy(docker: Docker) -> Iterator[None]:
    """Docker's host as it was before, when the test has taken back what it did."""
    before = _dockers(docker)
    yield
    docker.rm(*docker.containers())
    for name in docker.cli("network", "ls", "--quiet", "--filter", "type=custom").split():
        docker.cli("network", "rm", name)
    docker.must("gc")
    assert _dockers(docker) == before
    assert "nettool" not in docker.check("iptables-save").lower()


@pytest.mark.usefixtures("tidy")
def test_dockers_rules_and_containers_are_not_disturbed(docker: Docker, outside: int) -> None:
    host = docker
    host.cli("run", "-d", "--name", "old", "-p", "8081:80", IMAGE, "httpd", "-f", "-h", "/www")
    host.cli("network", "create", "theirs", "--subnet", "10.30.0.0/24")
    host.run_none("web")

    def still() -> None:
        assert _dockers(host) == before
        assert host.inside(outside, "curl", "-sm", "2", "http://192.0.2.1:8081/") == PAGE
        assert host.check("curl", "-sm", "2", "http://127.0.0.1:8081/") == PAGE

    before = _dockers(host)
    assert "filter FORWARD DROP" in " ".join(f"filter {line[1:]}" for line in before)
    for words in (
        ("network", "create", "lan", "--subnet", "10.20.0.0/24"),
        ("network", "connect", "lan", "docker:web"),
        ("publish", "docker:web", "8080:80"),
    ):
        host.must(*words)
        still()
    for place, address in ((None, "127.0.0.1"), (None, "192.0.2.1"), (outside, "192.0.2.1")):
        enter = ("nsenter", f"--net=/proc/{place}/ns/net") if place else ()
        assert host.check(*enter, "curl", "-sm", "2", f"http://{address}:8080/") == PAGE
    taken = host.nettool("publish", "docker:web", "8081:80")
    assert taken.returncode == 4
    assert "docker-proxy listens on tcp port 8081" in taken.stderr
    # Docker goes on making and removing networks and containers beside it.
    host.cli("network", "create", "later")
    assert host.inside(outside, "curl", "-sm", "2", "http://192.0.2.1:8080/") == PAGE
    host.cli("network", "rm", "later")
    for words in (
        ("unpublish", "docker:web", "--all"),
        ("network", "disconnect", "lan", "docker:web"),
        ("network", "rm", "lan"),
    ):
        still()
        host.must(*words)
    still()


@pytest.mark.usefixtures("tidy")
def test_dockers_networks_and_nettools_are_kept_apart(docker: Docker, outside: int) -> None:
    host = docker
    host.cli("network", "create", "theirs", "--subnet", "10.30.0.0/24")
    pids = {}
    for name, network in (("first", "bridge"), ("second", "theirs"), ("web", "none")):
        host.cli("run", "-d", "--name", name, "--network", network, IMAGE, "sleep", "1000")
        pids[name] = host.container_pid(name)
        serve(host, name, pids[name])
    serve(host, "outside", outside)
    host.must("network", "create", "lan", "--subnet", "10.20.0.0/24")
    # The rule that keeps all of nettool's networks apart from Docker's is no network's.
    assert host.must("adopt") == "nothing to adopt\n"
    host.must("network", "connect", "lan", "docker:web")
    host.must("publish", "docker:web", f"8080:{PORT}", f"8080:{PORT}/udp")
    host.cli("network", "create", "later", "--subnet", "10.31.0.0/24")
    host.cli(
        "run", "-d", "--name", "third", "--network", "later", "-p", f"8082:{PORT}", IMAGE, "sleep", "1000"
    )
    pids["third"] = host.container_pid("third")
    serve(host, "third", pids["third"])
    at = {name: _addresses(host, name) for name in ("first", "second", "third")} | {"web": "10.20.0.2"}
    apart = [("web", name) for name in ("first", "second", "third")]
    for one, other in (*apart, *((other, one) for one, other in apart)):
        answers = ask(host, pids[one], [(protocol, at[other], PORT) for protocol in ("tcp", "udp")])
        assert answers == ["", ""], f"{one} reaches {other}"
    for name, pid in pids.items():
        assert ask(host, pid, [("tcp", "192.0.2.2", PORT)]) == ["outside"], name
    # What is published is for everybody.
    assert ask(host, pids["web"], [("tcp", "192.0.2.1", 8082)]) == ["third"]
    for name in ("first", "second", "third"):
        published = [("tcp", "192.0.2.1", 8080), ("udp", "192.0.2.1", 8080)]
        assert ask(host, pids[name], published) == ["web", "web"], name
    host.must("network", "disconnect", "lan", "docker:web")
    host.must("network", "rm", "lan")


@pytest.mark.usefixtures("tidy")
@pytest.mark.parametrize("dialect", ["classic", "modern"])
@pytest.mark.parametrize("wired_by", ["Docker", "nettool"])
def test_a_port_of_a_container_on_dockers_bridge(
    docker: Docker, outside: int, wired_by: str, dialect: str
) -> None:
    host = docker
    network = "none" if wired_by == "nettool" else "bridge"
    for name, mode in (("web", network), ("other", "bridge")):
        host.cli("run", "-d", "--name", name, "--network", mode, IMAGE, "sleep", "1000")
    web, other = host.container_pid("web"), host.container_pid("other")
    serve(host, "web", web)
    before, rules = host.snapshot(web), _dockers(host)
    ports = (f"8080:{PORT}", f"8080:{PORT}/udp")
    if wired_by == "nettool":
        published = [word for port in ports for word in ("--publish", port)]
        attach = ("attach", "--container", "docker:web", "--ip", "172.17.0.100/16", *published)
        host.must(*attach, "--dialect", dialect)
    else:
        host.must("publish", "docker:web", *ports, "--dialect", dialect)
        assert host.must("publish", "docker:web", *ports, "--dialect", dialect).startswith("nothing to do")
    documented = "-A DOCKER ! -i docker0 -p tcp" in host.check("iptables-save", "-t", "nat")
    assert documented == (dialect == "classic")
    assert _dockers(host) == rules
    assert "docker:web" in host.must("ports")

    expected = {
        (outside, "192.0.2.1"): "web", (None, "192.0.2.1"): "web", (None, "172.17.0.1"): "web",
        (None, "127.0.0.1"): "web", (other, "172.17.0.1"): "web", (other, "192.0.2.1"): "web",
        (web, "192.0.2.1"): "web", (web, "172.17.0.1"): "web",
    }  # fmt: skip
    for protocol in ("tcp", "udp"):
        found = {(pid, address): ask(host, pid, [(protocol, address, 8080)])[0] for pid, address in expected}
        assert found == expected, protocol

    if wired_by == "nettool":
        host.must("detach", "--container", "docker:web")
    else:
        assert host.nettool("detach", "--container", "docker:web").returncode == 0
        assert "docker:web" in host.must("ports")
        host.must("unpublish", "docker:web", ports[1])
        host.must("unpublish", "docker:web", "--all")
    assert difference(before, host.snapshot(web)) == ""
    assert ask(host, outside, [("tcp", "192.0.2.1", 8080)]) == [""]
    host.must("undo", "last")
    assert ask(host, outside, [("tcp", "192.0.2.1", 8080)]) == ["web"]
    away = ("detach", "--container") if wired_by == "nettool" else ("unpublish", "--all")
    host.must(*away, "docker:web")
    assert difference(before, host.snapshot(web)) == ""


@pytest.mark.usefixtures("tidy")
def test_ports_of_a_container_of_dockers_go_when_it_starts_again(docker: Docker) -> None:
    host, rules = docker, docker.check("iptables-save")
    host.cli("run", "-d", "--name", "web", IMAGE, "sleep", "1000")
    host.must("publish", "docker:web", "8080:80", "8080:80/udp")
    assert host.must("gc") == "nothing to clear away\n"
    assert host.must("restore") == "nothing to restore\n"
    host.cli("restart", "-t", "0", "web")
    assert "clear away docker:web" in host.must("gc")
    assert host.must("ports") == "no ports are published\n"
    assert rules.count("-A ") == host.check("iptables-save").count("-A ")
    host.must("publish", "docker:web", "8080:80")


@pytest.fixture
def lasting(docker: Docker, tmp_path: Path) -> Iterator[Docker]:
    """A Docker of its own for one test, whose containers outlive its daemon."""
    assert docker.pid  # it can be run here
    with Docker(tmp_path, "--live-restore") as made:
        yield made


def test_what_dockerd_flushes_when_it_starts_is_shown_and_mended(lasting: Docker) -> None:
    host = lasting
    outside = uplink(host)
    host.must("network", "create", "lan", "--subnet", "10.20.0.0/24")
    for name, network in (("theirs", "bridge"), ("ours", "none"), ("apart", "none")):
        host.cli("run", "-d", "--name", name, "--network", network, IMAGE, "sleep", "1000")
        serve(host, name, host.container_pid(name))
    host.must("network", "connect", "lan", "docker:apart", "--publish", f"8083:{PORT}")
    ours = ("attach", "--container", "docker:ours", "--ip", "172.17.0.100/16", "--dialect", "classic")
    host.must(*ours, "--publish", f"8082:{PORT}")
    host.must("publish", "docker:theirs", f"8081:{PORT}", "--dialect", "classic")
    assert host.nettool("diff").returncode == 0
    questions = [("tcp", "192.0.2.1", number) for number in (8081, 8082, 8083)]
    assert ask(host, outside, questions) == ["theirs", "ours", "apart"]
    before = _rules(host)

    host.restart()
    # What is in chains of nettool's own is still there.
    assert ask(host, outside, questions) == ["", "", "apart"]
    shown = host.nettool("diff")
    assert shown.returncode == 3, shown.stderr
    for table in ("nat", "filter"):
        assert shown.stdout.count(f"missing: iptables has in {table} DOCKER:") == 2, shown.stdout
    assert "missing: iptables has in filter DOCKER-ISOLATION-STAGE-2" in shown.stdout
    said = host.must("restore", "--firewall")
    assert "done: restore eth0 of docker:theirs" in said
    assert "done: restore eth0 of docker:ours" in said
    assert host.nettool("diff").returncode == 0
    assert ask(host, outside, questions) == ["theirs", "ours", "apart"]
    assert _rules(host) == before
