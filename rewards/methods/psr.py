"""Learning from right rollouts only (positive sample reinforcement, PSR).

Paper: arXiv 2506.01347. `A = 1` for a right rollout, 0 for a wrong one; no baseline; the mean runs over the tokens of the right
rollouts of the mini-batch (`denominator` "subset") or over all (`"all"`).
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from rewards import losses
from rewards.method import Batch, Method, method


@method.register("psr")
class Psr(Method):
    """A mini-batch without a right rollout has loss 0."""

    paper: ClassVar[str] = "arXiv 2506.01347"
    provenance: ClassVar[str] = "code: TianHongZXY/RLVR-Decomposed@a5d4e7c"
    family: ClassVar[str] = "estimator"
    learns_from: ClassVar[bool] = True

    reduction: Literal["rollout", "token", "constant"] = "token"
    denominator: Literal["subset", "all"] = "subset"

    @property
    def scope(self) -> Literal["row", "group", "batch"]:
        """The subset of a mini-batch is counted over the whole mini-batch."""
        return "batch" if self.denominator == "subset" else "group"

    def advantage(self, reward: Tensor, batch: Batch) -> Tensor:
        return (self.kept(batch).float() * (1.0 if self.learns_from else -1.0))[:, None] * batch.mask

    def kept(self, batch: Batch) -> Tensor:
        """Graded rollouts with the outcome that is learnt from, [B]."""
        return ((batch.outcome >= 1) == torch.tensor(self.learns_from)) & batch.graded

    def reduce(self, values: Tensor, batch: Batch) -> Tensor:
        if self.denominator == "all":
            return super().reduce(values, batch)
        kept = self.kept(batch)
        rollouts, tokens = float(kept.sum()), float(batch.mask[kept].sum())
        return losses.reduce_tokens(values, batch.mask, self.reduction, rollouts, tokens, batch.max_new_tokens)
