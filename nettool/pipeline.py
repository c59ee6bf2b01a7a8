"""The one path of every operation: read the host, plan, then show, export or apply."""

from __future__ import annotations

import os
import sys
from itertools import pairwise

from nettool import output
from nettool.errors import Refused, TargetNotFound, UsageError
from nettool.patience import look_again
from nettool.reading import facts_reader, records_for
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Final

    from nettool.arguments import Arguments
    from nettool.facts import Facts
    from nettool.locks import Locks
    from nettool.plan import Plan
    from nettool.request import Request

_LONGEST_SECONDS: Final = 86400


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
    confirm_within: int | None = None
    """Seconds after which an applied plan is taken back unless confirmed; None leaves it to the plan."""
    quiet: bool = False

    @classmethod
    def of(cls, arguments: Arguments) -> Mode:
        """Read the options that every planning verb has."""
        return cls(
            arguments.flag("dry_run"), arguments.text("export"), arguments.text("format"),
            arguments.flag("explain"), arguments.text("facts"), arguments.text("output") == "json",
            arguments.flag("yes"), arguments.number("lock_timeout") or 0,
            _seconds(arguments.text("confirm_within")),
        )  # fmt: skip


def _seconds(text: str | None) -> int | None:
    """Read a time: `90`, `90s`, `2m`. Raises UsageError."""
    if text is None:
        return None
    number = text.removesuffix("s") if text.endswith("s") else text.removesuffix("m")
    fits = number.isascii() and number.isdecimal() and len(number) < 10
    count = int(number) * (60 if text.endswith("m") else 1) if fits else -1
    if not 0 <= count <= _LONGEST_SECONDS:
        raise UsageError(
            f"--confirm-within {text!r} is no time to wait",
            why=(f"0 to {_LONGEST_SECONDS} seconds",),
            hints=("--confirm-within 90s", "--confirm-within 2m"),
        )
    return count


def execute(request: Request, mode: Mode) -> int:
    """Take a request to its end and return the exit status. Raises NettoolError."""
    if mode.export is None and not mode.dry_run:
        if mode.facts_file is not None:
            raise Refused("facts from a file are for planning", hints=("--dry-run", "--export FILE"))
        return change(request, mode)
    planned, facts = make_plan(request, facts_reader(request, mode.facts_file))
    if mode.export is not None:
        from nettool.export import export  # templates are loaded only to export

        export(planned, facts, mode)
    else:
        output.show_plan(planned, facts, explain=mode.explain, as_json=mode.as_json)
    return unmet(planned)


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
        read = facts_reader(request, mode.facts_file)
        planned, facts = make_plan(request, read)
        if agree is not None:
            agree(planned, facts)
        return carry_out(planned, facts, read, locks, mode)
    finally:
        locks.release()


def _own_the_host(locks: Locks) -> None:
    """Take the host's lock, and take back what a killed run left. Raises Refused while a run waits."""
    from nettool.journal import OPEN, runs
    from nettool.locks import HOST
    from nettool.store.rundir import prepare

    prepare()
    locks.acquire((HOST,))
    if runs(OPEN):
        from nettool.confirmation import refuse_while_waiting

        _recover(locks)
        refuse_while_waiting()


def _recover(locks: Locks) -> None:
    from nettool.recovery import recover

    for run in recover(locks):
        how = "was not confirmed" if run.pending else "was cut off"
        output.note_line(f"run {run.id} {how} and has been taken back: {run.title}")


def recover_first(mode: Mode) -> None:
    """Take back what a killed run left, before the host is looked at for what there may be to do."""
    from nettool.journal import OPEN, runs

    if mode.dry_run or os.geteuid() or not runs(OPEN):
        return
    from nettool.locks import HOST, Locks
    from nettool.store.rundir import run_folder

    locks = Locks(run_folder(), "recover", mode.lock_timeout)
    try:
        locks.acquire((HOST,))
        _recover(locks)
    finally:
        locks.release()


def take_back_waiting(name: str, mode: Mode) -> bool:
    """Take a run back that waits to be confirmed; False when no run of that name waits."""
    from nettool.confirmation import waiting
    from nettool.locks import HOST, Locks
    from nettool.store.rundir import run_folder

    logged = waiting()
    if logged is None or not (name == "last" or logged.id.startswith(name)):
        return False
    from nettool.recovery import take_back

    locks = Locks(run_folder(), f"undo {logged.id}", mode.lock_timeout)
    try:
        locks.acquire((HOST,))
        logged = waiting()
        if logged is not None:
            take_back(logged, locks)
    finally:
        locks.release()
    if logged is not None:
        output.print_line(f"taken back: run {logged.id}, {logged.title}")
    return logged is not None


