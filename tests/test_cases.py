"""Every branch of planning, as data: tests/cases/<verb>/*.json. No host is needed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cases import BASE, Case, case_files, facts_of, planned, shortened

from nettool.codec import decode, encode
from nettool.errors import NettoolError
from nettool.factsfile import CLASSES
from nettool.plan import Status

if TYPE_CHECKING:
    from pathlib import Path

    from nettool.plan import Plan

_FIELDS = {"why", "request", "on", "facts", "was", "records", "commands", "error", "notes", "skipped"}


@pytest.mark.parametrize("path", case_files(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_plan_is_what_the_case_says(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case: Case = json.loads(path.read_text(encoding="utf-8"))
    assert set(case) <= _FIELDS
    if "error" in case:
        _check_error(case, monkeypatch)
    else:
        _check_plan(case, planned(case, monkeypatch))


def _check_plan(case: Case, made: Plan) -> None:
    assert [shortened(" ".join(step.do.words())) for step in made.to_do] == case["commands"]
    assert [shortened(note) for note in made.notes] == case.get("notes", [])
    skipped = [shortened(d.step.makes.key) for d in made.decisions if d.status is Status.ALREADY]
    assert skipped == case.get("skipped", [])


def _check_error(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NettoolError) as caught:
        planned(case, monkeypatch)
    error = caught.value
    said = shortened("\n".join((error.what, *error.why, *error.hints)))
    assert error.exit_status == case["error"]["status"]
    for words in case["error"]["says"]:
        assert words in said


@pytest.mark.parametrize("verb", ["attach", "detach"])
def test_every_case_says_why_it_is_there(verb: str) -> None:
    cases = [
        json.loads(path.read_text(encoding="utf-8")) for path in case_files() if path.parent.name == verb
    ]
    assert all(case["why"] and case["request"].removeprefix('["').startswith(verb) for case in cases)
    assert len({case["why"] for case in cases}) == len(cases)


def test_a_host_in_short_is_a_host_that_can_be_saved_and_read_back() -> None:
    facts = facts_of(BASE)
    assert decode(json.loads(json.dumps(encode(facts))), CLASSES) == facts
