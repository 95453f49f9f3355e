"""An unbiased reward from a verifier of known error rates (backward correction).

Paper: arXiv 2510.00915. With rho0 = P(accept | wrong), rho1 = P(reject | right): `R' = (R - rho0) / (1 - rho0 - rho1)`; its mean
is the truth. Used with Dr. GRPO's advantage: z-scoring within a group would undo an affine change exactly.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from harness.core.errors import ConfigError
from rewards.method import Batch, Context, method
from rewards.methods.dr_grpo import DrGrpo
from rewards.support.seeds import stable_hash


@method.register("noisy-backward")
class NoisyBackward(DrGrpo):
    """`inject` adds the errors it corrects (the project's verifier has hardly any); they are a function of (run seed,
    step, rollout). Only the outcome counts as reward."""

    paper: ClassVar[str] = "arXiv 2510.00915"
    provenance: ClassVar[str] = "note"
    family: ClassVar[str] = "reward level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = (
        "dr-grpo",
        {"false_positive": 0.0, "false_negative": 0.0},
    )
    """For a recipe whose only reward is the outcome."""

    false_positive: float = 0.1
    false_negative: float = 0.2
    inject: bool = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._seed = 0
        if min(self.false_positive, self.false_negative) < 0 or self.false_positive + self.false_negative >= 1:
            raise ConfigError(
                f"methods.{self.key}: error rates must be >= 0 and sum to less than 1", "such as 0.1 and 0.2"
            )

    def setup(self, ctx: Context) -> None:
        self._seed = ctx.seed

    def reward(self, batch: Batch) -> Tensor:
        return (self.observed(batch) - self.false_positive) / (1.0 - self.false_positive - self.false_negative)

    def observed(self, batch: Batch) -> Tensor:
        """What the noisy verifier says, [B] of 0 and 1."""
        if not self.inject:
            return batch.outcome
        keys = batch.keys()
        draws = [stable_hash("verifier", self._seed, batch.progress.step, key) / 2.0**63 for key in keys]
        uniform = torch.tensor(draws, dtype=torch.float64, device=batch.outcome.device)
        rate = torch.where(batch.outcome >= 1, self.false_negative, self.false_positive)
        return torch.where(uniform < rate, 1.0 - batch.outcome, batch.outcome)
