"""Fixtures for all tests: throw-away hosts, and hosts with a real container engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hosts import Host, HostUnavailableError
from real import Docker, EngineUnavailableError, Podman

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _opened(make: Callable[[], Host]) -> Iterator[Host]:
    try:
        made = make()
    except (HostUnavailableError, FileNotFoundError) as error:
        pytest.skip(f"no namespaces here: {error}")
    except EngineUnavailableError as error:
        pytest.skip(str(error))
    with made:
        yield made


@pytest.fixture
def host() -> Iterator[Host]:
    """A throw-away host for one test."""
    yield from _opened(Host)


@pytest.fixture(scope="module")
def module_host() -> Iterator[Host]:
    """A throw-away host that the tests of one module share."""
    yield from _opened(Host)


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with a Docker daemon, for all tests that ask for it; each removes what it started."""
    yield from _opened(lambda: Docker(tmp_path_factory.mktemp("docker")))


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with Podman, for all tests that ask for it; each removes what it started."""
    yield from _opened(lambda: Podman(tmp_path_factory.mktemp("podman")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use an engine, and keep them on one worker, so that it is started once."""
    for item in items:
        for engine in ("docker", "podman"):
            if engine in getattr(item, "fixturenames", ()):
                item.add_marker(engine)
                item.add_marker(pytest.mark.xdist_group(engine))
