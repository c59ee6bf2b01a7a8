"""Containers of real engines: wired, reached over HTTP from the host, and taken back."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
from real import PAGE
from snapshot import difference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from real import Docker, Engine, Podman

DIALECTS = ("classic", "modern")


@pytest.fixture
def docker_web(docker: Docker) -> Iterator[int]:
    """A container without a network, on a docker0 that has had ports before."""
    yield _ready(docker)
    docker.rm("web")


@pytest.fixture
def podman_web(podman: Podman) -> Iterator[int]:
    if "docker0" not in podman.check("ip", "link"):
        podman.add_bridge("docker0", "172.17.0.1/16")
    yield _ready(podman)
    podman.rm("web")


def _ready(engine: Engine) -> int:
    # The kernel gives a bridge its link-local address at its first port, whoever plugs it in.
    engine.check("ip", "link", "add", "name", "first", "type", "veth", "peer", "name", "port")
    engine.check("ip", "link", "set", "dev", "first", "master", "docker0", "up")
    engine.check("ip", "link", "set", "dev", "port", "up")
    _until_carrier(engine)
    engine.check("ip", "link", "del", "dev", "first")
    return engine.run_none("web")


def _until_carrier(engine: Engine) -> None:
    deadline = time.monotonic() + 5
    while "tentative" in (said := engine.check("ip", "-6", "address", "show", "dev", "docker0")) or (
        "fe80" not in said
    ):
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


def _fetch(engine: Engine, address: str) -> str:
    return engine.check("curl", "-sm", "5", "--retry-connrefused", "--retry", "5", f"http://{address}/")


def _story(engine: Engine, pid: int, target: str, dialect: str) -> None:
    before = engine.snapshot(pid)
    options = ("--container", target, "--ip", "172.17.0.10/16", "--ip", "fd00:17::10/64", "--gateway", "auto")
    engine.nettool("attach", *options, "--dialect", dialect).check_returncode()
    assert _fetch(engine, "172.17.0.10") == PAGE
    assert "nothing to do" in engine.nettool("attach", *options, "--dialect", dialect).stdout
    engine.nettool("detach", "--container", target).check_returncode()
    assert difference(before, engine.snapshot(pid)) == ""


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("target", ["web", "docker:web"])
def test_docker_container(docker: Docker, docker_web: int, target: str, dialect: str) -> None:
    _story(docker, docker_web, target, dialect)


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("target", ["web", "podman:web"])
def test_podman_container(podman: Podman, podman_web: int, target: str, dialect: str) -> None:
    _story(podman, podman_web, target, dialect)


def test_the_same_address_again_answers_at_once(docker: Docker, docker_web: int) -> None:
    assert docker_web
    for _ in range(3):
        docker.nettool("attach", "--container", "web", "--ip", "172.17.0.10/16").check_returncode()
        assert docker.check("curl", "-sm", "3", "http://172.17.0.10/") == PAGE
        docker.nettool("detach", "--container", "web").check_returncode()


def test_an_address_of_a_docker_container_is_refused(docker: Docker, docker_web: int) -> None:
    assert docker_web
    docker.cli("run", "-d", "--name", "other", "bb:1", "httpd", "-f", "-h", "/www")
    address = docker.cli("inspect", "--format", "{{.NetworkSettings.IPAddress}}", "other")
    done = docker.nettool("attach", "--container", "web", "--ip", f"{address}/16")
    docker.rm("other")
    assert done.returncode == 4
    assert f"address {address} is in use" in done.stderr
    assert "answers for it" in done.stderr


def test_a_host_network_container_is_refused(docker: Docker) -> None:
    docker.cli("run", "-d", "--network=host", "--name", "hosty", "bb:1", "sleep", "60")
    done = docker.nettool("attach", "--container", "hosty", "--ip", "172.17.0.10/16")
    docker.rm("hosty")
    assert done.returncode == 4
    assert "no network namespace of its own" in done.stderr


def test_a_stopped_container_is_refused(docker: Docker) -> None:
    docker.cli("create", "--network=none", "--name", "idle", "bb:1", "sleep", "60")
    done = docker.nettool("attach", "--container", "idle", "--ip", "172.17.0.10/16")
    docker.rm("idle")
    assert done.returncode == 4
    assert "docker start idle" in done.stderr


def test_an_absent_container_is_not_found(docker: Docker) -> None:
    done = docker.nettool("attach", "--container", "nobody", "--ip", "172.17.0.10/16", "-o", "json")
    assert done.returncode == 5
    assert json.loads(done.stdout)["error"]["exit_status"] == 5


def test_a_script_finds_the_container_anew(docker: Docker, docker_web: int, tmp_path: Path) -> None:
    before = docker.snapshot()
    script = tmp_path / "attach.sh"
    options = ("--container", "docker:web", "--ip", "172.17.0.10/16", "--export", str(script))
    docker.nettool("attach", *options).check_returncode()
    docker.cli("restart", "-t", "0", "web")
    assert docker.container_pid("web") != docker_web
    docker.check("bash", str(script))
    assert _fetch(docker, "172.17.0.10") == PAGE
    docker.check("bash", str(script), "undo")
    assert difference(before, docker.snapshot()) == ""


def test_show_names_the_container(docker: Docker, docker_web: int) -> None:
    assert docker_web
    docker.nettool("attach", "--container", "web", "--ip", "172.17.0.10/16").check_returncode()
    shown = docker.nettool("show").stdout
    docker.nettool("detach", "--container", "web").check_returncode()
    row = next(line for line in shown.splitlines() if line.startswith("docker:web"))
    assert row.split()[1:3] == ["eth0", "172.17.0.10/16"]
    assert row.split()[-1] == "docker0"
