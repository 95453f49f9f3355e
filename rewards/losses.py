"""Pure functions of losses and advantages. Shapes: B rollouts, T response tokens; `mask [B, T]` marks response tokens.

Denominators are explicit arguments: they come from the whole mini-batch, never from the rows at hand.
"""

from __future__ import annotations

import torch
from torch import Tensor


def group_normalise(reward: Tensor, group: Tensor, graded: Tensor, eps: float = 1e-6, scale: bool = True) -> Tensor:
    """`(R - mean_g) / (std_g + eps)` over the graded rows of each group, [B] -> [B]; std is Bessel-corrected.

    Ungraded rows, groups with one graded row and groups without spread get 0. `scale=False` leaves the division out.
    Source: GRPO (arXiv 2402.03300), section 4.1.
    """
    reward = torch.where(graded, reward, torch.zeros_like(reward))
    groups = int(group.max().item()) + 1 if group.numel() else 0
    weight = graded.to(reward.dtype)
    count = reward.new_zeros(groups).index_add_(0, group, weight)
    mean = reward.new_zeros(groups).index_add_(0, group, reward * weight) / count.clamp(min=1)
    centred = (reward - mean[group]) * weight
    # a group of equal rewards is exactly 0 here, whatever rounding the mean took
    low = torch.full_like(mean, torch.inf).scatter_reduce_(0, group, torch.where(graded, reward, torch.inf), "amin")
    high = torch.full_like(mean, -torch.inf).scatter_reduce_(0, group, torch.where(graded, reward, -torch.inf), "amax")
    centred = torch.where((high > low)[group] & graded, centred, torch.zeros_like(centred))
    if not scale:
        return centred
    variance = reward.new_zeros(groups).index_add_(0, group, centred.square()) / (count - 1).clamp(min=1)
    return centred / (variance.sqrt()[group] + eps)


def ratio(logp: Tensor, old_logp: Tensor, cap: float | None = None) -> Tensor:
    """`exp(logp - old_logp)`, the exponent clamped to +-20, optionally capped from above."""
    value = torch.exp(torch.clamp(logp - old_logp, -20.0, 20.0))
    return value if cap is None else value.clamp(max=cap)


def clipped_surrogate(
    logp: Tensor,
    old_logp: Tensor,
    advantage: Tensor,
    low: float,
    high: float,
    cap: float | None = None,
    dual: float | None = None,
) -> Tensor:
    """`-min(ratio * A, clip(ratio, 1 - low, 1 + high) * A)` per token, [B, T]. Source: PPO (arXiv 1707.06347), eq. 7.

    `dual`: for A < 0 the loss is at most `-dual * A`, without gradient beyond (arXiv 1912.09729, eq. 5).
    """
    r = ratio(logp, old_logp, cap)
    loss = -torch.minimum(r * advantage, r.clamp(1.0 - low, 1.0 + high) * advantage)
    if dual is None:
        return loss
    return torch.where(advantage < 0, torch.minimum(loss, -dual * advantage), loss)


def kl_k3(logp: Tensor, reference: Tensor) -> Tensor:
    """The k3 estimate of KL(policy || reference) per token, `exp(d) - d - 1` with `d = reference - logp`, never negative.

    Above `d = 20` the exponential goes on along its tangent, so that value and gradient stay finite and still pull back.
    Source: Schulman, "Approximating KL divergence" (2020).
    """
    d = reference - logp
    far = d > 20.0
    return torch.exp(torch.where(far, 20.0, d)) * torch.where(far, d - 19.0, 1.0) - d - 1.0


def reduce_tokens(
    values: Tensor, mask: Tensor, reduction: str, rollouts: float, tokens: float, length: int = 0
) -> Tensor:
    """Sum of [B, T] values as a scalar under one of three denominators (of the whole mini-batch).

    `rollout`: mean per rollout, then over `rollouts` (GRPO); `token`: over all `tokens` (DAPO); `constant`: over
    `rollouts * length` (Dr. GRPO). Values outside the mask are never read, so a NaN there does no harm.
    """
    kept = torch.where(mask, values, torch.zeros_like(values))
    if reduction == "rollout":
        return (kept.sum(-1) / mask.sum(-1).clamp(min=1)).sum() / max(rollouts, 1)
    if reduction == "token":
        return kept.sum() / max(tokens, 1)
    if reduction == "constant":
        return kept.sum() / (max(rollouts, 1) * max(length, 1))
    raise ValueError(f"unknown reduction '{reduction}'")
