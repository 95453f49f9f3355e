"""Methods that break one promise each, as a user might write them: the positive controls of `regress`."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from rewards.method import Batch, Method, Now, method


@method.register("broken-nan")
class BrokenNan(Method):
    """Divides by the deviation of a group, which may be 0."""

    provenance: ClassVar[str] = "own"

    def advantage(self, reward: Tensor, batch: Batch) -> Tensor:
        value = torch.zeros_like(reward)
        for group in batch.group.unique():
            rows = batch.group == group
            value[rows] = (reward[rows] - reward[rows].mean()) / reward[rows].std(correction=0)
        return value[:, None] * batch.mask


@method.register("broken-leak")
class BrokenLeak(Method):
    """Scales the reward by a parameter that is still in a graph."""

    provenance: ClassVar[str] = "own"

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.scale = torch.nn.Parameter(torch.ones(()))

    def reward(self, batch: Batch) -> Tensor:
        with torch.enable_grad():
            return batch.base_reward * self.scale


@method.register("broken-mask")
class BrokenMask(Method):
    """Averages over every column, padding included."""

    provenance: ClassVar[str] = "own"

    def loss(self, now: Now, advantage: Tensor, batch: Batch) -> dict[str, Tensor]:
        return {"policy": -(torch.exp(now.logp - batch.old_logp) * advantage.sum(-1, keepdim=True)).mean()}


@method.register("broken-raises")
class BrokenRaises(Method):
    """Raises in shape()."""

    provenance: ClassVar[str] = "own"

    def shape(self, advantage: Tensor, batch: Batch) -> Tensor:
        return advantage * batch.signals["old.nothing"]


@method.register("broken-optimiser")
class BrokenOptimiser(Method):
    """Makes an optimiser that it never steps, and changes the outcome in place."""

    provenance: ClassVar[str] = "own"

    def setup(self, ctx: object) -> None:
        self.networks["probe"] = torch.nn.Linear(2, 1)
        self.optimisers["probe"] = torch.optim.SGD(self.networks["probe"].parameters(), lr=0.1)

    def reward(self, batch: Batch) -> Tensor:
        batch.outcome.mul_(0.5)
        return batch.base_reward
