"""For every kind of fact, the command that shows it to a person, and what its output says then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nettool import effects
from nettool.fileeffects import File, Folder, NameServer
from nettool.firewalleffects import Chain, FlowForgotten, Rule
from nettool.netnseffects import Loopback, NewNetns
from nettool.parenteffects import Marked, OnParent, SubInterface
from nettool.renderers.variables import CIDRS, IPS, Kind
from nettool.value import Value

if TYPE_CHECKING:
    from nettool.effects import Fact
    from nettool.facts import Netns
    from nettool.plan import Step
    from nettool.renderers.variables import Word, Words


class Probe(Value):
    """A command that changes nothing, and the text in its output when the fact is true.

    `exact`: the text is the whole output. `silent`: the command says it by its exit status alone.
    """

    argv: tuple[Word, ...]
    expect: Word
    exact: bool = False
    silent: bool = False


def probe(fact: Fact, step: Step, words: Words) -> Probe:
    """Return how the fact that a step makes, or ends, is looked at."""
    if isinstance(fact, Rule):
        # The command's own words: behind the chain's name they are the rule.
        rule = words.do(step)[-len(fact.words) :]
        return Probe((*_tables(step, fact.table), ("-C",), (fact.chain,), *rule), ("",), silent=True)
    if isinstance(fact, Chain):
        return Probe((*_tables(step, fact.table), ("-S",), (fact.name,)), (f"-N {fact.name}",))
    if isinstance(fact, effects.Bridge):
        bridge = words.word((Kind.BRIDGE,), fact.name)
        return Probe((*_words("ip", "-o", "-d", "link", "show", "dev"), bridge), (" bridge ",))
    if isinstance(fact, (OnParent, Marked, SubInterface)):
        return _probe_on_parent(fact, words)
    if isinstance(fact, (Folder, File, NameServer, NewNetns, Loopback, FlowForgotten)):
        return _probe_beside(fact, words)
    return _probe_link(fact, words)


def _probe_beside(
    fact: Folder | File | NameServer | NewNetns | Loopback | FlowForgotten, words: Words
) -> Probe:
    """Return how to look at what is no interface, no address and no rule."""
    match fact:
        case Folder(path=path):
            found = Probe((*_words("stat", "-L", "-c", "%F"), words.path(path)), ("directory",), exact=True)
        case File(path=path, text=text):
            found = Probe((("cat",), words.path(path)), (text.rstrip("\n"),), exact=True)
        case NameServer(pid_file=path):
            found = Probe((*_words("pgrep", "-x", "dnsmasq", "-F"), words.path(path)), ("",), silent=True)
        case FlowForgotten():
            found = Probe(_words("conntrack", "-L", *fact.filter()), ("",), exact=True)
        case _:
            marked = (("up",),) if isinstance(fact, Loopback) else ()
            shown = ("ip",), ("-n",), (fact.name,), *_words("-o", "link", "show", "dev", "lo"), *marked
            found = Probe(shown, ("alias nettool",) if marked else (": lo: ",))
    return found


def _probe_on_parent(fact: OnParent | Marked | SubInterface, words: Words) -> Probe:
    netns = None if isinstance(fact, SubInterface) else fact.netns
    shown = (*_ip(netns, words), *_words("-d", "link", "show", "dev"), _link(fact.name, netns, words))
    if isinstance(fact, Marked):
        return Probe(shown, ("alias ", *words.link(fact.mark)))
    if isinstance(fact, SubInterface) and fact.vlan is not None:
        return Probe(shown, (f" id {fact.vlan} ",))
    return Probe(shown, (f" {fact.kind} ",))


def _probe_link(fact: Fact, words: Words) -> Probe:
    match fact:
        case effects.NetnsFolder(path=folder):
            found = Probe((*_words("stat", "-L", "-c", "%F"), (folder,)), ("directory",), exact=True)
        case effects.NetnsName(netns=netns):
            path: Word = words.netns_path(netns)
            found = Probe((*_words("stat", "-L", "-c", "%i"), path), (str(netns.inode or "?"),), exact=True)
        case effects.VethPair(host_end=host_end):
            shown = (*_words("ip", "-o", "-d", "link", "show", "dev"), words.link(host_end))
            found = Probe(shown, (" veth ",))
        case effects.Port(bridge=bridge, link=link):
            found = Probe(_show(None, words, link), (" master ", *words.word((Kind.BRIDGE,), bridge), " "))
        case effects.BridgeMac(bridge=bridge):
            name = words.word((Kind.BRIDGE,), bridge)
            found = Probe((("cat",), ("/sys/class/net/", *name, "/addr_assign_type")), ("3",), exact=True)
        case effects.Forgotten(link=link, ip=ip):
            bridge_words = words.word((Kind.BRIDGE,), link)
            shown = (*_words("ip", "neigh", "show", "to", ip, "dev"), bridge_words)
            found = Probe(shown, ("",), exact=True)
        case effects.Inside(host_end=host_end):
            found = Probe(_show(None, words, host_end), (" link-netns",))
        case effects.InterfaceName(netns=netns, name=name):
            found = Probe(_show(netns, words, name), (": ", *words.link(name, inner=True), "@if"))
        case effects.Up(netns=netns, link=link):
            # A cable's end is shown with what it leads to, a bridge without.
            shown = (*_show(netns, words, link), ("up",))
            found = Probe(shown, (": ", *_link(link, netns, words)))
        case _:
            found = _probe_inside(fact, words)
    return found


def _probe_inside(fact: Fact, words: Words) -> Probe:
    if isinstance(fact, effects.PortSetting):
        shown = (*_words("ip", "-o", "-d", "link", "show", "dev"), words.link(fact.link))
        return Probe(shown, (f" {fact.name} on ",))
    if isinstance(fact, effects.Sysctl):
        enter = (*_words("ip", "netns", "exec"), words.netns(fact.netns)) if fact.netns else ()
        key = words.sysctl_key(fact.name, inner=fact.netns is not None) or (fact.name,)
        return Probe((*enter, *_words("sysctl", "-n"), key), (fact.value,), exact=True)
    if isinstance(fact, effects.Address):
        link, cidr = _link(fact.link, fact.netns, words), words.word(CIDRS, fact.cidr)
        return Probe((*_ip(fact.netns, words), *_words("addr", "show", "dev"), link), (" ", *cidr, " "))
    if not isinstance(fact, effects.Route):
        raise TypeError(f"no way to look at {fact!r}")
    route = fact.route
    destination = words.word((*CIDRS, *IPS), route.destination)
    via = ("via ", *words.word(IPS, route.via), " ") if route.via else ()
    way = (*via, "dev ", *words.link(route.link or "", inner=fact.netns is not None), " ")
    shown = (*_ip(fact.netns, words), (f"-{route.family}",), *_words("route", "show", "exact"), destination)
    return Probe(shown, way)


def _show(netns: Netns | None, words: Words, link: str) -> tuple[Word, ...]:
    return (*_ip(netns, words), *_words("link", "show", "dev"), _link(link, netns, words))


def _link(name: str, netns: Netns | None, words: Words) -> Word:
    kinds = (Kind.LINK,) if netns else (Kind.LINK, Kind.BRIDGE)
    return words.word(kinds, name, inner=netns is not None)


def _ip(netns: Netns | None, words: Words) -> tuple[Word, ...]:
    return (("ip",), *((("-n",), words.netns(netns)) if netns else ()), ("-o",))


def _tables(step: Step, table: str) -> tuple[Word, ...]:
    return _words(step.do.argv[0], "-w", "5", "-t", table)


def _words(*literal: str) -> tuple[Word, ...]:
    return tuple((word,) for word in literal)
