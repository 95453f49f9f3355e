"""Rewards of whole groups turned upside down with a probability (noisy rewards).

Paper: arXiv 2505.22653. One Bernoulli(p) per prompt and step; where it fires, right rollouts earn as wrong ones and the other
way round. A study of robustness: the clean outcome, and every accuracy, stay untouched.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from rewards.method import Batch, Context, Method, method
from rewards.support.seeds import stable_hash


@method.register("flip-noise")
class FlipNoise(Method):
    """Flips are a function of (run seed, step, prompt): a resumed run repeats them. p = 1 flips every group."""

    paper: ClassVar[str] = "arXiv 2505.22653"
    provenance: ClassVar[str] = "code: trestad/Noisy-Rewards-in-Learning-to-Reason@083f72b"
    family: ClassVar[str] = "reward level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {"p": 0.0})

    p: float = 0.3

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._seed = 0

    def setup(self, ctx: Context) -> None:
        self._seed = ctx.seed

    def reward(self, batch: Batch) -> Tensor:
        clean = super().reward(batch)
        flips = [self.flipped(batch.progress.step, r.prompt_id) for r in batch.rollouts]
        turned = batch.weight_of("outcome") * (1.0 - 2.0 * batch.outcome)
        return clean + torch.tensor(flips, device=clean.device) * turned

    def flipped(self, step: int, prompt: str) -> bool:
        return stable_hash("flip", self._seed, step, prompt) < self.p * 2.0**63
