"""MathVerse (Zhang et al. 2024): 788 geometry and function problems, each in five versions from all-text to all-picture.

Columns sample_index, problem_index, problem_version, question, image, answer, question_type, metadata (subject, subfield),
query_wo, query_cot, question_for_eval. `testmini` has all five versions (3,940 rows), `testmini_text_only` the sixth, without
pictures; one version alone is a split of its own. In Vision Only the question stands in the picture. The prompt is the
authors' `query_cot`; their leading table uses `query_wo`, which asks for no reasoning.

The authors let GPT extract and score. `official` is a rule without a judge: a letter (odd golds cleaned: `(C)` is C, `C\\nD`
both, an option's text its letter), else mathematical equality after `$`, units, `Area =` and degree signs are stripped,
decimals to the gold's places. Report the two question types apart: a judge accepts more among the free answers.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from harness.core.records import Answer, AnswerType, Example, Sample
from tasks.base import Hub, Task, task, user
from tasks.support.golds import choice, typed
from tasks.support.numbers import number
from tasks.support.prose import after_answer, compared, conclusion
from tasks.support.reading import LETTERS, option

_VERSIONS = ("text_dominant", "text_lite", "vision_intensive", "vision_dominant", "vision_only")
_ALL = Hub("AI4Math/MathVerse", "testmini", "testmini")
_NAME = re.compile(r"^\s*[A-Za-z. ]*\b(?:area|volume|perimeter|circumference|weight|intake|slope|center|diameter|C|D|SA|S\.A\.)"
                   r"(?: of [a-z ]+)?\s*=|^\s*=", re.IGNORECASE)  # fmt: skip
_UNIT = re.compile(
    r"\s*(?:\\mathrm|\\text)?\s*\{?\s*~?\s*(?:[cmk]?m|km ?/ ?h|k?g|(?:square |cubic )?units?|metres|litres)\s*\}?"
    r"\s*(?:\^\s*\{?\d\}?)?\s*$",
    re.IGNORECASE,
)
_DEGREES = re.compile(r"(?:\^\s*\{?\s*\\circ\s*\}?|°)\s*T?$")
_BROKEN = {"{8}{5} \\pi": "broken gold: {8}{5} \\pi", "-4.9\n-4.9": "gold given twice"}


def official(answer: Answer, response: str, extracted: str | None = None) -> tuple[bool | None, str | None, str]:
    """The letter or the value that the response concludes with, by rules instead of the authors' judge."""
    said = extracted if extracted is not None else _extraction(answer, response)
    if not said:
        return False, said, "no_answer"
    right, reason = compared(answer, said)
    if not right and answer.type is not AnswerType.CHOICE and (bare := cleaned(said)) and bare != said:
        again = compared(answer, bare)
        right, reason = again if again[0] else (right, reason)
    return right, said, reason


def _extraction(answer: Answer, response: str) -> str | None:
    marked = conclusion(response)
    if answer.type is AnswerType.CHOICE and len(answer.golds[0]) == 1:
        return option(response, answer.choices)
    if marked is not None or answer.type not in (AnswerType.INTEGER, AnswerType.FLOAT):
        return marked or after_answer(response)
    return number(response)


@task.register("mathverse")
class MathVerse(Task):
    """MathVerse: geometry and functions in versions from all-text to all-picture."""

    modality = "multimodal"
    version = 2
    licence = "MIT"
    splits = ("testmini", "testmini_text_only", *_VERSIONS)
    hub: ClassVar = {
        **dict.fromkeys(("testmini", *_VERSIONS), _ALL),
        "testmini_text_only": Hub("AI4Math/MathVerse", "testmini_text_only", "testmini_text_only"),
    }
    files: ClassVar = dict.fromkeys(("testmini", *_VERSIONS), "testmini.jsonl")
    id_columns = ("sample_index",)
    columns = ("question", "answer", "question_type", "problem_version")
    categories = ("problem_version", "question_type", "subject", "subfield")
    judge = "GPT extracts and scores; here by rules"

    def rows(self) -> Iterator[Mapping[str, Any]]:
        for row in super().rows():
            if self.split not in _VERSIONS or row["problem_version"].lower().replace(" ", "_") == self.split:
                yield row

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        known = {**(row.get("metadata") or {}), **row}
        pictures = () if row["problem_version"].lower() == "text only" else (self.image(row, "image"),)
        return Example(
            id=item,
            task=self.name,
            messages=user(row.get("query_cot") or row["question"], images=len(pictures)),
            answer=gold(row),
            images=pictures,
            rule="tasks.mathverse:official",
            note=_BROKEN.get(str(row["answer"]).strip(), ""),
            metadata={key: known[key] for key in self.categories if known.get(key)},
        )

    def aggregate(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Accuracy of each version and the authors' overall mean of the five versions that are at hand."""
        shares: dict[str, list[float]] = defaultdict(list)
        for sample in samples:
            shares[str(sample.categories.get("problem_version"))].append(sample.verdict == "correct")
        means = {name: sum(rows) / len(rows) for name, rows in sorted(shares.items())}
        pictured = [value for name, value in means.items() if name != "Text Only"]
        return {**means, **({"mean of versions": sum(pictured) / len(pictured)} if pictured else {})}


def gold(row: Mapping[str, Any]) -> Answer:
    """A letter with its options, or the cleaned free answer."""
    text = str(row["answer"]).replace("掳", "^\\circ ").strip()
    if row["question_type"] != "multi-choice":
        return _free(text)
    options = choices(row.get("question_for_eval") or row["question"])
    named = re.findall(r"[A-J]", text) if re.fullmatch(r"[\s()A-J]+", text) else []
    same = [c for c, o in zip(LETTERS, options, strict=False) if re.sub(r"\s", "", o) == re.sub(r"\s", "", text)]
    return choice(", ".join(named or same[:1] or [text]), options)


def choices(question: str) -> tuple[str, ...]:
    """Option texts from `Choices:\\nA:..` or `Choice:\\nA. ..` at the end of a question."""
    listed = re.split(r"\nChoices?:\s*\n", question)
    found = re.findall(r"^([A-J])[.:](.*)$", listed[-1], re.MULTILINE) if len(listed) > 1 else []
    return tuple(text.strip() for letter, text in found)


def cleaned(text: str) -> str:
    """A free answer, gold or given, without `$`, `Area =`, unit and degree sign."""
    return _DEGREES.sub("", _UNIT.sub("", _bare(text))).strip()


def _bare(text: str) -> str:
    bare = _NAME.sub("", re.sub(r"(?<!\\)\$", "", text)).strip()
    return re.sub(r"(?<=\d)\.(?=\\mathrm)", "", bare)


def _free(text: str) -> Answer:
    bare, value = _bare(text), cleaned(text)
    decimal = re.fullmatch(r"-?\d*\.(\d+)", value)
    if decimal:
        return Answer(type=AnswerType.FLOAT, golds=(value,), precision=len(decimal[1]))
    return typed(value if re.fullmatch(r"[-\d.\\pi/ {}frac]+", value) else bare)
