"""The velocity network of the flow field: noisy latents, time, condition and layer in, velocities out.

`v(x_t, t, c, l/L)` with D latent channels and W channels inside. Source: arXiv 2510.10201, read in the authors' release
(Jinghaoleven/RLFR, lmm_kits/flow_simple.py). Initialisation draws from the generator it is given, never from the global
stream, so that a flow is a function of its seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

FREQUENCIES = 256
"""Channels of a sinusoidal embedding."""
LARGE = 3e9
"""Decoder weights above which the release uses six blocks (it has 4 up to 3B and 6 at 7B)."""


@dataclass(frozen=True, slots=True)
class FieldConfig:
    """Shape of a velocity network: `size` latent channels D, `width` inner channels W, `depth` residual blocks."""

    size: int
    width: int
    depth: int
    eps: float = 1e-6


def default_depth(hidden_size: int, layers: int) -> int:
    """Residual blocks for a policy of this size: 4 up to 3B, 6 beyond, by the decoder's weights `12 * layers * D^2`."""
    return 6 if 12 * layers * hidden_size**2 > LARGE else 4


@dataclass(frozen=True, slots=True)
class Modulation:
    """What the blocks need of (t, c, l): `blocks[i] [N, 3W]` and `final [N, 2W]`. It does not depend on x, so that
    several noise draws at one timestep share it (it is three fifths of a block's work)."""

    blocks: tuple[Tensor, ...]
    final: Tensor


class Embedding(nn.Module):
    """A scalar per row as W channels: sinusoids, then two linear layers with SiLU between. [N] -> [N, W]."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        half = FREQUENCIES // 2
        rates = torch.exp(-math.log(10_000.0) * torch.arange(half, dtype=torch.float32) / half)
        self.register_buffer("frequencies", rates, persistent=False)
        self.first, self.second = _linear(FREQUENCIES, width), _linear(width, width)

    def forward(self, value: Tensor) -> Tensor:
        angle = value[:, None].float() * self.frequencies
        waves = torch.cat([angle.cos(), angle.sin()], dim=-1)
        return self.second(nn.functional.silu(self.first(waves)))


class Block(nn.Module):
    """Residual block: `x + gate * MLP(RMSNorm(x) * (1 + scale) + shift)` with (shift, scale, gate) from `modulate`."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width, eps=eps)
        self.first, self.second = _linear(width, width), _linear(width, width)
        self.modulate = _linear(width, 3 * width)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift, scale, gate = modulation.chunk(3, dim=-1)
        inner = self.norm(x.float()) * (1 + scale) + shift
        return x + gate * self.second(nn.functional.silu(self.first(inner)))


class VelocityField(nn.Module):
    """The network. A new one predicts 0 everywhere: its last projection and all modulations start at zero."""

    def __init__(self, config: FieldConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.enter, self.condition = _linear(config.size, width), _linear(config.size, width)
        self.time, self.layer = Embedding(width), Embedding(width)
        self.blocks = nn.ModuleList(Block(width, config.eps) for _ in range(config.depth))
        self.norm = nn.RMSNorm(width, eps=config.eps)
        self.modulate = _linear(width, 2 * width)
        self.leave = _linear(width, config.size)
        self._initialise(generator)

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                module.bias.zero_()
        for zeroed in (*(block.modulate for block in self.blocks), self.modulate, self.leave):
            zeroed.weight.zero_()  # type: ignore[union-attr, operator]

    def modulation(self, t: Tensor, c: Tensor, layer: Tensor) -> Modulation:
        """Everything that (t [N], c [N, D], l/L [N]) contribute; `t` and `layer` may be [1] and are then shared."""
        y = nn.functional.silu(self.layer(layer) + self.condition(c) + self.time(t))
        return Modulation(tuple(block.modulate(y) for block in self.blocks), self.modulate(y))  # type: ignore[operator, union-attr]

    def velocity(self, x: Tensor, modulation: Modulation) -> Tensor:
        """Velocities [N, D] at x [N, D]."""
        h = self.enter(x)
        for block, part in zip(self.blocks, modulation.blocks, strict=True):
            h = block(h, part)
        shift, scale = modulation.final.chunk(2, dim=-1)
        return self.leave(self.norm(h.float()) * (1 + scale) + shift)

    def forward(self, x: Tensor, t: Tensor, c: Tensor, layer: Tensor) -> Tensor:
        """Velocity [N, D] at x [N, D], time t [N], condition c [N, D] and layer position l/L [N]."""
        return self.velocity(x, self.modulation(t, c, layer))


def _linear(inside: int, outside: int) -> nn.Linear:
    """A linear layer without its own initialisation, which would draw from the global stream."""
    return nn.utils.skip_init(nn.Linear, inside, outside)  # type: ignore[return-value]
