"""What a snapshot asks the kernel itself, in the network namespace of this thread: no command is started.

See rtnetlink(7), netlink(7), and include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_NETFILTER: Final = 12  # the protocol NETLINK_NETFILTER
_REQUEST_DUMP: Final = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_ERROR, _DONE = 2, 3
# What the kernel says to who asks for a protocol or a family that it does not have.
_UNKNOWN: Final = (errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)
_GET_LINK, _GET_NEIGHBOUR, _GET_RULE = 18, 30, 34
_GET_TABLE: Final = 10 << 8 | 1  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE
_HEADER: Final = struct.Struct("=IHHII")
_FAMILIES: Final = {"ip": socket.AF_INET, "ip6": socket.AF_INET6}
_NEIGHBOUR_SIZE: Final = 12  # struct ndmsg
_ADDRESS: Final = 2  # NDA_LLADDR
_MAX_ANSWER: Final = 1 << 16


def has_tables(family: str) -> bool:
    """Whether there is a firewall's table of `ip` or `ip6`, of either variant of iptables."""
    with contextlib.suppress(OSError):
        if Path(f"/proc/thread-self/net/{family}_tables_names").read_text("ascii").strip():
            return True
    try:
        return any(_dump(_GET_TABLE, bytes((_FAMILIES[family], 0, 0, 0)), protocol=_NETFILTER))
    except PermissionError:
        return True  # iptables-save says what it may


def has_bridge_entries() -> bool:
    """Whether `bridge fdb` or `bridge vlan` have more to say than groups that interfaces have joined."""
    if any(_dump(_GET_LINK, bytes((socket.AF_BRIDGE, *[0] * 15)))):
        return True
    entries = _dump(_GET_NEIGHBOUR, bytes((socket.AF_BRIDGE, *[0] * (_NEIGHBOUR_SIZE - 1))))
    return any(not _is_group(entry) for entry in entries)


def rules_of_ipv6() -> Iterator[str]:
    """Yield the IPv6 policy rules, as the kernel's bytes."""
    yield from (rule.hex() for rule in _dump(_GET_RULE, bytes((socket.AF_INET6, *[0] * 11))))


def _is_group(entry: bytes) -> bool:
    """Whether the first byte of an entry's MAC address says that it is one of a group."""
    at = _NEIGHBOUR_SIZE
    while at + 4 <= len(entry):
        length, kind = struct.unpack_from("=HH", entry, at)
        if kind == _ADDRESS:
            return bool(entry[at + 4] & 1)
        at += max(length + 3 & ~3, 4)
    return False


def _dump(message: int, body: bytes, *, protocol: int = 0) -> Iterator[bytes]:
    """Ask for all objects of a kind, and yield each answer's body; none where the kernel knows no such.

    Raises OSError where it does not say.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol) as asking:
        asking.send(_HEADER.pack(_HEADER.size + len(body), message, _REQUEST_DUMP, 1, 0) + body)
        while True:
            answer = asking.recv(_MAX_ANSWER)
            at = 0
            while at < len(answer):
                length, kind, *_ = _HEADER.unpack_from(answer, at)
                if kind in (_ERROR, _DONE):
                    _check(struct.unpack_from("=i", answer, at + _HEADER.size)[0])
                    return
                yield answer[at + _HEADER.size : at + length]
                at += length + 3 & ~3


def _check(status: int) -> None:
    if status and -status not in _UNKNOWN:
        raise OSError(-status, os.strerror(-status))
