"""A private view of /var/run/netns, in which a sandbox's name leads where it led when it was checked.

`ip -n NAME` looks the name up when it starts. Between the check and that moment somebody may have
moved the name, or the pid behind it may have been given to another process. So the namespace is
held open, and the commands that reach into it start in a mount namespace of their own, where the
name is a bind mount of what is held. See mount_namespaces(7) and setns(2).
"""

from __future__ import annotations

import os

from nettool.errors import NettoolError
from nettool.namespaces import MS_BIND, MS_PRIVATE, MS_REC, NEWNS, call
from nettool.naming import NETNS_FOLDER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from nettool.model import Sandbox


class View:
    """Where commands start that reach into sandboxes: `with view:`.

    Where the kernel does not allow a mount namespace, or in a chroot, it changes nothing: then the
    check right before each command is all there is. Entering it raises NettoolError when a sandbox
    cannot be held, since its name leads to another one.
    """

    def __init__(self, sandboxes: Iterable[Sandbox]) -> None:
        self._folder = os.path.realpath(NETNS_FOLDER)
        self.sandboxes = tuple(sandboxes)
        self._made = False
        self._own: int | None = None
        self._private: int | None = None
        self._cwd: int | None = None

    def __enter__(self) -> None:
        if not self._made:
            self._make()
            self._made = True
        if self._private is not None:
            self._cwd = os.open(".", os.O_PATH | os.O_CLOEXEC)
            call("setns", self._private, NEWNS)

    def close(self) -> None:
        """Let go of the view, at the end of the run."""
        for fd in (self._own, self._private):
            if fd is not None:
                os.close(fd)
        self._own = self._private = None

    def __exit__(self, *_: object) -> None:
        if self._cwd is not None:
            self._return()
            os.fchdir(self._cwd)
            os.close(self._cwd)
            self._cwd = None

    def _make(self) -> None:
        held: list[tuple[str, int]] = []
        try:
            for sandbox in self.sandboxes:
                fd = _hold(sandbox)
                held += [] if fd is None else [(sandbox.netns.name, fd)]
            if held and os.readlink("/proc/self/root") == "/":
                self._make_with(held)
        finally:
            for _, fd in held:
                os.close(fd)

    def _make_with(self, held: list[tuple[str, int]]) -> None:
        cwd = os.open(".", os.O_PATH | os.O_CLOEXEC)
        self._own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            call("unshare", NEWNS)
        except OSError:
            os.close(cwd)
            return
        try:
            call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
            call("mount", b"none", os.fsencode(self._folder), b"tmpfs", 0, b"mode=755,size=64k")
            for name, fd in held:
                place = f"{self._folder}/{name}"
                os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o400))
                call("mount", b"/proc/self/fd/%d" % fd, os.fsencode(place), None, MS_BIND, None)
            self._private = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._private = None
        finally:
            self._return()
            os.fchdir(cwd)
            os.close(cwd)

    def _return(self) -> None:
        call("setns", self._own, NEWNS)


def _hold(sandbox: Sandbox) -> int | None:
    """Open a sandbox's namespace, by its path or its name; None when neither leads anywhere.

    Raises NettoolError when all that is found is another one.
    """
    other = None
    for path in (sandbox.path, sandbox.netns.path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        other = os.fstat(fd).st_ino
        if other == sandbox.netns.inode:
            return fd
        os.close(fd)
    if other is not None and sandbox.netns.inode is not None:
        raise NettoolError(
            f"{sandbox.target} is no longer the sandbox that was planned for "
            f"(net:[{sandbox.netns.inode}] then, net:[{other}] now)"
        )
    return None
