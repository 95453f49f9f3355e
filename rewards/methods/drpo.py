"""Decoupled rewards: right rollouts are pulled up by their brevity, wrong ones pushed down as a soft maximum (DRPO).

Paper: arXiv 2510.04474. With s = mean_t logp [B] and l = L / L_max, per prompt with right and wrong rollouts
`J = sum_right w s - tau log mean_wrong exp(s / tau)`, `w = softmax over right of (1 - l) / lam`; divided by all prompts.
`loss = -J + sg(max(beta (kl - delta), 0)) kl`, kl the mean over tokens of old_logp - logp.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from rewards.method import Batch, Method, Now, method


@method.register("drpo")
class Drpo(Method):
    """No ratio and no clipping: `clip_low`, `clip_high`, `reduction` and the recipe's `ratio_cap` have no effect, and the
    advantages that are logged (grpo's) do not enter. It never equals grpo; a large `lam` weighs right rollouts alike (DisCO)."""

    paper: ClassVar[str] = "arXiv 2510.04474"
    provenance: ClassVar[str] = "code: Optimization-AI/DRPO@405f702"
    family: ClassVar[str] = "estimator"
    inert: ClassVar[bool] = False

    tau: float = 10.0
    lam: float = 0.1
    delta: float = 1e-4
    beta: float = 1e3

    @property
    def scope(self) -> Literal["row", "group", "batch"]:
        return "batch"

    def loss(self, now: Now, advantage: Tensor, batch: Batch) -> dict[str, Tensor]:
        s = torch.where(batch.mask, now.logp, 0.0).sum(-1) / batch.lengths.clamp(min=1)
        shorter = (1.0 - batch.lengths / batch.max_new_tokens) / self.lam
        objective = s.new_zeros(())
        for number in range(int(batch.group.max().item()) + 1):
            rows = (batch.group == number) & batch.graded
            right, wrong = rows & (batch.outcome >= 1), rows & (batch.outcome < 1)
            if bool(right.any()) and bool(wrong.any()):
                pull = (shorter[right].softmax(0) * s[right]).sum()
                push = torch.logsumexp(s[wrong] / self.tau, 0) - wrong.sum().log()
                objective = objective + pull - self.tau * push
        drift = torch.where(batch.mask, batch.old_logp - now.logp, 0.0).sum() / max(batch.totals.tokens, 1)
        weight = (self.beta * (drift.detach() - self.delta)).clamp(min=0.0)
        return {"policy": -objective / max(batch.totals.groups, 1), "kl": weight * drift}
