"""Pairs of gold and answer, right in another notation or wrong in a tempting one: `pairs.tsv`, by type."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harness.core.records import Answer, AnswerType
from rewards.verifier.grade import grade
from rewards.verifier.jobs import Job

ROWS = [
    line.split("\t")
    for line in Path(__file__).with_name("pairs.tsv").read_text("utf-8").splitlines()
    if not line.startswith("#")
]
KINDS = sorted({row[0] for row in ROWS})


def accepted(kind: str, gold: str, said: str) -> bool:
    name, _, details = kind.partition(" ")
    choices = tuple(details.split(";")) if name == "choice" else ()
    precision = int(details) if name == "float" and details else None
    answer = Answer(type=AnswerType(name), golds=(gold,), choices=choices, precision=precision)
    whole = said.removeprefix("RESPONSE:").replace("\\n", "\n") if said.startswith("RESPONSE:") else ""
    return grade(Job(answer=answer, response=whole or f"So the final answer is \\boxed{{{said}}}."))["strict"].correct


@pytest.mark.parametrize("kind", KINDS)
def test_right_ones_are_accepted_and_wrong_ones_are_not(kind: str) -> None:
    rows = [row for row in ROWS if row[0] == kind]
    graded = [(gold, said, verdict, accepted(kind, gold, said)) for _, gold, said, verdict in rows]
    assert [(g, s) for g, s, verdict, got in graded if got and verdict == "wrong"] == []
    assert [(g, s) for g, s, verdict, got in graded if not got and verdict == "right"] == []


def test_both_verdicts_are_there_in_number() -> None:
    counts = Counter(row[3] for row in ROWS)
    assert counts["right"] > 500 and counts["wrong"] > 250
