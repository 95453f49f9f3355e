"""A bonus for right answers within a target length (LASER, length-based reward shaping).

Paper: arXiv 2505.15612. Base score 1 for right, -0.5 for wrong, -1 without a final answer; `R = base + alpha` for a right
response of at most L_T tokens. Group-normalised as in grpo, upper clip 0.28.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rewards.method import Batch, Method, method


@method.register("laser-len")
class LaserLen(Method):
    """`target` is a share of the longest response, so that it holds for any recipe."""

    paper: ClassVar[str] = "arXiv 2505.15612"
    provenance: ClassVar[str] = "code: hkust-nlp/Laser@c9e7c4e"
    family: ClassVar[str] = "reward level"

    clip_high: float = 0.28
    alpha: float = 0.5
    target: float = 0.25

    def reward(self, batch: Batch) -> Tensor:
        right = batch.outcome >= 1
        none = torch.tensor([v.extracted in (None, "") for v in batch.verdicts], device=right.device)
        base = torch.where(right, 1.0, torch.where(none, -1.0, -0.5))
        short = batch.lengths <= self.target * batch.max_new_tokens
        return base + self.alpha * (right & short)
