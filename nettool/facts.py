"""What a host is, as read at one moment: the only knowledge of the host that planning has.

Facts are plain values. `nettool.host` reads them; `nettool facts` prints them as JSON, and
`--facts FILE` plans from such a file for another machine.
"""

from __future__ import annotations

from nettool.naming import NETNS_FOLDER
from nettool.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

MACVLAN: Final = "macvlan"
IPVLAN: Final = "ipvlan"
VLAN: Final = "vlan"
ON_PARENT: Final = (MACVLAN, IPVLAN)
"""The kinds of interfaces that a sandbox has straight on one of the host's, without a cable."""


class Netns(Value):
    """A network namespace as a plan names it: its name under /var/run/netns, and its inode.

    The inode is None in a plan for a sandbox that could not be read. A plan says None instead of a
    Netns where it means the host's own namespace.
    """

    name: str
    inode: int | None

    @property
    def path(self) -> str:
        """Where its name is."""
        return f"{NETNS_FOLDER}/{self.name}"


class LinkFact(Value):
    """One interface. `kind` is the kernel's (`bridge`, `veth`, …), empty for a physical one."""

    name: str
    index: int
    kind: str
    mac: str
    mtu: int
    up: bool
    master: str | None = None
    peer_index: int | None = None
    peer_nsid: int | None = None
    mac_set: bool | None = None
    """Whether the MAC was set by somebody (NET_ADDR_SET); None where that is not known."""
    hairpin: bool = False
    """Whether the bridge sends what came from this port back to it."""
    isolated: bool = False
    """Whether the bridge keeps this port from its other isolated ones."""
    alias: str | None = None
    """A note that somebody put on it (`ip link set … alias`)."""
    options: tuple[str, ...] = ()
    """How a bridge differs from a new one, each as `KEY=VALUE`."""
    vlan: int | None = None
    """The number of the VLAN whose frames it sends and gets, where it is a VLAN's."""
    mode: str | None = None
    """How a macvlan or ipvlan deals with its neighbours on the parent."""
    wireless: bool = False


class AddressFact(Value):
    """An address of a link, with its prefix length: `172.17.0.1/16`."""

    link: str
    cidr: str
    dynamic: bool = False
    """Whether the kernel made it of what a router advertised, and takes it away again."""


class RouteFact(Value):
    """A route of the main table. `exact` is False when it has parts that this form leaves out."""

    family: int
    destination: str
    via: str | None
    link: str | None
    metric: int = 0
    protocol: str | None = None
    source: str | None = None
    scope: str | None = None
    onlink: bool = False
    exact: bool = True

    def words(self) -> tuple[str, ...]:
        """Return the route as `ip route` takes it."""
        pairs = (
            ("via", self.via), ("dev", self.link), ("proto", self.protocol), ("scope", self.scope),
            ("src", self.source), ("metric", str(self.metric) if self.metric else None),
        )  # fmt: skip
        words = [word for name, value in pairs if value for word in (name, value)]
        return (self.destination, *words, *(("onlink",) if self.onlink else ()))


class NeighbourFact(Value):
    """A neighbour that the kernel has learned: which MAC an address had when it was last heard of."""

    link: str
    ip: str
    mac: str


class ChainFact(Value):
    """A chain of iptables (family 4) or ip6tables (6); only a built-in one has a policy."""

    family: int
    table: str
    name: str
    policy: str | None = None


class RuleFact(Value):
    """A rule of iptables: the words behind the chain's name, as iptables-save prints them."""

    family: int
    table: str
    chain: str
    words: tuple[str, ...]


class FirewallFacts(Value):
    """The host's iptables: the chains and rules of the variant that they are in."""

    chains: tuple[ChainFact, ...] = ()
    rules: tuple[RuleFact, ...] = ()
    variant: str = ""
    """What the program's name ends with, where it is not the usual one: `-legacy` or `-nft`."""
    mixed: bool = False
    """Whether there are rules in the other variant, too."""


class SocketFact(Value):
    """A socket of the host's that takes what is sent to a port. `ip` is None for every address."""

    protocol: str
    ip: str | None
    port: int
    owner: str = ""


class FlowFact(Value):
    """Packets that the kernel takes for one exchange: from whom, to which port, and who answers them."""

    protocol: str
    source: str
    destination: str
    port: int
    answered_by: str


class NamespaceFacts(Value):
    """The inside of one network namespace. `nsid` is its id as the host's namespace knows it."""

    inode: int
    links: tuple[LinkFact, ...] = ()
    addresses: tuple[AddressFact, ...] = ()
    routes: tuple[RouteFact, ...] = ()
    nsid: int | None = None
    sysctls: tuple[tuple[str, str], ...] = ()
    neighbours: tuple[NeighbourFact, ...] = ()

    def link(self, name: str) -> LinkFact | None:
        """Return the interface of that name."""
        return next((link for link in self.links if link.name == name), None)

    def addresses_of(self, link: str) -> tuple[str, ...]:
        """Return the addresses of one interface, with prefix lengths."""
        return tuple(address.cidr for address in self.addresses if address.link == link)

    def default_route(self, family: int) -> RouteFact | None:
        """Return the default route that traffic takes: the one with the lowest metric."""
        defaults = [r for r in self.routes if r.family == family and r.destination == "default"]
        return min(defaults, key=lambda route: route.metric, default=None)

    def forwarding(self, family: int) -> tuple[str, ...]:
        """Return `KEY=1` for each interface that forwards by itself, whatever holds for all."""
        prefix = f"net.ipv{family}.conf."
        keys = (key for key, value in self.sysctls if key.startswith(prefix) and value == "1")
        own = (key for key in keys if key.endswith(".forwarding") and ".all." not in key)
        return tuple(f"{key}=1" for key in own)

    @property
    def has_ipv6(self) -> bool:
        """Whether the kernel has IPv6, when its sysctls were read."""
        return self.sysctl("net.ipv6.conf.all.forwarding") is not None

    def sysctl(self, key: str) -> str | None:
        """Return the value of a kernel parameter, when it was read."""
        return dict(self.sysctls).get(key)


