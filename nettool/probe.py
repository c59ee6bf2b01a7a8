"""Ask the wire behind an interface whether somebody has an address (RFC 5227 and RFC 4862 probes).

A probe has no sender address, so that nobody's neighbour table changes by it.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import struct
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

WAIT_SECONDS: Final = 0.1
"""A neighbour on a bridge answers in well under a millisecond, one across a LAN in a few."""

_ETH_P_ALL: Final = 0x0003
_ETH_P_ARP: Final = 0x0806
_ETH_P_IPV6: Final = 0x86DD
_ICMPV6: Final = 58
_NEIGHBOUR_SOLICITATION: Final = 135
_NEIGHBOUR_ADVERTISEMENT: Final = 136


def probe(link: str, addresses: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Ask for some addresses behind an interface; return each that somebody answers for, with the MAC.

    Without the right to send raw frames, or without the interface, the wire is not asked.
    """
    wanted = tuple(ipaddress.ip_interface(address).ip for address in addresses)
    found: dict[str, str] = {}
    with contextlib.suppress(OSError), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind((link, _ETH_P_ALL))
        for address in wanted:
            wire.send(_frame(address, wire.getsockname()[4]))
        deadline = time.monotonic() + WAIT_SECONDS
        while len(found) < len(wanted) and (left := deadline - time.monotonic()) > 0:
            if not select.select([wire], [], [], left)[0]:
                break
            answer = _read(wire.recv(256))
            if answer and answer[0] in wanted:
                found[str(answer[0])] = answer[1]
    return tuple(found.items())


def _frame(address: ipaddress.IPv4Address | ipaddress.IPv6Address, mac: bytes) -> bytes:
    if address.version == 4:
        header = b"\xff" * 6 + mac + struct.pack("!H", _ETH_P_ARP)
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + bytes(4) + bytes(6) + address.packed
        return header + body
    group = bytes.fromhex("ff0200000000000000000001ff") + address.packed[-3:]
    solicitation = struct.pack("!BBHI", _NEIGHBOUR_SOLICITATION, 0, 0, 0) + address.packed
    pseudo = bytes(16) + group + struct.pack("!IxxxB", len(solicitation), _ICMPV6)
    checksum = struct.pack("!H", _checksum(pseudo + solicitation))
    payload = solicitation[:2] + checksum + solicitation[4:]
    ip = struct.pack("!IHBB", 6 << 28, len(payload), _ICMPV6, 255) + bytes(16) + group
    return b"\x33\x33" + group[-4:] + mac + struct.pack("!H", _ETH_P_IPV6) + ip + payload


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def _read(frame: bytes) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, str] | None:
    """Return who claims an address in a frame: the address and the MAC."""
    kind = int.from_bytes(frame[12:14], "big")
    mac = frame[6:12].hex(":")
    if kind == _ETH_P_ARP and len(frame) >= 42:
        # A reply, or another's probe or announcement: each says that the sender has the address.
        return ipaddress.IPv4Address(frame[28:32]), mac
    is_icmp = kind == _ETH_P_IPV6 and len(frame) >= 78 and frame[20] == _ICMPV6
    if is_icmp and frame[54] == _NEIGHBOUR_ADVERTISEMENT:
        return ipaddress.IPv6Address(frame[62:78]), mac
    return None
