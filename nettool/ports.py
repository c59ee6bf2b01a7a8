"""Published ports: what a caller writes, as values, and which two of them cannot both be had. Pure."""

from __future__ import annotations

import ipaddress
import re

from nettool.errors import UsageError
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

PROTOCOLS: Final = ("tcp", "udp", "sctp")
_WRITTEN: Final = (
    r"(?:(?P<ip>\[[^\]]*\]|[^\[\]:]*):)?(?P<host>[0-9-]+):(?P<inner>[0-9-]+)(?:/(?P<protocol>\w+))?"
    r"(?:@(?P<allowed>[^@]+))?"
)
_RANGE: Final = r"([0-9]{1,5})(?:-([0-9]{1,5}))?"


class PublishedPort(Value):
    """Ports of this host that lead to ports of a sandbox, first and last of each range.

    `host_ip` is the one address of the host that they are published on (None: every one), `allow_from`
    the networks that may use them (none: everybody). `documented` says that the rules are those of
    the manual procedure, in Docker's own chain.
    """

    protocol: str
    host_ports: tuple[int, ...]
    ports: tuple[int, ...]
    host_ip: str | None = None
    allow_from: tuple[str, ...] = ()
    variant: str = ""
    """What the name of the iptables program ends with, where the host's rules are not in the usual one."""
    documented: bool = False

    def __str__(self) -> str:
        """Return it as it is written: `8080:80/tcp`, with `@CIDR,CIDR` behind it where not all may use it."""
        ip = f"[{self.host_ip}]" if ":" in (self.host_ip or "") else self.host_ip
        allowed = f"@{','.join(self.allow_from)}" if self.allow_from else ""
        return f"{f'{ip}:' if ip else ''}{span(self.host_ports)}:{span(self.ports)}/{self.protocol}{allowed}"

    def note(self) -> str:
        """Return it as a script notes it: that there are rules to look for is all that is read of it."""
        return f"port {'documented' if self.documented else 'own'} {self.variant or '-'} {self}"


def span(ports: tuple[int, ...], joint: str = "-") -> str:
    """Return a range as it is written: one number, or the first and the last."""
    return str(ports[0]) if ports[0] == ports[-1] else f"{ports[0]}{joint}{ports[-1]}"


def range_of(ports: tuple[int, ...]) -> range:
    """Return the ports from the first to the last."""
    return range(ports[0], ports[-1] + 1)


def parse_ports(texts: Iterable[str], allow_from: tuple[str, ...] = ()) -> tuple[PublishedPort, ...]:
    """Parse several ports that the same networks may use. Raises UsageError."""
    return tuple(parse_port(text, allow_from) for text in texts)


def parse_port(text: str, allow_from: tuple[str, ...] = ()) -> PublishedPort:
    """Parse `[HOSTIP:]HPORT[-HPORT]:CPORT[-CPORT][/PROTOCOL][@CIDR,…]`; an IPv6 address is in brackets.

    `allow_from` holds where the port says nothing of its own. Raises UsageError.
    """
    found = re.fullmatch(_WRITTEN, text)
    if found is None:
        raise _unreadable(text, "HOSTPORT:PORT, with an address in front and /tcp, /udp or /sctp behind it")
    protocol = (found["protocol"] or "tcp").lower()
    if protocol not in PROTOCOLS:
        raise _unreadable(text, f"protocols: {', '.join(PROTOCOLS)}")
    host_ports, ports = _range(text, found["host"]), _range(text, found["inner"])
    if host_ports[1] - host_ports[0] != ports[1] - ports[0]:
        raise _unreadable(text, "the two ranges are not of the same length")
    allowed = tuple(found["allowed"].split(",")) if found["allowed"] else allow_from
    return PublishedPort(protocol, host_ports, ports, _host_ip(text, found["ip"]), _networks(allowed))


def _range(text: str, part: str) -> tuple[int, int]:
    found = re.fullmatch(_RANGE, part)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= last <= 65535:
        raise _unreadable(text, f"{part} is no port, or range of ports, from 1 to 65535")
    return first, last


def _host_ip(text: str, part: str | None) -> str | None:
    if not part:
        return None
    try:
        address = ipaddress.ip_address(part.strip("[]"))
    except ValueError as error:
        raise _unreadable(text, str(error)) from error
    if address.version == 6 and address.is_loopback:
        raise _unreadable(text, "the kernel forwards nothing from ::1; 127.0.0.1 can be published on")
    return None if address.is_unspecified else str(address)


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(text)) for text in texts)
    except ValueError as error:
        raise UsageError(f"--allow-from {', '.join(texts)}: no network", why=(str(error),)) from error


def _unreadable(text: str, why: str) -> UsageError:
    hints = ("nettool publish web 8080:80", "nettool publish web 127.0.0.1:8000-8003:80-83/tcp")
    return UsageError(f"{text!r} is no port to publish", why=(why,), hints=hints)


def same_place(one: PublishedPort, other: PublishedPort) -> bool:
    """Whether two want the same port of the same address of the host."""
    return collide(one, other.protocol, other.host_ip, other.host_ports)


def collide(port: PublishedPort, protocol: str, host_ip: str | None, ports: tuple[int, ...]) -> bool:
    """Whether a published port takes one that is used already: on one address, or (None) on all."""
    if protocol != port.protocol or ports[0] > port.host_ports[-1] or port.host_ports[0] > ports[-1]:
        return False
    return None in (host_ip, port.host_ip) or host_ip == port.host_ip


def families(port: PublishedPort, addresses: tuple[str, ...]) -> tuple[tuple[int, str], ...]:
    """Return the families that a port is published in, each with the sandbox's address there."""
    found: dict[int, str] = {}
    for cidr in addresses:
        found.setdefault(6 if ":" in cidr else 4, cidr)
    return tuple(
        (family, cidr)
        for family, cidr in found.items()
        if port.host_ip is None or (":" in port.host_ip) == (family == 6)
        if not port.allow_from or sources(port, family)
        if family == 4 or not port.documented
    )


def sources(port: PublishedPort, family: int) -> tuple[str, ...]:
    """Return the networks of one family that may use the port; none says nothing."""
    return tuple(text for text in port.allow_from if (":" in text) == (family == 6))
