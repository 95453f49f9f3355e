"""LogicVista (Xiao et al. 2024): 448 multiple-choice items of logical reasoning on pictures, five skills.

The authors' data/dataset.json (here jsonl with `id`): imagename, question, answer, reasoning, skill, broad_capability,
specific_capability, imagesource; hub copy lscpku/LogicVista (image, question, answer). Options stand in the picture or in the
question. Odd golds: several letters (v1_1, v1_2, v1_5), G (v1_4), the digit 3 (v1_20); v1_382 has neither question nor gold
and cannot be graded (some suites drop it and report 447 items; here it stays among the asked).

The authors let GPT-4 list the chosen letters. `official` is that comparison without a judge: the set of letters that a box,
an answer tag, "Answer:" or the bare reply names must equal the gold's set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.records import Answer, AnswerType, Example
from tasks.base import Hub, Task, task, user
from tasks.support.golds import choice, typed
from tasks.support.prose import after_answer, conclusion
from tasks.support.reading import option

_NAMED = re.compile(
    r"[(\[]?[A-I][)\]]?(?:(?:\s*(?:,|and|&)\s*|\s+)\(?[A-I]\)?(?![A-Za-z0-9]))*(?=[\s.:),]|$)(?!\s+[a-z])"
)
_EMPTY = "the source has neither question nor answer"


def official(answer: Answer, response: str, extracted: str | None = None) -> tuple[bool | None, str | None, str]:
    """Equal sets of letters; the digit where the gold is one."""
    if not answer.golds:
        return None, None, "gold_unparseable"
    wanted, digits = named(answer.golds[0], digits=True, whole=True), answer.type is AnswerType.INTEGER
    for said in (extracted,) if extracted is not None else (conclusion(response), response, after_answer(response)):
        found = named(said or "", digits=digits, whole=said == response)
        if found:
            break
    if not found and extracted is None and (letter := option(response, answer.choices)):
        found = {letter}
    if not found:
        return False, None, "no_answer"
    return found == wanted, ", ".join(sorted(found)), "match" if found == wanted else "mismatch"


def named(text: str, digits: bool = False, whole: bool = False) -> set[str]:
    """The letters (or the digit) that a phrase names at its start; with `whole`, of a phrase that is nothing else."""
    text = re.sub(r"\\(?:text|mathrm|mathbf|textbf)|\\[()]|[*$`{}\\]", "", text).strip().rstrip(".")
    text = re.sub(r"^(?:option|choice)s?\s+", "", text, flags=re.IGNORECASE)
    if digits and re.fullmatch(r"\(?\d\)?", text):
        return {text.strip("()")}
    if whole and re.fullmatch(r"\(?[a-i]\)?", text):
        text = text.upper()
    found = _NAMED.fullmatch(text) if whole else _NAMED.match(text)
    return set(re.findall(r"[A-I]", found.group())) if found else set()


def options(question: str) -> tuple[str, ...]:
    """The texts of the options where the question lists them, as in `(A) 10 (B) 12`; () where it does not."""
    labels = []
    for label in re.finditer(r"\(?\b([A-I])\s*\)", question):
        if label[1] == "A":
            labels = [label]
        elif labels and ord(label[1]) == ord(labels[-1][1]) + 1:
            labels.append(label)
    ends = [following.start() for following in labels[1:]] + [len(question)]
    texts = tuple(question[label.end() : end].strip() for label, end in zip(labels, ends, strict=False))
    return texts if len(texts) > 1 else ()


@task.register("logicvista")
class LogicVista(Task):
    """LogicVista: logical reasoning on pictures, 448 multiple-choice items."""

    modality = "multimodal"
    version = 2
    licence = "Apache-2.0"
    hub: ClassVar = {"test": Hub("lscpku/LogicVista", "test")}
    files: ClassVar = {"test": "dataset.jsonl"}
    columns = ("question", "answer")
    categories = ("skill", "broad_capability", "specific_capability")
    judge = "GPT-4 lists the chosen letters; here by rules"

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        text = str(row["answer"] or "").strip()
        listed = options(row["question"] or "")
        answer = typed(text) if text.isdigit() else choice(text, listed)
        if not text:
            answer = Answer(type=AnswerType.CHOICE, golds=())
        name = row.get("imagename")
        return Example(
            id=item,
            task=self.name,
            messages=user(row["question"] or "(no question)", images=1),
            answer=answer,
            images=(self.image({**row, "file": f"images/{name}" if name else None}, "image", "file"),),
            solution=row.get("reasoning") or None,
            rule="tasks.logicvista:official",
            note="" if text else _EMPTY,
            metadata={key: row[key] for key in self.categories if row.get(key)},
        )
