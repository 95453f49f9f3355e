"""DAPO that lifts unlikely responses above likely ones, measured against the prompt's own likelihood (ARM, ProGRPO).

Paper: arXiv 2602.05281. `A'_i = A_i + alpha (c(q) - c(o_i))` in groups with right and wrong rollouts. `c(o) = exp(mean logp)`
over the `ceil(rho L)` least likely tokens of the response, `c(q) = exp(mean logp)` over the prompt's text tokens.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from rewards.method import Batch, Pass, method
from rewards.methods.dapo import Dapo


@method.register("progrpo")
class Progrpo(Dapo):
    """`correct_only` shifts right rollouts alone, as the abstract can be read."""

    paper: ClassVar[str] = "arXiv 2602.05281"
    provenance: ClassVar[str] = "note: two summaries; alpha and the prompt's pooling are a reconstruction"
    family: ClassVar[str] = "token level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("dapo", {"alpha": 0.0})

    alpha: float = 0.3
    rho: float = 0.2
    correct_only: bool = False

    @property
    def passes(self) -> tuple[Pass, ...]:
        return (Pass(name="old", tail="prompt" if self.alpha else 0),)

    @property
    def advantage_needs_signals(self) -> bool:
        return True

    def advantage(self, reward: Tensor, batch: Batch) -> Tensor:
        plain = super().advantage(reward, batch)
        if not self.alpha:
            return plain
        right, wrong = ((batch.outcome >= 1) == kind for kind in (True, False))
        rows = mixed(right & batch.graded, wrong & batch.graded, batch.group)
        shift = self.alpha * (self.asked(batch) - self.said(batch)) * (rows & (right | (not self.correct_only)))
        return plain + shift[:, None] * batch.mask

    def asked(self, batch: Batch) -> Tensor:
        """c(q) [B]."""
        mask = batch.signals["old.tail_mask"].bool()
        logp = torch.where(mask, batch.signals["old.tail_logp"], 0.0)
        return (logp.sum(-1) / mask.sum(-1).clamp(min=1)).exp()

    def said(self, batch: Batch) -> Tensor:
        """c(o) [B]."""
        # the small margin keeps 0.2 * 5 at 1 whatever its rounding
        count = torch.ceil(self.rho * batch.lengths - 1e-6).clamp(min=1)
        ordered = batch.old_logp.masked_fill(~batch.mask, torch.inf).sort(dim=-1).values
        low = torch.arange(ordered.shape[1], device=ordered.device) < count[:, None]
        return (torch.where(low & ordered.isfinite(), ordered, 0.0).sum(-1) / count).exp()


def mixed(right: Tensor, wrong: Tensor, group: Tensor) -> Tensor:
    """Rows [B] of the groups that have both kinds."""
    same = group[:, None] == group[None]
    return (same & right[None]).any(-1) & (same & wrong[None]).any(-1)
