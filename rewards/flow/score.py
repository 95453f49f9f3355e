"""Flow scores of response tokens: latents and a velocity field in, debiased deviations out, with reproducible noise.

`s_k = mean over timesteps, layers and pairings of t / (1 - t) * mean_D (v - u)^2`. The noise of a token is a pure
function of (run seed, step, rollout, layer, draw, token), so a score does not depend on batching, padding or order and
can be recomputed. Only response tokens are scored. Source: arXiv 2510.10201, section 3.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from rewards.flow.field import VelocityField
from rewards.flow.latents import OFFSET, partnered, pick
from rewards.flow.matching import deviation, interpolate, precise
from rewards.flow.noise import gaussian
from rewards.method import Chunk
from rewards.support.layers import layer_indices
from rewards.support.seeds import stable_hash
from rewards.support.stats import auroc

Estimator = Literal["independent", "antithetic", "shared", "shared-antithetic"]


@dataclass(frozen=True, slots=True)
class Scoring:
    """What to score and how.

    timesteps: S; pairings: which partners condition; estimator: how a token's `draws` noise vectors are made:
    `independent` (the paper's, with one draw), `antithetic` (pairs e, -e), `shared` (one vector for all tokens of a
    rollout and layer), `shared-antithetic`. tokens: rows of one network call; precision of the network.
    """

    timesteps: tuple[float, ...] = (0.8,)
    pairings: tuple[str, ...] = ("previous",)
    estimator: Estimator = "independent"
    draws: int = 1
    tokens: int = 8192
    precision: str = "float32"

    @property
    def antithetic(self) -> bool:
        return self.estimator.endswith("antithetic")

    @property
    def units(self) -> int:
        """Independent repetitions among the draws: an antithetic pair is one."""
        return self.draws // 2 if self.antithetic else self.draws


@dataclass(frozen=True, slots=True)
class Scores:
    """`mean [b, S]`; `variance [b, S]` of that mean due to noise (None with one repetition); `table [layers,
    timesteps, b, S]`: debiased scores before they are averaged. 0 where a token is not scored."""

    mean: Tensor
    variance: Tensor | None
    table: Tensor


def debias(t: float) -> float:
    """`t / (1 - t)`: from velocity deviation to a bound on the gap in log-likelihood."""
    return t / (1.0 - t)


@torch.no_grad()
def score_chunk(field: VelocityField, chunk: Chunk, layers: Sequence[float | int], how: Scoring) -> Scores:
    """Scores of a chunk's response tokens. Raises TrainingError when the chunk lacks a layer."""
    indices = layer_indices(layers, chunk.layers)
    pick(chunk.hidden, indices)
    shape = (how.units, len(indices), len(how.timesteps), *chunk.mask.shape)
    total = torch.zeros(shape, device=chunk.mask.device)
    partners = torch.zeros(chunk.mask.shape, device=chunk.mask.device)
    for pairing in how.pairings:
        valid = partnered(chunk.mask, pairing)
        partners += valid
        rows, tokens = valid.nonzero(as_tuple=True)
        for number, layer in enumerate(indices):
            keys = noise_keys(chunk.seed, chunk.step, chunk.keys, layer).to(rows.device)
            for part in torch.arange(len(rows), device=rows.device).split(how.tokens):
                r, s = rows[part], tokens[part]
                found = _deviations(field, chunk.hidden[layer], layer / chunk.layers, r, s, pairing, keys[r], how)
                total[:, number, :, r, s] += found
    # a token without a partner under some pairing is averaged over those it has
    total /= partners.clamp(min=1)
    repeated = total.mean(dim=(1, 2))
    variance = repeated.var(dim=0) / how.units if how.units > 1 else None
    return Scores(repeated.mean(0), variance, total.mean(0))


def noise_keys(seed: int, step: int, keys: Sequence[str], layer: int) -> Tensor:
    """One 63-bit number per rollout [b] that keys its noise at a layer."""
    return torch.tensor([stable_hash("noise", seed, step, key, layer) for key in keys], dtype=torch.int64)


def _deviations(
    field: VelocityField,
    hidden: Tensor,
    depth: float,
    rows: Tensor,
    tokens: Tensor,
    pairing: str,
    keys: Tensor,
    how: Scoring,
) -> Tensor:
    """Debiased deviations [units, timesteps, n] of n tokens at one layer under one pairing."""
    target, condition = hidden[rows, tokens + 1].float(), hidden[rows, tokens + 1 + OFFSET[pairing]].float()
    out = target.new_zeros(how.units, len(how.timesteps), len(rows))
    layer = torch.full((1,), depth, device=target.device)
    counter = torch.zeros_like(tokens) if how.estimator.startswith("shared") else tokens
    with precise(target.device, how.precision):
        # (t, c, l) enter the network beside x: their part is computed once for all draws
        known = [field.modulation(torch.full((1,), t, device=target.device), condition, layer) for t in how.timesteps]
        for unit in range(how.units):
            noise = gaussian(keys + unit, counter, target.shape[1])
            for signed in (noise, -noise) if how.antithetic else (noise,):
                for index, t in enumerate(how.timesteps):
                    x, wanted = interpolate(target, signed, torch.full((1,), t, device=target.device))
                    out[unit, index] += debias(t) * deviation(field.velocity(x, known[index]), wanted)
    return out / (2 if how.antithetic else 1)


def separation(
    field: VelocityField, chunks: Sequence[Chunk], layers: Sequence[float | int], how: Scoring
) -> Mapping[tuple[int, float], float]:
    """AUROC of a low mean score for correctness, per (layer, timestep), over graded rollouts with at least one token.

    0.5: the score says nothing of correctness; above: correct rollouts deviate less. Answers whether small deviation
    goes with correct steps.
    """
    means, right = [], []
    for chunk in chunks:
        keep = chunk.graded & chunk.mask.any(-1)
        table = score_chunk(field, chunk, layers, how).table[:, :, keep]
        means.append(table.sum(-1) / chunk.mask[keep].sum(-1))
        right.append(chunk.outcome[keep] >= 1)
    score, correct = torch.cat(means, dim=-1), torch.cat(right)
    indices = layer_indices(layers, chunks[0].layers)
    return {
        (layer, t): auroc(-score[i, j], correct) for i, layer in enumerate(indices) for j, t in enumerate(how.timesteps)
    }
