"""Which names an endpoint is found by, and the files that say so. Pure."""

from __future__ import annotations

import re

from nettool.errors import Refused, UsageError
from nettool.ipam import gateway_of
from nettool.model import HostFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Final

    from nettool.facts import Facts
    from nettool.model import Endpoint, Network

_LABEL: Final = r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_NAME: Final = rf"{_LABEL}(\.{_LABEL})*"
_LONGEST: Final = 253
"""RFC 1035, 2.3.4, without the length of each label; `_` is what container engines allow."""


def check_aliases(aliases: tuple[str, ...]) -> None:
    """Refuse what can be no name of a host. Raises UsageError."""
    for alias in aliases:
        if not is_host_name(alias):
            raise UsageError(
                f"--alias {alias!r} cannot be the name of a host",
                why=("labels of letters, digits, '-' and '_', at most 63 each, with dots between",),
            )


def is_host_name(text: str) -> bool:
    """Whether a name server can be asked for a name."""
    return len(text) <= _LONGEST and re.fullmatch(_NAME, text) is not None


def files_of(
    endpoint: Endpoint,
    network: Network | None,
    aliases: tuple[str, ...],
    known: Endpoint | None,
    facts: Facts,
) -> tuple[HostFile, ...]:
    """Return the files that an endpoint needs on its network. Raises Refused."""
    if network is None or network.dns is None:
        if aliases:
            name = network.name if network else endpoint.bridge
            raise Refused(
                f"--alias: network {name} has no name server",
                hints=(f"nettool network create {name} --dns",),
            )
        return known.files if known else ()
    before = {file.path: file for file in known.files} if known else {}
    return tuple(
        file
        for file in (
            _names(endpoint, network, aliases, before, facts),
            _resolver(endpoint, network, before, facts),
        )
        if file is not None
    )


def _names(
    endpoint: Endpoint, network: Network, aliases: tuple[str, ...], before: dict[str, HostFile], facts: Facts
) -> HostFile | None:
    path = f"{network.dns}/names/{endpoint.host_end}"
    there = before[path].text if path in before else ""
    had = there.splitlines()[0].split()[1:] if there else ()
    names = tuple(dict.fromkeys((*_own_names(endpoint), *had, *aliases)))
    if not names:
        return None
    lines = (f"{cidr.partition('/')[0]} {' '.join(names)}\n" for cidr in endpoint.addresses)
    text = "".join(lines)
    now = dict(facts.files).get(path)
    why = "the names that the sandbox is found by"
    return HostFile(path, text, why, before=now if now not in (None, text) else None)


def _own_names(endpoint: Endpoint) -> Iterator[str]:
    """Yield the names that a sandbox has anyway: its container's, and its namespace's."""
    sandbox = endpoint.sandbox
    kind, _, value = sandbox.target.partition(":")
    own = (sandbox.container, value if kind == "netns" else None, sandbox.name)
    yield from (name for name in own if name is not None and is_host_name(name))


def _resolver(
    endpoint: Endpoint, network: Network, before: dict[str, HostFile], facts: Facts
) -> HostFile | None:
    """Return the sandbox's resolv.conf, which is laid over /etc; one that is there stays."""
    sandbox = endpoint.sandbox
    if sandbox.netns.name == str(sandbox.pid) or not sandbox.target.startswith(("pid:", "netns:")):
        return None
    folder = f"/etc/netns/{sandbox.netns.name}"
    path = f"{folder}/resolv.conf"
    if path in before:
        return before[path]
    if path in dict(facts.files):
        return None
    text = "".join(f"nameserver {gateway_of(subnet)}\n" for subnet in network.subnets)
    return HostFile(path, text, "which name server the sandbox asks (ip-netns(8))", folder=folder)
