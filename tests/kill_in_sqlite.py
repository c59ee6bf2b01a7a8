"""Kills nettool right before the so-manyth statement that it gives to SQLite: imported in that process.

`NETTOOL_KILL_SQL` is the number; none is killed where there are fewer.
"""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
from typing import Any

_at = int(os.environ["NETTOOL_KILL_SQL"])
_count = itertools.count()
_connect = sqlite3.connect


def _look(_statement: str) -> None:
    if next(_count) == _at:
        os.kill(os.getpid(), signal.SIGKILL)


def connect(*args: Any, **options: Any) -> sqlite3.Connection:
    """Open a database whose statements are counted."""
    database = _connect(*args, **options)
    database.set_trace_callback(_look)
    return database


sqlite3.connect = connect  # type: ignore[assignment]  # it has one signature instead of many
