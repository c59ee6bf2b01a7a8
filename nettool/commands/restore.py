"""`nettool restore`: make again what is on record and no longer there."""

from __future__ import annotations

from nettool.arguments import Kind, Option, Verb
from nettool.commands.options import DRY_RUN, EXPLAIN, JSON, LOCK_TIMEOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nettool.arguments import Arguments
    from nettool.pipeline import Mode


def run(arguments: Arguments) -> int:
    """Carry out `nettool restore`."""
    from nettool import output
    from nettool.envelope import envelope
    from nettool.pipeline import Mode
    from nettool.render import commands
    from nettool.restoring import restore

    mode = Mode.of(arguments)
    if arguments.flag("install"):
        return _install(mode)
    restored = restore(mode, firewall_only=arguments.flag("firewall"))
    if arguments.text("output") == "json":
        output.print_json(envelope("restore", **restored.document()))
    elif mode.dry_run:
        output.print_lines(
            "".join(commands(plan, explain=mode.explain) for plan in restored.plans).splitlines()
        )
    else:
        done = [f"done: {plan.title}" for plan in restored.plans]
        output.print_lines(done if done or restored.failures else ["nothing to restore"])
    for who, why in restored.waiting:
        output.note_line(f"{who}: {why}; it is wired when it is restored again")
    for failure in restored.failures:
        output.print_error(failure, as_json=False)
    return 1 if restored.failures else 0


def _install(mode: Mode) -> int:
    from nettool import output
    from nettool.envelope import envelope
    from nettool.units import make_units, write_units

    units = make_units()
    if not mode.dry_run:
        write_units(units)
    if mode.as_json:
        files = [{"path": unit.path, "text": unit.text} for unit in units]
        output.print_json(envelope("units", done=not mode.dry_run, files=files))
    elif mode.dry_run:
        for unit in units:
            output.print_lines([f"# {unit.path}", *unit.text.splitlines(), ""])
    else:
        output.print_lines(f"written: {unit.path}" for unit in units)
        output.note_line("to begin: systemctl daemon-reload && systemctl enable --now nettool-watch")
    return 0


VERB = Verb(
    name="restore",
    summary="Make again what is on record and no longer there.",
    description="After a reboot, a container's restart, or a reload of the firewall: the networks, the "
    "rules, and the interfaces of every container that runs, with the addresses they had.",
    run=run,
    options=(
        Option(("--firewall",), "The networks and rules alone; leave containers as they are.", Kind.FLAG),
        Option(
            ("--install",), "Write units of systemd that do it at boot, and as containers start.", Kind.FLAG
        ),
        DRY_RUN,
        EXPLAIN,
        JSON,
        LOCK_TIMEOUT,
    ),
    examples=("nettool restore --dry-run", "nettool restore", "nettool restore --firewall"),
)
