"""The transaction log: what a run is going to do, written before it does it.

A run has a folder of its own, `/run/nettool/tx/ID/`, with a journal of one JSON object a line, each
with a checksum. Space is taken before the first step, so that a full disk cannot stop a rollback.
The folder lives in /run, since it is about the kernel's state, which dies with the boot.

    begin    what is planned, with every step's undo, and the boot it is for
    intent   which steps come next; written and on disk before they run
    done     which of them ran
    failed   which of them were refused, and changed nothing
    verified the host shows what was planned; only records are left to write
    armed    what takes the run back unless it is confirmed, before the first step
    undo     which step is being taken back
    end      how it ended: committed, taken back, not confirmed, or incomplete
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import zlib

from nettool.codec import Malformed, decode, encode
from nettool.effects import FACTS, Gone
from nettool.errors import Refused
from nettool.facts import NeighbourFact, Netns, RouteFact
from nettool.fingerprint import fingerprint
from nettool.history import COMMITTED, INCOMPLETE, TAKEN_BACK, Logged, Timer
from nettool.ipam import Subnet
from nettool.model import Connection, Endpoint, HostFile, Network, NetworkRecord, Record, Sandbox
from nettool.plan import Change, Command, Entry, GoesWith, NetworkChange, Scope, Stays, Step
from nettool.ports import PublishedPort
from nettool.store.rundir import boot_id, remove_folder, run_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Final

    from nettool.facts import Facts
    from nettool.plan import Plan

CLASSES: Final = (
    *FACTS, Change, Command, Connection, Endpoint, Entry, GoesWith, Gone, HostFile, NeighbourFact, Netns,
    Network, NetworkChange, NetworkRecord, PublishedPort, Record, RouteFact, Sandbox, Scope, Stays, Step,
    Subnet,
)  # fmt: skip
OPEN = "tx"
"""The folder of runs that have not ended."""
ENDED = "history"
"""The folder of runs that have."""
KEPT: Final = 50
"""How many ended runs' journals are kept."""
_LEAST_BYTES: Final = 1 << 16


class Undoing:
    """A journal open for writing how a run is taken back."""

    def __init__(self, name: str, at: int, flags: int = 0) -> None:
        self.id = name
        self._fd = os.open(_path(name), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | flags, 0o600)
        self._at = at

    def undoing(self, key: str) -> None:
        """Write down which step is being taken back.

        A disk that does not take the line must not stop the way back: what has to be undone is
        found on the host itself.
        """
        with contextlib.suppress(OSError):
            self._write({"kind": "undo", "key": key})

    def end(self, how: str) -> None:
        """Write down how the run ended, and close; unless something is left, put it with the ended.

        Without the line, the next recovery looks at the run once more: that does no harm.
        """
        with contextlib.suppress(OSError):
            self._write({"kind": "end", "how": how})
            os.ftruncate(self._fd, self._at)
        self.close()
        if how != INCOMPLETE:
            # Somebody may have removed the folder; the run has ended all the same.
            with contextlib.suppress(OSError):
                put_away(self.id)

    def close(self) -> None:
        """Close the file; the run goes on without this process."""
        os.close(self._fd)

    def _write(self, line: dict[str, Any]) -> None:
        text = json.dumps(line)
        data = f"{zlib.crc32(text.encode()):08x} {text}\n".encode()
        while data:
            # A write may take only part of what it is given.
            written = os.pwrite(self._fd, data, self._at)
            self._at += written
            data = data[written:]
        os.fdatasync(self._fd)


class Journal(Undoing):
    """The journal of one run, from its beginning."""

    def __init__(self, name: str, first: dict[str, Any]) -> None:
        os.mkdir(f"{run_folder()}/{OPEN}/{name}", 0o700)
        super().__init__(name, 0, os.O_CREAT | os.O_EXCL)
        os.posix_fallocate(self._fd, 0, max(_LEAST_BYTES, 4 * len(json.dumps(first))))
        self._write(first)

    def intend(self, places: Iterable[int]) -> None:
        """Write down which steps come next."""
        self._write({"kind": "intent", "steps": list(places)})

    def done(self, places: Iterable[int]) -> None:
        """Write down which steps ran."""
        self._write({"kind": "done", "steps": list(places)})

    def verified(self) -> None:
        """Write down that the host shows what was planned: from here on the run is finished, not undone."""
        self._write({"kind": "verified"})

    def armed(self, timer: Timer) -> None:
        """Write down what takes the run back unless it is confirmed."""
        self._write({"kind": "armed", "timer": encode(timer.__dict__)})

    def failed(self, places: Iterable[int]) -> None:
        """Write down which steps were intended and did not change anything."""
        self._write({"kind": "failed", "steps": list(places)})


