"""What a pass is, what it shows the policy and what it hands to a method's reader.

`Pass` says which sweep of the policy a method wants, `Row` -> `View` what is scored instead of the rollout, `Chunk` what
the reader gets. Everything in a chunk is detached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from harness.core.records import Example, Prompt

STREAM_BYTES = 2**25
"""Logits that `Chunk.logits` gives at once."""


@dataclass(frozen=True, slots=True)
class Row:
    """One rollout as a view sees it. For views that draw noise or change over training: `seed` of the run, `step` of the
    batch and `fraction` of training done before it."""

    example: Example
    prompt: Prompt
    response: tuple[int, ...]
    key: str
    seed: int = 0
    step: int = 0
    fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class View:
    """What a pass scores instead of the rollout itself. `keep`: only so many of its last tokens are in the chunk's mask."""

    prompt: Prompt
    response: tuple[int, ...]
    keep: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One no-grad sweep of the policy over the rollouts. Results are `batch.signals["name.key"]`.

    weights: `old` (before this batch's updates) or `start` (the policy at step 0). view: `row -> View`, another prompt,
    other pixels or other targets. hidden: decoder layers, a float as fraction p of the depth L (`min(round(p L), L-1)`),
    an int as index (negative ones count from the end). head: the chunk has the inputs of the output head, and logits on
    demand. tail: how many prompt tokens are scored too, or `prompt` for all but the first; they come first in the chunk,
    and the default read gives them as `tail_logp` and `tail_mask [B, P]`, from the earliest token on (text tokens only).
    read: a method of the Method, `chunk -> {key: tensor [b, ...] or [b, S, ...]}`; default `logp` and `entropy`. rows:
    its keys whose second axis, if any, is not the response's tokens.
    """

    name: str
    weights: Literal["old", "start"] = "old"
    view: Callable[[Row], View] | None = None
    hidden: tuple[float | int, ...] = ()
    head: bool = False
    tail: int | Literal["prompt"] = 0
    read: str | None = None
    rows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """What a pass hands to `read`: b rollouts, S their longest response, K prompt tokens in front of it (`tail`).

    ids, mask, logp, entropy [b, K+S]; hidden[layer] [b, K+S+1, D]: index s predicts token s, s+1 is the state at token s;
    head [b, K+S, D] predicts the tokens, behind the final norm, for `Pass(head=True)`. Responses start at K in every row;
    a shorter prompt leaves the first places of its row empty. `rows [b]` index the batch; `keys` name the rollouts (for
    seeded noise); `outcome`, `graded` [b]; `seen(row)` the ids in the responses of the group of that row of the chunk.
    """

    rows: Tensor
    keys: tuple[str, ...]
    ids: Tensor
    mask: Tensor
    logp: Tensor
    entropy: Tensor
    hidden: Mapping[int, Tensor]
    layers: int
    outcome: Tensor
    graded: Tensor
    seed: int
    step: int
    tail: int = 0
    head: Tensor | None = None
    temperature: float = 1.0
    project: Callable[[Tensor, float], Tensor] | None = field(default=None, repr=False)
    seen: Callable[[int], Tensor] | None = field(default=None, repr=False)

    def logits(self, temperature: float | None = None) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
        """Logits over the vocabulary at the tokens of the mask, a few tokens at a time: `((row, place), [n, V])`.

        Their log-softmax at `ids` is `logp`: forbidden ids hold -1e30, and they are divided by `temperature` (None: the
        one that logp has). Raises ValueError for a pass without `head=True`.
        """
        if self.head is None or self.project is None:
            raise ValueError("logits are there only for Pass(head=True)")
        asked = self.temperature if temperature is None else temperature
        row, place = self.mask.nonzero(as_tuple=True)
        size = 1
        start = 0
        while start < len(row):  # the first piece, of one token, tells the size of the vocabulary
            at = (row[start : start + size], place[start : start + size])
            start += size
            found = self.project(self.head[at], asked)
            yield at, found
            size = max(1, STREAM_BYTES // (4 * found.shape[-1]))

    def per_token(self, function: Callable[[Tensor, Tensor], Tensor], temperature: float | None = None) -> Tensor:
        """`function(logits [n, V], ids [n]) -> [n]` at every token of the mask, as [b, K+S] with 0 elsewhere."""
        result = torch.zeros_like(self.logp)
        for at, logits in self.logits(temperature):
            result[at] = function(logits, self.ids[at]).to(result.dtype)
        return result
