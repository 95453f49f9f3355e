"""Which part of a response counts as its final answer."""

from __future__ import annotations

import time

import pytest

from harness.core.records import AnswerType
from rewards.verifier.answers.marks import final_answer

EXPR, INT, CHOICE, TEXT = AnswerType.EXPRESSION, AnswerType.INTEGER, AnswerType.CHOICE, AnswerType.TEXT

FOUND = [
    (EXPR, r"so \boxed{5}.", "5"),
    (EXPR, r"\boxed{\frac{1}{2}} is it", r"\frac{1}{2}"),
    (EXPR, r"first \boxed{3}, no: \boxed{4}", "4"),
    (EXPR, r"\boxed{\boxed{7}}", "7"),
    (EXPR, r"\boxed {x \in \{1,2\}}", r"x \in \{1,2\}"),
    (EXPR, r"\fbox{5}", "5"),
    (EXPR, r"\boxed 5", "5"),
    (EXPR, r"\boxed{}", ""),
    (EXPR, r"<think>\boxed{3}</think> so \boxed{4}", "4"),
    (EXPR, r"<think>maybe \boxed{3}</think> I give up", None),
    (EXPR, r"<think>x</think><answer>42</answer>", "42"),
    (EXPR, r"<answer>so \boxed{41}</answer>", "41"),
    (EXPR, r"\boxed{1} <answer>2</answer>", "2"),
    (EXPR, r"<answer>2</answer> \boxed{3}", "3"),
    (EXPR, r"cut off \boxed{\frac{1}{2", None),
    (EXPR, r"the answer is 3 and \boxed{4", None),
    (EXPR, "the result is 5", None),
    (EXPR, "5", None),
    (EXPR, "The final answer is $x^2+1$. I hope it is correct.", "$x^2+1$"),
    (EXPR, "The answer is 3.5 cm. Good.", "3.5 cm"),
    (EXPR, "**Answer:** 42", "42"),
    (EXPR, "The answer is 3. No, the answer is 4.", "4"),
    (EXPR, "work\n#### 72", "72"),
    (INT, "The answer is $42$.", "$42$"),
    (INT, "Therefore the final answer is 42", "42"),
    (CHOICE, "The answer is C", "C"),
    (CHOICE, "The answer is (B).", "(B)"),
    (CHOICE, "The correct option is **D**.", "D"),
    (CHOICE, "Answer: A. 12", "A"),
    (CHOICE, "The answer is A and C.", "A and C"),
    (CHOICE, "I like apples. A", None),
    (CHOICE, "<answer>B</answer>", "B"),
    (TEXT, "The answer is blue.", "blue"),
    (EXPR, "", None),
]


@pytest.mark.parametrize(("kind", "response", "answer"), FOUND)
def test_marked_answers(kind, response, answer):
    assert final_answer(response, kind, 5 if kind is CHOICE else 0) == answer


def test_an_article_is_no_choice():
    assert final_answer("The answer is a triangle.", CHOICE, 5) != "A"


@pytest.mark.parametrize(
    "text",
    [
        r"\boxed{" * 60_000,
        "the answer is " * 30_000,
        "{" * 400_000,
        "answer" * 60_000,
        "$" * 400_000,
        "<answer>" * 50_000,
    ],
)
def test_hostile_text_is_read_in_linear_time(text):
    start = time.perf_counter()
    for kind in (EXPR, INT, CHOICE):
        final_answer(text, kind, 5)
    assert time.perf_counter() - start < 2
