"""A reward for phrases of reasoning, whatever the answer (reasoning pattern reward, RPR).

Paper: arXiv 2505.22653. `min(1, hits / 20) - rep20 - count("user: ")`, at least 0; hits: how many of 40 phrases occur; rep20:
share of distinct word 20-grams that occur more than once. A response without an answer earns 0. A control: what a model
learns from form alone.
"""

from __future__ import annotations

from collections import Counter
from typing import ClassVar, Literal

import torch
from torch import Tensor

from rewards.method import Batch, Method, method

PHRASES = (
    "i need to", "we need to", "wait", "alternatively", "let me check", "let me see", "let's focus on",
    "we know that", "we can observe ", "we can see ", "let me try", "let's try", "let us try", "first, ", "firstly, ",
    "next, ", "finally, ", "let us first", "let's first", "let me first", "try again", "still not", "not working",
    "not correct", "does not work", "doesn't work", "makes sence", "since we ", "because we ", "consequently",
    "as a result", "thus", "therefore", "hence", "so that", "thereby", "if we", "given there ", "for instance ",
    "for example ",
)  # fmt: skip
"""The authors' list, its spelling included."""


@method.register("pattern-reward")
class PatternReward(Method):
    """`mode` "calibrate" keeps 1 for right answers and gives wrong ones the pattern reward."""

    paper: ClassVar[str] = "arXiv 2505.22653"
    provenance: ClassVar[str] = "code: trestad/Noisy-Rewards-in-Learning-to-Reason@083f72b"
    family: ClassVar[str] = "reward level"

    mode: Literal["pattern", "calibrate"] = "pattern"

    def reward(self, batch: Batch) -> Tensor:
        values = [
            0.0 if v.extracted in (None, "") else pattern_score(r.text)
            for r, v in zip(batch.rollouts, batch.verdicts, strict=True)
        ]
        score = torch.tensor(values, dtype=batch.outcome.dtype, device=batch.outcome.device)
        return torch.where(batch.outcome >= 1, 1.0, score) if self.mode == "calibrate" else score


def pattern_score(text: str) -> float:
    """The reward of a response's text, in [0, 1]."""
    lower = text.lower()
    hits = sum(phrase in lower for phrase in PHRASES)
    return max(0.0, min(1.0, hits / 20) - repetition(lower.split()) - lower.count("user: "))


def repetition(words: list[str], n: int = 20) -> float:
    """Distinct n-grams that occur more than once, over all n-grams."""
    grams = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    total = sum(grams.values())
    return sum(count > 1 for count in grams.values()) / total if total else 0.0
