"""VisuLogic (Xu et al. 2025): 1,000 visual puzzles whose four options stand only in the picture; chance is 25 %.

Hub: VisuLogic/VisuLogic, data.jsonl and images.zip; a row has image_path, question, label (or answer), tag and in some copies
id. Copies end the question in bare lines "A: A" to "D: D". Authors' rule
(evaluation/eval_model.py): the last outermost box if it is a letter; a letter at either end of the response; what follows the
last of thirteen phrases; GPT-4o-mini for what is left. `official` reads box or answer tag first (reasons `marked_*`), then their
phrases, and in the place of their judge the rules of tasks/reading.py (reasons `read_*`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.errors import DataError
from harness.core.records import Answer, Example
from tasks.base import Hub, Task, task, user
from tasks.support.golds import choice
from tasks.support.prose import conclusion, letters_named
from tasks.support.reading import option

_ASK = (
    "\nSolve the complex visual logical reasoning problem through step-by-step reasoning. Think about the "
    "reasoning process first and answer the question following this format: Answer: \\boxed{$LETTER}."
)
_PHRASES = (
    "answer:", "the final answer is:", "the answer is option:", "the answer is:", "the correct answer is option:",
    "the correct answer is:", "the answer should be:", "the final answer is", "the answer is option", "the answer is",
    "the correct answer is option", "the correct answer is", "the answer should be",
)  # fmt: skip
_CHOICES = ("", "", "", "")


def official(answer: Answer, response: str, extracted: str | None = None) -> tuple[bool | None, str | None, str]:
    """The marked letter, else the authors' letter by rules, else that of tasks/reading.py in their judge's place."""
    said = response if extracted is None else extracted
    marked = conclusion(said, answer.type) if extracted is None else None
    named = letters_named(marked, 4) if marked else ()
    found, how = (named[0], "marked_") if len(named) == 1 else (authors_letter(said), "")
    if found is None and marked is None:
        found, how = option(said, _CHOICES), "read_"
    if found is None:
        return False, marked, "no_answer"
    return found == answer.golds[0], found, how + ("match" if found == answer.golds[0] else "mismatch")


def authors_letter(response: str) -> str | None:
    """A letter at either end of the response, or what follows the last of the authors' phrases, tried in their order."""
    text = response.replace("<|endoftext|>", "")
    for letter in "ABCD":
        if text.endswith((f" {letter}.", f" ({letter}).")):
            return letter
        if text.startswith((f"{letter}\n", f"({letter})\n", f"({letter}) {letter}\n")) or text.strip() == letter:
            return letter
    low = text.lower()
    for phrase in _PHRASES:
        if phrase in low:
            low = low.rpartition(phrase)[2].strip().split("\n")[0].split(".")[0]
            if low.upper() in ("A", "B", "C", "D"):
                return low.upper()
    return None


@task.register("visulogic")
class VisuLogic(Task):
    """VisuLogic: visual puzzles with four options inside the picture."""

    modality = "multimodal"
    licence = "Apache-2.0"
    hub: ClassVar = {"test": Hub("VisuLogic/VisuLogic", "train", data_files="data.jsonl", archive="images.zip")}
    files: ClassVar = {"test": "data.jsonl"}
    columns = ("question",)
    categories = ("tag",)
    version = 2
    judge = "GPT-4o-mini reads what rules leave open; here further rules"

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        gold = str(row.get("label") or row.get("answer") or "").strip().upper()
        if gold not in ("A", "B", "C", "D"):
            raise DataError(f"{self.name} item {item}: the gold {gold!r} is no letter from A to D", "check the file")
        question = re.sub(r"(?:\n[A-D]: [A-D])+\s*$", "", row["question"])
        return Example(
            id=item,
            task=self.name,
            messages=user(question + _ASK, images=1),
            answer=choice(gold, ("", "", "", "")),
            images=(self.image(row, "image", "image_path"),),
            rule="tasks.visulogic:official",
            metadata={"tag": row["tag"]} if row.get("tag") else {},
        )
