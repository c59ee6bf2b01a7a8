"""The command line: which verb is called, and the one place where errors become words and a status.

A verb's module is imported only when the verb is called; the Typer application, which answers for
help, completion and mistakes, is built from the same declarations when it is needed.
"""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module

from nettool import __version__
from nettool.errors import NettoolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final, NoReturn

    from nettool.arguments import Arguments, Verb

VERBS: Final = (
    "attach", "detach", "adopt", "apply", "confirm", "undo", "history", "recover", "gc",
    "network create", "network ls", "network inspect", "network rm", "network prune", "network connect",
    "network disconnect", "publish", "unpublish", "ports", "restore", "watch", "diff", "repair",
    "run", "sandbox create", "sandbox ls", "sandbox rm", "sandbox exec", "show", "facts", "lab",
)  # fmt: skip


def load(name: str) -> Verb:
    """Import the module of one verb and return its declaration."""
    verb: Verb = import_module(f"nettool.commands.{name.replace(' ', '.')}").VERB
    return verb


def entry() -> NoReturn:
    """Run this process's command line: the console script."""
    # A call is short, and needs what it allocates to its end: collecting takes 5 ms of it.
    gc.disable()
    status = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Taking the interpreter down piece by piece takes another 5 ms, and nothing is left to do.
    os._exit(status)


def main(words: Sequence[str]) -> int:
    """Run one command line and return its exit status."""
    try:
        status = _dispatch(list(words))
        sys.stdout.flush()
    except NettoolError as error:
        status = _report(error, words)
    except BrokenPipeError:
        # The reader (`| head`) has gone: not an error. stdout is replaced so that the
        # flush at the end does not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except KeyboardInterrupt:
        status = 130
    return status


def _dispatch(words: list[str]) -> int:
    if words == ["--version"]:
        print(f"nettool {__version__}")
        return 0
    for count in (1, 2):
        name = " ".join(words[:count])
        if name in VERBS:
            from nettool.arguments import parse

            verb = load(name)
            arguments = parse(verb, words[count:])
            if arguments is not None:
                return run(verb, arguments)
    from nettool.typer_app import run_typer  # costs more than the rest of a dry run

    return run_typer([load(name) for name in VERBS], words)


def run(verb: Verb, arguments: Arguments) -> int:
    """Carry out one verb and return its exit status."""
    return verb.run(arguments) or 0


def _report(error: NettoolError, words: Sequence[str]) -> int:
    from nettool.output import print_error  # only a failure needs it

    sys.stdout.flush()
    print_error(error, as_json=_wants_json(words))
    return error.exit_status


def _wants_json(words: Sequence[str]) -> bool:
    """Whether a command line that may have gone wrong anywhere asks for JSON."""
    from itertools import pairwise

    pairs = pairwise(words)
    return "--output=json" in words or any(pair in (("-o", "json"), ("--output", "json")) for pair in pairs)
