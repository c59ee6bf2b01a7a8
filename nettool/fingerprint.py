"""One short text for the state of a host: equal before and after means nothing has changed. Pure."""

from __future__ import annotations

import zlib

from nettool.value import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.facts import Facts, LinkFact


def fingerprint(facts: Facts) -> str:
    """Return 16 hex digits for a host's links, addresses, routes, names and rules, and its sandboxes'.

    What the kernel numbers anew (indices, namespace ids) and learns by itself (neighbours) is left
    out, and so is the order of rules: those that are put back come behind one another. Built-in chains
    are there as soon as somebody asks for them, the folder of names with the first one, and a bridge that
    was given the MAC that it had keeps it. Two checksums, not a cryptographic hash: it tells of change,
    not of forgery.
    """
    spaces = (facts.host, *sorted(facts.namespaces, key=lambda space: space.inode))
    parts = [
        sorted(lines)
        for space in spaces
        for lines in (map(_link, space.links), map(repr, space.addresses), map(repr, space.routes))
    ]
    text = repr((parts, facts.netns_names, _rules(facts))).encode()
    return f"{zlib.crc32(text):08x}{zlib.adler32(text):08x}"


def _rules(facts: Facts) -> list[str]:
    if facts.firewall is None:
        return []
    own = (chain for chain in facts.firewall.chains if chain.policy is None)
    return sorted(map(repr, (*own, *facts.firewall.rules)))


def _link(link: LinkFact) -> str:
    return repr(replace(link, index=0, peer_index=None, peer_nsid=None, mac_set=None))
