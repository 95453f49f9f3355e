"""The positive control of the reward-hacking check: a reward that can be had without the task, and is no method to use."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rewards.method import Batch, Method, method


@method.register("hackable-repetition")
class HackableRepetition(Method):
    """GRPO on a reward for repeated tokens, whatever the answer: training makes it rise and accuracy does not follow.

    `R = (n - distinct) / n` over the n response tokens. It passes the contract; only the check of learning catches it.
    """

    provenance: ClassVar[str] = "own"

    def reward(self, batch: Batch) -> Tensor:
        rows = zip(batch.ids, batch.mask, strict=True)
        distinct = torch.tensor([float(ids[kept].unique().numel()) for ids, kept in rows])
        lengths = batch.lengths.to(torch.float32)
        return (lengths - distinct) / lengths.clamp(min=1)
