"""Start a process with a network of its own: process, namespaces, control group, network, in that order.

The process waits until its network is up, and only then becomes the command. When it has ended, its
endpoint is taken away. When nettool is killed, the kernel kills the process, and `nettool gc` clears up.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager, suppress

from nettool import output
from nettool.cgroups import Cgroup, Limits
from nettool.errors import Interrupted, NettoolError, Refused, UsageError
from nettool.namespaces import (
    MS_BIND,
    MS_REC,
    MS_SLAVE,
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWUTS,
    become,
    call,
    die_with,
    exit_status,
    mount,
    reap_until,
    take_terminal,
    unshare,
)
from nettool.naming import OF_NAMESPACES
from nettool.pipeline import change, execute
from nettool.request import Connect, Detach, Target
from nettool.sandboxes import find, parse_target
from nettool.store.rundir import read_records, run_folder
from nettool.value import Value, replace
from nettool.watch import fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Final, NoReturn

    from nettool.pipeline import Mode

KINDS: Final = {"pid": NEWPID | NEWNS, "mount": NEWNS, "uts": NEWUTS, "ipc": NEWIPC}
"""What --isolate can name; an own pid namespace needs its own /proc, and so its own mounts."""
_FORWARDED: Final = (
    signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2,
)  # fmt: skip
_FAILED: Final = 125
"""The exit status when the process was ready and its network was not: nettool's own failure."""


class Launch(Value):
    """What to start. `network` is `none`, `host`, `container:TARGET`, or a network's name."""

    command: tuple[str, ...]
    network: str = "none"
    connect: Connect | None = None
    isolate: tuple[str, ...] = ()
    limits: Limits = Limits()
    servers: tuple[str, ...] = ()
    """The name servers that the process asks, instead of its network's."""

    @property
    def shares(self) -> Target | None:
        """Whose network it shares, if anybody's."""
        return parse_target(self.network.partition(":")[2]) if self.network.startswith("container:") else None

    @property
    def shared_name(self) -> str | None:
        """The name of the namespace that it shares, where it has one: its files are laid over /etc."""
        return self.shares.value if self.shares is not None and self.shares.kind == "netns" else None

    @property
    def own_network(self) -> bool:
        """Whether it gets a network namespace of its own."""
        return self.network != "host" and self.shares is None

    @property
    def namespaces(self) -> int:
        """The kinds of namespace that are made for it, as unshare(2) takes them."""
        flags = NEWNET | NEWNS if self.own_network else 0
        for kind in self.isolate:
            flags |= KINDS[kind]
        return flags | (NEWNS if self.servers or self.shared_name else 0)


class Waiting:
    """A process in its namespaces that waits: `go` lets it become the command."""

    def __init__(self, wanted: Launch) -> None:
        reports, report = os.pipe()
        held, go = os.pipe()
        outside = os.pidfd_open(os.getpid())
        self.child = fork()
        if self.child == 0:
            os.close(reports)
            os.close(go)
            die_with(outside)
            _be_process(wanted, report, held)
        for fd in (report, held, outside):
            os.close(fd)
        self._go = go
        with os.fdopen(reports) as answer:
            said = answer.read()
        if not said.isdecimal():
            os.close(go)
            os.waitpid(self.child, 0)
            raise Refused("the process cannot have namespaces of its own", why=(said or "it has ended",))
        self.pid = int(said)
        """The process's id, as the host counts. In a pid namespace of its own it is given again once the
        process has ended: only `child` is nobody else's until it is reaped here."""
        self.ended = False

    def go(self, name: str | None) -> None:
        """Let it become the command, with the files of the namespace of that name laid over /etc."""
        with suppress(BrokenPipeError):
            os.write(self._go, (name or "-").encode())
        os.close(self._go)
        self._go = -1

    def signal(self, number: int) -> None:
        """Send a signal to it, and to all that it has started, unless it has ended."""
        if not self.ended:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def end(self) -> None:
        """End it, whatever it has become, and let its id be given to others."""
        if self._go >= 0:
            os.close(self._go)
            self._go = -1
        if not self.ended:
            os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)


