"""Supervised training on worked solutions: the cold start of the built-in policies.

The same packed forward as RL: a prompt with one response. Loss: negative log-likelihood, mean over the solution tokens
of the step's batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from harness.config import ColdStart
from harness.errors import DataError, TrainingError
from harness.records import Example
from trainers.batching import Item
from trainers.policy import Policy
from trainers.rollouts import prompts_at


def train(
    policy: Policy,
    renderer: Any,
    examples: Sequence[Example],
    settings: ColdStart,
    *,
    seed: int,
    budget: int,
    track: Callable[..., Iterator[Any]],
) -> list[float]:
    """Train `policy` in place for `settings.steps` steps; returns the loss of every step."""
    unsolved = [e.id for e in examples if not e.solution]
    if unsolved:
        raise DataError(f"supervised item {unsolved[0]} has no solution", "choose a split with worked solutions")
    parameters = [p for _, p in policy.trainable()]
    optimiser = torch.optim.AdamW(parameters, lr=settings.lr, betas=(0.9, 0.95), weight_decay=0.0)
    rendered: dict[str, Item] = {}

    def item(example: Example, row: int) -> Item:
        if example.id not in rendered:
            rendered[example.id] = Item(renderer.render(example), (renderer.render_solution(example),), (row,))
        known = rendered[example.id]
        return Item(known.prompt, known.responses, (row,))

    policy.train()
    history = []
    for step in track(range(settings.steps), "cold start", settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.lr * cosine(step / settings.steps, 0.05, 0.05)
        chosen = prompts_at(examples, seed, step, settings.batch)
        items = [item(example, row) for row, example in enumerate(chosen)]
        tokens = sum(len(i.responses[0]) for i in items)
        optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for mb in policy.plan(items, budget):
            loss = -policy(mb).logp.sum() / tokens
            loss.backward()
            total += float(loss.detach())
        if not math.isfinite(total):
            raise TrainingError(f"supervised loss is {total} at step {step}", "lower cold_start.lr")
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        history.append(total)
    policy.eval()
    return history


def cosine(fraction: float, warmup: float, final: float) -> float:
    """Linear warm-up to 1 over the first `warmup` of training, then a cosine down to `final`."""
    if warmup and fraction < warmup:
        return max(fraction / warmup, 1e-3)
    place = (fraction - warmup) / max(1.0 - warmup, 1e-9)
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * min(place, 1.0)))
