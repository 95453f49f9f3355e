"""GRPO that spares what wrong responses share with right ones (negative-sample projection residual, ResRL).

Paper: ResRL, ICML 2026. Per prompt with right and wrong rollouts, x = LayerNorm of the state before the last layer; mu and V
are mean and leading singular directions of right rollouts' tokens. Wrong tokens: `d = |(I - V V^T)(x - mu)|^2 / D`,
`w = w_min + (1 - w_min) clip((d - q_low) / (q_high - q_low), 0, 1)`; `A' = w A`, right rollouts `positive A`. The outcome of a
right rollout counts `1 - brevity` at the longest length, and 1 up to `brevity_from` of it.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from rewards.method import Batch, Chunk, Method, Pass, method
from rewards.methods.high_entropy_tokens import quantile
from rewards.support.seeds import stable_hash

ROUNDS = 4
"""Power iterations of the randomised decomposition."""


@method.register("resrl")
class Resrl(Method):
    """Weights only shrink the update. A prompt without both kinds, or with fewer than four right tokens, has w = 1."""

    paper: ClassVar[str] = "ResRL, ICML 2026"
    provenance: ClassVar[str] = "code: 1229095296/ResRL@58d7d5d"
    family: ClassVar[str] = "token level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = (
        "grpo",
        {"positive": 1.0, "w_min": 1.0, "brevity": 0.0},
    )

    positive: float = 0.1
    w_min: float = 0.1
    rank: int = 64
    low: float = 0.2
    high: float = 0.8
    tokens: int = 4096
    brevity: float = 0.3
    brevity_from: float = 3500 / 4096

    @property
    def passes(self) -> tuple[Pass, ...]:
        return (Pass(name="old", hidden=(-2,), read="latents") if self.w_min < 1.0 else Pass(name="old"),)

    @property
    def advantage_needs_signals(self) -> bool:
        return self.w_min < 1.0

    def latents(self, chunk: Chunk) -> dict[str, Tensor]:
        """`latent` [b, S, D]: the normalised state that predicts each token, on the host where there is a device."""
        states = next(iter(chunk.hidden.values()))[:, :-1]
        return {"latent": torch.nn.functional.layer_norm(states.float(), states.shape[-1:]).to(states.dtype).cpu()}

    def reward(self, batch: Batch) -> Tensor:
        """[B]; what a right rollout loses for its length is a share of the recipe's outcome weight."""
        free = self.brevity_from * batch.max_new_tokens
        over = ((batch.lengths - free) / max(batch.max_new_tokens - free, 1e-9)).clamp(0.0, 1.0)
        return super().reward(batch) - batch.weight_of("outcome") * self.brevity * over * (batch.outcome >= 1)

    def shape(self, advantage: Tensor, batch: Batch) -> Tensor:
        right = (batch.outcome >= 1) & batch.graded
        shaped = torch.where(right[:, None], self.positive * advantage, advantage)
        if self.w_min >= 1.0:
            return shaped
        keys = batch.keys()
        for number in range(int(batch.group.max().item()) + 1):
            rows = ((batch.group == number) & batch.graded).nonzero().squeeze(-1).tolist()
            rows = sorted(rows, key=lambda row: keys[row])  # what is drawn below does not depend on the batch's order
            good, bad = ([r for r in rows if bool(right[r]) == kind] for kind in (True, False))
            seed = stable_hash("resrl", batch.progress.step, batch.prompts[rows[0]].example_id) if rows else 0
            known, asked = self._tokens(good, batch), self._tokens(bad, batch)
            if len(known) < 4 or not len(asked):
                continue
            at = torch.tensor(bad, device=batch.mask.device)
            weight = torch.ones_like(advantage[at])
            weight[batch.mask[at]] = self.weights(known, asked, seed).to(weight.dtype)
            shaped[at] = shaped[at] * weight
        return shaped

    def _tokens(self, rows: list[int], batch: Batch) -> Tensor:
        """States [n, D] of the valid tokens of the rows."""
        found = [batch.signals["old.latent"][r].to(batch.mask.device)[batch.mask[r]].float() for r in rows]
        return torch.cat(found) if found else torch.zeros(0, 1)

    def weights(self, known: Tensor, asked: Tensor, seed: int = 0) -> Tensor:
        """w [n] of wrong tokens [n, D] given right ones [N, D]."""
        draw = torch.Generator().manual_seed(seed)
        if len(known) > self.tokens:
            known = known[torch.randperm(len(known), generator=draw)[: self.tokens].to(known.device)]
        mean = known.mean(0)
        axes = directions(known - mean, self.rank, draw)
        x = asked - mean
        d = (x.square().sum(-1) - (x @ axes).square().sum(-1)).clamp(min=0.0) / x.shape[-1]
        low, high = quantile(d, self.low), quantile(d, self.high)
        if float(high - low) < 1e-8:
            return torch.full_like(d, (self.w_min + 1.0) / 2.0)
        return self.w_min + (1.0 - self.w_min) * ((d - low) / (high - low)).clamp(0.0, 1.0)


def directions(centred: Tensor, rank: int, draw: torch.Generator) -> Tensor:
    """At most `rank` leading right singular vectors [D, k]; null directions are left out. Large matrices: randomised."""
    k = min(rank, len(centred) - 1, centred.shape[1])
    if min(centred.shape) > 4 * rank:
        start = torch.randn(centred.shape[1], k + 8, generator=draw).to(centred.device)
        basis = torch.linalg.qr(centred.t() @ (centred @ start)).Q
        for _ in range(ROUNDS):
            basis = torch.linalg.qr(centred.t() @ (centred @ basis)).Q
        _, sizes, right = torch.linalg.svd(centred @ basis, full_matrices=False)
        right = right @ basis.t()
    else:
        _, sizes, right = torch.linalg.svd(centred, full_matrices=False)
    return right[:k][sizes[:k] > 1e-6 * sizes[0].clamp(min=1e-12)].t()
