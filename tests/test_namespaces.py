"""Going into a network namespace, and coming back whatever happens there."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from nettool import namespaces
from nettool.run import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hosts import Host

OWN: Final = "/proc/thread-self/ns/net"


@pytest.fixture
def sandbox(host: Host) -> Iterator[int]:
    if os.geteuid():
        pytest.skip("only root may enter a namespace of a process that it did not start there")
    opened = os.open(f"/proc/{host.container()}/ns/net", os.O_RDONLY)
    yield opened
    os.close(opened)


def _here() -> int:
    return os.stat(OWN).st_ino


def test_a_command_is_started_inside_and_this_process_is_back(sandbox: int) -> None:
    before, inside = _here(), os.fstat(sandbox).st_ino
    with namespaces.inside(sandbox):
        started = run(("readlink", "/proc/self/ns/net"))
    assert started.stdout == f"net:[{inside}]\n"
    assert _here() == before != inside


def test_an_error_inside_leads_back_as_well(sandbox: int) -> None:
    before, files = _here(), len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyboardInterrupt), namespaces.inside(sandbox):
        raise KeyboardInterrupt
    assert (_here(), len(os.listdir("/proc/self/fd"))) == (before, files)


def test_what_is_no_network_namespace_is_not_entered() -> None:
    before, other = _here(), os.open("/proc/self/ns/uts", os.O_RDONLY)
    with pytest.raises(OSError, match="Invalid argument"), namespaces.inside(other):
        pytest.fail("entered")
    os.close(other)
    assert _here() == before


def test_who_cannot_come_back_ends_before_anything_is_done_to_the_sandbox(sandbox: int) -> None:
    """In a process of its own, which the kernel refuses the way back."""
    program = """
import errno, os, sys
from nettool import namespaces
real, ways = namespaces.call, []
def call(name, *arguments):
    ways.append(name)
    if len(ways) == 2:
        raise OSError(errno.EPERM, "no")
    real(name, *arguments)
namespaces.call = call
with namespaces.inside(int(sys.argv[1])):
    print("inside", flush=True)
print("done to the sandbox", flush=True)
"""
    argv = (sys.executable, "-c", program, str(sandbox))
    done = subprocess.run(argv, capture_output=True, text=True, pass_fds=(sandbox,), check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "inside\n", "")
