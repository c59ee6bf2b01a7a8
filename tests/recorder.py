"""Record what a command asks of the kernel, with strace, and tell what of it could change something.

Commands that only read may still make a file, write a sysctl or send a message that changes a link: the
shims in front of the tools do not see that, the kernel does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MESSAGES: Final = "sendto,sendmsg,sendmmsg,write,writev,setsockopt,ioctl"
_FILES: Final = (
    "open,openat,openat2,creat,mkdir,mkdirat,rmdir,unlink,unlinkat,rename,renameat,renameat2,link,linkat,"
    "symlink,symlinkat,mknod,mknodat,truncate,ftruncate,chmod,fchmod,fchmodat,chown,fchown,lchown,fchownat,"
    "setxattr,lsetxattr,fsetxattr,mount,umount2,move_mount,mount_setattr,open_tree,fsopen,pivot_root"
)
_STRACE: Final = ("strace", "-f", "--seccomp-bpf", "-yy", "-v", "-s", "64", "-e", f"{_MESSAGES},{_FILES}")
# What stands before the call: the pid.
_CALL: Final = re.compile(r"\d+\s+(\w+)\((.*)")
_OPENS: Final = re.compile(r"\b(O_WRONLY|O_RDWR|O_CREAT|O_TRUNC|O_APPEND)\b")
_MESSAGE: Final = re.compile(r"nlmsg_type=([^,\s]+)")
_ASKING: Final = re.compile(
    r"RTM_GET\w+|SOCK_DIAG_BY_FAMILY|NLMSG_(NOOP|ERROR|DONE|OVERRUN)|NFNL_\w+<<8\|\w+_GET(?!_CTRZERO)\w*"
)
_HARMLESS_IOCTL: Final = re.compile(r", (TC[GS]ET\w*|TIOC\w+|FION\w+|FIO\w*CLEX|SIOCG\w+|NS_GET_\w+)\b")
_WHOSE: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|^\d+<([^>]*)>')
_NOWHERE: Final = ("/dev/null", "/dev/tty", "/dev/pts/", "pipe:", "/memfd:")


@dataclass(frozen=True)
class Recorder:
    """Records to `file`; writing below the folders of `allowed` changes nothing that counts."""

    file: Path
    allowed: tuple[str, ...] = ()

    def argv(self, *command: str) -> tuple[str, ...]:
        """Return the command, recorded with all that it starts."""
        return (*_STRACE, "-o", str(self.file), *command)

    @property
    def lines(self) -> list[str]:
        return self.file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()

    def changes(self) -> list[str]:
        """Return the calls that could change something, whether they succeeded or not."""
        return list(self._changes())

    def _changes(self) -> Iterator[str]:
        for line in self.lines:
            found = _CALL.match(line)
            # The second half of a call that was interrupted says no more than how it ended.
            if found and self._could_change(found[1], found[2]):
                yield line

    def _could_change(self, call: str, words: str) -> bool:
        if call in ("write", "writev", "sendto", "sendmsg", "sendmmsg"):
            return "<NETLINK:" in words.partition(",")[0] and not _only_asks(words)
        if call == "setsockopt":
            return "_SO_SET_" in words or "EBT_SO" in words
        if call == "ioctl":
            return _HARMLESS_IOCTL.search(words) is None
        if call.startswith("open") and call != "open_tree" and _OPENS.search(words) is None:
            return False
        return not self._is_allowed(words)

    def _is_allowed(self, words: str) -> bool:
        """Whether each file that a call names is one that it may write to."""
        paths = [path or opened for path, opened in _WHOSE.findall(words)]
        places = (*_NOWHERE, *self.allowed)
        return bool(paths) and all(path.startswith(places) for path in paths)


def _only_asks(words: str) -> bool:
    """Whether every netlink message is one that asks.

    rtnetlink numbers its messages in fours: new, delete, get, set. In another network namespace strace
    does not know a socket's protocol, and gives the number. Up to 15 are the messages of every protocol
    that change nothing (done, error).
    """
    types = _MESSAGE.findall(words)
    return bool(types) and all(_asks(kind) for kind in types)


def _asks(kind: str) -> bool:
    if kind[0].isdigit():
        number = int(kind, 0)
        return number < 16 or number & 3 == 2
    return _ASKING.fullmatch(kind) is not None
