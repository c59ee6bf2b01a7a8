"""All or nothing, where something special goes wrong; test_battery_faults.py has what can at any step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from plan_kinds import (
    DIALECTS,
    OTHER_UPLINK,
    SECOND_BRIDGE,
    Bridge,
    Kind,
    Scene,
    furnish,
    with_dialects,
)
from shims import Rule, Shims, commands_in
from snapshot import difference

if TYPE_CHECKING:
    from pathlib import Path

    from hosts import Host

PLAIN: Final = Kind("plain", "--ip 172.17.0.10/16", host=("rmdir /run/netns",))

dialects = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.fixture
def shims(tmp_path: Path) -> Shims:
    return Shims(tmp_path / "shims")


def _plan(scene: Scene, argv: tuple[str, ...]) -> list[tuple[str, ...]]:
    printed = scene.host.nettool(*argv, "--dry-run")
    assert printed.returncode == 0, printed.stderr
    return commands_in(printed.stdout)


@dialects
def test_what_could_not_be_detached_can_be_detached_later(host: Host, shims: Shims, dialect: str) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()
    host.nettool(*scene.attach(dialect)).check_returncode()
    shims.set(Rule(_plan(scene, scene.detach(dialect))[-1], "exit 3"))
    assert host.nettool(*scene.detach(dialect), env=shims.env).returncode == 1

    host.nettool(*scene.detach(dialect)).check_returncode()

    assert difference(before, scene.snapshot()) == ""


@dialects
def test_what_is_made_again_is_not_looked_at_after_each_step(host: Host, shims: Shims, dialect: str) -> None:
    scene = furnish(host, PLAIN)
    host.must(*scene.attach(dialect))
    before = scene.snapshot()
    last = _plan(scene, scene.detach(dialect))[-1]
    shims.set(Rule(last, "exit 3"))
    assert host.nettool(*scene.detach(dialect), env=shims.env).returncode == 1
    way_back = shims.calls[shims.calls.index(last) + 1 :]
    assert sum("-json" in call for call in way_back) == 2 * len(("the host", "the sandbox"))
    assert difference(before, scene.snapshot()) == ""


def test_a_second_signal_does_not_cut_the_rollback_short(host: Host, shims: Shims) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()
    steps = _plan(scene, scene.attach("modern"))
    end = next(words[words.index("name") + 1] for words in steps if words[:3] == ("ip", "link", "add"))
    interrupt = "kill -INT $nettool"
    shims.set(Rule(steps[-1], interrupt), Rule(("ip", "link", "del", "dev", end), interrupt))

    done = host.nettool(*scene.attach("modern"), env=shims.env)

    assert done.returncode == 130
    assert difference(before, scene.snapshot()) == ""


@dialects
def test_a_rollback_that_fails_names_what_is_left(host: Host, shims: Shims, dialect: str) -> None:
    scene = furnish(host, PLAIN)
    steps = _plan(scene, scene.attach(dialect))
    cable = next(words for words in steps if words[:3] == ("ip", "link", "add"))
    end = next(word for word in cable if word.startswith("nt"))
    shims.set(Rule(steps[-1], "exit 3"), Rule(("ip", "link", "del", "dev", end), "exit 3"))

    done = host.nettool(*scene.attach(dialect), env=shims.env)

    assert done.returncode == 8
    assert f"ip link del dev {end}" in done.stderr
    assert "NOT as before" in done.stderr


@pytest.mark.parametrize("state", ["closed to writing", "no folder"])
def test_records_that_cannot_be_written_leave_the_host_as_before(
    host: Host, shims: Shims, state: str
) -> None:
    scene = furnish(host, PLAIN)
    host.check("mkdir", "-p", "-m", "700", "/run/nettool/endpoints")
    before = scene.snapshot()
    spoil = {
        "closed to writing": "outside mount -t tmpfs -o ro none /run/nettool/endpoints",
        "no folder": "rm -r /run/nettool; touch /run/nettool",
    }[state]
    shims.set(Rule(_plan(scene, scene.attach("classic"))[-1], f"NETTOOL_SHIM=1; {spoil}"))

    done = host.nettool(*scene.attach("classic"), env=shims.env)

    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("error: cannot attach")
    assert difference(before, scene.snapshot()) == ""


@pytest.mark.parametrize("place", ["/dev/null", "/dev/null/below", "/proc/nothing"])
def test_a_place_for_records_that_cannot_be_used_is_refused_before_anything_runs(
    host: Host, shims: Shims, place: str
) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()

    done = host.nettool(*scene.attach("classic"), env={**shims.env, "NETTOOL_RUN_DIR": place})

    assert done.returncode in (1, 4)
    assert done.stderr.startswith("error: ")
    assert shims.changes == []
    assert difference(before, scene.snapshot()) == ""


def test_records_that_others_could_have_written_are_refused(host: Host, shims: Shims) -> None:
    scene = furnish(host, PLAIN)
    host.check("mkdir", "-p", "-m", "777", "/run/nettool/endpoints")

    done = host.nettool(*scene.attach("classic"), env=shims.env)

    assert done.returncode == 4
    assert "not safe" in done.stderr
    assert shims.changes == []


# --- the sandbox is the one that was planned for


# After the last command of each process that nettool starts: neighbouring ip commands share one.
@pytest.mark.parametrize("at", [1, 2, 3, 5])
def test_a_name_that_is_moved_to_another_sandbox_leads_no_command_there(
    host: Host, shims: Shims, at: int
) -> None:
    scene = furnish(host, Kind("plain", "--ip 172.17.0.10/16"))
    other = host.container()
    before = host.snapshot(scene.pid, other)
    steps = _plan(scene, scene.attach("classic"))
    move = f"export NETTOOL_SHIM=1; outside ln -sfn /proc/{other}/ns/net /run/netns/{scene.pid}"
    shims.set(Rule(steps[at - 1], f'"$real" "$@"; {move}; exit'))

    done = host.nettool(*scene.attach("classic"), env=shims.env)

    assert done.returncode == 1, done.stderr
    inside = [step for step in steps[at:] if "netns" in step]
    assert [call for call in shims.calls if call in inside] == []
    after = host.snapshot(scene.pid, other)
    assert after["host: netns"] == f"{scene.pid} -> /proc/{other}/ns/net"
    assert difference({**before, "host: netns": ""}, {**after, "host: netns": ""}) == ""


def test_a_namespace_that_gets_another_ones_name_is_not_touched(host: Host, shims: Shims) -> None:
    kind = Kind("named", "--ip 172.17.0.10/16", target="name")
    scene = furnish(host, kind)
    other = host.container()
    before = host.snapshot(scene.pid, other)
    steps = _plan(scene, scene.attach("classic"))
    move = f"export NETTOOL_SHIM=1; outside ip netns del blue; outside ip netns attach blue {other}"
    shims.set(Rule(steps[2], f'{move}; exec "$real" "$@"'))

    done = host.nettool(*scene.attach("classic"), env=shims.env)

    assert done.returncode == 1
    assert "is no longer the sandbox that was planned for" in done.stderr
    after = host.snapshot(scene.pid, other)
    before["host: netns"] = after["host: netns"]
    assert difference(before, after) == ""


# --- what was there before nettool's part of it was broken


@pytest.mark.parametrize(("broken", "dialect"), with_dialects(["address", "route", "link", "name"]))
def test_an_endpoint_that_was_repaired_is_still_taken_back_in_full(
    host: Host, broken: str, dialect: str
) -> None:
    kind = Kind("replaced", "--ip 172.17.0.10/16 --default-route replace", sandbox=OTHER_UPLINK)
    scene = furnish(host, kind)
    before = scene.snapshot()
    host.nettool(*scene.attach(dialect)).check_returncode()
    breaks = {
        "address": ("ip", "address", "del", "172.17.0.10/16", "dev", "eth0"),
        "route": ("ip", "route", "del", "default"),
        "link": ("ip", "link", "del", "dev", "eth0"),
        "name": ("true",),
    }
    host.inside(scene.pid, *breaks[broken])
    if broken == "name":
        host.check("ip", "netns", "del", str(scene.pid))

    repaired = host.nettool(*scene.attach(dialect))
    assert repaired.returncode == 0, repaired.stderr
    host.nettool(*scene.detach(dialect)).check_returncode()

    assert difference(before, scene.snapshot()) == ""


@dialects
def test_what_is_left_of_a_sandbox_that_is_gone_is_cleared_away(host: Host, dialect: str) -> None:
    before = host.snapshot()
    scene = furnish(host, PLAIN)
    furnished = host.snapshot()
    host.nettool(*scene.attach(dialect)).check_returncode()
    host.kill(scene.pid)

    done = host.nettool(*scene.detach(dialect))

    assert done.returncode == 0, done.stderr
    assert difference(furnished, host.snapshot()) == ""
    assert difference(before, furnished)
    assert host.run("ls", "/run/nettool/endpoints").stdout == ""


@dialects
def test_two_endpoints_can_be_detached_in_the_order_they_came(host: Host, dialect: str) -> None:
    scene = furnish(host, Kind("two", "--ip 172.17.0.10/16", bridges=(Bridge(), SECOND_BRIDGE)))
    before = scene.snapshot()
    host.nettool(*scene.attach(dialect)).check_returncode()
    second = ("attach", *scene.target, "--bridge", "br9", "--ip", "10.9.0.2/24", "--dialect", dialect)
    host.nettool(*second).check_returncode()

    host.nettool(*scene.detach(dialect, "--ifname", "eth0")).check_returncode()
    host.nettool(*scene.detach(dialect, "--ifname", "eth1")).check_returncode()

    assert difference(before, scene.snapshot()) == ""


@dialects
def test_without_records_an_endpoint_is_still_known_by_its_mark(host: Host, dialect: str) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()
    host.nettool(*scene.attach(dialect)).check_returncode()
    host.check("rm", "-r", "/run/nettool")

    host.nettool(*scene.detach(dialect)).check_returncode()

    after = scene.snapshot()
    after["host: netns"] = before["host: netns"]  # whoever gave the name: nothing says that it was nettool
    assert difference(before, after) == ""
