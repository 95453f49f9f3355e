"""One importance ratio per sequence, the geometric mean of its tokens' (GSPO).

Paper: arXiv 2507.18071. `s = exp(mean_t(logp - old_logp))`, `l = -min(s A, clip(s, 1 - low, 1 + high) A)`, mean over
rollouts. Written per token with `log s_t = logp - sg(logp) + sg(log s)`: the same value and gradient, and dense advantages
[B, T] work as well.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rewards.method import Batch, Method, Now, Scope, method


@method.register("gspo")
class Gspo(Method):
    """Sequence-level ratio and clipping; bounds are three orders of magnitude tighter than GRPO's."""

    paper: ClassVar[str] = "arXiv 2507.18071"
    provenance: ClassVar[str] = "peer: verl, TRL (importance_sampling_level sequence)"
    family: ClassVar[str] = "estimator"

    clip_low: float = 3e-4
    clip_high: float = 4e-4

    @property
    def loss_scope(self) -> Scope:
        return "row"

    def loss(self, now: Now, advantage: Tensor, batch: Batch) -> dict[str, Tensor]:
        mask = batch.mask
        drift = torch.where(mask, now.logp - batch.old_logp, 0.0).clamp(-20.0, 20.0)
        mean = (drift.sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)).detach()
        s = torch.exp(now.logp - now.logp.detach() + mean)
        s = s if batch.ratio_cap is None else s.clamp(max=batch.ratio_cap)
        surrogate = -torch.minimum(s * advantage, s.clamp(1.0 - self.clip_low, 1.0 + self.clip_high) * advantage)
        return {"policy": self.reduce(surrogate, batch)}
