"""Runs a method's passes: no-grad sweeps of the policy whose readings become `batch.signals["pass.key"]`.

The same reading function serves a sweep and the training forward (where one forward is enough), so both give the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from harness.core.errors import TrainingError
from harness.core.records import Prompt
from rewards.method import Batch, Chunk, Method, Pass, Row, View
from rewards.support.layers import layer_indices
from trainers.batching import Item, MicroBatch, scatter, scatter_states
from trainers.policy import Output, Policy

TAIL = ("tail_logp", "tail_mask")
"""Readings of scored prompt tokens."""


def items(batch: Batch, rows: Iterable[int], tail: int | Literal["prompt"] = 0) -> list[Item]:
    """The given rows as prompts with their responses; rows of one group share their prompt."""
    grouped: dict[int, list[int]] = {}
    group = batch.group.tolist()
    for row in rows:
        grouped.setdefault(group[row], []).append(row)
    return [
        Item(
            batch.prompts[members[0]],
            tuple(batch.rollouts[r].token_ids for r in members),
            tuple(members),
            scored(batch.prompts[members[0]], tail),
        )
        for members in grouped.values()
    ]


def view_items(batch: Batch, views: Mapping[int, View], tail: int | Literal["prompt"] = 0) -> list[Item]:
    """Rows as a pass sees them: one item for those whose views hold the same tokens and the same picture."""
    grouped: dict[tuple[str, tuple[int, ...], str], list[int]] = {}
    for row, view in views.items():
        picture = view.prompt.patches.sha256 if view.prompt.patches else ""
        grouped.setdefault((view.prompt.example_id, view.prompt.ids, picture), []).append(row)
    return [
        Item(
            views[members[0]].prompt,
            tuple(views[r].response for r in members),
            tuple(members),
            scored(views[members[0]].prompt, tail),
        )
        for members in grouped.values()
    ]


def views(batch: Batch, rows: Iterable[int], pass_: Pass, seed: int) -> dict[int, View]:
    """What the pass shows of every row, by row."""
    if pass_.view is None:
        return {row: View(batch.prompts[row], batch.rollouts[row].token_ids) for row in rows}
    keys, progress = batch.keys(), batch.progress
    return {
        row: pass_.view(
            Row(
                example=batch.examples[row],
                prompt=batch.prompts[row],
                response=batch.rollouts[row].token_ids,
                key=keys[row],
                seed=seed,
                step=progress.step,
                fraction=progress.fraction,
            )
        )
        for row in rows
    }


def scored(prompt: Prompt, tail: int | Literal["prompt"]) -> int:
    """How many tokens of the prompt are scored; the first has nothing before it that could predict it."""
    if tail == "prompt":
        return len(prompt.ids) - 1
    if tail and tail >= len(prompt.ids):
        raise TrainingError(
            f"pass asks for {tail} prompt tokens, item {prompt.example_id} has {len(prompt.ids)}", "ask for fewer"
        )
    types = prompt.mm_token_type_ids
    if tail and types is not None and any(types[-tail:]):
        raise TrainingError(f"the last {tail} prompt tokens of item {prompt.example_id} hold an image", "ask for fewer")
    return tail


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reading needs beside the forward's output; `keep`: last tokens that count, by row of the batch."""

    policy: Policy
    seed: int
    temperature: float
    keep: Mapping[int, int] = field(default_factory=dict)


def read(method: Method, pass_: Pass, out: Output, mb: MicroBatch, batch: Batch, reading: Reading) -> dict[str, Tensor]:
    """`pass.key` -> tensor [b, S, ...] or [b, ...] of the micro-batch's rollouts, detached, computed without gradient."""
    with torch.no_grad():
        logp, entropy = scatter(out.logp.detach(), mb), scatter(out.entropy.detach(), mb)
        tail, length = mb.tail, logp.shape[1] - mb.tail
        kept = {"logp": logp[:, tail:], "entropy": entropy[:, tail:]}
        if pass_.read is None:
            kept |= tail_values(logp, mb)
        else:
            kept |= getattr(method, pass_.read)(chunk_of(pass_, out, mb, batch, reading, logp, entropy))
    for key, value in kept.items():
        long = value.dim() > 1 and key not in (*pass_.rows, *TAIL) and value.shape[1] > length
        if value.shape[0] != len(mb.rows) or long:
            raise TrainingError(
                f"method '{method.key}': pass '{pass_.name}' read '{key}' as {tuple(value.shape)} for {len(mb.rows)} rows",
                "return [b, S, ...], or name the key in Pass.rows",
            )
    return {f"{pass_.name}.{key}": value.detach() for key, value in kept.items()}


