"""GRPO that punishes errors harder the more confident in them the policy has become (ACE).

Paper: arXiv 2602.21420. `c = log pi_old(y|x) - log pi_start(y|x)`, per token or summed; for A < 0
`A' = A (1 + alpha softplus(c))`, positive advantages unchanged. Weights come from the old policy, so they are fixed for the
batch; an error that training has made less likely keeps nearly its plain penalty.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rewards.method import Batch, Method, Pass, method


@method.register("ace")
class Ace(Method):
    """Even an unmoved error weighs 1 + 0.693 alpha, so alpha > 0 differs from grpo from the first step on."""

    paper: ClassVar[str] = "arXiv 2602.21420"
    provenance: ClassVar[str] = "abstract and note; how they combine, and alpha, are a reconstruction"
    family: ClassVar[str] = "token level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {"alpha": 0.0})

    alpha: float = 1.0
    confidence: Literal["mean", "sum"] = "mean"
    confidence_max: float = 10.0

    @property
    def passes(self) -> tuple[Pass, ...]:
        start = (Pass(name="start", weights="start"),) if self.alpha else ()
        return (Pass(name="old"), *start)

    @property
    def advantage_needs_signals(self) -> bool:
        return True

    def shape(self, advantage: Tensor, batch: Batch) -> Tensor:
        if not self.alpha:
            return advantage
        return torch.where(advantage < 0, advantage * self.factor(batch)[:, None], advantage)

    def factor(self, batch: Batch) -> Tensor:
        """`1 + alpha softplus(c)` [B]."""
        shift = torch.where(batch.mask, batch.old_logp - batch.signals["start.logp"], 0.0).sum(-1)
        c = shift / batch.lengths.clamp(min=1) if self.confidence == "mean" else shift
        return 1.0 + self.alpha * torch.nn.functional.softplus(c.clamp(max=self.confidence_max))
