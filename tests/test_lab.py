"""`nettool lab`, for real: each test makes labs of its own, as root and as an ordinary user."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pty
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from nettool import lab, watch
from nettool.errors import NettoolError, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

TIMEOUT: Final = 30
REPOSITORY: Final = Path(__file__).parent.parent
# setpriv still has root's capabilities when it executes something: `env` then has them no more.
NOBODY: Final = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env")
HAS_BRCTL: Final = shutil.which("brctl", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")

FETCH: Final = """
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode(), end="")
"""
# Hangs up at once, in the middle of a request, and with a reset (which is what lingering for 0 s does).
RUDE: Final = """
import socket, struct, time
for words, linger in ((b"", None), (b"GET /", None), (b"GET /", struct.pack("ii", 1, 0))):
    with socket.create_connection(("127.0.0.1", 80)) as connection:
        connection.sendall(words)
        if linger:
            time.sleep(0.1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
"""
# Listens on host3 and is called from host1: a word in each direction.
LISTEN: Final = """
import socket
with socket.create_server(("10.0.0.3", 7000)) as server:
    print("listening", flush=True)
    server.settimeout(10)
    connection, (caller, _) = server.accept()
    connection.sendall(f"hello {caller}".encode())
"""
CALL: Final = """
import socket
print(socket.create_connection(("10.0.0.3", 7000), timeout=10).recv(100).decode())
"""

# Procedure P1, steps 3 to 13, as an engineer types it.
ATTACH: Final = f"""
set -e
mkdir -p /var/run/netns
ln -s /proc/1310/ns/net /var/run/netns/1310
ip link add A type veth peer name B
{"brctl addif docker0 A" if HAS_BRCTL else "ip link set A master docker0"}
ip link set A up
ip link set B netns 1310
ip netns exec 1310 ip link set dev B name eth0
ip netns exec 1310 ip link set eth0 up
ip netns exec 1310 ip addr add 172.17.0.10/16 dev eth0
ip netns exec 1310 ip route add default via 172.17.0.1
"""
PAGE: Final = "Hello from the container (pid 1310) on host1\n"


@dataclass(frozen=True)
class User:
    """Somebody who makes labs: what their commands begin with, and their environment."""

    python: str = sys.executable
    prefix: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    def argv(self, *words: str) -> list[str]:
        return [*self.prefix, self.python, "-m", "nettool", *words]

    @property
    def variables(self) -> dict[str, str]:
        extra = {"PYTHONPATH": str(REPOSITORY), "PYTHON": self.python, "FETCH": FETCH}
        return {**self.environment, **extra}

    def nettool(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.argv(*words),
            input=stdin,
            capture_output=True,
            env=self.variables,
            timeout=TIMEOUT,
            check=False,
        )
        return subprocess.CompletedProcess(words, done.returncode, done.stdout.decode(), done.stderr.decode())

    def script(self, text: str, *options: str) -> str:
        """Run a shell script in a lab; it must succeed."""
        done = self.nettool("lab", "run", *options, "--", "sh", "-c", text)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**self.variables, **variables},
            text=True,
        )


ME: Final = User()


def ordinary_user() -> User:
    """Nobody, with an interpreter that they can run: the one of the tests may be in root's home."""
    environment = {"PATH": "/usr/bin:/bin"}
    for python in (sys.executable, "/usr/bin/python3"):
        user = User(python, NOBODY, environment)
        with contextlib.suppress(OSError):
            if user.nettool("--version").returncode == 0:
                return user
    pytest.skip("nobody can run neither the tests' Python nor /usr/bin/python3 with nettool")


@pytest.fixture(params=["root", "nobody"] if os.geteuid() == 0 else ["me"])
def user(request: pytest.FixtureRequest) -> User:
    return ordinary_user() if request.param == "nobody" else ME


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """End a test that hangs."""

    def end(_number: int, _frame: object) -> None:
        raise TimeoutError("the test took too long")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(2 * TIMEOUT)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def eventually(holds: Callable[[], bool], seconds: float = 5) -> bool:
    """Whether it holds soon: the kernel ends what is in a namespace after its first process."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.02)
    return holds()


def running(mark: str) -> list[str]:
    """The processes of the machine whose command line has the mark in it."""
    return _processes_with("cmdline", mark)


def made_for(mark: str) -> list[str]:
    """The machine's processes that have the mark in their environment: all those of a lab.

    (Numbers of namespaces would not do: the kernel gives them out again.)
    """
    return _processes_with("environ", f"MARK={mark}\0")


def _processes_with(file: str, text: str) -> list[str]:
    """The processes whose file in /proc has a text in it; one that ends meanwhile has none."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if text.encode() in Path(f"/proc/{pid}/{file}").read_bytes():
                found.append(pid)
    return found


@pytest.fixture
def mark() -> str:
    """A number of seconds to sleep that no other process on the machine sleeps."""
    return f"54321.{random.randrange(10**9)}"  # noqa: S311 - a name, no secret


# What is there


def test_the_container_is_process_1310_in_a_namespace_of_its_own(user: User) -> None:
    out = user.script(
        "readlink /proc/self/ns/net /proc/1310/ns/net; cat /proc/1310/comm; tr '\\0' ' ' </proc/1310/cmdline;"
        " echo; nsenter -t 1310 -n ip -j address"
    ).splitlines()
    assert out[0] != out[1]
    assert out[2:3] == ["web"]
    assert out[3].strip() == "web"
    (loopback,) = json.loads(out[4])
    assert loopback["ifname"] == "lo"
    assert "UP" in loopback["flags"]


def test_the_container_listens_as_1310_before_it_has_an_interface(user: User) -> None:
    out = user.script(
        "nsenter -t 1310 -n ss -Hltnp; for a in 127.0.0.1 '[::1]'; do"
        ' nsenter -t 1310 -n "$PYTHON" -c "$FETCH" http://$a/; done'
    )
    assert '("web",pid=1310,' in out
    assert out.count(PAGE) == 2


def test_the_bridge_is_as_docker_makes_it(user: User) -> None:
    (bridge,) = json.loads(user.script("ip -j -d address show dev docker0"))
    assert bridge["address"] == "02:42:ac:11:00:01"
    assert bridge["linkinfo"]["info_kind"] == "bridge"
    addresses = {f"{a['local']}/{a['prefixlen']}" for a in bridge["addr_info"] if a["scope"] == "global"}
    assert addresses == {"172.17.0.1/16", "fd00:17::1/64"}
    assert not any("tentative" in a for a in bridge["addr_info"])


def test_the_documented_procedure_typed_by_hand_gives_the_container_a_network(user: User) -> None:
    more = 'ip netns exec 1310 ip address add fd00:17::a/64 dev eth0 nodad; "$PYTHON" -c "$FETCH" "$@"'
    done = user.nettool(
        "lab", "run", "--", "sh", "-c",
        f'{ATTACH}\n"$PYTHON" -c "$FETCH" http://172.17.0.10/\n{more}', "sh", "http://[fd00:17::a]/",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, PAGE * 2), done.stderr


def test_an_attachment_taken_back_leaves_the_host_as_it_was() -> None:
    looks = "ip -brief address; ip -6 route show table all; ip route show table all; bridge fdb; ls /run"
    undo = "ip link del A; rm /run/netns/1310; rmdir /run/netns"
    # The kernel takes up to a second to notice that a carrier is gone.
    wait = "until ip -br link show docker0 | grep -q ' {} '; do sleep 0.05; done"
    out = ME.script(
        f"{looks}\n{ATTACH}\n{wait.format('UP')}; {undo}\n{wait.format('DOWN')}; echo ====; {looks}"
    )
    before, after = out.split("====\n")
    assert before == after


def test_the_host_is_apart_from_the_machine(user: User) -> None:
    out = user.script(
        "id -u; hostname; ls /sys/class/net; mkdir -p /var/run/netns; ls -d /run/netns;"
        " echo $NETTOOL_LAB $NETTOOL_LAB_HOST $NETTOOL_LAB_PID $NETTOOL_STATE_DIR $NETTOOL_RUN_DIR"
    ).split("\n")
    variables = "1 host1 1310 /run/nettool-state /run/nettool"
    assert out == ["0", "host1", "docker0", "lo", "/run/netns", variables, ""]


def test_nettool_in_the_lab_is_the_one_that_made_it(user: User) -> None:
    assert user.script("cd /; unset PYTHONPATH; nettool --version") == user.nettool("--version").stdout


def test_nothing_but_the_container_is_in_a_namespace_of_its_own() -> None:
    out = ME.script("readlink /proc/[0-9]*/ns/net | sort | uniq -c").split()
    assert len(out) == 4
    assert "1" in {out[0], out[2]}


def test_a_lab_can_be_made_in_a_lab() -> None:
    assert ME.script("nettool lab run -- cat /proc/1310/comm; cat /proc/1310/comm") == "web\nweb\n"


def test_the_server_outlives_rude_clients() -> None:
    me = User(environment={**ME.environment, "RUDE": RUDE})
    out = me.script(
        'nsenter -t 1310 -n "$PYTHON" -c "$RUDE"; nsenter -t 1310 -n "$PYTHON" -c "$FETCH" http://127.0.0.1'
    )
    assert out == PAGE


def test_a_container_that_dies_is_gone_and_orphans_are_taken_in() -> None:
    # `sh` ends before its child does, which then is the first process's to wait for.
    script = (
        "kill 1310; sh -c 'sleep 0.1 & echo $! > /run/orphan'; sleep 0.4;"
        " ls -d /proc/1310 /proc/$(cat /run/orphan)"
    )
    done = ME.nettool("lab", "run", "--", "sh", "-c", script)
    assert done.stdout == ""
    assert done.stderr.count("No such file") == 2


# The command


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("true", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("kill -INT $$", 130),
    ],
)
def test_the_status_is_the_commands(script: str, status: int) -> None:
    assert ME.nettool("lab", "run", "--", "sh", "-c", script).returncode == status