class NetnsNameFact(Value):
    """An entry of /var/run/netns. `inode` is None when it leads to no namespace (dangling)."""

    name: str
    inode: int | None
    symlink: str | None = None


class SandboxFact(Value):
    """A container's network stack, as found from a target. `answers_to` are the targets it has.

    `state` is `running`, or what the runtime or the kernel says instead: `created`, `exited`,
    `gone`, `forbidden` (the caller may not look). Only a running one has an inode.
    """

    answers_to: tuple[str, ...]
    state: str
    path: str
    inode: int | None = None
    pid: int | None = None
    start_time: int | None = None
    detail: str = ""


class Facts(Value):
    """A host at one moment: its own namespace, the sandboxes that were asked for, and its tools."""

    host: NamespaceFacts
    namespaces: tuple[NamespaceFacts, ...] = ()
    sandboxes: tuple[SandboxFact, ...] = ()
    netns_names: tuple[NetnsNameFact, ...] = ()
    netns_folder: bool = False
    tools: tuple[tuple[str, str], ...] = ()
    answering: tuple[tuple[str, str], ...] = ()
    """Addresses that answered a probe on the wire, each with the MAC that answered."""
    boot_id: str = ""
    hostname: str = ""
    privileged: bool = True
    ssh_links: tuple[str, ...] = ()
    """Interfaces that carry the caller's SSH connection."""
    firewall: FirewallFacts | None = None
    """The host's rules, where the request is about them."""
    sockets: tuple[SocketFact, ...] = ()
    """Who listens on this host, where the request is about its ports."""
    flows: tuple[FlowFact, ...] = ()
    """The flows of udp that the kernel remembers, where the request is about ports."""
    dns_folder: str = "/run/nettool-dns"
    """Where what name servers read is kept."""
    folders: tuple[str, ...] = ()
    """The folders that are there below that one, and below /etc/netns."""
    files: tuple[tuple[str, str], ...] = ()
    """The files in them, each with what it says."""
    servers: tuple[str, ...] = ()
    """The name servers that run, by their pid files."""
    kinds: tuple[tuple[str, str], ...] = ()
    """Kinds of interfaces that were tried, each with why the kernel makes none; empty where it does."""

    def namespace(self, netns: Netns | None) -> NamespaceFacts | None:
        """Return the facts of a namespace (None: the host's), when it was read."""
        if netns is None:
            return self.host
        return self.namespace_of(netns.inode)

    def namespace_of(self, inode: int | None) -> NamespaceFacts | None:
        """Return the facts of the namespace with that inode, when it was read."""
        if inode == self.host.inode:
            return self.host
        return next((ns for ns in self.namespaces if ns.inode == inode and inode is not None), None)

    def sandbox(self, target: str) -> SandboxFact | None:
        """Return the sandbox that answers to a target."""
        return next((sandbox for sandbox in self.sandboxes if target in sandbox.answers_to), None)

    def answered(self, answering: tuple[tuple[str, str], ...]) -> Facts:
        """Return the same facts with what a probe of the wire found."""
        return replace(self, answering=answering)

    def netns_name(self, name: str) -> NetnsNameFact | None:
        """Return the entry of /var/run/netns with that name."""
        return next((entry for entry in self.netns_names if entry.name == name), None)

    def has_tool(self, name: str) -> bool:
        """Whether a program is installed."""
        return name in dict(self.tools)

    def peer_in(self, host_end: LinkFact, namespace: NamespaceFacts) -> LinkFact | None:
        """Return the other end of a host's veth when it is in `namespace`."""
        return next((link for link in namespace.links if self.are_peers(host_end, link, namespace)), None)

    def are_peers(self, host_end: LinkFact, inner: LinkFact, namespace: NamespaceFacts) -> bool:
        """Whether a link of the host and a link of `namespace` are the two ends of one veth pair.

        Indices alone can agree by chance among three namespaces, so the namespace id is compared
        where the kernel gave one.
        """
        if host_end.kind != "veth" or inner.kind != "veth":
            return False
        if host_end.peer_index != inner.index or inner.peer_index != host_end.index:
            return False
        if namespace.inode == self.host.inode:
            return host_end.peer_nsid is None
        return namespace.nsid is None or host_end.peer_nsid == namespace.nsid

    def marked_in(self, mark: str, namespace: NamespaceFacts | None) -> LinkFact | None:
        """Return the interface of a namespace that has an endpoint's mark as its alias."""
        links = namespace.links if namespace else ()
        return next((link for link in links if link.alias == mark and link.kind in ON_PARENT), None)

    def parent_of(self, link: LinkFact, namespace: NamespaceFacts) -> LinkFact | None:
        """Return the host's interface that a link is made on.

        Of a parent in another namespace the kernel tells the index; that it is this host's, the caller
        knows from elsewhere.
        """
        if link.kind not in (*ON_PARENT, VLAN) or link.peer_index is None:
            return None
        if namespace.inode != self.host.inode and link.peer_nsid is None:
            return None
        return next((parent for parent in self.host.links if parent.index == link.peer_index), None)
