"""The laws on requests that nobody thought of: Hypothesis makes them, a real host answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from hosts import Host
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plan_kinds import DIALECTS, EVERY, OTHER_UPLINK, Bridge, Kind, furnish
from snapshot import difference

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import CompletedProcess

EXAMPLES: Final = 200 if EVERY else 10
ANSWERS: Final = (0, 2, 4)

_letters = st.characters(min_codepoint=33, max_codepoint=126)
_names = st.one_of(
    st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,14}", fullmatch=True),
    st.sampled_from(["eth0", "up", "dev", "name", "a", "lo", "all", "type", "x" * 15, "x" * 16]),
    st.text(_letters, min_size=1, max_size=16),
)
_hosts4 = st.integers(2, 65533).map(lambda n: f"172.17.{n >> 8}.{n & 255}")
_v4 = st.builds("{}/{}".format, _hosts4, st.sampled_from([16, 16, 16, 8, 24, 29, 31, 32, 0]))
_far4 = st.builds("{}/{}".format, st.ip_addresses(v=4), st.integers(0, 32))
_v6 = st.builds("fd00::{:x}/{}".format, st.integers(2, 0xFFFF), st.sampled_from([64, 64, 48, 112, 127, 128]))
_far6 = st.builds("{}/{}".format, st.ip_addresses(v=6), st.integers(0, 128))
_addresses = st.lists(st.one_of(_v4, _v4, _v6, _v6, _far4, _far6), min_size=1, max_size=3)
_networks = st.one_of(
    st.integers(0, 255).map(lambda n: f"10.{n}.0.0/16"),
    st.integers(1, 0xFFFF).map(lambda n: f"fd01:{n:x}::/48"),
    _far4,
)
_routes = st.one_of(_networks, st.builds("{},{}".format, _networks, st.one_of(_hosts4, st.just("fd00::9"))))
_macs = st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":"))


def _option(name: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    return st.one_of(st.just([]), values.map(lambda value: [f"--{name}={value}"]))


@st.composite
def requests(draw: st.DrawFn) -> list[str]:
    """Draw the options of an attachment, right or wrong."""
    words = [f"--ip={address}" for address in draw(_addresses)]
    words += [f"--route={route}" for route in draw(st.lists(_routes, max_size=2))]
    for name, values in {
        "ifname": _names,
        "host-ifname": _names,
        "mac": _macs,
        "mtu": st.one_of(st.integers(1280, 1500), st.integers(0, 70000)).map(str),
        "gateway": st.sampled_from(
            ["auto", "none", "172.17.0.1", "172.17.9.9", "fd00::1", "fe80::1", "192.0.2.1"]
        ),
        "default-route": st.sampled_from(["keep", "replace"]),
        "dialect": st.sampled_from(DIALECTS),
    }.items():
        words += draw(_option(name, values))
    return words


@pytest.fixture(scope="module")
def wired() -> Iterator[Host]:
    with Host() as host:
        furnish(host, Kind("none", "", bridges=(Bridge(),)))
        yield host


def _attach(host: Host, pid: int, words: list[str], *more: str) -> CompletedProcess[str]:
    done = host.nettool("attach", "--pid", str(pid), *words, *more)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(words=requests(), uplink=st.booleans())
def test_whatever_is_asked_converges_and_can_be_taken_back(
    wired: Host, words: list[str], *, uplink: bool
) -> None:
    pid = wired.container()
    try:
        for command in OTHER_UPLINK if uplink else ():
            wired.inside(pid, *command.split())
        _check_laws(wired, pid, words)
    finally:
        wired.kill(pid)


def _check_laws(host: Host, pid: int, words: list[str]) -> None:
    before = host.snapshot(pid)
    done = _attach(host, pid, words)
    assert done.returncode in ANSWERS, done.stderr
    if done.returncode == 0:
        assert _attach(host, pid, words).stdout.startswith("nothing to do: ")
        back = host.nettool("detach", "--pid", str(pid))
        assert back.returncode == 0, back.stderr
    else:
        assert done.stderr.startswith(("error: ", "Usage: "))
    assert difference(before, host.snapshot(pid)) == ""
