"""The fluctuation filter and the reward-to-go: token scores and a mask in, dense rewards out. Pure functions.

Per rollout: normalise the scores of the valid tokens, drop values up to eta, keep at most K, then `r = -beta * s` and
`sum_{j >= k} gamma^(j-k) r_j`. Shapes: scores and mask [B, T]. Source: arXiv 2510.10201 and its release (models/utils.py),
with masked statistics: a constant row, a row of one token and a row without tokens give 0 everywhere.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Norm = Literal["minmax", "minmax-bil", "mean", "none"]


def minmax(score: Tensor, mask: Tensor) -> Tensor:
    """Valid scores of each row mapped to [0, 1]; rows without spread, and masked tokens, give 0."""
    low = score.masked_fill(~mask, torch.inf).amin(-1, keepdim=True)
    high = score.masked_fill(~mask, -torch.inf).amax(-1, keepdim=True)
    spread = mask & (high > low)
    return torch.where(spread, (score - low) / torch.where(high > low, high - low, 1.0), 0.0)


def normalise(score: Tensor, mask: Tensor, norm: Norm = "minmax", power: float = 1.0) -> Tensor:
    """Scores by variant: `minmax` [0, 1], `minmax-bil` [-1, 1], `mean` (min-max minus the row's mean), `none` (as they
    are). `power` p is `sign(s) |s|^p`. Rows without spread give 0 (under `none` they keep their values)."""
    kept = torch.where(mask, score, 0.0)
    if norm == "none":
        value = kept
    else:
        value = minmax(kept, mask)
        spread = (value > 0).any(-1, keepdim=True) & mask
        if norm == "minmax-bil":
            value = torch.where(spread, 2.0 * value - 1.0, 0.0)
        elif norm == "mean":
            mean = value.sum(-1, keepdim=True) / mask.sum(-1, keepdim=True).clamp(min=1)
            value = torch.where(spread, value - mean, 0.0)
    return value if power == 1.0 else value.sign() * value.abs().pow(power)


def top_k(value: Tensor, k: int) -> Tensor:
    """The k largest positive values of each row, the rest 0. Ties: the earlier token is kept."""
    # a stable sort in descending order keeps the earlier of equal values first
    order = value.argsort(dim=-1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(
        -1, order, torch.arange(value.shape[-1], device=value.device).expand_as(order)
    )
    return torch.where((rank < k) & (value > 0), value, 0.0)


def fluctuation(
    score: Tensor,
    mask: Tensor,
    eta: float = 0.6,
    k: int = 15,
    norm: Norm = "minmax",
    power: float = 1.0,
) -> Tensor:
    """Normalised scores [B, T] of which only the salient ones are left; the input is not changed.

    Values must be strictly above `eta` (`minmax-bil`: above it in size, both tails); eta <= 0 keeps all. Rows with more
    than `k` values left keep the k largest (`minmax-bil`: k // 2 of either sign); k <= 0 keeps all.
    """
    value = normalise(score, mask, norm, power)
    two_sided = norm == "minmax-bil"
    if eta > 0:
        value = torch.where((value.abs() if two_sided else value) > eta, value, 0.0)
    if k <= 0:
        return value
    cut = top_k(value, k // 2) - top_k(-value, k // 2) if two_sided else top_k(value, k)
    return torch.where(((value != 0).sum(-1, keepdim=True) > k), cut, value)


def reward_to_go(reward: Tensor, mask: Tensor, gamma: float = 1.0) -> Tensor:
    """`sum_{j >= k} gamma^(j-k) r_j` over the valid tokens, [B, T]; 0 at masked tokens."""
    kept = torch.where(mask, reward, 0.0)
    if gamma == 1.0:
        total = kept.flip(-1).cumsum(-1).flip(-1)
    else:
        total, running = torch.empty_like(kept), kept.new_zeros(kept.shape[0])
        for token in range(kept.shape[1] - 1, -1, -1):
            running = kept[:, token] + gamma * running
            total[:, token] = running
    return torch.where(mask, total, 0.0)


def flow_reward(filtered: Tensor, mask: Tensor, beta: float = 0.01, gamma: float = 1.0) -> Tensor:
    """Reward-to-go [B, T] of `r = -beta * s`: large deviation is penalised."""
    return reward_to_go(-beta * filtered, mask, gamma)
