"""From logits to a token, in a way that does not depend on which rows are decoded together.

Every response has a counter-based stream of uniforms keyed by (seed, policy version, prompt, sample index); the uniform of
a position is turned into a token by inverse CDF over float64 probabilities in the order of token ids. So a draw is a
function of the row's own logits and key. What batching can still change is the rounding of the logits themselves (about
1e-6 in float32): a token differs only where that noise moves a boundary of the CDF across the uniform (in 22,028 tokens of
tiny-lm, decoded 64 and 5 at a time, none did).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.core.errors import EngineError
from harness.core.records import Prompt, Sampling

if TYPE_CHECKING:
    import torch

CHUNK = 256
"""Uniforms drawn at a time; the stream does not depend on it."""


class Uniforms:
    """The uniforms in [0, 1) of one response by position, from numpy's Philox stream with a 128-bit key."""

    def __init__(self, seed: int, version: int, prompt: Prompt, sample_index: int) -> None:
        import numpy as np

        text = f"{seed}\x1f{version}\x1f{prompt_key(prompt)}\x1f{sample_index}"
        key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
        self._stream = np.random.Generator(np.random.Philox(key=key))
        self._drawn: list[float] = []

    def at(self, position: int) -> float:
        while len(self._drawn) <= position:
            self._drawn.extend(self._stream.random(CHUNK).tolist())
        return self._drawn[position]


def prompt_key(prompt: Prompt) -> str:
    """Hash of what the policy sees: token ids and image patches; not of the item's name."""
    ids = ",".join(map(str, prompt.ids))
    return hashlib.sha256(f"{ids}\x1f{prompt.patches.sha256 if prompt.patches else ''}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the rows of a batch are drawn: temperature, top_p and top_k [A]; `cuts`: whether any row uses the latter two."""

    temperature: torch.Tensor
    top_p: torch.Tensor
    top_k: torch.Tensor
    cuts: bool

    @classmethod
    def of(cls, samplings: Sequence[Sampling], device: torch.device) -> Decoding:
        import torch

        def column(name: str, dtype: torch.dtype) -> torch.Tensor:
            return torch.tensor([getattr(s, name) for s in samplings], dtype=dtype, device=device)

        cuts = any(s.temperature > 0 and (s.top_p < 1 or s.top_k > 0) for s in samplings)
        return cls(
            column("temperature", torch.float64), column("top_p", torch.float64), column("top_k", torch.long), cuts
        )


def draw(
    logits: torch.Tensor, uniforms: Sequence[float], decoding: Decoding, forbidden: torch.Tensor
) -> tuple[list[int], list[float]]:
    """One token per row and its log-probability.

    logits: [A, V] of any float type; uniforms: A numbers in [0, 1); forbidden: [F] ids that leave the distribution before
    it is normalised. Log-probabilities are at the row's temperature (1 for a greedy row, temperature 0), before top_k and
    top_p. Greedy takes the first of equal maxima. Raises EngineError for logits that are not finite.
    """
    import torch

    scaled = masked(logits, forbidden) / torch.where(decoding.temperature > 0, decoding.temperature, 1.0).unsqueeze(1)
    highest = scaled.amax(dim=-1, keepdim=True)
    weights = (scaled - highest).exp()
    total = weights.sum(dim=-1, keepdim=True)
    if not bool(torch.isfinite(total).all()):
        raise EngineError(
            "the policy's logits are not finite",
            "its weights are damaged or training diverged; start from an earlier checkpoint",
        )
    cdf = (_cut(weights, decoding) if decoding.cuts else weights).cumsum(dim=-1)
    points = torch.tensor(uniforms, dtype=torch.float64, device=logits.device).unsqueeze(1)
    mass = cdf[:, -1:].contiguous()
    tokens = torch.minimum(
        torch.searchsorted(cdf, points * mass, right=True),
        torch.searchsorted(cdf, mass),  # the last token with any probability
    )
    tokens = torch.where(decoding.temperature.unsqueeze(1) > 0, tokens, scaled.argmax(dim=-1, keepdim=True))
    logprobs = scaled.gather(1, tokens) - highest - total.log()
    return tokens.squeeze(1).tolist(), logprobs.squeeze(1).tolist()


def masked(logits: torch.Tensor, forbidden: torch.Tensor) -> torch.Tensor:
    """Logits [A, V] in float64 with forbidden ids at minus infinity."""
    return logits.double().index_fill(-1, forbidden, float("-inf"))


def score(logits: torch.Tensor, tokens: torch.Tensor, temperature: float, forbidden: torch.Tensor) -> list[float]:
    """Log-probabilities of given tokens [T] under logits [T, V], as `draw` reports them."""
    scaled = masked(logits, forbidden) / (temperature or 1.0)
    return scaled.log_softmax(dim=-1).gather(1, tokens.unsqueeze(1)).squeeze(1).tolist()


def _cut(weights: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    """Weights with what top_k and then top_p exclude at zero. top_p keeps the fewest tokens that reach it; of equal
    weights the smaller id comes first. At least one token stays."""
    import torch

    ordered, ids = weights.sort(dim=-1, descending=True, stable=True)
    rank = torch.arange(weights.shape[1], device=weights.device).unsqueeze(0)
    top_k = torch.where(decoding.top_k > 0, decoding.top_k, weights.shape[1]).unsqueeze(1)
    ordered = ordered.masked_fill(rank >= top_k, 0.0)
    before = ordered.cumsum(dim=-1) - ordered
    reached = before >= decoding.top_p.unsqueeze(1) * ordered.sum(dim=-1, keepdim=True)
    reached &= decoding.top_p.unsqueeze(1) < 1
    kept = ordered.masked_fill(reached & (rank > 0), 0.0)
    return torch.zeros_like(weights).scatter(1, ids, kept)
