"""The classic dialect is the documented manual procedure, word for word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shims import commands_in, joined

if TYPE_CHECKING:
    from hosts import Host

# What an engineer types for a container started without a network. PID is the container's process,
# A and B the two ends of the cable. Steps 1, 2 and 5 of the procedure look (docker inspect, nsenter,
# brctl show), and 14 tries it out: they are no part of the plan.
PROCEDURE: Final = """\
mkdir -p /var/run/netns
ln -s /proc/PID/ns/net /var/run/netns/PID
ip link add A type veth peer name B
brctl addif docker0 A
ip link set A up
ip link set B netns PID
ip netns exec PID ip link set dev B name eth0
ip netns exec PID ip link set eth0 up
ip netns exec PID ip addr add 172.17.0.10/16 dev eth0
ip netns exec PID ip route add default via 172.17.0.1
"""
STEPS_OF_THE_PROCEDURE: Final = 10
TAKES_IT_BACK: Final = """\
ip link del dev A
rm /var/run/netns/PID
"""


def _written_by_hand(procedure: str, pid: int, *, a: str, b: str) -> str:
    names = {"PID": str(pid), "A": a, "B": b}
    lines = (line.split(" ") for line in procedure.splitlines())
    return "\n".join(" ".join(_filled_in(word, names) for word in line) for line in lines)


def _filled_in(word: str, names: dict[str, str]) -> str:
    return "/".join(names.get(part, part) for part in word.split("/"))


def _ends(script: str) -> tuple[str, str]:
    """Return the names of the cable's two ends, which nettool chooses."""
    (words,) = [command for command in commands_in(script) if command[:3] == ("ip", "link", "add")]
    return words[3], words[-1]


def _attach(host: Host, *more: str) -> tuple[int, str]:
    host.add_bridge("docker0", "172.17.0.1/16")
    pid = host.container()
    words = ("attach", "--pid", str(pid), "--ip", "172.17.0.10/16", "--dialect", "classic", *more)
    done = host.nettool(*words)
    assert done.returncode == 0, done.stderr
    return pid, done.stdout


def test_a_fresh_host_gets_the_whole_procedure_in_its_order(host: Host) -> None:
    host.check("rmdir", "/run/netns")

    pid, script = _attach(host, "--dry-run")

    a, b = _ends(script)
    assert joined(commands_in(script)) == _written_by_hand(PROCEDURE, pid, a=a, b=b)
    assert len(commands_in(script)) == STEPS_OF_THE_PROCEDURE


def test_every_command_of_the_procedure_says_why_it_is_there(host: Host) -> None:
    host.check("rmdir", "/run/netns")

    _, script = _attach(host, "--dry-run")

    lines = script.splitlines()
    assert len(lines) == 2 * STEPS_OF_THE_PROCEDURE
    assert all(line.startswith("# ") and len(line) > len("# a few") for line in lines[::2])


def test_the_folder_that_is_there_is_not_made_again(host: Host) -> None:
    pid, script = _attach(host, "--dry-run")

    a, b = _ends(script)
    without_mkdir = PROCEDURE.partition("\n")[2]
    assert joined(commands_in(script)) == _written_by_hand(without_mkdir, pid, a=a, b=b)


def test_the_default_dialect_is_the_procedure_where_brctl_is_installed(host: Host) -> None:
    pid, classic = _attach(host, "--dry-run")

    words = ("attach", "--pid", str(pid), "--ip", "172.17.0.10/16", "--dry-run")
    assert host.nettool(*words).stdout == classic


def test_detaching_takes_the_procedure_back_in_two_commands(host: Host) -> None:
    pid, _ = _attach(host)

    script = host.nettool("detach", "--pid", str(pid), "--dialect", "classic", "--dry-run").stdout

    a = commands_in(script)[0][-1]
    assert joined(commands_in(script)) == _written_by_hand(TAKES_IT_BACK, pid, a=a, b="")


def test_the_last_step_of_the_procedure_the_service_answers(host: Host) -> None:
    host.add_bridge("docker0", "172.17.0.1/16")
    pid = host.container(serve=True, page="it works\n")

    words = ("attach", "--pid", str(pid), "--ip", "172.17.0.10/16", "--dialect", "classic")
    host.nettool(*words).check_returncode()

    assert host.check("curl", "-sm", "5", "http://172.17.0.10/") == "it works\n"
    assert "172.17.0.10/16" in host.check("nsenter", "-t", str(pid), "-n", "ip", "a")
