"""Which names an endpoint is found by, and the files that say so. Pure."""

from __future__ import annotations

import re

from nettool.errors import Refused, UsageError
from nettool.ipam import gateway_of
from nettool.model import HostFile
from nettool.naming import OF_NAMESPACES
from nettool.value import Value

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
WHY_RESOLVER: Final = "which name server the sandbox asks (ip-netns(8))"
WHY_HOSTS: Final = "the sandbox's own names, instead of what the host's /etc/hosts says"
LOCALHOST: Final = "127.0.0.1 localhost\n::1 localhost\n"


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
    written = Written({file.path: file for file in known.files} if known else {}, dict(facts.files))
    names = _names(endpoint, network, aliases, written)
    return tuple(
        file
        for file in (
            _found_by(endpoint, network, names, written),
            _resolver(endpoint, network, written),
            _own_hosts(endpoint, names, written),
        )
        if file is not None
    )


class Written(Value):
    """What is written: an endpoint's own files, by their path, and the text of all that are there."""

    own: dict[str, HostFile]
    there: dict[str, str]

    def file(self, path: str, text: str, why: str, folder: str | None = None) -> HostFile:
        """Return a file that is to say a text, whatever it says now."""
        now = self.there.get(path)
        return HostFile(path, text, why, folder, before=now if now not in (None, text) else None)

    def is_others(self, path: str) -> bool:
        """Whether a file is there that is not the endpoint's own."""
        return path not in self.own and path in self.there


def _names(
    endpoint: Endpoint, network: Network, aliases: tuple[str, ...], written: Written
) -> tuple[str, ...]:
    """Return the names that an endpoint is found by: its own, those that it has had, and more aliases."""
    path = _path_of_names(endpoint, network)
    there = written.own[path].text if path in written.own else ""
    had = there.splitlines()[0].split()[1:] if there else ()
    return tuple(dict.fromkeys((*_own_names(endpoint), *had, *aliases)))


def _path_of_names(endpoint: Endpoint, network: Network) -> str:
    return f"{network.dns}/names/{endpoint.host_end}"


def _lines(endpoint: Endpoint, names: tuple[str, ...]) -> str:
    """Return an endpoint's names as lines of hosts(5)."""
    return "".join(f"{cidr.partition('/')[0]} {' '.join(names)}\n" for cidr in endpoint.addresses)


def _found_by(
    endpoint: Endpoint, network: Network, names: tuple[str, ...], written: Written
) -> HostFile | None:
    """Return the file that the name servers read."""
    if not names:
        return None
    path = _path_of_names(endpoint, network)
    return written.file(path, _lines(endpoint, names), "the names that the sandbox is found by")


def _own_names(endpoint: Endpoint) -> Iterator[str]:
    """Yield the names that a sandbox has anyway: its container's, and its namespace's."""
    sandbox = endpoint.sandbox
    kind, _, value = sandbox.target.partition(":")
    own = (sandbox.container, value if kind == "netns" else None, sandbox.name)
    yield from (name for name in own if name is not None and is_host_name(name))


def _own_folder(endpoint: Endpoint) -> str | None:
    """Return the folder of what is laid over /etc, where the sandbox's namespace has a name of its own."""
    sandbox = endpoint.sandbox
    if sandbox.netns.name == str(sandbox.pid) or not sandbox.target.startswith(("pid:", "netns:")):
        return None
    return f"{OF_NAMESPACES}/{sandbox.netns.name}"


def _resolver(endpoint: Endpoint, network: Network, written: Written) -> HostFile | None:
    """Return the sandbox's resolv.conf, which is laid over /etc; one that is there stays."""
    folder = _own_folder(endpoint)
    path = f"{folder}/resolv.conf"
    if folder is None or written.is_others(path):
        return None
    if path in written.own:
        return written.own[path]
    text = "".join(f"nameserver {gateway_of(subnet)}\n" for subnet in network.subnets)
    return HostFile(path, text, WHY_RESOLVER, folder)


def _own_hosts(endpoint: Endpoint, names: tuple[str, ...], written: Written) -> HostFile | None:
    """Return the sandbox's hosts file; one that is there stays.

    Without it, what the host's /etc/hosts says would come before what the name server answers.
    """
    folder = _own_folder(endpoint)
    path = f"{folder}/hosts"
    if folder is None or not names or written.is_others(path):
        return None
    return written.file(path, LOCALHOST + _lines(endpoint, names), WHY_HOSTS, folder)
