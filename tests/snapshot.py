"""The canonical snapshot of network namespaces: equal text before and after means nothing changed.

What the kernel changes by itself is left out: timers and counters, numbers that a re-created object
gets anew, learned and multicast entries, and whatever follows from carrier alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import difflib
import ipaddress
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from typing import TYPE_CHECKING, Final

import netlink

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

TIMEOUT_SECONDS: Final = 20

_IP: Final = """\
link show
address show
route show table all
rule show
neighbour show nud permanent
neighbour show nud noarp
neighbour show proxy
"""
_BRIDGE: Final = """\
fdb show
vlan show
"""
_SYSCTLS: Final = {
    "ipv4": ("forwarding", "rp_filter", "route_localnet", "proxy_arp"),
    "ipv6": ("disable_ipv6", "forwarding", "accept_ra"),
}

# Numbered anew when an object is made again, set by the kernel from what is plugged in, or counting.
_DROPPED_KEYS: Final = frozenset({
    "ifindex", "link_index", "link_netnsid", "operstate", "tso_max_size", "tso_max_segs",
    "valid_life_time", "preferred_life_time", "tentative", "dadfailed", "optimistic",
    "topology_change", "topology_change_detected", "expires", "used", "age", "updated",
    "stats", "stats64", "promiscuity", "probes", "refcnt", "cacheinfo",
})  # fmt: skip
_CARRIER_FLAGS: Final = frozenset({"NO-CARRIER", "LOWER_UP", "linkdown"})
_MULTICAST: Final = re.compile(r"(2(2[4-9]|3\d)|255)\.|ff")
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_COUNTERS: Final = re.compile(r"\[\d+:\d+\]")


class _Place:
    """One network namespace, read from within by commands that run side by side."""

    def __init__(self, namespace: Path) -> None:
        self._commands: dict[str, Popen[str]] = {}
        self._texts: dict[str, str] = {}
        with _inside(namespace):
            self._start("ip", ("ip", "-j", "-d", "-batch", "-"), _IP)
            if netlink.has_bridge_entries():
                self._start("bridge", ("bridge", "-j", "-batch", "-"), _BRIDGE)
            for family, tool in (("ip", "iptables"), ("ip6", "ip6tables")):
                if netlink.has_tables(family):
                    self._start(tool, (f"{tool}-save",))
            self._texts["rule6"] = "\n".join(sorted(netlink.rules_of_ipv6()))
            self._texts["sysctl"] = "\n".join(sorted(_sysctls()))

    def _start(self, name: str, argv: Sequence[str], batch: str = "") -> None:
        """Start a command; one that is not installed says nothing."""
        with contextlib.suppress(FileNotFoundError):
            process = Popen(
                argv, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, encoding="utf-8", errors="backslashreplace",
                env=environment(),
            )  # fmt: skip
            self._commands[name] = process
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(batch)
                process.stdin.flush()

    def parts(self) -> dict[str, str]:
        """Wait for the answers, and return them reduced to what matters."""
        said = {
            name: process.communicate(timeout=TIMEOUT_SECONDS)[0] for name, process in self._commands.items()
        }
        # There is always lo: without an answer, all would look alike.
        assert said["ip"], "ip gave no answer"
        return {
            "iptables": _rules(said.get("iptables", "")),
            "ip6tables": _rules(said.get("ip6tables", "")),
            **_ip(said.get("ip", "")),
            **_bridge(said.get("bridge", "")),
            **self._texts,
        }


def snapshot(netns_paths: Iterable[str] = (), *, host: int | None = None) -> dict[str, str]:
    """Read a host's network namespace and those at `netns_paths`, each part as sorted lines.

    `host` is a process of the host, from whose view of the files all is seen; without it, this one.
    """
    if os.geteuid() and host:
        return _by_root_of_it(tuple(netns_paths), host)
    process = Path(f"/proc/{host or 'thread-self'}")
    root = process / "root"
    places = {"host": _Place(process / "ns/net")}
    for path in netns_paths:
        with contextlib.suppress(OSError):  # one that is gone has nothing to say
            places[path] = _Place(root / path.lstrip("/"))
    parts = {"host: netns": "\n".join(sorted(_names(root / "run/netns")))}
    for name, place in places.items():
        parts |= {f"{name}: {part}": text for part, text in place.parts().items()}
    return dict(sorted(parts.items()))


def _by_root_of_it(netns_paths: tuple[str, ...], host: int) -> dict[str, str]:
    """Have a process read it that has the rights that the host's user namespace gives."""
    enter = ("nsenter", "--target", str(host), "--user", "--preserve-credentials", "--net")
    argv = (*enter, sys.executable, __file__, str(host), *netns_paths)
    parts: dict[str, str] = json.loads(subprocess.check_output(argv, timeout=TIMEOUT_SECONDS))
    return parts


