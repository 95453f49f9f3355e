"""How many seeds and questions a difference needs, given the spread of paired differences that was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from leaderboards.stats.components import Components, Matrix, components, quantile
from leaderboards.stats.differences import ALPHA, POWER

SEEDS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20)
MOST_ITEMS = 1_000_000


@dataclass(frozen=True, slots=True)
class Spread:
    """Variances of a paired difference: between seeds (None: not known, one seed was run), questions, and the rest."""

    seed: float | None
    item: float
    rest: float

    @classmethod
    def of(cls, gaps: Matrix) -> Spread:
        """Measured on differences [S, n]."""
        found: Components = components(gaps)
        return cls(found.seed, found.item, found.rest)

    @classmethod
    def mean(cls, spreads: Sequence[Spread]) -> Spread:
        """Of several pairs; the seeds' part over those that know it."""
        known = [s.seed for s in spreads if s.seed is not None]
        count = len(spreads)
        return cls(
            sum(known) / len(known) if known else None,
            sum(s.item for s in spreads) / count,
            sum(s.rest for s in spreads) / count,
        )


@dataclass(frozen=True, slots=True)
class Design:
    """A number of seeds and the questions that it needs; None: no number of questions is enough."""

    seeds: int
    items: int | None


def power(difference: float, spread: Spread, seeds: int, items: int, alpha: float = ALPHA) -> float:
    """The chance that a true difference is found at p < alpha, two-sided, by t over matched seeds and questions.

    With one seed the spread between seeds is not part of the test: the claim then is about these two policies only.
    """
    from scipy.stats import nct

    if difference == 0:
        return alpha
    variance, df = _design(spread, seeds, items)
    if variance <= 0:
        return 1.0
    shift, bound = abs(difference) / math.sqrt(variance), quantile(1 - alpha / 2, df)
    if df > 1e5 or shift > 30:
        from scipy.special import ndtr

        return float(ndtr(shift - bound) + ndtr(-shift - bound))
    return float(nct.sf(bound, df, shift) + nct.cdf(-bound, df, shift))


def _design(spread: Spread, seeds: int, items: int) -> tuple[float, float]:
    """Variance of the mean difference and Satterthwaite's degrees of freedom, from the expected mean squares."""
    item = (spread.rest + seeds * spread.item) / (seeds * items)
    if seeds == 1:
        return item, items - 1
    rest = spread.rest / (seeds * items)
    seed = (spread.seed or 0.0) / seeds + rest
    variance = seed + item - rest
    below = seed**2 / (seeds - 1) + item**2 / (items - 1) + rest**2 / ((seeds - 1) * (items - 1))
    return variance, variance**2 / below if below > 0 else math.inf


def designs(
    difference: float,
    spread: Spread,
    power_wanted: float = POWER,
    alpha: float = ALPHA,
    seeds: Sequence[int] = SEEDS,
) -> list[Design]:
    """The fewest questions for each number of seeds. `difference` in [0, 1], so one point is 0.01."""
    return [Design(s, _items(difference, spread, s, power_wanted, alpha)) for s in seeds]


def _items(difference: float, spread: Spread, seeds: int, wanted: float, alpha: float) -> int | None:
    def enough(items: int) -> bool:
        return power(difference, spread, seeds, items, alpha) >= wanted

    high = 10
    while not enough(high):
        if high >= MOST_ITEMS:
            return None
        high = min(MOST_ITEMS, high * 2)
    low = 2
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high