def tail_values(logp: Tensor, mb: MicroBatch) -> dict[str, Tensor]:
    """Log-probabilities [b, K] of the scored prompt tokens from the earliest on, and which are a row's and text."""
    if not mb.tails or mb.counted is None:
        return {}
    counts = torch.tensor(mb.tails, device=logp.device)[:, None]
    place = torch.arange(mb.tail, device=logp.device)[None]
    source = (place + mb.tail - counts).clamp(max=mb.tail - 1)
    mask = scatter(mb.counted, mb).gather(1, source) & (place < counts)
    return {"tail_logp": torch.where(mask, logp.gather(1, source), 0.0), "tail_mask": mask}


def chunk_of(
    pass_: Pass, out: Output, mb: MicroBatch, batch: Batch, reading: Reading, logp: Tensor, entropy: Tensor
) -> Chunk:
    """The micro-batch as a method's reader sees it."""
    rows = torch.as_tensor(mb.rows, device=batch.ids.device)
    keys = batch.keys()
    valid = scatter(torch.ones_like(mb.targets, dtype=torch.bool) if mb.counted is None else mb.counted, mb)
    if reading.keep:
        sizes = torch.tensor(mb.lengths, device=valid.device)
        first = mb.tail + sizes - torch.tensor([reading.keep[r] for r in mb.rows], device=valid.device)
        valid = valid & (torch.arange(valid.shape[1], device=valid.device) >= first[:, None])
    return Chunk(
        rows=rows,
        keys=tuple(keys[r] for r in mb.rows),
        ids=scatter(mb.targets, mb),
        mask=valid & batch.graded[rows][:, None],
        logp=logp,
        entropy=entropy,
        hidden={layer: scatter_states(states.detach(), mb) for layer, states in out.latents.items()},
        layers=out.layers,
        outcome=batch.outcome[rows],
        graded=batch.graded[rows],
        seed=reading.seed,
        step=batch.progress.step,
        tail=mb.tail,
        head=None if out.head is None else scatter(out.head, mb),
        temperature=reading.temperature,
        project=reading.policy.logits,
        seen=lambda place: batch.ids[(batch.group == batch.group[rows[place]])[:, None] & batch.mask].unique(),
    )


def run_passes(
    policy: Policy, method: Method, passes: Sequence[Pass], batch: Batch, seed: int, budget: int, temperature: float
) -> Batch:
    """The batch with the signals of all passes; rows that were not graded keep zeros."""
    rows = batch.graded.nonzero().squeeze(-1).tolist()
    signals: dict[str, Tensor] = {}
    for pass_ in passes:
        seen = {} if pass_.view is None else views(batch, rows, pass_, seed)
        shown = view_items(batch, seen, pass_.tail) if seen else items(batch, rows, pass_.tail)
        cut = any(view.keep is not None for view in seen.values())
        keep = {r: len(v.response) if v.keep is None else v.keep for r, v in seen.items()} if cut else {}
        reading = Reading(policy, seed, temperature, keep)
        layers = layer_indices(pass_.hidden, policy.layers)
        with torch.no_grad(), policy.weights(pass_.weights):
            for mb in policy.plan(shown, budget):
                out = policy(mb, layers, temperature, pass_.head)
                fill(signals, read(method, pass_, out, mb, batch, reading), mb.rows, batch, pass_)
    return batch.with_signals(signals)


def fill(
    signals: dict[str, Tensor],
    values: Mapping[str, Tensor],
    rows: Sequence[int],
    batch: Batch,
    pass_: Pass | None = None,
) -> None:
    """Put a micro-batch's readings into the batch's [B, T, ...] or, for keys in `Pass.rows`, [B, ...] tensors."""
    index = torch.as_tensor(rows)
    own = {f"{pass_.name}.{key}" for key in pass_.rows} if pass_ is not None else set()
    for name, value in values.items():
        by_token = value.dim() > 1 and name not in own
        shape = [len(batch.rollouts), *value.shape[1:]]
        if by_token:
            shape[1] = max(batch.ids.shape[1], shape[1])
        have = signals.get(name, value.new_zeros(shape))
        if any(
            new > old for new, old in zip(shape, have.shape, strict=True)
        ):  # the next micro-batch may need more room
            wider = value.new_zeros([max(pair) for pair in zip(shape, have.shape, strict=True)])
            wider[tuple(slice(size) for size in have.shape)] = have
            have = wider
        signals[name] = have
        place: list[Any] = [index.to(value.device), *(slice(size) for size in value.shape[1:])]
        have[tuple(place)] = value
