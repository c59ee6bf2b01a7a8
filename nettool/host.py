"""Read a host: its links, addresses, routes, namespaces and tools, as Facts. Reading never writes.

One `ip -json` a namespace answers for its links, addresses and routes; the readers of all the
namespaces run side by side. Names may be hostile (a container can rename its interface to
anything): they are data here, and are made safe where they are shown.
"""

from __future__ import annotations

import os

from nettool.errors import NettoolError
from nettool.facts import (
    ON_PARENT,
    VLAN,
    AddressFact,
    Facts,
    LinkFact,
    NamespaceFacts,
    NeighbourFact,
    NetnsNameFact,
    RouteFact,
)
from nettool.hostfiles import read_files
from nettool.naming import NETNS_FOLDER
from nettool.netnsid import namespace_id
from nettool.run import Started, find_tools
from nettool.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Final

    from nettool.facts import FirewallFacts, SandboxFact
    from nettool.traffic import Traffic

HOST_NETNS: Final = "/proc/self/ns/net"
_IPTABLES: Final = {"iptables": 4, "ip6tables": 6}
_VARIANTS: Final = ("-nft", "-legacy")
TOOLS: Final = ("ip", "brctl", "nsenter", "mkdir", "rmdir", "ln", "rm", "tee", "sysctl", "pkill", "dnsmasq",
    "conntrack",
    *_IPTABLES, *(f"{name}{variant}" for name in _IPTABLES for variant in _VARIANTS),
)  # fmt: skip

_BATCH: Final = "addr show\nroute show table all\nneigh show\n"
# What `ip -json route` says of a route that RouteFact keeps too.
_ROUTE_KEYS: Final = frozenset(
    ("dst", "gateway", "dev", "metric", "protocol", "prefsrc", "scope", "flags", "type", "pref", "table")
)


def read_facts(
    sandboxes: Iterable[SandboxFact] = (),
    *,
    with_ipv6: bool = False,
    with_firewall: bool = False,
    earlier: Facts | None = None,
) -> Facts:
    """Read the host, and the namespaces of the given sandboxes; `earlier` is what was read before."""
    return Reading(sandboxes, with_ipv6=with_ipv6, with_firewall=with_firewall, earlier=earlier).finish()


class Reading:
    """A reading of the host under way: its processes run while the caller does other things."""

    def __init__(
        self,
        sandboxes: Iterable[SandboxFact] = (),
        *,
        with_ipv6: bool = False,
        with_firewall: bool = False,
        with_traffic: bool = False,
        earlier: Facts | None = None,
    ) -> None:
        self._sandboxes = tuple(sandboxes)
        known = earlier.firewall.variant if earlier and earlier.firewall else None
        self._firewall = Firewall(known) if with_firewall else None
        # Who listens is for the plan alone, and takes a look at every process.
        self._traffic = _traffic(with_sockets=earlier is None) if with_traffic else None
        own = os.stat(HOST_NETNS).st_ino
        paths = {s.inode: s.path for s in self._sandboxes if s.inode is not None and s.inode != own}
        self._host = _Reader(own, None, with_options=with_firewall)
        self._inner = [_Reader(inode, path, with_ipv6=with_ipv6) for inode, path in paths.items()]

    def finish(self) -> Facts:
        """Wait for what was started, and return all that is known of the host."""
        host = self._host.finish()
        inner = [reader.finish() for reader in self._inner]
        if host is None:
            raise NettoolError("this host's interfaces cannot be read", why=(self._host.failure,))
        firewall = self._firewall.finish() if self._firewall else None
        sockets, flows = self._traffic.finish() if self._traffic else ((), ())
        if firewall is not None:
            host = replace(host, sysctls=read_forwarding())
        return Facts(
            host=host,
            namespaces=tuple(facts for facts in inner if facts is not None),
            sandboxes=self._sandboxes,
            netns_names=read_netns_names(),
            netns_folder=os.path.isdir(NETNS_FOLDER),
            tools=tuple(sorted(find_tools(TOOLS).items())),
            boot_id=read_text("/proc/sys/kernel/random/boot_id").strip(),
            hostname=os.uname().nodename,
            privileged=os.geteuid() == 0,
            ssh_links=_links_with(host, os.environ.get("SSH_CONNECTION", "").split()[2:3]),
            firewall=firewall,
            sockets=sockets,
            flows=flows,
            **read_files(),
        )


