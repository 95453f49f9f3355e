"""Only the beginning of a response is trained, on what its continuations come to (progressive prefix optimisation, PPPO).

Paper: arXiv 2512.15274. Tokens `t < eta L` keep their loss; from each such prefix `continuations` further responses are drawn and
`R_i = right continuations + [o_i right]`, each worth the recipe's outcome weight, group-normalised. eta grows by `growth`
whenever validation accuracy does not improve, up to `eta_max`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from harness.core.records import Example
from rewards.method import Batch, Draw, Draws, Group, Progress, method
from rewards.methods.dapo import Dapo


@method.register("pppo")
class Pppo(Dapo):
    """The real cost are the continuations: compare at equal sampled tokens, not at equal steps."""

    paper: ClassVar[str] = "arXiv 2512.15274"
    provenance: ClassVar[str] = "note"
    family: ClassVar[str] = "sampling"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("dapo", {"eta": 1.0, "eta_max": 1.0, "continuations": 0})

    eta: float = 0.15
    growth: float = 0.05
    eta_max: float = 0.35
    continuations: int = 8

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._eta = self.eta
        self._best: float | None = None
        self._seen: float | None = None
        self._right: dict[str, float] = {}

    def collect(self, draw: Draws, prompts: Sequence[Example], progress: Progress) -> list[Group]:
        self._advance(progress.validation)
        groups = super().collect(draw, prompts, progress)
        self._right = {}
        for place in range(max((len(g.rollouts) for g in groups), default=0) if self.continuations else 0):
            asked = [g for g in groups if place < len(g.rollouts)]
            prefixes = [self.prefix(g.rollouts[place].token_ids) for g in asked]
            found = draw(
                [
                    Draw(example=g.example, n=self.continuations, prefix=prefix, train=False)
                    for g, prefix in zip(asked, prefixes, strict=True)
                ]
            )
            for group, probe in zip(asked, found, strict=True):
                rollout = group.rollouts[place]
                key = f"{rollout.prompt_id}#{rollout.sample_index}"
                self._right[key] = float(sum(v.correct for v in probe.verdicts))
        return groups

    def _advance(self, validation: float | None) -> None:
        """A new validation accuracy that is no better than the best so far lengthens the prefix."""
        if validation is None or validation == self._seen:
            return
        self._seen = validation
        if self._best is not None and validation <= self._best:
            self._eta = min(self._eta + self.growth, self.eta_max)
        self._best = validation if self._best is None else max(self._best, validation)

    def prefix(self, ids: tuple[int, ...]) -> tuple[int, ...]:
        """What continuations start from: never the last token, behind which nothing follows."""
        return ids[: min(self.kept(len(ids)), len(ids) - 1)]

    def kept(self, length: int) -> int:
        """Tokens of a response that are trained: `floor(eta L)`, at least one."""
        return max(1, int(self._eta * length + 1e-9))

    def reward(self, batch: Batch) -> Tensor:
        extra = [self._right.get(key, 0.0) for key in batch.keys()]  # noqa: SIM118
        right = torch.tensor(extra, dtype=batch.base_reward.dtype, device=batch.mask.device)
        return super().reward(batch) + batch.weight_of("outcome") * right

    def shape(self, advantage: Tensor, batch: Batch) -> Tensor:
        count = torch.tensor([self.kept(n) for n in batch.lengths.tolist()], device=batch.mask.device)
        prefix = torch.arange(batch.mask.shape[1], device=batch.mask.device) < count[:, None]
        return super().shape(advantage, batch) * prefix

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "eta": self._eta, "best": self._best, "seen": self._seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._eta, self._best, self._seen = state["eta"], state["best"], state["seen"]