def test_a_command_that_is_not_there_is_127(user: User) -> None:
    done = user.nettool("lab", "run", "--", "no-such-command")
    assert done.returncode == 127
    assert "no-such-command" in done.stderr


def test_bytes_pass_unaltered_both_ways(user: User) -> None:
    data = random.randbytes(3_000_000)  # noqa: S311 - noise, no secret
    done = subprocess.run(
        user.argv("lab", "run", "--", "cat"), input=data, capture_output=True, env=user.variables,
        timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == data


def test_output_comes_as_it_is_written(mark: str) -> None:
    with watch.stream(ME.argv("lab", "run", "--", "sh", "-c", f"echo one; exec sleep {mark}")) as lines:
        started = time.monotonic()
        assert next(lines) == "one"
        assert time.monotonic() - started < 10
        assert running(mark)
    assert eventually(lambda: not running(mark))


def test_the_command_finds_the_signals_as_the_caller_had_them() -> None:
    ignored = "grep SigIgn /proc/self/status"
    outside = subprocess.run(["sh", "-c", ignored], capture_output=True, text=True, check=True).stdout
    assert ME.script(f"exec {ignored}") == outside


def test_the_folder_is_the_callers(tmp_path: Path) -> None:
    done = subprocess.run(
        ME.argv("lab", "run", "--", "pwd"), cwd=tmp_path, capture_output=True, text=True, env=ME.variables,
        timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert done.stdout == f"{tmp_path}\n"


# The end


def test_nothing_is_left_when_the_command_ends(user: User, mark: str) -> None:
    me = User(user.python, user.prefix, {**user.environment, "MARK": mark})
    out = me.script(
        f"touch /run/{mark}; ip netns add {mark}; sleep {mark} & setsid sleep {mark} &"
        " grep -lz MARK= /proc/[0-9]*/environ"
    )
    assert {f"/proc/{pid}/environ" for pid in (1, 1310)} <= set(out.split())
    assert not running(mark)
    assert not made_for(mark)
    assert not Path("/run", mark).exists()
    assert not Path("/run/netns", mark).exists()
    mounts = Path("/proc/self/mountinfo").read_text()
    assert "nettool-lab" not in mounts
    assert mark not in mounts


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_a_signal_ends_everything(user: User, number: signal.Signals, status: int, mark: str) -> None:
    deaf = f"trap '' TERM HUP; sleep {mark}; sleep {mark}"
    process = user.start("lab", "run", "--hosts", "2", "--", "sh", "-c", deaf, MARK=mark)
    with process:
        assert eventually(lambda: bool(running(f"sleep\0{mark}")))
        assert len(made_for(mark)) >= 6
        process.send_signal(number)
        assert process.wait(TIMEOUT) == status
    if number == signal.SIGKILL:
        # Nobody was there to wait for the end.
        assert eventually(lambda: not made_for(mark))
    assert not made_for(mark)


@pytest.mark.parametrize("hosts", ["1", "2"])
def test_a_lab_that_cannot_be_built_says_why_and_leaves_nothing(tmp_path: Path, hosts: str) -> None:
    fake = tmp_path / "ip"
    fake.write_text("#!/bin/sh\necho no ip today >&2\nexit 1\n")
    fake.chmod(0o755)
    user = User(environment={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"})
    done = user.nettool("lab", "run", "--hosts", hosts, "--", "echo", str(tmp_path))
    assert done.returncode == 1
    assert "no ip today" in done.stderr
    assert done.stdout == ""
    assert not running(str(tmp_path))


# Many hosts


def test_hosts_reach_each_other_over_the_switch(user: User) -> None:
    script = """
    nettool lab on host3 -- "$PYTHON" -c "$LISTEN" > /run/listening &
    while ! grep -q listening /run/listening; do sleep 0.02; done
    "$PYTHON" -c "$CALL"
    """
    with_scripts = User(user.python, user.prefix, {**user.environment, "LISTEN": LISTEN, "CALL": CALL})
    assert with_scripts.script(script, "--hosts", "3") == "hello 10.0.0.1\n"


def test_each_host_has_a_bridge_a_container_and_a_run_of_its_own(user: User) -> None:
    script = (
        "hostname; echo $NETTOOL_LAB_HOST $NETTOOL_LAB_PID; mkdir /run/netns && ls /run/netns;"
        " ip -br -4 a show docker0; ip -br -4 a show eth0; ip route show default;"
        " cat /proc/$NETTOOL_LAB_PID/comm;"
        ' nsenter -t $NETTOOL_LAB_PID -n "$PYTHON" -c "$FETCH" http://127.0.0.1'
    )
    out = user.script(
        f"for h in host1 host2 host3; do nettool lab on $h -- sh -c '{script}'; done | tr -s ' '",
        "--hosts",
        "3",
    ).splitlines()
    for number in (1, 2, 3):
        assert [line.strip() for line in out[:7]] == [
            f"host{number}",
            f"host{number} {1300 + 10 * number}",
            "docker0 DOWN 172.17.0.1/16",
            out[3].strip(),
            "default via 10.0.0.254 dev eth0",
            "web",
            f"Hello from the container (pid {1300 + 10 * number}) on host{number}",
        ]
        assert out[3].endswith(f"UP 10.0.0.{number}/24 ")
        del out[:7]


def test_on_another_host_the_status_and_the_folder_stay(tmp_path: Path) -> None:
    script = f"cd {tmp_path}; nettool lab on host2 -- pwd; nettool lab on host2 sh -c 'exit 9'; echo $?"
    assert ME.script(script, "--hosts", "2") == f"{tmp_path}\n9\n"


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ("on host3 -- true", 5),
        ("on host -- true", 5),
        ("on", 2),
        ("on host2", 2),
        ("on host2 -- no-such", 127),
    ],
)
def test_on_a_host_that_is_not_there(words: str, status: int) -> None:
    assert (
        ME.nettool("lab", "run", "--hosts", "2", "--", "nettool", "lab", *words.split()).returncode == status
    )


def test_a_host_whose_process_was_killed_is_gone() -> None:
    script = "kill -9 1319; sleep 0.1; nettool lab on host2 -- true; echo $?"
    assert ME.script(script, "--hosts", "2") == "5\n"


def test_outside_of_a_lab_there_is_no_other_host() -> None:
    done = ME.nettool("lab", "on", "host1", "--", "true")
    assert done.returncode == 4
    assert "not a lab" in done.stderr


# The shell, and the words


@dataclass
class Terminal:
    """A command on a pseudo-terminal of its own, with somebody who types."""

    pid: int
    side: int
    seen: str = ""

    def expect(self, text: str, seconds: float = 10) -> None:
        """Read until the text comes; what came before it is forgotten."""
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} in {self.seen!r}"
            if select.select([self.side], [], [], left)[0]:
                try:
                    self.seen += os.read(self.side, 4096).decode(errors="replace")
                except OSError as error:
                    raise AssertionError(f"ended without {text!r}: {self.seen!r}") from error
        self.seen = self.seen.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self.side, text.encode())

    def status(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@contextlib.contextmanager
def terminal(*argv: str) -> Iterator[Terminal]:
    pid, side = pty.fork()
    if pid == 0:
        plain = {
            "PS1": "$ ",
            "TERM": "dumb",
            "SHELL": shutil.which("bash") or "/bin/sh",
            "HOME": "/nonexistent",
        }
        os.execvpe(argv[0], argv, {**ME.variables, **plain})  # noqa: S606 - the tests' own argv
    try:
        yield Terminal(pid, side)
    finally:
        # Closing our side hangs up: the shell and with it the lab end, should they still be there.
        os.close(side)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_the_shell_greets_and_has_job_control(mark: str) -> None:
    with terminal(*ME.argv("lab", "shell")) as shell:
        shell.expect("nettool attach --pid 1310 --ip 172.17.0.10/16 --dry-run")
        shell.type("echo lab=$NETTOOL_LAB\r")
        shell.expect("lab=1")
        shell.type(f"sleep {mark}\r")
        assert eventually(lambda: bool(running(f"sleep\0{mark}")))
        shell.type("\x03")
        shell.type("echo status=$?\r")
        shell.expect("status=130")
        shell.type(f"sleep {mark}\r")
        assert eventually(lambda: bool(running(f"sleep\0{mark}")))
        shell.type("\x1a")
        shell.expect("Stopped")
        shell.type("kill %1; fg\r")
        shell.expect("Terminated")
        shell.type("exit 3\r")
        assert shell.status() == 3
    assert not running(mark)


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed")
def test_after_the_shell_the_terminal_is_the_callers_again() -> None:
    script = '"$@"; echo left $?; read word; echo got $word'
    with terminal("sh", "-c", script, "sh", *ME.argv("lab", "shell")) as shell:
        shell.expect("--dry-run")
        shell.type("exit 4\r")
        shell.expect("left 4")
        shell.type("pear\r")
        shell.expect("got pear")
        assert shell.status() == 0


def test_interrupting_a_command_is_the_commands_affair() -> None:
    script = 'trap "echo caught; exit 9" INT; echo waiting; while :; do sleep 0.1; done'
    with terminal(*ME.argv("lab", "run", "--", "sh", "-c", script)) as command:
        command.expect("waiting")
        command.type("\x03")
        command.expect("caught")
        assert command.status() == 9


def test_hanging_up_ends_the_lab(mark: str) -> None:
    with terminal(*ME.argv("lab", "run", "--", "sh", "-c", f"trap '' HUP; echo up; sleep {mark}")) as command:
        command.expect("up")
        assert eventually(lambda: bool(running(f"sleep\0{mark}")))
    assert eventually(lambda: not running(mark))


def test_alone_it_explains_itself() -> None:
    done = ME.nettool("lab")
    assert done.returncode == 0
    for words in ("lab shell", "lab run -- CMD", "lab run --hosts 3", "lab on host2", "docker0", "1310"):
        assert words in done.stdout


def test_the_greeting_names_what_there_is() -> None:
    assert "host2" not in lab.greeting(1)
    assert "10.0.0.1 to 10.0.0.3" in lab.greeting(3)


@pytest.mark.parametrize(
    "words", ["run", "run --", "walk", "shell ls", "run --hosts 0 -- true", "run --hosts 100 -- true"]
)
def test_a_mistake_is_said_before_anything_is_made(words: str) -> None:
    done = ME.nettool("lab", *words.split())
    assert done.returncode == 2
    assert "error" in done.stderr


# Where it is not allowed


def test_each_lock_is_named_with_its_key() -> None:
    switches = {
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n",
        "/proc/sys/user/max_user_namespaces": "0\n",
        "/proc/sys/kernel/unprivileged_userns_clone": "1\n",
    }
    refused = lab.forbidden("Operation not permitted", 1000, lambda path: switches.get(path, ""))
    assert "Operation not permitted" in refused.why[0]
    assert refused.why[1:] == (
        "kernel.apparmor_restrict_unprivileged_userns is 1",
        "user.max_user_namespaces is 0",
    )
    assert refused.hints == (
        "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        "sysctl -w user.max_user_namespaces=15000",
        "sudo nettool lab …",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can lock namespaces away")
def test_without_the_right_to_make_namespaces_it_is_refused() -> None:
    # The limit is that of a user namespace made here, not the machine's.
    locked = (
        'echo 0 > /proc/sys/user/max_user_namespaces; exec setpriv --bounding-set=-all --inh-caps=-all "$@"'
    )
    wall = ("unshare", "--user", "--map-root-user", "sh", "-c", locked, "sh")
    done = User(prefix=wall).nettool("lab", "run", "--", "echo", "inside")
    assert (done.returncode, done.stdout) == (4, "")
    assert "user.max_user_namespaces is 0" in done.stderr


# Processes


def test_without_ns_last_pid_pids_are_counted_up() -> None:
    program = (
        "from nettool import watch; watch._LAST_PID = '/proc/none'; from nettool.cli import main;"
        " raise SystemExit(main(['lab', 'run', '--', 'cat', '/proc/1310/comm']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, env=ME.variables, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "web\n"), done.stderr


def test_a_pid_that_is_taken_cannot_be_had() -> None:
    program = "from nettool.watch import fork_as; fork_as(1310, lambda: None)"
    done = ME.nettool("lab", "run", "--", sys.executable, "-c", program)
    assert done.returncode == 1
    assert "cannot start a process as pid 1310" in done.stderr


def test_a_stream_ends_its_whole_group_when_it_is_left(mark: str) -> None:
    deaf = f"trap '' TERM; sleep {mark} & echo up; wait; sleep {mark}"
    with watch.stream(("sh", "-c", deaf)) as lines:
        assert next(lines) == "up"
        assert eventually(lambda: running(f"sleep\0{mark}"))
    assert eventually(lambda: not running(f"sleep\0{mark}"))


def test_a_stream_gives_every_line_and_then_ends() -> None:
    with watch.stream(("seq", "5")) as lines:
        assert list(lines) == ["1", "2", "3", "4", "5"]
    with watch.stream(("yes",)) as lines:
        assert list(itertools.islice(lines, 2)) == ["y", "y"]


def test_a_stream_of_a_missing_tool_is_refused() -> None:
    with pytest.raises(Refused, match="no-such-tool is not installed"), watch.stream(("no-such-tool",)):
        pass


def test_links_without_ipv6_name_no_ipv6_address() -> None:
    host = lab.Host(2, of=3)
    assert [line for line in host.links(ipv6=True) if "::" in line]
    assert not [line for line in host.links(ipv6=False) if "::" in line]


def test_no_two_hosts_share_a_mac() -> None:
    lines = [
        line for n in range(1, lab.MAX_HOSTS + 1) for line in lab.Host(n, lab.MAX_HOSTS).links(ipv6=True)
    ]
    macs = [word for line in lines for word in line.split() if word.startswith("02:")]
    assert len(macs) == len(set(macs)) == 2 * lab.MAX_HOSTS


def test_an_incomplete_report_is_a_failure() -> None:
    with pytest.raises(NettoolError, match="could not be built"):
        lab._check_reports("ready\n", expected=2)  # noqa: SLF001 - the way of a process that was killed
