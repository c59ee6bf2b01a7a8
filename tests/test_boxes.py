"""`nettool sandbox`: named namespaces that nettool makes, shows, enters and removes."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Final

import pytest
from hosts import until
from shims import Rule, Shims, commands_in
from snapshot import difference

if TYPE_CHECKING:
    from pathlib import Path

    from hosts import Host

CREATE: Final = ("sandbox", "create", "blue")
REMOVE: Final = ("sandbox", "rm", "blue")


def test_a_sandbox_is_made_and_removed(host: Host) -> None:
    before = host.snapshot()
    assert host.must(*CREATE, "--dry-run").splitlines()[1::2] == [
        "ip netns add blue", "ip -n blue link set dev lo alias nettool up"
    ]  # fmt: skip
    assert difference(before, host.snapshot()) == ""
    host.must(*CREATE)
    assert host.must(*CREATE).startswith("nothing to do")
    assert "UNKNOWN" in host.check("ip", "-n", "blue", "-brief", "link", "show", "lo")
    assert host.must(*REMOVE, "--dry-run").splitlines()[1::2] == ["ip netns del blue"]
    host.must(*REMOVE)
    assert host.nettool(*REMOVE).returncode == 5
    assert difference(before, host.snapshot()) == ""


def test_a_run_is_undone(host: Host) -> None:
    before = host.snapshot()
    host.must(*CREATE)
    host.must("undo", "last")
    assert difference(before, host.snapshot()) == ""


def test_another_ones_namespace_is_neither_taken_nor_removed(host: Host) -> None:
    host.check("ip", "netns", "add", "blue")
    before = host.snapshot()
    done = host.nettool(*CREATE)
    assert (done.returncode, "nettool did not make it" in done.stderr) == (4, True)
    done = host.nettool(*REMOVE)
    assert (done.returncode, "was not made by nettool" in done.stderr) == (4, True)
    assert difference(before, host.snapshot()) == ""


def test_one_that_is_used_stays(host: Host) -> None:
    host.must(*CREATE)
    process = host.popen("ip", "netns", "exec", "blue", "sh", "-c", "echo up; exec sleep 100")
    assert process.stdout is not None
    process.stdout.readline()
    done = host.nettool(*REMOVE)
    assert done.returncode == 4
    assert f"process {process.pid}" in done.stderr
    host.kill(process.pid)
    host.must("network", "create", "lan", "--subnet", "10.20.0.0/24")
    host.must("network", "connect", "lan", "netns:blue")
    done = host.nettool(*REMOVE)
    assert (done.returncode, "has endpoints" in done.stderr) == (4, True)
    host.must("network", "disconnect", "lan", "netns:blue")
    host.must(*REMOVE)


def test_who_is_in_it_for_a_look_only_does_not_keep_it(host: Host, tmp_path: Path) -> None:
    """What watches a machine enters its namespaces, as a survey of nettool's own does, for an instant."""
    host.must(*CREATE)
    visitor, shims = _visit(host), Shims(tmp_path / "shims")
    # It leaves between the moment when processes are listed, and the end of what is read there.
    shims.set(Rule(("ip", "*"), f"kill {visitor} 2>/dev/null"))
    assert host.must(*REMOVE, env=shims.env).startswith("done: remove sandbox blue")
    assert shims.calls


def _visit(host: Host) -> int:
    """Start a process in the sandbox, and return its pid."""
    pid = host.popen("nsenter", "--net=/run/netns/blue", "sleep", "60").pid
    until(lambda: os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat(host.path("/run/netns/blue")).st_ino)
    return pid


@pytest.mark.parametrize("verb", ["create", "rm"])
def test_whatever_fails_all_is_as_before(host: Host, tmp_path: Path, verb: str) -> None:
    shims = Shims(tmp_path / "shims")
    words = CREATE if verb == "create" else REMOVE
    if verb == "rm":
        host.must(*CREATE)
    before = host.snapshot()
    for step in commands_in(host.must(*words, "--dry-run")):
        for then in ("exit 3", '"$real" "$@"; exit 3', "kill -9 $nettool; exit 1",
                     '"$real" "$@"; kill -9 $nettool; exit'):  # fmt: skip
            shims.set(Rule(step, then))
            done = host.nettool(*words, env=shims.env)
            assert done.returncode in (1, -9), done.stderr
            host.must("recover")
            # A namespace that is made again is another one: its number is not compared.
            after = host.snapshot()
            assert _unnumbered(before) == _unnumbered(after), f"{step} {then}: {difference(before, after)}"
    host.must(*words)


def _unnumbered(parts: dict[str, str]) -> dict[str, str]:
    names = "\n".join(line.rsplit(" ", 1)[0] for line in parts["host: netns"].splitlines())
    return {**parts, "host: netns": names}


def test_what_there_is_is_listed(host: Host) -> None:
    assert host.must("sandbox", "ls") == "no named sandboxes\n"
    host.must(*CREATE)
    host.check("ip", "netns", "add", "red")
    listed = json.loads(host.must("sandbox", "ls", "-o", "json"))["sandboxes"]
    assert [(box["name"], box["made_by"], box["pid"]) for box in listed] == [
        ("blue", "nettool", None), ("red", None, None)
    ]  # fmt: skip
    assert host.must("sandbox", "ls").splitlines()[1].split() == ["blue", "nettool", "-", "-"]


def test_a_command_runs_inside(host: Host) -> None:
    host.must(*CREATE)
    words = ("sandbox", "exec", "blue", "--", "ip", "-4", "-brief", "address")
    assert host.check(*host.nettool_argv(*words)).split() == ["lo", "UNKNOWN", "127.0.0.1/8"]
    done = host.run(*host.nettool_argv("sandbox", "exec", "blue", "--", "sh", "-c", "exit 9"))
    assert done.returncode == 9
    pid = host.container()
    inode = host.check("readlink", f"/proc/{pid}/ns/net")
    seen = host.check(
        *host.nettool_argv("sandbox", "exec", f"pid:{pid}", "--", "readlink", "/proc/self/ns/net")
    )
    assert seen == inode
    assert host.nettool("sandbox", "exec", "nope", "--", "true").returncode == 5
    assert host.nettool("sandbox", "exec", "blue").returncode == 2


@pytest.mark.parametrize("name", ["a/b", "..", "-x", "a b", "", "x" * 65])
def test_what_can_be_no_name(host: Host, name: str) -> None:
    for verb in ("create", "rm"):
        done = host.nettool("sandbox", verb, "--", name)
        assert done.returncode == 2, done.stderr
