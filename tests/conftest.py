"""Fixtures for all tests: throw-away hosts, and hosts with a real container engine."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

import pytest
from battery import PARTS, Cases, Report
from hosts import Host, HostUnavailableError
from parent_kinds import makes
from real import Docker, EngineUnavailableError, Podman

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# Where there are workers, they send what they have seen to the one process that writes.
_REPORT: Final = Report()


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


@pytest.fixture
def cases(record_property: Callable[[str, object], None]) -> Iterator[Cases]:
    """Count the cases that one test goes through, for the report."""
    counted = Cases()
    yield counted
    record_property("cases", counted.count)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this kernel cannot make: `scripts/test --kernel` boots one that can, and skips nothing."""
    needed = {kind for mark in item.iter_markers("kernel") for kind in mark.args}
    missing = sorted(kind for kind in needed if not makes(kind))
    if missing and "NETTOOL_TEST_KERNEL" in os.environ:
        pytest.fail(f"this kernel makes no {', '.join(missing)}")
    if missing:
        pytest.skip(f"this kernel makes no {', '.join(missing)}: scripts/test --kernel boots one that does")


def pytest_configure() -> None:
    """Let signals reach what the tests start: a shell's background jobs ignore Ctrl-C, nohup's a hang-up."""
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take the figures of one phase of a test."""
    _REPORT.take(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report, where it is asked for."""
    if "NETTOOL_REPORT" in os.environ and not hasattr(session.config, "workerinput"):
        alone = session.config.getoption("markexpr") == "battery"
        _REPORT.write("the battery alone" if alone else "the whole suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the battery, and those that use an engine; keep them on one worker."""
    for item in items:
        for mark in item.iter_markers("battery"):
            assert mark.args[0] in PARTS, f"{item.nodeid}: no such part of the battery"
            item.user_properties.append(("battery", mark.args[0]))
        for engine in ("docker", "podman"):
            if engine in getattr(item, "fixturenames", ()):
                item.add_marker(engine)
                item.add_marker(pytest.mark.xdist_group(engine))
