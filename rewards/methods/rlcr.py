"""The model states its confidence and is paid for calibration (RL with calibration rewards, RLCR).

Paper: arXiv 2507.16806. Output order `<think> <answer> <analysis> <confidence>q</confidence>`, q in [0, 1];
`R = f (format_weight + correct_weight c + brier_weight (1 - (q - c)^2))`, c the outcome, f 1 for a well-formed response, else 0.
With P(right) = p the expected reward is largest at q = p. No division by a deviation.
"""

from __future__ import annotations

import re
from typing import ClassVar

import torch
from torch import Tensor

from harness.core.records import PromptStyle
from rewards.method import Batch, Context, method
from rewards.methods.dr_grpo import DrGrpo
from rewards.support.stats import auroc

_FORM = re.compile(
    r"\s*<think>.*</think>\s*<answer>.*</answer>\s*<analysis>.*</analysis>\s*<confidence>([^<>]*)</confidence>\s*",
    re.DOTALL,
)
_NUMBER = re.compile(r"\s*(?:0?\.\d+|[01](?:\.\d*)?)\s*")


@method.register("rlcr")
class Rlcr(DrGrpo):
    """`95%` is no confidence: the response is not well formed. Training masks truncated rollouts."""

    paper: ClassVar[str] = "arXiv 2507.16806"
    provenance: ClassVar[str] = "code: damanimehul/RLCR@8904bed"
    family: ClassVar[str] = "reward level"
    prompt: ClassVar[PromptStyle | None] = PromptStyle(
        suffix=(
            "\nThink first inside <think> </think>. Give the final answer inside <answer> </answer>. Then discuss how sure "
            "you can be of it inside <analysis> </analysis>, and end with the probability that it is right, a number from "
            "0 to 1, inside <confidence> </confidence>."
        )
    )

    format_weight: float = 0.5
    correct_weight: float = 0.5
    brier_weight: float = 0.5
    mask_truncated: bool = True

    def reward(self, batch: Batch) -> Tensor:
        stated = [confidence(r.text) for r in batch.rollouts]
        formed = torch.tensor([q is not None for q in stated], device=batch.outcome.device).float()
        q = torch.tensor([0.0 if q is None else q for q in stated], device=batch.outcome.device)
        brier = 1.0 - (q - batch.outcome).square()
        return formed * (self.format_weight + self.correct_weight * batch.outcome + self.brier_weight * brier)

    def shape(self, advantage: Tensor, batch: Batch) -> Tensor:
        return advantage * ~batch.truncated[:, None] if self.mask_truncated else advantage

    def learn(self, batch: Batch, ctx: Context) -> dict[str, float]:
        """Calibration of the batch; nothing is trained."""
        stated = [
            (confidence(r.text), c, g) for r, c, g in zip(batch.rollouts, batch.outcome, batch.graded, strict=True)
        ]
        pairs = [(q, float(c)) for q, c, g in stated if q is not None and bool(g)]
        metrics = {"rlcr/stated": len(pairs) / max(int(batch.graded.sum()), 1)}
        if pairs:
            q, c = (torch.tensor(column) for column in zip(*pairs, strict=True))
            metrics |= {"rlcr/brier": float((q - c).square().mean()), "rlcr/ece": calibration_error(q, c)}
            if 0 < float(c.mean()) < 1:
                metrics["rlcr/auroc"] = auroc(q, c >= 1)
        return metrics


def confidence(text: str) -> float | None:
    """The stated q of a well-formed response, else None."""
    form = _FORM.fullmatch(text)
    if form is None or not _NUMBER.fullmatch(form[1]):
        return None
    value = float(form[1])
    return value if 0.0 <= value <= 1.0 else None


def calibration_error(q: Tensor, correct: Tensor, bins: int = 10) -> float:
    """Expected calibration error over equal bins [a, b) (the last one closed)."""
    place = (q * bins).long().clamp(max=bins - 1)
    total = 0.0
    for number in range(bins):
        inside = place == number
        if bool(inside.any()):
            total += float(inside.float().mean() * (q[inside].mean() - correct[inside].mean()).abs())
    return total
