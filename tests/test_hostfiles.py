"""Whether a name server runs is told by its pid file, and by what the kernel says of that process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from nettool import hostfiles

if TYPE_CHECKING:
    from collections.abc import Mapping

PID_FILE: Final = "/run/nettool-dns/servers/lan/pid"
WORDS: Final = f"dnsmasq\0--pid-file={PID_FILE}\0"
LIVES: Final = "Name:\tdnsmasq\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n"
KILLED: Final = LIVES.replace("ShdPnd:\t00000000000000", "ShdPnd:\t00000000000001")


@pytest.mark.parametrize(
    ("files", "runs"),
    [
        ({}, False),
        ({PID_FILE: "7\n"}, False),
        ({PID_FILE: "7\n", "/proc/7/cmdline": WORDS, "/proc/7/status": LIVES}, True),
        ({PID_FILE: "x\n", "/proc/x/cmdline": WORDS, "/proc/x/status": LIVES}, False),
        ({PID_FILE: "7\n", "/proc/7/cmdline": "sh\0-c\0true\0", "/proc/7/status": LIVES}, False),
        # It was killed, and takes a moment to end.
        ({PID_FILE: "7\n", "/proc/7/cmdline": WORDS, "/proc/7/status": KILLED}, False),
        # It ended between the one look and the other.
        ({PID_FILE: "7\n", "/proc/7/cmdline": WORDS}, False),
    ],
)
def test_a_server_runs(monkeypatch: pytest.MonkeyPatch, *, files: Mapping[str, str], runs: bool) -> None:
    monkeypatch.setattr(hostfiles, "_text", lambda path: files.get(path, ""))
    assert hostfiles._runs(PID_FILE) is runs  # noqa: SLF001 - what the two looks say at one moment
