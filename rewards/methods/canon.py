"""Advantages against the other half of the group, split by entropy or by length (CANON).

Paper: arXiv 2509.23962. The group is sorted by x (mean token entropy, or length); L is its lower, U its upper half. With means
m_L, m_U of the rewards, entropy variant: `mu (R - alpha m_L + beta) + (1 - mu)(R - m_U)` in U and
`mu (alpha R - m_U - beta) + (1 - mu)(R - m_L)` in L; no division by a deviation; Dr. GRPO's denominator.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rewards.method import Batch, Method, method


@method.register("canon")
class Canon(Method):
    """In the length variant the other half carries alpha. `mu` 1 compares only across the halves, 0 only within."""

    paper: ClassVar[str] = "arXiv 2509.23962"
    provenance: ClassVar[str] = "code: biuboomc/CANON@7d6f814"
    family: ClassVar[str] = "estimator"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("dr-grpo", {"mu": 0.5, "clip_high": 0.2})
    """For groups of even size."""

    clip_high: float = 0.28
    reduction: Literal["rollout", "token", "constant"] = "constant"
    metric: Literal["entropy", "length"] = "entropy"
    alpha: float = 1.0
    beta: float = 0.0
    mu: float = 1.0

    @property
    def advantage_needs_signals(self) -> bool:
        return self.metric == "entropy"

    def advantage(self, reward: Tensor, batch: Batch) -> Tensor:
        x = self.criterion(batch)
        value = torch.zeros_like(reward)
        for number in range(int(batch.group.max().item()) + 1):
            rows = ((batch.group == number) & batch.graded).nonzero().squeeze(-1)
            # a stable sort: length ties are common, and the earlier rollout goes below
            order = rows[x[rows].argsort(stable=True)]
            lower, upper = order[: len(order) // 2], order[len(order) // 2 :]
            value[lower], value[upper] = self._halves(reward[lower], reward[upper])
        return value[:, None] * batch.mask

    def criterion(self, batch: Batch) -> Tensor:
        """What the group is split by, [B]."""
        if self.metric == "length":
            return batch.lengths.float()
        entropy = torch.where(batch.mask, batch.signals["old.entropy"], 0.0)
        return entropy.sum(-1) / batch.lengths.clamp(min=1)

    def _halves(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Advantages of the lower and the upper half; the mean of an empty half is 0."""
        m_low, m_high = (half.mean() if len(half) else half.new_zeros(()) for half in (low, high))
        a, b, mu = self.alpha, self.beta, self.mu
        if self.metric == "entropy":
            across_low, across_high = a * low - m_high - b, high - a * m_low + b
        else:
            across_low, across_high = low - a * m_high - b, a * high - m_low + b
        return mu * across_low + (1 - mu) * (low - m_low), mu * across_high + (1 - mu) * (high - m_high)