def launch(wanted: Launch, mode: Mode) -> int:
    """Start the process, wire it, wait for it, and take its endpoint away; return its exit status.

    A dry run shows the plan of the wiring for a process that is ended again. Raises NettoolError.
    """
    _check(wanted)
    if os.geteuid() != 0:
        raise Refused("a process with namespaces of its own needs root", hints=("sudo nettool run …",))
    waiting = Waiting(wanted)
    try:
        with Cgroup(f"run-{waiting.pid}", wanted.limits) as group:
            group.add(waiting.pid)
            if mode.dry_run:
                return _show(wanted, waiting, mode)
            with _passing_on_signals(waiting) as come:
                try:
                    name = _wire(wanted, waiting, mode)
                except NettoolError as error:
                    if come:
                        # The process is gone by the signal: there was nothing to wire any more.
                        raise Interrupted(error.what, signal=come[0], why=error.why) from error
                    raise
                try:
                    status = _follow(waiting, name)
                finally:
                    _unwire(wanted, waiting, mode)
            return status
    finally:
        waiting.end()


def _check(wanted: Launch) -> None:
    unknown = [kind for kind in wanted.isolate if kind not in KINDS]
    if unknown:
        raise UsageError(f"--isolate {unknown[0]!r} is no namespace", why=(f"known: {', '.join(KINDS)}",))
    shared = wanted.shares
    found = find(shared) if shared else None
    if found is not None and found.inode is None:
        raise Refused(f"{shared} cannot be shared with: it is {found.state}", why=(found.detail,))


def _show(wanted: Launch, waiting: Waiting, mode: Mode) -> int:
    if wanted.connect is None:
        output.print_line("# nothing to wire")
        return 0
    return execute(_of_process(wanted.connect, waiting), mode)


def _of_process(connect: Connect, waiting: Waiting) -> Connect:
    name = connect.name or f"run-{waiting.pid}"
    return replace(connect, target=Target("pid", str(waiting.pid)), name=name)


def _wire(wanted: Launch, waiting: Waiting, mode: Mode) -> str | None:
    """Wire the process; return the name of its namespace, where it has one."""
    if wanted.connect is None:
        return wanted.shared_name
    change(_of_process(wanted.connect, waiting), replace(mode, quiet=True))
    here = (r.endpoint.sandbox for r in read_records().endpoints)
    return next((box.netns.name for box in here if box.pid == waiting.pid), None)


def _unwire(wanted: Launch, waiting: Waiting, mode: Mode) -> None:
    """Take away what the process had. It waits to be reaped still, so that its pid is nobody else's.

    A signal that comes now was for the process, which has ended: it does not keep this from being done.
    """
    if wanted.connect is None:
        return
    gone = Detach(Target("pid", str(waiting.pid)), every=True, dialect=wanted.connect.dialect)
    while any(record.endpoint.sandbox.pid == waiting.pid for record in read_records().endpoints):
        with suppress(Interrupted):
            change(gone, replace(mode, quiet=True))


