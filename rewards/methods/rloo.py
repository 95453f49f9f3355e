"""REINFORCE with the mean reward of the other rollouts as baseline (RLOO).

Paper: arXiv 2402.14740. `A_i = (G R_i - sum_g R) / (G - 1) = G / (G - 1) * (R_i - mean_g)`, without division by a deviation;
clipped surrogate, mean per rollout and then over rollouts.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rewards import losses
from rewards.method import Batch, Method, method


@method.register("rloo")
class Rloo(Method):
    """Leave-one-out baseline: unbiased, because a rollout's own reward is not in it."""

    paper: ClassVar[str] = "arXiv 2402.14740"
    provenance: ClassVar[str] = "peer: verl, TRL"
    family: ClassVar[str] = "estimator"

    def advantage(self, reward: Tensor, batch: Batch) -> Tensor:
        centred = losses.group_normalise(reward, batch.group, batch.graded, scale=False)
        groups = int(batch.group.max().item()) + 1
        size = torch.zeros(groups, device=reward.device).index_add_(0, batch.group, batch.graded.float())[batch.group]
        return (centred * size / (size - 1).clamp(min=1))[:, None] * batch.mask
