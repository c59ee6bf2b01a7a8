"""Plan a request: resolve it, lower it to steps, and hold the steps against the host's facts.

Pure: the same request, facts and records always give the same plan.
"""

from __future__ import annotations

import ipaddress

from nettool.errors import Refused, UsageError
from nettool.plan import Command, Plan
from nettool.request import (
    Adopt,
    Attach,
    Collect,
    Connect,
    CreateNetwork,
    CreateSandbox,
    Detach,
    Disconnect,
    Publish,
    RemoveNetwork,
    RemoveSandbox,
    RestoreEndpoint,
    RestoreNetwork,
    Undo,
)
from nettool.resolve import check_dialect, parse_attach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from nettool.facts import Facts
    from nettool.model import Records
    from nettool.request import OnNetworks, Request, Unpublish

_FREE_WORDS: Final = ("labels", "options")
# What stands between the addresses of a text.
_BESIDE: Final = str.maketrans("[],/=", "     ")


def plan(request: Request, facts: Facts, records: Records) -> Plan:
    """Plan a request.

    Raises UsageError for what no host could do, TargetNotFound for ambiguity, and Refused for what
    could not be shown.
    """
    if isinstance(request, Attach):
        from nettool.attaching import plan_attach

        planned = plan_attach(request, facts, records)
    elif isinstance(request, Detach):
        from nettool.detaching import plan_detach  # most calls attach

        planned = plan_detach(request, facts, records)
    elif isinstance(request, Undo):
        from nettool.undoing import plan_undo

        planned = plan_undo(request, facts, records)
    elif isinstance(request, Collect):
        from nettool.collecting import plan_collect

        planned = plan_collect(request, facts, records)
    elif isinstance(request, Adopt):
        from nettool.adopting import plan_adopt

        planned = plan_adopt(request, facts, records)
    else:
        planned = _plan_on_networks(request, facts, records)
    _check_words(planned)
    return planned


def _plan_on_networks(request: OnNetworks, facts: Facts, records: Records) -> Plan:
    if isinstance(request, (CreateNetwork, RemoveNetwork, RestoreNetwork)):
        from nettool import networks

        if isinstance(request, CreateNetwork):
            return networks.plan_create(request, facts, records)
        if isinstance(request, RemoveNetwork):
            return networks.plan_remove(request, facts, records)
        return networks.plan_restore(request, facts, records)
    if isinstance(request, (CreateSandbox, RemoveSandbox)):
        return _plan_on_sandboxes(request, facts, records)
    return _plan_on_endpoints(request, facts, records)


def _plan_on_sandboxes(request: CreateSandbox | RemoveSandbox, facts: Facts, records: Records) -> Plan:
    from nettool.boxing import plan_create_sandbox, plan_remove_sandbox

    if isinstance(request, CreateSandbox):
        return plan_create_sandbox(request, facts)
    return plan_remove_sandbox(request, facts, records)


def _plan_on_endpoints(
    request: Connect | Disconnect | Publish | Unpublish | RestoreEndpoint, facts: Facts, records: Records
) -> Plan:
    if isinstance(request, (Connect, Disconnect)):
        from nettool import connecting

        if isinstance(request, Connect):
            return connecting.plan_connect(request, facts, records)
        return connecting.plan_disconnect(request, facts, records)
    if isinstance(request, RestoreEndpoint):
        from nettool.repairing import plan_restore_endpoint

        return plan_restore_endpoint(request, facts, records)
    from nettool import publishing

    if isinstance(request, Publish):
        return publishing.plan_publish(request, facts, records)
    return publishing.plan_unpublish(request, facts, records)


def check(request: Request) -> None:
    """Refuse a request that no host could carry out, before any host is read. Raises UsageError."""
    _check_ipv6(request)
    if isinstance(request, (Attach, Connect, Publish)):
        _check_ports(request)
    if isinstance(request, (Attach, Connect)) and request.aliases:
        from nettool.hostnames import check_aliases  # most have none

        check_aliases(request.aliases)
    if isinstance(request, Attach):
        parse_attach(request)
    elif isinstance(request, Detach):
        check_dialect(request.dialect)
    elif isinstance(request, CreateNetwork):
        from nettool.networks import check_create

        check_create(request)
    elif isinstance(request, Publish):
        check_dialect(request.dialect)
    elif isinstance(request, (CreateSandbox, RemoveSandbox)):
        from nettool.boxing import check_name

        check_name(request.name)
    elif isinstance(request, Adopt):
        from nettool.adopting import check_adopt

        check_adopt(request)


def _check_ipv6(request: Request) -> None:
    """Refuse an IPv4 address in IPv6's words: it is on no wire, and `ip` writes it in another way.

    The mapped ones (::ffff:0:0/96) and the compatible ones (::/96): RFC 4291, 2.5.5.
    """
    fields = [value for name, value in vars(request).items() if name not in _FREE_WORDS]
    texts = [value for value in fields if isinstance(value, str)]
    texts += [text for value in fields if isinstance(value, tuple) for text in value]
    words = (word for text in texts for word in text.translate(_BESIDE).split())
    for word in (word for word in words if word.count(":") > 1):
        try:
            number = int(ipaddress.IPv6Address(word))
        except ValueError:
            continue
        if number >> 16 and number >> 32 in (0, 0xFFFF):
            said = ipaddress.IPv4Address(number & 0xFFFFFFFF)
            raise UsageError(f"{word} is an IPv4 address in IPv6's words: write it as {said}")


def _check_ports(request: Attach | Connect | Publish) -> None:
    texts = request.ports if isinstance(request, Publish) else request.published
    if request.allow_from and not texts:
        raise UsageError("--allow-from says who may use a port; none is published")
    if texts:
        from nettool.ports import parse_ports  # most publish nothing

        parse_ports(texts, request.allow_from)


def _words(command: Command) -> tuple[str, ...]:
    return (*command.words(), *(command.stdin or "").splitlines())


def _check_words(planned: Plan) -> None:
    """Refuse a plan with a word that no terminal, script or file could show as it is.

    A container can give an interface any name, and a facts file any path.
    """
    commands = (
        c for s in (*planned.steps, *planned.restores) for c in (s.do, s.undo) if isinstance(c, Command)
    )
    odd = next((word for command in commands for word in _words(command) if not word.isprintable()), None)
    if odd is not None:
        raise Refused(
            f"cannot plan with {odd!a}",
            why=("a name or path on this host has characters that cannot be shown",),
            hints=("rename it",),
        )
