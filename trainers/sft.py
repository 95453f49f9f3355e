"""Supervised training on worked solutions: the cold start of the built-in policies.

The same packed forward as RL: a prompt with one response. Loss: negative log-likelihood, mean over the solution tokens
of the step's batch. Weight matrices are trained by Muon (trainers/muon.py), which learns faster than AdamW here;
embeddings, norms and biases by AdamW.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from harness.core.config import ColdStart
from harness.core.errors import DataError, TrainingError
from harness.core.records import Example, Prompt
from rewards.support.schedule import cosine
from rewards.support.seeds import stable_seed
from trainers.batching import Item
from trainers.muon import Muon
from trainers.policy import Policy
from trainers.sampling import prompts_at


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
    lessons = Lessons(examples, settings, seed)
    parameters = [p for _, p in policy.trainable()]
    optimisers = split_optimisers(policy, settings)
    rates = [group["lr"] for o in optimisers for group in o.param_groups]
    prompts: dict[str, Prompt] = {}

    def item(example: Example, row: int) -> Item:
        if example.id not in prompts:
            prompts[example.id] = renderer.render(example)
        return Item(prompts[example.id], (renderer.render_solution(example),), (row,))

    policy.train()
    history = []
    for step in track(range(settings.steps), "cold start", settings.steps):
        scale = cosine(step / settings.steps, 0.05, 0.05, floor=1e-3)
        for group, rate in zip((g for o in optimisers for g in o.param_groups), rates, strict=True):
            group["lr"] = rate * scale
        items = [item(example, row) for row, example in enumerate(lessons.at(step))]
        tokens = sum(len(i.responses[0]) for i in items)
        for optimiser in optimisers:
            optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for mb in policy.plan(items, budget):
            loss = -policy(mb).logp.sum() / tokens
            loss.backward()
            total += float(loss.detach())
        if not math.isfinite(total):
            raise TrainingError(f"supervised loss is {total} at step {step}", "lower cold_start.lr")
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimiser in optimisers:
            optimiser.step()
        history.append(total)
    policy.eval()
    return history


class Lessons:
    """Which examples a step sees, and in which form: a function of (examples, settings, seed, step) alone.

    Raises DataError for an example without a solution and for a lesson whose level no example has.
    """

    def __init__(self, examples: Sequence[Example], settings: ColdStart, seed: int) -> None:
        self.settings, self.seed = settings, seed
        unsolved = [e.id for e in examples if not e.solution]
        if unsolved:
            raise DataError(f"supervised item {unsolved[0]} has no solution", "choose a split with worked solutions")
        self.pools = [[e for e in examples if n.level in (None, e.metadata.get("level"))] for n in settings.lessons]
        for lesson, pool in zip(settings.lessons, self.pools, strict=True):
            if not pool:
                raise DataError(f"no supervised item has level {lesson.level}", "change cold_start.lessons")

    def at(self, step: int) -> list[Example]:
        """The examples of a step (from 0), `settings.batch` of them."""
        place = next(n for n, lesson in enumerate(self.settings.lessons) if step < lesson.until * self.settings.steps)
        share = self.settings.lessons[place].direct * 10_000
        chosen = prompts_at(self.pools[place], self.seed, step, self.settings.batch)
        return [direct(e) if stable_seed("direct", self.seed, e.id, step) % 10_000 < share else e for e in chosen]


def direct(example: Example) -> Example:
    """The example answered at once: of `5*3=15; 17+15=32; \\boxed{32}` only `\\boxed{32}` is left."""
    return replace(example, solution=f"\\boxed{{{example.answer.golds[0]}}}")


def split_optimisers(policy: Policy, settings: ColdStart) -> list[torch.optim.Optimizer]:
    """Muon for hidden matrices, AdamW for everything else; every trainable parameter in exactly one of them."""
    named = policy.trainable()
    hidden = [p for name, p in named if p.ndim == 2 and "embed" not in name and "lm_head" not in name]
    inside = {id(p) for p in hidden}
    rest = [p for _, p in named if id(p) not in inside]
    return [
        Muon(hidden, lr=settings.matrix_lr, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=settings.lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
