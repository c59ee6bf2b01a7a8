"""The lab: throw-away hosts, made of namespaces, in which everything may be tried without root.

A lab is one pid namespace. Its first process builds the hosts, runs the caller's command on the
first of them, and ends when the command does; the kernel then ends every process in the lab, and
with the last one go the namespaces, with all that was made in them.

Each host is a network, a mount and a UTS namespace. The only host's are the first process's; of
several, each has a process that sleeps to hold them, and the first process has the switch. A host has
a bridge as Docker makes it, its own `/run`, and a container: a process with an own network namespace
in which there is nothing but `lo`, that serves a page. Pids are fixed, so that examples can name them.

The namespaces are made by system call and not by `unshare`, because `unshare` 2.38 blocks SIGTERM
while it waits, and because a process that forks itself needs no second interpreter.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from nettool.errors import NettoolError, Refused, TargetNotFound, UsageError
from nettool.namespaces import (
    NEWNET,
    NEWNS,
    NEWPID,
    NEWUSER,
    NEWUTS,
    SET_NAME,
    become,
    call,
    die_with,
    exit_status,
    reap_until,
    set_namespace,
    unshare,
)
from nettool.run import run, search_path
from nettool.watch import fork, fork_as

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MAX_HOSTS: Final = 99
CONTAINER_PID: Final = 1310
# From the second host on, and with the same distance for each.
_PIDS_APART: Final = 10

_FOLDER: Final = Path("/run/nettool-lab")
_BIN: Final = _FOLDER / "bin"


@dataclass(frozen=True, slots=True)
class Host:
    """One host of a lab of so many: what it is called, and the commands that set it up."""

    number: int
    of: int = 1

    @property
    def name(self) -> str:
        """Its host name, which is also what `nettool lab on` takes."""
        return f"host{self.number}"

    @property
    def container(self) -> int:
        """The pid of its container's process."""
        return CONTAINER_PID + _PIDS_APART * (self.number - 1)

    @property
    def pid(self) -> int:
        """The pid of the process that holds its namespaces: the lab's first, if it is the only host."""
        return self.container - 1 if self.of > 1 else 1

    @property
    def variables(self) -> dict[str, str]:
        """What a command on this host finds in its environment."""
        return {
            "NETTOOL_LAB": "1",
            "NETTOOL_LAB_HOST": self.name,
            "NETTOOL_LAB_HOSTS": str(self.of),
            "NETTOOL_LAB_PID": str(self.container),
            "NETTOOL_STATE_DIR": "/run/nettool-state",
            "NETTOOL_RUN_DIR": "/run/nettool",
        }

    def links(self, *, ipv6: bool) -> tuple[str, ...]:
        """Return the `ip -batch` lines for its interfaces."""
        lines = self._bridge + (self._uplink if self.of > 1 else ())
        return tuple(line for line in lines if ipv6 or "::" not in line)

    @property
    def _bridge(self) -> tuple[str, ...]:
        # With a MAC given, a bridge keeps it when ports come and go; by default it takes a port's.
        # Its link-local address is what the kernel would give it, a while after the first carrier:
        # so the host looks the same before its first container and after its last.
        number = self.number - 1
        return (
            "link set lo up",
            f"link add name docker0 address 02:42:ac:11:{number:02x}:01 type bridge",
            "address add 172.17.0.1/16 broadcast 172.17.255.255 dev docker0",
            "address add fd00:17::1/64 dev docker0 nodad",
            "link set docker0 up",
            f"address add fe80::42:acff:fe11:{number << 8 | 1:x}/64 dev docker0 nodad",
        )

    @property
    def _uplink(self) -> tuple[str, ...]:
        mac = f"02:00:0a:00:00:{self.number:02x}"
        return (
            f"link add name eth0 address {mac} type veth peer name {self.name} netns 1",
            f"address add 10.0.0.{self.number}/24 broadcast 10.0.0.255 dev eth0",
            "link set eth0 up",
            f"address add fe80::aff:fe00:{self.number:x}/64 dev eth0 nodad",
            "route add default via 10.0.0.254",
        )


_SWITCH: Final = (
    "link set lo up",
    "link add name switch address 02:00:0a:00:00:fe type bridge",
    "address add 10.0.0.254/24 broadcast 10.0.0.255 dev switch",
    "link set switch up",
)

