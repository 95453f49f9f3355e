"""Intervals and tests against hand-computed numbers, enumeration and their own claims under simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from harness.evaluation.metrics import wilson
from leaderboards import stats


def test_mcnemar_by_hand() -> None:
    assert stats.mcnemar(0, 0) == 1.0
    assert stats.mcnemar(5, 0) == pytest.approx(2 / 32)
    assert stats.mcnemar(1, 9) == stats.mcnemar(9, 1) == pytest.approx(2 * (1 + 10) / 1024)
    assert stats.mcnemar(4, 4) == 1.0


def test_mcnemar_does_not_overflow_and_meets_the_normal_limit() -> None:
    z = 200 / math.sqrt(4000)
    assert stats.mcnemar(1900, 2100) == pytest.approx(math.erfc((z - 1 / math.sqrt(4000)) / math.sqrt(2)), rel=0.01)
    assert stats.mcnemar(480, 519) == pytest.approx(stats.mcnemar(481, 520), rel=0.02), (
        "both formulas agree at the seam"
    )


def test_paired_interval_by_hand_and_by_its_coverage() -> None:
    # 7 better, 1 worse of 20: p = 8/22, q = 2/22, difference 6/22, half = 1.96 sqrt((10/22 - 36/484) / 22)
    half = 1.959964 * math.sqrt((10 / 22 - 36 / 484) / 22)
    assert stats.paired_interval(7, 1, 20) == pytest.approx((6 / 22 - half, 6 / 22 + half), abs=1e-6)
    stream = np.random.default_rng(5)
    inside = 0
    for _ in range(1000):
        better, worse, _ = stream.multinomial(60, [0.15, 0.05, 0.8])
        low, high = stats.paired_interval(better, worse, 60)
        inside += low <= 0.1 <= high
    assert inside >= 930


def test_sign_flip_is_exact_for_few_and_close_for_many() -> None:
    gaps = np.array([1.0, -0.5, 0.25, 0.0, 1.0])
    moved = gaps[gaps != 0]
    sums = [abs(float(np.dot(s, moved))) for s in itertools.product([1, -1], repeat=4)]
    assert stats.sign_flip(gaps) == pytest.approx(np.mean([s >= abs(gaps.sum()) - 1e-9 for s in sums]))
    assert stats.sign_flip(np.zeros(5)) == 1.0
    many = np.array([1.0] * 30 + [-1.0] * 15)
    assert stats.sign_flip(many) == pytest.approx(stats.mcnemar(30, 15), abs=0.01), "on 0/1 data both tests are one"


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([0.5, 0.9]) == [1.0, 1.0]
    assert stats.holm([]) == []


def test_one_seed_one_sample_is_wilson() -> None:
    scores = np.array([[1.0] * 30 + [0.0] * 70])
    assert stats.interval(scores, single=True) == wilson(30, 100)


def test_seeds_that_differ_widen_the_interval() -> None:
    stream = np.random.default_rng(1)
    same = np.repeat((stream.random((1, 400)) < 0.5).astype(float), 3, axis=0)
    apart = np.stack([(stream.random(400) < p).astype(float) for p in (0.3, 0.5, 0.7)])
    narrow, wide = stats.interval(same, single=True), stats.interval(apart, single=True)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])
    assert wide[0] < apart.mean() < wide[1]


def test_two_level_without_any_spread_is_not_empty() -> None:
    low, high = stats.interval(np.ones((3, 50)), single=True)
    assert high == 1.0 and low < 0.96


def test_two_level_covers() -> None:
    """Three seeds whose true accuracies differ, 200 questions: the interval holds the mean in most repetitions."""
    stream = np.random.default_rng(7)
    inside = 0
    for _ in range(60):
        skill = stream.normal(0.5, 0.05, 3)
        scores = (stream.random((3, 200)) < skill[:, None]).astype(float)
        low, high = stats.two_level(scores)
        inside += low <= 0.5 <= high
    assert inside >= 50, f"{inside} of 60"


def test_a_real_difference_is_found_and_none_is_not() -> None:
    stream = np.random.default_rng(3)
    hard = stream.random(500)
    base = (hard < 0.5).astype(float)[None]
    better = (hard < 0.6).astype(float)[None]
    found = stats.compare(better, base, single=True)
    assert found.test == "exact McNemar" and found.p < 1e-6 and found.low > 0 < found.value < found.high
    same = stats.compare(base, base, single=True)
    assert (same.value, same.p) == (0.0, 1.0)
    assert same.low < 0 < same.high, "500 questions without a difference do not prove that there is none"
    twice = np.repeat(base, 2, axis=0)
    assert stats.compare(twice, twice, single=True).low < 0 < stats.compare(twice, twice, single=True).high
    back = stats.compare(base, better, single=True)
    assert back.p == found.p and back.value == -found.value


def test_the_test_over_seeds_does_not_cry_wolf() -> None:
    """Two methods of equal skill whose seeds scatter by 6 points: questions alone would claim a difference too often."""
    stream = np.random.default_rng(11)
    claims = naive = 0
    for _ in range(40):
        a, b = ((stream.random((3, 600)) < stream.normal(0.5, 0.06, (3, 1))).astype(float) for _ in range(2))
        claims += stats.compare(a, b, single=True).p < 0.05
        naive += stats.sign_flip(a.mean(0) - b.mean(0)) < 0.05
    assert claims < naive and claims <= 8, f"{claims} against {naive} of 40"


def test_a_table_is_the_same_every_time() -> None:
    scores = np.random.default_rng(0).random((2, 50))
    assert stats.two_level(scores) == stats.two_level(scores)
    assert stats.compare(scores, scores[:1], False) == stats.compare(scores, scores[:1], False)
