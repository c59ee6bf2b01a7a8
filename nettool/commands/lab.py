"""`nettool lab`: a throw-away host to try everything on."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from nettool import lab
from nettool.arguments import Kind, Operand, Option, Verb
from nettool.errors import UsageError

if TYPE_CHECKING:
    from nettool.arguments import Arguments


def _lab(arguments: Arguments) -> int:
    action, rest = arguments.text("action"), arguments.texts("rest")
    hosts = arguments.number("hosts") or 0
    if action is None:
        sys.stdout.write(lab.explain() + "\n")
        return 0
    if action == "shell":
        return _shell(rest, hosts)
    if action == "run":
        return lab.run_in_lab(_command(rest, "nettool lab run -- ip -brief address"), hosts)
    if action == "on":
        _on(rest)
    raise UsageError(f"there is no `nettool lab {action}`", hints=("nettool lab",))


def _shell(rest: tuple[str, ...], hosts: int) -> int:
    if rest:
        raise UsageError("`nettool lab shell` takes no command", hints=(f"nettool lab run -- {rest[0]}",))

    def greet() -> None:
        sys.stderr.write(lab.greeting(hosts) + "\n")

    return lab.run_in_lab(lab.shell(), hosts, ready=greet)


def _on(rest: tuple[str, ...]) -> NoReturn:
    example = "nettool lab on host2 -- ip route"
    if not rest:
        raise UsageError("there is no host to run it on", hints=(example,))
    lab.enter(lab.find_host(rest[0]), _command(rest[1:], example))


def _command(words: tuple[str, ...], example: str) -> tuple[str, ...]:
    command = words[1:] if words[:1] == ("--",) else words
    if not command:
        raise UsageError("there is no command to run", hints=(example,))
    return command


VERB = Verb(
    name="lab",
    summary="Make a throw-away host to try everything on, without root.",
    run=_lab,
    options=(
        Option(("--hosts",), "How many hosts, on one switch.", kind=Kind.NUMBER, default=1, metavar="N"),
    ),
    operands=(
        Operand(
            "action", "`shell`, `run`, or within a lab `on`; without it, an explanation.", required=False
        ),
        Operand(
            "rest", "For `run` the command, for `on` the host and the command.", required=False, rest=True
        ),
    ),
    examples=(
        "nettool lab shell",
        "nettool lab run -- nettool attach --pid 1310 --ip 172.17.0.10/16",
        "nettool lab run --hosts 3 -- ping -c 1 10.0.0.2",
        "nettool lab on host2 -- ip -brief address",
    ),
    description=(
        "The host has a bridge docker0 with 172.17.0.1/16, and a container without a network: process 1310, "
        "which serves a page on port 80. All of it ends with the command."
    ),
)
