"""MATH-Vision (MATH-V, Wang et al. 2024): competition problems with pictures, 3,040 (test) or 304 of them (testmini).

Columns id, question, options, image, decoded_image, answer, solution, level, subject. 1,532 items have five options (384 of
them only in the picture, then the texts are the letters themselves), the others a number or LaTeX. `official` follows the
authors' evaluation (mathllm/MATH-V, evaluation/evaluate.py and utils.py), which needs no judge: it reads an answer out of any
text and compares numbers to two decimals, so that 60.004 counts for 60. Their rule knows a box and four phrases, not the answer
tag that the vision recipes ask for, so what a tag marks is read as if it were boxed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.records import Answer, Example
from tasks.base import Hub, Task, task, user
from tasks.support.golds import choice, typed
from tasks.support.mathvision_rule import LETTERS, boxed, read

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
    version = 2
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

    found = read(boxed(response, answer)) if extracted is None else extracted
    values = list(answer.golds)
    if answer.choices and answer.golds[0] in LETTERS:
        values.append(answer.choices[LETTERS.index(answer.golds[0])])
    right = any(rounded.equal(value, found) for value in values)
    return right, found, "match" if right else "mismatch" if found else "no_answer"