_EXPLANATION: Final = """\
nettool lab: a throw-away host to try everything on, without root.

  nettool lab shell                   a shell on it
  nettool lab run -- CMD              run one command on it, and end with its status
  nettool lab run --hosts 3 -- CMD    three hosts on one switch; CMD runs on host1
  nettool lab on host2 -- CMD         within such a lab: run a command on another host

It has a bridge docker0 with 172.17.0.1/16, and a container without a network: process 1310, which
serves a page on port 80. All of it ends with the command. Files outside /run are the machine's own."""

_GREETING: Final = """\
You are root on host1, a throw-away host. All of it ends with this shell.
  docker0        a bridge with 172.17.0.1/16 and nothing plugged in
  process 1310   a container without a network; it serves a page on port 80
Files outside /run are the machine's own. Try:
  nettool attach --pid 1310 --ip 172.17.0.10/16 --dry-run
  nettool attach --pid 1310 --ip 172.17.0.10/16
  curl 172.17.0.10"""


def explain() -> str:
    """Say what the lab is and how it is used."""
    return _EXPLANATION


def greeting(hosts: int) -> str:
    """Say what is there and what to try, for whoever gets a shell."""
    if hosts == 1:
        return _GREETING
    return (
        f"{_GREETING}\nThere are {hosts} hosts, 10.0.0.1 to 10.0.0.{hosts}, with a container each:\n"
        "  nettool lab on host2 -- ip -brief address"
    )


def shell() -> tuple[str, ...]:
    """Return the command that starts the caller's shell."""
    candidates = (os.environ.get("SHELL", ""), "bash", "sh")
    return (next(filter(None, (shutil.which(name) for name in candidates if name)), "/bin/sh"),)


def run_in_lab(argv: Sequence[str], hosts: int, *, ready: Callable[[], None] = lambda: None) -> int:
    """Build a lab, call `ready`, run the command on its first host, and return its exit status."""
    if not 1 <= hosts <= MAX_HOSTS:
        raise UsageError(f"a lab has 1 to {MAX_HOSTS} hosts, not {hosts}")
    interrupts = _ignore_interrupts()
    _make_namespaces()
    _go_on_as_first_process()
    machines = tuple(Host(number, hosts) for number in range(1, hosts + 1))
    _build(machines)
    ready()
    command = fork()
    if command == 0:
        for number, handler in interrupts.items():
            signal.signal(number, handler)
        enter(machines[0], argv)
    return reap_until(command)


def find_host(name: str) -> Host:
    """Return the host of that name in the lab that this process is in."""
    count = int(os.environ.get("NETTOOL_LAB_HOSTS", "0"))
    hosts = {host.name: host for host in (Host(number, count) for number in range(1, count + 1))}
    if not hosts:
        raise Refused(
            "this is not a lab", why=("NETTOOL_LAB_HOSTS is not set",), hints=("nettool lab shell --hosts 3",)
        )
    if name not in hosts:
        raise TargetNotFound(f"there is no host {name} in this lab", why=(f"it has {', '.join(hosts)}",))
    if not _holds(hosts[name]):
        raise TargetNotFound(f"{name} is gone", why=(f"process {hosts[name].pid} is not what holds it",))
    return hosts[name]


def enter(host: Host, argv: Sequence[str]) -> NoReturn:
    """Become the command, on that host."""
    folder = _current_folder()
    for kind in ("uts", "net", "mnt"):
        set_namespace(f"/proc/{host.pid}/ns/{kind}")
    _change_folder(folder)
    become(argv, {**os.environ, "PATH": _lab_path(), **host.variables})


def _ignore_interrupts() -> dict[int, signal.Handlers]:
    """Leave Ctrl-C to the command; return what it was to do, for the command to have."""
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGQUIT)}
    for number in found:
        signal.signal(number, signal.SIG_IGN)
    return {
        number: signal.SIG_IGN if handler == signal.SIG_IGN else signal.SIG_DFL
        for number, handler in found.items()
    }


def _make_namespaces() -> None:
    """Leave the machine's namespaces; as an ordinary user through a user namespace."""
    namespaces = NEWNS | NEWNET | NEWPID
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        # Root without CAP_SYS_ADMIN, as in most containers, goes the ordinary user's way.
        with suppress(PermissionError):
            unshare(namespaces)
            return
    try:
        unshare(NEWUSER | namespaces)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {user} 1")
        _write("/proc/self/gid_map", f"0 {group} 1")
    except OSError as error:
        raise forbidden(str(error.strerror), user, _read) from error


