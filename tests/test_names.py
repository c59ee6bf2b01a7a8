"""Names: a network's name server, the files that it reads, and who finds whom."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

import pytest
from real import IMAGE
from shims import Rule, Shims
from snapshot import difference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hosts import Host
    from real import Docker

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="dnsmasq gives up its rights: needs root")
SUBNETS: Final = ("--subnet", "10.20.0.0/24", "--subnet", "fd20::/64")


def _find(host: Host, sandbox: str, name: str) -> list[str]:
    """Return the addresses that a name has for a sandbox."""
    found = host.run("ip", "netns", "exec", sandbox, "getent", "ahosts", name)
    return sorted({line.split()[0] for line in found.stdout.splitlines()})


def _files(host: Host) -> str:
    """Return what is left of names on a host, name servers' own folders aside."""
    left = host.run("find", "/etc/netns", "/run/nettool-dns/names", "-mindepth", "1").stdout
    return (
        left + host.run("pgrep", "-x", "-r", "S", "dnsmasq", "--ns", str(host.pid), "--nslist", "mnt").stdout
    )


@pytest.fixture
def boxes(host: Host) -> tuple[str, ...]:
    for name in ("web", "db", "far"):
        host.must("sandbox", "create", name)
    return ("web", "db", "far")


@pytest.mark.usefixtures("boxes")
def test_containers_find_each_other_by_name(host: Host) -> None:
    host.check("mkdir", "-p", "/etc/netns")
    before = host.snapshot()
    host.must("network", "create", "lan", *SUBNETS, "--dns")
    host.must("network", "connect", "lan", "netns:web", "--alias", "www", "--alias", "shop.example")
    host.must("network", "connect", "lan", "netns:db")
    pid = host.container()
    host.must("network", "connect", "lan", f"pid:{pid}", "--alias", "api")
    for name in ("web", "www", "shop.example", "WEB"):
        assert _find(host, "db", name) == ["10.20.0.2", "fd20::2"]
    assert _find(host, "web", "db") == ["10.20.0.3", "fd20::3"]
    assert _find(host, "web", "api") == ["10.20.0.4", "fd20::4"]
    assert _find(host, "web", "nobody") == []
    assert host.must("network", "connect", "lan", "netns:web", "--alias", "www").startswith("nothing to do")
    assert "2 commands" in host.must("network", "connect", "lan", "netns:web", "--alias", "more")
    assert _find(host, "db", "more") == _find(host, "db", "www") == ["10.20.0.2", "fd20::2"]
    assert host.nettool("diff").returncode == 0
    host.must("network", "disconnect", "lan", "netns:web")
    assert _find(host, "db", "web") == _find(host, "db", "more") == []
    host.must("network", "disconnect", "lan", f"pid:{pid}")
    host.must("network", "disconnect", "lan", "netns:db")
    host.must("network", "rm", "lan")
    assert _files(host) == ""
    # What lets the host forward is never put back.
    host.check("sysctl", "-qw", "net.ipv4.ip_forward=0", "net.ipv6.conf.all.forwarding=0")
    assert difference(before, host.snapshot()) == ""


@pytest.mark.usefixtures("boxes")
def test_one_on_two_networks_finds_the_names_of_both(host: Host) -> None:
    host.must("network", "create", "backend", "--subnet", "10.20.0.0/24", "--dns")
    host.must("network", "create", "frontend", "--subnet", "10.30.0.0/24", "--dns")
    for network, box, *words in (
        ("backend", "web", "--alias", "same"),
        ("backend", "db"),
        ("frontend", "db"),
        ("frontend", "far", "--alias", "same"),
    ):
        host.must("network", "connect", network, f"netns:{box}", *words)
    assert _find(host, "db", "web") == ["10.20.0.2"]
    assert _find(host, "db", "far") == ["10.30.0.3"]
    # Of several, those of the network that asks.
    assert _find(host, "web", "same") == ["10.20.0.2"]
    assert _find(host, "far", "same") == ["10.30.0.3"]
    assert _find(host, "web", "db") == ["10.20.0.3"]
    assert _find(host, "far", "db") == ["10.30.0.2"]


