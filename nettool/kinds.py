"""Whether this kernel makes a kind of interface: found out without leaving anything behind."""

from __future__ import annotations

import os
import re

from nettool.facts import IPVLAN, MACVLAN, VLAN
from nettool.host import read_text
from nettool.run import Started

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_MODULES: Final = {MACVLAN: "macvlan", IPVLAN: "ipvlan", VLAN: "8021q"}
_SECOND_LINE: Final = re.compile(r"\s*Command failed -:2\b")


class Trial:
    """A trial under way.

    A module that can be loaded is looked for by its file, since to try would load it. Where there is
    none, the kind is tried in a network namespace of its own, which goes when the trial ends.
    """

    def __init__(self, kind: str) -> None:
        self._tried: Started | None = None
        if has_module(_MODULES[kind]):
            return
        user = () if os.geteuid() == 0 else ("--user", "--map-root-user")
        number = " id 1" if kind == VLAN else ""
        self._tried = Started(
            ("unshare", *user, "--net", "ip", "-batch", "-"),
            stdin="link add name nt0 type veth peer name nt1\n"
            f"link add link nt0 name nt2 type {kind}{number}\n",
        )

    def finish(self) -> str | None:
        """Return why the kernel makes none: empty where it does, None where that is not known."""
        if self._tried is None:
            return ""
        result = self._tried.finish()
        if result.ok:
            return ""
        # What failed before the second line says nothing of the kind.
        if _SECOND_LINE.search(result.stderr) is None:
            return None
        return _SECOND_LINE.sub("", result.stderr).strip() or "it makes none"


def has_module(module: str) -> bool:
    """Whether the running kernel has a module at hand, loaded or not."""
    if os.path.isdir(f"/sys/module/{module}"):
        return True
    folder = f"/lib/modules/{os.uname().release}"
    lists = "".join(read_text(f"{folder}/modules.{name}") for name in ("dep", "builtin"))
    return f"/{module}.ko" in lists
