"""GRPO pulled towards what the start policy knew, with a flatter target where the reward is low (RAPO).

Paper: arXiv 2510.03865. `L = L_grpo + alpha * k - beta * H` with the forward-KL estimate `k = rho log rho - rho + 1`,
`log rho = phi(R) start_logp - logp` clamped to +-5, phi(1) = 1 and phi(0) = `phi_wrong`; H the entropy, with gradient.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from rewards.method import Batch, Method, Now, Pass, Scope, method


@method.register("rapo")
class Rapo(Method):
    """The target's normaliser is left out (it is 1 where phi is 1)."""

    paper: ClassVar[str] = "arXiv 2510.03865"
    provenance: ClassVar[str] = "note: two summaries; alpha, beta and phi are a reconstruction"
    family: ClassVar[str] = "estimator"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {"alpha": 0.0, "beta": 0.0})
    inert: ClassVar[bool] = False

    alpha: float = 1e-3
    beta: float = 1e-3
    phi_wrong: float = 0.5

    @property
    def passes(self) -> tuple[Pass, ...]:
        start = (Pass(name="start", weights="start"),) if self.alpha else ()
        return (Pass(name="old"), *start)

    @property
    def loss_scope(self) -> Scope:
        return "row"

    def loss(self, now: Now, advantage: Tensor, batch: Batch) -> dict[str, Tensor]:
        terms = super().loss(now, advantage, batch)
        if self.alpha:
            phi = torch.where(batch.outcome >= 1, 1.0, self.phi_wrong)[:, None]
            terms["forward_kl"] = self.alpha * self.reduce(
                divergence(phi * batch.signals["start.logp"], now.logp), batch
            )
        if self.beta:
            terms["entropy"] = -self.beta * self.reduce(now.entropy, batch)
        return terms


def divergence(target: Tensor, logp: Tensor) -> Tensor:
    """`rho log rho - rho + 1` per token, never negative; its slope by logp is `-rho log rho`."""
    log_rho = (target - logp).clamp(-5.0, 5.0)
    rho = log_rho.exp()
    return rho * log_rho - rho + 1.0
