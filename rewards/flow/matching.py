"""The flow-matching loss: pairs of latents (target, condition) in, one scalar out.

t = 1 is data: `x_t = t a + (1 - t) e` with `e ~ N(0, I)`, velocity target `u = a - e`, loss `mean_D (v - u)^2`, averaged
over the selected tokens, then over layers and pairings. Training times are logit-normal(0, 1), one per token and draw.
Source: arXiv 2510.10201, section 3; logit-normal times as in arXiv 2403.03206. Times and noise are functions of a key and
the token's number (rewards/flow/noise.py), so they are made piece by piece on the field's device and never kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from rewards.flow.field import VelocityField
from rewards.flow.noise import gaussian, logit_normal
from rewards.support.seeds import stable_hash


@dataclass(frozen=True, slots=True)
class Pairs:
    """N tokens of one layer under one pairing: `own`, `other` [N] index targets and conditions in states [P, D] (any
    dtype, often on the host), weight [N], `layer` = l/L. Pieces of them go to the field's device as float32."""

    states: Tensor
    own: Tensor
    other: Tensor
    weight: Tensor
    layer: float

    @classmethod
    def of(cls, target: Tensor, condition: Tensor, weight: Tensor, layer: float) -> Pairs:
        """From targets and conditions [N, D]."""
        place = torch.arange(len(target))
        return cls(torch.cat([target, condition]), place, place + len(target), weight, layer)

    @property
    def target(self) -> Tensor:
        return self.states[self.own].float()

    @property
    def condition(self) -> Tensor:
        return self.states[self.other].float()

    def piece(self, tokens: Tensor, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Target, condition [n, D] and weight [n] of the given tokens [n], float32 on `device`."""
        own, other = (self.states[index[tokens]].to(device).float() for index in (self.own, self.other))
        return own, other, self.weight[tokens].to(device)


def interpolate(target: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """`x_t` and `u`, both [N, D], from a and e [N, D] and t [N] (or [1])."""
    at = t[:, None]
    return at * target + (1 - at) * noise, target - noise


def deviation(velocity: Tensor, wanted: Tensor) -> Tensor:
    """`mean_D (v - u)^2`, [N, D] -> [N], in float32."""
    return (velocity.float() - wanted.float()).square().mean(-1)


def precise(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Autocast to bfloat16, or float32 whatever surrounds the call."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def flow_loss(
    field: VelocityField,
    sets: Sequence[Pairs],
    key: int,
    batch_mul: int = 1,
    chunk: int = 8192,
    precision: str = "float32",
) -> Tensor:
    """The loss over all sets (layers times pairings), a scalar with gradient to the field only.

    `batch_mul` independent (t, e) draws per token, functions of `key`, the set's number and the token's. Rows (token, draw)
    are computed `chunk` at a time, each piece with its own backward pass where a gradient is wanted: memory is bounded
    by `chunk` and one more gradient of the field. Sets without weight are left out; with none left the loss is a zero
    that still reaches every parameter.
    """
    used = [(n, part) for n, part in enumerate(sets) if bool((part.weight > 0).any())]
    device = next(field.parameters()).device

    def pieces() -> Iterator[Callable[[], Tensor]]:
        for number, part in used:
            scale = 1.0 / (float(part.weight.sum()) * batch_mul * len(used))
            for rows in torch.arange(len(part.own) * batch_mul).split(chunk):
                yield lambda part=part, rows=rows, number=number, scale=scale: (  # type: ignore[misc]
                    scale * _piece(field, part, rows, stable_hash(key, number), device, precision)
                )

    if not torch.is_grad_enabled():
        return sum((piece() for piece in pieces()), torch.zeros((), device=device))
    loss: Tensor = _Accumulated.apply(pieces, *field.parameters())
    return loss


def _piece(field: VelocityField, part: Pairs, rows: Tensor, key: int, device: torch.device, precision: str) -> Tensor:
    """Weighted sum of deviations of rows [n]; row r is draw r // N of token r % N."""
    target, condition, weight = part.piece(rows % len(part.own), device)
    counter = rows.to(device)
    t = logit_normal(stable_hash("time", key), counter)
    noise = gaussian(torch.tensor([stable_hash("noise", key)], device=device), counter, target.shape[1])
    with precise(device, precision):
        x, wanted = interpolate(target, noise, t)
        velocity = field(x, t, condition, torch.full((1,), part.layer, device=device))
        return (deviation(velocity, wanted) * weight).sum()


class _Accumulated(torch.autograd.Function):
    """The sum of pieces, whose gradients are taken piece by piece in the forward pass: one graph at a time is alive."""

    @staticmethod
    def forward(ctx: Any, pieces: Callable[[], Iterator[Callable[[], Tensor]]], *parameters: Tensor) -> Tensor:
        total = torch.zeros((), device=parameters[0].device)
        gradients = [torch.zeros_like(p) for p in parameters]
        for piece in pieces():
            with torch.enable_grad():
                loss = piece()
            found = torch.autograd.grad(loss, parameters, allow_unused=True)
            for gradient, part in zip(gradients, found, strict=True):
                if part is not None:
                    gradient.add_(part)
            total += loss.detach()
        ctx.gradients = gradients
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        return (None, *(g.mul_(slope) for g in gradients))