def make_plan(request: Request, read: Callable[[], Facts]) -> tuple[Plan, Facts]:
    """Read the host and plan the request; again, where what is in the way may be over in an instant."""
    # Loaded while the reading's processes run.
    from nettool.planner import check, plan

    check(request)

    def look() -> tuple[Plan, Facts]:
        facts = read()
        return plan(request, facts, records_for(request)), facts

    return look_again(look, until=lambda seen: not any(problem.passing for problem in seen[0].problems))


def carry_out(planned: Plan, facts: Facts, read: Callable[[], Facts], locks: Locks, mode: Mode) -> int:
    """Apply a plan whose preconditions hold; say what was done."""
    _refuse(planned)
    if not planned.to_do and not _only_records(planned):
        _tell(planned, None, mode)
        return 0
    if not facts.privileged:
        why = ("changing a host's network needs root",)
        raise Refused(f"cannot {planned.title}", why=why, hints=("sudo nettool …",))
    touched = uplinks_touched(planned, facts)
    if touched:
        _ask(planned, touched, mode)
    wait = _seconds_to_wait(planned, touched, mode)
    from nettool.apply import apply
    from nettool.locks import namespace_lock

    locks.acquire(namespace_lock(s.netns.inode) for s in planned.sandboxes if s.netns.inode is not None)
    run = apply(planned, facts, read, locks, wait)
    _tell(planned, run, mode, wait)
    if wait:
        from nettool.countdown import wait_for_word

        # Whoever confirms needs the lock.
        locks.release()
        wait_for_word(run, wait)
    return 0


def _seconds_to_wait(planned: Plan, touched: tuple[str, ...], mode: Mode) -> int:
    """Return how long the run waits for a confirmation, 0 for not at all. Raises Refused."""
    if mode.confirm_within == 0 or (mode.confirm_within is None and not touched):
        return 0
    from nettool.confirmation import AUTOMATIC_SECONDS, check_can_wait

    check_can_wait(planned)
    return mode.confirm_within or AUTOMATIC_SECONDS


def _tell(planned: Plan, run: str | None, mode: Mode, wait: int = 0) -> None:
    if not mode.quiet:
        output.show_outcome(planned, run=run, wait=wait, as_json=mode.as_json)


def _only_records(planned: Plan) -> bool:
    """Whether records are all there is to change: of what is gone already, or has no steps."""
    return bool(planned.networks) or (bool(planned.changes) and (planned.inverse or not planned.steps))


def _refuse(planned: Plan) -> None:
    problems = planned.in_the_way
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


def unmet(planned: Plan) -> int:
    """Say on stderr which preconditions do not hold; return the exit status of a dry run."""
    for problem in planned.in_the_way:
        output.warn(f"precondition failed: {problem.what}", *problem.why, hints=problem.hints)
    return Refused.exit_status if planned.in_the_way else 0


def uplinks_touched(planned: Plan, facts: Facts) -> tuple[str, ...]:
    """Return the host's interfaces that the plan touches and that the host is reached by."""
    defaults = (facts.host.default_route(family) for family in (4, 6))
    vital = {route.link for route in defaults if route and route.link} | set(facts.ssh_links)
    words = {word for step in planned.to_do if step.do.netns is None for word in _touched(step.do.argv)}
    return tuple(sorted(link for link in vital if link in words))


def _touched(argv: tuple[str, ...]) -> Iterator[str]:
    """Yield the words of a command that may name an interface that it changes.

    A name that it gives is a new one's, maybe in a sandbox, and what is made on a parent leaves that as
    it is; only in mode passthru it takes the parent over.
    """
    skipped = ("name",) if "passthru" in argv else ("name", "link")
    return (word for before, word in pairwise(("", *argv)) if before not in skipped)


def _ask(planned: Plan, touched: tuple[str, ...], mode: Mode) -> None:
    why = f"it touches {', '.join(touched)}, which this host is reached by"
    if mode.yes:
        return
    if sys.stdin.isatty() and sys.stderr.isatty():
        print(f"{planned.title}: {why}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise Refused(f"cannot {planned.title} without a word from you", why=(why,), hints=("--yes",))
