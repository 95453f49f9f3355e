"""A prompt's own advantage where its answers differ, an advantage between prompts where they agree (COPO).

Paper: arXiv 2508.04138. `H_q` is the entropy (bits) of a prompt's answers, `A_loc` GRPO's z-score, `A_glob` the z-score of the
prompts' accuracies over the rollout batch; loss `w L(A_loc) + (1 - w) L(A_glob)`, `w = sigmoid(k (H_q - b))`, and w = 0 for a
prompt without spread under mode "forced".
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rewards import losses
from rewards.method import Batch, Method, Now, method


@method.register("copo")
class Copo(Method):
    """Prompts that are all wrong get a uniform negative advantage on every token. Losses are blended, not advantages:
    clipping makes a difference."""

    paper: ClassVar[str] = "arXiv 2508.04138"
    provenance: ClassVar[str] = "code: hijih/copo-code"
    family: ClassVar[str] = "estimator"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {"mode": "local"})
    inert: ClassVar[bool] = False

    mode: Literal["forced", "soft", "local"] = "forced"
    slope: float = 20.0
    middle: float = 0.5
    consistency: bool = False

    @property
    def scope(self) -> Literal["row", "group", "batch"]:
        return "batch"

    def steps(self, batch: Batch, advantage: Tensor) -> Iterable[tuple[Batch, Tensor]]:
        """Both statistics run over the rollout batch, so they travel with its mini-batches."""
        between, weight = self.between(batch), self.weight(batch)
        yield from super().steps(batch.with_signals({"copo.between": between, "copo.weight": weight}), advantage)

    def loss(self, now: Now, advantage: Tensor, batch: Batch) -> dict[str, Tensor]:
        if self.mode == "local":
            return super().loss(now, advantage, batch)
        kept = batch.signals
        between = kept["copo.between"] if "copo.between" in kept else self.between(batch)
        weight = (kept["copo.weight"] if "copo.weight" in kept else self.weight(batch))[:, None]
        local, wide = (
            losses.clipped_surrogate(now.logp, batch.old_logp, a, self.clip_low, self.clip_high, batch.ratio_cap)
            for a in (advantage, between[:, None] * batch.mask)
        )
        return {"local": self.reduce(weight * local, batch), "global": self.reduce((1 - weight) * wide, batch)}

    def between(self, batch: Batch) -> Tensor:
        """A_glob [B]: how a prompt's accuracy stands among the prompts; 0 with fewer than two of them."""
        numbers, accuracy, entropy, size = self._prompts(batch)
        value = accuracy
        if self.consistency:
            scale = (1 - 1 / size.clamp(min=2)) / size.clamp(min=2).log2()
            value = accuracy * (1 - scale * entropy)
        if len(numbers) < 2:
            return torch.zeros_like(batch.outcome)
        z = (value - value.mean()) / (value.std() + self.eps)
        return self._spread(batch, numbers, z)

    def weight(self, batch: Batch) -> Tensor:
        """w [B] of the prompt's own advantage."""
        numbers, accuracy, entropy, _ = self._prompts(batch)
        weight = torch.sigmoid(self.slope * (entropy - self.middle))
        if self.mode == "forced":
            weight = weight * ((accuracy > 0) & (accuracy < 1))
        return self._spread(batch, numbers, weight)

    def _prompts(self, batch: Batch) -> tuple[list[int], Tensor, Tensor, Tensor]:
        """Prompts with a graded rollout: number, accuracy, answer entropy in bits, graded rollouts."""
        numbers = sorted(set(batch.group[batch.graded].tolist()))
        facts = []
        for number in numbers:
            rows = (batch.group == number) & batch.graded
            counts = torch.unique(batch.cluster[rows], return_counts=True)[1].double()
            share = (counts / counts.sum()).tolist()
            bits = -sum(p * math.log2(p) for p in share)
            facts.append((float(batch.outcome[rows].mean()), bits, float(rows.sum())))
        table = torch.tensor(facts, dtype=batch.outcome.dtype, device=batch.outcome.device).reshape(-1, 3)
        return numbers, table[:, 0], table[:, 1], table[:, 2]

    def _spread(self, batch: Batch, numbers: list[int], values: Tensor) -> Tensor:
        """Values of prompts as values of their graded rollouts, [B]."""
        out = torch.zeros_like(batch.outcome)
        for number, value in zip(numbers, values, strict=True):
            out[(batch.group == number) & batch.graded] = value
        return out