def begin(plan: Plan, facts: Facts) -> Journal:
    """Open the journal of a new run. Raises Refused when it cannot be written."""
    name = f"{time.time_ns() // 1_000_000:x}-{os.getpid()}"
    first = {
        "kind": "begin", "title": plan.title, "boot_id": facts.boot_id, "steps": encode(plan.to_do),
        "restores": encode(plan.restores), "sandboxes": encode(plan.sandboxes),
        "changes": encode(plan.changes), "networks": encode(plan.networks), "inverse": plan.inverse,
        "snapshot": fingerprint(facts), "undoes": plan.undoes,
    }  # fmt: skip
    try:
        return Journal(name, first)
    except OSError as error:
        why = (f"{run_folder()}/{OPEN}/{name}: {error.strerror}",)
        raise Refused("the journal of this run cannot be written", why=why) from error


def runs(folder: str) -> tuple[str, ...]:
    """Return the ids of the runs in a folder (`OPEN` or `ENDED`), oldest first."""
    try:
        return tuple(sorted(os.listdir(f"{run_folder()}/{folder}")))
    except (FileNotFoundError, PermissionError):
        # What root has done stays out of an ordinary user's sight.
        return ()


def put_away(name: str) -> None:
    """Put an ended run's journal with the others that have ended."""
    os.rename(f"{run_folder()}/{OPEN}/{name}", f"{run_folder()}/{ENDED}/{name}")
    for old in runs(ENDED)[:-KEPT]:
        remove_folder(f"{run_folder()}/{ENDED}/{old}")


def read_journal(name: str, folder: str = OPEN) -> Logged | None:
    """Read a journal; None when not even its beginning was written whole: then nothing ran."""
    lines = [line for line, _ in _lines(_path(name, folder))]
    if not lines or lines[0].get("kind") != "begin":
        return None
    begin = lines[0]
    started = [k for line in lines if line["kind"] == "intent" for k in line["steps"]]
    failed = {k for line in lines if line["kind"] == "failed" for k in line["steps"]}
    kinds = ("steps", "restores", "sandboxes", "changes", "networks")
    parts = {key: decode(begin[key], CLASSES, {"Fact": FACTS}) for key in kinds}
    return Logged(
        id=name,
        title=begin["title"],
        boot_id=begin["boot_id"],
        inverse=begin["inverse"],
        snapshot=begin["snapshot"],
        undoes=begin["undoes"],
        started=tuple(k for k in started if k not in failed),
        verified=_is_forward(lines),
        recorded=any(line["kind"] == "verified" for line in lines),
        timer=next((Timer(**line["timer"]) for line in lines if line["kind"] == "armed"), None),
        end=next((line["how"] for line in lines if line["kind"] == "end"), None) or _unsaid(lines, folder),
        **parts,
    )


def _unsaid(lines: list[dict[str, Any]], folder: str) -> str | None:
    """Return how a run ended whose last line a broken disk did not take: where it lies says so."""
    if folder == OPEN:
        return None
    return COMMITTED if _is_forward(lines) else TAKEN_BACK


def _is_forward(lines: list[dict[str, Any]]) -> bool:
    # A run whose records could not be written was verified, too, and is on its way back.
    return [line["kind"] for line in lines if line["kind"] in ("verified", "undo")] == ["verified"]


def read_runs(folder: str = ENDED) -> tuple[Logged, ...]:
    """Read the journals of this boot's runs in a folder, oldest first; what cannot be read is left out."""
    found = []
    for name in runs(folder):
        with contextlib.suppress(Malformed, KeyError, OSError):
            found.append(read_journal(name, folder))
    boot = boot_id()
    return tuple(logged for logged in found if logged is not None and logged.boot_id == boot)


def resume(name: str) -> Undoing:
    """Open the journal of a run that was cut off, to write behind its last whole line."""
    return Undoing(name, max((end for _, end in _lines(_path(name))), default=0))


def _path(name: str, folder: str = OPEN) -> str:
    return f"{run_folder()}/{folder}/{name}/journal"


def _lines(path: str) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield a journal's lines, each with where it ends, up to the first that is torn or unwritten."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        return
    at = 0
    for line in data.split(b"\n"):
        checksum, _, text = line.partition(b" ")
        if not text or f"{zlib.crc32(text):08x}".encode() != checksum:
            return
        at += len(line) + 1
        yield json.loads(text), at
