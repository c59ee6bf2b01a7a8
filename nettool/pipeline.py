"""The one path of every operation: read the host, plan, then show, export or apply."""

from __future__ import annotations

import os
import sys

from nettool import output
from nettool.errors import Refused, TargetNotFound
from nettool.host import Reading
from nettool.request import Attach
from nettool.sandboxes import find
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from nettool.arguments import Arguments
    from nettool.facts import Facts
    from nettool.locks import Locks
    from nettool.plan import Plan, Problem
    from nettool.request import Request


class Mode(Value):
    """What becomes of a plan: shown, exported, or (neither) applied."""

    dry_run: bool = False
    export: str | None = None
    format: str | None = None
    explain: bool = False
    facts_file: str | None = None
    as_json: bool = False
    yes: bool = False
    lock_timeout: int = 10

    @classmethod
    def of(cls, arguments: Arguments) -> Mode:
        """Read the options that every planning verb has."""
        return cls(
            arguments.flag("dry_run"), arguments.text("export"), arguments.text("format"),
            arguments.flag("explain"), arguments.text("facts"), arguments.text("output") == "json",
            arguments.flag("yes"), arguments.number("lock_timeout") or 0,
        )  # fmt: skip


def execute(request: Request, mode: Mode) -> int:
    """Take a request to its end and return the exit status. Raises NettoolError."""
    if mode.export is None and not mode.dry_run:
        if mode.facts_file is not None:
            raise Refused("facts from a file are for planning", hints=("--dry-run", "--export FILE"))
        return change(request, mode)
    planned, facts = make_plan(request, facts_reader(request, mode))
    if mode.export is not None:
        from nettool.export import export  # templates are loaded only to export

        export(planned, facts, mode)
    else:
        output.show_plan(planned, facts, explain=mode.explain, as_json=mode.as_json)
    return _unmet(planned)


def change(request: Request, mode: Mode, agree: Callable[[Plan, Facts], None] | None = None) -> int:
    """Plan and apply under the host's lock, after taking back what a killed run left.

    `agree` may refuse the plan before it is applied.
    """
    from nettool.locks import Locks
    from nettool.store.rundir import run_folder

    locks = Locks(run_folder(), type(request).__name__.lower(), mode.lock_timeout)
    try:
        if os.geteuid() == 0:
            _own_the_host(locks)
        read = facts_reader(request, mode)
        planned, facts = make_plan(request, read)
        if agree is not None:
            agree(planned, facts)
        return carry_out(planned, facts, read, locks, mode)
    finally:
        locks.release()


def _own_the_host(locks: Locks) -> None:
    """Take the host's lock, and take back what a killed run left."""
    from nettool.journal import OPEN, runs
    from nettool.locks import HOST
    from nettool.store.rundir import prepare

    prepare()
    locks.acquire((HOST,))
    if runs(OPEN):
        from nettool.recovery import recover

        for run in recover(locks):
            output.note_line(f"run {run.id} was cut off and has been taken back: {run.title}")


def make_plan(request: Request, read: Callable[[], Facts]) -> tuple[Plan, Facts]:
    """Read the host and plan the request."""
    # Loaded while the reading's processes run.
    from nettool.planner import check, plan
    from nettool.store.rundir import read_records

    check(request)
    facts = read()
    return plan(request, facts, read_records()), facts


def facts_reader(request: Request, mode: Mode) -> Callable[[], Facts]:
    """Return a function that reads all that planning the request needs to know."""
    if mode.facts_file is not None:
        from nettool.factsfile import load_facts  # most calls read the host itself

        stored = load_facts(mode.facts_file)
        return lambda: stored
    return _HostReader(request).read


