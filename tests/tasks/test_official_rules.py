"""Official rules on our own prompts: a trained format (thinking, box, tag) never changes what a benchmark's authors count.

The replies are those of public recordings and reports on which rules that presuppose the authors' prompt went wrong.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core.records import Answer, AnswerType, Example
from rewards.verifier.grade import grade
from rewards.verifier.jobs import Job
from tasks import logicvista, mathvista
from tasks.resolve import resolve
from tasks.support import numbers, reading
from tasks.support.golds import choice, typed

FOUR = ("6cm", "7cm", "8cm", "9cm")
BLANK = ("", "", "", "")
LETTERED = {
    "tasks.mmmu:official": choice("C", FOUR),
    "tasks.mathvision:official": choice("C", ("6cm", "7cm", "8cm", "9cm", "10cm")),
    "tasks.wemath:official": choice("C", FOUR),
    "tasks.visulogic:official": choice("C", BLANK),
    "tasks.logicvista:official": choice("C", FOUR),
    "tasks.mathvista:official": choice("C", FOUR),
    "tasks.mathverse:official": choice("C", FOUR),
}
FORMS = (
    "\\boxed{C}", "\\boxed{(C)}", "\\boxed{\\text{C}}", "\\boxed{C. 8cm}", "<answer>C</answer>", "<answer>(C)</answer>",
    "<answer>\\boxed{C}</answer>", "<answer> The answer is $\\boxed{C}$ </answer>",
    "<think>Based on A, or (B)? Answer: A</think><answer>C</answer>",
    "<think>First \\boxed{A}, then (B).</think> First things first: \\boxed{C}",
)  # fmt: skip


def official(rule: str, answer: Answer, response: str) -> bool | None:
    verdict = grade(Job(answer=answer, response=response, protocols=("official",), rule=rule))["official"]
    return {"correct": True, "incorrect": False, "ungraded": None}[verdict.status]


@pytest.mark.parametrize("rule", LETTERED)
def test_a_marked_letter_counts_in_every_form_that_our_prompts_ask_for(rule: str) -> None:
    for form in FORMS:
        if "mathvision" in rule and form == "\\boxed{C. 8cm}":
            continue  # a box is those authors' own mark, and they compare its whole content
        assert official(rule, LETTERED[rule], form) is True, form
        swapped = form.replace("C", "D").replace("8cm", "9cm")
        assert official(rule, LETTERED[rule], swapped) is False, swapped


@pytest.mark.parametrize("rule", [r for r in LETTERED if "mathvista" not in r])
def test_thinking_never_answers(rule: str) -> None:
    """MathVista's own rule gives credit by edit distance even to nothing, which its reason says."""
    for response in (
        "<think>It is \\boxed{C}.",
        "<think>The answer is (C). Answer: C",
        "<think>Answer: C</think> I do not know.",
    ):
        assert official(rule, LETTERED[rule], response) is not True, response


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("It is (A) at first sight, (B) at the second.\n\nAnswer: C", True),
        ("Option (A) is wrong.\n\n**Answer:** C", True),
        ("(A) fails, so (C)", True),
        ("Answer: A", False),
    ],
)
def test_mmmu_reads_the_last_answer_line(response: str, right: bool) -> None:
    assert official("tasks.mmmu:official", choice("C", FOUR), response) is right


@pytest.mark.parametrize(
    "response",
    [
        "The answer is: (C)", "Thus, C is the correct answer.", "The answer is option: C", "The final answer is: C",
        "The correct answer is option C", "The answer should be: c", "so it must be C.", "Answer: \\boxed{C}.",
    ],
)  # fmt: skip
def test_visulogic_phrases(response: str) -> None:
    assert official("tasks.visulogic:official", choice("C", BLANK), response) is True
    assert official("tasks.visulogic:official", choice("A", BLANK), response) is False


@pytest.mark.parametrize(
    ("gold", "response", "options"),
    [
        ("G", "Answer: \\( \\text{G} \\)", ()), ("C", "C) The wider angle of view reduces blind spots.", ()),
        ("B", "(B] False", ()),
        ("A", "1) (A)", ()), ("C", "\\boxed{\\text{Option C}}", ()), ("C", "### Answer\nC", ()),
        ("B", "The answer is (B] 5 mph.", ()),
        ("A", "The answer is A pole 1.", ()), ("B", "The piece that matches the given figure is B.", ()),
        ("B", "Based on the image, the difference is 5mph.", ("4 mph", "5 mph", "6 mph")),
        ("B, D", "The answer is B and D.", ()), ("B", "False.", ("True", "False", "Insufficient Information")),
    ],
)  # fmt: skip
def test_logicvista_replies(gold: str, response: str, options: tuple[str, ...]) -> None:
    assert logicvista.official(choice(gold, options), response)[0] is True
    other = "D" if gold != "D" else "A"
    assert logicvista.official(choice(other, options), response)[0] is False


def test_logicvista_lists_its_options() -> None:
    assert logicvista.options("Which? Select from A, B and C. (A) True (B)False (C)Insufficient Information") == (
        "True", "False", "Insufficient Information",
    )  # fmt: skip
    assert logicvista.options("Which choice (A, B, C, or D) fits?") == ()


