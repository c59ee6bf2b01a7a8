"""`nettool run`: a process with a network of its own, its signals, its status, and what it leaves."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hosts import until
from snapshot import difference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hosts import Host

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="namespaces and control groups of the host: needs root"
)


def _run(host: Host, *words: str, **options: str) -> subprocess.CompletedProcess[str]:
    return host.run(*host.nettool_argv("run", *words), **options)  # type: ignore[arg-type]  # input alone


@pytest.fixture
def network(host: Host) -> dict[str, str]:
    """A network whose bridge has had a port; return the snapshot of the host."""
    host.must("network", "create", "lan", "--subnet", "10.20.0.0/24")
    assert _run(host, "--network", "lan", "--", "true").returncode == 0
    return host.snapshot()


def test_without_a_network_there_is_only_lo(host: Host) -> None:
    before = host.snapshot()
    done = _run(host, "--", "ip", "-4", "-brief", "address")
    assert done.stdout.split() == ["lo", "UNKNOWN", "127.0.0.1/8"], done.stderr
    assert difference(before, host.snapshot()) == ""


def test_the_hosts_network_is_the_hosts(host: Host) -> None:
    seen = _run(host, "--network", "host", "--", "readlink", "/proc/self/ns/net").stdout
    assert seen == host.check("readlink", "/proc/self/ns/net")


def test_a_network_is_up_before_the_command_begins(host: Host, network: dict[str, str]) -> None:
    done = _run(host, "--network", "lan", "--ip", "10.20.0.9", "--", "ip", "-4", "-brief", "address")
    assert "10.20.0.9/24" in done.stdout, done.stderr
    assert difference(network, host.snapshot()) == ""
    # The command sees the host answer at once.
    assert _run(host, "--network", "lan", "--", "ping", "-c", "1", "-W", "2", "10.20.0.1").returncode == 0


@pytest.mark.parametrize(
    ("isolate", "command", "status"),
    [
        ("", "exit 7", 7),
        ("pid", "exit 7", 7),
        ("", "kill -TERM $$", 143),
        ("pid", "kill -KILL $$", 137),
        ("pid,uts,ipc,mount", "true", 0),
    ],
)
def test_the_status_passes_through(
    host: Host, network: dict[str, str], isolate: str, command: str, status: int
) -> None:
    done = _run(host, "--network", "lan", "--isolate", isolate, "--", "sh", "-c", command)
    assert done.returncode == status, done.stderr
    assert difference(network, host.snapshot()) == ""


@pytest.mark.parametrize("isolate", ["mount", "pid"])
@pytest.mark.usefixtures("network")
def test_a_command_that_is_not_there(host: Host, isolate: str) -> None:
    done = _run(host, "--network", "lan", "--isolate", isolate, "--", "no-such-command")
    assert done.returncode == 127
    assert "cannot run 'no-such-command'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("isolate", ["mount", "pid"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_pass_through(
    host: Host, network: dict[str, str], isolate: str, number: signal.Signals
) -> None:
    name = number.name.removeprefix("SIG")
    script = f"trap 'echo got {name}; exit 3' {name}; echo up; while :; do sleep 0.05; done"
    words = ("run", "--network", "lan", "--isolate", isolate, "--", "bash", "-c", script)
    process = host.popen(*host.nettool_argv(*words))
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    assert process.wait(20) == 3
    assert f"got {name}" in process.stdout.read()
    assert difference(network, host.snapshot()) == ""


def test_input_and_output_are_the_commands(host: Host) -> None:
    done = _run(host, "--", "cat", input="hello\n")
    assert (done.stdout, done.stderr, done.returncode) == ("hello\n", "", 0)


def test_a_process_of_its_own_first_process(host: Host) -> None:
    done = _run(
        host, "--isolate", "pid", "--", "sh", "-c", "(sleep 0.1 &); sleep 0.3; ps -eo pid,ppid,stat,comm"
    )
    lines = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [line[0] for line in lines][:2] == ["1", "2"], done.stdout
    # What lost its parent was taken in: no zombie is left.
    assert not [line for line in lines if line[2].startswith("Z")]


def test_further_namespaces(host: Host) -> None:
    kinds = ("pid", "mnt", "uts", "ipc", "net")
    paths = [f"/proc/self/ns/{kind}" for kind in kinds]
    own = host.check("readlink", *paths).split()
    none = _run(host, "--network", "host", "--", "readlink", *paths).stdout.split()
    every = _run(host, "--isolate", "pid,mount,uts,ipc", "--", "readlink", *paths).stdout.split()
    assert none == own
    assert not set(every) & set(own)
    assert len(every) == len(kinds)


@pytest.mark.kernel  # There control groups are those of version 2.
def test_limits(host: Host) -> None:
    words = ("--memory", "64m", "--cpus", "0.5", "--")
    groups = _run(host, *words, "cat", "/proc/self/cgroup").stdout
    assert "/nettool/run-" in groups
    unified = host.run("test", "-e", "/sys/fs/cgroup/cgroup.controllers").returncode == 0
    script = (
        "g=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); cat $g/memory.max $g/cpu.max"
        if unified
        else "g=$(grep :memory: /proc/self/cgroup | cut -d: -f3); "
        "cat /sys/fs/cgroup/memory$g/memory.limit_in_bytes; "
        "g=$(grep -E ':(cpu|cpu,cpuacct|cpuacct,cpu):' /proc/self/cgroup | cut -d: -f3); "
        "cat /sys/fs/cgroup/cpu$g/cpu.cfs_quota_us"
    )
    # The host's own /sys: that of an own network namespace is another one.
    read = _run(host, "--network", "host", *words, "sh", "-c", script).stdout.split()
    assert read[:2] == [str(64 << 20), "50000"], read
    hungry = ("python3", "-c", "x = bytearray(256 << 20)")
    killed = _run(host, "--memory", "32m", "--", *hungry)
    assert killed.returncode == 137, killed
    assert "run-" not in host.check(
        "sh", "-c", "ls /sys/fs/cgroup/*/nettool /sys/fs/cgroup/nettool 2>/dev/null; true"
    )


def test_the_network_of_another_one(host: Host) -> None:
    pid = host.container(serve=True)
    fetch = ("curl", "-sm", "5", "http://127.0.0.1/")
    assert _run(host, "--network", f"container:pid:{pid}", "--", *fetch).stdout == "hello\n"
    assert _run(host, "--network", "container:pid:4194303", "--", "true").returncode == 4
    host.check("ip", "netns", "attach", "web", str(pid))
    assert _run(host, "--network", "container:netns:web", "--", *fetch).stdout == "hello\n"
    told = _run(host, "--network", "container:web", "--", "true")
    assert told.returncode == 5
    assert "netns:web, which is there" in told.stderr


def test_ports_are_published_for_as_long_as_it_runs(host: Host, network: dict[str, str]) -> None:
    serve = (sys.executable, "-u", "-m", "http.server", "80")
    words = ("run", "--network", "lan", "--publish", "8080:80", "--", *serve)
    process = host.popen(*host.nettool_argv(*words))
    assert process.stdout is not None
    process.stdout.readline()
    assert "8080" in host.must("ports")
    assert host.run("curl", "-sfm", "5", "-o", "/dev/null", "http://127.0.0.1:8080/").returncode == 0
    process.terminate()
    assert process.wait(20) == 143
    assert "8080" not in host.must("ports")
    assert difference(network, host.snapshot()) == ""


@pytest.mark.parametrize("dialect", ["classic", "modern"])
@pytest.mark.parametrize("isolate", ["mount", "pid"])
def test_killed_nettool_takes_the_process_along(
    host: Host, network: dict[str, str], dialect: str, isolate: str
) -> None:
    words = ("run", "--network", "lan", "--name", "web", "--dialect", dialect, "--isolate", isolate)
    process = host.popen(*host.nettool_argv(*words, "--", "sh", "-c", "echo up; exec sleep 4711"))
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.kill()
    process.wait(20)
    until(lambda: "sleep 4711" not in host.run("ps", "-eo", "args").stdout)
    host.must("gc")
    assert difference(network, host.snapshot()) == ""


def test_a_failed_wiring_starts_nothing(host: Host, network: dict[str, str]) -> None:
    done = _run(host, "--network", "lan", "--ip", "10.20.0.1", "--", "echo", "started")
    assert done.returncode == 4
    assert "started" not in done.stdout
    assert _run(host, "--network", "nope", "--", "true").returncode == 5
    assert difference(network, host.snapshot()) == ""


def test_a_dry_run_shows_the_wiring(host: Host, network: dict[str, str]) -> None:
    done = _run(host, "--network", "lan", "--name", "web", "--dry-run", "--", "echo", "started")
    assert done.returncode == 0
    assert "/var/run/netns/web" in done.stdout or "ip netns attach web" in done.stdout
    assert "started" not in done.stdout
    assert difference(network, host.snapshot()) == ""


def test_a_name_that_is_taken(host: Host, network: dict[str, str]) -> None:
    host.check("ip", "netns", "add", "web")
    before = host.snapshot()
    done = _run(host, "--network", "lan", "--name", "web", "--", "true")
    assert done.returncode == 4
    assert "netns web" in done.stderr
    assert difference(before, host.snapshot()) == ""
    assert network


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--ip 10.0.0.1 -- true", "--ip is for a network; this is --network none"),
        ("--network host --publish 80:80 -- true", "--publish is for a network"),
        ("--isolate user -- true", "is no namespace"),
        ("--memory much -- true", "no amount of memory"),
        ("--cpus -1 -- true", "--cpus"),
        ("--dns example -- true", "--dns"),
        ("--network lan --name a/b -- true", "cannot be the name of a sandbox"),
        ("--network none", "command"),
    ],
)
def test_what_makes_no_sense(host: Host, words: str, said: str) -> None:
    done = _run(host, *words.split())
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.replace("\n", " "), done.stderr


def test_a_name_server_of_its_own(host: Host) -> None:
    done = _run(host, "--dns", "192.0.2.1", "--dns", "2001:db8::1", "--", "cat", "/etc/resolv.conf")
    assert done.stdout == "nameserver 192.0.2.1\nnameserver 2001:db8::1\n", done.stderr
    assert "192.0.2.1" not in host.check("cat", "/etc/resolv.conf")


@pytest.mark.parametrize("after", [0.02, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.6])
def test_a_signal_at_any_moment_ends_it(host: Host, network: dict[str, str], after: float) -> None:
    process = host.popen(*host.nettool_argv("run", "--network", "lan", "--", "sleep", "100"))
    time.sleep(after)
    process.terminate()
    assert process.wait(20) in (143, -signal.SIGTERM), process.communicate()
    host.must("recover")
    host.must("gc")
    assert difference(network, host.snapshot()) == ""


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A terminal: its own end, and that of a process in it."""
    ends = os.openpty()
    yield ends
    for end in ends:
        os.close(end)