_SWITCHES: Final = (
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "15000"),
    ("user.max_net_namespaces", "0", "15000"),
)


def forbidden(reason: str, user: int, read: Callable[[str], str]) -> Refused:
    """Explain why no namespaces can be made here; `read` gives a file's text, or nothing."""
    why, hints = [f"making namespaces: {reason}"], []
    for key, closed, opened in _SWITCHES:
        if read("/proc/sys/" + key.replace(".", "/")).strip() == closed:
            why.append(f"{key} is {closed}")
            hints.append(f"sysctl -w {key}={opened}")
    hints.append("sudo nettool lab …" if user else "start this container with CAP_SYS_ADMIN (--privileged)")
    return Refused("this machine does not let you make a lab", why=tuple(why), hints=tuple(hints))


def _go_on_as_first_process() -> None:
    """Return in a new process, the lab's first; this one waits for it and ends as it does."""
    outside = os.pidfd_open(os.getpid())
    first = fork()
    if first:
        raise SystemExit(_wait_outside(first))
    die_with(outside)


def _wait_outside(first: int) -> int:
    """Wait for the lab to end, or end it when told to; nothing of it is left on return."""
    received: list[int] = []

    def end(number: int, _frame: object) -> None:
        received.append(number)
        with suppress(ProcessLookupError):
            os.kill(first, signal.SIGKILL)

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    give_back = _terminal_to_give_back()
    _, status = os.waitpid(first, 0)
    give_back()
    return 128 + received[0] if received else exit_status(status)


def _terminal_to_give_back() -> Callable[[], None]:
    """Return what makes this process group the terminal's again, if it is now.

    A shell puts itself in the foreground, and at its end the group it found there; that one is
    outside of the lab, where the shell cannot name it.
    """
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        foreground = os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return lambda: None

    def give_back() -> None:
        if foreground:
            # A process that is not in the foreground is stopped for this, unless it ignores the signal.
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            with suppress(OSError):
                os.tcsetpgrp(terminal, os.getpgrp())

    return give_back


def _build(hosts: Sequence[Host]) -> None:
    """Set up all the hosts, side by side."""
    _must("mount", "--make-rprivate", "/")
    _must("mount", "-t", "proc", "proc", "/proc")
    # Until all have their pids nobody may start a command: it could take one of them.
    held, go = os.pipe()
    reports, report = os.pipe()
    works = [(host, host.container, _be_container) for host in hosts]
    works += [(host, host.pid, _be_host) for host in hosts if host.pid != 1]
    for host, pid, work in works:
        fork_as(pid, _Member(host, work, held, go, report))
    os.close(go)
    os.close(report)
    if len(hosts) == 1:
        _make_host(hosts[0])
    else:
        _ip(_SWITCH)
    _check_reports(_read_all(reports), expected=len(works))
    if len(hosts) > 1:
        _ip(f"link set {host.name} master switch up" for host in hosts)


@dataclass(frozen=True, slots=True)
class _Member:
    """A process of the lab: sets itself up when told to go, reports, and lives on."""

    host: Host
    work: Callable[[Host], Callable[[], None]]
    held: int
    go: int
    report: int

    def __call__(self) -> None:
        # An own session: the terminal's signals are for the command.
        os.setsid()
        os.close(self.go)
        os.read(self.held, 1)
        try:
            live = self.work(self.host)
        except (NettoolError, OSError) as error:
            why = error.why if isinstance(error, NettoolError) else ()
            os.write(self.report, f"{self.host.name}: {' '.join((str(error), *why))}\n".encode())
            return
        os.write(self.report, b"ready\n")
        os.close(self.report)
        live()


def _check_reports(reports: str, *, expected: int) -> None:
    lines = reports.splitlines()
    failures = tuple(line for line in lines if line != "ready")
    if failures or len(lines) != expected:
        raise NettoolError("the lab could not be built", why=failures or ("one of its processes ended",))


def _be_host(host: Host) -> Callable[[], None]:
    _make_host(host)
    return _sleep


def _make_host(host: Host) -> None:
    """Give this process the host's namespaces, and set them up."""
    unshare(NEWNS | NEWNET | NEWUTS)
    _name_process(host.name)
    socket.sethostname(host.name)
    _must("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run")
    if not Path("/var/run").is_symlink():
        _must("mount", "--bind", "/run", "/var/run")
    _write_launcher()
    _mount_sysfs()
    _shield_etc()
    _ip(host.links(ipv6=Path("/proc/sys/net/ipv6").exists()))


