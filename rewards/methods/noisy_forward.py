"""A sequence weight that is right on average although the verifier rejects some right answers (forward correction).

Paper: arXiv 2510.00915. With rho1 = P(reject | right): weight rho1 for an accepted rollout and rho1 - 1 for a rejected one, no
baseline. Its mean is 0 for right and -(1 - rho0 - rho1) for wrong rollouts, so rho0 need not be known.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor

from rewards.method import Batch, method
from rewards.methods.noisy_backward import NoisyBackward


@method.register("noisy-forward")
class NoisyForward(NoisyBackward):
    """At rho1 = 0 it is nsr over all tokens, not grpo; centring in a group would undo it."""

    paper: ClassVar[str] = "arXiv 2510.00915"
    provenance: ClassVar[str] = "reconstruction, forced by the abstract (false negatives alone)"
    family: ClassVar[str] = "reward level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = None

    reduction: Literal["rollout", "token", "constant"] = "token"

    def reward(self, batch: Batch) -> Tensor:
        return self.observed(batch)

    def advantage(self, reward: Tensor, batch: Batch) -> Tensor:
        return (reward + self.false_negative - 1.0)[:, None] * batch.mask
