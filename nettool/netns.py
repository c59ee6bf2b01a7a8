"""The vocabulary of namespaces that nettool makes: one function a verb, which returns a Step."""

from __future__ import annotations

from nettool.netnseffects import MARK, Loopback, NewNetns
from nettool.plan import Command, GoesWith, Scope, Step


def add_netns(name: str) -> Step:
    """Make a namespace under a name (ip-netns(8)); it stays until the name goes."""
    return Step(
        do=Command(("ip", "netns", "add", name)),
        undo=Command(("ip", "netns", "del", name)),
        makes=NewNetns(name),
        scope=Scope.SANDBOX,
        why="a network namespace, with only lo in it",
    )


def mark_loopback(name: str, *, with_key: str) -> Step:
    """Switch a namespace's `lo` on; its alias says that nettool made the namespace."""
    return Step(
        do=Command(("ip", "-n", name, "link", "set", "dev", "lo", "alias", MARK, "up")),
        undo=GoesWith(with_key),
        makes=Loopback(name),
        scope=Scope.SANDBOX,
        why="switches lo on, and marks the namespace as nettool's",
    )
