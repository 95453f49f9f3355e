"""From prompts with their responses to packed micro-batches, and back from flat token values to [b, S].

One row holds real tokens only: `[prompt | r1 | ... | rG | prompt' | r1' ...]`. A response reads its prompt and itself, so
a prompt and its images are computed once for its G responses. A prompt with one response is plain packing: the one
layout serves RL, supervised training and signal passes. No padding, no mask, no model is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from harness.core.errors import TrainingError
from harness.core.records import Prompt


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt with its responses (token ids, end token included); `rows` index the batch they come from.

    `tail`: so many of the prompt's last tokens are scored too, before every response.
    """

    prompt: Prompt
    responses: tuple[tuple[int, ...], ...]
    rows: tuple[int, ...]
    tail: int = 0


@dataclass(frozen=True, slots=True)
class Segments:
    """The layout of a row in tokens: `prompts[g]` and `responses[g]` are the lengths of group g, in order of place."""

    prompts: tuple[int, ...]
    responses: tuple[tuple[int, ...], ...]

    def lengths(self) -> list[int]:
        """Lengths of all segments in order of place: each prompt before its responses."""
        return [n for p, rs in zip(self.prompts, self.responses, strict=True) for n in (p, *rs)]

    def reads(self) -> list[list[tuple[int, int]]]:
        """For every segment the spans (start, stop) that its tokens read: its prompt, if it is a response, and itself."""
        found: list[list[tuple[int, int]]] = []
        place = 0
        for prompt, responses in zip(self.prompts, self.responses, strict=True):
            head = (place, place + prompt)
            found.append([head])
            place += prompt
            for length in responses:
                found.append([head, (place, place + length)])
                place += length
        return found


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class MicroBatch:
    """One packed forward pass: N tokens in a row, b rollouts, M response tokens (rollout by rollout, in order).

    input_ids [N]; position_ids [N], or [3, N] for a model with three-axis positions; score_at [M]: the place whose state
    predicts target m (the last prompt token serves the first token of every response); targets [M]; rollout [M]: 0..b-1;
    offset [M]: index of the token in its response, behind `tail` places for prompt tokens; state_at [M + b]: per rollout
    the last prompt place, then each of its tokens; rows: the rollouts' indices in the batch; lengths: their tokens. Images
    once per prompt: patches [n, d] and grid [images, 3] of all prompts, image_at [I] the places of their tokens; None
    without images. `prompts` and `responses_of` (rollouts per prompt) say where a rollout comes from. tails: scored prompt
    tokens per rollout, which are among the targets, and `counted` [M] False where such a token is an image's; empty and
    None where only responses are scored.
    """

    input_ids: Tensor
    position_ids: Tensor
    segments: Segments
    score_at: Tensor
    targets: Tensor
    rollout: Tensor
    offset: Tensor
    state_at: Tensor
    rows: tuple[int, ...]
    lengths: tuple[int, ...]
    prompts: tuple[Prompt, ...]
    responses_of: tuple[int, ...]
    patches: Tensor | None = None
    grid: Tensor | None = None
    image_at: Tensor | None = None
    tails: tuple[int, ...] = ()
    counted: Tensor | None = None

    @property
    def tail(self) -> int:
        """Most prompt tokens that are scored for a rollout."""
        return max(self.tails, default=0)

    @property
    def tokens(self) -> int:
        """N."""
        return int(self.input_ids.numel())

    def to(self, device: torch.device | str) -> MicroBatch:
        """The same on `device`."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        moved = {name: value.to(device) for name, value in values.items() if isinstance(value, Tensor)}
        same: dict[str, Any] = {**values, **moved}
        return MicroBatch(**same)


def plan(
    items: Sequence[Item], token_budget: int, positions: Callable[[Prompt], Tensor], device: torch.device | str = "cpu"
) -> list[MicroBatch]:
    """Micro-batches of at most `token_budget` text and image tokens each, every rollout in exactly one of them.

    Groups stay whole where they fit; a larger one is split and its prompt repeated. A rollout that alone is above the
    budget gets a micro-batch of its own. `positions` gives [P] or [3, P]. Raises TrainingError for a malformed item.
    """
    for item in items:
        if len(item.rows) != len(item.responses) or not item.prompt.ids:
            raise TrainingError(
                f"item {item.prompt.example_id} has {len(item.prompt.ids)} prompt tokens, {len(item.responses)} responses"
                f" and {len(item.rows)} rows",
                "a prompt needs tokens, and every response one row",
            )
    bins: list[tuple[int, list[Item]]] = []
    for item in (part for whole in items for part in _split(whole, token_budget)):
        size = _size(item)
        for place, (used, members) in enumerate(bins):  # first fit: in order, and few micro-batches
            if used + size <= token_budget:
                bins[place] = (used + size, [*members, item])
                break
        else:
            bins.append((size, [item]))
    return [_pack(members, positions).to(device) for _, members in bins]


def _size(item: Item) -> int:
    return len(item.prompt.ids) + sum(map(len, item.responses))


def _split(item: Item, budget: int) -> list[Item]:
    """The item, or parts of it that fit the budget; each part has at least one response."""
    if _size(item) <= budget or len(item.responses) < 2:
        return [item] if item.responses else []
    parts: list[list[int]] = []
    room = 0
    for index, response in enumerate(item.responses):
        if not parts or len(response) > room:
            parts.append([])
            room = budget - len(item.prompt.ids)
        parts[-1].append(index)
        room -= len(response)
    return [
        Item(item.prompt, tuple(item.responses[i] for i in part), tuple(item.rows[i] for i in part), item.tail)
        for part in parts
    ]


def _pack(items: Sequence[Item], positions: Callable[[Prompt], Tensor]) -> MicroBatch:
    ids: list[int] = []
    places: list[Tensor] = []
    score, targets, rollout, offset, state, image_at, counted = ([] for _ in range(7))  # type: ignore[var-annotated]
    number, longest = 0, max(item.tail for item in items)
    for item in items:
        start = len(ids)
        ids += item.prompt.ids
        last = len(ids) - 1
        known = positions(item.prompt)
        places.append(known)
        behind = int(known.max()) + 1
        kinds = item.prompt.mm_token_type_ids or (0,) * len(item.prompt.ids)
        image_at += [start + k for k, kind in enumerate(kinds) if kind == 1]
        before, kept = range(last - item.tail, last), len(kinds) - item.tail
        for response in item.responses:
            size, first = len(response), len(ids)
            ids += response
            tail = torch.arange(behind, behind + size)
            places.append(tail.expand(*known.shape[:-1], size))
            score += [*before, *([last] if size else []), *range(first, first + size - 1)]
            state += [*before, last, *range(first, first + size)]
            targets += [*item.prompt.ids[kept:], *response]
            rollout += [number] * (item.tail + size)
            offset += range(longest - item.tail, longest + size)
            counted += [*(kind == 0 for kind in kinds[kept:]), *([True] * size)]
            number += 1
    pictures = [item.prompt.patches for item in items if item.prompt.patches is not None]
    return MicroBatch(
        input_ids=torch.tensor(ids),
        position_ids=torch.cat(places, dim=-1),
        segments=Segments(tuple(len(i.prompt.ids) for i in items), tuple(tuple(map(len, i.responses)) for i in items)),
        score_at=torch.tensor(score, dtype=torch.long),
        targets=torch.tensor(targets, dtype=torch.long),
        rollout=torch.tensor(rollout, dtype=torch.long),
        offset=torch.tensor(offset, dtype=torch.long),
        state_at=torch.tensor(state, dtype=torch.long),
        rows=tuple(row for i in items for row in i.rows),
        lengths=tuple(len(r) for i in items for r in i.responses),
        prompts=tuple(i.prompt for i in items),
        responses_of=tuple(len(i.responses) for i in items),
        patches=torch.cat([torch.as_tensor(p.patches) for p in pictures]) if pictures else None,
        grid=torch.cat([torch.as_tensor(p.grid, dtype=torch.long) for p in pictures]) if pictures else None,
        image_at=torch.tensor(image_at, dtype=torch.long) if pictures else None,
        tails=tuple(i.tail for i in items for _ in i.responses) if longest else (),
        counted=torch.tensor(counted, dtype=torch.bool) if longest else None,
    )


def scatter(values: Tensor, mb: MicroBatch) -> Tensor:
    """Token values [M, ...] as [b, S, ...] (S the longest response of the micro-batch, at least 1, and its tail); zero
    behind a response's end and before a short prompt's start."""
    empty = values.new_zeros(len(mb.rows), mb.tail + max(1, *mb.lengths), *values.shape[1:])
    return empty.index_put((mb.rollout, mb.offset), values)


def gather(values: Tensor, mb: MicroBatch) -> Tensor:
    """The inverse: [b, S'] with S' at least the longest response, as token values [M]."""
    return values[mb.rollout, mb.offset]


def scatter_states(states: Tensor, mb: MicroBatch) -> Tensor:
    """States [M + b, D] as [b, S + 1, D]: index s predicts token s, s + 1 is the state at it; zero behind the end."""
    tails = mb.tails or (0,) * len(mb.lengths)
    counts = [n + t + 1 for n, t in zip(mb.lengths, tails, strict=True)]
    sizes = torch.tensor(counts, device=states.device)
    rollout = torch.arange(len(mb.rows), device=states.device).repeat_interleave(sizes)
    starts = [start - (mb.tail - t) for start, t in zip([0, *accumulate(counts)][:-1], tails, strict=True)]
    first = torch.tensor(starts, device=states.device)
    place = torch.arange(len(states), device=states.device) - first[rollout]
    empty = states.new_zeros(len(mb.rows), mb.tail + max(1, *mb.lengths) + 1, states.shape[-1])
    return empty.index_put((rollout, place), states)
