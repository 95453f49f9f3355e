"""AIME 2025: the 30 problems of both papers; golds are integers from 0 to 999.

Hub: opencompass/AIME2025 (MIT; configurations AIME2025-I and -II, split test; question, answer), read one after the other;
the local copies have problem and answer. One gold is written `336^\\circ` and means 336. The strict rule serves as official
(see aime24).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.records import Answer
from tasks.base import Hub, task
from tasks.support.golds import whole
from tasks.support.mathematics import GOLDS, MathTask


@task.register("aime25")
class Aime25(MathTask):
    """AIME 2025: 30 competition problems with integer answers."""

    licence = "MIT"
    hub: ClassVar = {"test": Hub("opencompass/AIME2025", "test", ("AIME2025-I", "AIME2025-II"))}
    files: ClassVar = {"test": "aime25.jsonl"}

    def answer(self, row: Mapping[str, Any], item: str) -> Answer:
        return whole(self.first(row, GOLDS, item), f"{self.name} item {item}")
