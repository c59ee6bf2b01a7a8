"""The vocabulary of names: folders, files, and a dnsmasq that reads them. Each function returns a Step.

dnsmasq watches the folder that `--hostsdir` names (dnsmasq(8)): a file that comes, changes or goes
there is heeded at once, with no signal to it.
"""

from __future__ import annotations

from nettool.fileeffects import File, Folder, NameServer
from nettool.plan import Command, Scope, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.model import HostFile


def make_names_folder(path: str) -> Step:
    """Make the folder that every name server of this host reads; it is shared, and stays."""
    return Step(
        do=Command(("mkdir", "-p", path)),
        undo=Command(("rmdir", "--ignore-fail-on-non-empty", path)),
        makes=Folder(path),
        scope=Scope.HOST,
        why="the folder where the names of containers are kept",
    )


def make_server_folder(path: str) -> Step:
    """Make the folder of one name server, for its pid file, which the server leaves behind."""
    return Step(
        do=Command(("mkdir", "-p", path)),
        undo=Command(("rm", "-r", path)),
        makes=Folder(path),
        scope=Scope.NETWORK,
        why="the folder of the network's name server",
    )


def run_server(folder: str, names: str, addresses: tuple[str, ...], *, forwards: bool) -> Step:
    """Run a dnsmasq on a network's gateway; without `forwards` it asks no other server.

    It goes into the background by itself, and gives up its rights. With --localise-queries it prefers, of
    several addresses of a name, those of the network that asks. SIGKILL ends it: it has nothing to save.
    """
    pid_file = f"{folder}/pid"
    argv = (
        "dnsmasq",
        "--conf-file=/dev/null",
        f"--pid-file={pid_file}",
        "--bind-interfaces",
        "--except-interface=lo",
        *(f"--listen-address={address}" for address in addresses),
        "--no-hosts",
        f"--hostsdir={names}",
        "--localise-queries",
        *(("--domain-needed", "--bogus-priv") if forwards else ("--no-resolv",)),
    )
    return Step(
        do=Command(argv),
        undo=Command(("pkill", "-KILL", "-F", pid_file, "-x", "dnsmasq")),
        makes=NameServer(pid_file),
        scope=Scope.NETWORK,
        why="answers for the names of containers on the network's gateway",
    )


def make_file_folder(path: str, holds: tuple[str, ...]) -> Step:
    """Make the folder of a namespace's own files in /etc (ip-netns(8)); another's file in it keeps it."""
    return Step(
        do=Command(("mkdir", "-p", path)),
        undo=Command(("rmdir", "--ignore-fail-on-non-empty", path)),
        makes=Folder(path, holds),
        scope=Scope.ENDPOINT,
        why="the folder of what ip netns exec lays over /etc",
    )


def write_file(file: HostFile) -> Step:
    """Write a file; the undo puts its old text back, or removes it."""
    back = ("tee", file.path) if file.before is not None else ("rm", file.path)
    return Step(
        do=Command(("tee", file.path), stdin=file.text),
        undo=Command(back, stdin=file.before),
        makes=File(file.path, file.text, file.before),
        scope=Scope.ENDPOINT,
        why=file.why,
    )
