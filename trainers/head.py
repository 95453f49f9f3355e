"""Log-probabilities and entropies through the output head, without keeping more logits than a byte budget allows.

hidden [M, D] and the head's weight [V, D] flow in; logp [M] of the targets and entropy [M] (nats) flow out, both with an
exact gradient. Logits that fit the budget are kept for the backward pass; else they are computed again there, chunk by
chunk, which costs 1.3 to 1.5 times the time and is done only when memory asks. Sums run in float32 at least.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK_BYTES = {"cpu": 2**25, "cuda": 2**29}
"""Logits handled at once, by device: temporaries are a few times this, whatever the budget. Every chunk reads the head and
adds a gradient of its size once more, so on a GPU chunks are large."""

EXCLUDED = -1e30
"""Logit of a forbidden token: probability 0, and 0 times it is 0 (unlike minus infinity)."""


def token_scores(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    forbidden: Tensor | None = None,
    budget_bytes: int = 2**30,
) -> tuple[Tensor, Tensor]:
    """logp [M] and entropy [M] of `softmax(hidden @ weight.T / temperature)` without the `forbidden` ids [F].

    The product runs in the autocast dtype where autocast is on, else in the weight's; everything behind it in float32
    (float64 for float64 weights).
    """
    kind, dtype = hidden.device.type, product_dtype(weight)
    with torch.autocast(kind, enabled=False):
        logp, entropy = _TokenScores.apply(hidden, weight, targets, forbidden, float(temperature), dtype, budget_bytes)
    return logp, entropy


def raw_logits(hidden: Tensor, weight: Tensor, *, temperature: float = 1.0, forbidden: Tensor | None = None) -> Tensor:
    """Logits [n, V] in float32 at least, by the product and the mask of `token_scores`; the product in hidden's dtype.

    Their log-softmax is token_scores' logp when hidden is in `product_dtype(weight)`.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        return _logits(hidden, weight.to(hidden.dtype), forbidden, float(temperature))


def product_dtype(weight: Tensor) -> torch.dtype:
    """What the head's product runs in: the autocast dtype where autocast is on, else the weight's."""
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _product(left: Tensor, right: Tensor) -> Tensor:
    """left @ right, accumulated and returned in float32 also where both are in half precision."""
    wide = _wide(left.dtype)
    if left.dtype == wide:
        return left @ right
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=wide)
    return left.to(wide) @ right.to(wide)


def _logits(hidden: Tensor, weight: Tensor, forbidden: Tensor | None, temperature: float) -> Tensor:
    logits = _product(hidden, weight.t())
    if temperature != 1.0:
        logits /= temperature
    if forbidden is not None and forbidden.numel():
        logits.index_fill_(1, forbidden, EXCLUDED)
    return logits


class _TokenScores(torch.autograd.Function):
    """Forward keeps logits only within the budget; backward works chunk by chunk either way."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        forbidden: Tensor | None,
        temperature: float,
        dtype: torch.dtype,
        budget_bytes: int,
    ) -> tuple[Tensor, Tensor]:
        wide = _wide(dtype)
        rows, entries = len(hidden), weight.shape[0]
        per_row = entries * wide.itemsize
        step = max(1, CHUNK_BYTES.get(hidden.device.type, 2**25) // per_row)
        needed = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        kept = hidden.new_empty((rows, entries), dtype=wide) if needed and rows * per_row <= budget_bytes else None
        cast = weight.to(dtype)
        logp, total, entropy = (hidden.new_empty(rows, dtype=wide) for _ in range(3))
        for start in range(0, rows, step):
            part = slice(start, start + step)
            logits = _logits(hidden[part].to(dtype), cast, forbidden, temperature)
            if kept is not None:
                kept[part] = logits
            highest = logits.amax(-1, keepdim=True)
            shifted = logits - highest
            logp[part] = shifted.gather(1, targets[part, None])[:, 0]
            powers = shifted.exp()
            sums = powers.sum(-1)
            logarithm = sums.log()
            logp[part] -= logarithm
            total[part] = logarithm + highest[:, 0]
            entropy[part] = logarithm - powers.mul_(shifted).sum(-1) / sums
        ctx.save_for_backward(hidden, weight, targets, forbidden, total, entropy, kept)
        ctx.temperature, ctx.dtype, ctx.step = temperature, dtype, step
        ctx.set_materialize_grads(False)
        return logp, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_logp: Tensor | None, by_entropy: Tensor | None) -> tuple[Tensor | None, ...]:
        """With z the logits and p their softmax: d logp / dz = onehot - p, d entropy / dz = -p (log p + entropy)."""
        hidden, weight, targets, forbidden, total, entropy, kept = ctx.saved_tensors
        wide = total.dtype
        if by_logp is None and by_entropy is None:
            return (None,) * 7
        with torch.autocast(hidden.device.type, enabled=False):
            cast = weight.to(ctx.dtype)
            by_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
            by_weight = torch.zeros_like(weight, dtype=wide) if ctx.needs_input_grad[1] else None
            for start in range(0, len(hidden), ctx.step):
                part = slice(start, start + ctx.step)
                inputs = hidden[part].to(ctx.dtype)
                logits = _logits(inputs, cast, forbidden, ctx.temperature) if kept is None else kept[part]
                slope = _slope(
                    logits - total[part, None],
                    targets[part],
                    None if by_logp is None else by_logp[part],
                    None if by_entropy is None else by_entropy[part],
                    entropy[part],
                )
                if ctx.temperature != 1.0:
                    slope /= ctx.temperature
                slope = slope.to(ctx.dtype)
                if by_hidden is not None:
                    by_hidden[part] = _product(slope, cast)
                if by_weight is not None:
                    by_weight += _product(slope.t(), inputs)
        return by_hidden, None if by_weight is None else by_weight.to(weight.dtype), None, None, None, None, None


def _slope(
    logp_all: Tensor, targets: Tensor, by_logp: Tensor | None, by_entropy: Tensor | None, entropy: Tensor
) -> Tensor:
    """d loss / dz [m, V]: `onehot g - p (g + h (log p + H))` with g, h the slopes by log-probability and entropy."""
    probability = logp_all.exp()
    if by_entropy is None:
        assert by_logp is not None
        slope = probability.mul_(-by_logp[:, None])
    else:
        inner = logp_all.add_(entropy[:, None]).mul_(by_entropy[:, None])
        if by_logp is not None:
            inner.add_(by_logp[:, None])
        slope = probability.mul_(inner).neg_()
    if by_logp is not None:
        slope.scatter_add_(1, targets[:, None], by_logp[:, None])
    return slope
