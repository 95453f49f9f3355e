"""GRPO on rewards with a little noise added before the group is normalised (ReDit, reward dithering).

Paper: arXiv 2506.18631. `R' = R + e`, e independent per rollout, N(0, scale^2) or uniform on (-scale, scale). Within a uniform
group z-scoring turns any scale into advantages of unit size: that is the method's exploration, not an accident.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rewards.method import Batch, Context, Method, method
from rewards.support.seeds import stable_hash


@method.register("redit")
class Redit(Method):
    """The noise is a function of (run seed, step, prompt, sample), so a resumed or reordered run draws the same. The
    clean outcome stays beside it."""

    paper: ClassVar[str] = "arXiv 2506.18631"
    provenance: ClassVar[str] = "note: abstract and a summary (noise scale)"
    family: ClassVar[str] = "reward level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {"scale": 0.0})

    scale: float = 0.05
    distribution: Literal["gaussian", "uniform"] = "gaussian"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._seed = 0

    def setup(self, ctx: Context) -> None:
        self._seed = ctx.seed

    def reward(self, batch: Batch) -> Tensor:
        clean = super().reward(batch)
        if self.scale == 0:
            return clean
        keys = batch.keys()
        noise = [self.noise(batch.progress.step, key) for key in keys]
        return clean + torch.tensor(noise, dtype=clean.dtype, device=clean.device)

    def noise(self, step: int, key: str) -> float:
        """The dither of one rollout."""
        first, second = (
            (stable_hash("redit", self._seed, step, key, part) + 0.5) / 2.0**63 for part in ("radius", "angle")
        )
        if self.distribution == "uniform":
            return self.scale * (2.0 * first - 1.0)
        return self.scale * math.sqrt(-2.0 * math.log(first)) * math.cos(2.0 * math.pi * second)
