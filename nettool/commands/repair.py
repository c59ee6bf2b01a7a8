"""`nettool repair`: make again what `nettool diff` shows."""

from __future__ import annotations

from nettool.arguments import Verb
from nettool.commands.options import DRY_RUN, EXPLAIN, JSON, LOCK_TIMEOUT
from nettool.commands.restore import run

VERB = Verb(
    name="repair",
    summary="Make again what `nettool diff` shows: what is on record and no longer so.",
    description="The same as `nettool restore`.",
    run=run,
    options=(DRY_RUN, EXPLAIN, JSON, LOCK_TIMEOUT),
    examples=("nettool repair --dry-run", "nettool repair"),
)
