"""Command, Step, Plan: what would be done, in order, and what of it is left to do on a host."""

from __future__ import annotations

import enum
import re

from nettool.effects import Gone, NetnsName, PortSetting, Sysctl, VethPair
from nettool.firewalleffects import Chain, Rule
from nettool.netnseffects import Loopback, NewNetns
from nettool.parenteffects import OnParent
from nettool.presence import Presence
from nettool.value import Value, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from nettool.effects import Fact
    from nettool.facts import Facts, Netns
    from nettool.model import Endpoint, NetworkRecord, Record, Sandbox
    from nettool.request import Request


_PLAIN = r"[A-Za-z0-9_.:/@,=+-]+( [A-Za-z0-9_.:/@,=+-]+)*"


class Entry(enum.Enum):
    """How a command gets into a namespace other than the host's."""

    EXEC = "ip netns exec"
    OPTION = "ip -n"


class Command(Value):
    """One command to run, and what it reads. The namespace is data: only `words` spells it out."""

    argv: tuple[str, ...]
    netns: Netns | None = None
    entry: Entry = Entry.EXEC
    stdin: str | None = None

    def words(self) -> tuple[str, ...]:
        """Return the whole argv, with the way into the namespace in front."""
        if self.netns is None:
            return self.argv
        if self.entry is Entry.OPTION and self.argv[0] == "ip":
            return ("ip", "-n", self.netns.name, *self.argv[1:])
        return ("ip", "netns", "exec", self.netns.name, *self.argv)

    def typed(self) -> str:
        """Return the command as it is typed at a shell, with what it reads put in front."""
        import shlex  # only what is shown is quoted

        line = shlex.join(self.words())
        if self.stdin is None:
            return line
        return f"printf '%s\\n' {shlex.join(self.stdin.splitlines())} | {line}"

    def batch(self) -> tuple[str, ...] | None:
        """Return the argv that takes this command as a line on stdin; None where there is none.

        `ip -batch` reads lines as words between blanks, with quotes and comments of its own: only
        words that mean themselves are put there, and no option in front.
        """
        plain = re.fullmatch(_PLAIN, " ".join(self.argv)) is not None
        if self.argv[0] != "ip" or self.argv[1].startswith("-") or not plain:
            return None
        if self.netns is None:
            return ("ip", "-batch", "-")
        if self.entry is Entry.OPTION:
            return ("ip", "-n", self.netns.name, "-batch", "-")
        return ("ip", "netns", "exec", self.netns.name, "ip", "-batch", "-")


class GoesWith(Value):
    """The undo of a step whose effect disappears with that of another step (its fact's key)."""

    key: str


class Stays(Value):
    """The undo of a step whose effect stays, and does no harm: `why` says so."""

    why: str


class Scope(enum.Enum):
    """How far a step's effect reaches, and so who may take it back.

    An ENDPOINT step goes when its endpoint is detached, a SANDBOX step with the sandbox's last
    endpoint, a NETWORK step with its network, a PUBLISHING step with the last published port of its
    bridge, a FIREWALL step with the last network and port. A HOST step is only ever taken back by the
    rollback of its own transaction.
    """

    ENDPOINT = "endpoint"
    SANDBOX = "sandbox"
    NETWORK = "network"
    PUBLISHING = "publishing"
    FIREWALL = "firewall"
    HOST = "host"


class Step(Value):
    """One command, the one fact that it makes true, how it is taken back, and why it is there.

    `touches` says that the command reaches into the sandbox, so that its identity is checked first. An
    `undo` of None says that the step cannot be undone.
    """

    do: Command
    undo: Command | GoesWith | Stays | None
    makes: Fact | Gone
    scope: Scope
    why: str
    touches: bool = False

    @property
    def about(self) -> Fact:
        """The fact that it makes true, or takes away."""
        return self.makes.fact if isinstance(self.makes, Gone) else self.makes


class Status(enum.Enum):
    """What a host's facts say of a step."""

    TODO = "to do"
    ALREADY = "already so"
    CONFLICT = "conflict"


class Decision(Value):
    """A step held against a host's facts; `found` says what is in the way."""

    step: Step
    status: Status
    found: str = ""


class Problem(Value):
    """A precondition that does not hold on this host, as the error it becomes when applied."""

    what: str
    why: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    target_missing: bool = False
    not_running: bool = False
    """Whether it is that the sandbox has ended, or never began: what it has left can be cleared away."""
    passing: bool = False
    """Whether it may be over in an instant, so that it is worth another look."""


class Change(Value):
    """What a plan does to one record: which it was `before` (None: none) and which it is `after`."""

    after: Record | None
    before: Record | None

    @property
    def endpoint(self) -> Endpoint:
        """The endpoint that the record is, or was, of."""
        record = self.after or self.before
        if record is None:
            raise ValueError("a change of nothing")
        return record.endpoint

    @property
    def present(self) -> bool:
        """Whether the endpoint is on record afterwards."""
        return self.after is not None

    def turned(self) -> Change:
        """Return the change that puts the record back."""
        return Change(self.before, self.after)


