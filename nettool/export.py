"""Write a plan to a file or to stdout, in one of the forms that need no nettool to be read or run."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

from nettool.errors import NettoolError, Refused, UsageError
from nettool.renderers.variables import endpoints_of, runtime_of
from nettool.text import safe

if TYPE_CHECKING:
    from nettool.facts import Facts
    from nettool.pipeline import Mode
    from nettool.plan import Plan

_SUFFIXES: Final = {
    ".sh": "bash", ".md": "runbook", ".json": "json", ".yml": "ansible", ".yaml": "ansible",
    ".mmd": "mermaid",
}  # fmt: skip
_NAMES: Final = {
    "bash": "bash script", "runbook": "runbook", "json": "saved plan", "ansible": "Ansible playbook",
    "mermaid": "Mermaid diagram",
}  # fmt: skip
# These look a container up, or work in it, by what the plan has found out.
_RUN: Final = ("bash", "ansible")


def export(planned: Plan, facts: Facts, mode: Mode) -> None:
    """Write the plan where `--export` says. Raises UsageError for a form that nobody named."""
    target = mode.export or "-"
    form = choose_form(target, mode.format)
    text = render(planned, facts, form)
    if target == "-":
        sys.stdout.write(text)
        return
    write_whole(target, text, executable=form == "bash")
    count = len(planned.steps)
    written = f"wrote {target} ({_NAMES[form]}, {count} step{'' if count == 1 else 's'})"
    sys.stderr.write(f"{safe(written)}\n")


def choose_form(target: str, wanted: str | None) -> str:
    """Return the form to write: the one that was asked for, else what the file's name says."""
    if wanted is not None:
        return wanted
    if target == "-":
        return "bash"
    suffix = os.path.splitext(target)[1].lower()
    if suffix not in _SUFFIXES:
        raise UsageError(
            f"--export {target!r}: the name does not say which form to write",
            why=(f"known: {', '.join(_SUFFIXES)}",),
            hints=(f"--format bash --export {target}",),
        )
    return _SUFFIXES[suffix]


def render(planned: Plan, facts: Facts, form: str) -> str:
    """Return the plan in a form.

    Raises Refused for a script that could not find its sandbox.
    """
    if form == "json":
        from nettool.render import document

        return json.dumps(document(planned, facts), indent=2) + "\n"
    if form in _RUN:
        _require_container(planned)
    text: str = import_module(f"nettool.renderers.{form}").render(planned, facts)
    return text


def _require_container(planned: Plan) -> None:
    for endpoint in endpoints_of(planned):
        sandbox = endpoint.sandbox
        if sandbox.pid is None and runtime_of(sandbox):
            raise Refused(
                f"cannot write a script for {sandbox.target}",
                why=("the container is not running, so that its runtime cannot be asked",),
                hints=("--format runbook", "start the container first"),
            )


def write_whole(path: str, text: str, *, executable: bool) -> None:
    """Put a file in its place whole, or not at all. Raises NettoolError when it cannot be written."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise UsageError(f"--export {path!r} is there, and is no file", hints=("--export - for stdout",))
    # What a link leads to is written, and the link stays.
    place = os.path.realpath(path)
    part = f"{place}.{secrets.token_hex(4)}.part"
    try:
        _write(part, text, 0o755 if executable else 0o644)
        os.replace(part, place)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise NettoolError(f"cannot write {path}", why=(error.strerror or str(error),)) from error


def _write(path: str, text: str, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, mode), "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
