"""Right answers earn less when the thinking part is uncertain and the answer part is not (PEAR).

Paper: arXiv 2510.08026. With mean entropies of the old policy before (H_t) and after (H_a) the end of thinking,
`P = max(0, H_t - alpha H_a)`; `R = min(1, score - weight P)` for a right response, `wrong` for the others.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from rewards.method import Batch, Method, method


@method.register("pear")
class Pear(Method):
    """A response without `</think>` is all thinking (H_a = 0). The tag itself counts as thinking."""

    paper: ClassVar[str] = "arXiv 2510.08026"
    provenance: ClassVar[str] = "note: a summary and public reviews; `weight` is ours"
    family: ClassVar[str] = "reward level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {"weight": 0.0})

    alpha: float = 1.0
    score: float = 1.0
    wrong: float = 0.0
    weight: float = 1.0

    @property
    def advantage_needs_signals(self) -> bool:
        return self.weight != 0.0

    def reward(self, batch: Batch) -> Tensor:
        right = (
            self.score - self.weight * self.penalty(batch)
            if self.weight
            else torch.full_like(batch.outcome, self.score)
        )
        return torch.where(batch.outcome >= 1, right.clamp(max=1.0), self.wrong)

    def penalty(self, batch: Batch) -> Tensor:
        """P [B]."""
        end = batch.spans["think"][:, 1] if "think" in batch.spans else torch.full_like(batch.group, -1)
        end = torch.where(end < 0, batch.mask.shape[1], end)
        place = torch.arange(batch.mask.shape[1], device=end.device)
        before = batch.mask & (place < end[:, None])
        entropy = batch.signals["old.entropy"]
        thinking, answering = (
            torch.where(part, entropy, 0.0).sum(-1) / part.sum(-1).clamp(min=1)
            for part in (before, batch.mask & ~before)
        )
        return (thinking - self.alpha * answering).clamp(min=0.0)
