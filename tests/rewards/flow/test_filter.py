"""The fluctuation filter and the reward-to-go against numbers worked by hand, and their invariances."""

from __future__ import annotations

import pytest
import torch

from rewards.flow.filter import Norm, flow_reward, fluctuation, normalise, reward_to_go, top_k

SCORE = torch.tensor([[1.0, 3.0, 2.0, 5.0, 4.0]])
ALL = torch.ones(1, 5, dtype=torch.bool)


def near(value: torch.Tensor, wanted: list[float]) -> None:
    torch.testing.assert_close(value[0], torch.tensor(wanted, dtype=torch.float32), atol=1e-6, rtol=0)


def test_minmax_threshold_and_top_k() -> None:
    near(normalise(SCORE, ALL), [0, 0.5, 0.25, 1, 0.75])
    near(fluctuation(SCORE, ALL), [0, 0, 0, 1, 0.75])
    near(fluctuation(SCORE, ALL, k=1), [0, 0, 0, 1, 0])


def test_two_sided_variant() -> None:
    near(normalise(SCORE, ALL, "minmax-bil"), [-1, 0, -0.5, 1, 0.5])
    near(fluctuation(SCORE, ALL, norm="minmax-bil"), [-1, 0, 0, 1, 0])


def test_two_sided_top_k_is_split() -> None:
    score = torch.tensor([[0.0, 1.0, 2.0, 8.0, 9.0, 10.0]])
    mask = torch.ones(1, 6, dtype=torch.bool)
    near(fluctuation(score, mask, eta=0.1, k=3, norm="minmax-bil"), [-1, 0, 0, 0, 0, 1])
    near(fluctuation(score, mask, eta=0.1, k=4, norm="minmax-bil"), [-1, -0.8, 0, 0, 0.8, 1])


def test_mean_and_none_variants() -> None:
    near(normalise(SCORE, ALL, "mean"), [-0.5, 0, -0.25, 0.5, 0.25])
    near(fluctuation(SCORE, ALL, eta=0.3, norm="mean"), [0, 0, 0, 0.5, 0])
    near(fluctuation(SCORE, ALL, eta=3.0, norm="none"), [0, 0, 0, 5, 4])
    near(fluctuation(SCORE, ALL, eta=0.0, k=0, norm="mean"), [-0.5, 0, -0.25, 0.5, 0.25])


def test_power_keeps_the_sign() -> None:
    near(normalise(SCORE, ALL, power=2.0), [0, 0.25, 0.0625, 1, 0.5625])
    near(normalise(SCORE, ALL, "minmax-bil", power=2.0), [-1, 0, -0.25, 1, 0.25])


def test_reward_to_go() -> None:
    kept = fluctuation(SCORE, ALL)
    near(flow_reward(kept, ALL), [-0.0175, -0.0175, -0.0175, -0.0175, -0.0075])
    near(flow_reward(kept, ALL, gamma=0.9), [-0.01221075, -0.0135675, -0.015075, -0.01675, -0.0075])
    near(flow_reward(fluctuation(SCORE, ALL, norm="minmax-bil"), ALL), [0, -0.01, -0.01, -0.01, 0])


@pytest.mark.parametrize("norm", ["minmax", "minmax-bil", "mean", "none"])
def test_a_masked_token_changes_nothing(norm: Norm) -> None:
    padded = torch.cat([SCORE, torch.zeros(1, 1)], dim=1)
    mask = torch.cat([ALL, torch.zeros(1, 1, dtype=torch.bool)], dim=1)
    short, long = fluctuation(SCORE, ALL, norm=norm), fluctuation(padded, mask, norm=norm)
    assert torch.equal(long[:, :5], short) and float(long[0, 5]) == 0.0
    for gamma in (1.0, 0.9):
        assert torch.equal(flow_reward(long, mask, gamma=gamma)[:, :5], flow_reward(short, ALL, gamma=gamma))
        assert float(flow_reward(long, mask, gamma=gamma)[0, 5]) == 0.0


@pytest.mark.parametrize("norm", ["minmax", "minmax-bil", "mean"])
@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_rows_without_spread_give_zero(norm: Norm, power: float) -> None:
    score = torch.tensor([[2.0, 2.0, 2.0], [7.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    mask = torch.tensor([[True, True, True], [True, False, False], [False, False, False]])
    found = fluctuation(score, mask, eta=0.0, norm=norm, power=power)
    assert torch.equal(found, torch.zeros_like(score))
    assert torch.equal(flow_reward(found, mask), torch.zeros_like(score))


def test_threshold_is_strict_and_ties_keep_the_earlier_token() -> None:
    near(fluctuation(torch.tensor([[0.0, 0.5, 1.0]]), ALL[:, :3], eta=0.5), [0, 0, 1])
    near(top_k(torch.tensor([[1.0, 2.0, 2.0, 2.0]]), 2), [0, 2, 2, 0])
    near(fluctuation(torch.tensor([[0.0, 1.0, 1.0, 1.0]]), ALL[:, :4], k=2), [0, 1, 1, 0])


def test_filter_is_pure_and_row_wise() -> None:
    torch.manual_seed(0)
    score, mask = torch.rand(6, 40), torch.rand(6, 40) > 0.2
    before = score.clone()
    together = fluctuation(score, mask, eta=0.2, k=5)
    assert torch.equal(score, before)
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert torch.equal(fluctuation(score[order], mask[order], eta=0.2, k=5), together[order])
    assert int((together != 0).sum(-1).max()) == 5


def test_masked_nan_is_never_read() -> None:
    score = torch.tensor([[1.0, 3.0, float("nan")]])
    mask = torch.tensor([[True, True, False]])
    assert torch.equal(fluctuation(score, mask), torch.tensor([[0.0, 1.0, 0.0]]))
    assert torch.equal(reward_to_go(score, mask), torch.tensor([[4.0, 3.0, 0.0]]))
