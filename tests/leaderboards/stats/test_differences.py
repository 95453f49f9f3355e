"""Tests and intervals of differences against hand-computed numbers, scipy, and their own claims under simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from leaderboards.stats.components import Matrix
from leaderboards.stats.differences import Scores, compare, holm, mcnemar, paired_interval


def scores(matrix: Matrix, single: bool = True, fixed: bool = False, seeds: tuple[int, ...] = ()) -> Scores:
    return Scores(matrix=matrix, seeds=seeds or tuple(range(len(matrix))), single=single, fixed=fixed)


def test_mcnemar_by_hand() -> None:
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(1, 9) == mcnemar(9, 1) == pytest.approx(2 * (1 + 10) / 1024)
    assert mcnemar(4, 4) == 1.0
    assert mcnemar(1900, 2100) == pytest.approx(scipy_stats.binomtest(1900, 4000).pvalue)


def test_paired_interval_by_hand_and_by_its_coverage() -> None:
    # 7 better, 1 worse of 20: p = 8/22, q = 2/22, difference 6/22, half = 1.96 sqrt((10/22 - 36/484) / 22)
    half = 1.959964 * math.sqrt((10 / 22 - 36 / 484) / 22)
    assert paired_interval(7, 1, 20) == pytest.approx((6 / 22 - half, 6 / 22 + half), abs=1e-6)
    stream = np.random.default_rng(5)
    inside = 0
    for _ in range(1000):
        better, worse, _ = stream.multinomial(60, [0.15, 0.05, 0.8])
        low, high = paired_interval(better, worse, 60)
        inside += low <= 0.1 <= high
    assert inside >= 930


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_one_seed_of_several_samples_is_the_paired_t_test() -> None:
    stream = np.random.default_rng(2)
    a, b = stream.random((1, 40)), stream.random((1, 40))
    found = compare([scores(a, single=False)], [scores(b, single=False)])
    reference = scipy_stats.ttest_rel(a[0], b[0])
    assert found.p == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval(0.95)))


def test_a_real_difference_is_found_and_none_is_not() -> None:
    hard = np.random.default_rng(3).random(500)
    base, better = ((hard < share).astype(float)[None] for share in (0.5, 0.6))
    found = compare([scores(better)], [scores(base)])
    assert found.test == "exact McNemar" and found.p < 1e-6 and found.low > 0 < found.value < found.high
    same = compare([scores(base)], [scores(base)])
    assert (same.value, same.p) == (0.0, 1.0)
    assert same.low < 0 < same.high, "500 questions without a difference do not prove that there is none"
    twice = scores(np.repeat(base, 2, axis=0))
    assert compare([twice], [twice]).low < 0 < compare([twice], [twice]).high
    back = compare([scores(base)], [scores(better)])
    assert back.p == found.p and back.value == -found.value


def test_seeds_are_paired_where_they_are_the_same() -> None:
    """A seed that is good for both methods cancels; with other seeds it does not."""
    stream = np.random.default_rng(4)
    luck = np.array([-0.2, 0.0, 0.2])[:, None]
    a, b = ((stream.random((3, 400)) < 0.5 + luck + more).astype(float) for more in (0.08, 0.0))
    same = compare([scores(a)], [scores(b)])
    other = compare([scores(a)], [scores(b, seeds=(3, 4, 5))])
    assert same.test == "t over matched seeds and questions" and other.test == "t over seeds and questions"
    assert same.value == pytest.approx(other.value)
    assert same.high - same.low < 0.5 * (other.high - other.low)


def test_a_policy_that_no_seed_changes_stands_for_every_seed() -> None:
    stream = np.random.default_rng(6)
    base = (stream.random((1, 200)) < 0.4).astype(float)
    ours = (stream.random((3, 200)) < 0.6).astype(float)
    found = compare([scores(ours)], [scores(base, fixed=True)])
    assert found.seeds == 3 and found.test == "t over matched seeds and questions"
    assert compare([scores(ours)], [scores(base)]).seeds == 1, "one seed of a trained policy is one seed"


@pytest.mark.parametrize("seeds", [1, 2, 3])
def test_no_interval_leaves_what_a_difference_can_be(seeds: int) -> None:
    stream = np.random.default_rng(seeds)
    best, worst = np.ones((seeds, 12)), (stream.random((seeds, 12)) < 0.1).astype(float)
    for a, b in ((best, worst), (worst, best), (best, np.zeros((seeds, 12)))):
        found = compare([scores(a)], [scores(b)])
        assert -1 <= found.low <= found.value <= found.high <= 1 and 0 < found.p <= 1


def test_equal_methods_whose_seeds_scatter_are_rarely_told_apart() -> None:
    """Questions alone would claim a difference in most cases; the nominal rate is 5 %."""
    stream = np.random.default_rng(11)
    claims = naive = 0
    for _ in range(200):
        a, b = ((stream.random((3, 600)) < stream.normal(0.5, 0.06, (3, 1))).astype(float) for _ in range(2))
        claims += compare([scores(a)], [scores(b)]).p < 0.05
        naive += scipy_stats.ttest_rel(a.mean(0), b.mean(0)).pvalue < 0.05
    assert naive > 100 and claims <= 24, f"{claims} against {naive} of 200"


def test_what_is_called_detectable_is_detected_in_four_of_five_cases() -> None:
    stream = np.random.default_rng(8)
    least = compare(
        [scores((stream.random((1, 2000)) < 0.5).astype(float))],
        [scores((stream.random((1, 2000)) < 0.5).astype(float))],
    ).detectable
    found = 0
    for _ in range(300):
        a = (stream.random((1, 2000)) < 0.5 + least).astype(float)
        b = (stream.random((1, 2000)) < 0.5).astype(float)
        found += compare([scores(a)], [scores(b)]).p < 0.05
    assert 0.72 <= found / 300 <= 0.88, found


def test_the_average_of_two_benchmarks_is_one_comparison() -> None:
    stream = np.random.default_rng(9)
    a = [scores((stream.random((2, n)) < 0.6).astype(float)) for n in (100, 300)]
    b = [scores((stream.random((2, n)) < 0.5).astype(float)) for n in (100, 300)]
    each = [compare([x], [y]) for x, y in zip(a, b, strict=True)]
    both = compare(a, b)
    assert both.value == pytest.approx(sum(d.value for d in each) / 2)
    assert both.high - both.low < max(d.high - d.low for d in each)
    assert compare(a, b, [0.25, 0.75]).value == pytest.approx(0.25 * each[0].value + 0.75 * each[1].value)
