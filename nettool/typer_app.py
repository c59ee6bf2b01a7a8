"""The Typer application: help, completion and the words for a mistyped command line.

It is built from the same declarations (`nettool.arguments`) that the quick reader uses, so the two
cannot disagree on what a verb takes.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

import typer

from nettool import __version__
from nettool.arguments import Arguments, Kind
from nettool.text import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nettool.arguments import Operand, Option, Verb

HELP = "Wire containers by an explicit plan: read it, apply it, take it back."
GROUPS = {
    "network": "Create networks, put containers on them, look at them, and remove them.",
    "sandbox": "Make named network namespaces, look at them, run commands in them, and remove them.",
}
SETTINGS = {"help_option_names": ["-h", "--help"]}


def run_typer(verbs: Iterable[Verb], words: Sequence[str]) -> int:
    """Let Typer read `words` and carry out what they say; return the exit status.

    Typer shows a mistaken word as it is: what a terminal could act on is written as an escape before.
    """
    result = build(verbs)(args=[safe(word) for word in words], prog_name="nettool", standalone_mode=True)
    return result if isinstance(result, int) else 0


def build(verbs: Iterable[Verb]) -> typer.Typer:
    """Build the application of all the verbs."""
    app = typer.Typer(
        help=HELP,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings=SETTINGS,
        rich_markup_mode="markdown",
    )
    app.callback()(_root)
    groups: dict[str, typer.Typer] = {}
    for verb in verbs:
        group, _, name = verb.name.rpartition(" ")
        if group and group not in groups:
            groups[group] = typer.Typer(no_args_is_help=True, context_settings=SETTINGS)
            app.add_typer(groups[group], name=group, help=GROUPS[group])
        parent = groups[group] if group else app
        settings = dict(SETTINGS)
        parent.command(name, help=_help(verb), short_help=verb.summary, context_settings=settings)(
            _callback(verb)
        )
    return app


def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),  # noqa: FBT001, FBT003 - Typer reads the signature
) -> None:
    if version:
        print(f"nettool {__version__}")
        raise typer.Exit


def _help(verb: Verb) -> str:
    examples = "\n\n".join(f"`{example}`" for example in verb.examples)
    parts = [verb.summary, verb.description, f"**Examples**\n\n{examples}" if examples else ""]
    return "\n\n".join(part for part in parts if part)


def _callback(verb: Verb) -> Callable[..., None]:
    """Return a function with the signature that Typer reads the options from."""

    def callback(**given: Any) -> None:
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
        many = [option.key for option in verb.options if option.kind is Kind.TEXTS]
        many += [operand.key for operand in verb.operands if operand.rest or operand.many]
        values.update({key: () for key in many if values[key] is None})
        raise typer.Exit(verb.run(Arguments(values)) or 0)

    operands = [_operand(operand) for operand in verb.operands]
    parameters = [*operands, *(_option(option) for option in verb.options)]
    callback.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # functions take attributes
    callback.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    callback.__name__ = verb.name
    return callback


def _option(option: Option) -> inspect.Parameter:
    # Typer derives no metavar for a Literal of its own; the choices are shown either way.
    declared = typer.Option(
        False if option.kind is Kind.FLAG else option.default,
        *option.names,
        help=option.help,
        metavar=option.metavar,
        show_default=option.default is not None,
    )
    return inspect.Parameter(
        option.key, inspect.Parameter.KEYWORD_ONLY, default=declared, annotation=_annotation(option)
    )


def _annotation(option: Option) -> Any:
    if option.kind is Kind.FLAG:
        return bool
    if option.kind is Kind.TEXTS:
        return list[str] | None
    if option.kind is Kind.NUMBER:
        return int | None
    return (Literal[option.choices] | None) if option.choices else (str | None)


def _operand(operand: Operand) -> inspect.Parameter:
    declared = typer.Argument(... if operand.required else None, help=operand.help)
    annotation: Any = list[str] if operand.rest or operand.many else str
    return inspect.Parameter(
        operand.key,
        inspect.Parameter.KEYWORD_ONLY,
        default=declared,
        annotation=annotation if operand.required else annotation | None,
    )
