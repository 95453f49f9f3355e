"""A centred reward, whitened over all response tokens of the batch (REINFORCE++ with baseline).

Paper: arXiv 2501.03262. `a = R - mean_g` on every token, then `A = (a - mu) / sqrt(var + 1e-8)` with mean and Bessel-corrected
variance over all valid tokens of the rollout batch: prompts are coupled, and long rollouts weigh more in mu.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from rewards import losses
from rewards.method import Batch, Method, method


@method.register("reinforce-pp-baseline")
class ReinforcePpBaseline(Method):
    """Group mean as baseline, batch deviation as scale."""

    paper: ClassVar[str] = "arXiv 2501.03262"
    provenance: ClassVar[str] = "peer: verl"
    family: ClassVar[str] = "estimator"

    reduction: Literal["rollout", "token", "constant"] = "token"

    @property
    def scope(self) -> Literal["row", "group", "batch"]:
        return "batch"

    def advantage(self, reward: Tensor, batch: Batch) -> Tensor:
        centred = losses.group_normalise(reward, batch.group, batch.graded, scale=False)
        return whiten(centred[:, None].expand(batch.mask.shape), batch.mask)


def whiten(value: Tensor, mask: Tensor) -> Tensor:
    """`(x - mu) / sqrt(var + 1e-8)` over the valid entries of [B, T]; 0 elsewhere and where fewer than two are valid."""
    valid = value[mask]
    if valid.numel() < 2:
        return torch.zeros_like(value, memory_format=torch.contiguous_format)
    return torch.where(mask, (value - valid.mean()) * torch.rsqrt(valid.var() + 1e-8), 0.0)
