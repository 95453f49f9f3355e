"""CISPO with clip bounds of its own for right and for wrong rollouts (DISPO).

Paper: arXiv 2602.00983. `w = clip(ratio, 1 - positive_low, 1 + positive_high)` where A > 0 and
`clip(ratio, 1 - negative_low, 1 + negative_high)` where A < 0; `l = -sg(w) A logp`, mean over all tokens; dynamic sampling
and overlong penalty as in DAPO.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from rewards.method import method
from rewards.methods.cispo import Cispo
from rewards.methods.dapo import Dapo


@method.register("dispo")
class Dispo(Cispo, Dapo):
    """Loss of CISPO, sampling and reward of DAPO. It differs from REINFORCE only when a rollout batch is used for several
    optimiser steps. `clip_low` and `clip_high` have no effect."""

    paper: ClassVar[str] = "arXiv 2602.00983"
    provenance: ClassVar[str] = "note: two summaries agree; no code published"
    family: ClassVar[str] = "estimator"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = (
        "cispo",
        {
            "positive_low": 1.0,
            "positive_high": 0.28,
            "negative_low": 1.0,
            "negative_high": 0.28,
            "overlong_cache": 0.0,
            "mask_truncated": False,
            "dynamic_sampling": False,
        },
    )

    positive_low: float = 0.2
    positive_high: float = 10.0
    negative_low: float = 1.0
    negative_high: float = 100.0

    def weight(self, ratio: Tensor, advantage: Tensor) -> Tensor:
        """The importance weight [B, T]; a token without advantage keeps its ratio, its loss is 0 anyway."""
        right = ratio.clamp(1.0 - self.positive_low, 1.0 + self.positive_high)
        wrong = ratio.clamp(1.0 - self.negative_low, 1.0 + self.negative_high)
        return torch.where(advantage > 0, right, torch.where(advantage < 0, wrong, ratio))
