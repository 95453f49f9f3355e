"""MATH-Vision: rows as published, the authors' rule against the verdicts they recorded, its known oddities."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.core.errors import ImageError
from harness.core.records import Answer, AnswerType, Example, Text
from rewards.verifier.grade import grade
from rewards.verifier.jobs import Job
from tasks.mathvision import official, read
from tasks.resolve import resolve

RECORDED = ("gpt4-cot-text", "internlm-xcomposer2-vl-cot", "qwen-vl-plus")


@pytest.fixture(scope="module")
def examples() -> Sequence[Example]:
    folder = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "mathvision"
    if not folder.is_dir():
        pytest.skip(f"no benchmark data at {folder}")
    return resolve("mathvision", folder).load()


def test_rows_as_published(examples: Sequence[Example]) -> None:
    assert len(examples) == 3040
    assert Counter(bool(e.answer.choices) for e in examples) == {True: 1532, False: 1508}
    assert Counter(e.answer.golds[0] for e in examples if e.answer.choices) == {
        "D": 326,
        "C": 318,
        "B": 311,
        "A": 299,
        "E": 278,
    }
    assert Counter(e.metadata["level"] for e in examples) == {1: 237, 2: 738, 3: 551, 4: 830, 5: 684}
    assert len({e.metadata["subject"] for e in examples}) == 16
    assert all(
        len(e.images) == 1 and "<image" not in e.question and e.rule == "tasks.mathvision:official" for e in examples
    )


def test_odd_golds_are_kept_and_marked(examples: Sequence[Example]) -> None:
    by_id = {e.id: e for e in examples}
    assert by_id["2830"].answer.golds == ("\x0crac{36}{13}".strip(),) or by_id["2830"].answer.golds == (
        "\x0crac{36}{13}",
    )
    assert {i for i, e in by_id.items() if e.note} == {
        "59", "434", "1843", "1893", "2521", "2828", "2830", "2833", "2875", "2877", "2925", "2937", "2947", "3007", "3008",
    }  # fmt: skip
    assert by_id["59"].answer == Answer(type=AnswerType.CHOICE, golds=("C",))


def test_options_stand_in_the_prompt_unless_they_are_in_the_picture(examples: Sequence[Example]) -> None:
    by_id = {e.id: e for e in examples}
    assert "(A)" not in by_id["2"].question and by_id["2"].answer.choices == tuple("ABCDE")
    shown = by_id["1297"].question
    assert shown.splitlines()[-5:][0] == r"(A) $\sqrt{2}-1$" and shown.splitlines()[-1].startswith("(E)")
    parts = by_id["1297"].messages[0].parts
    assert not isinstance(parts[0], Text) and isinstance(parts[1], Text)


def test_pictures_open_when_asked_for(examples: Sequence[Example]) -> None:
    by_id = {e.id: e for e in examples}
    assert by_id["1"].images[0].open("1").mode == "RGB"
    with pytest.raises(ImageError, match=r"item 2: image images/2\.jpg is missing"):
        by_id["2"].images[0].open("2")


@pytest.mark.parametrize("name", RECORDED)
def test_the_rule_gives_the_recorded_verdicts(examples: Sequence[Example], name: str) -> None:
    by_id = {e.id: e for e in examples}
    file = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "mathvision" / "recorded" / f"{name}.jsonl"
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    ours = {}
    for row in rows:
        example = by_id[row["id"]]
        job = Job(answer=example.answer, response=row["response"], protocols=("official",), rule=example.rule)
        ours[row["id"]] = grade(job)["official"].correct
    assert len(rows) == 3040
    assert sum(ours.values()) == sum(r["correct"] for r in rows)
    assert [r["id"] for r in rows if ours[r["id"]] != r["correct"]] == []


def test_what_the_rule_reads() -> None:
    assert read("so it is (C).") == "c"
    assert read("The value is 7.") == "7"
    assert read(r"\boxed{1} and \boxed{\text{(D)}}") == "d"
    assert read("Work.\nThe answer is 12 cm. It fits.") == "12cm"
    assert read(r"x = \frac{1}{2} \approx 0.5") == r"\frac{1}{2}"


@pytest.mark.parametrize(
    ("gold", "response", "right"),
    [
        ("60", r"\boxed{60.004}", True),
        ("60", r"\boxed{60.01}", False),
        (r"3\pi", r"\boxed{9.42}", True),
        ("1:2", r"\boxed{\frac{1}{2}}", True),
        ("45^2", r"\boxed{2025}", True),
        ("1000", r"\boxed{1,000}", True),
        (r"\frac{1}{2}", r"\boxed{\frac12}", False),
        ("5", r"\boxed{5\text{ cm}}", False),
        ("5", r"\boxed{e}", False),
        ("(3,-4)", r"\boxed{(3.001,-4)}", True),
        ("3", r"\boxed{}", False),
        ("3", "", False),
    ],
)
def test_known_leniency_and_severity_of_the_rule(gold: str, response: str, right: bool) -> None:
    assert official(Answer(type=AnswerType.EXPRESSION, golds=(gold,)), response)[0] is right


def test_the_option_text_counts_and_a_recorded_extraction_replaces_ours() -> None:
    answer = Answer(type=AnswerType.CHOICE, golds=("B",), choices=("3", r"$6\pi$", "9", "12", "15"))
    assert official(answer, r"\boxed{6 \pi}")[0] and official(answer, "The answer is B.")[0]
    assert not official(answer, r"\boxed{9}")[0]
    assert official(answer, r"\boxed{9}", extracted="b") == (True, "b", "match")
