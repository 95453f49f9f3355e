"""MATH-Vision (MATH-V, Wang et al. 2024): competition problems with pictures, 3,040 (test) or 304 of them (testmini).

Columns id, question, options, image, decoded_image, answer, solution, level, subject. 1,532 items have five options (384 of
them only in the picture, then the texts are the letters themselves), the others a number or LaTeX. `official` follows the
authors' evaluation (mathllm/MATH-V, evaluation/evaluate.py and utils.py), which needs no judge: it reads an answer out of any
text and compares numbers to two decimals, so that 60.004 counts for 60.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.records import Answer, Example
from tasks.base import Hub, Task, task, user
from tasks.support.golds import choice, typed

LETTERS = "ABCDE"
NOTES = {
    **dict.fromkeys(("59", "434"), "gold C without options"),
    **dict.fromkeys(("1843", "1893"), "two options are equal"),
    **dict.fromkeys(("2828", "2833", "2875", "2877"), "gold holds a box"),
    **dict.fromkeys(("2947", "3007", "3008"), "gold holds its unit in braces"),
    "2521": "gold ends in a blank",
    "2830": r"gold destroyed: a form feed and rac{36}{13} for \frac{36}{13}",
    "2925": "gold is an unevaluated power",
    "2937": "gold is a ratio",
}
INSTRUCTION = (
    'Please solve the problem step by step and put your answer in one "\\boxed{}". If it is a multiple choice question, only one '
    'letter is allowed in the "\\boxed{}".'
)


@task.register("mathvision")
class MathVision(Task):
    """MATH-Vision: competition mathematics with pictures, 16 subjects at five levels."""

    modality = "multimodal"
    licence = "MIT"
    splits = ("test", "testmini")
    hub: ClassVar = {split: Hub("MathLLMs/MathVision", split) for split in ("test", "testmini")}
    files: ClassVar = {"test": "test.jsonl", "testmini": "testmini.jsonl"}
    columns = ("question", "answer")
    categories = ("level", "subject")
    lenient = "what stands behind the last = of the text is read without its context"
    refuses = ("2804", "2828", "2833", "2866", "2875", "2877")

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        options = tuple(str(o) for o in row.get("options") or ())
        return Example(
            id=item,
            task=self.name,
            messages=user(prompt(row["question"], options), images=1),
            answer=gold(str(row["answer"]), options),
            images=(self.image(row, "decoded_image", "image"),),
            solution=row.get("solution"),
            rule="tasks.mathvision:official",
            note=NOTES.get(item, ""),
            metadata={"level": int(row["level"]), "subject": row["subject"]} if "level" in row else {},
        )


def prompt(question: str, options: tuple[str, ...]) -> str:
    """The authors' step-by-step prompt; options that are only letters stand in the picture."""
    shown = () if "".join(options) == LETTERS else zip(LETTERS, options, strict=False)
    lines = [question.strip(), *(f"({letter}) {text}" for letter, text in shown)]
    return "\n".join([INSTRUCTION, *(re.sub(r"\s*<image\d*>", "", line) for line in lines)])


def gold(text: str, options: tuple[str, ...]) -> Answer:
    """A letter with its options, or a number or expression; a destroyed gold stays as it is."""
    return choice(text, options) if options or text in LETTERS else typed(text)


def official(answer: Answer, response: str, extracted: str | None = None) -> tuple[bool, str, str]:
    """The authors' rule: right when the answer read from the text equals the gold or the text of the gold's option."""
    from rewards.verifier.answers import rounded

    found = read(response) if extracted is None else extracted
    values = list(answer.golds)
    if answer.choices and answer.golds[0] in LETTERS:
        values.append(answer.choices[LETTERS.index(answer.golds[0])])
    right = any(rounded.equal(value, found) for value in values)
    return right, found, "match" if right else "mismatch" if found else "no_answer"


_GONE = (
    "\n", r"\text", r"\mbox", r"\left", r"\right", r"^{\circ}", r"^\circ", "{m}^3", "m^3", "{units}", "units", "{km}", "km",
)  # fmt: skip
_FLAGS = ("the final answer is", "the answer is", "the correct answer is", "the answer should be")


def read(response: str) -> str:
    """What the authors take for the answer: a letter at either end, a number at the end, what follows a phrase or a box."""
    text = response.strip()
    for letter in LETTERS:
        ends, starts = (f" {letter}.", f" ({letter})."), (f"{letter}\n", f"({letter})\n", f"({letter}) {letter}\n")
        if text.endswith(ends) or text.startswith(starts):
            text = letter
    tail = text.rpartition("is ")[2].rstrip(".")
    with contextlib.suppress(ValueError):
        text = tail if float(tail) is not None else text
    if "oxed{" not in text:
        for flag in (form for lower in _FLAGS for form in (lower, lower.capitalize())):
            _, mark, after = text.rpartition(flag)
            text = after.strip().split("\n")[0].split(". ")[0] if mark else text.strip()
    elif text.count("oxed{") > 1:
        text = "\\boxed{" + text.rpartition("oxed{")[2]
    text = _content(text)
    for mark in ("({})", "{{{}}}"):
        for letter in "abcde":
            text = text.replace(mark.format(letter), letter)
    return text.rstrip(".").lstrip(":").strip()


def _content(text: str) -> str:
    """The box's content (greedily to the last brace, as theirs) or the whole text, cleaned of units and spacing."""
    text = text.lower().replace("{}", "")
    boxed = re.search(r"oxed{(.*)}", text, re.DOTALL)
    text = boxed[1] if boxed else text
    close, opening = text.find("}"), text.find("{")
    if close != -1 and (opening == -1 or close < opening):
        text = text[:close]
    text = text.rpartition("=")[2].rpartition("\\approx")[2]
    for old, new in (("∞", "\\infty"), ("+\\infty", "\\infty"), ("\\\\", "\\")):
        text = re.sub(r" |\\,", "", text).replace(old, new)
    for gone in _GONE:
        text = text.replace(gone, "")
    return _tidy(text)


def _tidy(text: str) -> str:
    """Their string clean-up, as far as a text without blanks can meet it."""
    text = re.sub(
        r"\\!|\\?\$|\\%", "", text.replace("\\\\", "\\").replace("tfrac", "frac").replace("dfrac", "frac")
    ).replace("{.", "{0.")
    text = "0" + text if text.startswith(".") else text
    if "sqrt" in text:
        text = re.sub(r"\\sqrt([^{])", r"\\sqrt{\1}", text)
        text = re.sub(r"\\frac([^{])([^{])", r"\\frac{\1}{\2}", text)
    slash = re.fullmatch(r"(0|-?[1-9]\d*)/(0|-?[1-9]\d*)", text)
    return "\\frac{1}{2}" if text == "0.5" else f"\\frac{{{slash[1]}}}{{{slash[2]}}}" if slash else text
