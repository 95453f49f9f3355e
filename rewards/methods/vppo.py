"""DAPO that learns from tokens and rollouts which depend on the picture (visually perceptive policy optimisation, VPPO).

Paper: arXiv 2510.09285. S [B, T] is how far the log-probability of a token falls when patches of the picture are black,
`min(exp(d) - d - 1, 10)` with `d = masked_logp - old_logp`. Per response only the `ceil(keep L)` tokens of largest S keep their
loss; advantages are scaled by the response's mean S, min-max over the batch, to a mean scale of 1.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rewards.method import Batch, Now, Pass, Row, Scope, View, method
from rewards.methods.dapo import Dapo
from rewards.support.seeds import stable_hash
from rewards.support.views import mask_patches


@method.register("vppo")
class Vppo(Dapo):
    """Rollouts to prompts without a picture are trained as in dapo and enter no statistic."""

    paper: ClassVar[str] = "arXiv 2510.09285"
    provenance: ClassVar[str] = "code: huaixuheqing/VPPO-RL@a23c54b"
    family: ClassVar[str] = "multimodal"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("dapo", {"keep": 1.0, "scale_min": 1.0, "penalty": 0.0})
    inert: ClassVar[bool] = False
    """The penalty acts on rows without advantage too."""

    keep: float = 0.4
    scale_min: float = 0.9
    corruption: float = 0.5
    penalty: float = 0.06

    @property
    def scope(self) -> Literal["row", "group", "batch"]:
        return "batch"

    @property
    def passes(self) -> tuple[Pass, ...]:
        looks = self.keep < 1.0 or self.scale_min < 1.0
        return (Pass(name="old"), *((Pass(name="masked", view=self.masked),) if looks else ()))

    @property
    def advantage_needs_signals(self) -> bool:
        return len(self.passes) > 1

    @property
    def loss_scope(self) -> Scope:
        return "row"

    def masked(self, row: Row) -> View:
        """The rollout under a masked picture: one mask per run, step and prompt, the same for all its rollouts."""
        seed = stable_hash("vppo", row.seed, row.step, row.prompt.example_id)
        return View(mask_patches(row.prompt, self.corruption, seed), row.response)

    def shape(self, advantage: Tensor, batch: Batch) -> Tensor:
        shaped = super().shape(advantage, batch)
        if len(self.passes) == 1:
            return shaped
        seen = torch.tensor([p.patches is not None for p in batch.prompts], device=batch.mask.device)
        dependence = self.dependence(batch)
        kept = top_share(dependence, batch.mask, self.keep)
        scale = self.scale(dependence, batch, seen & batch.graded & batch.mask.any(-1))
        return torch.where(seen[:, None], shaped * kept * scale[:, None], shaped)

    def dependence(self, batch: Batch) -> Tensor:
        """S [B, T], 0 outside the mask."""
        d = (batch.signals["masked.logp"] - batch.old_logp).clamp(-20.0, 20.0)
        return torch.where(batch.mask, (d.exp() - d - 1.0).clamp(0.0, 10.0), 0.0)

    def scale(self, dependence: Tensor, batch: Batch, rows: Tensor) -> Tensor:
        """Factor [B] with mean 1 over `rows`, from `scale_min` up; 1 where the rows do not differ."""
        mean = dependence.sum(-1) / batch.lengths.clamp(min=1)
        if not bool(rows.any()) or float(mean[rows].max() - mean[rows].min()) < 1e-6:
            return torch.ones_like(mean)
        low, high = mean[rows].min(), mean[rows].max()
        place = (mean - low) / (high - low)
        top = self.scale_min + (1.0 - self.scale_min) / place[rows].mean()
        return torch.where(rows, self.scale_min + place * (top - self.scale_min), 1.0)

    def loss(self, now: Now, advantage: Tensor, batch: Batch) -> dict[str, Tensor]:
        terms = super().loss(now, advantage, batch)
        if self.penalty:
            terms["penalty"] = self.penalty * self.reduce(-now.logp, batch)
        return terms


def top_share(value: Tensor, mask: Tensor, share: float) -> Tensor:
    """The `ceil(share * L)` valid tokens of largest value per row, [B, T]; ties keep the earlier token."""
    order = value.masked_fill(~mask, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    place = torch.arange(value.shape[1], device=value.device)
    rank = torch.empty_like(order).scatter_(-1, order, place.expand_as(order))
    # the small margin keeps 0.4 * 5 at 2 whatever its rounding
    return mask & (rank < torch.ceil(share * mask.sum(-1, keepdim=True) - 1e-6))
