"""MMMU (Yue et al. 2024): university questions with 1 to 7 pictures in 30 subjects; validation 900, dev 150.

Columns id, question, options (a printed Python list), answer, question_type (multiple-choice; open, also short-answer),
image_1 .. image_7, subfield, topic_difficulty. Hub: MMMU/MMMU, one configuration per subject, read in alphabetical order.
Golds were changed there in July 2026 (validation_Design_15, Art_Theory_4; earlier Literature_10), so the commit that was read
is part of the result. Open golds may be lists, any entry of which is right.

Authors' rule: for choices their later parser (mmmu-pro/evaluate.py) takes the one letter that stands behind the last
"Answer:"; else, as in 2023, a bracketed letter, a letter between blanks or (more than five words) an option's text, the
latest of several; else they **draw an option at random**, which is wrong here (`random_fallback`). `official` reads a box or
an answer tag first (reasons `marked_*`). For open questions: right when what the response says holds a gold string or equals a
gold number to two decimals; a marked answer counts in place of the whole. The rule of 2023 alone is the protocol `mmmu-2023`.
`aggregate` has the macro averages over subjects and over the six domains.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from harness.core.errors import DataError, attempt
from harness.core.records import Answer, AnswerType, Example, ImageSlot, Message, Sample, Text
from tasks.base import Hub, Task, task
from tasks.support.prose import compared, conclusion
from tasks.support.reading import LETTERS, names_option

DOMAINS = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": ("Basic_Medical_Science", "Clinical_Medicine", "Diagnostics_and_Laboratory_Medicine", "Pharmacy",
                            "Public_Health"),
    "Humanities and Social Science": ("History", "Literature", "Psychology", "Sociology"),
    "Tech and Engineering": ("Agriculture", "Architecture_and_Engineering", "Computer_Science", "Electronics",
                             "Energy_and_Power", "Materials", "Mechanical_Engineering"),
}  # fmt: skip
SUBJECTS = tuple(sorted(name for names in DOMAINS.values() for name in names))


def official(answer: Answer, response: str, extracted: str | None = None) -> tuple[bool | None, str | None, str]:
    """The marked letter, else the authors' without their random draw."""
    from rewards.verifier.protocols import mmmu_2023

    said = response if extracted is None else extracted
    marked = conclusion(said) if extracted is None else None
    if answer.type is not AnswerType.CHOICE:
        return mmmu_2023.stated(answer, said if marked is None else marked)
    if marked is not None and names_option(marked, answer.choices):
        right, reason = compared(answer, marked)
        return right, marked, f"marked_{reason}"
    letter = behind_answer(said, len(answer.choices)) or mmmu_2023.letter_of(said, answer.choices)
    if letter is None:
        return False, marked, "random_fallback"
    return letter in answer.golds, letter, "match" if letter in answer.golds else "mismatch"


def behind_answer(response: str, count: int) -> str | None:
    """The one option letter behind the last "Answer:", as the authors look for it; None where there is none or several."""
    _, mark, tail = response.rpartition("Answer:")
    found = [letter for letter in LETTERS[:count] if letter in tail] if mark else []
    return found[0] if len(found) == 1 else None


@task.register("mmmu")
class Mmmu(Task):
    """MMMU: university questions with pictures, multiple-choice and open."""

    modality = "multimodal"
    licence = "Apache-2.0"
    version = 2
    splits = ("validation", "dev")
    hub: ClassVar = {s: Hub("MMMU/MMMU", s, SUBJECTS) for s in ("validation", "dev")}
    columns = ("id", "question", "options", "answer", "question_type")
    categories = ("subject", "domain", "question_type", "topic_difficulty")
    lenient = "any text that holds a gold string of an open question counts"

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        subject = "_".join(item.split("_")[1:-1])
        known = {
            **row,
            "subject": subject,
            "domain": next((d for d, names in DOMAINS.items() if subject in names), None),
        }
        columns = [f"image_{i}" for i in range(1, 8)]
        shown = [c for c in columns if row.get(c) is not None]
        options = _list(row["options"], self.name, item)
        return Example(
            id=item,
            task=self.name,
            messages=prompt(row["question"], options, shown),
            answer=gold(row["answer"], options, row["question_type"], self.name, item),
            images=tuple(self.image(row, c) for c in shown),
            rule="tasks.mmmu:official",
            metadata={key: known[key] for key in self.categories if known.get(key)},
        )

    def aggregate(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Means of the subjects, of the domains, and the mean over subjects (macro average)."""
        groups: dict[str, list[bool]] = defaultdict(list)
        for sample in samples:
            for key in ("subject", "domain"):
                groups[f"{key} {sample.categories.get(key)}"].append(sample.verdict == "correct")
        means = {name: sum(rows) / len(rows) for name, rows in sorted(groups.items())}
        macro = {k: [v for n, v in means.items() if n.startswith(k)] for k in ("subject", "domain")}
        return {**means, **{f"macro average over {k}s": sum(v) / len(v) for k, v in macro.items() if v}}


def prompt(question: str, options: Sequence[str], shown: Sequence[str]) -> tuple[Message, ...]:
    """The authors' prompt with each picture at its tag; pictures without a tag come first."""
    lines = [f"({letter}) {text}" for letter, text in zip(LETTERS, options, strict=False)]
    ask = "Answer with the option's letter from the given choices directly." if options else (
        "Answer the question using a single word or phrase."
    )  # fmt: skip
    text = "\n".join([question, "", *lines, *([""] if lines else []), ask])
    parts: list[Text | ImageSlot] = []
    used: set[int] = set()
    for piece in re.split(r"(<image \d>)", text):
        tag = re.fullmatch(r"<image (\d)>", piece)
        place = shown.index(f"image_{tag[1]}") if tag and f"image_{tag[1]}" in shown else None
        if place is not None and place not in used:
            used.add(place)
            parts.append(ImageSlot(place))
        elif piece:
            parts.append(Text(piece))
    return (Message("user", (*(ImageSlot(i) for i in range(len(shown)) if i not in used), *parts)),)


def gold(answer: Any, options: Sequence[str], kind: str, name: str, item: str) -> Answer:
    """A letter with its options, or the accepted strings of an open question."""
    if kind == "multiple-choice":
        return Answer(type=AnswerType.CHOICE, golds=(str(answer).strip(),), choices=tuple(options))
    entries = _list(answer, name, item) if str(answer).startswith("[") else [answer]
    return Answer(type=AnswerType.TEXT, golds=tuple(str(e) for e in entries))


def _list(value: Any, name: str, item: str) -> list[str]:
    """A printed Python list, or a list. Raises DataError naming the item."""
    if not isinstance(value, str):
        return [str(v) for v in value or ()]
    found, error = attempt(ast.literal_eval, value or "[]")
    if error is not None or not isinstance(found, list | tuple):
        raise DataError(f"{name} item {item}: {value[:60]!r} is not a list", "check the file")
    return [str(v) for v in found]
