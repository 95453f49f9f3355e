"""GRPO that updates more from rollouts the policy finds likely (perplexity-based advantage shaping).

Paper: arXiv 2508.02260. `x_i = log PPL(o_i) = -mean_t old_logp`, `w_i = (x_i - mean) / std` over the rollout batch,
`A' = A * max(1 - alpha w_i, 0)`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rewards.method import Batch, Method, method


@method.register("ppl-shaping")
class PplShaping(Method):
    """The clamp at 0 keeps an extreme rollout from changing its sign."""

    paper: ClassVar[str] = "arXiv 2508.02260"
    provenance: ClassVar[str] = "code-3p; z-normalisation and alpha are a reconstruction"
    family: ClassVar[str] = "token level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {"alpha": 0.0})

    alpha: float = 0.01

    @property
    def scope(self) -> Literal["row", "group", "batch"]:
        return "batch"

    @property
    def advantage_needs_signals(self) -> bool:
        return True

    def shape(self, advantage: Tensor, batch: Batch) -> Tensor:
        return advantage * self.factor(batch)[:, None]

    def factor(self, batch: Batch) -> Tensor:
        """`max(1 - alpha w, 0)` [B]; 1 where the batch has no spread."""
        logp = torch.where(batch.mask, batch.old_logp, 0.0)
        x = -logp.sum(-1) / batch.lengths.clamp(min=1)
        rows = batch.graded & (batch.lengths > 0)
        if int(rows.sum()) < 2 or not float(x[rows].std()) > 0:
            return torch.ones_like(x)
        w = (x - x[rows].mean()) / x[rows].std()
        return torch.where(rows, (1.0 - self.alpha * w).clamp(min=0.0), 1.0)
