"""The documentation's examples are run, and what they print is what the pages show.

A fenced block marked `console` is a session in the lab: lines that begin with `$ ` are typed, the
rest is what they print. All blocks of a page are one session. What differs from run to run (hashes,
inodes, MACs) is compared with a stand-in. `NETTOOL_UPDATE_DOCS=1` writes the pages anew instead.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
BLOCK = re.compile(r"^```console\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
MARK = "@@nettool-docs@@"
VARYING = (
    (re.compile(r"\bnt[0-9a-f]{10}"), "nt0123456789"),
    (re.compile(r"net:\[\d+\]"), "net:[4026532465]"),
    (re.compile(r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b"), "02:42:ac:11:00:0a"),
    (re.compile(r"@if\d+"), "@if4"),
    (re.compile(r"\(\d+ s\)"), "(1 s)"),
    (re.compile(r"\b[0-9a-f]{11}-\d+"), "1a1fbf8b0e5-1318"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "2026-11-21 02:39:01"),
    (re.compile(r"\b[0-9a-f]{16}\b"), "239a25ad344f982c"),
    (re.compile(r"in \d+ s\b"), "in 60 s"),
    (re.compile(r"\brun-\d+"), "run-1320"),
    # The kernel's own: whether it is there already is chance.
    (re.compile(r" fe80::[0-9a-f:]+/64"), ""),
)


def normal(text: str) -> str:
    for pattern, stand_in in VARYING:
        text = pattern.sub(stand_in, text)
    return "\n".join(line.rstrip() for line in text.splitlines())


def commands(block: str) -> list[str]:
    """The typed lines of a block; a line that ends with a backslash goes on in the next."""
    typed: list[str] = []
    for line in block.splitlines():
        if typed and typed[-1].endswith("\\"):
            typed[-1] += "\n" + line
        elif line.startswith("$ "):
            typed.append(line[2:])
    return typed


def run_session(typed: list[str], folder: Path) -> list[str]:
    """Run the lines in one shell in one lab; return what each printed."""
    script = "exec 2>&1\nset +e\n" + "".join(f"{line}\nprintf '%s\\n' {MARK}\n" for line in typed)
    argv = [sys.executable, "-m", "nettool", "lab", "run", "--", "bash", "-c", script]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    done = subprocess.run(
        argv,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    printed = done.stdout.split(f"{MARK}\n")
    assert len(printed) == len(typed) + 1, done.stdout + done.stderr
    return printed[:-1]


def rewritten(block: str, printed: list[str]) -> str:
    return "".join("$ " + line + "\n" + out for line, out in zip(commands(block), printed, strict=True))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_print_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    if "--dns" in text and os.geteuid():
        pytest.skip("dnsmasq gives up its rights, and in an ordinary user's lab there is no other user")
    blocks = BLOCK.findall(text)
    if not blocks:
        pytest.skip("no examples on this page")
    printed = run_session([line for block in blocks for line in commands(block)], tmp_path)
    fresh = []
    for block in blocks:
        count = len(commands(block))
        fresh.append(rewritten(block, printed[:count]))
        printed = printed[count:]
    if os.environ.get("NETTOOL_UPDATE_DOCS"):
        outputs = iter(fresh)
        page.write_text(BLOCK.sub(lambda _: "```console\n" + normal(next(outputs)) + "\n```\n", text))
        return
    assert [normal(block) for block in blocks] == [normal(block) for block in fresh]


def test_every_verb_has_a_page() -> None:
    from nettool.cli import VERBS

    pages = "".join(page.read_text() for page in PAGES)
    assert [verb for verb in VERBS if f"nettool {verb}" not in pages] == []
