"""A jsonl file as a task, without code: `--task file:PATH.jsonl` or `--task file:PATH.jsonl:TYPE`.

A row has `question` (or `problem`, `prompt`) and `answer` (one gold or a list: any of them; for type `list` its elements).
The answer type is declared by the name's suffix or by `answer_type` in every row: choice, integer, float, expression, list,
text. Optional: id, choices, precision (decimals of a float), image or images (paths beside the file), solution, note and
`category` or `metadata` for the breakdown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import DataError, UnknownNameError, near
from harness.core.records import Answer, AnswerType, Example
from tasks.base import Task, user
from tasks.support.mathematics import QUESTIONS
from tasks.support.reading import LETTERS
from tasks.support.sources import read_jsonl

TYPES = tuple(t.value for t in AnswerType)


class FileTask(Task):
    """The items of one jsonl file. `name` is `file:` and the file's name."""

    key = "file"
    splits = ("test",)
    licence = "the file's own"
    categories = ("category",)

    def __init__(self, name: str) -> None:
        path, _, kind = name.removeprefix("file:").rpartition(":")
        if not path or not path.endswith(".jsonl"):
            path, kind = name.removeprefix("file:"), ""
        if kind and kind not in TYPES:
            raise UnknownNameError(f"{name}: unknown answer type '{kind}'", near(kind, TYPES))
        self.path, self.kind = Path(path), kind
        super().__init__("test", self.path.parent)
        first = next(iter(self.rows()), {})
        self.modality = "multimodal" if first.get("image") or first.get("images") else "language"  # type: ignore[misc]
        self.categories = (*(first.get("metadata") or {}), "category")  # type: ignore[misc]

    @property
    def name(self) -> str:
        return f"file:{self.path.name}"

    def rows(self) -> Iterator[Mapping[str, Any]]:
        yield from read_jsonl(self.path, self.name)

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        question = next((row[c] for c in (*QUESTIONS, "prompt") if row.get(c)), None)
        if not isinstance(question, str):
            raise DataError(f"{self.name} item {item} has no question", 'write {"question": "..", "answer": ".."}')
        given = row.get("images") or row.get("image") or []
        pictures = [given] if isinstance(given, str) else list(given)
        known = {**(row.get("metadata") or {}), "category": row.get("category")}
        return Example(
            id=item,
            task=self.name,
            messages=user(question, images=len(pictures)),
            answer=self._answer(row, item),
            images=tuple(map(self.picture, pictures)),
            solution=row.get("solution"),
            note=str(row.get("note") or ""),
            metadata={key: value for key, value in known.items() if value is not None},
        )

    def _answer(self, row: Mapping[str, Any], item: str) -> Answer:
        kind = str(row.get("answer_type") or self.kind)
        if kind not in TYPES:
            remedy = f"give every row an answer_type, or write --task {self.name}:TYPE ({', '.join(TYPES)})"
            raise DataError(f"{self.name} item {item} declares no answer type", remedy)
        gold = row.get("answer")
        golds = tuple(str(g).strip() for g in (gold if isinstance(gold, list) else [gold]) if g is not None)
        if not golds or not all(golds):
            raise DataError(f"{self.name} item {item} has no answer", "give one")
        choices = tuple(map(str, row.get("choices") or ()))
        letters = LETTERS[: len(choices)] or LETTERS
        if kind == "choice" and any(g not in letters for g in golds):
            raise DataError(
                f"{self.name} item {item}: a choice's answer is its letter, not {golds[0]!r}", f"one of {letters}"
            )
        return Answer(type=AnswerType(kind), golds=golds, choices=choices, precision=row.get("precision"))
