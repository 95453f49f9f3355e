"""REINFORCE with a clipped, detached importance weight, so that no token loses its gradient (CISPO).

Paper: arXiv 2506.13585 (MiniMax-M1). `l = -sg(clip(ratio, 1 - low, 1 + high)) A logp`, mean over all tokens.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from rewards import losses
from rewards.method import Batch, Method, Now, Scope, method


@method.register("cispo")
class Cispo(Method):
    """The lower bound 1 - 1 = 0 never binds; an absolute cap c is `clip_high = c - 1`."""

    paper: ClassVar[str] = "arXiv 2506.13585"
    provenance: ClassVar[str] = "peer: verl, TRL (loss_type cispo)"
    family: ClassVar[str] = "estimator"

    clip_low: float = 1.0
    clip_high: float = 0.28
    reduction: Literal["rollout", "token", "constant"] = "token"

    @property
    def loss_scope(self) -> Scope:
        return "row"

    def loss(self, now: Now, advantage: Tensor, batch: Batch) -> dict[str, Tensor]:
        ratio = losses.ratio(now.logp, batch.old_logp, batch.ratio_cap).detach()
        weight = self.weight(ratio, advantage)
        return {"policy": self.reduce(-weight * advantage * now.logp, batch)}

    def weight(self, ratio: Tensor, advantage: Tensor) -> Tensor:
        """The importance weight [B, T] of every token, without gradient."""
        return ratio.clamp(1.0 - self.clip_low, 1.0 + self.clip_high)
