"""GRPO that weighs the late tokens of a response more (position-based advantage shaping).

Paper: arXiv 2508.02260. With the relative position `rel = t / (L - 1)`, `b = gamma * sigmoid(d (rel - n))` and
`A' = A + sign(A) b`; rollouts without advantage stay without.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from rewards.method import Batch, Method, method


@method.register("position-shaping")
class PositionShaping(Method):
    """`start` delays it to that fraction of training: the paper motivates it for the plateau of the entropy."""

    paper: ClassVar[str] = "arXiv 2508.02260"
    provenance: ClassVar[str] = "code-3p; constants are a reconstruction"
    family: ClassVar[str] = "token level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {"gamma": 0.0})

    gamma: float = 0.1
    steepness: float = 5.0
    middle: float = 0.5
    start: float = 0.0

    def shape(self, advantage: Tensor, batch: Batch) -> Tensor:
        if batch.progress.fraction < self.start:
            return advantage
        return advantage + advantage.sign() * self.bonus(batch)

    def bonus(self, batch: Batch) -> Tensor:
        """b [B, T]; the only token of a one-token response counts as the first."""
        place = torch.arange(batch.mask.shape[1], device=batch.mask.device)
        relative = place / (batch.lengths[:, None] - 1).clamp(min=1)
        return self.gamma * torch.sigmoid(self.steepness * (relative - self.middle)) * batch.mask
