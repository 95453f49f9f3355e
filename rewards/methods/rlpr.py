"""A reward without a verifier: how likely the reference answer is behind the policy's own reasoning (RLPR).

Paper: arXiv 2506.18254. `s_B`: mean probability of the reference's tokens put in place of what the response says inside
`<answer>`; `s_A`: the same behind the bare prompt, by the start policy. `R = (1 - c) max(s_B - s_A, 0) + c format`. Groups
whose deviation of R is below `filter * E` have no advantage, E an average of the mean deviation over past steps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from harness.core.records import PromptStyle
from rewards.method import Batch, Chunk, Context, Method, Pass, Row, View, method
from rewards.support import splice

_FORM = re.compile(r"\s*<think>(?:(?!</?think>).)*</think>\s*<answer>(?:(?!</?answer>).)*</answer>\s*", re.DOTALL)


@method.register("rlpr")
class Rlpr(Method):
    """A response that is not well formed has `s_B` 0. `signal="outcome"` puts the verifier in the place of the probability."""

    paper: ClassVar[str] = "arXiv 2506.18254"
    provenance: ClassVar[str] = "code: OpenBMB/RLPR@8490fca"
    family: ClassVar[str] = "reward level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = (
        "grpo",
        {"signal": "outcome", "format_weight": 0.0, "filter": 0.0, "clip_high": 0.2},
    )
    prompt: ClassVar[PromptStyle | None] = PromptStyle(
        suffix="\nThink first inside <think> </think>. Then give the final answer alone inside <answer> </answer>."
    )

    clip_high: float = 0.27
    signal: Literal["probability", "outcome"] = "probability"
    format_weight: float = 0.1
    filter: float = 0.5
    decay: float = 0.99
    ema_from: int = 6
    filter_from: int = 11

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._text: Context | None = None
        self._spread: float | None = None

    @property
    def passes(self) -> tuple[Pass, ...]:
        if self.signal == "outcome":
            return (Pass(name="old"),)
        spliced = Pass(name="spliced", view=self.spliced, read="likelihood")
        return (Pass(name="old"), spliced, Pass(name="direct", weights="start", view=self.direct, read="likelihood"))

    @property
    def advantage_needs_signals(self) -> bool:
        return self.signal != "outcome"

    def setup(self, ctx: Context) -> None:
        self._text = ctx

    def spliced(self, row: Row) -> View:
        """The response up to its answer, then the reference. Nothing is kept of a response that is not well formed."""
        assert self._text is not None
        if not _FORM.fullmatch(self._text.decode(row.response)):
            return View(row.prompt, row.response, keep=0)
        ids, kept = splice.replace_answer(row.response, reference(row), self._text.encode, self._text.decode)
        return View(row.prompt, ids, keep=kept)

    def direct(self, row: Row) -> View:
        assert self._text is not None
        ids = self._text.encode(reference(row))
        return View(row.prompt, ids, keep=len(ids))

    def likelihood(self, chunk: Chunk) -> dict[str, Tensor]:
        """`probability` [b]: mean over the reference's tokens; 0 where there are none."""
        values = torch.where(chunk.mask, chunk.logp.exp(), 0.0)
        return {"probability": values.sum(-1) / chunk.mask.sum(-1).clamp(min=1)}

    def reward(self, batch: Batch) -> Tensor:
        if self.signal == "outcome":
            value = super().reward(batch)
        else:
            value = (batch.signals["spliced.probability"] - batch.signals["direct.probability"]).clamp(min=0.0)
        formed = [float(bool(_FORM.fullmatch(r.text))) for r in batch.rollouts]
        return (1.0 - self.format_weight) * value + self.format_weight * torch.tensor(formed, device=value.device)

    def advantage(self, reward: Tensor, batch: Batch) -> Tensor:
        plain = super().advantage(reward, batch)
        if not self.filter or self._spread is None or batch.progress.step + 1 < self.filter_from:
            return plain
        wide = deviations(reward, batch)[batch.group] >= self.filter * self._spread
        return plain * wide[:, None]

    def learn(self, batch: Batch, ctx: Context) -> dict[str, float]:
        found = deviations(self.reward(batch), batch)
        spread = float(found.mean())
        if batch.progress.step + 1 >= self.ema_from:
            before = spread if self._spread is None else self._spread
            self._spread = self.decay * before + (1.0 - self.decay) * spread
        return {"reward_deviation": spread}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "spread": self._spread}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._spread = state["spread"]


def reference(row: Row) -> str:
    """The reference answer as text: the first gold, or a list's elements."""
    golds = row.example.answer.golds
    return ", ".join(golds) if row.example.answer.type == "list" else golds[0]


def deviations(reward: Tensor, batch: Batch) -> Tensor:
    """Bessel-corrected deviation of R over the graded rollouts of each group [groups]; 0 for fewer than two."""
    found = []
    for number in range(int(batch.group.max().item()) + 1):
        values = reward[(batch.group == number) & batch.graded]
        found.append(values.std() if len(values) > 1 else values.new_zeros(()))
    return torch.stack(found)
