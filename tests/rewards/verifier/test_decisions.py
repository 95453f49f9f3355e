"""Every decision that docs/verifier.md states is the one that the verifier takes."""

from __future__ import annotations

import re

import pytest

from harness.core.records import Answer, AnswerType
from rewards.verifier.grade import grade
from rewards.verifier.jobs import Job
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "verifier.md"
_ROW = re.compile(
    r"^\| (?P<gold>.+?) \((?P<kind>\w+)\) \| `(?P<answer>[^`]+)` \| (?P<verdict>\w+) \| .+ \|$", re.MULTILINE
)
ROWS = [m.groupdict() for m in _ROW.finditer(PAGE.read_text("utf-8"))]


def test_the_page_has_a_table_of_decisions() -> None:
    assert len(ROWS) >= 30 and {r["verdict"] for r in ROWS} == {"correct", "incorrect"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['gold']} <- {row['answer']}")
def test_the_decision_is_taken(row: dict[str, str]) -> None:
    answer = Answer(
        type=AnswerType(row["kind"]), golds=(row["gold"],), choices=("3 cm", "5 cm") if row["kind"] == "choice" else ()
    )
    verdict = grade(Job(answer=answer, response=f"So it is \\boxed{{{row['answer']}}}."))["strict"]
    assert verdict.status.value == row["verdict"], verdict


def test_wrong_by_construction_is_never_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import false_acceptance

    assert false_acceptance.main(["--pairs", "3000", "--seed", "7"]) == 0, capsys.readouterr().out[-2000:]