def _traffic(*, with_sockets: bool) -> Traffic:
    from nettool.traffic import Traffic  # most readings are about no ports

    return Traffic(with_sockets=with_sockets)


class Firewall:
    """A reading of the host's rules under way, in both variants of iptables where both are there.

    A rule of the one is invisible to the other, and a packet passes both. The variant that the
    host's rules are in is the one to use; once it is known, the other is not read again.
    """

    def __init__(self, known: str | None = None) -> None:
        self._readers = {
            variant: [(family, _saved(name, variant)) for name, family in _IPTABLES.items()]
            for variant in (_variants() if known is None else (known,))
        }

    def finish(self) -> FirewallFacts:
        """Return the rules of the variant to use."""
        from nettool.firewall import choose, parse_saved  # most readings leave the firewall alone

        found = {
            variant: [
                parse_saved(saved.finish().stdout if saved else "", family) for family, saved in readers
            ]
            for variant, readers in self._readers.items()
        }
        program = find_tools(("iptables",)).get("iptables", "")
        usual = "-legacy" if "legacy" in os.path.realpath(program) else "-nft"
        return choose(found, usual)


def _saved(name: str, variant: str) -> Started | None:
    """Start to read the rules of one family; None where there are none that a program could tell."""
    tables = f"/proc/thread-self/net/{name.replace('tables', '_tables')}_names"
    if variant == "-legacy" and not _has_legacy_tables(tables):
        return None
    return Started((f"{name}{variant}-save",))


def _has_legacy_tables(path: str) -> bool:
    """Whether the kernel lists a table there: iptables-legacy-save looks there, too. True if unsure."""
    try:
        with open(path, "rb") as file:
            return bool(file.read())
    except FileNotFoundError:
        return False  # the kernel's part of it is not loaded
    except OSError:
        return True


def _variants() -> tuple[str, ...]:
    """Return what the names of the variants' programs end with; "" where only one is installed."""
    tools = find_tools(f"{name}{variant}-save" for name in _IPTABLES for variant in _VARIANTS)
    return _VARIANTS if all(f"iptables{variant}-save" in tools for variant in _VARIANTS) else ("",)


def read_forwarding() -> tuple[tuple[str, str], ...]:
    """Read what the host's sysctls say of forwarding, and of router advertisements."""
    return (
        ("net.ipv4.ip_forward", read_text("/proc/sys/net/ipv4/ip_forward").strip()),
        *_sysctls_of_links("ipv4", ("forwarding", "route_localnet", "arp_ignore")),
        *_sysctls_of_links("ipv6", ("forwarding", "accept_ra")),
    )


