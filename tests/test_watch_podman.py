"""`nettool watch` follows a real Podman's events."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from hosts import until_said
from real import IMAGE, PAGE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from real import Podman


@pytest.fixture
def network(podman: Podman) -> Iterator[None]:
    podman.must("network", "create", "lan", "--subnet", "10.20.0.0/24")
    yield
    podman.rm("web")
    podman.must("gc")
    podman.nettool("network", "disconnect", "lan", "podman:web")
    podman.must("network", "rm", "lan")


@pytest.mark.usefixtures("network")
def test_a_container_of_podmans_is_wired_as_soon_as_it_starts(podman: Podman, tmp_path: Path) -> None:
    host, said = podman, tmp_path / "said"
    web = ("--network", "none", "--name", "web", IMAGE, "httpd", "-f", "-p", "80", "-h", "/www")
    host.cli("create", *web)
    connect = host.nettool("network", "connect", "lan", "podman:web", "--publish", "8080:80")
    assert connect.returncode == 0, connect.stderr
    assert "it is wired when it runs" in connect.stderr
    with said.open("w") as file:
        watching = host.popen(*host.nettool_argv("watch"), output=file)
    try:
        until_said(said, "following", 1)
        for number, verb in enumerate(("start", "restart -t 0", "restart -t 0"), 1):
            host.cli(*verb.split(), "web")
            until_said(said, "done: connect podman:web to lan", number)
            for address in ("10.20.0.2", "127.0.0.1:8080"):
                ask = ("curl", "-sm", "5", "--retry-connrefused", "--retry", "5", f"http://{address}/")
                assert host.check(*ask) == PAGE
        # One that is nettool's concern no more is left alone.
        host.must("network", "disconnect", "lan", "podman:web")
        host.cli("restart", "-t", "0", "web")
        time.sleep(1)
        assert "eth0" not in host.inside(host.container_pid("web"), "ip", "-o", "link")
    finally:
        watching.terminate()
    assert watching.wait(10) == 0
    assert not any("podman events" in command for command in host.commands())
