"""REINFORCE on right rollouts with a small weight and on wrong ones with weight 1 (Weighted-REINFORCE).

Paper: arXiv 2506.01347. `A = positive_weight` for a right rollout and -1 for a wrong one; no baseline, no deviation; clipped
surrogate, mean over all tokens. The outcome alone decides: other reward components of the recipe have no effect.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from rewards.method import Batch, Method, method


@method.register("w-reinforce")
class WReinforce(Method):
    """`positive_weight` 1 is REINFORCE with rewards +1 and -1; 0 keeps only the wrong rollouts (nsr over all tokens)."""

    paper: ClassVar[str] = "arXiv 2506.01347"
    provenance: ClassVar[str] = "code: TianHongZXY/RLVR-Decomposed@a5d4e7c"
    family: ClassVar[str] = "estimator"

    reduction: Literal["rollout", "token", "constant"] = "token"
    positive_weight: float = 0.1

    def advantage(self, reward: Tensor, batch: Batch) -> Tensor:
        value = torch.where(batch.outcome >= 1, self.positive_weight, -1.0)
        return value[:, None] * batch.mask
