"""The confirm timer as a unit of a real systemd, in namespaces of its own.

It is process 1 of its own process namespace, with a few empty units instead of the machine's, a
read-only file system and read-only sysctls: nothing of it reaches the machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from hosts import ROOT, TIMEOUT_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

SYSTEMD: Final = "/lib/systemd/systemd"
TARGETS: Final = ("tiny", "sysinit", "basic", "shutdown", "timers", "paths", "sockets")
_START: Final = f"""
set -e
mount --make-rprivate /
mount -o remount,bind,ro /
mount -t proc proc /proc
mount -o bind,ro /proc/sys /proc/sys
mount -t tmpfs -o mode=755 tmpfs /run
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/units /run/netns
for name in {" ".join(TARGETS)}; do
    printf '[Unit]\\nDefaultDependencies=no\\n' >/run/units/$name.target
done
mkdir -p /run/none
export container=other SYSTEMD_UNIT_PATH=/run/units SYSTEMD_GENERATOR_PATH=/run/none
exec {SYSTEMD} --unit=tiny.target --log-target=console
"""


class Machine:
    """A systemd of its own, in a network of its own."""

    def __init__(self) -> None:
        spaces = ("--pid", "--mount", "--net", "--cgroup", "--uts", "--ipc")
        self._unshare = subprocess.Popen(
            ("unshare", *spaces, "--fork", "--kill-child", "sh", "-c", _START),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._enter: tuple[str, ...] = ()

    def up(self) -> bool:
        """Wait until systemd answers."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and self._unshare.poll() is None:
            children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
            for pid in children.read_text().split():
                self._enter = ("nsenter", "--target", pid, "--pid", "--mount", "--net", "--cgroup")
                if self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded"):
                    return True
            time.sleep(0.1)
        return False

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (*self._enter, *argv), capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS,
            cwd="/", env={**os.environ, "PYTHONPATH": str(ROOT), "NETTOOL_RUN_DIR": "/run/nettool"},
        )  # fmt: skip

    def nettool(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "nettool", *words)

    def links(self) -> list[str]:
        return [line.split()[1] for line in self.run("ip", "-o", "link").stdout.splitlines()]

    def close(self) -> None:
        self._unshare.kill()
        self._unshare.wait(TIMEOUT_SECONDS)


@pytest.fixture
def machine() -> Iterator[Machine]:
    if os.geteuid() or not os.access(SYSTEMD, os.X_OK) or shutil.which("systemd-run") is None:
        pytest.skip("no systemd here, or no right to start one")
    made = Machine()
    try:
        if not made.up():
            pytest.skip("systemd does not come up here")
        commands = ("link add name docker0 type bridge", "link set dev docker0 up",
                    "address add 172.17.0.1/16 dev docker0", "netns add blue")  # fmt: skip
        for command in commands:
            assert made.run("ip", *command.split()).returncode == 0
        yield made
    finally:
        made.close()


def _attach(machine: Machine, seconds: int) -> str:
    words = ("attach", "--netns", "blue", "--ip", "172.17.0.10/16", "--confirm-within", f"{seconds}s")
    done = machine.nettool(*words, "-o", "json")
    assert done.returncode == 0, done.stderr
    assert any(name.startswith("nt") for name in machine.links())
    run: str = json.loads(done.stdout)["run"]
    return run


@pytest.mark.battery("B15")
def test_systemd_takes_back_what_nobody_confirmed(machine: Machine) -> None:
    before = machine.links()
    run = _attach(machine, 1)
    assert f"nettool-{run}.timer" in machine.run("systemctl", "list-units", "--all").stdout
    assert machine.run("pgrep", "-f", "rollback.sh").stdout == ""
    deadline = time.monotonic() + 15
    while machine.links() != before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert machine.links() == before
    assert machine.nettool("confirm", run).returncode == 9


@pytest.mark.battery("B15")
def test_a_word_in_time_stops_the_unit(machine: Machine) -> None:
    run = _attach(machine, 60)
    assert machine.nettool("confirm").returncode == 0
    assert run not in machine.run("systemctl", "list-units", "--all").stdout
    assert any(name.startswith("nt") for name in machine.links())
    assert machine.nettool("detach", "--netns", "blue").returncode == 0
