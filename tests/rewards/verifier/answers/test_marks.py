"""Which part of a response counts as its final answer, where it stands, and why."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.records import AnswerType
from rewards.verifier.answers import marks
from rewards.verifier.answers.thinking import TAGS, visible

EXPR, INT, CHOICE, TEXT = AnswerType.EXPRESSION, AnswerType.INTEGER, AnswerType.CHOICE, AnswerType.TEXT

RANKED = [
    # the last mark wins, a box inside a box is one mark, an empty box is skipped, a mention is none
    (INT, r"first \boxed{3}, no: \boxed{4}", "4"),
    (INT, r"\boxed{5} and then \boxed{}", "5"),
    (INT, r"\boxed{}", ""),
    (INT, r"\boxed{7}. This is the answer in \boxed format.", "7"),
    (INT, r"\boxed{\boxed{7}}", "7"),
    (INT, r"\boxed 5", "5"),
    (INT, r"so \boxed{5} and \boxed{\frac{1}{2", None),
    # a leading statement behind the box wins where it states a value
    (INT, "side \\boxed{5}. The area is its square.\n\nFinal answer: 25", "25"),
    (INT, "side \\boxed{5}. Final answer: 25", "25"),
    (INT, "so \\boxed{25}.\n\nThe answer is reasonable, since 25 is a square.", "25"),
    (INT, "so \\boxed{25}, and one might say the answer is 24.", "25"),
    (INT, "\\boxed{3}\n#### 4", "4"),
    (INT, "$-\\boxed{256}$\nFinal Answer: The final answer is $-256$. I hope it is correct.", "$-256$"),
    (CHOICE, "\\boxed{C}\n**Answer: D**", "D"),
    (CHOICE, "\\boxed{C}\nThe answer is plausible.", "C"),
    # boxes that only a comma or a word parts are a list
    (EXPR, r"$$\boxed{(2, 2)} \quad \text{and} \quad \boxed{(6, 2)}$$", "(2, 2), (6, 2)"),
    (EXPR, r"$\boxed{5}$ or $\boxed{7}$", "5, 7"),
    (EXPR, r"\boxed{5}, which is half of \boxed{10}", "10"),
    # a sign in front of the box belongs to it, an operation does not
    (INT, r"$x = -\boxed{256}$", "-256"),
    (INT, r"$7-\boxed{2}$", "2"),
    # tags, and what stands inside them
    (INT, "<answer>so \\boxed{41}</answer>", "41"),
    (INT, "<answer>The answer is 41.</answer>", "41"),
    (INT, r"\boxed{1} <answer>2</answer>", "2"),
    (INT, r"<answer>2</answer> \boxed{3}", "3"),
    # statements, headings and other languages
    (INT, "Done.\n\n**Final Answer**\n\n$$73$$", "$$73$$"),
    (INT, "## Answer\n\n73", "73"),
    (INT, "The answer to the question is 12.", "12"),
    (INT, "The answer is 3. No, the answer is 4.", "4"),
    (CHOICE, "Thus, C is the correct answer.", "C"),
    (CHOICE, "The answer is B. Reasons: option A is correct for squares only.", "B"),
    (CHOICE, "经过计算得到 3。故选：C", "C"),
    (INT, "答案是 8,000。", "8,000"),
    (INT, "La respuesta es 12.", "12"),
    (INT, "Die Antwort lautet 12.", "12"),
    (EXPR, "The answer is $x=1. 5$ here", "$x=1. 5$ here"),
    (INT, "the result is 5", None),
]


@pytest.mark.parametrize(("kind", "response", "answer"), RANKED)
def test_the_mark_that_counts(kind: AnswerType, response: str, answer: str | None) -> None:
    found = marks.find(response, kind, 5 if kind is CHOICE else 0)
    assert found.answer == answer, found.why
    assert found.why


@pytest.mark.parametrize(("opening", "closing"), TAGS)
def test_reasoning_marks_nothing_whatever_its_tag(opening: str, closing: str) -> None:
    inner = r"perhaps \boxed{5}, the answer is 5"
    assert marks.find(f"{opening}{inner}{closing}\nThe answer is 4.", INT).answer == "4"
    assert marks.find(f"{inner}{closing}\nThe answer is 4.", INT).answer == "4"
    assert marks.find(f"{opening.upper()}{inner}{closing} I give up", INT).answer is None
    assert marks.find(f"{opening}{inner}. But wait", INT).answer is None
    assert marks.find(f"{opening}a{opening}b{closing} \\boxed{{5}}", INT).answer is None


def test_places_are_those_of_the_response() -> None:
    response = r"<think>\boxed{1}</think> so \boxed{25}. <think>x</think> And <answer>26</answer>"
    found = marks.find(response, INT).found
    assert [response[m.start : m.end] for m in found] == [r"\boxed{25}", "<answer>26</answer>"]


@given(st.lists(st.sampled_from([t for pair in TAGS for t in pair] + ["a", r"\boxed{3}", "\n"]), max_size=12))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_what_is_visible_is_part_of_the_response_in_order(parts: list[str]) -> None:
    response = "".join(parts)
    seen = visible(response)
    assert all(response[seen.place(i)] == char for i, char in enumerate(seen.text))
    places = [seen.place(i) for i in range(len(seen.text))]
    assert places == sorted(set(places))


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{" * 60_000,
        "the answer is " * 30_000,
        "{" * 400_000,
        "answer" * 60_000,
        "$" * 400_000,
        "<answer>" * 50_000,
        "<answer>" + "answer " * 40_000 + "</answer>",
        "<think>" * 50_000,
        "</think>" * 50_000,
        " " * 300_000 + "answer" + " " * 90_000,
        "-" * 300_000 + r"\boxed{5}",
        r"\boxed{}" * 40_000,
        "# " * 200_000,
        "####" * 100_000,
    ],
)
def test_hostile_text_is_read_in_linear_time(text: str) -> None:
    start = time.perf_counter()
    for kind in (EXPR, INT, CHOICE):
        marks.find(text, kind, 5)
    assert time.perf_counter() - start < 3
