"""The id that this network namespace knows another one by, asked of the kernel by netlink."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# From rtnetlink.h, net_namespace.h and netlink.h of the kernel's include/uapi/linux.
_RTM_NEWNSID: Final = 88
_RTM_GETNSID: Final = 90
_NETNSA_FD: Final = 3
_NLM_F_REQUEST: Final = 1


def namespace_id(fd: int) -> int | None:
    """Return the id that the host's namespace has given to another one (RTM_GETNSID).

    It is what `link_netnsid` of a veth names. See rtnetlink(7) and net/core/net_namespace.c.
    """
    # The module around it takes 5 ms to import, for enums that are of no use here.
    import _socket as socket
    import struct

    attribute = struct.pack("=HHI", 8, _NETNSA_FD, fd)
    body = struct.pack("=Bxxx", socket.AF_UNSPEC) + attribute
    header = struct.pack("=IHHII", 16 + len(body), _RTM_GETNSID, _NLM_F_REQUEST, 1, 0)
    try:
        netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    except OSError:
        return None
    try:
        netlink.settimeout(1)
        netlink.send(header + body)
        answer = netlink.recv(4096)
    except OSError:
        return None
    finally:
        netlink.close()
    if struct.unpack_from("=H", answer, 4)[0] != _RTM_NEWNSID:
        return None
    nsid: int = struct.unpack_from("=i", answer, 16 + 4 + 4)[0]
    return nsid if nsid >= 0 else None
