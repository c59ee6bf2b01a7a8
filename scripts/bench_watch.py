"""Measure how soon a container of Docker's is wired again: from the end of `docker start` to an answer.

On a throw-away host with a Docker daemon of its own (root only), with `nettool watch` running. The
container's network mode is none; it is on a network of nettool's, with an address and a published port.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from real import IMAGE, Docker, EngineUnavailableError

ADDRESS = "10.20.0.9"
BRIDGE = "br-bench"
PAUSE_SECONDS = 2
PLACES = {"its address": (ADDRESS, 80), "its published port": ("127.0.0.1", 8080)}
# Each line is a question; the answer is the moment at which the place answered. Tries take 10 ms.
PROBE = """
import socket, sys, time
for _ in sys.stdin:
    while True:
        try:
            with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=0.01) as made:
                break
        except OSError:
            time.sleep(0.002)
    print(time.monotonic(), flush=True)
"""


class Probe:
    """Asks one place again and again, once it is told to."""

    def __init__(self, docker: Docker, address: str, port: int) -> None:
        argv = (sys.executable, "-I", "-S", "-c", PROBE, address, str(port))
        self._process = docker.popen(*argv, stdin=subprocess.PIPE)

    def begin(self) -> None:
        """Begin to ask."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def answered(self) -> float:
        """Return when the place answered."""
        return float(self._process.stdout.readline())


def furnish(docker: Docker) -> None:
    """Make the network, and the container that is on it, with `nettool watch` running."""
    alone = {"PYTHONPATH": ""}
    for words in (
        ("network", "create", "bench", "--subnet", "10.20.0.0/24", "--bridge-name", BRIDGE),
        ("network", "connect", "bench", "docker:web", "--ip", ADDRESS, "--publish", "8080:80"),
    ):
        if "connect" in words:
            web = ("--network", "none", "--name", "web", IMAGE, "httpd", "-f", "-p", "80", "-h", "/www")
            docker.cli("create", *web)
        docker.check("nettool", *words, env=alone)
    # A question that was too early would be repeated only after a second.
    docker.check("sysctl", "-qw", f"net.ipv4.neigh.{BRIDGE}.retrans_time_ms=10")
    watching = docker.popen("nettool", "watch", env=alone)
    if "following" not in watching.stderr.readline():
        raise SystemExit("nettool watch does not start")
    time.sleep(PAUSE_SECONDS)


def measure(docker: Docker, starts: int) -> dict[str, list[float]]:
    """Start the container so many times; return the milliseconds until each place answered."""
    probes = {name: Probe(docker, *place) for name, place in PLACES.items()}
    found: dict[str, list[float]] = {name: [] for name in PLACES}
    for _ in range(starts):
        docker.cli("start", "web")
        began = time.monotonic()
        for probe in probes.values():
            probe.begin()
        for name, probe in probes.items():
            found[name].append((probe.answered() - began) * 1000)
        docker.cli("kill", "web")
        # What the container has left is cleared away meanwhile.
        time.sleep(PAUSE_SECONDS)
    return found


def report(found: dict[str, list[float]]) -> str:
    """Return the table as Markdown."""
    lines = ["| what answers | median | fastest to slowest |", "|---|---:|---:|"]
    for name, times in found.items():
        middle, first, last = statistics.median(times), min(times), max(times)
        lines.append(f"| {name} | {middle:.0f} ms | {first:.0f} to {last:.0f} ms |")
    return "\n".join(lines)


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=20, help="how many times the container is started")
    parser.add_argument("--json", help="write the figures to this file, too")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as folder, Docker(Path(folder)) as docker:
            furnish(docker)
            found = measure(docker, options.starts)
    except EngineUnavailableError as error:
        raise SystemExit(f"no Docker to measure with: {error}") from error
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{options.starts} starts, {load}, Python {sys.version.split()[0]}.\n")
    print(report(found))
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
