"""A run that nobody confirms is taken back, whatever becomes of the one who started it."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import time
from typing import TYPE_CHECKING, Final

import pytest
from plan_kinds import FULL, KINDS, Bridge, Kind, furnish, some
from shims import KILL, Rule, Shims, commands_in
from snapshot import difference
from state_disk import BROKEN, TROUBLES, disk_of_its_own

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from subprocess import Popen
    from typing import Any

    from battery import Cases
    from hosts import Host
    from plan_kinds import Scene

PLAIN: Final = Kind("plain", "--ip 172.17.0.10/16")
UPLINK: Final = Kind(
    "uplink",
    "--ip 172.17.0.10/16",
    host=("ip route add default via 172.17.0.254 dev docker0",),
    bridges=(Bridge(),),
)
PATIENCE_SECONDS: Final = 15
ROUNDS: Final = 10 if FULL else 2


def _until_as(before: Mapping[str, str], scene: Scene) -> None:
    """Wait until the host is as before; the deadline is a bound for a test that fails."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (left := difference(before, scene.snapshot())) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == ""


def _states(host: Host) -> list[str]:
    runs: list[dict[str, Any]] = json.loads(host.nettool("history", "-o", "json").stdout)["runs"]
    return [run["state"] for run in runs]


def _timers(host: Host) -> list[int]:
    """Return the pids of the timers that run on this host."""
    pids = [int(pid) for pid in host.run("pgrep", "-f", "rollback.sh").stdout.split()]
    return [pid for pid in pids if _network(pid) == _network(host.pid)]


def _no_timer_is_left(host: Host) -> bool:
    """Whether no timer runs; one that was killed may take a moment to be gone."""
    deadline = time.monotonic() + 5
    while (left := _timers(host)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not left


def _network(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return None


@pytest.mark.battery("B15")
@pytest.mark.parametrize("verb", ["do", "undo"])
@pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.name) for kind in some(KINDS[::3], every=FULL)])
def test_without_a_word_every_kind_of_plan_is_taken_back(host: Host, kind: Kind, verb: str) -> None:
    scene = furnish(host, kind)
    if verb == "undo":
        host.nettool(*scene.do("classic")).check_returncode()
    before = scene.snapshot()
    words = scene.do("classic") if verb == "do" else scene.undo("classic")

    done = host.nettool(*words, "--confirm-within", "1s")

    assert done.returncode == 0, done.stderr
    assert "unless you say: nettool confirm" in done.stderr
    if kind.alters == "never":
        _until_as(before, scene)
    host.check("sh", "-c", "until [ -d /run/nettool/tx/*/claimed ]; do sleep 0.05; done")
    host.nettool("recover").check_returncode()
    assert _states(host)[-1] == "not confirmed"
    assert _no_timer_is_left(host)
    late = host.nettool("confirm")
    assert late.returncode == 9
    assert "was not confirmed in time" in late.stderr
    if kind.alters == "never":
        assert difference(before, scene.snapshot()) == ""


@pytest.mark.battery("B15")
def test_a_word_in_time_keeps_it(host: Host, cases: Cases) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()
    for _ in range(ROUNDS):
        done = host.nettool(*scene.attach("classic", "--confirm-within", "2m", "-o", "json"))
        run = json.loads(done.stdout)
        assert run["confirm_within"] == 120
        assert len(_timers(host)) == 1
        assert host.check("ls", "/run/nettool/endpoints") == ""
        host.nettool("confirm", run["run"]).check_returncode()
        assert _no_timer_is_left(host)
        assert _states(host)[-1] == "done"
        assert host.check("ls", "/run/nettool/tx") == ""
        host.nettool(*scene.detach("classic")).check_returncode()
        assert difference(before, scene.snapshot()) == ""
        cases.add()


