"""MMK12: school mathematics, physics, chemistry and biology with pictures, by the authors of MM-Eureka.

Hub: FanqingM/MMK12, train (15,616 rows by a secondary source) and test (2,000; id, question, answer, subject, image:
unverified). MM-Eureka evaluates on 500 of them (its eval/k12/k12.json: id, question, answer, image_path). Licence: unverified.
Golds are messy (`$$6$$`, `25°.`, `>-2`, sentences) and are cleaned. The authors grade by GPT-4o; here the strict rule does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.records import Example
from tasks.base import Hub, Task, task, user
from tasks.support.chats import lettered_or_typed, plain


@task.register("mmk12")
class Mmk12(Task):
    """MMK12: school science questions with pictures."""

    modality = "multimodal"
    splits = ("test", "train")
    hub: ClassVar = {"test": Hub("FanqingM/MMK12", "test"), "train": Hub("FanqingM/MMK12", "train")}
    files: ClassVar = {"test": "k12.jsonl"}
    columns = ("question", "answer")
    categories = ("subject",)
    judge = "GPT-4o answers yes or no; here the strict rule"

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        question = plain(row["question"])
        return Example(
            id=item,
            task=self.name,
            messages=user(question, images=1),
            answer=lettered_or_typed(row["answer"], question),
            images=(self.image(row, "image", "image_path"),),
            metadata={"subject": row["subject"]} if row.get("subject") else {},
        )
