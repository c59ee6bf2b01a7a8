"""Records of this boot, a JSON file an endpoint, in the run folder (`/run/nettool`).

An attached endpoint lives in the kernel and dies with it, so its record lives where a reboot wipes
it. An exported script leaves its notes beside the records: a text file a host end, one line a step.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress

from nettool.codec import Malformed, decode, encode
from nettool.errors import Refused
from nettool.facts import NeighbourFact, Netns, RouteFact
from nettool.model import Endpoint, HostFile, Record, Records, Sandbox, Trace
from nettool.ports import PublishedPort

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Final

    from nettool.plan import Change

FORMAT: Final = 3
_CLASSES: Final = (Endpoint, HostFile, NeighbourFact, Netns, PublishedPort, Record, RouteFact, Sandbox)


def run_folder() -> str:
    """Return the folder of this boot's state: `NETTOOL_RUN_DIR`, or /run/nettool."""
    return os.environ.get("NETTOOL_RUN_DIR") or "/run/nettool"


def remove_folder(path: str) -> None:
    """Remove a folder with all that is in it; what cannot be removed stays.

    To import `shutil` for that takes 4 ms, in every run.
    """
    with suppress(OSError):
        for folder, _, names in os.walk(path, topdown=False):
            for name in names:
                os.unlink(f"{folder}/{name}")
            os.rmdir(folder)


def boot_id() -> str:
    """Return what tells this boot of the machine from every other one."""
    return _read("/proc/sys/kernel/random/boot_id").strip()


def read_records() -> Records:
    """Read every record and every script's notes. A folder that is not there holds none.

    A record of another boot is of no use, where the folder has outlived it.

    Raises Refused when the folder could have been written by somebody else.
    """
    folder = f"{run_folder()}/endpoints"
    try:
        check_owner(folder)
        names = sorted(os.listdir(folder))
    except FileNotFoundError:
        return Records()
    except NotADirectoryError as error:
        raise Refused(f"the state folder {folder} is no folder", why=(str(error),)) from error
    except PermissionError:
        # An ordinary user may plan without root; what root remembers stays out of sight.
        return Records()
    records = (_read_record(f"{folder}/{name}") for name in names if name.endswith(".json"))
    traces = (_read_trace(folder, name) for name in names if name.endswith(".made"))
    return Records(tuple(record for record in records if record is not None), tuple(traces))


def prepare() -> None:
    """Make sure that the run folder is there and can be written to by nobody else. Raises Refused."""
    folder = run_folder()
    try:
        for path in (folder, *(f"{folder}/{name}" for name in ("endpoints", "tx", "history"))):
            os.makedirs(path, mode=0o700, exist_ok=True)
            check_owner(path)
    except OSError as error:
        raise Refused(
            f"the state folder {folder} cannot be used",
            why=(str(error),),
            hints=("NETTOOL_RUN_DIR=FOLDER for another place",),
        ) from error


def write_changes(changes: Iterable[Change]) -> None:
    """Record what a plan has changed. Raises OSError."""
    folder = f"{run_folder()}/endpoints"
    for change in changes:
        name = f"{folder}/{change.endpoint.host_end}"
        if change.after is not None:
            body = {"format": FORMAT, "boot_id": boot_id(), "record": encode(change.after)}
            _write(f"{name}.json", json.dumps(body))
        else:
            _remove(f"{name}.json")
            _remove(f"{name}.made")


def _read_record(path: str) -> Record | None:
    try:
        body: Any = json.loads(_read(path))
        current = (body.get("format"), body.get("boot_id")) == (FORMAT, boot_id())
        record = decode(body["record"], _CLASSES) if current else None
    except (OSError, ValueError, KeyError, AttributeError, Malformed) as error:
        raise Refused(
            f"the record {path} cannot be read",
            why=(f"{type(error).__name__}: {error}",),
            hints=("look at it, and remove it when it is of no use",),
        ) from error
    return record if isinstance(record, Record) else None


def _read_trace(folder: str, name: str) -> Trace:
    try:
        text = _read(f"{folder}/{name}")
    except OSError:
        text = ""
    return Trace(name.removesuffix(".made"), tuple(text.splitlines()))


def check_owner(folder: str) -> None:
    """Refuse a folder that somebody else could have written to. Raises Refused, and OSError."""
    found = os.stat(folder, follow_symlinks=False)
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o022:
        raise Refused(
            f"the state folder {folder} is not safe to use",
            why=("it belongs to another user, or others may write to it",),
            hints=(f"chown root {folder}; chmod 0700 {folder}",),
        )


def _read(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(fd, encoding="utf-8") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    """Put a file in its place whole, or not at all."""
    part = f"{path}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(part, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError:
        with suppress(OSError):
            os.unlink(part)
        raise


def remove_unfinished() -> None:
    """Remove records that somebody was cut off from writing. Call it under the host's lock."""
    folder = f"{run_folder()}/endpoints"
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.endswith(".json.part"):
                os.unlink(f"{folder}/{name}")


def _remove(path: str) -> None:
    # A read-only disk refuses to remove even what is not there.
    if os.path.lexists(path):
        os.unlink(path)
