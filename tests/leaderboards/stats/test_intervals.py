"""Variance components against the textbook's expected mean squares, intervals against Wilson, widths and coverage."""

from __future__ import annotations

import numpy as np
import pytest

from harness.evaluation.metrics import wilson
from leaderboards.stats.components import Matrix, components, estimate
from leaderboards.stats.coverage import Case, coverage
from leaderboards.stats.intervals import interval


def drawn(seeds: int, items: int, stream: np.random.Generator, spread: float = 0.0) -> Matrix:
    chances = stream.random(items)[None] + stream.normal(0, spread, seeds)[:, None]
    return (stream.random((seeds, items)) < chances).astype(float)


def test_components_are_unbiased() -> None:
    """y = seed + question + rest with variances 0.04, 0.25 and 0.09: the estimates average to them."""
    stream = np.random.default_rng(0)
    found = []
    for _ in range(600):
        y = stream.normal(0, 0.2, (4, 1)) + stream.normal(0, 0.5, (1, 60)) + stream.normal(0, 0.3, (4, 60))
        c = components(y)
        assert c.between_seeds is not None
        found.append(((c.between_seeds - c.rest) / 60, (c.between_items - c.rest) / 4, c.rest))
    assert np.mean(found, 0) == pytest.approx([0.04, 0.25, 0.09], rel=0.06)


def test_one_seed_one_sample_is_wilson() -> None:
    right = np.array([[1.0] * 30 + [0.0] * 70])
    assert interval([right], single=True) == pytest.approx(wilson(30, 100))


def test_more_seeds_narrow_the_interval_where_seeds_do_nothing() -> None:
    """200 questions of every difficulty: known components would give widths of 0.137, 0.112, 0.101."""
    stream = np.random.default_rng(1)
    widths = {
        s: np.median([np.subtract(*interval([drawn(s, 200, stream)], True)[::-1]) for _ in range(300)])
        for s in (1, 2, 3)
    }
    assert widths[1] == pytest.approx(0.137, abs=0.003)
    assert widths[2] == pytest.approx(0.112, abs=0.012)
    assert widths[3] == pytest.approx(0.101, abs=0.008)
    assert widths[1] > widths[2] > widths[3]


def test_seeds_that_differ_widen_the_interval() -> None:
    stream = np.random.default_rng(1)
    same = np.repeat((stream.random((1, 400)) < 0.5).astype(float), 3, axis=0)
    apart = np.stack([(stream.random(400) < p).astype(float) for p in (0.3, 0.5, 0.7)])
    narrow, wide = interval([same], single=True), interval([apart], single=True)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])
    assert wide[0] < apart.mean() < wide[1]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_right_or_all_wrong_is_not_an_empty_interval(value: float) -> None:
    low, high = interval([np.full((3, 50), value)], single=True)
    assert low <= value <= high and 0.03 < high - low < 0.15


def test_an_average_of_benchmarks_sees_a_seed_that_is_good_on_all() -> None:
    stream = np.random.default_rng(3)
    luck = np.array([-0.1, 0.0, 0.1])[:, None]
    common = [(stream.random((3, 500)) < 0.5 + luck).astype(float) for _ in range(4)]
    mixed = [part[np.roll(np.arange(3), k)] for k, part in enumerate(common)]
    assert estimate(common).variance > 3 * estimate(mixed).variance
    assert estimate(common).value == pytest.approx(np.mean([c.mean() for c in common]))


@pytest.mark.parametrize(
    "case",
    [
        Case(what="accuracy", seeds=1, items=200),
        Case(what="accuracy", seeds=3, items=200, spread=2.0),
        Case(what="difference", seeds=3, items=500, spread=1.0),
        Case(what="average of 4", seeds=3, items=200, spread=2.0, tasks=4),
    ],
    ids=str,
)
def test_intervals_hold_the_truth_as_often_as_they_say(case: Case) -> None:
    """A small draw of the study in docs/statistics.md: 600 studies, whose share has a standard error of 0.9 points."""
    shares = [100 * c / 600 for c in coverage(case, 600)]
    assert shares == pytest.approx([90, 95, 99], abs=3.5), shares
