"""A control group for one process: how much memory and how many CPUs it may have.

Version 2 has one tree for all controllers, version 1 a tree each (cgroups(7)); which one a host has
is seen in /sys/fs/cgroup.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress

from nettool.errors import Refused, UsageError
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final, Self

_ROOT: Final = "/sys/fs/cgroup"
_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_PERIOD: Final = 100_000
"""The period in microseconds that a share of the CPUs is counted in: the kernel's own default."""


class Limits(Value):
    """What a process may use: bytes of memory, and CPUs (1.5: one and a half)."""

    memory: int | None = None
    cpus: float | None = None

    @property
    def any(self) -> bool:
        """Whether there are limits at all."""
        return self.memory is not None or self.cpus is not None


def parse_limits(memory: str | None, cpus: str | None) -> Limits:
    """Read `64m` and `1.5`. Raises UsageError."""
    found = re.fullmatch(r"(\d{1,15})([kmgt]?)b?", (memory or "").lower())
    if memory is not None and (found is None or int(found[1]) == 0):
        raise UsageError(f"--memory {memory!r} is no amount of memory", hints=("--memory 64m", "--memory 1g"))
    try:
        share = None if cpus is None else float(cpus)
    except ValueError:
        share = -1.0
    if share is not None and not 0.01 <= share <= 4096:
        raise UsageError(f"--cpus {cpus!r} is no number of CPUs", hints=("--cpus 0.5", "--cpus 2"))
    return Limits(int(found[1]) * _UNITS[found[2]] if found else None, share)


class Cgroup:
    """A control group that nettool makes: `with Cgroup(name, limits) as group: group.add(pid)`.

    Without limits there is none. Leaving the block removes it; one that still has processes stays. Raises
    Refused where the host has no such controller.
    """

    def __init__(self, name: str, limits: Limits) -> None:
        self._name = name
        self._limits = limits
        self._folders: list[str] = []

    def __enter__(self) -> Self:
        try:
            if not self._limits.any:
                return self
            if os.path.exists(f"{_ROOT}/cgroup.controllers"):
                self._make_unified()
            else:
                self._make_split()
        except OSError as error:
            self._remove()
            raise Refused(
                "this host cannot limit memory or CPUs", why=(f"{error.filename}: {error.strerror}",)
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def add(self, pid: int) -> None:
        """Put a process into the group."""
        for folder in self._folders:
            _write(f"{folder}/cgroup.procs", str(pid))

    def _make_unified(self) -> None:
        wanted = {"memory": self._limits.memory, "cpu": self._limits.cpus}
        switches = " ".join(f"+{name}" for name, limit in wanted.items() if limit is not None)
        os.makedirs(f"{_ROOT}/nettool", exist_ok=True)
        for folder in (_ROOT, f"{_ROOT}/nettool"):
            _write(f"{folder}/cgroup.subtree_control", switches)
        folder = self._made(f"{_ROOT}/nettool/{self._name}")
        if self._limits.memory is not None:
            _write(f"{folder}/memory.max", str(self._limits.memory))
        if self._limits.cpus is not None:
            _write(f"{folder}/cpu.max", f"{int(self._limits.cpus * _PERIOD)} {_PERIOD}")

    def _make_split(self) -> None:
        if self._limits.memory is not None:
            folder = self._made(f"{_ROOT}/memory/nettool/{self._name}")
            _write(f"{folder}/memory.limit_in_bytes", str(self._limits.memory))
        if self._limits.cpus is not None:
            folder = self._made(f"{_ROOT}/cpu/nettool/{self._name}")
            _write(f"{folder}/cpu.cfs_period_us", str(_PERIOD))
            _write(f"{folder}/cpu.cfs_quota_us", str(int(self._limits.cpus * _PERIOD)))

    def _made(self, folder: str) -> str:
        os.makedirs(folder, exist_ok=True)
        self._folders.append(folder)
        return folder

    def _remove(self) -> None:
        for folder in self._folders:
            # Its last processes may be at their end still, and then it goes with the next one.
            with suppress(OSError):
                os.rmdir(folder)
            with suppress(OSError):
                os.rmdir(os.path.dirname(folder))


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
