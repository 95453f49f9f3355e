"""No gold answer: a rollout earns the share of its group that gives the same answer (EMPO).

Paper: arXiv 2504.05812. `R_i = |cluster(i)| / G`; a response without an answer earns 0, and a group in which no two answers
agree earns 0 throughout. Group-normalised as in grpo. The verifier's answer clusters are used, never its verdict.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rewards.method import Batch, Method, method


@method.register("empo")
class Empo(Method):
    """Beware of collapse to one confident answer: watch the accuracy beside the reward."""

    paper: ClassVar[str] = "arXiv 2504.05812"
    provenance: ClassVar[str] = "code: QingyangZhang/EMPO@c5eccd4 (TRL variant)"
    family: ClassVar[str] = "reward level"

    def reward(self, batch: Batch) -> Tensor:
        given = torch.tensor([v.extracted not in (None, "") for v in batch.verdicts], device=batch.group.device)
        answered = given & batch.graded
        same = (batch.group[:, None] == batch.group) & batch.graded[:, None] & batch.graded
        agree = same & (batch.cluster[:, None] == batch.cluster) & answered[:, None] & answered
        share = agree.sum(-1) / same.sum(-1).clamp(min=1)
        # largest cluster of the row's group: 1 means that all answers differ
        largest = torch.where(same, agree.sum(-1)[None], 0).amax(-1)
        return torch.where(answered & (largest > 1), share, 0.0).to(batch.base_reward.dtype)
