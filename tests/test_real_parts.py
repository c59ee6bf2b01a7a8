"""The real container engines that other tests rely on work, and stay off the machine's network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from real import PAGE, busybox_image
from snapshot import difference, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from real import Docker, Engine, Podman


@pytest.fixture
def untouched() -> Iterator[None]:
    before = snapshot()
    yield
    assert difference(before, snapshot()) == ""


@pytest.mark.usefixtures("untouched")
def test_docker(docker: Docker) -> None:
    assert docker.cli("version", "--format", "{{.Server.Version}}")
    assert "172.17.0.1/16" in docker.check("ip", "-br", "address", "show", "dev", "docker0")
    assert "DOCKER-USER" in docker.check("iptables-save")
    _prove_none(docker)


@pytest.mark.usefixtures("untouched")
def test_docker_bridge(docker: Docker) -> None:
    docker.cli("run", "-d", "--name", "bridged", "-p", "8080:80", "bb:1", "httpd", "-f", "-h", "/www")
    assert docker.check("curl", "-sm", "5", "http://127.0.0.1:8080/") == PAGE
    docker.rm("bridged")


@pytest.mark.usefixtures("untouched")
def test_podman(podman: Podman) -> None:
    assert podman.cli("info", "--format", "{{.Host.NetworkBackend}}") == "cni"
    _prove_none(podman)


@pytest.mark.usefixtures("untouched")
def test_podman_bridge(podman: Podman) -> None:
    podman.cli("run", "-d", "--name", "bridged", "bb:1", "httpd", "-f", "-h", "/www")
    address = podman.cli("inspect", "--format", "{{.NetworkSettings.IPAddress}}", "bridged")
    assert podman.check("curl", "-sm", "5", f"http://{address}/") == PAGE
    podman.rm("bridged")


def _prove_none(engine: Engine) -> None:
    pid = engine.run_none("alone")
    links = engine.inside(pid, "ip", "-br", "link").splitlines()
    assert [link.split()[0] for link in links] == ["lo"]
    page = engine.inside(pid, "curl", "-sm", "5", "--retry-connrefused", "--retry", "5", "http://127.0.0.1/")
    assert page == PAGE
    engine.rm("alone")
    assert engine.containers() == []


def test_image_is_small() -> None:
    assert 100_000 < len(busybox_image()) < 8_000_000
