"""Records that last: networks, in an SQLite file in the state folder (`/var/lib/nettool`).

The file's user_version says which schema it has; an older one is brought up when it is opened for
writing. A record is one JSON value, as `nettool.codec` writes it; columns are what must be unique.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os

from nettool.codec import Malformed, decode, encode
from nettool.errors import Refused
from nettool.ipam import Subnet
from nettool.model import Connection, Network, NetworkRecord
from nettool.store.rundir import check_owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator
    from typing import Final

    from nettool.plan import NetworkChange

_CLASSES: Final = (Connection, Network, NetworkRecord, Subnet)
_MIGRATIONS: Final = (
    """
    CREATE TABLE networks (
        name TEXT PRIMARY KEY,
        bridge TEXT UNIQUE,
        record TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    # The tables are the same; a record may say what was not known before (options, unmanaged).
    "",
)
_BUSY_SECONDS: Final = 10
# What SQLite writes for a change: some pages, and their journal.
_ROOM: Final = 64 * 1024


class _HalfWritten(OSError):  # noqa: N818 - it never leaves this module
    """The file has a journal of a run that was killed, which must be rolled back before it is read."""


def state_folder() -> str:
    """Return the folder of what lasts: `NETTOOL_STATE_DIR`, or /var/lib/nettool."""
    return os.environ.get("NETTOOL_STATE_DIR") or "/var/lib/nettool"


def read_networks() -> tuple[NetworkRecord, ...]:
    """Read every network, by name. Raises Refused for a file that cannot be read or believed."""
    path = _path()
    try:
        check_owner(state_folder())
        if not os.path.exists(path):
            return ()
    except FileNotFoundError:
        return ()
    except PermissionError:
        # An ordinary user may plan without root; what root remembers stays out of sight.
        return ()
    return tuple(_decoded(name, text) for name, text in _rows(path))


def _rows(path: str) -> list[tuple[str, str]]:
    """Return the rows as they are; what a killed run left half-written is rolled back by SQLite.

    For that it has to write, which a file that is opened for reading does not allow.
    """
    try:
        try:
            return _select(f"file:{path}?mode=ro")
        except _HalfWritten:
            return _select(f"file:{path}?mode=rw")
    except OSError as error:
        raise Refused(
            "the records of networks cannot be read",
            why=(str(error),),
            hints=(f"put {path} back from a backup", f"or: mv {path} {path}.broken; nettool adopt"),
        ) from error


def _select(uri: str) -> list[tuple[str, str]]:
    with _opened(uri) as database:
        if _version(database) == 0:
            return []
        return database.execute("SELECT name, record FROM networks ORDER BY name").fetchall()


def _decoded(name: str, text: str) -> NetworkRecord:
    try:
        record = decode(json.loads(text), _CLASSES)
    except (ValueError, Malformed) as error:
        raise Refused(f"the record of network {name} cannot be read", why=(f"{_path()}: {error}",)) from error
    if not isinstance(record, NetworkRecord):
        raise Refused(f"the record of network {name} is none", why=(_path(),))
    return record


def prepare_networks() -> None:
    """Make sure, before anything is done, that there is room for records. Raises Refused."""
    folder = state_folder()
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        check_owner(folder)
        # A file without a name: nothing of it is left, even by a kill.
        file = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, _ROOM)
        finally:
            os.close(file)
    except OSError as error:
        # Not every file system can: then what fails at the end is taken back.
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT):
            raise Refused(
                "the records of networks cannot be written",
                why=(f"{folder}: {error.strerror}",),
                hints=("make room there", "or: NETTOOL_STATE_DIR=FOLDER for another place"),
            ) from error


def write_networks(changes: Iterable[NetworkChange]) -> None:
    """Record networks that were made, and forget those that were removed, all or none.

    Doing it twice does no harm. Raises OSError when it cannot be written.
    """
    wanted = tuple(changes)
    if not wanted:
        return
    os.makedirs(state_folder(), mode=0o700, exist_ok=True)
    check_owner(state_folder())
    os.close(os.open(_path(), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    with _opened(f"file:{_path()}?mode=rw") as database, _transaction(database):
        _migrate(database)
        for change in wanted:
            if change.before is not None:
                database.execute("DELETE FROM networks WHERE name = ?", (change.before.network.name,))
            if change.after is not None:
                network = change.after.network
                row = (network.name, network.bridge, json.dumps(encode(change.after)))
                database.execute("INSERT OR REPLACE INTO networks VALUES (?, ?, ?)", row)


def _migrate(database: sqlite3.Connection) -> None:
    for number in range(_version(database), len(_MIGRATIONS)):
        for statement in _MIGRATIONS[number].split(";"):
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {number + 1}")


def _version(database: sqlite3.Connection) -> int:
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    if version > len(_MIGRATIONS):
        why = f"{_path()} has schema {version}, this nettool knows {len(_MIGRATIONS)}"
        raise Refused("the records were written by a newer nettool", why=(why,))
    return version


@contextlib.contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        # A disk that is full has SQLite roll back by itself.
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[sqlite3.Connection]:
    """Open the file; what SQLite says is wrong becomes an OSError, as with any other file."""
    import sqlite3  # only networks need it: 5 ms

    try:
        database = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_SECONDS)
        try:
            database.execute("PRAGMA synchronous = FULL")
            yield database
        finally:
            database.close()
    except sqlite3.Error as error:
        half_written = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_ROLLBACK
        raise (_HalfWritten if half_written else OSError)(f"{_path()}: {error}") from error


def _path() -> str:
    return f"{state_folder()}/state.db"
