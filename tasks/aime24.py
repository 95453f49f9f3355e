"""AIME 2024: the 30 problems of both papers; golds are integers from 0 to 999.

Hub: HuggingFaceH4/aime_2024 (split train; id, problem, solution, answer, url, year), derived from AI-MO's validation set
(Apache-2.0). The suites pad golds with zeros ("025"), which means 25. There is no official rule beyond "the integer":
lm-eval's string comparison would reject 25 for 025, Qwen's accepts 100 times the gold; the strict rule serves as official.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.records import Answer
from tasks.base import Hub, task
from tasks.support.golds import whole
from tasks.support.mathematics import GOLDS, MathTask


@task.register("aime24")
class Aime24(MathTask):
    """AIME 2024: 30 competition problems with integer answers."""

    licence = "Apache-2.0"
    hub: ClassVar = {"test": Hub("HuggingFaceH4/aime_2024", "train")}
    files: ClassVar = {"test": "aime24.jsonl"}

    def answer(self, row: Mapping[str, Any], item: str) -> Answer:
        return whole(self.first(row, GOLDS, item), f"{self.name} item {item}")