def _on(terminal: tuple[int, int], host: Host, *command: str) -> subprocess.Popen[str]:
    words = host.nettool_argv("run", "--", "bash", "-c", *command)
    argv = (*host.enter, "setsid", "--ctty", "--wait", "sh", "-c", '"$@"; echo ended $?', "sh", *words)
    end = terminal[1]
    return subprocess.Popen(argv, stdin=end, stdout=end, stderr=end, text=True, env=host.environment())


def _said(terminal: tuple[int, int], wanted: str) -> str:
    """Read what comes from the terminal until something was said."""
    said = ""
    while wanted not in said:
        assert select.select([terminal[0]], [], [], 20)[0], said
        said += os.read(terminal[0], 4096).decode()
    return said


def test_ctrl_c_goes_to_the_command_once(host: Host, terminal: tuple[int, int]) -> None:
    # A signal while $(…) runs would make bash pass by its own trap now and then.
    script = (
        "n=0; trap 'n=$((n + 1)); echo int $n' INT; echo up; for i in {1..40}; do sleep 0.05; done; exit $n"
    )
    process = _on(terminal, host, script)
    _said(terminal, "up")
    os.write(terminal[0], b"\x03")
    said = _said(terminal, "ended")
    assert "int 1" in said
    assert "ended 1" in said
    process.wait(20)


