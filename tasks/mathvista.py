"""MathVista (Lu et al. 2024): 1,000 items (testmini) from 31 sources on figures, geometry, word problems, science, VQA.

Columns pid, question, image, decoded_image, choices, unit, precision, answer, question_type, answer_type, metadata, query
(the complete prompt). The gold of a multiple-choice item is the option's text. The 5,141 items of `test` have no answers.

Authors' rule: GPT-4 extracts the answer; a choice is the first bracketed letter, else the letter, else **the option
nearest by edit distance**, so that even an empty extraction selects an option (16.8 % of the items are then right); an
integer is truncated, a float rounded to the item's precision. `official` applies it to a stored extraction or, where there
is none, to an extraction by rules (tasks/support/reading.py); reasons starting with `nearest` mark guess credit.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from harness.core.errors import attempt
from harness.core.records import Answer, AnswerType, Example
from tasks.base import Hub, Task, task, user
from tasks.support.numbers import number
from tasks.support.reading import LETTERS, edit_distance, judge_without_option, option

_ENDINGS = {
    "multi_choice": "and provide the correct option letter, e.g., A, B, C, D, at the end.",
    "integer": "requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end.",
    "float1": "requiring a floating-point number with one decimal place and provide the final value, e.g., 1.2, 1.3, 1.4, "
    "at the end.",
    "float2": "requiring a floating-point number with two decimal places and provide the final value, e.g., 1.23, 1.34, "
    "1.45, at the end.",
    "list": "requiring a Python list as an answer and provide the final list, e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the end.",
}
_NOTES = {
    "479": "gold 2.54 although 56/22 = 2.55",
    "272": "published with two different lists of choices",
    **dict.fromkeys(("107", "663"), "107 and 663 are the same item"),
    **dict.fromkeys(("7", "226", "337", "419", "477", "531"), "ambiguous clock"),
    **dict.fromkeys(("587", "740", "781"), "two options are equal"),
}


def official(answer: Answer, response: str, extracted: str | None = None) -> tuple[bool, str | None, str]:
    """The authors' normalisation and comparison of an extraction."""
    found = _extraction(answer, response) if extracted is None else extracted
    if answer.type is AnswerType.CHOICE:
        chosen, how = chosen_option(found, answer.choices)
        wanted = answer.choices[LETTERS.index(answer.golds[0])]
        return chosen == wanted, chosen, how + ("match" if chosen == wanted else "mismatch")
    said, _ = attempt(_normal, found, answer)
    right = said == ("[" + ", ".join(answer.golds) + "]" if answer.type is AnswerType.LIST else answer.golds[0])
    return right, said, "match" if right else "mismatch" if said is not None else "no_answer"


def chosen_option(found: str, choices: Sequence[str]) -> tuple[str, str]:
    """(text of the option that an extraction selects, "" or "nearest_" when by edit distance; ties: the first)."""
    found = found.strip()
    letter = re.search(r"\(([a-zA-Z])\)", found)
    found = letter[1].upper() if letter else found
    if len(found) == 1 and found in LETTERS[: len(choices)]:
        return choices[LETTERS.index(found)], ""
    nearest = min(choices, key=lambda choice: edit_distance(found, choice))
    return nearest, "" if nearest == found else "nearest_"


def _normal(found: str, answer: Answer) -> str:
    if answer.type is AnswerType.INTEGER:
        return str(int(float(found)))
    return str(round(float(found), answer.precision)) if answer.type is AnswerType.FLOAT else found.strip()


def _extraction(answer: Answer, response: str) -> str:
    if answer.type is AnswerType.CHOICE:
        return option(response, answer.choices) or judge_without_option(response, answer.choices)
    if answer.type is AnswerType.LIST:
        lists = re.findall(r"\[[^\[\]]*\]", response)
        return lists[-1] if lists else ""
    return number(response) or ""


@task.register("mathvista")
class MathVista(Task):
    """MathVista: mathematical reasoning on pictures, 1,000 items."""

    modality = "multimodal"
    licence = "CC-BY-SA-4.0"
    version = 2
    splits = ("testmini",)
    hub: ClassVar = {"testmini": Hub("AI4Math/MathVista", "testmini")}
    files: ClassVar = {"testmini": "testmini.jsonl"}
    id_columns = ("pid",)
    columns = ("pid", "question", "answer", "question_type", "answer_type", "precision")
    categories = (
        "question_type",
        "answer_type",
        "language",
        "source",
        "category",
        "task",
        "context",
        "grade",
        "skills",
    )
    judge = "GPT-4 extracts the answer; here a stored extraction, or rules"
    lenient = "an extraction that names no option selects the nearest one by edit distance"

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        known = {
            **(row.get("metadata") or {}),
            "question_type": row["question_type"],
            "answer_type": row["answer_type"],
        }
        return Example(
            id=item,
            task=self.name,
            messages=user(row.get("query") or prompt(row), images=1),
            answer=gold(row),
            images=(self.image(row, "decoded_image", "image"),),
            rule="tasks.mathvista:official",
            note=_NOTES.get(item, ""),
            metadata={key: known[key] for key in self.categories if key in known},
        )


def prompt(row: Mapping[str, Any]) -> str:
    """The authors' query: hint, question with its unit, choices."""
    kind = row["question_type"] if row["question_type"] == "multi_choice" else row["answer_type"]
    kind += str(int(row["precision"])) if kind == "float" else ""
    lines = [f"Hint: Please answer the question {_ENDINGS[kind]}", f"Question: {row['question']}"]
    lines[1] += f" (Unit: {row['unit']})" if row.get("unit") else ""
    options = [f"({letter}) {text}" for letter, text in zip(LETTERS, row.get("choices") or (), strict=False)]
    return "\n".join([*lines, *(["Choices:", *options] if options else [])])


def gold(row: Mapping[str, Any]) -> Answer:
    """Letters of the options equal to the gold, or the number, or the elements of the list."""
    text, choices = str(row["answer"]), tuple(row.get("choices") or ())
    if row["question_type"] == "multi_choice":
        letters = tuple(c for c, option_text in zip(LETTERS, choices, strict=False) if option_text == text)
        return Answer(type=AnswerType.CHOICE, golds=letters, choices=choices)
    if row["answer_type"] == "list":
        return Answer(type=AnswerType.LIST, golds=tuple(map(repr, ast.literal_eval(text))))
    kind = AnswerType.INTEGER if row["answer_type"] == "integer" else AnswerType.FLOAT
    return Answer(type=kind, golds=(text,), precision=int(row["precision"]) if kind is AnswerType.FLOAT else None)
