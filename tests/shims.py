"""Stand-ins in front of the system's tools: they note every call, and can make one go wrong."""

from __future__ import annotations

import json
import shlex
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from bypass import CALLS, FOLDER, RULES
from snapshot import search_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

TOOLS: Final = (
    "ip", "brctl", "mkdir", "rmdir", "ln", "rm", "mount", "umount", "sysctl", "nsenter", "bridge", "iptables",
    "ip6tables", "iptables-legacy", "ip6tables-legacy", "conntrack", "tee", "dnsmasq", "pkill",
)  # fmt: skip
FOUND: Final = {tool: shutil.which(tool, path=search_path()) or tool for tool in TOOLS}

# What a tool starts itself (`ip netns exec … ip`) is part of the call, and no call of its own. The lines
# of a batch are a call each; those that no rule is about run together, with an empty line for each of
# the others, since `ip` says the number of a line that fails. A call is noted by one printf, which is
# one write: readers run side by side. `nsenter --target` is the way into the test's host.
_SHIM: Final = """\
#!/bin/sh
real={real}
[ "$NETTOOL_SHIM" ] || [ "$1" = --target ] && exec "$real" "$@"
nettool=${{NETTOOL_CALLER:-$PPID}}
outside() {{
    for wait in 1 2 3 4 5 6 7 8 9; do
        grep -q ' /run/netns tmpfs ' "/proc/$nettool/mounts" && sleep 0.02 || break
    done
    nsenter --target "$nettool" --mount -- "$@"
}}
note() {{ printf '%s\\037' {name} "$@" '\036' >>{log}; }}
together() {{
    [ ! "$waiting" ] || NETTOOL_SHIM=1 "$real" $words -batch - <<END || exit
$waiting
END
    waiting=
}}
case " $* " in
*" -json "*) ;;
*" -batch - ")
    newline='
'
    words= waiting= before= number=0
    while [ "$1" != -batch ]; do words="$words $1"; shift; done
    while read -r line; do
        number=$((number + 1))
        set -- $words $line
        case "$*" in
        {wanted})
            together
            if ! NETTOOL_CALLER=$nettool "$0" "$@" </dev/null; then
                echo "Command failed -:$number" >&2
                exit 1
            fi
            ;;
        *)
            note "$@"
            waiting="${{waiting:-$before}}$line$newline"
            ;;
        esac
        before="$before$newline"
    done
    together
    exit 0
    ;;
esac
export NETTOOL_SHIM=1
note "$@"
{rules}
exec "$real" "$@"
"""

# For a rule: kill nettool, which is the caller, or that of the shell that reads a batch.
KILL: Final = """pid=$PPID
until tr '\\0' ' ' <"/proc/$pid/cmdline" | grep -q -- '-m nettool'; do
    pid=$(cut -d ' ' -f 4 "/proc/$pid/stat")
done
kill -9 "$pid"
"""


@dataclass(frozen=True)
class Rule:
    """What happens first at one call: shell commands; "$real" "$@" is the call, $nettool who makes it.

    What is to change /run/netns, or mounts, says `outside` in front: the call may have a view of its own.
    """

    words: tuple[str, ...]
    then: str

    @property
    def arguments(self) -> str:
        """What the call's arguments are; "*" for any."""
        return " ".join(self.words[1:])

    @property
    def wanted(self) -> str:
        """The arguments as a pattern of the shell."""
        return self.arguments if self.arguments == "*" else shlex.quote(self.arguments)

    def text(self) -> str:
        return f'case "$*" in\n{self.wanted})\n{self.then}\n;;\nesac'


@dataclass
class Shims:
    """A folder of stand-ins. `env` puts it in front of the PATH; `calls` are the calls so far."""

    folder: Path
    env: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._log = self.folder / CALLS
        self._texts: dict[str, str] = {}
        self.env = {"PATH": f"{self.folder}:{search_path()}", FOLDER: str(self.folder)}
        self.set()

    def set(self, *rules: Rule) -> None:
        """Forget all calls, and let these rules hold from now on."""
        self._log.write_bytes(b"")
        rules_of = {tool: [rule for rule in rules if rule.words[0] == tool] for tool in TOOLS}
        known = {tool: [rule.arguments for rule in mine] for tool, mine in rules_of.items()}
        (self.folder / RULES).write_text(json.dumps(known), encoding="utf-8")
        for (tool, real), mine in zip(FOUND.items(), rules_of.values(), strict=True):
            text = _SHIM.format(
                real=real,
                name=tool,
                log=self._log,
                wanted=" | ".join(rule.wanted for rule in mine) or "''",
                rules="\n".join(rule.text() for rule in mine),
            )
            if self._texts.get(tool) != text:
                self._write(tool, text)

    def _write(self, tool: str, text: str) -> None:
        shim = self.folder / tool
        shim.unlink(missing_ok=True)  # one that is still starting cannot be written to
        shim.write_text(text, encoding="utf-8")
        shim.chmod(0o755)
        self._texts[tool] = text

    @property
    def calls(self) -> list[tuple[str, ...]]:
        noted = self._log.read_text(encoding="utf-8", errors="surrogateescape").split("\036\037")
        return [tuple(call.split("\037")[:-1]) for call in noted if call]

    @property
    def changes(self) -> list[tuple[str, ...]]:
        """The calls that could change something."""
        return [call for call in self.calls if not only_reads(call)]


def only_reads(call: tuple[str, ...]) -> bool:
    """Whether a call can change nothing: `ip -json …`, also within a namespace, and reading otherwise.

    What the kernel makes is tried in a namespace of its own, with nt0, nt1 and nt2.
    """
    words = call[2:] if call[0] == "nsenter" else call
    return (
        words[:2] == ("conntrack", "-L")
        or bool({"nt0", "nt1", "nt2"} & set(words))
        or words[0] in ("cat", "grep", "ss")
        or words[0].endswith("-save")
        or (words[:1] == ("ip",) and "-json" in words)
    )


def commands_in(script: str) -> list[tuple[str, ...]]:
    """Return the commands that a dry run printed, comments aside."""
    lines = [shlex.split(line) for line in script.splitlines() if line and not line.startswith("#")]
    # What a command reads is put in front of it.
    return [tuple(words[words.index("|") + 1 :] if "|" in words else words) for words in lines]


def joined(commands: Iterable[tuple[str, ...]]) -> str:
    """Return commands a line each, for messages."""
    return "\n".join(shlex.join(command) for command in commands)