class NetworkChange(Value):
    """What a plan does to the record of a network: which it was `before`, and which it is `after`."""

    after: NetworkRecord | None
    before: NetworkRecord | None

    @property
    def name(self) -> str:
        """The network's name."""
        record = self.after or self.before
        return record.network.name if record else ""

    def turned(self) -> NetworkChange:
        """Return the change that puts the record back."""
        return NetworkChange(self.before, self.after)


class Plan(Value):
    """A whole procedure. `decisions` is None until it has been held against a host."""

    request: Request
    title: str
    dialect: str
    steps: tuple[Step, ...]
    sandboxes: tuple[Sandbox, ...]
    changes: tuple[Change, ...]
    networks: tuple[NetworkChange, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    inverse: bool = False
    undoes: str | None = None
    """The run of the past that the plan takes back."""
    restores: tuple[Step, ...] = ()
    """The procedure that an inverse plan takes back: what its own rollback runs."""
    decisions: tuple[Decision, ...] = ()

    def against(self, facts: Facts) -> Plan:
        """Hold every step against the facts: to do, already so, or in conflict."""
        return replace(self, decisions=tuple(decide(step, facts) for step in self.steps))

    def with_problems(self, problems: Iterable[Problem]) -> Plan:
        """Return the plan with further preconditions that do not hold."""
        return replace(self, problems=(*self.problems, *problems))

    @property
    def to_do(self) -> tuple[Step, ...]:
        """The steps that would run."""
        return tuple(d.step for d in self.decisions if d.status is Status.TODO)

    def made(self, before: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Return the keys of what nettool has made: what it had before, and what the steps would add."""
        made = (step.makes.key for step in self.to_do if not isinstance(step.makes, Gone))
        return tuple(dict.fromkeys((*before, *made)))

    @property
    def conflicts(self) -> tuple[Decision, ...]:
        """The steps whose place something else takes."""
        return tuple(d for d in self.decisions if d.status is Status.CONFLICT)

    @property
    def in_the_way(self) -> tuple[Problem, ...]:
        """The preconditions that do not hold, and what is in the place of a step."""
        taken = (
            Problem(f"{d.step.makes.key} {d.found}", (f"wanted: {d.step.makes.sentence()}",))
            for d in self.conflicts
        )
        return (*self.problems, *taken)


def decide(step: Step, facts: Facts) -> Decision:
    """Hold one step against the facts."""
    state = step.makes.state(facts)
    if state.presence is Presence.OTHER:
        return Decision(step, Status.CONFLICT, state.found)
    status = Status.ALREADY if state.presence is Presence.PRESENT else Status.TODO
    return Decision(step, status)


def is_to_do(step: Step, facts: Facts) -> bool:
    """Whether the host does not show yet what a step makes, and nothing is in its way."""
    return decide(step, facts).status is Status.TODO


def inverse(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Turn steps round, last first; what goes with another step needs none of its own."""
    return tuple(
        Step(
            do=step.undo,
            undo=step.do,
            makes=_opposite(step.makes),
            scope=step.scope,
            why=f"takes back: {step.why}",
            touches=step.touches,
        )
        for step in reversed(tuple(steps))
        if isinstance(step.undo, Command)
    )


def reads_firewall(steps: Iterable[Step]) -> bool:
    """Whether holding steps against a host takes its firewall, and its forwarding."""
    facts = (step.about for step in steps)
    return any(isinstance(f, (Chain, Rule)) or (isinstance(f, Sysctl) and f.netns is None) for f in facts)


def reads_sysctls(steps: Iterable[Step]) -> bool:
    """Whether holding steps against a host takes the settings of its sandboxes."""
    return any(isinstance(step.about, Sysctl) and step.about.netns is not None for step in steps)


def namespaces_made(steps: Iterable[Step]) -> tuple[str, ...]:
    """Return the names of the namespaces that steps make, or take away: which one that is comes out later."""
    facts = (step.about for step in steps)
    return tuple(dict.fromkeys(fact.name for fact in facts if isinstance(fact, (NewNetns, Loopback))))


def undo_steps(inverted: bool, restores: tuple[Step, ...], started: tuple[Step, ...]) -> tuple[Step, ...]:  # noqa: FBT001 - as the plan says it
    """Return the steps that take back those that ran.

    A plan that was an inverse itself is taken back by the whole procedure that it inverted: what
    went with another step has no step of its own there.
    """
    if not started:
        return ()
    return restores if inverted else inverse(started)


def needs_sandbox(step: Step) -> bool:
    """Whether what a step makes goes with the sandbox: its cable, and all that is on either end.

    A link may lead to a process that has ended, while the kernel gives no name to what is not there.
    """
    if isinstance(step.makes, Gone):
        return False
    if isinstance(step.makes, NetnsName):
        return step.do.argv[0] != "ln"
    on_cable = isinstance(step.makes, (VethPair, OnParent, PortSetting))
    return on_cable or step.touches or (step.scope is Scope.ENDPOINT and isinstance(step.undo, GoesWith))


def _opposite(fact: Fact | Gone) -> Fact | Gone:
    return fact.fact if isinstance(fact, Gone) else Gone(fact)
