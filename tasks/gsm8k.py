"""GSM8K (Cobbe et al. 2021): grade-school word problems with integer answers.

Hub: openai/gsm8k (MIT; configuration main, train 7,473 and test 1,319; question, answer), where `answer` is a worked
solution with calculator notes `<<3*4=12>>` and a last line `#### n`. `platinum` is madrylab/gsm8k-platinum (1,209 items,
labels checked). Authors' rule: the number after the first `####`, commas removed, compared as a string. A response without
such a line says nothing to that rule; `official` then compares the marked final answer, and its reason says so
(`boxed_*`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from harness.core.errors import DataError
from harness.core.records import Answer, Example
from rewards.verifier.answers.marks import final_answer
from tasks.base import Hub, task
from tasks.support.golds import whole
from tasks.support.mathematics import MathTask
from tasks.support.prose import compared

_HASHES = re.compile(r"#### (-?[0-9.,]+)")
_WRONG = {"Marin and his neighbor Nancy": "wrong gold: 150, should be 240"}


def official(answer: Answer, response: str, extracted: str | None = None) -> tuple[bool | None, str | None, str]:
    """The authors' rule; the marked final answer where the response has no `####` line."""
    found = _HASHES.search(response) if extracted is None else None
    if found:
        number = found[1].replace(",", "").removesuffix(".")
        right = number == answer.golds[0]
        return right, number, "match" if right else "mismatch"
    said = extracted if extracted is not None else final_answer(response, answer.type)
    if not said:
        return False, said, "no_answer"
    verdict, reason = compared(answer, said)
    return verdict, said, f"boxed_{reason}" if verdict is not None else reason


@task.register("gsm8k")
class Gsm8k(MathTask):
    """GSM8K: grade-school word problems with integer answers."""

    licence = "MIT"
    splits = ("test", "train", "platinum")
    hub: ClassVar = {
        "test": Hub("openai/gsm8k", "test", "main"),
        "train": Hub("openai/gsm8k", "train", "main"),
        "platinum": Hub("madrylab/gsm8k-platinum", "test", "main"),
    }
    files: ClassVar = {"test": "gsm8k.jsonl", "train": "gsm8k-train.jsonl", "platinum": "gsm8k-platinum.jsonl"}
    columns = ("question", "answer")

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        found = _HASHES.search(row["answer"])
        if not found:
            raise DataError(f"{self.name} item {item}: the answer has no `#### number` line", "check the file")
        gold = whole(found[1].removesuffix("."), f"{self.name} item {item}")
        worked = re.sub(r"<<[^<>]*>>", "", row["answer"][: found.start()]).strip()
        example = super().parse({**row, "answer": gold.golds[0]}, item)
        note = next((n for start, n in _WRONG.items() if row["question"].startswith(start)), "")
        solution = f"{worked}\n\\boxed{{{gold.golds[0]}}}"
        return replace(example, solution=solution, rule="tasks.gsm8k:official", note=note)
