"""`nettool sandbox exec`: run a command in a sandbox."""

from __future__ import annotations

from nettool.arguments import Operand, Verb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments


def run(arguments: Arguments) -> None:
    """Carry out `nettool sandbox exec`: this process becomes the command."""
    import os

    from nettool.errors import TargetNotFound, UsageError
    from nettool.namespaces import become
    from nettool.request import Target
    from nettool.run import search_path
    from nettool.sandboxes import find, parse_target

    text, command = arguments.text("sandbox") or "", arguments.texts("command")
    command = command[1:] if command[:1] == ("--",) else command
    if not command:
        raise UsageError("there is no command to run", hints=(f"nettool sandbox exec {text} -- ip address",))
    target = parse_target(text) if ":" in text or "/" in text else Target("netns", text)
    found = find(target)
    if found.inode is None:
        raise TargetNotFound(f"{target} is not there", why=(found.detail,), hints=("nettool sandbox ls",))
    # Only a namespace's own name has files of its own in /etc/netns.
    named = target.kind == "netns"
    enter = ("ip", "netns", "exec", target.value) if named else ("nsenter", f"--net={found.path}")
    become((*enter, *command), {**os.environ, "PATH": search_path()})


VERB = Verb(
    name="sandbox exec",
    summary="Run a command in a sandbox's network.",
    description="With the files that /etc/netns has for it laid over /etc, as `ip netns exec` does.",
    run=run,
    operands=(
        Operand("sandbox", "The sandbox's name, or a target: docker:web, pid:1310."),
        Operand("command", "The command, behind `--`.", rest=True),
    ),
    examples=("nettool sandbox exec blue -- ip address", "nettool sandbox exec docker:web -- ss -ltn"),
)