@pytest.mark.usefixtures("boxes")
def test_an_internal_network_asks_nobody_else(host: Host) -> None:
    made = host.must("network", "create", "vault", "--subnet", "10.20.0.0/24", "--dns", "--internal", "-n")
    assert "--no-resolv" in made
    open_one = host.must("network", "create", "lan", "--subnet", "10.20.0.0/24", "--dns", "-n")
    assert "--no-resolv" not in open_one
    host.must("network", "create", "vault", "--subnet", "10.20.0.0/24", "--dns", "--internal")
    host.must("network", "connect", "vault", "netns:web")
    assert _find(host, "web", "web") == ["10.20.0.2"]


@pytest.mark.usefixtures("boxes")
def test_the_sandbox_has_a_hosts_file_of_its_own(host: Host) -> None:
    """What the host's says would come before what the name server answers."""
    host.check("tee", "/etc/hosts", input="127.0.0.1 localhost\n192.0.2.66 db\n")
    host.must("network", "create", "lan", *SUBNETS, "--dns")
    host.must("network", "connect", "lan", "netns:web", "--alias", "www")
    host.must("network", "connect", "lan", "netns:db")
    assert host.check("getent", "hosts", "db").split()[0] == "192.0.2.66"
    assert _find(host, "web", "db") == ["10.20.0.3", "fd20::3"]
    text = "127.0.0.1 localhost\n::1 localhost\n10.20.0.2 web www\nfd20::2 web www\n"
    for enter in (("sandbox", "exec", "web"), ("run", "--network", "container:netns:web")):
        assert host.check(*host.nettool_argv(*enter, "--", "cat", "/etc/hosts")) == text
    host.must("network", "connect", "lan", "netns:web", "--alias", "shop")
    assert "10.20.0.2 web www shop\n" in host.check("cat", "/etc/netns/web/hosts")
    host.must("undo", "last")
    assert host.check("cat", "/etc/netns/web/hosts") == text
    host.must("network", "disconnect", "lan", "netns:web")
    assert host.check("find", "/etc/netns", "-path", "*web*") == ""


@pytest.mark.usefixtures("boxes")
def test_a_resolver_that_is_there_stays(host: Host) -> None:
    host.check("mkdir", "-p", "/etc/netns/web", "/etc/netns/db")
    host.check("tee", "/etc/netns/web/resolv.conf", input="nameserver 192.0.2.1\n")
    host.check("tee", "/etc/netns/db/hosts", input="192.0.2.9 mine\n")
    host.must("network", "create", "lan", "--subnet", "10.20.0.0/24", "--dns")
    for box in ("web", "db"):
        host.must("network", "connect", "lan", f"netns:{box}")
    assert "192.0.2.1" in host.check("cat", "/etc/netns/web/resolv.conf")
    assert host.check("cat", "/etc/netns/db/resolv.conf") == "nameserver 10.20.0.1\n"
    for box in ("web", "db"):
        host.must("network", "disconnect", "lan", f"netns:{box}")
    assert host.check("cat", "/etc/netns/db/hosts") == "192.0.2.9 mine\n"
    left = sorted(host.check("find", "/etc/netns", "-type", "f").split())
    assert left == ["/etc/netns/db/hosts", "/etc/netns/web/resolv.conf"]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ("connect plain netns:web --alias www", 4, "network plain has no name server"),
        ("connect plain netns:web --alias -x", 2, "cannot be the name of a host"),
        ("connect plain netns:web --alias a..b", 2, "cannot be the name of a host"),
        (f"connect plain netns:web --alias {'a' * 64}", 2, "cannot be the name of a host"),
    ],
)
@pytest.mark.usefixtures("boxes")
def test_what_is_refused(host: Host, words: str, status: int, said: str) -> None:
    host.must("network", "create", "plain", "--subnet", "10.20.0.0/24")
    before = host.snapshot()
    done = host.nettool("network", *words.split())
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert difference(before, host.snapshot()) == ""


