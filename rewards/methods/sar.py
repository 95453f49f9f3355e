"""A reward for responses that fit the question: how much the question lowers their perplexity (self-aligned reward).

Paper: arXiv 2509.05489. `ppl = exp(-mean_t logp)` with the question (ppl_qa) and without it (ppl_a), by the policy that
sampled; `r = max((ppl_a - ppl_qa) / (ppl_a + 1e-9), -1)`, `R' = R + alpha r`; no division by a deviation, constant denominator.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from rewards.method import Batch, Pass, Row, View, method
from rewards.methods.dr_grpo import DrGrpo


@method.register("sar")
class Sar(DrGrpo):
    """Without the question a response follows the last `context` prompt tokens alone (the first needs some context)."""

    paper: ClassVar[str] = "arXiv 2509.05489"
    provenance: ClassVar[str] = (
        "code: amazon-science/Self-Aligned-Reward-Towards_Effective_and_Efficient_Reasoners@08892d0"
    )
    family: ClassVar[str] = "reward level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("dr-grpo", {"alpha": 0.0})

    alpha: float = 0.2
    context: int = 1

    @property
    def passes(self) -> tuple[Pass, ...]:
        bare = (Pass(name="bare", view=self.bare),) if self.alpha else ()
        return (Pass(name="old"), *bare)

    @property
    def advantage_needs_signals(self) -> bool:
        return True

    def bare(self, row: Row) -> View:
        """The same response after the last prompt tokens, no question and no image."""
        ids = row.prompt.ids[-self.context :]
        types = None if row.prompt.mm_token_type_ids is None else (0,) * len(ids)
        prompt = replace(row.prompt, ids=ids, engine_ids=ids, text="", images=(), patches=None, mm_token_type_ids=types)
        return View(prompt, row.response)

    def reward(self, batch: Batch) -> Tensor:
        clean = super().reward(batch)
        return clean + self.alpha * self.alignment(batch) if self.alpha else clean

    def alignment(self, batch: Batch) -> Tensor:
        """r [B] in [-1, 1]; 0 for a response without tokens."""
        length = batch.lengths.clamp(min=1)
        asked, alone = (
            torch.exp((-torch.where(batch.mask, batch.signals[f"{p}.logp"], 0.0).sum(-1) / length).clamp(max=60.0))
            for p in ("old", "bare")
        )
        return ((alone - asked) / (alone + 1e-9)).clamp(min=-1.0)
