"""Runs a method's passes: no-grad sweeps of the policy whose readings become `batch.signals["pass.key"]`.

The same reading function serves a sweep and the training forward (where one forward is enough), so both give the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from harness.errors import TrainingError
from harness.records import Prompt
from rewards.method import Batch, Chunk, Method, Pass, Row, View
from trainers.batching import Item, MicroBatch, scatter, scatter_states
from trainers.policy import Output, Policy


def layer_indices(hidden: Sequence[float | int], layers: int) -> tuple[int, ...]:
    """Decoder layers named by fraction of the depth or by index, ascending and distinct."""
    chosen = {min(round(h * layers), layers - 1) if isinstance(h, float) else h for h in hidden}
    wrong = [h for h in chosen if not 0 <= h < layers]
    if wrong:
        raise TrainingError(
            f"no decoder layer {wrong[0]}: the policy has {layers}", "name layers as fractions, such as 0.5"
        )
    return tuple(sorted(chosen))


def items(batch: Batch, rows: Iterable[int]) -> list[Item]:
    """The given rows as prompts with their responses; rows of one group share their prompt."""
    grouped: dict[int, list[int]] = {}
    group = batch.group.tolist()
    for row in rows:
        grouped.setdefault(group[row], []).append(row)
    return [
        Item(batch.prompts[members[0]], tuple(batch.rollouts[r].token_ids for r in members), tuple(members))
        for members in grouped.values()
    ]


def view_items(batch: Batch, rows: Iterable[int], pass_: Pass) -> list[Item]:
    """Rows as the pass sees them: through its view, its tail moved from the prompt to what is scored."""
    seen = []
    keys = batch.keys()
    for row in rows:
        shown = View(batch.prompts[row], batch.rollouts[row].token_ids)
        if pass_.view is not None:
            shown = pass_.view(Row(batch.examples[row], shown.prompt, shown.response, keys[row]))
        if pass_.tail:
            shown = _with_tail(shown, pass_.tail)
        seen.append(Item(shown.prompt, (shown.response,), (row,)))
    return seen


def _with_tail(shown: View, tail: int) -> View:
    prompt = shown.prompt
    if tail >= len(prompt.ids):
        raise TrainingError(
            f"pass asks for {tail} prompt tokens, item {prompt.example_id} has {len(prompt.ids)}", "ask for fewer"
        )
    types = prompt.mm_token_type_ids
    if types is not None and any(types[-tail:]):
        raise TrainingError(f"the last {tail} prompt tokens of item {prompt.example_id} hold an image", "ask for fewer")
    cut: Prompt = replace(prompt, ids=prompt.ids[:-tail], mm_token_type_ids=None if types is None else types[:-tail])
    return View(cut, prompt.ids[-tail:] + shown.response)


def read(method: Method, pass_: Pass, out: Output, mb: MicroBatch, batch: Batch, seed: int) -> dict[str, Tensor]:
    """`pass.key` -> tensor [b, S] or [b] of the micro-batch's rollouts, detached, computed without gradient."""
    rows = torch.as_tensor(mb.rows, device=batch.ids.device)
    with torch.no_grad():
        logp, entropy = scatter(out.logp.detach(), mb), scatter(out.entropy.detach(), mb)
        length = logp.shape[1]
        if pass_.read is None:
            kept = {"logp": logp[:, pass_.tail :], "entropy": entropy[:, pass_.tail :]}
            if pass_.tail:
                kept["tail_logp"] = logp[:, : pass_.tail]
        else:
            tokens = scatter(mb.targets, mb)
            valid = scatter(torch.ones_like(mb.targets, dtype=torch.bool), mb)
            keys = batch.keys()
            chunk = Chunk(
                rows=rows,
                keys=tuple(keys[r] for r in mb.rows),
                ids=tokens,
                mask=valid & batch.graded[rows][:, None],
                logp=logp,
                entropy=entropy,
                hidden={layer: scatter_states(states.detach(), mb) for layer, states in out.latents.items()},
                layers=out.layers,
                outcome=batch.outcome[rows],
                graded=batch.graded[rows],
                seed=seed,
                step=batch.progress.step,
                tail=pass_.tail,
            )
            kept = {"logp": logp, "entropy": entropy, **getattr(method, pass_.read)(chunk)}
    for key, value in kept.items():
        if value.shape[0] != len(mb.rows) or (value.dim() > 1 and value.shape[1] > length):
            raise TrainingError(
                f"method '{method.key}': pass '{pass_.name}' read '{key}' as {tuple(value.shape)} for {len(mb.rows)} rows",
                "return [b] or [b, S]",
            )
    return {f"{pass_.name}.{key}": value.detach() for key, value in kept.items()}


def run_passes(
    policy: Policy, method: Method, passes: Sequence[Pass], batch: Batch, seed: int, budget: int, temperature: float
) -> Batch:
    """The batch with the signals of all passes; rows that were not graded keep zeros."""
    rows = batch.graded.nonzero().squeeze(-1).tolist()
    signals: dict[str, Tensor] = {}
    for pass_ in passes:
        shown = items(batch, rows) if pass_.view is None and not pass_.tail else view_items(batch, rows, pass_)
        layers = layer_indices(pass_.hidden, policy.layers)
        with torch.no_grad(), policy.weights(pass_.weights):
            for mb in policy.plan(shown, budget):
                out = policy(mb, layers, temperature)
                fill(signals, read(method, pass_, out, mb, batch, seed), mb.rows, batch)
    return batch.with_signals(signals)


def fill(signals: dict[str, Tensor], values: Mapping[str, Tensor], rows: Sequence[int], batch: Batch) -> None:
    """Put a micro-batch's readings into the batch's [B, T] or [B] tensors."""
    index = torch.as_tensor(rows, device=batch.ids.device)
    for name, value in values.items():
        shape = (
            (len(batch.rollouts), max(batch.ids.shape[1], value.shape[1]))
            if value.dim() > 1
            else (len(batch.rollouts),)
        )
        if name not in signals:
            signals[name] = torch.zeros(shape, dtype=value.dtype, device=value.device)
        if value.dim() > 1:
            signals[name][index, : value.shape[1]] = value
        else:
            signals[name][index] = value
