"""What the trainer offers a method's `setup` and `learn`: expert latents, optimiser steps, a cache, a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.core.errors import DataError, TrainingError
from harness.core.records import Example, Prompt
from harness.rollout.protocols import Encodes
from rewards.method import Chunk, Pass
from rewards.support.layers import layer_indices
from trainers.batching import Item, MicroBatch, plan, scatter, scatter_states
from trainers.policy import Policy

SCAN_WINDOW = 64
"""Expert solutions that are planned together."""


class TrainerContext:
    """The Context of rewards.method, over a policy and a renderer."""

    def __init__(
        self,
        *,
        policy: Policy,
        renderer: Encodes,
        expert: Callable[[], list[Example]],
        cache: Path,
        seed: int,
        digest: str,
        total_steps: int,
        policy_steps: int,
        budget: int,
        grad_clip: float,
        track: Callable[..., Iterator[Any]],
        resumed: bool = False,
        expert_tokens: int | None = None,
    ) -> None:
        self.policy, self.renderer, self._expert = policy, renderer, expert
        self.cache, self.seed, self.policy_digest = cache, seed, digest
        self.total_steps, self.policy_steps, self.resumed = total_steps, policy_steps, resumed
        self.budget, self.grad_clip, self._track = budget, grad_clip, track
        self.device = policy.device
        self.hidden_size, self.layers = policy.hidden_size, policy.layers
        self.expert_tokens = min(policy.context, expert_tokens or policy.context)
        self.cut: dict[str, int] = {}

    def expert(self) -> list[Example]:
        examples = self._expert()
        if not examples:
            raise DataError(
                "this method starts from expert solutions and the recipe names none", "set expert.task and expert.split"
            )
        return examples

    def scan(self, examples: Sequence[Example], pass_: Pass) -> Iterator[Chunk]:
        """Worked solutions through the policy as it is, without gradient; one chunk per micro-batch.

        Rendered and planned SCAN_WINDOW solutions at a time, so memory does not grow with their number. A solution is cut
        to `expert_tokens` with its prompt, and counted in `cut`; beyond its context a policy's states mean nothing.
        """
        layers = layer_indices(pass_.hidden, self.layers)
        for planned in self._planned(examples):
            mb = planned.to(self.device)
            with torch.no_grad():
                out = self.policy(mb, layers, head=pass_.head)
                ones = torch.ones(len(mb.rows), device=self.device)
                chunk = Chunk(
                    rows=torch.as_tensor(mb.rows, device=self.device),
                    keys=tuple(examples[row].id for row in mb.rows),
                    ids=scatter(mb.targets, mb),
                    mask=scatter(torch.ones_like(mb.targets, dtype=torch.bool), mb),
                    logp=scatter(out.logp, mb),
                    entropy=scatter(out.entropy, mb),
                    hidden={layer: scatter_states(states, mb) for layer, states in out.latents.items()},
                    layers=out.layers,
                    outcome=ones,
                    graded=ones.bool(),
                    seed=self.seed,
                    step=-1,
                    head=None if out.head is None else scatter(out.head, mb),
                    project=self.policy.logits,
                )
            yield chunk  # outside: a generator that waits inside no_grad leaves its reader without gradient too

    def encode(self, text: str) -> tuple[int, ...]:
        return self.renderer.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        return self.renderer.decode(ids)

    def render(self, example: Example) -> Prompt:
        return self.renderer.render(example)

    def step(self, loss: Tensor, optimiser: torch.optim.Optimizer) -> float:
        if not torch.isfinite(loss):
            raise TrainingError(f"a method's own loss is {float(loss.detach())}", "lower its learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        parameters = [p for g in optimiser.param_groups for p in g["params"]]
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.grad_clip))
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return norm

    def track(self, items: Iterable[Any], what: str, total: int | None = None) -> Iterator[Any]:
        return self._track(items, what, total)

    def _planned(self, examples: Sequence[Example]) -> Iterator[MicroBatch]:
        """Micro-batches on the host."""
        for start in range(0, len(examples), SCAN_WINDOW):
            window = enumerate(examples[start : start + SCAN_WINDOW], start)
            items = [item for row, example in window if (item := self._solved(example, row)) is not None]
            yield from plan(items, self.budget, self.policy.positions)

    def _solved(self, example: Example, row: int) -> Item | None:
        """The example as an item, cut; None where the prompt alone fills the bound."""
        if not example.solution:
            raise DataError(f"expert item {example.id} has no solution", "choose an expert task with worked solutions")
        prompt, solution = self.renderer.render(example), self.renderer.render_solution(example)
        room = max(0, self.expert_tokens - len(prompt.ids))
        if len(solution) > room:
            self.cut[example.id] = len(solution) - room
        return Item(prompt, (tuple(solution[:room]),), (row,)) if room else None
