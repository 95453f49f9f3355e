"""RLFR-Dataset-LM: what the paper's language runs read. `train`: MATH levels 3 to 5; `expert`: OpenR1-Math solutions.

Hub: JingHaoZ/RLFR-Dataset-LM. `train` is the saved folder math-lvl3to5-8k (problem, answer); `expert` is the LLaMA-Factory set
`openr1_math_default`. Card, licence, file names of the second and row counts: unverified.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness.core.errors import DataError
from harness.core.records import AnswerType, Example
from tasks.base import Hub, task, user
from tasks.support.chats import question_and_reply
from tasks.support.golds import typed
from tasks.support.mathematics import MathTask


@task.register("rlfr-dataset-lm")
class RlfrDatasetLm(MathTask):
    """The paper's language data: MATH levels 3 to 5 to train on, OpenR1-Math solutions as expert data."""

    splits = ("train", "expert")
    hub: ClassVar = {
        "train": Hub("JingHaoZ/RLFR-Dataset-LM", "train", data_files="math-lvl3to5-8k/train/*.arrow"),
        "expert": Hub("JingHaoZ/RLFR-Dataset-LM", "train", data_files="openr1_math_default*"),
    }
    files: ClassVar = {"train": "math-lvl3to5-8k.jsonl", "expert": "openr1_math_default.jsonl"}
    id_columns = ()

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        if self.split == "train":
            return super().parse(row, item)
        from rewards.verifier.answers.marks import final_answer

        question, reply = question_and_reply(row)
        if not question or not reply:
            raise DataError(f"{self.name} item {item} holds no question with a reply", f"it has {', '.join(row)}")
        gold = final_answer(reply, AnswerType.EXPRESSION)
        return Example(
            id=item, task=self.name, messages=user(question), answer=typed(gold or ""), solution=reply, metadata={}
        )
