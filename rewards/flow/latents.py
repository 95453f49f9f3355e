"""Hidden states as the flow sees them: chunks of a pass in, pairs (target, condition) out, and a capped host store.

A chunk holds `hidden[l] [b, S+1, D]`: index s is the state that predicts token s, s + 1 the state at token s. The state
at token k is therefore `hidden[l][:, k + 1]`; its partner is `[:, k]` under `previous` (the last prompt position for
the first token), `[:, k + 2]` under `next` (the last token has none), itself under `identity`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from harness.core.errors import TrainingError
from rewards.flow.matching import Pairs
from rewards.support.seeds import stable_hash

Pairing = Literal["previous", "next", "identity"]
OFFSET: Mapping[str, int] = {"previous": -1, "next": 1, "identity": 0}


def pick(hidden: Mapping[int, Tensor], layers: Sequence[int]) -> list[Tensor]:
    """The asked layers of a chunk. Raises TrainingError when the pass did not capture one of them."""
    missing = [layer for layer in layers if layer not in hidden]
    if missing:
        raise TrainingError(
            f"the pass captured layers {sorted(hidden)}, not {missing}", "give the pass `hidden=` these layers"
        )
    return [hidden[layer] for layer in layers]


def partnered(mask: Tensor, pairing: str) -> Tensor:
    """Valid tokens [b, S] that have a partner: all, save the last one under `next`."""
    if pairing != "next":
        return mask
    following = torch.zeros_like(mask)
    following[:, :-1] = mask[:, 1:]
    return mask & following


@dataclass(frozen=True, slots=True)
class Trajectory:
    """The latents of one rollout or solution: `states [layers, n+1, D]` (index 0: before its first token)."""

    key: str
    states: Tensor

    @property
    def tokens(self) -> int:
        return self.states.shape[1] - 1

    def cut(self, tokens: int) -> Trajectory:
        return Trajectory(self.key, self.states[:, : tokens + 1])


def trajectories(
    keys: Sequence[str],
    hidden: Sequence[Tensor],
    mask: Tensor,
    rows: Sequence[int],
    dtype: torch.dtype = torch.bfloat16,
) -> list[Trajectory]:
    """The chosen rows of a chunk, copied to the host. `hidden`: one [b, S+1, D] per layer; responses start at token 0."""
    lengths = mask.sum(-1).tolist()
    found = []
    for row in rows:
        if lengths[row]:
            states = torch.stack([h[row, : lengths[row] + 1].detach() for h in hidden])
            found.append(Trajectory(keys[row], states.to("cpu", dtype, copy=True)))
    return found


def pairs(
    items: Sequence[Trajectory],
    weights: Sequence[float],
    depths: Sequence[float],
    pairings: Sequence[str],
    tokens: Tensor | None = None,
) -> list[Pairs]:
    """One `Pairs` per layer and pairing, over the latents where they are. `depths`: l/L per layer; `tokens`: which of the
    concatenated tokens to take."""
    states = torch.cat([item.states for item in items], dim=1)
    counts = torch.tensor([item.tokens for item in items])
    row = torch.repeat_interleave(torch.arange(len(items)), counts)
    # position of every token's own state in the concatenation (each item has one state more than tokens)
    at = torch.arange(int(counts.sum())) + row + 1
    last = torch.zeros_like(at, dtype=torch.bool)
    last[counts.cumsum(0) - 1] = True
    weight = torch.tensor(list(weights), dtype=torch.float32)[row]
    if tokens is not None:
        at, last, weight = at[tokens], last[tokens], weight[tokens]
    found = []
    for pairing in pairings:
        keep = ~last if pairing == "next" else torch.ones_like(last)
        own, other, w = at[keep], at[keep] + OFFSET[pairing], weight[keep]
        found += [Pairs(layer, own, other, w, depth) for depth, layer in zip(depths, states, strict=True)]
    return found


class Sample:
    """At most `size` tokens of a stream of trajectories, each with its neighbours, chosen by a hash of the key and place:
    the same tokens however the stream is cut, and never more of it in memory."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._rank = torch.zeros(0)
        self._last = torch.zeros(0, dtype=torch.bool)
        self._states: Tensor | None = None

    def add(self, items: Sequence[Trajectory]) -> None:
        for item in items:
            count = item.tokens
            draw = torch.Generator().manual_seed(stable_hash("sample", item.key))
            padded = torch.cat([item.states, item.states[:, -1:]], dim=1)  # the last token's `next` is never read
            around = torch.stack([padded[:, k : k + count] for k in range(3)], dim=2)
            rank = torch.cat([self._rank, torch.rand(count, generator=draw)])
            last = torch.cat([self._last, torch.arange(count) == count - 1])
            states = around if self._states is None else torch.cat([self._states, around], dim=1)
            keep = rank.argsort(stable=True)[: self.size].sort().values
            self._rank, self._last, self._states = rank[keep], last[keep], states[:, keep]

    def pairs(self, depths: Sequence[float], pairings: Sequence[str]) -> list[Pairs]:
        """As `pairs` of the chosen tokens, all of weight 1; empty before the first token."""
        if self._states is None:
            return []
        at = 3 * torch.arange(len(self._rank)) + 1
        found = []
        for pairing in pairings:
            own = at[~self._last] if pairing == "next" else at
            for depth, layer in zip(depths, self._states.flatten(1, 2), strict=True):
                found.append(Pairs(layer, own, own + OFFSET[pairing], torch.ones(len(own)), depth))
        return found


class Store:
    """Latents of one step's rollouts on the host, at most `cap` tokens.

    Rollouts are kept in the order of a hash of (seed, step, key), so what is kept does not depend on the order or size
    of the chunks it came in; the one that crosses the cap is cut. Adding a rollout again replaces it.
    """

    def __init__(self, cap: int) -> None:
        self.cap, self.step, self.seed = cap, -1, 0
        self._items: dict[str, Trajectory] = {}

    def open(self, seed: int, step: int) -> None:
        """Forget the latents of any other step."""
        if (seed, step) != (self.seed, self.step):
            self._items, self.seed, self.step = {}, seed, step

    def add(self, items: Sequence[Trajectory]) -> None:
        for item in items:
            old = self._items.get(item.key)
            if old is None or old.tokens <= item.tokens:
                self._items[item.key] = item
        ordered = sorted(self._items.values(), key=lambda i: (stable_hash("keep", self.seed, self.step, i.key), i.key))
        self._items, room = {}, self.cap
        for item in ordered:
            if room <= 0:
                break
            self._items[item.key] = item if item.tokens <= room else item.cut(room)
            room -= self._items[item.key].tokens

    def take(self) -> list[Trajectory]:
        """The kept rollouts in their fixed order; the store is empty afterwards."""
        items, self._items = list(self._items.values()), {}
        return items
