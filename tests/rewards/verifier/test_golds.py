"""Every gold of the language benchmarks is right when it is the boxed answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.core.records import Answer, AnswerType
from rewards.verifier.grade import grade
from rewards.verifier.jobs import Job

DATA = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "math"
INTEGERS = {"aime24", "aime25", "amc23"}


@pytest.mark.parametrize("name", ["aime24", "aime25", "amc23", "math500", "minerva", "olympiadbench"])
def test_golds_grade_correct_against_themselves(name):
    file = DATA / f"{name}.jsonl"
    if not file.is_file():
        pytest.skip("no ../shared/data/math beside the repository")
    kind = AnswerType.INTEGER if name in INTEGERS else AnswerType.EXPRESSION
    wrong = []
    for line in file.read_text("utf-8").splitlines():
        value = json.loads(line)["answer"]
        golds = tuple(value) if isinstance(value, list) else (str(value),)
        for gold in golds:
            found = grade(Job(answer=Answer(type=kind, golds=golds), response=rf"Thus \boxed{{{gold}}}."))["strict"]
            if not found.correct:
                wrong.append((gold, found.reason))
    assert wrong == []
