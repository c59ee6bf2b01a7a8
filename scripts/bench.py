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


def timed(argv: tuple[str, ...]) -> tuple[float, float]:
    """Run a command; return its milliseconds and its peak memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    elapsed = (time.perf_counter() - start) * 1000
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(argv)} ended with status {process.returncode}")
    return elapsed, usage.ru_maxrss / 1024


def undo_by_hand() -> None:
    """Take back what the hand-written script made."""
    subprocess.run(("ip", "link", "del", "dev", "vethA"), check=True)
    Path(f"/var/run/netns/{PID}").unlink()


def one_round(script: str) -> dict[str, tuple[float, float]]:
    """Run everything once, in an order that leaves the lab as it was."""
    found = {"by hand": timed(("bash", script, PID, ADDRESS))}
    undo_by_hand()
    for name in ("nettool attach --dry-run", "nettool attach", "nettool detach"):
        found[name] = timed(COMMANDS[name])
    for name in ("nettool --version", "python -c pass", "python -c 'import typer'"):
        found[name] = timed(COMMANDS[name])
    return found


def summary(rounds: list[dict[str, tuple[float, float]]]) -> dict[str, dict[str, float]]:
    """Return each command's median, range, ratio to the hand-written script, and peak memory."""
    rows = {}
    for name in rounds[0]:
        times = [found[name][0] for found in rounds]
        ratios = [found[name][0] / found["by hand"][0] for found in rounds]
        rows[name] = {
            "median_ms": round(statistics.median(times), 1),
            "fastest_ms": round(min(times), 1),
            "slowest_ms": round(max(times), 1),
            "ratio": round(statistics.median(ratios), 2),
            "peak_mb": round(max(found[name][1] for found in rounds), 1),
        }
    return rows


def report(rows: dict[str, dict[str, float]], pairs: int) -> str:
    """Return the table as Markdown."""
    lines = [
        f"Median of {pairs} rounds, {os.cpu_count()} cores, Python {sys.version.split()[0]}.",
        "",
        "| command | median | fastest – slowest | times by hand | peak memory | aim | met |",
        "|---|---:|---:|---:|---:|---|---|",
    ]
    for name, row in rows.items():
        aim, check = TARGETS.get(name, ("", None))
        met = "" if check is None else ("yes" if check(row) else "**no**")
        lines.append(
            f"| `{name}` | {row['median_ms']} ms | {row['fastest_ms']} – {row['slowest_ms']} ms "
            f"| {row['ratio']} | {row['peak_mb']} MB | {aim} | {met} |"
        )
    peak = max(row["peak_mb"] for name, row in rows.items() if name.startswith("nettool"))
    met = "met" if peak <= MEMORY_TARGET_MB else "NOT met"
    return "\n".join([*lines, "", f"Peak memory of nettool: {peak} MB (at most {MEMORY_TARGET_MB} MB: {met})."])


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
    document = {"pairs": options.pairs, "python": sys.version.split()[0], "commands": rows}
    if options.json:
        Path(options.json).write_text(json.dumps(document, indent=2) + "\n")
    else:
        print()
        print(json.dumps(document))


if __name__ == "__main__":
    main()
