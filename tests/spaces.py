"""Makes the namespaces of a throw-away host, and of a container on one, in the process that is to have them.

By the system calls: as programs (unshare, mount, ip, setpriv) it is 14 for a host and 6 for a container, and
the tests make thousands of each.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

from snapshot import setns

if TYPE_CHECKING:
    from collections.abc import Callable

_NEW_MOUNTS: Final = 0x00020000  # CLONE_NEWNS, sched.h
_NEW_USER: Final = 0x10000000  # CLONE_NEWUSER
_NEW_NET: Final = 0x40000000  # CLONE_NEWNET
# These are for the call mount, in section 2 of the manual.
_BIND: Final = 1 << 12
_RECURSIVE: Final = 1 << 14
_PRIVATE: Final = 1 << 18
_DETACH: Final = 2
_PARENT_DEATH: Final = 1  # PR_SET_PDEATHSIG, prctl(2)
# These are requests about a network device, section 7.
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1
_FLAGS_OF: Final = struct.Struct("16sH14x")
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def make_host() -> None:
    """Give this process a network and files of a host's own: /run, /sys, and what is written into /etc.

    /sys is fresh because it shows the interfaces of the namespace that it was mounted in; the control groups
    move over, since a container engine needs them. Where that is not allowed, `brctl show` is blind.
    """
    _leave_the_machine()
    _mount("tmpfs", "/run", "tmpfs", options="mode=755")
    for name in ("netns", "lock", "cgroup"):
        os.mkdir(f"/run/{name}")
    switch_on_loopback()
    groups = _may(lambda: _mount("/sys/fs/cgroup", "/run/cgroup", flags=_BIND | _RECURSIVE))
    if _may(lambda: _mount("sysfs", "/sys", "sysfs")) and groups:
        _mount("/run/cgroup", "/sys/fs/cgroup", flags=_BIND | _RECURSIVE)
        _check(_LIBC.umount2(b"/run/cgroup", _DETACH), "/run/cgroup")
    with contextlib.suppress(OSError):
        os.rmdir("/run/cgroup")
    _may(_overlay_etc)


def make_container(host: int) -> None:
    """Give this process a network of its own on a host, with only `lo`; it ends with who started it."""
    enter(host)
    _check(_LIBC.unshare(_NEW_NET), "unshare")
    _check(_LIBC.prctl(_PARENT_DEATH, signal.SIGKILL, 0, 0, 0), "prctl")
    switch_on_loopback()


def enter(host: int) -> None:
    """Go into the namespaces of a throw-away host."""
    kinds = (*(("user",) if os.geteuid() else ()), "net", "mnt")
    opened = [os.open(f"/proc/{host}/ns/{kind}", os.O_RDONLY) for kind in kinds]
    for namespace in opened:
        setns(namespace)
        os.close(namespace)


def switch_on_loopback() -> None:
    """Set `lo` up in the network namespace of this thread."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        answer = fcntl.ioctl(asking, _GET_FLAGS, _FLAGS_OF.pack(b"lo", 0))
        flags = _FLAGS_OF.unpack(answer)[1]
        fcntl.ioctl(asking, _SET_FLAGS, _FLAGS_OF.pack(b"lo", flags | _UP))


def _leave_the_machine() -> None:
    user, group = os.geteuid(), os.getegid()
    _check(_LIBC.unshare(_NEW_NET | _NEW_MOUNTS | (_NEW_USER if user else 0)), "unshare")
    if user:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            Path(f"/proc/self/{name}").write_text(text, encoding="ascii")
    _mount("none", "/", flags=_PRIVATE | _RECURSIVE)


def _overlay_etc() -> None:
    """Keep what is written into /etc with the host."""
    _mount("tmpfs", "/mnt", "tmpfs")
    os.mkdir("/mnt/upper")
    os.mkdir("/mnt/work")
    _mount(
        "overlay", "/etc", "overlay", options="userxattr,lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work"
    )


def _may(do: Callable[[], None]) -> bool:
    """Do what takes rights that may be missing; whether it was done."""
    try:
        do()
    except OSError:
        return False
    return True


def _mount(source: str, target: str, kind: str | None = None, *, flags: int = 0, options: str = "") -> None:
    given = (
        source.encode(),
        target.encode(),
        kind and kind.encode(),
        ctypes.c_ulong(flags),
        options.encode(),
    )
    _check(_LIBC.mount(*given), target)


def _check(status: int, what: str) -> None:
    if status:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