@pytest.mark.parametrize(
    ("response", "value"),
    [
        ("The area is 12 \\text{ cm}^2.", "12"), ("The area is $12\\,\\mathrm{cm}^{2}$", "12"), ("It is 12 m²", "12"),
        ("The answer is 12 out of 20.", "12"), ("\\boxed{12 \\text{ cm}^2}", "12"), ("所以∠DEF的度数是25°。", "25"),
        ("Area $=113.097$ units $^{2}$", "113.097"), ("x^2 = 9, so x = 3", "3"),
    ],
)  # fmt: skip
def test_units_shares_and_chinese_text_are_read_as_numbers(response: str, value: str) -> None:
    assert numbers.number(response) == value


@pytest.mark.parametrize(
    ("response", "letter"),
    [
        ("所以答案是B。", "B"), ("因此选C", "C"), ("所以选项B是正确答案。", "B"), ("答案:D", "D"),
        ("Therefore, the length is 7cm.", "B"),
        ("Therefore, the length of CD is D.", "D"), ("Some work.\n\nC", "C"), ("I will select \"B\" for no.", "B"),
    ],
)  # fmt: skip
def test_letters_that_a_judge_would_read(response: str, letter: str) -> None:
    assert reading.option(response, FOUR) == letter


def test_mathvista_takes_the_place_of_the_judge_where_no_option_is_named() -> None:
    """A value that is no option stays the extraction; a refusal is quoted as the judge quotes it."""
    answer = choice("D", ("5", "6", "8", "10"))
    assert mathvista.official(answer, "Therefore, the length of CD is 12.")[1:] == ("10", "nearest_match")
    yes = choice("B", ("yes", "no"))
    assert mathvista.official(yes, "Thus, the answer cannot be determined.")[1] == "no", (
        "nearest to 'Cannot be determined'"
    )
    assert mathvista.official(yes, "Please look at the picture again, somebody else.")[1] == "yes", "nearest to 'N/A'"


def test_mathverse_golds_are_right_for_themselves(shared: Path) -> None:
    """Whatever the source writes around a value, an answer that copies it counts."""
    rows = {r["sample_index"]: r for r in _jsonl(shared / "mathverse" / "testmini_text_only.jsonl")}
    examples = resolve("mathverse-testmini_text_only", shared / "mathverse").load()
    refused = []
    for example in examples:
        raw = str(rows[example.id]["answer"])
        if "\n" not in raw and "掳" not in raw:
            for form in ("The answer is {}.", "**Answer: {}**", "\\boxed{{{}}}", "<answer>{}</answer>"):
                if official(example.rule, example.answer, form.format(raw)) is not True:
                    refused.append((example.id, form, raw))
    assert not refused
    assert official("tasks.mathverse:official", typed("4\\sqrt{6}"), "**Answer: 4\\sqrt{6}**") is True


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("\\boxed{5}. So again \\boxed{5}.", True), ("<think>\\boxed{4} \\boxed{7}</think>\\boxed{5}", True),
        ("<think>\\boxed{5}</think>", False), ("We try \\boxed{4}. So the final answer is \\boxed{5}.", True),
        ("<answer>5</answer>", True), ("\\boxed{5} and \\boxed{7}", False),
    ],
)  # fmt: skip
def test_olympiadbench_counts_the_marked_answer_where_its_sentence_is_missing(response: str, right: bool) -> None:
    assert official("tasks.olympiadbench:official", typed("5"), response) is right


def test_mathvision_reads_a_tag_as_its_own_box() -> None:
    rule, answer = "tasks.mathvision:official", Answer(type=AnswerType.EXPRESSION, golds=("24",))
    assert official(rule, answer, "<think>\\boxed{7}</think><answer>24</answer>") is True
    assert official(rule, answer, "<answer>24.003</answer>") is True, "two decimals, as the authors round"
    assert official(rule, answer, "\\boxed{24π}") is False and official(rule, answer, "\\boxed{24\\pi}") is False


def _jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line.strip()]


@pytest.mark.parametrize(("model", "least"), [("LLAVA7B", 0.97), ("otter9B", 0.97)])
def test_logicvista_agrees_with_recorded_verdicts(shared: Path, model: str, least: float) -> None:
    items = {e.id: e for e in resolve("logicvista", shared / "logicvista").load()}
    rows = _jsonl(shared / "recorded" / "logicvista" / f"{model}.jsonl")
    agree = [(logicvista.official(items[r["id"]].answer, r["response"])[0] is True) == r["correct"] for r in rows]
    assert len(rows) == 448 and sum(agree) / len(agree) >= least


def test_mmmu_pro_agrees_with_recorded_verdicts(shared: Path) -> None:
    rows = [r for r in _jsonl(shared / "recorded" / "mmmu_pro" / "gpt-4o_vision_cot.jsonl") if not r["random"]]
    found = [official("tasks.mmmu:official", choice(r["gt"], r["options"]), r["response"]) for r in rows]
    agree = [(f is True) == r["correct"] for f, r in zip(found, rows, strict=True)]
    assert len(rows) == 1727 and sum(agree) / len(agree) >= 0.99


def test_mathvista_agrees_with_a_recording_that_no_rule_was_written_for(shared: Path) -> None:
    items: dict[str, Example] = {e.id: e for e in resolve("mathvista", shared / "mathvista").load()}
    rows = [r for r in _jsonl(shared / "recorded" / "mathvista" / "claude.jsonl") if r["response"]]
    agree = [(mathvista.official(items[r["id"]].answer, r["response"])[0] is True) == r["correct"] for r in rows]
    assert sum(agree) / len(agree) >= 0.95
