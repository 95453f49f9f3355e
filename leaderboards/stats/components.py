"""Where the spread of scores comes from: seeds, questions, and the rest (two-way random effects without replication).

y[s, i] = mean + seed_s + question_i + rest_si. The mean of [S, n] scores has the variance

    var(seed) / S + var(question) / n + var(rest) / (S n),

estimated from mean squares (Searle, Casella and McCulloch 1992, chapter 4). A t quantile with Satterthwaite's degrees of
freedom (Satterthwaite 1946) makes an interval of it: without an effect of the seed more seeds narrow it, and with one few
seeds widen it. Several benchmarks are one case more: they share the seeds and have questions of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Components:
    """Mean squares of [S, n] scores: between seeds (None with one seed), between questions, and of the rest (0 with one)."""

    seeds: int
    items: int
    between_seeds: float | None
    between_items: float
    rest: float

    @property
    def seed(self) -> float | None:
        """Variance between seeds, never below 0; None where there is one seed only."""
        return None if self.between_seeds is None else max(0.0, (self.between_seeds - self.rest) / self.items)

    @property
    def item(self) -> float:
        """Variance between questions, never below 0. With one seed the rest is in it."""
        return max(0.0, (self.between_items - self.rest) / self.seeds)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, the variance of that mean, and the degrees of freedom of the variance."""

    value: float
    variance: float
    df: float

    @property
    def error(self) -> float:
        return math.sqrt(self.variance)

    def half(self, level: float = 0.95) -> float:
        """Half of the width of the t interval."""
        return quantile(0.5 + level / 2, self.df) * self.error

    @property
    def p(self) -> float:
        """Two-sided p of a mean of 0; 1 where nothing varies and the mean is 0."""
        from scipy.special import stdtr

        if self.variance <= 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * stdtr(self.df, -abs(self.value) / self.error))


def quantile(level: float, df: float) -> float:
    """Of Student's t."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(level) if math.isinf(df) else stdtrit(df, level))


def components(scores: Matrix) -> Components:
    """Mean squares of [S, n]; one question shows no spread between questions."""
    seeds, items = scores.shape
    by_item, by_seed = scores.mean(0), scores.mean(1)
    mean = float(scores.mean())
    between_items = seeds * float(np.square(by_item - mean).sum()) / max(1, items - 1)
    if seeds == 1:
        return Components(1, items, None, between_items, 0.0)
    between_seeds = items * float(np.square(by_seed - mean).sum()) / (seeds - 1)
    rest = scores - by_seed[:, None] - by_item[None, :] + mean
    return Components(
        seeds, items, between_seeds, between_items, float(np.square(rest).sum()) / ((seeds - 1) * max(1, items - 1))
    )


def estimate(parts: Sequence[Matrix], weights: Sequence[float] | None = None) -> Estimate:
    """The weighted mean (default: equal weights) of the means of matrices [S, n_k] that share their seeds.

    The part of the seeds comes from the spread of the weighted means of the seeds, so that a seed that is good on every
    benchmark counts as what it is. Where it is below what chance within a seed explains, it is raised towards that by
    1 / (S - 1) of the gap: by simulation this holds the level best (docs/statistics.md).
    """
    shares = weights or [1 / len(parts)] * len(parts)
    seeds = parts[0].shape[0]
    found = [components(part) for part in parts]
    value = sum(w * float(part.mean()) for w, part in zip(shares, parts, strict=True))
    items = [w * w * c.between_items / (seeds * c.items) for w, c in zip(shares, found, strict=True)]
    if seeds == 1:
        return _satterthwaite(value, sum(items), [(v, c.items - 1) for v, c in zip(items, found, strict=True)])
    rest = [w * w * c.rest / (seeds * c.items) for w, c in zip(shares, found, strict=True)]
    by_seed = sum((w * part.mean(1) for w, part in zip(shares, parts, strict=True)), np.zeros(seeds))
    between = float(by_seed.var(ddof=1)) / seeds
    missing = max(0.0, sum(rest) - between)
    variance = between + missing / (seeds - 1) + sum(items) - sum(rest)
    terms = [(between, seeds - 1)]
    terms += [(v, c.items - 1) for v, c in zip(items, found, strict=True)]
    terms += [(v, (seeds - 1) * (c.items - 1)) for v, c in zip(rest, found, strict=True)]
    return _satterthwaite(value, max(variance, 0.5 * sum(items)), terms)


def unmatched(ours: Sequence[Matrix], theirs: Sequence[Matrix], weights: Sequence[float] | None = None) -> Estimate:
    """The mean difference of matrices [S, n_k] and [R, n_k] that share questions and not seeds.

    A side with one seed adds no spread between seeds, because it shows none.
    """
    shares = weights or [1 / len(ours)] * len(ours)
    gaps = [a.mean(0) - b.mean(0) for a, b in zip(ours, theirs, strict=True)]
    value = sum(w * float(gap.mean()) for w, gap in zip(shares, gaps, strict=True))
    terms = [
        (w * w * float(gap.var(ddof=min(1, len(gap) - 1))) / len(gap), float(len(gap) - 1))
        for w, gap in zip(shares, gaps, strict=True)
    ]
    variance = sum(v for v, _ in terms)
    for side in (ours, theirs):
        seeds = side[0].shape[0]
        if seeds > 1:
            by_seed = sum((w * part.mean(1) for w, part in zip(shares, side, strict=True)), np.zeros(seeds))
            rest = sum(w * w * components(part).rest / part.shape[1] for w, part in zip(shares, side, strict=True))
            variance += max(0.0, float(by_seed.var(ddof=1)) - rest) / seeds
            terms.append((float(by_seed.var(ddof=1)) / seeds, seeds - 1))
    return _satterthwaite(value, variance, terms)


def _satterthwaite(value: float, variance: float, terms: Sequence[tuple[float, float]]) -> Estimate:
    below = sum(v * v / df for v, df in terms if df > 0)
    return Estimate(value, variance, variance * variance / below if below > 0 else math.inf)
