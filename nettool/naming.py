"""Names that nettool gives, and the rules for names that it is given.

A name that nettool makes carries its mark and comes from a hash, so that it is the same for the
same endpoint and can be found again without records: a host end is `nt` and 10 hex digits, the
other end is called the same with a `p` behind it until it has its final name.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MAX_LENGTH: Final = 15
"""IFNAMSIZ - 1 (include/uapi/linux/if.h): the kernel keeps 16 bytes with the closing NUL."""

NETNS_FOLDER: Final = "/var/run/netns"
"""Where `ip netns` looks names of namespaces up (ip-netns(8))."""
OF_NAMESPACES: Final = "/etc/netns"
"""Where a namespace has files of its own for /etc (ip-netns(8))."""

_MARKED: Final = r"nt[0-9a-f]{10}"
# Stricter than the kernel, which takes `$(id)` and `-rf`: a name that nettool makes must be safe in
# every shell, every tool and every log.
_NAME: Final = r"[A-Za-z][A-Za-z0-9_.-]{0,14}"
SHARED_MARK: Final = "networks"
"""What the comment says of the rules that all networks share; those of one have its name there."""
_NETWORK_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_NETNS_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"


def host_end(*identity: object) -> str:
    """Return the marked name of the host's end of an endpoint, from what identifies it."""
    return f"nt{_digest(identity)[-10:]}"


def bridge_of(network: str) -> str:
    """Return the name of the bridge of a network that asks for none: `nt-` and 10 hex digits."""
    return f"nt-{_digest(('bridge', network))[-10:]}"


def shim_of(network: str) -> str:
    """Return the name of the host's own interface on a network without a bridge."""
    return f"nt-{_digest(('shim', network))[-10:]}"


def mac_of(*identity: object) -> str:
    """Return a MAC of our own, from what identifies it: locally administered, unicast."""
    digits = _digest(identity)[-8:]
    return ":".join(["02", "42", *(digits[at : at + 2] for at in range(0, 8, 2))])


def peer_of(host_end_name: str) -> str:
    """Return the name that the other end has before it is moved into the sandbox."""
    if is_marked(host_end_name):
        return f"{host_end_name}p"
    return f"{host_end(host_end_name)}p"


def is_marked_bridge(name: str) -> bool:
    """Whether a bridge's name is one that nettool makes."""
    return re.fullmatch(r"nt-[0-9a-f]{10}", name) is not None


def is_marked(name: str) -> bool:
    """Whether a host end's name is one that nettool makes."""
    return re.fullmatch(_MARKED, name) is not None


def netns_name_for_path(path: str) -> str:
    """Return the name for a namespace that is known only by a path."""
    return f"nt-{_digest((path,))[-10:]}"


def interface_name_fault(name: str) -> str | None:
    """Say what is wrong with a name for an interface that nettool shall make, or None."""
    if not 1 <= len(_bytes(name)) <= MAX_LENGTH:
        return f"has {len(_bytes(name))} bytes; the kernel takes 1 to {MAX_LENGTH}"
    if re.fullmatch(_NAME, name) is None:
        return "must be a letter, then letters, digits, '_', '.' or '-'"
    if name in ("all", "default", "lo"):
        return "is reserved by the kernel"
    return None


def existing_name_fault(name: str) -> str | None:
    """Say what is wrong with the name of an interface that is already there, or None.

    The kernel's own rules (dev_valid_name in net/core/dev.c), and what no tool could be given.
    """
    if not 1 <= len(_bytes(name)) <= MAX_LENGTH:
        return f"has {len(_bytes(name))} bytes; the kernel takes 1 to {MAX_LENGTH}"
    if name in (".", "..") or any(c in "/:%" or c.isspace() or not c.isprintable() for c in name):
        return "has a character that no interface name can have"
    if name.startswith("-"):
        return "begins with '-', which the tools would read as an option"
    return None


def network_name_fault(name: str) -> str | None:
    """Say what is wrong with a name for a network, or None."""
    if re.fullmatch(_NETWORK_NAME, name) is None:
        return "letters, digits, '_', '.' and '-', at most 63, beginning with a letter or a digit"
    if name == SHARED_MARK or is_marked(name):
        return "it means something else in the comments of nettool's rules"
    return None


def is_netns_name(name: str) -> bool:
    """Whether a word can be the name of a namespace under /var/run/netns, safely everywhere."""
    return re.fullmatch(_NETNS_NAME, name) is not None and not name.startswith("..")


def _digest(parts: tuple[object, ...]) -> str:
    """Return 16 hex digits of the FNV-1a hash (RFC 9923).

    It need only spread, since a name that is taken is found out before anything runs; hashlib would
    load OpenSSL for it.
    """
    digest = 0xCBF29CE484222325
    for byte in _bytes("\0".join(str(part) for part in parts)):
        digest = (digest ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{digest ^ digest >> 24:016x}"[-16:]


def _bytes(text: str) -> bytes:
    # A name that is not UTF-8 arrives with lone surrogates in the place of its bytes (PEP 383), and
    # JSON can hold any of them.
    return text.encode(errors="surrogatepass")