def _sysctls_of_links(family: str, keys: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield these settings of every interface in the namespace of this thread, named as sysctl(8) does.

    There a dot in an interface's name is a slash: `net.ipv6.conf.eth0/10.disable_ipv6`.
    """
    folder = f"/proc/sys/net/{family}/conf"
    for link in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        for key in keys:
            name = f"net.{family}.conf.{link.replace('.', '/')}.{key}"
            yield name, read_text(f"{folder}/{link}/{key}").strip()


class _Reader:
    """Reads one namespace with one `ip` process, which runs while others do.

    It is entered by what was opened, so that what is read is what was found: a pid, or a name, could lead
    elsewhere a moment later.
    """

    def __init__(
        self, inode: int, path: str | None, *, with_ipv6: bool = False, with_options: bool = False
    ) -> None:
        self._inode = inode
        self._with_options = with_options
        self._fd: int | None = None
        self._links: Started | None = None
        self._sysctls: tuple[tuple[str, str], ...] = ()
        self.failure = ""
        if path is None:
            self._links = _ask_ip()
        else:
            self._fd = _open_namespace(path, inode)
        if self._fd is not None:
            self._read_inside(self._fd, with_ipv6=with_ipv6)

    def _read_inside(self, namespace: int, *, with_ipv6: bool) -> None:
        """Go into the namespace, and begin to read there what it has."""
        from nettool.namespaces import inside  # a host without sandboxes is read without it

        try:
            with inside(namespace):
                self._links = _ask_ip()
                self._sysctls = tuple(_sysctls_of_links("ipv6", ("disable_ipv6",))) if with_ipv6 else ()
        except OSError as error:
            self.failure = f"its namespace cannot be entered: {error.strerror}"

    def finish(self) -> NamespaceFacts | None:
        """Return the namespace's facts; None when it was not there or could not be entered."""
        result = self._links.finish() if self._links else None
        nsid = None
        if self._fd is not None:
            # Only a veth whose other end is elsewhere can be mistaken for another's.
            if result is not None and "link_netnsid" in result.stdout:
                nsid = namespace_id(self._fd)
            os.close(self._fd)
        if result is None:
            return None
        if not result.ok:
            self.failure = result.stderr.strip()
            return None
        return parse_namespace(
            self._inode, result.stdout, nsid=nsid, sysctls=self._sysctls, with_options=self._with_options
        )


def _ask_ip() -> Started:
    return Started(("ip", "-json", "-details", "-batch", "-"), stdin=_BATCH)


def _open_namespace(path: str, inode: int) -> int | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    if os.fstat(fd).st_ino == inode:
        return fd
    os.close(fd)
    return None


def parse_namespace(
    inode: int,
    text: str,
    *,
    nsid: int | None = None,
    sysctls: tuple[tuple[str, str], ...] = (),
    with_options: bool = False,
) -> NamespaceFacts:
    """Parse what `ip -json -details` says to `addr show` and `route show table all`.

    What is told of bridges' options is taken only `with_options`.
    """
    documents = _documents(text)
    links = documents[0] if documents else []
    routes = documents[1] if len(documents) > 1 else []
    neighbours = documents[2] if len(documents) > 2 else []
    numbers = {link["ifname"]: link["ifindex"] for link in links if "ifname" in link}
    return NamespaceFacts(
        inode=inode,
        links=tuple(_link(link, numbers, with_options=with_options) for link in links if "ifname" in link),
        addresses=tuple(_addresses(links)),
        routes=tuple(_route(route) for route in routes if _is_ours(route)),
        nsid=nsid,
        sysctls=sysctls,
        neighbours=tuple(_neighbours(neighbours)),
    )


def _documents(text: str) -> list[Any]:
    import json

    # An interface's alias or name can hold raw control characters, which ip does not escape.
    decoder, documents, at = json.JSONDecoder(strict=False), [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        document, at = decoder.raw_decode(text, at)
        documents.append(document)
    return documents


def _link(raw: dict[str, Any], numbers: dict[str, int], *, with_options: bool) -> LinkFact:
    # Of a peer in another namespace ip tells the index, of one in the same namespace the name.
    peer = raw.get("link_index", numbers.get(raw.get("link", "")))
    kind = raw.get("linkinfo", {}).get("info_kind", "")
    of_kind = raw.get("linkinfo", {}).get("info_data", {})
    as_port = raw.get("linkinfo", {}).get("info_slave_data", {})
    return LinkFact(
        name=raw["ifname"],
        index=raw["ifindex"],
        kind=kind,
        mac=raw.get("address", ""),
        mtu=raw.get("mtu", 0),
        up="UP" in raw.get("flags", ()),
        master=raw.get("master"),
        peer_index=peer,
        peer_nsid=raw.get("link_netnsid"),
        mac_set=_mac_is_set(raw["ifname"], raw["ifindex"]) if kind == "bridge" else None,
        hairpin=as_port.get("hairpin", False),
        isolated=as_port.get("isolated", False),
        alias=raw.get("ifalias"),
        options=_options(raw["linkinfo"].get("info_data", {})) if kind == "bridge" and with_options else (),
        vlan=of_kind.get("id") if kind == VLAN else None,
        mode=of_kind.get("mode") if kind in ON_PARENT else None,
        wireless=not kind and _is_wireless(raw["ifname"], raw["ifindex"]),
    )


def _is_wireless(name: str, index: int) -> bool:
    folder = f"/sys/class/net/{name}"
    there = os.path.isdir(f"{folder}/wireless") or os.path.isdir(f"{folder}/phy80211")
    return there and read_text(f"{folder}/ifindex").strip() == str(index)


def _options(info: dict[str, Any]) -> tuple[str, ...]:
    from nettool.drivers.options import options_of_bridge  # most readings are not about bridges

    return options_of_bridge(info)


def _mac_is_set(name: str, index: int) -> bool | None:
    """Whether an interface's MAC was set by somebody (addr_assign_type 3, NET_ADDR_SET).

    The kernel tells this through sysfs only, and a sysfs shows the namespace that it was mounted
    in: the index says whether it is ours.
    """
    folder = f"/sys/class/net/{name}"
    if read_text(f"{folder}/ifindex").strip() != str(index):
        return None
    return read_text(f"{folder}/addr_assign_type").strip() == "3"


def _addresses(links: Iterable[dict[str, Any]]) -> Iterable[AddressFact]:
    for link in links:
        for address in link.get("addr_info", ()):
            if "local" in address:
                cidr = f"{address['local']}/{address['prefixlen']}"
                yield AddressFact(link["ifname"], cidr, address.get("dynamic", False))


def _neighbours(raw: Iterable[dict[str, Any]]) -> Iterable[NeighbourFact]:
    for neighbour in raw:
        learned = not {"PERMANENT", "NOARP"} & set(neighbour.get("state", ()))
        if learned and "lladdr" in neighbour:
            yield NeighbourFact(neighbour["dev"], neighbour["dst"], neighbour["lladdr"])


def _is_ours(route: dict[str, Any]) -> bool:
    return (route.get("type", "unicast"), route.get("table", "main")) == ("unicast", "main")


def _route(raw: dict[str, Any]) -> RouteFact:
    destination, via = raw["dst"], raw.get("gateway")
    address = via or raw.get("prefsrc") or ("" if destination == "default" else destination)
    family = 6 if ":" in address or ("pref" in raw and not address) else 4
    flags = raw.get("flags", [])
    return RouteFact(
        family=family,
        destination=destination,
        via=via,
        link=raw.get("dev"),
        metric=raw.get("metric", 0),
        protocol=raw.get("protocol"),
        source=raw.get("prefsrc"),
        scope=raw.get("scope"),
        onlink="onlink" in flags,
        exact=set(raw) <= _ROUTE_KEYS and "dev" in raw,
    )


def read_netns_names() -> tuple[NetnsNameFact, ...]:
    """List /var/run/netns, with the namespace that each name leads to."""
    nsfs = os.stat(HOST_NETNS).st_dev
    try:
        names = sorted(os.listdir(NETNS_FOLDER))
    except OSError:
        return ()
    return tuple(_netns_name(name, nsfs) for name in names)


def _netns_name(name: str, nsfs: int) -> NetnsNameFact:
    path = f"{NETNS_FOLDER}/{name}"
    symlink = os.readlink(path) if os.path.islink(path) else None
    try:
        found = os.stat(path)
    except OSError:
        return NetnsNameFact(name, None, symlink)
    # A plain file of that name is what is left of a mount: it is no namespace.
    return NetnsNameFact(name, found.st_ino if found.st_dev == nsfs else None, symlink)


def _links_with(host: NamespaceFacts, addresses: Iterable[str]) -> tuple[str, ...]:
    wanted = tuple(addresses)
    return tuple(a.link for a in host.addresses if a.cidr.partition("/")[0] in wanted)


def read_text(path: str) -> str:
    """Return a small file's text, empty when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