@contextmanager
def _passing_on_signals(waiting: Waiting) -> Iterator[list[int]]:
    """Send every signal that would end this process to the other one, and all that it has started.

    Gives the signals that have come.
    """
    come: list[int] = []

    def forward(number: int, _frame: object) -> None:
        come.append(number)
        waiting.signal(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield come
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _follow(waiting: Waiting, name: str | None) -> int:
    """Let the process run, and return its exit status; it is not reaped yet."""
    own = os.getpgrp()
    in_front = _is_in_front(own)
    if in_front:
        take_terminal(waiting.pid)
    waiting.go(name)
    try:
        while True:
            ended = os.waitid(os.P_PID, waiting.child, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
            if ended is None or ended.si_code != os.CLD_STOPPED:
                break
            _stop_along(waiting, own, in_front=in_front)
        waiting.ended = True
    finally:
        if in_front:
            take_terminal(own)
    if ended is None:
        return _FAILED
    return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status


def _is_in_front(group: int) -> bool:
    try:
        return sys.stdin.isatty() and os.tcgetpgrp(0) == group
    except OSError:
        return False


def _stop_along(waiting: Waiting, group: int, *, in_front: bool) -> None:
    """Stop, as the process did (Ctrl-Z), and when this one goes on, let that one go on."""
    os.waitid(os.P_PID, waiting.child, os.WSTOPPED)
    if in_front:
        take_terminal(group)
    os.kill(os.getpid(), signal.SIGSTOP)
    if in_front:
        take_terminal(waiting.pid)
    waiting.signal(signal.SIGCONT)


# --- inside


def _be_process(wanted: Launch, report: int, held: int) -> NoReturn:
    """Make the namespaces, say so, wait for the network, and become the command."""
    try:
        _go_in(wanted)
        if wanted.namespaces & NEWPID:
            _go_on_as_first(report, held)
        else:
            os.setpgid(0, 0)
            os.write(report, str(os.getpid()).encode())
    except (OSError, NettoolError) as error:
        os.write(report, str(error).encode())
        os._exit(_FAILED)
    os.close(report)
    name = os.read(held, 256).decode()
    if not name:
        os._exit(_FAILED)
    os.close(held)
    try:
        _dress(wanted, None if name == "-" else name)
        if not wanted.namespaces & NEWPID:
            become(wanted.command, os.environ)
        os._exit(_be_first(wanted.command))
    except (OSError, NettoolError) as error:
        why = ", ".join(getattr(error, "why", ()))
        os.write(2, f"error: {error}{f': {why}' if why else ''}\n".encode(errors="replace"))
        os._exit(getattr(error, "exit_status", _FAILED))


def _go_in(wanted: Launch) -> None:
    shared = wanted.shares
    if shared is not None:
        found = find(shared)
        file = os.open(found.path, os.O_RDONLY | os.O_CLOEXEC)
        if os.fstat(file).st_ino != found.inode:
            raise Refused(f"{shared} is another one by now")
        call("setns", file, NEWNET)
        os.close(file)
    if wanted.namespaces:
        unshare(wanted.namespaces)
    if wanted.namespaces & NEWNS:
        mount("none", "/", None, MS_REC | MS_SLAVE)
    if wanted.own_network:
        _switch_loopback_on()


def _switch_loopback_on() -> None:
    """Switch `lo` on by ioctl(2) SIOCSIFFLAGS (netdevice(7)): no process of its own is needed."""
    import fcntl
    import socket
    import struct

    get_flags, set_flags, up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        answer = fcntl.ioctl(control, get_flags, struct.pack("16sh22x", b"lo", 0))
        flags = struct.unpack("16sh22x", answer)[1]
        fcntl.ioctl(control, set_flags, struct.pack("16sh22x", b"lo", flags | up))


def _go_on_as_first(report: int, held: int) -> None:
    """Return in the first process of the new pid namespace; this one waits for it, and ends as it does."""
    outside = os.pidfd_open(os.getpid())
    first = fork()
    if first == 0:
        die_with(outside)
        os.setpgid(0, 0)
        return
    with suppress(PermissionError):
        os.setpgid(first, first)
    os.write(report, str(first).encode())
    os.close(report)
    os.close(held)
    for number in _FORWARDED:
        signal.signal(number, signal.SIG_IGN)
    os._exit(exit_status(os.waitpid(first, 0)[1]))


def _be_first(command: Sequence[str]) -> int:
    """Do a first process's duties: start the command, and take in all that lose their parents."""
    child = fork()
    if child == 0:
        become(command, os.environ)
    # The whole group gets every signal: the command with it.
    for number in _FORWARDED:
        signal.signal(number, signal.SIG_IGN)
    return reap_until(child)


def _dress(wanted: Launch, name: str | None) -> None:
    """Give the process its own /proc, /sys and files of /etc, as `ip netns exec` does."""
    flags = wanted.namespaces
    if flags & NEWPID:
        mount("proc", "/proc", "proc", 0)
    if wanted.own_network:
        with suppress(OSError):
            mount("sysfs", "/sys", "sysfs", 0)
    if wanted.servers:
        _lay_resolver(wanted.servers)
    elif name is not None and flags & NEWNS:
        for file in _listed(f"{OF_NAMESPACES}/{name}"):
            mount(f"{OF_NAMESPACES}/{name}/{file}", f"/etc/{file}", None, MS_BIND)


def _listed(folder: str) -> Iterator[str]:
    with suppress(OSError):
        yield from sorted(os.listdir(folder))


def _lay_resolver(servers: Sequence[str]) -> None:
    """Lay a resolv.conf over /etc's: from a file system of this process alone, which then goes."""
    os.makedirs(run_folder(), mode=0o700, exist_ok=True)
    mount("none", run_folder(), "tmpfs", 0, "size=64k")
    path = f"{run_folder()}/resolv.conf"
    with open(path, "w", encoding="ascii") as file:
        file.writelines(f"nameserver {server}\n" for server in servers)
    mount(path, "/etc/resolv.conf", None, MS_BIND)
    call("umount2", os.fsencode(run_folder()), 2)
