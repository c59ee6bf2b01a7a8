"""The same network, made once by Docker 20.10 and once by nettool: every difference has its reason."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
from compared import (
    BRIDGE,
    CHAINS,
    DIFFERENCES,
    DOCKERS_OWN,
    KINDS,
    SUBNET,
    compare,
    read,
    tables,
    unexplained,
)
from hosts import ROOT, Host
from real import IMAGE

if TYPE_CHECKING:
    from compared import Comparison, Kind, Made
    from real import Docker

# What dockerd makes is looked up once, by one worker.
pytestmark = pytest.mark.xdist_group("compared")
PAGE = ROOT / "docs/compared-with-docker.md"
_BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(?=<!-- end -->)", re.DOTALL)


def _by_docker(docker: Docker, kind: Kind) -> Made:
    docker.cli("network", "create", "--subnet", SUBNET, "--opt", f"com.docker.network.bridge.name={BRIDGE}",
               *kind.docker, "same")  # fmt: skip
    try:
        ports = [word for port in kind.ports for word in ("--publish", port)]
        docker.cli("run", "-d", "--name", "same", "--network", "same", *ports, IMAGE, "sleep", "1000")
        return read(docker)
    finally:
        docker.run("docker", "rm", "-f", "same")
        docker.cli("network", "rm", "same")


def _by_nettool(kind: Kind) -> Made:
    with Host() as host:
        ports = [word for port in kind.ports for word in ("--publish", port)]
        create = ("network", "create", "same", "--subnet", SUBNET, "--bridge-name", BRIDGE, *kind.nettool)
        for words in (create, ("network", "connect", "same", f"pid:{host.container()}", *ports)):
            done = host.nettool(*words)
            assert done.returncode == 0, done.stderr
        return read(host)


@pytest.fixture(scope="module")
def made(docker: Docker) -> dict[str, tuple[Made, Made]]:
    """What each of the two has made, for every kind of network."""
    return {kind.name: (_by_docker(docker, kind), _by_nettool(kind)) for kind in KINDS}


@pytest.fixture(scope="module")
def compared(made: dict[str, tuple[Made, Made]]) -> dict[str, Comparison]:
    return {name: compare(*both) for name, both in made.items()}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_rule_has_a_counterpart_or_a_reason(compared: dict[str, Comparison], kind: Kind) -> None:
    assert compared[kind.name].same
    assert "\n".join(unexplained(compared[kind.name])) == ""


def test_every_reason_is_about_rules_that_are_there(compared: dict[str, Comparison]) -> None:
    docker = {rule for found in compared.values() for rule in found.docker}
    nettool = {rule for found in compared.values() for rule in found.nettool}
    assert [rule for each in DIFFERENCES for rule in each.docker if rule not in docker] == []
    assert [rule for each in DIFFERENCES for rule in each.nettool if rule not in nettool] == []


def test_every_chain_has_its_counterpart(made: dict[str, tuple[Made, Made]]) -> None:
    theirs = {chain for docker, _ in made.values() for chain in docker.chains}
    ours = {chain for _, nettool in made.values() for chain in nettool.chains}
    assert ours == set(CHAINS)
    assert {chain for chain in theirs if "DOCKER" in chain} - DOCKERS_OWN <= {c for c, _ in CHAINS.values()}


def test_the_page_shows_what_was_found(compared: dict[str, Comparison]) -> None:
    fresh = tables(compared)
    text = PAGE.read_text()
    written = _BLOCK.sub(lambda block: block[1] + fresh.pop(block[2]), text)
    assert fresh == {}, "the page lacks a table"
    if os.environ.get("NETTOOL_UPDATE_DOCS"):
        PAGE.write_text(written)
    else:
        assert text == written
