"""GRPO with a clipped entropy bonus in the advantage, never in the gradient (entropy-based advantage shaping).

Paper: arXiv 2506.14758. `psi = min(alpha * sg(H), |A| / kappa)`, `A' = A + psi` with H [B, T] the entropy of the current
policy at every token; on top of a wider upper clip and the token mean. psi is added for negative advantages too: it weakens
penalties where the policy is undecided. With kappa > 1 no sign changes and A = 0 stays 0.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from harness.core.errors import ConfigError
from rewards.method import Batch, Method, Now, Scope, method


@method.register("entropy-adv")
class EntropyAdv(Method):
    """The detached entropy is that of the policy being updated, at the sampling temperature."""

    paper: ClassVar[str] = "arXiv 2506.14758"
    provenance: ClassVar[str] = "note: the authors' one-line change, quoted alike by three summaries"
    family: ClassVar[str] = "token level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = (
        "grpo",
        {"alpha": 0.0, "clip_high": 0.2, "reduction": "rollout"},
    )

    clip_high: float = 0.28
    reduction: Literal["rollout", "token", "constant"] = "token"
    alpha: float = 0.4
    kappa: float = 2.0

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.kappa <= 1:
            raise ConfigError(f"methods.{self.key}: kappa must be above 1 (got {self.kappa})", "the paper uses 2")

    @property
    def loss_scope(self) -> Scope:
        return "row"

    def bonus(self, entropy: Tensor, advantage: Tensor) -> Tensor:
        """psi [B, T], without gradient."""
        return torch.minimum(self.alpha * entropy.detach(), advantage.abs() / self.kappa)

    def loss(self, now: Now, advantage: Tensor, batch: Batch) -> dict[str, Tensor]:
        shaped = torch.where(batch.mask, advantage + self.bonus(now.entropy, advantage), 0.0)
        return super().loss(now, shaped, batch)
