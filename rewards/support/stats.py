"""Statistics that more than one method reports."""

from __future__ import annotations

import math

from torch import Tensor


def auroc(score: Tensor, positive: Tensor) -> float:
    """Probability that a positive has the higher score than a negative, ties counted half; NaN without both kinds.

    score [n]; positive [n], bool.
    """
    high, low = score[positive], score[~positive]
    if not len(high) or not len(low):
        return math.nan
    difference = high[:, None] - low[None, :]
    return float((difference > 0).double().mean() + 0.5 * (difference == 0).double().mean())
