"""Small cases after public bug reports of answer graders: no wrong answer is accepted, the right ones are."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from harness.core.records import Answer, AnswerType
from rewards.verifier.grade import grade
from rewards.verifier.jobs import Job

FILE = Path(__file__).resolve().parents[3] / ".." / "shared" / "data" / "verifier" / "cases.jsonl"
UNREAD: frozenset[str] = frozenset()
"""Clear cases that are refused."""
ACCEPTED: frozenset[str] = frozenset()
"""Cases that are wrong, borderline ones included, and accepted."""
BORDERLINE = {
    "c216": "a sentence about a name is not the name",
    "c461": "nothing is marked, and the authors' rule says nothing",
    "c467": "the authors' own clean-up breaks the root",
}
"""Borderline cases that are decided against their reporters, and why."""


def _status(case: dict[str, Any]) -> str:
    gold = case["answer"]
    golds = tuple(map(str, gold)) if isinstance(gold, list) else (str(gold),)
    answer = Answer(
        type=AnswerType(case["answer_type"]),
        golds=golds,
        choices=tuple(case.get("choices") or ()),
        precision=case.get("precision"),
    )
    name = case["protocol"]
    rule = f"tasks.{case['task']}:official" if case.get("task") else ""
    return grade(Job(answer=answer, response=case["response"], protocols=(name,), rule=rule))[name].status.value


@pytest.fixture(scope="module")
def graded() -> list[tuple[dict[str, Any], str]]:
    if not FILE.is_file():
        pytest.skip("the cases are not part of this checkout")
    rows = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]
    return [(row, _status(row)) for row in rows]


def test_no_wrong_answer_is_accepted(graded: list[tuple[dict[str, Any], str]]) -> None:
    wrong = {row["id"] for row, got in graded if got == "correct" and row["expected"] != "correct"}
    assert wrong == ACCEPTED


def test_right_answers_are_accepted_by_kind(graded: list[tuple[dict[str, Any], str]]) -> None:
    asked, right = Counter[str](), Counter[str]()
    refused = []
    for row, got in graded:
        if row.get("borderline"):
            continue
        asked[row["kind"]] += 1
        agrees = (got == "correct") == (row["expected"] == "correct")
        right[row["kind"]] += agrees
        if not agrees:
            refused.append(row["id"])
    for kind, count in sorted(asked.items()):
        print(f"{right[kind]:3d} of {count:3d}  {kind}")
    assert set(refused) == UNREAD


def test_borderline_cases_follow_the_documented_decisions(graded: list[tuple[dict[str, Any], str]]) -> None:
    others = {
        r["id"] for r, got in graded if r.get("borderline") and (got == "correct") != (r["expected"] == "correct")
    }
    assert others == set(BORDERLINE)
