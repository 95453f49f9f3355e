"""GRPO that must change its mind without the picture and must not with a noisy one (thinking with deltas, DVRP).

Paper: arXiv 2601.06801. `L = L_grpo - necessary * k3(logp, masked_logp) + robust * k3(logp, noised_logp)`, with
`k3(p, q) = exp(q - p) - (q - p) - 1` on sampled tokens; masked: patches black with probability `corruption`; noised: diffusion
noise of step `noise_steps * sigmoid(10 (1/2 - progress))`.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from rewards import losses
from rewards.method import Batch, Method, Now, Pass, Row, Scope, View, method
from rewards.support.seeds import stable_hash
from rewards.support.views import mask_patches, noise_patches


@method.register("dvrp")
class Dvrp(Method):
    """Both views are scored once per rollout batch, without gradient. Prompts without a picture have neither term."""

    paper: ClassVar[str] = "arXiv 2601.06801"
    provenance: ClassVar[str] = "code-3p: a reproduction that quotes eq. 4; k3 and masking as in PAPO"
    family: ClassVar[str] = "multimodal"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = (
        "grpo",
        {"necessary": 0.0, "robust": 0.0, "clip_high": 0.2},
    )
    inert: ClassVar[bool] = False

    clip_high: float = 0.3
    necessary: float = 0.01
    robust: float = 0.01
    necessary_max: float = 10.0
    corruption: float = 0.6
    noise_steps: float = 500.0

    @property
    def passes(self) -> tuple[Pass, ...]:
        masked = (Pass(name="masked", view=self.masked),) if self.necessary else ()
        noised = (Pass(name="noised", view=self.noised),) if self.robust else ()
        return (Pass(name="old"), *masked, *noised)

    @property
    def loss_scope(self) -> Scope:
        return "row"

    def masked(self, row: Row) -> View:
        seed = stable_hash("dvrp-mask", row.seed, row.step, row.prompt.example_id)
        return View(mask_patches(row.prompt, self.corruption, seed), row.response)

    def noised(self, row: Row) -> View:
        seed = stable_hash("dvrp-noise", row.seed, row.step, row.prompt.example_id)
        return View(noise_patches(row.prompt, self.noise_step(row.fraction), seed), row.response)

    def noise_step(self, done: float) -> float:
        """Diffusion step after the fraction `done` of training: from strong noise to nearly none."""
        return self.noise_steps / (1.0 + math.exp(-10.0 * (0.5 - done)))

    def loss(self, now: Now, advantage: Tensor, batch: Batch) -> dict[str, Tensor]:
        terms = super().loss(now, advantage, batch)
        seen = torch.tensor([[p.patches is not None] for p in batch.prompts], device=now.logp.device)
        if self.necessary:
            # minus a divergence is unbounded below, so it is capped
            apart = losses.kl_k3(now.logp, batch.signals["masked.logp"]).clamp(max=self.necessary_max)
            terms["necessary"] = -self.necessary * self.reduce(apart * seen, batch)
        if self.robust:
            apart = losses.kl_k3(now.logp, batch.signals["noised.logp"])
            terms["robust"] = self.robust * self.reduce(apart * seen, batch)
        return terms
