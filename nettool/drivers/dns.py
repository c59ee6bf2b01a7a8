"""Names of containers: a dnsmasq on a network's gateway, and the files that it and the sandbox read.

There is one folder of names for all networks, so that a container on two of them finds the names of both
by either one's server; of several addresses of a name, those of the asking network are preferred.
"""

from __future__ import annotations

from nettool import dnsmasq
from nettool.ipam import gateway_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from nettool.model import Endpoint, Network
    from nettool.plan import Step


def create(network: Network) -> tuple[Step, ...]:
    """Return what makes a network's name server, where it has one."""
    if network.dns is None:
        return ()
    names, folder = f"{network.dns}/names", f"{network.dns}/servers/{network.name}"
    gateways = tuple(gateway_of(subnet) for subnet in network.subnets)
    return (
        dnsmasq.make_names_folder(names),
        dnsmasq.make_server_folder(folder),
        dnsmasq.run_server(folder, names, gateways, forwards=not network.internal),
    )


def join(endpoint: Endpoint) -> Iterator[Step]:
    """Yield the steps that write an endpoint's files."""
    folders = {file.folder: None for file in endpoint.files if file.folder is not None}
    for folder in folders:
        holds = tuple(file.path for file in endpoint.files if file.folder == folder)
        yield dnsmasq.make_file_folder(folder, holds)
    for file in endpoint.files:
        yield dnsmasq.write_file(file)
