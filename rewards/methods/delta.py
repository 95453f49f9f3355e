"""DAPO that learns most from tokens which tell right from wrong responses (discriminative token credit, DelTA).

Paper: arXiv 2605.21467. `v = (1 - p) h` per token, h the input of the output head; `mu+-` the means of v weighted by `|A|` on
either side. `alpha = sigmoid((|v - mu_other|^2 - |v - mu_own|^2) / gamma)`, gamma the deviation of a side's margins; the
means are refined `rounds` times with weights `|A| alpha`. `lam = low + (high - low) alpha`, scaled to mean 1; `A' = lam A`.
The surrogate of a token with A' < 0 is at most `-dual_clip A'`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rewards import losses
from rewards.method import Batch, Chunk, Now, Pass, Scope, method
from rewards.methods.dapo import Dapo

ROWS = 16
"""Rollouts whose states are on the device at once."""


@method.register("delta")
class Delta(Dapo):
    """A margin is linear in v, so states are only read in passes over rows. A batch with one side alone is left as it is."""

    paper: ClassVar[str] = "arXiv 2605.21467"
    provenance: ClassVar[str] = "code: RUCBM/DelTA"
    family: ClassVar[str] = "token level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = (
        "dapo",
        {"low": 1.0, "high": 1.0, "dynamic_sampling": True, "dual_clip": None},
    )

    dynamic_sampling: bool = False
    low: float = 0.8
    high: float = 1.2
    rounds: int = 1
    dual_clip: float | None = 10.0

    @property
    def scope(self) -> Literal["row", "group", "batch"]:
        return "batch"

    @property
    def passes(self) -> tuple[Pass, ...]:
        return (Pass(name="old", head=True, read="states"),) if self.low != self.high else (Pass(name="old"),)

    @property
    def advantage_needs_signals(self) -> bool:
        return self.low != self.high

    @property
    def loss_scope(self) -> Scope:
        return "row"

    def states(self, chunk: Chunk) -> dict[str, Tensor]:
        """`state` [b, S, D]: the head's inputs, on the host where there is a device."""
        assert chunk.head is not None
        return {"state": chunk.head.cpu()}

    def shape(self, advantage: Tensor, batch: Batch) -> Tensor:
        shaped = torch.where(batch.mask, super().shape(advantage, batch), 0.0)
        if self.low == self.high:
            return shaped
        return shaped * self.weights(shaped, batch)

    def loss(self, now: Now, advantage: Tensor, batch: Batch) -> dict[str, Tensor]:
        surrogate = losses.clipped_surrogate(
            now.logp, batch.old_logp, advantage, self.clip_low, self.clip_high, batch.ratio_cap, self.dual_clip
        )
        return {"policy": self.reduce(surrogate, batch)}

    def vectors(self, batch: Batch) -> Iterator[tuple[slice, Tensor]]:
        """v [n, T, D] of a few rows at a time, 0 outside the mask."""
        for start in range(0, len(batch.mask), ROWS):
            part = slice(start, start + ROWS)
            mask = batch.mask[part, :, None]
            state = batch.signals["old.state"][part].to(batch.mask.device, batch.old_logp.dtype)
            yield part, torch.where(mask, (1.0 - batch.old_logp[part, :, None].exp()) * state, 0.0)

    def means(self, weight: Tensor, batch: Batch) -> Tensor:
        """Mean of v [D] under weights [B, T]."""
        total = sum((torch.einsum("bt,btd->d", weight[p], v) for p, v in self.vectors(batch)), torch.zeros(()))
        return total / weight.sum().clamp(min=1e-8)

    def margins(self, plus: Tensor, minus: Tensor, batch: Batch) -> Tensor:
        """`|v - minus|^2 - |v - plus|^2` [B, T]."""
        shift = minus.square().sum() - plus.square().sum()
        return torch.cat([2.0 * v @ (plus - minus) + shift for _, v in self.vectors(batch)])

    def weights(self, advantage: Tensor, batch: Batch) -> Tensor:
        """lam [B, T] with mean 1 over the valid tokens."""
        side = advantage.sign()
        if not bool((side > 0).any()) or not bool((side < 0).any()):
            return torch.ones_like(advantage)
        alpha = torch.ones_like(advantage)
        gamma: Tensor | None = None
        for _ in range(self.rounds + 1):
            weight = advantage.abs() * alpha
            plus, minus = (self.means(torch.where(s, weight, 0.0), batch) for s in (side > 0, side < 0))
            margin = self.margins(plus, minus, batch) * side
            scale = _spread(margin, side)
            alpha = torch.sigmoid(margin / (scale if gamma is None else gamma))
            gamma = scale
        alpha = torch.where(side != 0, alpha, 0.0)
        lam = torch.where(batch.mask, self.low + (self.high - self.low) * alpha, 0.0)
        return lam / (lam.sum() / batch.mask.sum()).clamp(min=1e-8)


def _spread(margin: Tensor, side: Tensor) -> Tensor:
    """Population deviation of the margins of each token's own side, [B, T]."""
    found = torch.ones_like(margin)
    for sign in (1, -1):
        at = side == sign
        found = torch.where(at, margin[at].std(correction=0) + 1e-8, found)
    return found