def test_ctrl_z_stops_both_and_both_go_on(host: Host, terminal: tuple[int, int]) -> None:
    process = _on(terminal, host, "echo up; read line; echo read $line; exit 4")
    _said(terminal, "up")
    # The command was a nettool, too, before it became the command.
    mine = ("--ns", str(host.pid), "--nslist", "mnt", "-f", "^[^ ]+ -m nettool run")
    (nettool,) = map(int, host.run("pgrep", *mine).stdout.split())
    os.write(terminal[0], b"\x1a")
    until(lambda: _state(nettool) == "T")
    os.kill(nettool, signal.SIGCONT)
    until(lambda: _state(nettool) == "S")
    os.write(terminal[0], b"hello\n")
    said = _said(terminal, "ended")
    assert "read hello" in said
    assert "ended 4" in said
    process.wait(20)


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_further_signals_do_not_keep_the_endpoint_from_going(host: Host, network: dict[str, str]) -> None:
    process = host.popen(
        *host.nettool_argv("run", "--network", "lan", "--", "sh", "-c", "echo up; sleep 100")
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    while process.poll() is None:
        process.terminate()
        time.sleep(0.02)
    # One that comes while Python itself ends is not caught any more; a shell sees the same status.
    assert process.returncode in (143, -signal.SIGTERM)
    assert difference(network, host.snapshot()) == ""


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize("isolate", ["mount", "pid"])
def test_a_process_that_has_ended_is_sent_nothing(host: Host, tmp_path: Path, isolate: str) -> None:
    """Its id may be another process's by now."""
    log = tmp_path / "log"
    trace = ("strace", "-f", "-o", str(log), "-e", "trace=kill,tkill,tgkill,pidfd_send_signal")
    host.check(*trace, *host.nettool_argv("run", "--isolate", isolate, "--", "true"))
    assert "exited with 0" in log.read_text()
    assert "kill(" not in log.read_text()