@contextlib.contextmanager
def _inside(namespace: Path) -> Iterator[None]:
    """Be in a network namespace, with what is started meanwhile."""
    own, other = (os.open(path, os.O_RDONLY) for path in ("/proc/thread-self/ns/net", namespace))
    try:
        if os.path.samestat(os.fstat(own), os.fstat(other)):
            yield
            return
        setns(other)
        try:
            yield
        finally:
            setns(own)
    finally:
        os.close(own)
        os.close(other)


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return a unified diff of two snapshots, empty when they are equal."""
    lines = difflib.unified_diff(_lines(before), _lines(after), "before", "after", lineterm="", n=0)
    return "\n".join(lines)


def _lines(parts: Mapping[str, str]) -> list[str]:
    return [f"{part}: {line}" for part, text in sorted(parts.items()) for line in text.splitlines()]


def setns(namespace: int) -> None:
    """Go into an open namespace. (os.setns is Python 3.12's.)"""
    if _LIBC.setns(namespace, 0):
        raise OSError(ctypes.get_errno(), "setns")


def _sysctls() -> Iterator[str]:
    """Yield the settings of the namespace that this thread is in."""
    yield f"ipv4/ip_forward:{Path('/proc/sys/net/ipv4/ip_forward').read_text('ascii').strip()}"
    for family, names in _SYSCTLS.items():
        folder = f"/proc/sys/net/{family}/conf"
        for interface in os.listdir(folder):
            for name in names:
                with contextlib.suppress(OSError), open(f"{folder}/{interface}/{name}", "rb") as file:
                    yield f"{family}/conf/{interface}/{name}:{file.read().decode().strip()}"


def _names(folder: Path) -> Iterator[str]:
    """Yield the names that namespaces have: what each points to, or the number of what is mounted there."""
    with contextlib.suppress(OSError):
        device = folder.stat().st_dev
        for entry in folder.iterdir():
            if entry.is_symlink():
                yield f"{entry.name} -> {entry.readlink()}"
                continue
            status = entry.lstat()
            kind = "nsfs" if status.st_dev != device else "file"
            yield f"{entry.name} {kind} {stat.filemode(status.st_mode)[0].replace('-', 'f')} {status.st_ino}"


def search_path() -> str:
    """Return the PATH with the sbin folders, which an ordinary user's lacks."""
    return os.pathsep.join([os.environ.get("PATH", "/usr/bin:/bin"), "/usr/local/sbin", "/usr/sbin", "/sbin"])


def environment() -> dict[str, str]:
    """Return an environment in which system tools are found and answer in plain English."""
    return {**os.environ, "PATH": search_path(), "LC_ALL": "C.UTF-8"}


# --- what each command's answer is reduced to


def _ip(output: str) -> dict[str, str]:
    answers = _documents(output, 7)
    return {
        "link": _canonical(answers[0]),
        "address": _canonical(_addresses(answers[1])),
        "route": _canonical(route for route in answers[2] if not _comes_by_itself(route)),
        "rule": _canonical(answers[3]),
        "neighbour": _canonical(entry for answer in answers[4:] for entry in answer if _is_set(entry)),
    }


def _bridge(output: str) -> dict[str, str]:
    entries, vlans = _documents(output, 2)
    return {"fdb": _canonical(entry for entry in entries if _is_configured(entry)), "vlan": _canonical(vlans)}


def _documents(output: str, count: int) -> list[list[object]]:
    """Split the answers of one `-batch` run; what is no JSON (a hostile name) is kept line by line."""
    decoder = json.JSONDecoder(strict=False)
    documents: list[list[object]] = []
    rest = output.strip()
    while rest:
        try:
            document, end = decoder.raw_decode(rest)
        except ValueError:
            documents.append(list(rest.splitlines()))
            break
        documents.append(document)
        rest = rest[end:].lstrip()
    return documents + [[]] * (count - len(documents))


def _addresses(links: list[object]) -> list[object]:
    return [address for link in links for address in _addresses_of(link)]


def _addresses_of(link: object) -> list[object]:
    if not isinstance(link, dict):
        return [link]
    return [dict(address, dev=link.get("ifname")) for address in link.get("addr_info", ())]


def _comes_by_itself(route: object) -> bool:
    """Whether the kernel adds this route a moment later: to an IPv6 address, or to all groups.

    The first when duplicate detection is done; on a host that forwards there is an anycast one, too (RFC
    4291, 2.6.1). The second when an interface has its carrier, or a bridge its first port.
    """
    if not isinstance(route, dict):
        return False
    kind, destination = route.get("type"), str(route.get("dst"))
    of_address = kind in ("local", "anycast") and ":" in destination
    return of_address or (kind, destination, route.get("protocol")) == ("multicast", "ff00::/8", "kernel")


def _is_set(neighbour: object) -> bool:
    """Whether somebody set it: the kernel makes NOARP ones for multicast and broadcast as it needs them."""
    return not isinstance(neighbour, dict) or not _MULTICAST.match(str(neighbour.get("dst", "")))


def _is_configured(entry: object) -> bool:
    """Whether an fdb entry is neither learned nor a group that the interface joined by itself."""
    if not isinstance(entry, dict):
        return True
    group = int(str(entry.get("mac", "0"))[:2], 16) & 1 and "dst" not in entry
    return entry.get("state") in ("permanent", "static", "noarp") and not group


def _canonical(objects: Iterable[object]) -> str:
    kept = [_reduced(item) for item in objects if item]
    return "\n".join(sorted(json.dumps(item, sort_keys=True, ensure_ascii=True) for item in kept))


def _reduced(value: object) -> object:
    if isinstance(value, dict):
        return {
            key: _reduced(item)
            for key, item in value.items()
            if key not in _DROPPED_KEYS and not key.endswith("_timer") and not _is_index(key, item)
        }
    if isinstance(value, list):
        return [_reduced(item) for item in value if not (isinstance(item, str) and item in _CARRIER_FLAGS)]
    return value


def _is_index(key: str, value: object) -> bool:
    """Whether `link` holds the number of an interface elsewhere instead of a name."""
    return key == "link" and re.fullmatch(r"if\d+", str(value)) is not None


def _rules(saved: str) -> str:
    """Keep the tables that say something: using a table once leaves its empty ACCEPT chains behind."""
    lines = [_COUNTERS.sub("", line).strip() for line in saved.splitlines() if not line.startswith("#")]
    tables = re.findall(r"^\*.*?^COMMIT$", "\n".join(lines), re.DOTALL | re.MULTILINE)
    return "\n".join(table for table in sorted(tables) if not _is_empty(table))


def _is_empty(table: str) -> bool:
    return all(re.fullmatch(r"\*.*|:\S+ ACCEPT|COMMIT", line) for line in table.splitlines())


def without_chance(parts: dict[str, str]) -> dict[str, str]:
    """Put one name for all MACs that the kernel drew, and for the addresses that it makes of them."""
    text, cables = json.dumps(parts), dict(cable_macs(parts)).values()
    for mac in set(re.findall(r"\b[0-9a-f][26ae](?::[0-9a-f]{2}){5}\b", text)):
        # By chance, the kernel draws one that begins as those that are given.
        if mac in cables or not mac.startswith("02:42:"):
            for word in spellings(mac):
                text = text.replace(word, "CHANCE")
    return {part: "\n".join(sorted(lines.splitlines())) for part, lines in json.loads(text).items()}


def cable_macs(parts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the name of each end of a cable in a snapshot, and its MAC."""
    for part, lines in parts.items():
        for line in lines.splitlines() if part.endswith(": link") else ():
            link = json.loads(line)
            if isinstance(link, dict) and link.get("linkinfo", {}).get("info_kind") == "veth":
                yield link["ifname"], link["address"]


def spellings(mac: str) -> tuple[str, str, str]:
    """Return a MAC's link-local address (RFC 4291, appendix A), the MAC, and how a bridge's id spells it.

    That one leaves leading zeros out.
    """
    low = [int(byte, 16) for byte in mac.split(":")]
    eui = bytes([low[0] ^ 2, *low[1:3], 0xFF, 0xFE, *low[3:]])
    link_local = ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + eui)
    return str(link_local), mac, ":".join(f"{byte:x}" for byte in low)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(snapshot(sys.argv[2:], host=int(sys.argv[1]))))
