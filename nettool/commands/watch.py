"""`nettool watch`: restore at once what is on record, whenever a container starts."""

from __future__ import annotations

from nettool.arguments import Verb
from nettool.commands.options import LOCK_TIMEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> int:
    """Carry out `nettool watch`."""
    from nettool.pipeline import Mode
    from nettool.watching import watch

    watch(Mode.of(arguments))
    return 0


VERB = Verb(
    name="watch",
    summary="Wire containers as soon as they start, as `nettool restore` does.",
    description="Follows what Docker and Podman say, and which interfaces are removed, until it is ended by "
    "Ctrl-C or SIGTERM.",
    run=run,
    options=(LOCK_TIMEOUT,),
    examples=("nettool watch",),
)
