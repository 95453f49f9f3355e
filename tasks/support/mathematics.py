"""What the language sets share: a row with a problem and a published gold in, an Example with the bare question out.

The copies of a set name their columns differently (`problem`, `question`, `Problem`; `answer`, `final_answer`), so the
first that a row has is taken. Instructions such as "put your final answer within \\boxed{}" belong to the recipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.errors import DataError
from harness.core.records import Answer, Example
from tasks.base import Task, user
from tasks.support.golds import typed

QUESTIONS = ("problem", "question", "Problem", "Question")
GOLDS = ("answer", "final_answer", "Answer")


class MathTask(Task):
    """Base of the language sets; a set states its facts and, where needed, how its golds are typed."""

    solution_column: ClassVar[str] = "solution"

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        question = self.first(row, QUESTIONS, item)
        return Example(
            id=item,
            task=self.name,
            messages=user(str(question)),
            answer=self.answer(row, item),
            solution=_text(row.get(self.solution_column)),
            metadata=self.known(row),
        )

    def answer(self, row: Mapping[str, Any], item: str) -> Answer:
        """The typed gold; a list of golds means any of them."""
        gold = self.first(row, GOLDS, item)
        return typed(*gold) if isinstance(gold, list | tuple) else typed(gold)

    def known(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Metadata: the categories that the row has."""
        return {key: row[key] for key in self.categories if row.get(key) is not None}

    def first(self, row: Mapping[str, Any], columns: tuple[str, ...], item: str) -> Any:
        """The first of `columns` that the row fills. Raises DataError naming the item."""
        for column in columns:
            if row.get(column) not in (None, "", []):
                return row[column]
        raise DataError(f"{self.name} item {item} has none of the columns {', '.join(columns)}", "check --data-dir")


def _text(solution: Any) -> str | None:
    """A worked solution; copies hold it as a string or as a list of one or more."""
    if isinstance(solution, list | tuple):
        solution = next((s for s in solution if s), None)
    return str(solution) if solution else None
