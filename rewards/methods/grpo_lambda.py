"""A length reward for the prompts that are solved best, the plain outcome for the rest (GRPO-lambda).

Paper: arXiv 2505.18086. Prompts are ranked by accuracy; in the top `ceil(share * P)` a right rollout earns
`1 - alpha * sigmoid((L - mean) / std)` with statistics over the prompt's right rollouts, elsewhere 1; wrong ones earn 0.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rewards.method import Batch, Method, method


@method.register("grpo-lambda")
class GrpoLambda(Method):
    """Only what is already solved is shortened. Of equally accurate prompts the earlier ones are taken."""

    paper: ClassVar[str] = "arXiv 2505.18086"
    provenance: ClassVar[str] = "note: abstract, a summary and a third party's code (alpha)"
    family: ClassVar[str] = "reward level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {"alpha": 0.0})
    """For a recipe whose only reward is the outcome."""

    share: float = 0.2
    alpha: float = 0.6

    @property
    def scope(self) -> Literal["row", "group", "batch"]:
        return "batch"

    def reward(self, batch: Batch) -> Tensor:
        right = (batch.outcome >= 1) & batch.graded
        reward = right.to(batch.outcome.dtype)
        for number in self.shortened(batch):
            rows = right & (batch.group == number)
            if bool(rows.any()):
                length = batch.lengths[rows].to(reward.dtype)
                spread = length.std(correction=0)
                place = (length - length.mean()) / spread if float(spread) > 0 else torch.zeros_like(length)
                reward[rows] = 1.0 - self.alpha * torch.sigmoid(place)
        return reward

    def shortened(self, batch: Batch) -> list[int]:
        """Groups with the length reward: the most accurate ones."""
        groups = int(batch.group.max().item()) + 1
        weight = batch.graded.to(batch.outcome.dtype)
        count = torch.zeros(groups, device=weight.device).index_add_(0, batch.group, weight)
        solved = torch.zeros(groups, device=weight.device).index_add_(0, batch.group, weight * batch.outcome)
        order = (solved / count.clamp(min=1)).argsort(descending=True, stable=True)
        return order[: max(1, math.ceil(self.share * groups - 1e-9))].tolist() if self.share > 0 else []
