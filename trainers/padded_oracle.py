"""The padded oracle: a micro-batch's log-probabilities by an ordinary forward pass of transformers.

Every rollout is a row of its own with its prompt and its images, padded behind, under a plain attention mask; positions
are the model's own. Slow on purpose and independent of the packed layout: the first batch of a run and the tests compare
with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from harness.core.records import Prompt
from trainers.batching import MicroBatch


def padded_logp(
    model: Any, mb: MicroBatch, rollouts: Iterable[int] | None = None, forbidden: Tensor | None = None
) -> Tensor:
    """logp [m] of the tokens of the given rollouts (None: all [M]) at temperature 1, in the order of the micro-batch."""
    logits, targets = padded_logits(model, mb, rollouts)
    if forbidden is not None and forbidden.numel():
        logits = logits.index_fill(1, forbidden.to(logits.device), -torch.inf)
    return logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]


def padded_logits(model: Any, mb: MicroBatch, rollouts: Iterable[int] | None = None) -> tuple[Tensor, Tensor]:
    """Float logits [m, V] that predict the tokens of the given rollouts, and these tokens [m]."""
    chosen = list(range(len(mb.rows)) if rollouts is None else rollouts)
    pairs = [(prompt, mb.targets[mb.rollout == k].tolist()) for k, prompt in _owners(mb, chosen)]
    ids, mask = _padded([[*prompt.ids, *response] for prompt, response in pairs], mb.input_ids.device)
    state = getattr(model.model, "rope_deltas", None)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False, **_pictures(model, pairs, ids)).logits
    if state is not None or hasattr(model.model, "rope_deltas"):
        model.model.rope_deltas = state  # the oracle leaves no trace
    rows = [
        logits[row, len(prompt.ids) - 1 : len(prompt.ids) - 1 + len(response)]
        for row, (prompt, response) in enumerate(pairs)
    ]
    targets = [token for _, response in pairs for token in response]
    return torch.cat(rows).float(), torch.tensor(targets, dtype=torch.long, device=ids.device)


def _owners(mb: MicroBatch, chosen: list[int]) -> list[tuple[int, Prompt]]:
    prompts = [p for p, count in zip(mb.prompts, mb.responses_of, strict=True) for _ in range(count)]
    return [(k, prompts[k]) for k in chosen]


def _padded(rows: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    return ids.to(device), mask.to(device)


def _pictures(model: Any, pairs: list[tuple[Prompt, list[int]]], ids: Tensor) -> dict[str, Tensor]:
    """Pixels, grids and token kinds of every row, images repeated; empty for a batch without images."""
    patches = [prompt.patches for prompt, _ in pairs]
    if not any(p is not None for p in patches):
        return {}
    kinds = torch.zeros_like(ids)
    for row, (prompt, _) in enumerate(pairs):
        if prompt.mm_token_type_ids is not None:
            kinds[row, : len(prompt.ids)] = torch.tensor(prompt.mm_token_type_ids, device=ids.device)
    seen = [p for p in patches if p is not None]
    return {
        "pixel_values": torch.cat([torch.as_tensor(p.patches) for p in seen]).to(ids.device),
        "image_grid_thw": torch.cat([torch.as_tensor(p.grid, dtype=torch.long) for p in seen]).to(ids.device),
        "mm_token_type_ids": kinds,
    }