@pytest.mark.usefixtures("boxes")
def test_whatever_fails_the_names_are_as_before(host: Host, tmp_path: Path) -> None:
    shims = Shims(tmp_path / "shims")
    host.check("mkdir", "-p", "/etc/netns")
    # One that has had a port: the first one gives a bridge its own address.
    host.add_bridge("br-lan")
    for words in (
        ("network", "create", "lan", "--subnet", "10.20.0.0/24", "--bridge-name", "br-lan", "--dns"),
        ("network", "connect", "lan", "netns:web"),
    ):
        before, files = host.snapshot(), _files(host)
        plan = json.loads(host.nettool(*words, "--dry-run", "-o", "json").stdout)
        commands = [tuple(step["command"]) for step in plan["steps"] if step["status"] == "to do"]
        steps = [command for command in commands if command[0] in ("mkdir", "tee", "dnsmasq")]
        assert len(steps) >= (3 if "create" in words else 4)
        for step in steps:
            for then in ("exit 3", '"$real" "$@"; exit 3', "echo x >/dev/null; kill -9 $nettool; exit 1",
                         '"$real" "$@"; kill -9 $nettool; exit'):  # fmt: skip
                shims.set(Rule(step, then))
                done = host.nettool(*words, env=shims.env)
                assert done.returncode in (1, -9), done.stderr
                host.must("recover")
                assert difference(before, host.snapshot()) == "", f"{step} {then}: {done.stderr}"
                assert _files(host) == files, f"{step} {then}"
        host.must(*words)


def test_a_name_server_that_died_is_missed_and_mended(host: Host) -> None:
    host.must("network", "create", "lan", "--subnet", "10.20.0.0/24", "--dns")
    host.must("sandbox", "create", "web")
    host.must("network", "connect", "lan", "netns:web")
    host.check("pkill", "-KILL", "-F", "/run/nettool-dns/servers/lan/pid")
    host.check("rm", "-r", "/run/nettool-dns/names")
    shown = host.nettool("diff")
    assert shown.returncode == 3
    assert "missing: dnsmasq runs with /run/nettool-dns/servers/lan/pid" in shown.stdout
    host.must("repair")
    assert _find(host, "web", "web") == ["10.20.0.2"]
    assert host.nettool("diff").returncode == 0


@pytest.fixture
def network(docker: Docker) -> Iterator[None]:
    docker.must("network", "create", "lan", "--subnet", "10.20.0.0/24", "--dns")
    yield
    docker.rm("web")
    docker.must("gc")
    # What is on record of a container that was removed can be forgotten.
    docker.must("network", "disconnect", "lan", "web")
    docker.must("network", "rm", "lan")


@pytest.mark.usefixtures("network")
def test_a_container_and_a_process_find_each_other(docker: Docker) -> None:
    host = docker
    host.cli(
        "run", "-d", "--network", "none", "--dns", "10.20.0.1", "--name", "web", IMAGE,
        "httpd", "-f", "-p", "80", "-h", "/www",
    )  # fmt: skip
    host.must("network", "connect", "lan", "web")
    fetch = ("curl", "-sm", "5", "http://web/")
    page = host.check(*host.nettool_argv("run", "--network", "lan", "--name", "me", "--", *fetch))
    assert page == "hello from busybox\n"
    serve = ("busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
    process = host.popen(*host.nettool_argv("run", "--network", "lan", "--name", "me", "--", *serve))
    try:
        listening = "until ip netns exec me ss -Hltn | grep -q :80; do sleep 0.1; done"
        host.check("timeout", "10", "sh", "-c", listening)
        got = host.cli("exec", "web", "wget", "-qO-", "http://me/hostname")
        assert got == host.check("cat", "/etc/hostname").strip()
    finally:
        process.terminate()
        process.wait(20)


def test_a_name_server_is_told(host: Host) -> None:
    host.must("network", "create", "lan", "--subnet", "10.20.0.0/24", "--dns")
    assert json.loads(host.must("network", "inspect", "lan", "-o", "json"))["dns"] is True
    assert "names     by its gateway" in host.must("network", "inspect", "lan")
