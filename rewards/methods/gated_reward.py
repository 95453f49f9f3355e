"""Auxiliary reward components count only where the outcome is right (gated reward accumulation).

Paper: arXiv 2508.10548, reduced to a single turn: `R' = w R + 1[R > tau] * coefficient * sum_j w_j r_j` with R the
outcome, r_j every other component (the format) and w their weights in the recipe. The paper's setting has several turns;
the reduction is ours.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from rewards.method import Batch, Method, method


@method.register("gated-reward")
class GatedReward(Method):
    """Ungated (`tau` below 0) it is the direct accumulation that the paper finds to collapse."""

    paper: ClassVar[str] = "arXiv 2508.10548"
    provenance: ClassVar[str] = "note and code-3p; the single-turn form is ours"
    family: ClassVar[str] = "reward level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {"coefficient": 0.0})
    """For a recipe whose only reward is the outcome."""

    tau: float = 0.5
    coefficient: float = 1.0

    def reward(self, batch: Batch) -> Tensor:
        extra = [sum(batch.weight_of(n) * v for n, v in c.items() if n != "outcome") for c in batch.components]
        auxiliary = torch.tensor(extra, dtype=batch.outcome.dtype, device=batch.outcome.device)
        return batch.weight_of("outcome") * batch.outcome + (batch.outcome > self.tau) * self.coefficient * auxiliary
