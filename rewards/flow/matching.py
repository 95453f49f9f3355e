"""The flow-matching loss: pairs of latents (target, condition) in, one scalar out.

t = 1 is data: `x_t = t a + (1 - t) e` with `e ~ N(0, I)`, velocity target `u = a - e`, loss `mean_D (v - u)^2`, averaged
over the selected tokens, then over layers and pairings. Training times are logit-normal(0, 1), one per token and draw.
Source: arXiv 2510.10201, section 3; logit-normal times as in arXiv 2403.03206. All noise comes from the given generator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rewards.flow.field import VelocityField


@dataclass(frozen=True, slots=True)
class Pairs:
    """Tokens of one layer under one pairing: target, condition [N, D] (float32), weight [N], `layer` = l/L."""

    target: Tensor
    condition: Tensor
    weight: Tensor
    layer: float


def interpolate(target: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """`x_t` and `u`, both [N, D], from a and e [N, D] and t [N] (or [1])."""
    at = t[:, None]
    return at * target + (1 - at) * noise, target - noise


def deviation(velocity: Tensor, wanted: Tensor) -> Tensor:
    """`mean_D (v - u)^2`, [N, D] -> [N], in float32."""
    return (velocity.float() - wanted.float()).square().mean(-1)


def logit_normal(count: int, generator: torch.Generator) -> Tensor:
    """`sigmoid(n)`, n ~ N(0, 1): training times [count], on the generator's device."""
    return torch.randn(count, generator=generator, device=generator.device).sigmoid()


def precise(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Autocast to bfloat16, or float32 whatever surrounds the call."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def flow_loss(
    field: VelocityField,
    sets: Sequence[Pairs],
    generator: torch.Generator,
    batch_mul: int = 1,
    chunk: int = 8192,
    precision: str = "float32",
) -> Tensor:
    """The loss over all sets (layers times pairings), a scalar with gradient to the field only.

    `batch_mul` independent (t, e) draws per token. More than `chunk` rows (token, draw) are computed piece by piece and
    recomputed in the backward pass, so memory is bounded by `chunk`. Sets without weight are left out; with none left
    the loss is a zero that still reaches every parameter.
    """
    terms = [
        _set_loss(field, part, generator, batch_mul, chunk, precision) for part in sets if bool((part.weight > 0).any())
    ]
    if not terms:
        return sum((p.sum() * 0.0 for p in field.parameters()), torch.zeros(()))  # type: ignore[return-value]
    return torch.stack(terms).mean()


def _set_loss(
    field: VelocityField, part: Pairs, generator: torch.Generator, batch_mul: int, chunk: int, precision: str
) -> Tensor:
    device, rows = part.target.device, part.target.shape[0] * batch_mul
    # drawn on the generator's device in one piece: the values do not depend on `chunk`
    t = logit_normal(rows, generator).to(device)
    noise = torch.randn(rows, part.target.shape[1], generator=generator, device=generator.device).to(device)
    target, condition = (x.detach().repeat(batch_mul, 1) for x in (part.target, part.condition))
    weight = part.weight.repeat(batch_mul)
    layer = torch.full((1,), part.layer, device=device)

    def piece(a: Tensor, c: Tensor, e: Tensor, at: Tensor, w: Tensor) -> Tensor:
        with precise(device, precision):
            x, wanted = interpolate(a, e, at)
            return (deviation(field(x, at, c, layer), wanted) * w).sum()

    call: Callable[..., Tensor] = piece if rows <= chunk else _recomputed(piece)
    pieces = zip(*(x.split(chunk) for x in (target, condition, noise, t, weight)), strict=True)
    return torch.stack([call(*args) for args in pieces]).sum() / weight.sum()


def _recomputed(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def call(*args: Tensor) -> Tensor:
        return checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False)  # type: ignore[no-any-return]

    return call
