"""Confidence in the final answer as an additional reward (confidence as a reward, CRew).

Paper: arXiv 2510.13501. `c = mean probability of the answer's tokens` (inside `\\boxed{}`) under the policy that sampled;
`R' = R + weight * c`. The paper ranks and builds preference pairs with c; its use as an online reward is ours.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from rewards.method import Batch, Method, method


@method.register("crew")
class Crew(Method):
    """A response without a box has c = 0. `only_right` gives the bonus to right answers alone: otherwise confidence in
    wrong answers is paid too."""

    paper: ClassVar[str] = "arXiv 2510.13501"
    provenance: ClassVar[str] = "paper for c; the online reward is ours"
    family: ClassVar[str] = "reward level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {"weight": 0.0})

    weight: float = 0.1
    only_right: bool = True

    @property
    def advantage_needs_signals(self) -> bool:
        return self.weight != 0.0

    def reward(self, batch: Batch) -> Tensor:
        clean = super().reward(batch)
        if not self.weight:
            return clean
        bonus = self.weight * self.confidence(batch)
        return clean + torch.where(batch.outcome >= 1, bonus, 0.0) if self.only_right else clean + bonus

    def confidence(self, batch: Batch) -> Tensor:
        """c [B]: arithmetic mean of probabilities over the boxed span."""
        if "boxed" not in batch.spans:
            return torch.zeros_like(batch.outcome)
        place = torch.arange(batch.mask.shape[1], device=batch.mask.device)
        start, end = batch.spans["boxed"][:, :1], batch.spans["boxed"][:, 1:]
        inside = batch.mask & (place >= start) & (place < end)
        return torch.where(inside, batch.old_logp.exp(), 0.0).sum(-1) / inside.sum(-1).clamp(min=1)
