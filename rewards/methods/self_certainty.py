"""GRPO rewarded by the policy's own certainty (self-certainty; as a reward: Intuitor).

Papers: arXiv 2502.18581 (measure), 2505.19590 (reward). `SC = mean_t KL(U || p_t)`, which is
`mean_t[-(1/V) sum_v log p_t(v) - log V]`, over the full distribution at temperature 1;
`R = outcome * R_recipe + coefficient * SC`.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from rewards.method import Batch, Chunk, Method, Pass, method


@method.register("self-certainty")
class SelfCertainty(Method):
    """V counts the ids that the policy may sample, so padding rows of the vocabulary add nothing."""

    paper: ClassVar[str] = "arXiv 2502.18581"
    provenance: ClassVar[str] = "code: backprop07/Self-Certainty@b17d021; as a reward: arXiv 2505.19590"
    family: ClassVar[str] = "reward level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {"outcome": 1.0, "coefficient": 0.0})

    outcome: float = 0.0
    coefficient: float = 1.0

    @property
    def passes(self) -> tuple[Pass, ...]:
        return (Pass(name="old", head=True, read="read_certainty") if self.coefficient else Pass(name="old"),)

    @property
    def advantage_needs_signals(self) -> bool:
        return True

    def read_certainty(self, chunk: Chunk) -> dict[str, Tensor]:
        """`certainty` [b, S]: KL(U || p) of every token."""
        return {"certainty": chunk.per_token(certainty, temperature=1.0)}

    def reward(self, batch: Batch) -> Tensor:
        clean = self.outcome * super().reward(batch)
        if not self.coefficient:
            return clean
        values = torch.where(batch.mask, batch.signals["old.certainty"], 0.0)
        return clean + self.coefficient * values.sum(-1) / batch.lengths.clamp(min=1)


def certainty(logits: Tensor, _ids: Tensor) -> Tensor:
    """KL(U || p) [n] of logits [n, V] in nats, over the ids that are not forbidden."""
    allowed = logits > -1e29
    count = allowed.sum(-1)
    logp = torch.where(allowed, logits.log_softmax(-1), 0.0)
    return -logp.sum(-1) / count - torch.tensor([math.log(n) for n in count.tolist()], device=logits.device)