@pytest.mark.battery("B15")
def test_a_word_that_cannot_be_written_down(host: Host, cases: Cases) -> None:
    """While there is no room for records, the timer goes on; a broken file is found out too late for that."""
    disk_of_its_own(host)
    host.must("network", "create", "other", "--subnet", "10.21.0.0/24")
    before, create = host.snapshot(), ("network", "create", "lan", "--subnet", "10.20.0.0/24")
    full, heal = TROUBLES["full"]
    host.must(*create, "--confirm-within", "2m")
    made = host.snapshot()
    host.run("sh", "-c", full)
    refused = host.nettool("confirm")
    assert (refused.returncode, len(_timers(host))) == (4, 1), refused.stderr
    assert "cannot be written" in refused.stderr
    host.check("sh", "-c", heal)
    host.must("confirm")
    assert difference(made, host.snapshot()) == ""
    host.must("network", "rm", "lan")
    cases.add()
    host.must(*create, "--confirm-within", "2m")
    breaks, heal = BROKEN
    host.check("sh", "-c", breaks)
    refused = host.nettool("confirm")
    assert refused.returncode == 4, refused.stderr
    assert "cannot be recorded" in refused.stderr
    assert _no_timer_is_left(host)
    host.check("sh", "-c", heal)
    host.must("recover")
    assert difference(before, host.snapshot()) == ""
    assert "lan" not in host.must("network", "ls")
    cases.add()


@pytest.mark.battery("B15")
def test_nettool_killed_at_any_step_does_not_stop_the_timer(host: Host, tmp_path: Path, cases: Cases) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()
    shims = Shims(tmp_path / "shims")
    steps = commands_in(host.nettool(*scene.attach("classic", "--dry-run")).stdout)
    for words in some(steps, every=FULL):
        shims.set(Rule(words, f'"$real" "$@"; {KILL}exit 0'))
        host.nettool(*scene.attach("classic", "--confirm-within", "1s"), env=shims.env)
        assert difference(before, scene.snapshot()) != "" or words == steps[0]
        # Nobody runs nettool again: the timer alone makes it good.
        _until_as(before, scene)
        cases.add()
        assert host.nettool("recover").returncode == 0
        assert difference(before, scene.snapshot()) == ""
        assert host.check("ls", "/run/nettool/tx", "/run/nettool/endpoints").split() == [
            "/run/nettool/endpoints:", "/run/nettool/tx:",
        ]  # fmt: skip


@pytest.mark.battery("B15")
def test_the_timer_leaves_alone_what_nettool_had_not_begun(host: Host, tmp_path: Path) -> None:
    scene, shims = furnish(host, PLAIN), Shims(tmp_path / "shims")
    steps = commands_in(host.nettool(*scene.attach("classic", "--dry-run")).stdout)
    named = next(words for words in steps if words[0] == "ln")
    end = next(words[3] for words in steps if words[:3] == ("ip", "link", "add"))
    before = scene.snapshot()
    # Nettool dies, and somebody else makes an interface of the name that it would have given.
    made = f"ip link add {end} type veth peer name {end}x"
    shims.set(Rule(named, f'"$real" "$@"; {KILL}{made}; exit 0'))
    host.nettool(*scene.attach("classic", "--confirm-within", "1s"), env=shims.env)
    host.check("sh", "-c", "until [ -d /run/nettool/tx/*/claimed ]; do sleep 0.05; done")
    host.nettool("recover").check_returncode()
    assert end in host.check("ip", "-o", "link")
    host.check("ip", "link", "del", "dev", end)
    assert difference(before, scene.snapshot()) == ""


@pytest.mark.battery("B15")
@pytest.mark.parametrize("dialect", ["classic", "modern"])
def test_a_run_that_fails_or_is_undone_stops_its_timer(host: Host, tmp_path: Path, dialect: str) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()
    shims = Shims(tmp_path / "shims")
    steps = commands_in(host.nettool(*scene.attach(dialect, "--dry-run")).stdout)
    shims.set(Rule(steps[-1], "exit 3"))
    failed = host.nettool(*scene.attach(dialect, "--confirm-within", "60s"), env=shims.env)
    assert failed.returncode == 1
    assert _no_timer_is_left(host)
    assert difference(before, scene.snapshot()) == ""
    host.nettool(*scene.attach(dialect, "--confirm-within", "60s")).check_returncode()
    host.nettool("undo", "last").check_returncode()
    assert _no_timer_is_left(host)
    assert difference(before, scene.snapshot()) == ""
    assert _states(host) == ["taken back", "taken back"]


def test_one_waits_at_a_time(host: Host) -> None:
    scene = furnish(host, PLAIN)
    host.nettool(*scene.attach("classic", "--confirm-within", "60s")).check_returncode()
    wired = scene.snapshot()
    for words in (scene.detach("classic"), scene.detach("classic", "--confirm-within", "9s"), ("gc",)):
        refused = host.nettool(*words)
        if words != ("gc",):
            assert refused.returncode == 4
            assert "waits to be confirmed" in refused.stderr
    assert difference(wired, scene.snapshot()) == ""
    host.nettool("confirm").check_returncode()
    host.nettool(*scene.detach("classic")).check_returncode()


