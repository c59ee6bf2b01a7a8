"""Who reaches whom: servers and probes for tcp, udp and sctp, on both families, in any namespace."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hosts import Host

PORT: Final = 7000
"""Where servers answer."""

# Answers with its own name. What came by udp is answered from the address that it was sent to.
_SERVER: Final = """
import selectors, signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_DFL)
name, port = sys.argv[1].encode(), int(sys.argv[2])
poll = selectors.DefaultSelector()
sctp = (socket.SOCK_STREAM, socket.IPPROTO_SCTP)
for kind, protocol in ((socket.SOCK_STREAM, 0), (socket.SOCK_DGRAM, 0), sctp):
    try:
        made = socket.socket(socket.AF_INET6, kind, protocol)
    except OSError:
        continue
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("::", port))
    if kind == socket.SOCK_STREAM:
        made.listen()
    else:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    poll.register(made, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in poll.select():
        try:
            if key.fileobj.type == socket.SOCK_STREAM:
                client = key.fileobj.accept()[0]
                client.sendall(name)
                client.close()
            else:
                _, about, _, sender = key.fileobj.recvmsg(100, 100)
                # The address alone: with the interface, routes by another one would not count.
                own = [(a, b, data[:16] + bytes(4)) for a, b, data in about if b == socket.IPV6_PKTINFO]
                key.fileobj.sendmsg([name], own, 0, sender)
        except OSError:
            pass
"""

# Reads questions as JSON and says who answered each, an empty text for nobody. All are asked at once.
_PROBE: Final = """
import json, socket, sys, threading
SECONDS = 1.2
def ask(protocol, address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind, socket.IPPROTO_SCTP if protocol == "sctp" else 0) as made:
        # A packet may be lost while a neighbour is looked for.
        made.settimeout(SECONDS / 3 if protocol == "udp" else SECONDS)
        made.connect((address, port))
        for _ in range(3 if protocol == "udp" else 1):
            if protocol == "udp":
                made.send(b"?")
            try:
                return made.recv(100).decode()
            except TimeoutError:
                pass
    return ""
def note(at, question):
    try:
        found[at] = ask(*question)
    except OSError:
        found[at] = ""
questions = json.load(sys.stdin)
found = {}
threads = [threading.Thread(target=note, args=each) for each in enumerate(questions)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps([found[at] for at in range(len(questions))]))
"""


class Flow:
    """One flow of udp: every question comes from the same port, so that the kernel knows it again."""

    def __init__(self, host: Host, pid: int | None, address: str, port: int) -> None:
        argv = (*_enter(pid), sys.executable, "-I", "-S", "-u", "-c", _FLOW, address, str(port))
        self._process = host.popen(*argv, stdin=subprocess.PIPE)

    def ask(self) -> str:
        """Send one packet; return who answers it, an empty text for nobody."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


def protocols() -> tuple[str, ...]:
    """Return the protocols that the kernel has sockets for."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError:
        return "tcp", "udp"
    return "tcp", "udp", "sctp"


# Each line read is a packet sent; the answer, or nothing, is a line.
_FLOW: Final = """
import socket, sys
made = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
made.settimeout(0.3)
for _ in sys.stdin:
    answer = ""
    try:
        made.sendto(b"?", (sys.argv[1], int(sys.argv[2])))
        answer = made.recv(100).decode()
    except OSError:
        pass
    print(answer)
"""


def serve(host: Host, name: str, pid: int | str | None = None, port: int = PORT) -> subprocess.Popen[str]:
    """Answer with `name` on every protocol, in a container, a named namespace or (None) on the host."""
    process = host.popen(*_enter(pid), sys.executable, "-I", "-S", "-c", _SERVER, name, str(port))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.stderr
    return process


def ask(host: Host, pid: int | None, questions: Iterable[tuple[str, str, int]]) -> list[str]:
    """Ask (protocol, address, port) from a container or (None) the host; return who answered each."""
    text = json.dumps(list(questions))
    argv = (*_enter(pid), sys.executable, "-I", "-S", "-c", _PROBE)
    answers: list[str] = json.loads(host.check(*argv, input=text))
    return answers


def _enter(pid: int | str | None) -> tuple[str, ...]:
    if isinstance(pid, str):
        return ("nsenter", f"--net=/run/netns/{pid}")
    return ("nsenter", f"--net=/proc/{pid}/ns/net") if pid else ()


def uplink(host: Host, name: str = "up0") -> int:
    """Make somebody on another network, 192.0.2.2, who knows no way back into a container's."""
    pid = host.container()
    host.check("ip", "link", "add", "name", name, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    for end, place, link in (("1", None, name), ("2", pid, "eth0")):
        host.check(*_enter(place), "ip", "link", "set", "dev", link, "up")
        host.check(*_enter(place), "ip", "address", "add", f"192.0.2.{end}/24", "dev", link)
        host.check(*_enter(place), "ip", "address", "add", f"2001:db8::{end}/64", "dev", link, "nodad")
    return pid


def settle(host: Host) -> None:
    """Wait for the bridges' own IPv6 addresses: the kernel asks for no neighbour without one."""
    for _ in range(300):
        if not host.check("ip", "-6", "address", "show", "tentative"):
            return
        time.sleep(0.01)
