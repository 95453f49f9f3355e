"""AMC 12, rewritten to integer answers: three different sets go by the name of AMC23, so the split names the one meant.

`2022-2023`: 83 items (43 of 2022, then 40 of 2023), the evaluation suite of RLFR and Dr. GRPO; hub
AI-MO/aimo-validation-amc (train). `2023`: only the 40 of 2023, as Qwen2.5-Math and simpleRL report; hub math-ai/amc23
(test; rows and columns unverified), or the tail of the local 83. Golds are floats in the source (142.0 means 142). No rule
of the authors exists for the rewritten set; the strict rule serves as official.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from harness.core.records import Answer
from tasks.base import Hub, task
from tasks.support.golds import whole
from tasks.support.mathematics import GOLDS, MathTask

_OF_2022, _ALL = 43, 83


@task.register("amc23")
class Amc23(MathTask):
    """AMC 12 of 2022 and 2023 with integer answers (83 items), or of 2023 alone (40)."""

    licence = "Apache-2.0"
    splits = ("2022-2023", "2023")
    hub: ClassVar = {
        "2022-2023": Hub("AI-MO/aimo-validation-amc", "train"),
        "2023": Hub("math-ai/amc23", "test"),
    }
    files: ClassVar = {"2022-2023": "amc23.jsonl", "2023": "amc23.jsonl"}

    def rows(self) -> Iterator[Mapping[str, Any]]:
        rows = list(super().rows())
        yield from rows[_OF_2022:] if self.split == "2023" and len(rows) == _ALL else rows

    def answer(self, row: Mapping[str, Any], item: str) -> Answer:
        return whole(self.first(row, GOLDS, item), f"{self.name} item {item}")
