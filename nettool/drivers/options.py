"""The options of each driver: which keys there are, what they take, and how `ip link` is told. Pure."""

from __future__ import annotations

import re

from nettool.errors import UsageError
from nettool.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, Final

_NUMBER: Final = "0|[1-9][0-9]{0,9}|0x[0-9a-fA-F]{1,8}"
_SWITCH: Final = {"off": 0, "on": 1}


class _Key(Value):
    """One option: its word in `ip link`, the kernel's own value of it, and what may be asked for.

    `unit` is how many of the kernel's units one of ours is. `never` are bits that the kernel refuses.
    """

    word: str
    usual: int
    least: int = 0
    most: int = 0
    unit: int = 1
    never: int = 0
    takes: str = ""

    def parse(self, text: str) -> int | None:
        """Return the value that a text says; None when it says none that can be."""
        if self.takes == "on or off":
            return _SWITCH.get(text)
        number = int(text, 0) if re.fullmatch(_NUMBER, text) else -1
        return number if self.least <= number <= self.most and not number & self.never else None

    def write(self, number: int) -> str:
        """Return a value as text, in one spelling only."""
        if self.takes == "on or off":
            return "on" if number else "off"
        return hex(number) if self.never else str(number)


# The kernel counts times in hundredths of a second (clock_t), whatever ip-link(8) says. A bridge never
# forwards to the groups of STP, pause frames and LACP (BR_GROUPFWD_RESTRICTED).
_BRIDGE: Final = {
    "ageing": _Key("ageing_time", 300, most=1_000_000, unit=100, takes="seconds, 0 to 1000000"),
    "forward_delay": _Key("forward_delay", 15, 2, 30, unit=100, takes="seconds, 2 to 30"),
    "group_fwd_mask": _Key(
        "group_fwd_mask", 0, most=0xFFFF, never=7, takes="a mask up to 0xfff8, without its lowest three bits"
    ),
    "multicast_snooping": _Key("mcast_snooping", 1, takes="on or off"),
    "priority": _Key("priority", 32768, most=0xFFFF, takes="a number, 0 to 65535"),
    "stp": _Key("stp_state", 0, takes="on or off"),
}
_KEYS: Final[dict[str, dict[str, _Key]]] = {"bridge": _BRIDGE}


def parse_options(driver: str, texts: Iterable[str]) -> tuple[str, ...]:
    """Return options as `KEY=VALUE`, by key and each in one spelling. Raises UsageError."""
    keys, found = _KEYS.get(driver, {}), {}
    for text in texts:
        name, equals, value = text.partition("=")
        key = keys.get(name)
        if not equals or key is None:
            known = ", ".join(f"{name}={key.takes}" for name, key in keys.items()) or "none"
            what = f"is no option of the driver {driver}" if equals else "is no KEY=VALUE"
            raise UsageError(f"--option {text!r} {what}", why=(f"known: {known}",))
        number = key.parse(value)
        if number is None:
            raise UsageError(f"--option {text!r} cannot be", why=(f"{name} takes {key.takes}",))
        if name in found:
            raise UsageError(f"--option {name} is given twice")
        found[name] = f"{name}={key.write(number)}"
    return tuple(found[name] for name in sorted(found))


def bridge_words(options: Iterable[str]) -> tuple[str, ...]:
    """Return the words by which `ip link add … type bridge` is told options."""
    pairs = (option.split("=", 1) for option in options)
    return tuple(
        word
        for name, value in pairs
        for key in (_BRIDGE[name],)
        for word in (key.word, str((key.parse(value) or 0) * key.unit))
    )


def options_of_bridge(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Return how a bridge differs from a new one, as options, from what `ip -json -details` says of it."""
    found = []
    for name, key in _BRIDGE.items():
        raw = info.get(key.word, key.usual * key.unit)
        number = int(raw, 0) if isinstance(raw, str) else int(raw)
        if number % key.unit == 0 and number // key.unit != key.usual:
            found.append(f"{name}={key.write(number // key.unit)}")
    return tuple(found)
