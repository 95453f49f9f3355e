"""GRPO with a wider upper clip, a token mean, dynamic sampling and a penalty on overlong responses (DAPO).

Paper: arXiv 2503.14476. Clip bounds 0.2 and 0.28; loss over all tokens of the mini-batch; groups that are all right or all
wrong are drawn again; truncated rollouts have no loss; `R += 0` up to L_max - c tokens, then linearly down to -1 at L_max.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from harness.core.records import Example, Side
from rewards.method import Batch, Draw, Group, Method, Progress, method


@method.register("dapo")
class Dapo(Method):
    """Decoupled clip and dynamic sampling policy optimisation."""

    paper: ClassVar[str] = "arXiv 2503.14476"
    provenance: ClassVar[str] = "peer: verl (recipe/dapo), TRL (loss_type dapo)"
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
    dynamic_sampling: bool = True
    max_draws: int = 3

    def collect(
        self, draw: Callable[[Sequence[Draw]], list[Group]], prompts: Sequence[Example], progress: Progress
    ) -> list[Group]:
        """Groups with both right and wrong answers; prompts without one are drawn again, at most `max_draws` times."""
        groups = draw([Draw(example=e) for e in prompts])
        if not self.dynamic_sampling:
            return groups
        found = {g.example.id: g for g in groups if mixed(g)}
        for _ in range(self.max_draws - 1):
            missing = [g.example for g in groups if g.example.id not in found]
            if not missing:
                break
            again = draw([Draw(example=e) for e in missing])
            found |= {g.example.id: g for g in again if mixed(g)}
        # a step without any mixed group has zero advantages; its rollouts are kept for the log
        return [found[g.example.id] for g in groups if g.example.id in found] or groups

    def reward(self, batch: Batch) -> Tensor:
        return super().reward(batch) + overlong(batch.lengths, batch.max_new_tokens, self.overlong_cache)

    def shape(self, advantage: Tensor, batch: Batch) -> Tensor:
        return advantage * ~batch.truncated[:, None] if self.mask_truncated else advantage


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
