"""The rollouts of a step as a method sees them: Batch, its denominators and progress, and the policy's values with gradient.

Shapes: B rollouts (groups may be ragged), T longest response, float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from harness.core.errors import TrainingError
from harness.core.records import Example, Prompt, Rollout, Verdict
from rewards import losses


@dataclass(frozen=True, slots=True)
class Totals:
    """Denominators of the whole mini-batch over all ranks: graded rollouts, their response tokens, their groups; and how
    many of the rollouts and of the tokens belong to truncated responses, for methods that leave these out."""

    rollouts: float
    tokens: float
    groups: float
    truncated_rollouts: float = 0.0
    truncated_tokens: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where training stands. Schedules go by `fraction`, which follows the run's budget, be it steps or sampled tokens."""

    step: int = 0
    """Steps done, from 0."""
    total: int = 1
    """Steps of the recipe; under a budget of tokens the run may end earlier or later."""
    spent: float | None = None
    """Share of the sampled tokens' budget used before this step; None where the budget is steps."""
    epoch: float = 0.0
    validation: float | None = None
    gradients: Mapping[str, float] = field(default_factory=dict)
    """Gradient norm of the last step, by name."""

    @property
    def fraction(self) -> float:
        """Share of training done before this step, in [0, 1]."""
        return min(1.0, self.step / max(self.total, 1) if self.spent is None else self.spent)

    @property
    def fraction_after(self) -> float:
        """Share of training done once this step is; a step is taken to cost as many tokens as those before it did."""
        if self.spent is None or not self.step:
            return min(1.0, (self.step + 1) / max(self.total, 1))
        return min(1.0, self.spent * (self.step + 1) / self.step)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The rollouts of a step and what is known of them. Tensors are on one device and never carry a gradient.

    components: by rollout, the raw value of every reward component; weights: the recipe's weight of each, 0 where it has
    none. ids, mask [B, T]; group [B] numbers the groups from 0; outcome [B] 1 for CORRECT, else 0, always clean;
    base_reward [B] the recipe's weighted components; graded [B] False where the instrument failed: such rows leave
    statistics, mask and denominators (`mask` is already False there); truncated [B]; cluster [B] equal answers within a
    group; spans[name] [B, 2] token ranges of think, answer and the inside of the last box (-1 where absent); engine_logp
    [B, T] what the engine said; ratio_cap: the recipe's upper bound of importance ratios, for `losses.ratio`.
    """

    prompts: tuple[Prompt, ...]
    examples: tuple[Example, ...]
    rollouts: tuple[Rollout, ...]
    verdicts: tuple[Verdict, ...]
    components: tuple[Mapping[str, float], ...]
    ids: Tensor
    mask: Tensor
    engine_logp: Tensor
    group: Tensor
    outcome: Tensor
    base_reward: Tensor
    graded: Tensor
    truncated: Tensor
    cluster: Tensor
    spans: Mapping[str, Tensor]
    totals: Totals
    progress: Progress
    weights: Mapping[str, float] = field(default_factory=lambda: {"outcome": 1.0})
    mini_batches: int = 1
    max_new_tokens: int = 1
    ratio_cap: float | None = None
    signals_ready: bool = True
    stored: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def signals(self) -> Mapping[str, Tensor]:
        """`pass.key` -> tensor [B, ...] or [B, T, ...], where the reader left it. Raises TrainingError before the passes
        have run."""
        if not self.signals_ready:
            raise TrainingError(
                "a signal was read before the forward pass that makes it",
                "a method whose reward, advantage or shape reads batch.signals declares advantage_needs_signals = True",
            )
        return self.stored

    @property
    def old_logp(self) -> Tensor:
        """Log-probabilities [B, T] of the policy that is being updated from, by the trainer's own forward."""
        return self.signals["old.logp"]

    def weight_of(self, component: str) -> float:
        """The recipe's weight of a reward component; 0 for one that it does not name."""
        return self.weights.get(component, 0.0)

    @property
    def lengths(self) -> Tensor:
        """Response tokens per rollout [B]."""
        return self.mask.sum(-1)

    def keys(self) -> tuple[str, ...]:
        return tuple(f"{r.prompt_id}#{r.sample_index}" for r in self.rollouts)

    def with_signals(self, signals: Mapping[str, Tensor]) -> Batch:
        return replace(self, stored={**self.stored, **signals}, signals_ready=True)

    def select(self, rows: Tensor, keep_totals: bool = False) -> Batch:
        """The given rows, groups renumbered. A mini-batch gets totals of its own; a micro-batch keeps them."""
        index = rows.tolist()
        _, group = torch.unique(self.group[rows], return_inverse=True)
        tensors = ("ids", "mask", "engine_logp", "outcome", "base_reward", "graded", "truncated", "cluster")
        changed: dict[str, Any] = {name: getattr(self, name)[rows] for name in tensors}
        for name in ("prompts", "examples", "rollouts", "verdicts", "components"):
            changed[name] = tuple(getattr(self, name)[i] for i in index)
        part = replace(
            self,
            **changed,
            group=group,
            spans={k: v[rows] for k, v in self.spans.items()},
            stored={k: v[rows.to(v.device)] for k, v in self.stored.items()},
        )
        return part if keep_totals else replace(part, totals=totals(part.mask, part.graded, part.group, part.truncated))


def totals(mask: Tensor, graded: Tensor, group: Tensor, truncated: Tensor | None = None) -> Totals:
    """Denominators of these rows: only graded ones count. truncated [B]: None where no row is."""
    cut = torch.zeros_like(graded) if truncated is None else graded & truncated
    return Totals(
        rollouts=float(graded.sum()),
        tokens=float(mask[graded].sum()),
        groups=float(torch.unique(group[graded]).numel()),
        truncated_rollouts=float(cut.sum()),
        truncated_tokens=float(mask[cut].sum()),
    )


@dataclass(frozen=True, slots=True)
class Now:
    """The policy at this optimiser step, with gradient: logp, entropy [B, T]."""

    logp: Tensor
    entropy: Tensor


def mean_of(values: Tensor, batch: Batch, reduction: str) -> Tensor:
    """Values [B, T] as a scalar, over all graded rows of the mini-batch that the rows belong to."""
    total = batch.totals
    return losses.reduce_tokens(values, batch.mask, reduction, total.rollouts, total.tokens, batch.max_new_tokens)
