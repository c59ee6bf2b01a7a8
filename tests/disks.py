"""Runs nettool with a disk that goes wrong at a chosen call, and tells what nettool did (inject.py)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import TYPE_CHECKING

from shims import only_reads

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hosts import Host

Done = CompletedProcess[str]


@dataclass(frozen=True)
class Disk:
    """Runs nettool with a disk that goes wrong, and tells what nettool did."""

    host: Host
    log: Path

    def run(self, argv: Sequence[str], fault: str = "", env: Mapping[str, str] | None = None) -> Done:
        self.log.write_bytes(b"")
        ours = {"NETTOOL_INJECT": fault, "NETTOOL_INJECT_LOG": str(self.log)}
        return self.host.nettool(*argv, env={**(env or {}), **ours}, first="inject")

    def lines(self, kind: str, *, until: str = "") -> list[tuple[str, ...]]:
        """Return what is in the log of one kind; up to a line that somebody else has written there."""
        text = self.log.read_text(encoding="utf-8", errors="surrogateescape")
        text = text.partition(f"\036{until}\036")[0] if until else text
        lines = [tuple(line.split("\037")) for line in text.split("\036") if line]
        return [line[1:] for line in lines if line[0] == kind]

    @property
    def changed(self) -> bool:
        """Whether a command was started that could change something."""
        return any(not only_reads(words) for words in self.lines("run"))

    @property
    def struck(self) -> bool:
        return bool(self.lines("fault"))

    def forget(self) -> None:
        """Remove the journals of ended runs, so that each run makes the same calls."""
        for run in self.host.path("/run/nettool/history").glob("*"):
            shutil.rmtree(run)

    def left(self, *parts: str) -> list[str]:
        """Return which records and runs there are; what was never finished writing is no record."""
        folder = self.host.path("/run/nettool")
        names = (path.name for part in parts or ("endpoints", "tx") for path in (folder / part).glob("*"))
        return sorted(name for name in names if not name.endswith(".part"))

    def unfinished(self) -> list[str]:
        """Return the names of the records that somebody was cut off from writing."""
        return sorted(path.name for path in self.host.path("/run/nettool/endpoints").glob("*.part"))

    def judged(self, done: Done) -> list[str]:
        """Return what nettool should not have said about its last run."""
        problems = []
        if "Traceback" in done.stderr:
            problems.append(f"a traceback: {done.stderr.splitlines()[-1]}")
        if done.returncode not in ((0, 1) if self.changed else (0, 4)):
            problems.append(f"exit {done.returncode}, commands {'had' if self.changed else 'had not'} run")
        return problems
