"""GRPO without its two normalisers (Dr. GRPO): no division by the group's deviation, none by a rollout's own length.

Paper: arXiv 2503.20783. `A = R - mean_g`; loss `sum over tokens / (B * L_max)` with L_max the largest response length.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from rewards import losses
from rewards.method import Batch, Method, method


@method.register("dr-grpo")
class DrGrpo(Method):
    """A centred reward and a constant denominator."""

    paper: ClassVar[str] = "arXiv 2503.20783"
    provenance: ClassVar[str] = "peer: TRL (loss_type dr_grpo), verl"
    family: ClassVar[str] = "estimator"

    reduction: Literal["rollout", "token", "constant"] = "constant"

    def advantage(self, reward: Tensor, batch: Batch) -> Tensor:
        centred = losses.group_normalise(reward, batch.group, batch.graded, scale=False)
        return centred[:, None] * batch.mask
