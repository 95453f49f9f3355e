"""GRPO with a wider upper clip, a token mean, dynamic sampling and a penalty on overlong responses (DAPO).

Paper: arXiv 2503.14476. Clip bounds 0.2 and 0.28; loss over all tokens of the mini-batch; groups that are all right or all
wrong are replaced by those of further prompts; truncated rollouts have no loss and are in no denominator; `R += 0` up to
L_max - c tokens, then linearly down to -1 at L_max.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from harness.core.records import Example, Side
from rewards import losses
from rewards.method import Batch, Draw, Draws, Group, Method, Progress, Scope, method


@method.register("dapo")
class Dapo(Method):
    """Decoupled clip and dynamic sampling policy optimisation."""

    paper: ClassVar[str] = "arXiv 2503.14476"
    provenance: ClassVar[str] = "peer: verl (recipe/dapo), TRL (loss_type dapo)"
    family: ClassVar[str] = "sampling"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = (
        "grpo",
        {
            "clip_high": 0.2,
            "reduction": "rollout",
            "overlong_cache": 0.0,
            "mask_truncated": False,
            "dynamic_sampling": False,
        },
    )
    paper_recipe: ClassVar[Mapping[str, Any]] = {"train.group_size": 16}

    clip_high: float = 0.28
    reduction: Literal["rollout", "token", "constant"] = "token"
    overlong_cache: float = 0.2
    mask_truncated: bool = True
    truncated_in_mean: bool = False
    dynamic_sampling: bool = True
    refill: Literal["further", "same"] = "further"
    max_draws: int = 10

    def collect(self, draw: Draws, prompts: Sequence[Example], progress: Progress) -> list[Group]:
        """As many groups with right and wrong answers as there are `prompts`, from at most `max_draws` rounds of drawing.
        A round asks for as many prompts as groups are missing."""
        groups = draw([Draw(example=e) for e in prompts])
        if not self.dynamic_sampling:
            return groups
        found, last = [g for g in groups if mixed(g)], groups
        for _ in range(self.max_draws - 1):
            missing = len(prompts) - len(found)
            uniform = [g.example for g in last if not mixed(g)]
            asked = uniform if self.refill == "same" else draw.further(missing) if missing else []
            if not asked:
                break
            last = draw([Draw(example=e) for e in asked])
            found += [g for g in last if mixed(g)]
        # a step without any mixed group has zero advantages; its rollouts are kept for the log
        return found or groups

    def reward(self, batch: Batch) -> Tensor:
        return super().reward(batch) + overlong(batch.lengths, batch.max_new_tokens, self.overlong_cache)

    def shape(self, advantage: Tensor, batch: Batch) -> Tensor:
        return advantage * ~batch.truncated[:, None] if self.mask_truncated else advantage

    @property
    def loss_scope(self) -> Scope:
        return "row"

    def reduce(self, values: Tensor, batch: Batch) -> Tensor:
        """Truncated rollouts are left out of sum and denominator, unless `truncated_in_mean` keeps them in the latter."""
        if not self.mask_truncated or self.truncated_in_mean:
            return super().reduce(values, batch)
        whole, mask = batch.totals, batch.mask & ~batch.truncated[:, None]
        rollouts, tokens = whole.rollouts - whole.truncated_rollouts, whole.tokens - whole.truncated_tokens
        return losses.reduce_tokens(values, mask, self.reduction, rollouts, tokens, batch.max_new_tokens)


def mixed(group: Group) -> bool:
    """Whether the graded rollouts of a group differ in their outcome (not in any shaped reward)."""
    right = {v.correct for v in group.verdicts if v.side is not Side.INSTRUMENT}
    return len(right) == 2


def overlong(lengths: Tensor, limit: int, cache: float) -> Tensor:
    """Penalty [B]: 0 up to `limit * (1 - cache)` tokens, linear to -1 at `limit`. Source: arXiv 2503.14476, eq. 13."""
    span = limit * cache
    if span <= 0:
        return torch.zeros_like(lengths, dtype=torch.float32)
    return ((limit - span - lengths.float()) / span).clamp(-1.0, 0.0)
