"""RLFR-Dataset-VLM: what the paper's multimodal runs read. `train`: MM-Eureka prompts; `expert`: mathematics of MMPR-v1.1.

Hub: JingHaoZ/RLFR-Dataset-VLM (Apache-2.0; by its card 55k and 115k rows). `train` is mmeureka_prompt.jsonl: prompt, answer,
images (a list, of which only the first is used; paths inside the repository). `expert` is the LLaMA-Factory set
`MMPRv1.1_Math`, whose reply (MMPR's `chosen`) is the worked solution; its file name is unverified. Golds mix letters,
numbers and LaTeX; a letter is a choice only where the question lists options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from harness.core.errors import DataError
from harness.core.records import Answer, AnswerType, Example
from tasks.base import Hub, Task, task, user
from tasks.support.chats import lettered_or_typed, question_and_reply


@task.register("rlfr-dataset-vlm")
class RlfrDatasetVlm(Task):
    """The paper's multimodal data: MM-Eureka prompts to train on, MMPR-v1.1 mathematics as expert data."""

    modality = "multimodal"
    licence = "Apache-2.0"
    splits = ("train", "expert")
    hub: ClassVar = {
        "train": Hub("JingHaoZ/RLFR-Dataset-VLM", "train", data_files="mmeureka_prompt.jsonl"),
        "expert": Hub("JingHaoZ/RLFR-Dataset-VLM", "train", data_files="MMPRv1.1_Math*"),
    }
    files: ClassVar = {"train": "mmeureka_prompt.jsonl", "expert": "MMPRv1.1_Math.jsonl"}

    def parse(self, row: Mapping[str, Any], item: str) -> Example:
        question, reply = question_and_reply(row, "prompt" if self.split == "train" else "")
        images = row.get("images") or row.get("image") or []
        pictures = images if isinstance(images, Sequence) and not isinstance(images, str) else [images]
        if not question or (self.split == "expert" and not reply):
            raise DataError(f"{self.name} item {item} holds no question{' with a reply' * (self.split == 'expert')}")
        return Example(
            id=item,
            task=self.name,
            messages=user(question, images=len(pictures[:1])),
            answer=self._gold(row, question, reply),
            images=tuple(map(self.picture, pictures[:1])),
            solution=reply if self.split == "expert" else None,
        )

    def _gold(self, row: Mapping[str, Any], question: str, reply: str | None) -> Answer:
        from rewards.verifier.answers.marks import final_answer

        gold = row.get("answer")
        if gold is None and reply:
            gold = final_answer(reply, AnswerType.EXPRESSION)
        return lettered_or_typed(gold, question) if gold else Answer(type=AnswerType.EXPRESSION, golds=())
