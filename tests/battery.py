"""The battery of faults: what each of its parts is, and the report that a whole run writes.

A test belongs to a part by `@pytest.mark.battery("B1")`. It counts its cases with the fixture
`cases`; one that does not is one case.
"""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pytest

PARTS: Final = {
    "B1": "a command of the plan fails, before or after it did its work",
    "B2": "nettool is killed (-9) before, during and after each step, or with a torn journal",
    "B3": "nettool is killed inside a rollback, and inside a recovery",
    "B4": "SIGINT, SIGTERM, SIGHUP, and a second SIGINT, at each step",
    "B5": "the disk is full, over quota, broken or read-only, at each write",
    "B6": "a lock is held by somebody else",
    "B7": "two runs at once: same sandbox, other sandboxes, attach against detach",
    "B8": "64 runs at once",
    "B9": "a process dies, a name moves, an interface is renamed, a bridge goes, at each step",
    "B10": "reading verbs under a recorder of commands and of netlink messages",
    "B11": "a pid that is given again, a name that looks like a pid, a link that is swapped",
    "B12": "generated requests, and generated sequences of operations",
    "B13": "hostile names in every output",
    "B14": "exported scripts: run, run again, killed, undone",
    "B15": "a confirmation that does not come, comes late, or loses its terminal",
    "B16": "attach and detach, over and over",
    "B17": "a reboot",
    "B20": "bugs put into nettool on purpose, each of which a test must catch",
}
PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "reliability.md"
_FIGURES: Final = re.compile(r"(?<=<!-- figures -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)


@dataclass
class Cases:
    """How many cases one test has been through."""

    count: int = 0

    def add(self, number: int = 1) -> None:
        self.count += number


@dataclass
class Part:
    """What became of one part of the battery."""

    cases: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0


@dataclass
class Report:
    """The figures of one run, gathered from the tests' reports as they come in."""

    parts: dict[str, Part] = field(default_factory=dict)
    started: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    _skipped: set[str] = field(default_factory=set)

    def take(self, report: pytest.TestReport) -> None:
        """Count one phase of a test; what is recorded while its fixtures end comes with the last one."""
        values = dict(report.user_properties)
        name = values.get("battery")
        if not isinstance(name, str):
            return
        part = self.parts.setdefault(name, Part())
        part.seconds += report.duration
        part.failed += report.failed
        if report.skipped:
            part.skipped += 1
            self._skipped.add(report.nodeid)
        elif report.when == "teardown" and report.nodeid not in self._skipped:
            cases = values.get("cases")
            part.cases += cases if isinstance(cases, int) and cases else 1

    def table(self, what: str) -> str:
        """Return the figures of a run of what is named as a Markdown table."""
        minutes = (dt.datetime.now(dt.UTC) - self.started).total_seconds() / 60
        machine = f"Linux {platform.release()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        lines = [
            f"{self.started:%Y-%m-%d}, {machine}: {minutes:.0f} minutes for {what}.",
            "",
            "| part | fault | cases | failed | skipped tests | seconds |",
            "|---|---|---:|---:|---:|---:|",
        ]
        for name, text in PARTS.items():
            part = self.parts.get(name, Part())
            lines.append(
                f"| {name} | {text} | {part.cases} | {part.failed} | {part.skipped} | {part.seconds:.0f} |"
            )
        total = self.parts.values()
        lines.append(
            f"| | **all** | **{sum(p.cases for p in total)}** | **{sum(p.failed for p in total)}** "
            f"| {sum(p.skipped for p in total)} | {sum(p.seconds for p in total):.0f} |"
        )
        return "\n".join(lines) + "\n"

    def write(self, what: str) -> None:
        """Put the figures into the page on reliability."""
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(_FIGURES.sub(lambda _: self.table(what), page), encoding="utf-8")