def test_a_timer_that_died_is_made_good_by_the_next_command(host: Host) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()
    host.nettool(*scene.attach("classic", "--confirm-within", "1s")).check_returncode()
    (timer,) = _timers(host)
    os.killpg(timer, signal.SIGKILL)
    time.sleep(1.2)
    assert difference(before, scene.snapshot()) != ""
    done = host.nettool("confirm")
    assert done.returncode == 9
    assert difference(before, scene.snapshot()) == ""


def test_what_touches_the_uplink_waits_by_itself(host: Host) -> None:
    scene = furnish(host, UPLINK)
    before = scene.snapshot()
    refused = host.nettool(*scene.attach("classic"))
    assert refused.returncode == 4
    done = host.nettool(*scene.attach("classic", "--yes", "-o", "json"))
    assert json.loads(done.stdout)["confirm_within"] == 60
    host.nettool("undo", "last").check_returncode()
    assert difference(before, scene.snapshot()) == ""
    done = host.nettool(*scene.attach("classic", "--yes", "--confirm-within", "0"))
    assert "nettool confirm" not in done.stderr
    assert _no_timer_is_left(host)
    assert _states(host)[-1] == "done"


def test_a_bad_time_is_a_usage_error(host: Host) -> None:
    scene = furnish(host, PLAIN)
    for text in ("soon", "-1s", "1h", "", "s", "99999999"):
        done = host.nettool(*scene.attach("classic"), f"--confirm-within={text}")
        assert done.returncode == 2, text
        assert "is no time to wait" in done.stderr


# --- on a terminal


class Terminal:
    """A nettool with a terminal of its own; closing `master` is losing the connection."""

    def __init__(self, host: Host, *words: str) -> None:
        self.master, other = pty.openpty()
        self.text = ""
        # A session leader with this terminal: it gets the SIGHUP when the terminal goes.
        argv = ("setsid", "--ctty", "--wait", *host.nettool_argv(*words))
        self.process: Popen[str] = host.popen(*argv, stdin=other, output=other)  # type: ignore[arg-type]
        os.close(other)

    def expect(self, words: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while words not in self.text:
            assert time.monotonic() < deadline, self.text
            if select.select([self.master], [], [], 0.2)[0]:
                try:
                    self.text += os.read(self.master, 4096).decode()
                except OSError:
                    break
        assert words in self.text

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)


@pytest.mark.battery("B15")
@pytest.mark.parametrize(("keys", "status"), [(b"\n", 0), (b"\x03", 130), (b"", 9)])
def test_the_countdown_on_a_terminal(host: Host, keys: bytes, status: int) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()
    seconds = "2s" if status == 9 else "60s"
    terminal = Terminal(host, *scene.attach("classic", "--confirm-within", seconds))
    terminal.expect("taken back in ")
    terminal.type(keys)
    terminal.expect({0: "confirmed", 130: "was not confirmed", 9: "was not confirmed in time"}[status])
    assert terminal.process.wait(PATIENCE_SECONDS) == status
    os.close(terminal.master)
    assert _no_timer_is_left(host)
    assert (difference(before, scene.snapshot()) == "") is (status != 0)


@pytest.mark.battery("B15")
def test_a_lost_terminal_leaves_it_to_the_timer(host: Host, cases: Cases) -> None:
    scene = furnish(host, PLAIN)
    before = scene.snapshot()
    for _ in range(ROUNDS):
        terminal = Terminal(host, *scene.attach("classic", "--confirm-within", "2s"))
        terminal.expect("taken back in ")
        os.close(terminal.master)
        terminal.process.wait(PATIENCE_SECONDS)
        _until_as(before, scene)
        host.nettool("recover").check_returncode()
        assert _states(host)[-1] == "not confirmed"
        cases.add()


@pytest.mark.battery("B15")
def test_a_word_from_elsewhere_ends_the_countdown(host: Host) -> None:
    scene = furnish(host, PLAIN)
    terminal = Terminal(host, *scene.attach("classic", "--confirm-within", "60s"))
    terminal.expect("taken back in ")
    host.nettool("confirm").check_returncode()
    terminal.expect("confirmed")
    assert terminal.process.wait(PATIENCE_SECONDS) == 0
    os.close(terminal.master)
