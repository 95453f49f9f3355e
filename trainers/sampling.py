"""From prompts to graded groups: which prompts a step has, and the rollout loop as a method's `draw`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import torch

from harness.core.config import Recipe
from harness.core.errors import TrainingError
from harness.core.records import Example, Finish, Sampling
from harness.rollout.grading import TRAINING
from harness.rollout.loop import Ask, Graded, RolloutLoop
from harness.rollout.protocols import Tools
from rewards.components import components
from rewards.method import Draw, Group
from rewards.support.seeds import stable_seed


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


class Sampler:
    """The `draw` of Method.collect: the rollout loop, graded by the strict protocol, with responses put into groups.

    sampled_tokens: of all steps. dropped: ids of this step's prompts that were too long.
    """

    def __init__(
        self, tools: Tools, recipe: Recipe, seed: int, task_version: int = 1, examples: Sequence[Example] = ()
    ) -> None:
        self.recipe, self.seed, self.renderer, self.examples = recipe, seed, tools.renderer, examples
        self.loop = RolloutLoop(tools, recipe.rendering.max_prompt_tokens, task_version, TRAINING)
        self.sampled_tokens = 0
        self.dropped: list[str] = []
        self._step, self._calls = 0, 0
        self._further: Iterator[Example] = iter(())

    def start(self, step: int) -> None:
        """A new step: its draws get streams of their own, so that a resumed step repeats them."""
        self._step, self._calls, self.dropped = step, 0, []
        self._further = self._rest_of_the_set()

    def further(self, count: int) -> list[Example]:
        """At most `count` further prompts of the training set, each once in a step and none of the step's own. Their order
        is a function of (seed, step), so that a resumed step repeats them and the order of the steps stays every method's."""
        return list(islice(self._further, count))

    def _rest_of_the_set(self) -> Iterator[Example]:
        if not self.examples:
            return
        count = self.recipe.train.prompts_per_step
        own = {e.id for e in prompts_at(self.examples, self.seed, self._step, count)}
        generator = torch.Generator().manual_seed(stable_seed("further", self.seed, self._step))
        for place in torch.randperm(len(self.examples), generator=generator).tolist():
            if self.examples[place].id not in own:
                yield self.examples[place]

    def __call__(self, draws: Sequence[Draw]) -> list[Group]:
        """A group for every draw whose prompt is not too long, in their order; rollouts by sample index, whatever the
        order in which they finish. Raises TrainingError for two draws of one item."""
        twice = [item for item, count in Counter(d.example.id for d in draws).items() if count > 1]
        if twice:
            raise TrainingError(f"two draws of item {twice[0]} in one call", "ask for more samples in one Draw")
        train = self.recipe.train
        stream = stable_seed("draw", self.seed, self._step, self._calls) % 2**31
        self._calls += 1
        default = Sampling(
            max_new_tokens=train.max_new_tokens, n=train.group_size, temperature=train.temperature, seed=stream
        )
        found: dict[str, list[Graded]] = {d.example.id: [] for d in draws}
        for graded in self.loop.run(_ask(draw, default) for draw in draws):
            found[graded.example.id].append(graded)
            self.sampled_tokens += len(graded.rollout.token_ids)
        groups = []
        for draw in draws:
            rows = sorted(found[draw.example.id], key=lambda g: g.rollout.sample_index)
            if any(g.too_long for g in rows):
                self.dropped.append(draw.example.id)
            else:
                groups.append(self._group(draw, rows))
        return groups

    def _group(self, draw: Draw, rows: Sequence[Graded]) -> Group:
        """The group of a draw; it is trained on another rendering where the draw says so."""
        style = self.recipe.rewards.format_style
        prompt = rows[0].prompt if draw.train_example is None else self.renderer.render(draw.train_example)
        assert prompt is not None
        verdicts = tuple(g.verdicts["strict"] for g in rows)
        rollouts = tuple(g.rollout for g in rows)
        return Group(
            example=draw.train_example or draw.example,
            prompt=prompt,
            rollouts=rollouts,
            verdicts=verdicts,
            components=tuple(
                components(v, r.text, r.finish is Finish.LENGTH, style) for v, r in zip(verdicts, rollouts, strict=True)
            ),
            train=draw.train,
        )


def _ask(draw: Draw, default: Sampling) -> Ask:
    sampling = draw.sampling or default
    return Ask(draw.example, sampling if draw.n is None else replace(sampling, n=draw.n), draw.prefix)
