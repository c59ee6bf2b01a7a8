"""Options that several verbs share."""

from __future__ import annotations

from nettool.arguments import Kind, Operand, Option

WHOM: Final = Operand("target", "Whom: web, docker:web, pid:1310, netns:blue, or the path of a namespace.")
WHOM_OR_OPTION: Final = Operand(WHOM.key, f"{WHOM.help} The options below say the same.", required=False)

TARGET: Final = (
    Option(("--pid",), "The sandbox of this process.", Kind.NUMBER, metavar="PID"),
    Option(
        ("--container",),
        "The sandbox of this container, in any runtime, or as docker:, podman:, containerd:, crio: or "
        "lxc: and its name or id.",
        metavar="[RUNTIME:]NAME",
    ),
    Option(("--netns",), "A named network namespace, or the path of one.", metavar="NAME|PATH"),
)

JSON: Final = Option(
    ("--output", "-o"), "What to print: text for people, or JSON.", default="text", choices=("text", "json")
)

FACTS: Final = Option(
    ("--facts",), "Plan for the host that `nettool facts` described in this file.", metavar="FILE"
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

LOCK_TIMEOUT: Final = Option(
    ("--lock-timeout",),
    "How long to wait for another nettool on this host.",
    Kind.NUMBER,
    default=10,
    metavar="SECONDS",
)

DRY_RUN: Final = Option(("--dry-run", "-n"), "Show the plan; change nothing.", Kind.FLAG)

EXPLAIN: Final = Option(("--explain",), "Show how each step is undone, too.", Kind.FLAG)

YES: Final = Option(("--yes", "-y"), "Do not ask, even when the host's own uplink is touched.", Kind.FLAG)

CONFIRM: Final = Option(
    ("--confirm-within",),
    "Take it back after this time, unless `nettool confirm` comes first. A plan that touches the host's "
    "own uplink does so by itself after 60s; 0 turns that off.",
    metavar="TIME",
)

APPLY: Final = (JSON, LOCK_TIMEOUT, CONFIRM, YES)

DIALECT: Final = Option(
    ("--dialect",),
    "How commands are written: classic (brctl, ip netns exec), modern (iproute2 alone), or auto.",
    default="auto",
    choices=("auto", "classic", "modern"),
)

PUBLISH: Final = (
    Option(
        ("--publish", "-p"),
        "Let a port of the host lead to one of the container's: [HOSTIP:]PORT:PORT[/tcp|udp|sctp], also "
        "ranges; may be repeated.",
        Kind.TEXTS,
        metavar="PORTS",
    ),
    Option(
        ("--allow-from",),
        "Who may use the published ports; may be repeated. Everybody, if not given.",
        Kind.TEXTS,
        metavar="CIDR",
    ),
)

EXPORT: Final = (
    Option(
        ("--export",),
        "Write the plan to a file instead: .sh script, .md runbook, .json saved plan, .yml Ansible; "
        "- is standard output (see --format).",
        metavar="FILE",
    ),
    Option(
        ("--format",),
        "The form to export, when the file's name does not say it.",
        choices=("bash", "runbook", "json", "ansible", "mermaid"),
    ),
)

PLAN: Final = (
    DRY_RUN,
    *EXPORT,
    DIALECT,
    EXPLAIN,
    FACTS,
    *APPLY,
)
