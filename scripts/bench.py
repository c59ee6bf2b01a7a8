"""Measure nettool against the same commands by hand, in pairs, inside the lab.

Each round runs the hand-written script and then each measured command, so that a busy moment of the
machine falls on both. What counts is the median of the ratios within the rounds.
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

PID = os.environ.get("NETTOOL_LAB_PID", "1310")
ADDRESS = "172.17.0.10/16"
ATTACH = ("nettool", "attach", "--pid", PID, "--ip", ADDRESS)
COMMANDS = {
    "nettool attach": ATTACH,
    "nettool attach --dry-run": (*ATTACH, "--dry-run"),
    "nettool --version": ("nettool", "--version"),
    "nettool detach": ("nettool", "detach", "--pid", PID),
    "python -c pass": (sys.executable, "-c", "pass"),
    "python -c 'import typer'": (sys.executable, "-c", "import typer"),
}
TARGETS = {
    "nettool attach": ("at most 2.5 times by hand", lambda row: row["ratio"] <= 2.5),
    "nettool attach --dry-run": ("at most 2.2 times by hand", lambda row: row["ratio"] <= 2.2),
    "nettool --version": ("at most 90 ms", lambda row: row["median_ms"] <= 90),
}
MEMORY_TARGET_MB = 45


def timed(argv: tuple[str, ...]) -> float:
    """Run a command and return its milliseconds."""
    start = time.perf_counter()
    status = subprocess.run(argv, stdout=subprocess.DEVNULL, check=False).returncode
    elapsed = (time.perf_counter() - start) * 1000
    if status:
        raise SystemExit(f"{' '.join(argv)} ended with status {status}")
    return elapsed


def peak_memory(argv: tuple[str, ...]) -> float:
    """Run a command of nettool in a process that reports its own peak memory, in MB.

    VmHWM, not the kernel's accounting for children: that counts the parent's pages before exec.
    """
    with tempfile.NamedTemporaryFile("r") as file:
        program = (
            "import sys\nfrom nettool.cli import main\n"
            "status = main(sys.argv[2:])\n"
            "open(sys.argv[1], 'w').write(open('/proc/self/status').read())\n"
            "raise SystemExit(status)\n"
        )
        timed((sys.executable, "-c", program, file.name, *argv[1:]))
        line = next(line for line in file.read().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def undo_by_hand() -> None:
    """Take back what the hand-written script made."""
    subprocess.run(("ip", "link", "del", "dev", "vethA"), check=True)
    Path(f"/var/run/netns/{PID}").unlink()


def one_round(script: str) -> dict[str, float]:
    """Run everything once, in an order that leaves the lab as it was."""
    found = {"by hand": timed(("bash", script, PID, ADDRESS))}
    undo_by_hand()
    for name in ("nettool attach --dry-run", "nettool attach", "nettool detach"):
        found[name] = timed(COMMANDS[name])
    for name in ("nettool --version", "python -c pass", "python -c 'import typer'"):
        found[name] = timed(COMMANDS[name])
    return found


def summary(rounds: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Return each command's median, range, and ratio to the hand-written script."""
    rows = {}
    for name in rounds[0]:
        times = [found[name] for found in rounds]
        ratios = [found[name] / found["by hand"] for found in rounds]
        rows[name] = {
            "median_ms": round(statistics.median(times), 1),
            "fastest_ms": round(min(times), 1),
            "slowest_ms": round(max(times), 1),
            "ratio": round(statistics.median(ratios), 2),
        }
    return rows


def report(rows: dict[str, dict[str, float]], pairs: int) -> str:
    """Return the table as Markdown."""
    lines = [
        f"Median of {pairs} rounds, {os.cpu_count()} cores, Python {sys.version.split()[0]}.",
        "",
        "| command | median | fastest to slowest | times by hand | aim | met |",
        "|---|---:|---:|---:|---|---|",
    ]
    for name, row in rows.items():
        aim, check = TARGETS.get(name, ("", None))
        met = "" if check is None else ("yes" if check(row) else "**no**")
        lines.append(
            f"| `{name}` | {row['median_ms']} ms | {row['fastest_ms']} to {row['slowest_ms']} ms "
            f"| {row['ratio']} | {aim} | {met} |"
        )
    return "\n".join(lines)


def memory() -> dict[str, float]:
    """Return the peak memory of the two commands that do most, in MB."""
    names = ("nettool attach --dry-run", "nettool attach", "nettool detach")
    return {name: round(peak_memory(COMMANDS[name]), 1) for name in names}


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--by-hand", required=True, help="the hand-written script")
    parser.add_argument("--pairs", type=int, default=20, help="how many rounds")
    parser.add_argument("--json", help="write the figures to this file, too")
    options = parser.parse_args()
    one_round(options.by_hand)
    rounds = [one_round(options.by_hand) for _ in range(options.pairs)]
    rows = summary(rounds)
    print(report(rows, options.pairs))
    peaks = memory()
    met = "met" if max(peaks.values()) <= MEMORY_TARGET_MB else "NOT met"
    print(f"\nPeak memory: {max(peaks.values())} MB (at most {MEMORY_TARGET_MB} MB: {met}).")
    document = {"pairs": options.pairs, "python": sys.version.split()[0], "commands": rows, "peak_mb": peaks}
    if options.json:
        Path(options.json).write_text(json.dumps(document, indent=2) + "\n")
    else:
        print()
        print(json.dumps(document))


if __name__ == "__main__":
    main()
