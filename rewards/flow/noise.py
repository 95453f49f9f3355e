"""Random numbers that are pure functions of (key, counter): the same on every device, in any order, however work is cut.

splitmix64 of key and counter gives uniforms, Box-Muller makes normals of them. Nothing is drawn from a stream.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def gaussian(keys: Tensor, counter: Tensor, size: int) -> Tensor:
    """Standard normal vectors [n, size], a pure function of (keys [n] or [1], counter [n]); int64 arithmetic, any device.

    splitmix64 of key and counter gives two 24-bit uniforms, Box-Muller makes two normals of them (|z| < 6).
    """
    half = (size + 1) // 2
    index = counter[:, None] * half + torch.arange(half, device=keys.device)
    mixed = _splitmix(_splitmix(keys)[:, None] + (index + 1) * _signed(0x9E3779B97F4A7C15))
    first = ((mixed >> 40) & 0xFFFFFF).float().add_(0.5).mul_(2.0**-24)
    second = ((mixed >> 8) & 0xFFFFFF).float().mul_(2.0 * math.pi * 2.0**-24)
    radius = first.log_().mul_(-2.0).sqrt_()
    return torch.cat([radius * second.cos(), radius * second.sin()], dim=-1)[:, :size]


def logit_normal(key: int, counter: Tensor) -> Tensor:
    """`sigmoid(n)`, n ~ N(0, 1): training times [n] for the counters [n], on their device."""
    return gaussian(torch.tensor([key], device=counter.device), counter, 1)[:, 0].sigmoid()


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _splitmix(z: Tensor) -> Tensor:
    """The finaliser of splitmix64 on int64 (wrapping products; shifts made logical by a mask)."""
    z = (z ^ ((z >> 30) & ((1 << 34) - 1))) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ ((z >> 27) & ((1 << 37) - 1))) * _signed(0x94D049BB133111EB)
    return z ^ ((z >> 31) & ((1 << 33) - 1))