def _sleep() -> None:
    while True:
        signal.pause()


def _mount_sysfs() -> None:
    """Show the host's own interfaces in /sys/class/net; some containers forbid it, and little needs it."""
    fresh = _FOLDER / "sys"
    fresh.mkdir()
    if run(("mount", "-t", "sysfs", "sysfs", str(fresh))).ok:
        run(("mount", "--rbind", "/sys/fs/cgroup", str(fresh / "fs/cgroup")))
        run(("mount", "--move", str(fresh), "/sys"))


def _shield_etc() -> None:
    """Let what is written into /etc stay in the lab (overlayfs; userxattr is what an ordinary user may)."""
    upper, work = _FOLDER / "etc", _FOLDER / "etc.work"
    upper.mkdir()
    work.mkdir()
    options = f"userxattr,lowerdir=/etc,upperdir={upper},workdir={work}"
    run(("mount", "-t", "overlay", "overlay", "-o", options, "/etc"))


def _write_launcher() -> None:
    """Make `nettool` within the lab the one that made the lab, however that was started."""
    _BIN.mkdir(parents=True)
    launcher = _BIN / "nettool"
    source = str(Path(__file__).parent.parent)
    launcher.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        f"if {source!r} not in sys.path:\n"
        f"    sys.path.insert(0, {source!r})\n"
        "from nettool.cli import entry\n"
        "entry()\n"
    )
    launcher.chmod(0o755)


def _lab_path() -> str:
    """Return the PATH for the lab: its `nettool` first, and at the end what was installed along."""
    folders = search_path().split(os.pathsep)
    return os.pathsep.join(dict.fromkeys([str(_BIN), *folders, str(Path(sys.executable).parent)]))


def _be_container(host: Host) -> Callable[[], None]:
    unshare(NEWNET)
    _name_process("web")
    _ip(("link set lo up",))
    server = _listen(80)
    page = f"Hello from the container (pid {host.container}) on {host.name}\n"
    return lambda: _serve(server, page.encode())


def _listen(port: int) -> socket.socket:
    """Listen on all addresses, also on those that come later."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _serve(server: socket.socket, page: bytes) -> None:
    """Answer every request with the page. `http.server` would take as long to import as the lab to build."""
    header = f"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(page)}\r\n\r\n"
    while True:
        connection, _ = server.accept()
        with connection, suppress(OSError):
            connection.settimeout(2)
            if _read_request(connection).startswith(b"HEAD "):
                connection.sendall(header.encode())
            else:
                connection.sendall(header.encode() + page)


def _read_request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request and len(request) < 65536:
        piece = connection.recv(4096)
        if not piece:
            break
        request += piece
    return request


def _holds(host: Host) -> bool:
    return _read(f"/proc/{host.pid}/comm").strip() == host.name


def _current_folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        # It has been removed, or may not be read.
        return "/"


def _change_folder(folder: str) -> None:
    """Go to the folder by its name: a mount namespace is entered at its root."""
    try:
        os.chdir(folder)
    except OSError:
        # It was in the machine's /run, which the lab does not show.
        os.chdir("/")


def _ip(lines: Iterable[str]) -> None:
    _must("ip", "-batch", "-", stdin="".join(f"{line}\n" for line in lines))


def _must(*argv: str, stdin: str | None = None) -> None:
    result = run(argv, stdin=stdin)
    if not result.ok:
        raise NettoolError(f"the lab could not be built: {' '.join(argv)}", why=(result.stderr.strip(),))


def _name_process(name: str) -> None:
    """Set the name that `ps` and `ss -p` show, instead of the command line that made the lab."""
    call("prctl", SET_NAME, name.encode())
    # Fields 48 and 49 of proc(5)'s stat, counted from behind the name, which may have blanks in it.
    fields = _read("/proc/self/stat").rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])
    ctypes.memmove(start, name.encode().ljust(end - start, b"\0"), end - start)


def _write(path: str, text: str) -> None:
    Path(path).write_text(text, encoding="ascii")


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return ""


def _read_all(pipe: int) -> str:
    with os.fdopen(pipe, encoding="utf-8", errors="replace") as file:
        return file.read()
