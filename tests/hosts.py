"""Throw-away hosts: a network and mount namespace each, with and without root.

A host has its own `/run`, `/sys`, interfaces, rules and sysctls; files elsewhere and process ids are
the machine's. Nothing that runs inside reaches the machine's own network.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self, TypedDict, Unpack

from snapshot import environment, snapshot
from warm import Asked, Call, Holder, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT: Final = Path(__file__).resolve().parent.parent
TIMEOUT_SECONDS: Final = 60
PATIENCE_SECONDS: Final = 20

_SERVER: Final = """
import signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_DFL)
try:
    server = socket.create_server(("::", int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True)
except OSError:
    server = socket.create_server(("", int(sys.argv[1])))
print("ready", flush=True)
page = sys.argv[2].encode()
while True:
    client = server.accept()[0]
    client.settimeout(2)
    try:
        client.recv(4096)
        client.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(page) + page)
    except OSError:
        pass
    client.close()
"""


class Options(TypedDict, total=False):
    """How a command is run: what it reads, what is added to its environment, where, and how long."""

    input: str | None
    env: Mapping[str, str] | None
    cwd: str | Path
    timeout: float


class HostUnavailableError(Exception):
    """This machine allows no namespaces to this user."""


class Host:
    """A machine of its own for one test: `with Host() as host: host.check("ip", "link")`."""

    # Shell commands for when the tests die before they could close the host.
    at_end = ""

    def __init__(self) -> None:
        self._processes: dict[int, subprocess.Popen[str] | Holder] = {}
        # It holds the namespaces until its standard input closes: at the latest when the tests die.
        words = ("sh", "-c", f"cat; {self.at_end}") if self.at_end else ("cat",)
        self.pid = self._hold(Holder(Wanted(words, self.environment())))
        # A process that sees the files as the host does.
        self.view = self.pid
        user = ("--user", "--preserve-credentials") if os.geteuid() else ()
        self.enter = ("nsenter", "--target", str(self.pid), *user, "--net", "--mount")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def path(self, inside: str) -> Path:
        """Return where a file of this host (below /run) is found from outside."""
        return Path(f"/proc/{self.pid}/root{inside}")

    # --- running commands

    def popen(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/",
        stdin: int = subprocess.DEVNULL,
        output: int | IO[str] = subprocess.PIPE,
    ) -> subprocess.Popen[str]:
        """Start a command inside; its pid is the command's own, so it can be sent signals."""
        process = subprocess.Popen(
            (*self.enter, f"--wd=/proc/{self.view}/root{cwd}", "--", *argv),
            stdin=stdin,
            stdout=output,
            stderr=output,
            encoding="utf-8",
            errors="surrogateescape",
            env={**self.environment(), **(env or {})},
        )
        self._processes[process.pid] = process
        return process

    def run(
        self,
        *argv: str,
        input: str | None = None,  # noqa: A002 - subprocess's own word
        env: Mapping[str, str] | None = None,
        cwd: str | Path = "/",
        timeout: float = TIMEOUT_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end."""
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        process = self.popen(*argv, env=env, cwd=cwd, stdin=stdin)
        try:
            stdout, stderr = process.communicate(input, timeout)
        finally:
            self.kill(process.pid)
        return subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)

    def check(self, *argv: str, **options: Unpack[Options]) -> str:
        """Run a command inside that must succeed; return what it printed."""
        done = self.run(*argv, **options)
        assert done.returncode == 0, f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def nettool(
        self,
        *args: str,
        input: str | None = None,  # noqa: A002 - subprocess's own word
        env: Mapping[str, str] | None = None,
        first: str | None = None,
        kill_at: int | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Run this very nettool inside to its end, with its records in the host's own /run."""
        asked = Asked(self.pid, args, {**self.environment(), **(env or {})}, first, kill_at)
        return Call(asked, input).result(timeout)

    def must(self, *args: str, env: Mapping[str, str] | None = None) -> str:
        """Run nettool, which must succeed; return what it printed."""
        done = self.nettool(*args, env=env)
        assert done.returncode == 0, f"nettool {' '.join(args)}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, *args: str) -> Call:
        """Start this very nettool inside."""
        return Call(Asked(self.pid, args, self.environment()))

    def nettool_argv(self, *args: str) -> tuple[str, ...]:
        """Return how `nettool` is called as a program of its own, for `popen`."""
        return (sys.executable, "-m", "nettool", *args)

    def environment(self) -> dict[str, str]:
        """Return the environment of every command inside."""
        return {
            **environment(),
            "PYTHONPATH": str(ROOT),
            "NETTOOL_RUN_DIR": "/run/nettool",
            "NETTOOL_STATE_DIR": "/run/nettool-state",
        }

    # --- furnishing

    def add_bridge(
        self, name: str, *addresses: str, mac: str | None = "", mtu: int | None = None, used: bool = True
    ) -> None:
        """Add a bridge that is up, with a MAC of its own (None: the kernel's choice).

        `used`: a port was on it before. The first port ever gives a bridge its fe80:: address, and
        that stays; on a real host it is there already.
        """
        settings = [] if mac is None else ["address", mac or _mac(name)]
        settings += [] if mtu is None else ["mtu", str(mtu)]
        lines = [f"link add name {name} {' '.join(settings)} type bridge", f"link set dev {name} up"]
        lines += [f"address add {address} dev {name}" for address in addresses]
        if used:
            lines += [
                "link add name used0 type veth peer name used1",
                f"link set dev used0 master {name} up",
                "link set dev used1 up",
            ]
        self.check("ip", "-batch", "-", input="\n".join(lines))
        if used:
            self._wait_for_link_local(name)
            self.check("ip", "link", "del", "dev", "used0")

    def _wait_for_link_local(self, name: str) -> None:
        """Wait until the kernel has given the bridge its fe80:: address, where IPv6 is on (if_inet6)."""
        deadline = time.monotonic() + 2
        addresses = Path(f"/proc/{self.pid}/net/if_inet6")
        while addresses.exists() and time.monotonic() < deadline:
            lines = [line.split() for line in addresses.read_text("ascii", "replace").splitlines()]
            if any(line[0].startswith("fe80") and line[-1] == name for line in lines):
                return
            time.sleep(0.005)

    def container(self, *, serve: bool = False, port: int = 80, page: str = "hello\n") -> int:
        """Start a process with a network namespace of its own, only `lo` in it; return its pid.

        With `serve` it answers every HTTP request on `port` with `page`, on IPv4 and IPv6.
        """
        words = (sys.executable, "-I", "-S", "-c", _SERVER, str(port), page) if serve else ("cat",)
        return self._hold(Holder(Wanted(words, self.environment(), self.pid, says_ready=not serve)))

    def wait_for_the_dead(self) -> None:
        """Wait until the kernel has cleared away the namespaces of all that has died before, in its own time.

        It does so in their order: another one, with a cable, is the last.
        """
        pid = self.container()
        self.check(
            "ip", "link", "add", "name", "last0", "type", "veth", "peer", "name", "last1", "netns", str(pid)
        )
        self.kill(pid)
        until(lambda: " last0:" not in Path(f"/proc/{self.pid}/net/dev").read_text("utf-8"))

    def inside(self, pid: int, *argv: str) -> str:
        """Run a command in a container's network namespace, which must succeed; return what it printed."""
        return self.check("nsenter", f"--net=/proc/{pid}/ns/net", *argv)

    def snapshot(self, *pids: int) -> dict[str, str]:
        """Read the canonical snapshot of this host and of these containers."""
        return snapshot([f"/proc/{pid}/ns/net" for pid in pids], host=self.view)

    # --- ending

    def kill(self, pid: int) -> None:
        """End a process that this host started, and wait for it."""
        process = self._processes.pop(pid)
        if process.poll() is None:
            process.kill()
        process.wait(TIMEOUT_SECONDS)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()

    def close(self) -> None:
        """End everything that runs inside, daemons that left their parents too."""
        if self.pid not in self._processes:
            return
        strays = [pid for pid in self.processes() if pid not in self._processes]
        for pid in list(self._processes):
            self.kill(pid)
        for pid in strays:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Return the pids of all that runs in this host's mount namespace."""
        mine = mount_namespace(self.pid)
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if mount_namespace(pid) == mine]

    def commands(self) -> list[str]:
        """Return the command lines of all that runs in this host's mount namespace."""
        found = []
        for pid in self.processes():
            with contextlib.suppress(OSError):
                found.append(Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " "))
        return found

    def _hold(self, process: subprocess.Popen[str] | Holder) -> int:
        """Keep a process that stays; it says "ready" when it is."""
        self._processes[process.pid] = process
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdout.readline() != "ready\n":
            process.wait(TIMEOUT_SECONDS)
            if process.stderr.seekable():
                process.stderr.seek(0)
            reason = process.stderr.read().strip()
            self.kill(process.pid)
            raise HostUnavailableError(reason or "it gave no answer")
        return process.pid


def until(true: Callable[[], object]) -> None:
    """Wait until something is so; the deadline is a bound for a test that fails."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it is not so yet"
        time.sleep(0.01)


def wait_for_links(host: Host, count: int) -> None:
    """Wait until the kernel has taken a dead namespace's cables away, and so many links are left."""
    until(lambda: len(host.check("ip", "-o", "link").splitlines()) <= count)


def until_said(file: Path, text: str, count: int = 1) -> None:
    """Wait until a process has written a text into a file so often."""
    until(lambda: file.read_text(encoding="utf-8").count(text) >= count)


def mount_namespace(pid: int) -> str | None:
    """Return the mount namespace of a process; None when it has ended or is another user's."""
    try:
        return str(Path(f"/proc/{pid}/ns/mnt").readlink())
    except OSError:
        return None


def _mac(name: str) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()
    return ":".join(["02", "42", *(digest[i : i + 2] for i in range(0, 8, 2))])
