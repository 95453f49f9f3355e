"""Geometry3K (Lu et al. 2021, InterGPS): plane geometry with a diagram; train 2,101, validation 300, test 601.

Hub: hiyouga/geometry3k (MIT): images (a list), problem (with `<image>`), answer (a number or LaTeX). The copy Yuting6/geometry3k
has another "test" and is not this set. No rule of the authors is used; the strict rule serves as official.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.records import Example
from tasks.base import Hub, Task, task, user
from tasks.support.chats import plain
from tasks.support.golds import typed


@task.register("geometry3k")
class Geometry3k(Task):
    """Geometry3K: plane geometry problems with diagrams."""

    modality = "multimodal"
    licence = "MIT"
    splits = ("test", "train", "validation")
    hub: ClassVar = {s: Hub("hiyouga/geometry3k", s) for s in ("test", "train", "validation")}
    columns = ("problem", "answer")

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        pictures = row.get("images") or []
        return Example(
            id=item,
            task=self.name,
            messages=user(plain(row["problem"]), images=len(pictures)),
            answer=typed(row["answer"]),
            images=tuple(map(self.picture, pictures)),
        )
