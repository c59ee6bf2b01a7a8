"""Look again at what may be over in an instant: what watches a machine enters its namespaces."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final, TypeVar

    T = TypeVar("T")

LOOKS: Final = 3
PAUSE_SECONDS: Final = 0.1


def look_again(look: Callable[[], T], *, until: Callable[[T], bool]) -> T:
    """Return what a look gives once that will do; what the last of three gives, whether it will or not."""
    for _ in range(LOOKS - 1):
        seen = look()
        if until(seen):
            return seen
        time.sleep(PAUSE_SECONDS)
    return look()
