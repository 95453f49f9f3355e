"""MATH-500: 500 problems of the MATH test split (Lightman et al. 2023, openai/prm800k).

Hub columns problem, solution, answer, subject, level, unique_id; the suites' jsonl has problem, answer, difficulty (the
level). Golds are LaTeX without `$`: integers, words (`\\text{Evelyn}`), options (`\\text{(B)}`), money (`\\$18.90`),
thousands (`10,\\!080`), bases (`52_8`), lists, intervals and matrices. The authors grade by string normalisation and later
suites by rules that disagree with each other; none is *the* official one, so the strict rule also serves as official.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tasks.base import Hub, task
from tasks.support.mathematics import MathTask


@task.register("math500")
class Math500(MathTask):
    """MATH-500: 500 competition problems of the MATH test split."""

    licence = "MIT"
    hub: ClassVar = {"test": Hub("HuggingFaceH4/MATH-500", "test")}
    files: ClassVar = {"test": "math500.jsonl"}
    id_columns = ("unique_id",)
    columns = ("problem", "answer")
    categories = ("level", "subject")

    def known(self, row: Mapping[str, Any]) -> dict[str, Any]:
        level = row.get("level", row.get("difficulty"))
        return super().known({**row, "level": int(level) if level is not None else None})
