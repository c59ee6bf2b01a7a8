"""LXC is asked by `lxc-info` and `lxc-ls`.

It has no daemon, and the library that knows its containers has no Python binding that is always there.
"""

from __future__ import annotations

from nettool.runtimes.container import Runtime, checked, has_tool, make_container, names_in, output, run_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from nettool.runtimes.container import Container, Lookup


def _find(name: str) -> Lookup:
    (result,) = yield from run_all([_info(name)])
    if not result.ok and "doesn't exist" in result.stderr:
        return ()
    return (parse_info(name, checked(result)),)


def _survey() -> Lookup:
    text = yield from output("lxc-ls", "-1", "--active")
    names = names_in(text)
    results = yield from run_all([_info(name) for name in names])
    pairs = zip(names, results, strict=True)
    return tuple(parse_info(name, result.stdout) for name, result in pairs if result.ok)


def _info(name: str) -> tuple[str, ...]:
    return ("lxc-info", f"--name={name}", "--state", "--pid", "--no-humanize")


def parse_info(name: str, text: str) -> Container:
    """Read what `lxc-info --state --pid` prints: a line each, the second only when running."""
    lines = (line.partition(":") for line in text.splitlines())
    values = {key: value.strip() for key, _, value in lines}
    state = values["State"].replace("FROZEN", "PAUSED")
    return make_container("lxc", name, (int(values.get("PID", 0)), state, None))


RUNTIME: Final = Runtime("lxc", has_tool("lxc-info"), _find, _survey, "lxc-ls --fancy", "lxc-start")
