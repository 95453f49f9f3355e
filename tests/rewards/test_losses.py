"""Losses and the GRPO defaults against numbers worked out by hand: one prompt, four rollouts, three tokens."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from rewards import losses
from rewards.method import Method, Now
from rewards.methods.grpo import Grpo
from tests.rewards.conftest import make_batch

MASK = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 1], [1, 0, 0]], dtype=torch.bool)
RATIO = torch.tensor([[1, 1.5, 0.5], [1, 1.5, 1], [0.5, 1, 1.5], [2, 1, 1]])
OLD = torch.tensor([[0.5, 0.4, 0.8], [0.9, 0.2, 1], [0.6, 0.3, 0.4], [0.25, 1, 1]]).log()
NEW = OLD + RATIO.log()
GRPO = torch.tensor([1.5, -0.5, -0.5, -0.5])
SURROGATE = torch.tensor([[-1.5, -1.8, -0.75], [0.5, 0.75, 0], [0.4, 0.5, 0.75], [1, 0, 0]])
GROUP, GRADED = torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.bool)


def surrogate(low: float = 0.2, high: float = 0.2, cap: float | None = None) -> Tensor:
    return losses.clipped_surrogate(NEW, OLD, GRPO[:, None].expand(4, 3), low, high, cap)


def close(found: Tensor, expected: object, atol: float = 1e-6) -> None:
    wanted = expected if isinstance(expected, Tensor) else torch.tensor(expected)
    torch.testing.assert_close(found, wanted, atol=atol, rtol=0)


def test_group_normalised_advantage() -> None:
    reward = torch.tensor([1.0, 0, 0, 0])
    close(losses.group_normalise(reward, GROUP, GRADED, eps=1e-6), GRPO, atol=1e-5)
    close(losses.group_normalise(reward, GROUP, GRADED, scale=False), [0.75, -0.25, -0.25, -0.25])
    two = losses.group_normalise(torch.tensor([1.0, 0, 0, 1]), GROUP, GRADED, eps=1e-9)
    close(two, [0.866025, -0.866025, -0.866025, 0.866025])


def test_advantage_of_uniform_ungraded_and_single_rows_is_zero() -> None:
    uniform = losses.group_normalise(torch.full((4,), 0.1), GROUP, GRADED)
    assert torch.equal(uniform, torch.zeros(4))  # exactly, whatever rounding the mean took
    graded = torch.tensor([True, False, True, True])
    found = losses.group_normalise(torch.tensor([1.0, torch.nan, 0, 0]), GROUP, graded)
    close(found, [1.154699, 0, -0.577349, -0.577349], atol=1e-5)  # the ungraded row leaves the statistics
    alone = losses.group_normalise(torch.tensor([1.0, 0, 0, 0]), torch.tensor([0, 1, 2, 2]), GRADED)
    assert torch.equal(alone, torch.zeros(4))


def test_groups_do_not_touch_each_other_and_an_increasing_affine_map_changes_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    reward = torch.randn(9, generator=generator)
    group = torch.tensor([0, 1, 1, 0, 2, 2, 2, 0, 1])
    every = torch.ones(9, dtype=torch.bool)
    found = losses.group_normalise(reward, group, every)
    for g in range(3):
        rows = group == g
        alone = losses.group_normalise(reward[rows], torch.zeros(int(rows.sum()), dtype=torch.long), every[rows])
        close(found[rows], alone)
    close(
        losses.group_normalise(reward * 3 + 5, group, every, eps=0.0),
        losses.group_normalise(reward, group, every, eps=0.0),
        1e-4,
    )


def test_clipped_surrogate_by_token() -> None:
    close(surrogate() * MASK, SURROGATE)


@pytest.mark.parametrize(
    ("reduction", "high", "expected"),
    [("rollout", 0.2, 0.20625), ("token", 0.2, -0.016667), ("token", 0.28, -0.03)],
)
def test_reductions(reduction: str, high: float, expected: float) -> None:
    close(losses.reduce_tokens(surrogate(high=high), MASK, reduction, 4, 9), expected)


def test_dr_grpo_is_the_constant_reduction_of_the_centred_reward() -> None:
    centred = torch.tensor([0.75, -0.25, -0.25, -0.25])[:, None].expand(4, 3)
    values = losses.clipped_surrogate(NEW, OLD, centred, 0.2, 0.2)
    close(losses.reduce_tokens(values, MASK, "constant", 4, 9, length=3), -0.00625)


def test_gradient_by_token() -> None:
    new = NEW.clone().requires_grad_()
    values = losses.clipped_surrogate(new, OLD, GRPO[:, None].expand(4, 3), 0.2, 0.2)
    (gradient,) = torch.autograd.grad(losses.reduce_tokens(values, MASK, "token", 4, 9), new)
    close(9 * gradient, [[-1.5, 0, -0.75], [0.5, 0.75, 0], [0, 0.5, 0.75], [1, 0, 0]])


def test_ratio_is_capped_before_the_surrogate() -> None:
    close(surrogate(cap=1.4)[2], [0.4, 0.5, 0.7])
    close(losses.ratio(torch.tensor([0.0, 100.0, -100.0]), torch.zeros(3)).log(), [0.0, 20, -20])


def test_k3_is_never_negative_and_zero_for_equal_policies() -> None:
    close(losses.kl_k3(torch.tensor([-1.0, -1.0]), torch.tensor([-1.0, -0.5])), [0.0, 0.148721])
    assert (losses.kl_k3(NEW, OLD) >= 0).all()


def test_reductions_never_read_outside_the_mask_and_know_their_denominator() -> None:
    broken = torch.where(MASK, surrogate(), torch.nan)
    close(losses.reduce_tokens(broken, MASK, "rollout", 4, 9), 0.20625)
    close(losses.reduce_tokens(broken, MASK, "rollout", 8, 9), 0.103125)  # four of eight rollouts are here
    parts = [losses.reduce_tokens(broken[k : k + 2], MASK[k : k + 2], "token", 4, 9) for k in (0, 2)]
    close(sum(parts, torch.zeros(())), -0.016667)
    with pytest.raises(ValueError, match="unknown reduction 'mean'"):
        losses.reduce_tokens(broken, MASK, "mean", 4, 9)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 0.20625), ({"reduction": "token"}, -0.016667), ({"reduction": "token", "clip_high": 0.28}, -0.03)],
)
def test_the_grpo_method_gives_the_worked_numbers(options: dict[str, object], expected: float) -> None:
    method = Grpo(**options)
    batch = make_batch(outcome=[1, 0, 0, 0], lengths=[3, 2, 3, 1], signals={"old.logp": OLD})
    advantage = method.shape(method.advantage(method.reward(batch), batch), batch)
    close(advantage, GRPO[:, None] * MASK, atol=1e-5)
    terms = method.loss(Now(NEW, torch.zeros(4, 3)), advantage, batch)
    assert set(terms) == {"policy"}
    close(terms["policy"], expected, atol=1e-5)


def test_on_policy_the_gradient_is_minus_the_advantage_whatever_the_clipping() -> None:
    found = []
    for low, high in ((0.2, 0.2), (0.2, 0.28), (1e-3, 1e-3)):
        new = OLD.clone().requires_grad_()
        values = losses.clipped_surrogate(new, OLD, GRPO[:, None].expand(4, 3), low, high)
        found.append(torch.autograd.grad(losses.reduce_tokens(values, MASK, "token", 4, 9), new)[0])
    close(found[0], -GRPO[:, None] * MASK / 9)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_grpo_is_the_default_of_every_method() -> None:
    assert Grpo().settings() == Method().settings()
    assert Grpo().settings()["eps"] == 1e-6 and Grpo().settings()["reduction"] == "rollout"


def test_dual_clip_bounds_the_loss_of_bad_tokens_alone() -> None:
    logp = torch.tensor([[2.5, 2.5, 0.5]]).requires_grad_()
    advantage = torch.tensor([[-1.0, 1.0, -1.0]])
    old = torch.zeros(1, 3)
    found = losses.clipped_surrogate(logp, old, advantage, 0.2, 0.2, dual=10.0)
    close(found, [[10.0, -1.2, 1.648721]])
    (slope,) = torch.autograd.grad(found.sum(), logp)
    close(slope, [[0.0, 0.0, 1.648721]])
    close(losses.clipped_surrogate(logp, old, advantage, 0.2, 0.2), [[12.182494, -1.2, 1.648721]])


def test_k3_is_finite_and_pulls_back_from_any_distance() -> None:
    logp = torch.tensor([-100.0, -30.0, -1.0, -0.5, 0.0], requires_grad=True)
    reference = torch.tensor([0.0, 0.0, -1.0, -2.0, -60.0])
    value = losses.kl_k3(logp, reference)
    (slope,) = torch.autograd.grad(value.sum(), logp)
    assert bool(torch.isfinite(value).all()) and bool(torch.isfinite(slope).all())
    d = (reference - logp).detach()
    near = d.abs() <= 20
    torch.testing.assert_close(value[near].detach(), d[near].exp() - d[near] - 1)
    assert bool((slope[:2] < 0).all())  # far below the reference: up again
    assert bool((slope[3:] > 0).all())  # above it: down again
    assert float(slope[2]) == 0.0
