"""Named reward components of a recipe: the outcome (the verifier's verdict) and the format, kept apart in every log.

The outcome never depends on the format and the other way round; a recipe weighs them (RLFR's language recipe: 0.5 for a
boxed answer and 0.5 more for a right one; its multimodal recipe: 1 for a right answer and 0.5 for the tags).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from harness.core.records import Verdict

_THINK_ANSWER = re.compile(r"\s*<think>(?P<think>.+?)</think>\s*<answer>(?P<answer>.+?)</answer>\s*", re.DOTALL)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def boxed(text: str) -> bool:
    """One to four closed `\\boxed{...}` (the release's reward server refuses five or more)."""
    count = text.count("\\boxed{")
    if not 1 <= count <= 4:
        return False
    depth = 0
    for char in text[text.rindex("\\boxed{") + len("\\boxed") :]:
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return True
    return False


def think_answer(text: str) -> bool:
    """Exactly `<think>..</think><answer>..</answer>`, each tag once, both non-empty."""
    match = _THINK_ANSWER.fullmatch(text)
    return bool(match and match["think"].strip() and match["answer"].strip()) and all(text.count(t) == 1 for t in _TAGS)


STYLES = {"boxed": boxed, "think-answer": think_answer}


def components(verdict: Verdict, text: str, truncated: bool, style: str) -> dict[str, float]:
    """Raw components in [0, 1]. A truncated response is never well formed: it has no end."""
    return {"outcome": float(verdict.correct), "format": float(not truncated and STYLES[style](text))}


def weigh(values: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """The recipe's reward: the weighted sum. A component without a weight does not count."""
    return sum(weights.get(name, 0.0) * value for name, value in values.items())
