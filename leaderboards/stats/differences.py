"""Differences of two rows, paired by question and, where both have the same seeds, by seed; Holm's correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from leaderboards.stats.components import Estimate, Matrix, estimate, quantile, unmatched

ALPHA, POWER = 0.05, 0.8
_Z = 1.959963984540054
_TINY = 1e-15


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """What one row scored on one benchmark: `matrix` [S, n] in [0, 1], one line a seed; `seeds` names the lines.

    `single`: one sample a question. `fixed`: the row would be the same under every seed (an untrained policy that decodes
    greedily), so that its one line stands for any seed.
    """

    matrix: Matrix
    seeds: tuple[int, ...]
    single: bool
    fixed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A minus B: `value`, 95 % interval inside [-1, 1], two-sided p, `adjusted` after Holm, the name of the test.

    `detectable`: the least true difference that a comparison like this one finds in 80 % of cases at p < 0.05 (before
    Holm). `seeds`: pairs of seeds, or the fewer of two unequal numbers; 1 means that nothing is known of other seeds.
    """

    value: float
    low: float
    high: float
    p: float
    test: str
    detectable: float
    seeds: int
    adjusted: float = 1.0


def compare(ours: Sequence[Scores], theirs: Sequence[Scores], weights: Sequence[float] | None = None) -> Difference:
    """The difference of the weighted means over benchmarks; `ours` and `theirs` hold the same ones, in one order.

    One benchmark, one seed, one sample: exact McNemar and the interval of Bonett and Price. One seed otherwise: paired t
    over questions. Several seeds: t with the variance components of seeds and questions, of the paired differences where
    the seeds are the same ones.
    """
    gaps = matched(ours, theirs)
    seeds = min(_seeds(ours), _seeds(theirs))
    if gaps is None:
        found = unmatched([s.matrix for s in ours], [s.matrix for s in theirs], weights)
        return _by_t(found, found.p, "t over seeds and questions", seeds)
    if gaps[0].shape[0] == 1 and len(gaps) == 1 and ours[0].single and theirs[0].single:
        return _mcnemar(gaps[0][0])
    found = estimate(gaps, weights)
    p = found.p if found.variance > _TINY else _flat(gaps)
    several = gaps[0].shape[0] > 1
    return _by_t(found, p, "t over matched seeds and questions" if several else "t over questions", gaps[0].shape[0])


def matched(ours: Sequence[Scores], theirs: Sequence[Scores]) -> list[Matrix] | None:
    """Differences [S, n_k] seed by seed, a fixed row standing for every seed; None where the seeds are other ones."""
    found = []
    for a, b in zip(ours, theirs, strict=True):
        if not (a.fixed or b.fixed or a.seeds == b.seeds):
            return None
        found.append(a.matrix - b.matrix)
    return found if len({gap.shape[0] for gap in found}) == 1 else None


def _seeds(row: Sequence[Scores]) -> int:
    return min(s.matrix.shape[0] for s in row)


def _flat(gaps: Sequence[Matrix]) -> float:
    """p where all questions moved alike: the chance that as many signs agree by themselves, 1 where nothing moved."""
    items = sum(gap.shape[1] for gap in gaps)
    return 1.0 if abs(float(gaps[0].mean())) < 1e-12 else max(2.0 ** (1 - items), 1e-300)


def _by_t(found: Estimate, p: float, test: str, seeds: int) -> Difference:
    variance, df = found.variance, found.df
    if variance <= _TINY:  # nothing differs in the sample, which does not mean that nothing differs
        _, high = paired_interval(0, 0, 100 if math.isinf(df) else max(2, round(df) + 1))
        variance, df = (high / _Z) ** 2, math.inf
    spread = Estimate(found.value, variance, df)
    return Difference(
        value=found.value,
        low=max(-1.0, found.value - spread.half()),
        high=min(1.0, found.value + spread.half()),
        p=p,
        test=test,
        detectable=detectable(spread),
        seeds=seeds,
    )


def _mcnemar(gaps: Matrix) -> Difference:
    better, worse = int((gaps > 0).sum()), int((gaps < 0).sum())
    n = len(gaps)
    low, high = paired_interval(better, worse, n)
    p, q = (better + 1) / (n + 2), (worse + 1) / (n + 2)
    return Difference(
        value=(better - worse) / n,
        low=low,
        high=high,
        p=mcnemar(better, worse),
        test="exact McNemar",
        detectable=detectable(Estimate(0.0, (p + q - (p - q) ** 2) / (n + 2), math.inf)),
        seeds=1,
    )


def detectable(spread: Estimate, power: float = POWER, alpha: float = ALPHA) -> float:
    """The least true difference found with this power, given the standard error and degrees of freedom at hand."""
    return (quantile(1 - alpha / 2, spread.df) + quantile(power, spread.df)) * spread.error


def paired_interval(better: int, worse: int, n: int) -> tuple[float, float]:
    """95 % interval of a difference of paired shares (Bonett and Price 2012: one discordant pair added on each side)."""
    p, q = (better + 1) / (n + 2), (worse + 1) / (n + 2)
    half = _Z * math.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return max(-1.0, p - q - half), min(1.0, p - q + half)


def mcnemar(better: int, worse: int) -> float:
    """Exact two-sided p for `better` against `worse` discordant questions, each equally likely (McNemar 1947)."""
    from scipy.special import bdtr

    n = better + worse
    return 1.0 if n == 0 else min(1.0, 2 * float(bdtr(min(better, worse), n, 0.5)))


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Holm 1979), in the order given: the chance of any false claim stays below."""
    adjusted, worst = [1.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        worst = max(worst, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = worst
    return adjusted
