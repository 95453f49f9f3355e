"""Planned designs against simulation and against the textbook's formula."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from leaderboards.stats.components import estimate
from leaderboards.stats.power import Spread, designs, power


def test_one_seed_meets_the_formula_of_the_paired_t_test() -> None:
    spread = Spread(None, 0.3, 0.0)
    (design,) = designs(0.05, spread, seeds=(1,))
    z = scipy_stats.norm.ppf(0.975) + scipy_stats.norm.ppf(0.8)
    assert design.items == pytest.approx(0.3 * (z / 0.05) ** 2, rel=0.01)


@pytest.mark.parametrize(("seeds", "items"), [(3, 300), (6, 200)])
def test_power_is_what_simulation_finds(seeds: int, items: int) -> None:
    spread = Spread(0.0004, 0.02, 0.3)
    stream = np.random.default_rng(seeds)
    found = 0
    for _ in range(800):
        gaps = 0.06 + stream.normal(0, 0.02, (seeds, 1)) + stream.normal(0, 0.02**0.5, (1, items))
        found += estimate([gaps + stream.normal(0, 0.3**0.5, (seeds, items))]).p < 0.05
    assert found / 800 == pytest.approx(power(0.06, spread, seeds, items), abs=0.08)


def test_more_of_anything_needs_less_and_seeds_cannot_be_replaced_by_questions() -> None:
    spread = Spread(0.0004, 0.02, 0.3)
    needs = [d.items for d in designs(0.03, spread)]
    assert needs[0] is not None, "one seed compares two policies"
    assert needs[1] is None, "two seeds whose results differ by two points never show a difference of three"
    many = [n for n in needs[1:] if n is not None]
    assert many == sorted(many, reverse=True) and len(many) > 2
    assert power(0.0, spread, 3, 100) == 0.05 and power(0.05, Spread(0.0, 0.0, 0.0), 3, 100) == 1.0


def test_the_spread_of_several_pairs_is_their_mean() -> None:
    found = Spread.mean([Spread(0.02, 0.1, 0.2), Spread(None, 0.3, 0.4)])
    assert (found.seed, found.item, found.rest) == pytest.approx((0.02, 0.2, 0.3))
