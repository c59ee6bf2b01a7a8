"""What a caller wants, before anything is known of the host. Every front end makes one of these."""

from __future__ import annotations

from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

RUNTIMES: Final = ("docker", "podman", "containerd", "crio", "lxc")


class Target(Value):
    """Whose sandbox is meant. `kind` is `pid`, `netns`, `path`, a runtime, or `container` (any)."""

    kind: str
    value: str

    def __str__(self) -> str:
        """Return the form that people type and read: `docker:web`, `pid:1310`."""
        return f"{self.kind}:{self.value}"


class Attach(Value):
    """Give a sandbox an interface on a bridge."""

    target: Target
    addresses: tuple[str, ...]
    bridge: str = "docker0"
    gateway: str = "auto"
    ifname: str | None = None
    host_ifname: str | None = None
    mac: str | None = None
    mtu: int | None = None
    routes: tuple[str, ...] = ()
    default_route: str = "keep"
    published: tuple[str, ...] = ()
    allow_from: tuple[str, ...] = ()
    dialect: str = "auto"
    name: str | None = None
    """What a process's namespace is to be called, instead of its pid."""
    aliases: tuple[str, ...] = ()
    """Further names that it is found by, on a network with a name server."""


class Detach(Value):
    """Take an interface away from a sandbox again: that one, every one, or the only one."""

    target: Target
    ifname: str | None = None
    every: bool = False
    dialect: str = "auto"


class Undo(Value):
    """Take back what a run of the past did. `run` is its id, its beginning, or `last`."""

    run: str


class Collect(Value):
    """Clear away one leftover: a sandbox's, as `net:[INODE]`, or a cable or rules, by a host end's name.

    With `of`, only what is left of the sandbox of that name is looked for: the others are not read.
    """

    place: str
    of: str | None = None


class CreateNetwork(Value):
    """Make a network. `pools` is where a subnet comes from when none is asked for."""

    name: str
    driver: str = "bridge"
    subnets: tuple[str, ...] = ()
    gateways: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    mtu: int | None = None
    internal: bool = False
    masquerade: bool = True
    isolate: bool = False
    bridge_name: str | None = None
    labels: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    pools: str = ""
    dns: bool = False
    parent: str | None = None
    vlan: int | None = None
    mode: str | None = None
    host_addresses: tuple[str, ...] = ()


class RemoveNetwork(Value):
    """Remove a network that has no endpoints."""

    name: str


class Connect(Value):
    """Put a sandbox on a network. Without an address of a family, the next free one is taken.

    `kept` asks for what is on record of it, and for nothing when that is gone.
    """

    network: str
    target: Target
    ip: str | None = None
    ip6: str | None = None
    ifname: str | None = None
    mac: str | None = None
    default_route: str = "keep"
    published: tuple[str, ...] = ()
    allow_from: tuple[str, ...] = ()
    dialect: str = "auto"
    name: str | None = None
    aliases: tuple[str, ...] = ()
    kept: bool = False


class Disconnect(Value):
    """Take a sandbox off a network again."""

    network: str
    target: Target
    dialect: str = "auto"


class RestoreNetwork(Value):
    """Make again what is gone of a network: after a reboot, or when the firewall was loaded anew."""

    name: str


class RestoreEndpoint(Value):
    """Make again what is gone of an endpoint, or of its published ports; by its host end's name."""

    host_end: str
    ports_only: bool = False


class Adopt(Value):
    """Put on record what carries nettool's mark and is not: all of it, or a bridge as a network.

    `keep_names` leaves the names of namespaces, also those that are as nettool gives them.
    """

    bridge: str | None = None
    name: str | None = None
    keep_names: bool = False


class Publish(Value):
    """Let ports of the host lead to a running sandbox, as `[HOSTIP:]PORT:PORT/PROTOCOL` says.

    Which of its endpoints is said by the network, or by the interface; its only one needs no word.
    """

    target: Target
    ports: tuple[str, ...]
    allow_from: tuple[str, ...] = ()
    network: str | None = None
    ifname: str | None = None
    dialect: str = "auto"


class Unpublish(Value):
    """Take published ports back: those that are named, or (`every`) all of a sandbox's."""

    target: Target
    ports: tuple[str, ...] = ()
    every: bool = False


class CreateSandbox(Value):
    """Make a named network namespace with only `lo` in it."""

    name: str


class RemoveSandbox(Value):
    """Remove a named network namespace that nettool made, and that nobody uses."""

    name: str


OnNetworks = (
    CreateNetwork
    | RemoveNetwork
    | RestoreNetwork
    | Connect
    | Disconnect
    | Publish
    | Unpublish
    | RestoreEndpoint
    | CreateSandbox
    | RemoveSandbox
)
Request = Attach | Detach | Undo | Collect | Adopt | OnNetworks
