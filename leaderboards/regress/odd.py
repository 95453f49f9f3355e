"""Batches at the edges of what training meets, made from an ordinary one: a name, and a function Batch -> Batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from rewards.method import Batch, totals


def _cut(batch: Batch, length: int) -> Batch:
    width = batch.ids.shape[1]
    changed = {n: getattr(batch, n)[:, :length] for n in ("ids", "mask", "engine_logp")}
    stored = {k: v[:, :length] if v.dim() > 1 and v.shape[1] == width else v for k, v in batch.stored.items()}
    rollouts = tuple(
        replace(r, token_ids=r.token_ids[:length], logprobs=r.logprobs[:length] if r.logprobs else r.logprobs)
        for r in batch.rollouts
    )
    cut = replace(
        batch,
        **changed,
        rollouts=rollouts,
        stored=stored,
        spans={k: torch.full_like(v, -1) for k, v in batch.spans.items()},
    )
    return replace(cut, totals=totals(cut.mask, cut.graded, cut.group, cut.truncated))


def _all(batch: Batch, value: float) -> Batch:
    return replace(
        batch, outcome=torch.full_like(batch.outcome, value), base_reward=torch.full_like(batch.outcome, value)
    )


def _graded(batch: Batch, keep: Callable[[Tensor], Tensor]) -> Batch:
    graded = keep(torch.arange(len(batch.rollouts)))
    seen = batch.mask & graded[:, None]
    return replace(
        batch,
        graded=graded,
        mask=seen,
        outcome=batch.outcome * graded,
        totals=totals(seen, graded, batch.group, batch.truncated),
    )


def _alone(batch: Batch) -> Batch:
    group = torch.arange(len(batch.rollouts))
    return replace(batch, group=group, totals=totals(batch.mask, batch.graded, group, batch.truncated))


def _truncated(batch: Batch) -> Batch:
    cut = torch.ones_like(batch.truncated)
    return replace(batch, truncated=cut, totals=totals(batch.mask, batch.graded, batch.group, cut))


ODD: dict[str, Callable[[Batch], Batch]] = {
    "a group that is all right": lambda b: _all(b, 1.0),
    "a group that is all wrong": lambda b: _all(b, 0.0),
    "one-token responses": lambda b: _cut(b, 1),
    "all truncated": _truncated,
    "partly ungraded rows": lambda b: _graded(b, lambda i: i % 3 != 1),
    "nothing graded": lambda b: _graded(b, lambda i: i < 0),
    "groups of one": _alone,
}
