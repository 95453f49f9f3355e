"""Intervals of accuracies: Wilson's formula with the effective number of questions that the spread amounts to."""

from __future__ import annotations

import math
from collections.abc import Sequence

from leaderboards.stats.components import Matrix, estimate, quantile


def interval(
    parts: Sequence[Matrix], single: bool, weights: Sequence[float] | None = None, level: float = 0.95
) -> tuple[float, float]:
    """Interval of the weighted mean accuracy of matrices [S, n_k] in [0, 1] that share their seeds.

    `single`: every score is one sample, 0 or 1; with one seed and one benchmark the interval then is Wilson's (1927).
    Otherwise it is Wilson's with p (1 - p) / variance as the number of questions and a t quantile, as for complex samples
    (Korn and Graubard 1998; Franco, Little, Louis and Slud 2019): it stays inside [0, 1] and is never empty.
    """
    found = estimate(parts, weights)
    if single and len(parts) == 1 and parts[0].shape[0] == 1:
        return wilson(found.value, parts[0].shape[1], quantile(0.5 + level / 2, math.inf))
    if found.variance <= 1e-15:
        shares = weights or [1 / len(parts)] * len(parts)
        items = 1 / sum(w * w / part.shape[1] for w, part in zip(shares, parts, strict=True))
        return wilson(found.value, items, quantile(0.5 + level / 2, max(1.0, items - 1)))
    effective = found.value * (1 - found.value) / found.variance
    return wilson(found.value, effective, quantile(0.5 + level / 2, found.df))


def wilson(share: float, n: float, z: float) -> tuple[float, float]:
    """Wilson's score interval of a share of `n` (which need not be whole) at quantile `z`."""
    z2 = z * z
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(max(0.0, share * (1 - share)) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
