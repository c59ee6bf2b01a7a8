"""The battery catches bugs: it fails on every copy of nettool that has one put in on purpose."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hosts import ROOT
from mutants import MUTANTS
from plan_kinds import FULL

if TYPE_CHECKING:
    from pathlib import Path

    from mutants import Mutant

# Without --all, that the texts to replace are there is all that is looked at.
TIMEOUT_SECONDS = 600


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_fits_the_code(mutant: Mutant) -> None:
    text = (ROOT / "nettool" / mutant.file).read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1
    assert mutant.new != mutant.old


@pytest.mark.battery("B20")
@pytest.mark.skipif(not FULL, reason="a run of the battery for each mutant: scripts/test --all")
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_battery_catches(mutant: Mutant, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for folder in ("nettool", "tests"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    place = copy / "nettool" / mutant.file
    text = place.read_text(encoding="utf-8")
    place.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")

    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NETTOOL_", "PYTEST_"))}
    pytest_words = ("-m", "pytest", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *mutant.caught_by)
    done = subprocess.run(
        (sys.executable, *pytest_words), cwd=copy, env={**environment, "PYTHONPATH": str(copy)},
        capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS,
    )  # fmt: skip

    # 1 is "some tests failed"; anything else would be a battery that did not run.
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
