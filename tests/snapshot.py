"""The canonical snapshot of network namespaces: equal text before and after means nothing changed.

What the kernel changes by itself is left out: timers and counters, numbers that a re-created object
gets anew, learned and multicast entries, and whatever follows from carrier alone.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

TIMEOUT_SECONDS: Final = 20

_IP: Final = """\
ip -j -d -batch - <<END
link show
address show
route show table all
rule show
neighbour show nud permanent
neighbour show nud noarp
neighbour show proxy
END
"""
_BRIDGE: Final = """\
bridge -j -batch - <<END
fdb show
vlan show
END
"""
# grep names the file before each value; a pattern that matches nothing is an error it keeps to itself.
_SYSCTLS: Final = """\
cd /proc/sys/net && grep -s '' ipv4/ip_forward \
ipv4/conf/*/forwarding ipv4/conf/*/rp_filter ipv4/conf/*/route_localnet ipv4/conf/*/proxy_arp \
ipv6/conf/*/disable_ipv6 ipv6/conf/*/forwarding ipv6/conf/*/accept_ra
"""
_NAMES: Final = """\
cd /run/netns 2>/dev/null || exit 0
find . -mindepth 1 -maxdepth 1 -type l -printf '%P -> %l\\n' -o -printf '%P %F %y %i\\n'
"""
# Put between the answers: no name on a host has a line like it.
_SEPARATOR: Final = "\n\036 the next answer \036\n"

# Numbered anew when an object is made again, set by the kernel from what is plugged in, or counting.
_DROPPED_KEYS: Final = frozenset({
    "ifindex", "link_index", "link_netnsid", "operstate", "tso_max_size", "tso_max_segs",
    "valid_life_time", "preferred_life_time", "tentative", "dadfailed", "optimistic",
    "topology_change", "topology_change_detected", "expires", "used", "age", "updated",
    "stats", "stats64", "promiscuity", "probes", "refcnt", "cacheinfo",
})  # fmt: skip
_CARRIER_FLAGS: Final = frozenset({"NO-CARRIER", "LOWER_UP", "linkdown"})
_MULTICAST: Final = re.compile(r"(2(2[4-9]|3\d)|255)\.|ff")
_COUNTERS: Final = re.compile(r"\[\d+:\d+\]")


@dataclass(frozen=True)
class _Reader:
    script: str
    parse: Callable[[str], dict[str, str]]


def snapshot(netns_paths: Iterable[str] = (), *, enter: Sequence[str] = ()) -> dict[str, str]:
    """Read this network namespace and those at `netns_paths`, each part as sorted lines.

    `enter` is put before every command (`nsenter …`): the "host" from which all is seen.
    """
    places = {"host": tuple(enter)}
    places |= {path: (*enter, "nsenter", f"--net={path}") for path in netns_paths}
    running = [
        (place, readers, _start(prefix, readers))
        for place, prefix in places.items()
        for readers in [_readers(names=place == "host")]
    ]
    parts: dict[str, str] = {}
    for place, readers, process in running:
        answers = process.communicate(timeout=TIMEOUT_SECONDS)[0].split(_SEPARATOR)
        assert len(answers) == len(readers) or place != "host", "the host gave no answer"
        answers += [""] * (len(readers) - len(answers))  # a sandbox that is gone gives none
        for reader, answer in zip(readers, answers, strict=True):
            parts |= {f"{place}: {part}": text for part, text in reader.parse(answer).items()}
    return dict(sorted(parts.items()))


def difference(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return a unified diff of two snapshots, empty when they are equal."""
    lines = difflib.unified_diff(_lines(before), _lines(after), "before", "after", lineterm="", n=0)
    return "\n".join(lines)


def _lines(parts: Mapping[str, str]) -> list[str]:
    return [f"{part}: {line}" for part, text in sorted(parts.items()) for line in text.splitlines()]


def _readers(*, names: bool) -> list[_Reader]:
    readers = [
        _Reader("iptables-save", _rules_of("iptables")),
        _Reader("ip6tables-save", _rules_of("ip6tables")),
        _Reader(_IP, _ip),
        _Reader("ip -6 -j rule show", _objects_of("rule6")),
        _Reader(_BRIDGE, _bridge),
        _Reader(_SYSCTLS, _text_of("sysctl")),
    ]
    return [*readers, _Reader(_NAMES, _text_of("netns"))] if names else readers


def _start(prefix: Sequence[str], readers: Iterable[_Reader]) -> subprocess.Popen[str]:
    """Start one shell that runs all of a place's readers; a tool that is not installed says nothing."""
    script = f"printf '{_SEPARATOR}'\n".join(f"{reader.script}\n" for reader in readers)
    return subprocess.Popen(
        (*prefix, "sh", "-c", script),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        errors="backslashreplace",
        env=environment(),
    )


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
        "route": _canonical(route for route in answers[2] if not _follows_address(route)),
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


def _follows_address(route: object) -> bool:
    """Whether the kernel adds this route when an IPv6 address is done with duplicate detection.

    On a host that forwards there is an anycast one, too (RFC 4291, 2.6.1).
    """
    kinds = ("local", "anycast")
    return isinstance(route, dict) and route.get("type") in kinds and ":" in str(route.get("dst"))


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


def _objects_of(part: str) -> Callable[[str], dict[str, str]]:
    return lambda output: {part: _canonical(_documents(output, 1)[0])}


def _text_of(part: str) -> Callable[[str], dict[str, str]]:
    return lambda output: {part: "\n".join(sorted(output.splitlines()))}


def _rules_of(part: str) -> Callable[[str], dict[str, str]]:
    return lambda output: {part: _rules(output)}


def _rules(saved: str) -> str:
    """Keep the tables that say something: using a table once leaves its empty ACCEPT chains behind."""
    lines = [_COUNTERS.sub("", line).strip() for line in saved.splitlines() if not line.startswith("#")]
    tables = re.findall(r"^\*.*?^COMMIT$", "\n".join(lines), re.DOTALL | re.MULTILINE)
    return "\n".join(table for table in sorted(tables) if not _is_empty(table))


def _is_empty(table: str) -> bool:
    return all(re.fullmatch(r"\*.*|:\S+ ACCEPT|COMMIT", line) for line in table.splitlines())