class _HostReader:
    """Reads the host for one request. The first reading is under way as soon as this is made."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._answers: tuple[tuple[str, str], ...] | None = None
        self._reading: Reading | None = self._start()

    def _start(self) -> Reading:
        request = self._request
        # What is taken away may have to be put back: a detachment knows only later what it was.
        ipv6 = not isinstance(request, Attach) or any(":" in text for text in request.addresses)
        return Reading((find(request.target),), with_ipv6=ipv6)

    def read(self) -> Facts:
        """Return the facts of this moment; who answers on the wire is asked once."""
        reading, self._reading = self._reading or self._start(), None
        facts = reading.finish()
        if self._answers is None:
            self._answers = _ask_wire(self._request, facts)
        return facts.answered(self._answers)


def _ask_wire(request: Request, facts: Facts) -> tuple[tuple[str, str], ...]:
    """Ask the bridge's other hosts for the addresses; a wire without ports is not worth the wait."""
    if not isinstance(request, Attach) or all(link.master != request.bridge for link in facts.host.links):
        return ()
    from nettool.probe import probe

    return probe(request.bridge, request.addresses)


def carry_out(planned: Plan, facts: Facts, read: Callable[[], Facts], locks: Locks, mode: Mode) -> int:
    """Apply a plan whose preconditions hold; say what was done."""
    _refuse(planned)
    if not planned.to_do and not _forgets(planned):
        output.show_outcome(planned, applied=False, as_json=mode.as_json)
        return 0
    if not facts.privileged:
        why = ("changing a host's network needs root",)
        raise Refused(f"cannot {planned.title}", why=why, hints=("sudo nettool …",))
    if touched := uplinks_touched(planned, facts):
        _confirm(planned, touched, mode)
    from nettool.apply import apply
    from nettool.locks import namespace_lock

    locks.acquire(namespace_lock(s.netns.inode) for s in planned.sandboxes if s.netns.inode is not None)
    apply(planned, facts, read, locks)
    output.show_outcome(planned, applied=True, as_json=mode.as_json)
    return 0


def _forgets(planned: Plan) -> bool:
    """Whether there are records left to clear of an endpoint that is gone already."""
    return planned.inverse and bool(planned.changes)


def _refuse(planned: Plan) -> None:
    problems = [*planned.problems, *conflict_problems(planned)]
    if not problems:
        return
    first = problems[0]
    error = TargetNotFound if any(problem.target_missing for problem in problems) else Refused
    more = tuple(line for problem in problems[1:] for line in (problem.what, *problem.why))
    raise error(
        f"cannot {planned.title}: {first.what}",
        why=(*first.why, *more),
        hints=tuple(dict.fromkeys(hint for problem in problems for hint in problem.hints)),
    )


def conflict_problems(planned: Plan) -> tuple[Problem, ...]:
    """Return what is in the way of a plan's steps, as problems."""
    from nettool.plan import Problem

    return tuple(
        Problem(f"{d.step.makes.key} {d.found}", (f"wanted: {d.step.makes.sentence()}",))
        for d in planned.conflicts
    )


def _unmet(planned: Plan) -> int:
    """Say on stderr which preconditions do not hold; return the exit status of a dry run."""
    problems = (*planned.problems, *conflict_problems(planned))
    for problem in problems:
        output.warn(f"precondition failed: {problem.what}", *problem.why, hints=problem.hints)
    return Refused.exit_status if problems else 0


def uplinks_touched(planned: Plan, facts: Facts) -> tuple[str, ...]:
    """Return the host's interfaces that the plan touches and that the host is reached by."""
    defaults = (facts.host.default_route(family) for family in (4, 6))
    vital = {route.link for route in defaults if route and route.link} | set(facts.ssh_links)
    words = {word for step in planned.to_do if step.do.netns is None for word in step.do.argv}
    return tuple(sorted(link for link in vital if link in words))


def _confirm(planned: Plan, touched: tuple[str, ...], mode: Mode) -> None:
    why = f"it touches {', '.join(touched)}, which this host is reached by"
    if mode.yes:
        return
    if sys.stdin.isatty() and sys.stderr.isatty():
        print(f"{planned.title}: {why}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise Refused(f"cannot {planned.title} without a word from you", why=(why,), hints=("--yes",))
