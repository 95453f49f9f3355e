"""From prompts to graded groups: render, generate, verify, score the components.

The objects that come in (renderer, engine, verifier) are the ones that evaluation uses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch

from harness.core.config import Recipe
from harness.core.errors import TrainingError
from harness.core.records import Example, Finish, Prompt, Rollout, Sampling, Verdict
from harness.engines.base import Engine, Request
from rewards.components import components
from rewards.method import Draw, Group


def epoch_order(count: int, seed: int, epoch: int) -> list[int]:
    """The order of prompts in an epoch; depends on nothing but its arguments."""
    generator = torch.Generator().manual_seed(stable_seed("order", seed, epoch))
    return torch.randperm(count, generator=generator).tolist()


def prompts_at(examples: Sequence[Example], seed: int, step: int, count: int) -> list[Example]:
    """The prompts of a step (from 0): the step-th slice of the endless sequence of shuffled epochs."""
    first = step * count
    orders: dict[int, list[int]] = {}
    chosen = []
    for position in range(first, first + count):
        epoch, place = divmod(position, len(examples))
        if epoch not in orders:
            orders[epoch] = epoch_order(len(examples), seed, epoch)
        chosen.append(examples[orders[epoch][place]])
    return chosen


def stable_seed(*parts: Any) -> int:
    """A 63-bit seed from printable parts, the same on every machine."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class Sampler:
    """The `draw` of Method.collect. Counts what it samples and lists the prompts it had to drop as too long."""

    def __init__(self, renderer: Any, engine: Engine, verifier: Any, recipe: Recipe, seed: int) -> None:
        self.renderer, self.engine, self.verifier, self.recipe, self.seed = renderer, engine, verifier, recipe, seed
        self.sampled_tokens = 0
        self.dropped: list[str] = []
        self._step, self._calls = 0, 0

    def start(self, step: int) -> None:
        """A new step: its draws get streams of their own, so that a resumed step repeats them."""
        self._step, self._calls, self.dropped = step, 0, []

    def __call__(self, draws: Sequence[Draw]) -> list[Group]:
        train = self.recipe.train
        stream = stable_seed("draw", self.seed, self._step, self._calls) % 2**31
        self._calls += 1
        default = Sampling(
            max_new_tokens=train.max_new_tokens, n=train.group_size, temperature=train.temperature, seed=stream
        )
        kept: list[tuple[Draw, Prompt, Request]] = []
        for draw in draws:
            prompt = self.renderer.render(draw.example)
            if len(prompt.ids) > self.recipe.rendering.max_prompt_tokens:
                self.dropped.append(draw.example.id)
                continue
            sampling = draw.sampling or default
            if draw.n is not None:
                sampling = Sampling(**{**_fields(sampling), "n": draw.n})
            kept.append((draw, prompt, Request(prompt, sampling, draw.prefix)))
        return self._grade(kept) if kept else []

    def _grade(self, kept: list[tuple[Draw, Prompt, Request]]) -> list[Group]:
        from rewards.verifier.pool import Job

        by_prompt: dict[str, int] = {}
        for place, (_, prompt, _) in enumerate(kept):
            if by_prompt.setdefault(prompt.example_id, place) != place:
                raise TrainingError(
                    f"two draws of item {prompt.example_id} in one call", "ask for more samples in one Draw"
                )
        found: list[dict[int, tuple[Rollout, Any]]] = [{} for _ in kept]
        for rollout in self.engine.generate([request for _, _, request in kept]):
            place = by_prompt[rollout.prompt_id]
            example = kept[place][0].example
            job = Job(
                answer=example.answer,
                response=rollout.text,
                truncated=rollout.finish is Finish.LENGTH,
                task=example.task,
            )
            found[place][rollout.sample_index] = (rollout, self.verifier.submit(job))
            self.sampled_tokens += len(rollout.token_ids)
        groups = []
        for (draw, prompt, _), rows in zip(kept, found, strict=True):
            pairs = [rows[k] for k in sorted(rows)]
            rollouts = tuple(r for r, _ in pairs)
            verdicts = tuple(f.result()["strict"] for _, f in pairs)
            trained = prompt if draw.train_example is None else self.renderer.render(draw.train_example)
            groups.append(self._group(draw, trained, rollouts, verdicts))
        return groups

    def _group(self, draw: Draw, prompt: Prompt, rollouts: tuple[Rollout, ...], verdicts: tuple[Verdict, ...]) -> Group:
        style = self.recipe.rewards.format_style
        named = tuple(
            components(v, r.text, r.finish is Finish.LENGTH, style) for r, v in zip(rollouts, verdicts, strict=True)
        )
        return Group(
            example=draw.train_example or draw.example,
            prompt=prompt,
            rollouts=rollouts,
            verdicts=verdicts,
            components=named,
            train=draw.train,
        )


def _fields(sampling: Sampling) -> dict[str, Any]:
    return {name: getattr(sampling, name) for name in Sampling.__dataclass_fields__}
