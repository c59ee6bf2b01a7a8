"""Lets somebody be in a dead sandbox for one look of nettool's: imported in its process, before it begins.

`NETTOOL_VISIT` is the sandbox's process, of which nothing is left but what the visitor has opened; it
ends before the first look. The visitor is there once, while the host is read for the first time within a run.
"""

from __future__ import annotations

import os
import select
import signal
from typing import TYPE_CHECKING

from snapshot import setns

from nettool import journal, reading

if TYPE_CHECKING:
    from nettool.facts import SandboxFact

_pid = int(os.environ["NETTOOL_VISIT"])
_namespace = os.open(f"/proc/{_pid}/ns/net", os.O_RDONLY)
_look = reading.find_all
_visitors: list[int] = []
_been: list[int] = []


def find_all() -> tuple[SandboxFact, ...]:
    """Look for sandboxes, with the visitor in or out."""
    if _visitors:
        os.kill(_visitors[0], signal.SIGKILL)
        os.waitpid(_visitors[0], 0)
        _been.append(_visitors.pop())
    elif not _been and journal.runs(journal.OPEN):
        _visitors.append(_visitor())
    return _look()


def _visitor() -> int:
    came, said = os.pipe()
    pid = os.fork()
    if pid == 0:
        setns(_namespace)
        os.write(said, b"x")
        signal.pause()
    os.read(came, 1)
    return pid


def _end() -> None:
    opened = os.pidfd_open(_pid)
    os.kill(_pid, signal.SIGKILL)
    select.select([opened], [], [])  # readable when it has ended


_end()
reading.find_all = find_all
