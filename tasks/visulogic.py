"""VisuLogic (Xu et al. 2025): 1,000 visual puzzles whose four options stand only in the picture; chance is 25 %.

Hub: VisuLogic/VisuLogic, data.jsonl and images.zip; a row has image_path, question, label (or answer), tag and in some copies
id. Copies end the question in bare lines "A: A" to "D: D". Authors' rule: the last outermost box (unless it says "letter" or
"or" or is longer than two characters, then the whole response); a letter at either end of the response; what follows the last
of their phrases. GPT-4o-mini is asked for what is left: `official` is the rule without that step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.errors import DataError
from harness.core.records import Answer, Example
from tasks.base import Hub, Task, task, user
from tasks.support.golds import choice
from tasks.support.reading import conclusion

_ASK = (
    "\nSolve the complex visual logical reasoning problem through step-by-step reasoning. Think about the "
    "reasoning process first and answer the question following this format: Answer: \\boxed{$LETTER}."
)
_PHRASES = (
    "answer:",
    "the final answer is",
    "the answer is",
    "the correct answer is",
    "the answer should be",
    "final answer:",
)


def official(answer: Answer, response: str, extracted: str | None = None) -> tuple[bool, str | None, str]:
    """The authors' letter by rules."""
    found = _letter(response if extracted is None else extracted)
    if found is None:
        return False, None, "no_answer"
    return found == answer.golds[0], found, "match" if found == answer.golds[0] else "mismatch"


def _letter(response: str) -> str | None:
    text = conclusion(response) or response
    text = re.sub(r"\\(?:text|rm|mathbf)\s*\{|\{\\rm|[$}]", "", text).strip()
    if re.search("letter|or", text) or len(text) > 2:
        text = response.strip()
    if text.upper() in ("A", "B", "C", "D"):
        return text.upper()
    ends = re.search(r" \(?([a-d])\)?\.$", text, re.IGNORECASE) or re.match(
        r"\(?([a-d])\)?(?: [a-d])?\n", text, re.IGNORECASE
    )
    if ends:
        return ends[1].upper()
    low = text.lower()
    for phrase in sorted(_PHRASES, key=low.rfind, reverse=True):
        if phrase in low:
            said = low.rpartition(phrase)[2].strip().split("\n")[0].split(".")[0].strip(" *()").upper()
            if said in ("A", "B", "C", "D"):
                return said
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
    judge = "GPT-4o-mini reads what rules leave open; here wrong"

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
