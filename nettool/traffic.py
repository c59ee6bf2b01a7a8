"""Read who listens on this host, and which flows its kernel remembers. Reading never writes.

A packet of a flow that conntrack remembers is not held against the rules of nat any more: it goes where
the first one went. Where `conntrack` is not installed, nothing is known of flows.
"""

from __future__ import annotations

import re

from nettool.facts import FlowFact, SocketFact
from nettool.run import Started, find_tools

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_LISTENERS: Final = ("ss", "-H", "-l", "-n", "-p", "-t", "-u", "-S")
_FLOWS: Final = ("conntrack", "-L", "-p", "udp")
_COUNT: Final = "/proc/sys/net/netfilter/nf_conntrack_count"
_FLOW: Final = re.compile(
    r"udp .*?src=(?P<source>\S+) dst=(?P<destination>\S+) sport=\d+ dport=(?P<port>\d+) "
    r".*?src=(?P<answered_by>\S+) "
)


class Traffic:
    """A reading under way: its processes run while the caller does other things."""

    def __init__(self, *, with_sockets: bool = True) -> None:
        self._sockets = Started(_LISTENERS) if with_sockets else None
        self._flows = Started(_FLOWS) if _remembers_flows() and find_tools(_FLOWS[:1]) else None

    def finish(self) -> tuple[tuple[SocketFact, ...], tuple[FlowFact, ...]]:
        """Return who listens, and the flows of udp."""
        flows = parse_flows(self._flows.finish().stdout) if self._flows else ()
        return parse_sockets(self._sockets.finish().stdout) if self._sockets else (), flows


def _remembers_flows() -> bool:
    """Whether the kernel remembers a flow in this namespace: to list none takes it 8 ms. True if unsure."""
    try:
        with open(_COUNT, encoding="ascii") as file:
            return file.read().strip() != "0"
    except OSError:
        return True


def parse_sockets(text: str) -> tuple[SocketFact, ...]:
    """Parse what `ss -H -l -n -p` says of tcp, udp and sctp: who listens, where, and its process.

    An address may have its interface behind it (`127.0.0.53%lo`); `*` is every address.
    """
    found = []
    for line in text.splitlines():
        words = line.split(maxsplit=6)
        address, _, port = words[4].rpartition(":") if len(words) > 5 else ("", "", "")
        if not port.isdecimal():
            continue
        ip: str | None = address.strip("[]").partition("%")[0]
        owner = words[6].partition('("')[2].partition('"')[0] if len(words) > 6 else ""
        ip = None if ip in ("*", "0.0.0.0", "::") else ip  # noqa: S104 - what is compared, not bound to
        found.append(SocketFact(words[0], ip, int(port), owner if owner.isprintable() else ""))
    return tuple(found)


def parse_flows(text: str) -> tuple[FlowFact, ...]:
    """Parse what `conntrack -L` says of udp: the way there, and behind it the way back."""
    matches = (_FLOW.match(line) for line in text.splitlines())
    return tuple(
        FlowFact("udp", found["source"], found["destination"], int(found["port"]), found["answered_by"])
        for found in matches
        if found
    )
