"""MATH-500: 500 problems of the MATH test split (Lightman et al. 2023, openai/prm800k).

Hub columns problem, solution, answer, subject, level, unique_id; the suites' jsonl has problem, answer, difficulty (the
level). Golds are LaTeX without `$`: integers, words (`\\text{Evelyn}`), options (`\\text{(B)}`), money (`\\$18.90`),
thousands (`10,\\!080`), bases (`52_8`), lists, intervals and matrices. The authors grade by string normalisation and later
suites by rules that disagree with each other; none is *the* official one, so the strict rule also serves as official.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.records import Example
from tasks.base import Hub, Task, task, user
from tasks.golds import typed


@task.register("math500")
class Math500(Task):
    """MATH-500: 500 competition problems of the MATH test split."""

    licence = "MIT"
    hub: ClassVar = {"test": Hub("HuggingFaceH4/MATH-500", "test")}
    files: ClassVar = {"test": "math500.jsonl"}
    id_columns = ("unique_id",)
    columns = ("problem", "answer")
    categories = ("level", "subject")

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        level = row.get("level", row.get("difficulty"))
        known = {"level": int(level) if level is not None else None, "subject": row.get("subject")}
        return Example(
            id=item,
            task=self.name,
            messages=user(row["problem"]),
            answer=typed(row["answer"]),
            solution=row.get("solution"),
            metadata={key: value for key, value in known.items() if value is not None},
        )
