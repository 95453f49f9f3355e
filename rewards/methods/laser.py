"""GRPO that teaches the policy to grade itself with one token behind its answer (last-token self-rewarding, LaSeR).

Paper: arXiv 2510.14943. `r_s = scale (lz - c)`, lz the log-probability of a mark as the token behind the end of the response,
c that of the start policy or a constant. `loss += weight mean_b w_b (r_s - R)^2` over whole rollouts, `w = N / (2 N_class)`; and
`A' = (1 - tau) A + tau A_s`, A_s from `clip(r_s, 0, 1)` of the old policy, normalised in groups with a deviation above `spread`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rewards import losses
from rewards.method import Batch, Chunk, Context, Method, Now, Pass, Row, View, method


@method.register("laser")
class Laser(Method):
    """The mark is scored in the training forward as one more token of every response, outside the mask of the policy loss."""

    paper: ClassVar[str] = "arXiv 2510.14943"
    provenance: ClassVar[str] = "code: RUCBM/LaSeR@48996f7"
    family: ClassVar[str] = "reward level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {"weight": 0.0, "tau": 0.0})
    inert: ClassVar[bool] = False
    """The squared error acts on rows without advantage too."""

    scale: float = 0.1
    weight: float = 0.1
    tau: float = 0.1
    spread: float = 0.1
    mark: str = "✓"
    constant: float | None = None
    warm_up: int = 0
    mix_from: int = 0

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._mark = 0

    @property
    def active(self) -> bool:
        return self.weight != 0.0 or self.tau != 0.0

    @property
    def scope(self) -> Literal["row", "group", "batch"]:
        return "batch"

    @property
    def passes(self) -> tuple[Pass, ...]:
        if not self.active:
            return (Pass(name="old"),)
        judged = Pass(name="judged", view=self.marked, read="last")
        first = Pass(name="first", weights="start", view=self.marked, read="last")
        return (Pass(name="old"), judged, *((first,) if self.constant is None else ()))

    @property
    def advantage_needs_signals(self) -> bool:
        return self.tau != 0.0

    def setup(self, ctx: Context) -> None:
        self._mark = ctx.encode(self.mark)[0]

    def marked(self, row: Row) -> View:
        return View(row.prompt, (*row.response, self._mark), keep=1)

    def last(self, chunk: Chunk) -> dict[str, Tensor]:
        """`mark` [b]: log-probability of the mark."""
        return {"mark": torch.where(chunk.mask, chunk.logp, 0.0).sum(-1)}

    def score(self, mark: Tensor, batch: Batch) -> Tensor:
        """r_s [B]."""
        base = batch.signals["first.mark"] if self.constant is None else self.constant
        return self.scale * (mark - base)

    def advantage(self, reward: Tensor, batch: Batch) -> Tensor:
        plain = super().advantage(reward, batch)
        if not self.tau or batch.progress.step < self.mix_from:
            return plain
        score = self.score(batch.signals["judged.mark"], batch).clamp(0.0, 1.0) * ~batch.truncated
        own = losses.group_normalise(score, batch.group, batch.graded, 0.0)
        own = torch.where(self.wide(score, batch), own.nan_to_num(), plain[:, 0] if plain.shape[1] else own)
        return ((1.0 - self.tau) * plain + self.tau * own[:, None]) * batch.mask

    def wide(self, score: Tensor, batch: Batch) -> Tensor:
        """Rows [B] of groups whose scores have a deviation above `spread`."""
        same = ((batch.group[:, None] == batch.group[None]) & batch.graded[None]).to(score.dtype)
        count = same.sum(-1)
        mean = same @ score / count.clamp(min=1)
        variance = (same * (score[None] - mean[:, None]).square()).sum(-1) / (count - 1).clamp(min=1)
        return (count > 1) & (variance.sqrt() > self.spread)

    def steps(self, batch: Batch, advantage: Tensor) -> Iterable[tuple[Batch, Tensor]]:
        for part, own in super().steps(batch, advantage):
            if self.weight and batch.progress.step >= self.warm_up:
                yield self.extended(part), torch.nn.functional.pad(own, (0, 1))
            else:
                yield part, own

    def extended(self, batch: Batch) -> Batch:
        """Every response with the mark behind it: one column more, which is in no mask."""
        row, at = torch.arange(len(batch.ids), device=batch.ids.device), batch.lengths
        width = batch.ids.shape[1]

        def wider(value: Tensor) -> Tensor:
            fits = value.dim() > 1 and value.shape[1] == width
            return torch.cat([value, torch.zeros_like(value[:, :1])], 1) if fits else value

        stored = {name: wider(value) for name, value in batch.stored.items()}
        old, ids = stored["old.logp"].clone(), wider(batch.ids).clone()
        old[row, at] = torch.where(batch.graded, batch.signals["judged.mark"], old[row, at])
        ids[row, at] = self._mark
        rollouts = tuple(
            replace(r, token_ids=(*r.token_ids, self._mark), logprobs=(*r.logprobs, 0.0)) for r in batch.rollouts
        )
        changed: dict[str, Any] = {
            "mask": wider(batch.mask),
            "engine_logp": wider(batch.engine_logp),
            "ids": ids,
            "rollouts": rollouts,
        }
        return replace(batch, **changed, stored={**stored, "old.logp": old, "laser.at": at})

    def loss(self, now: Now, advantage: Tensor, batch: Batch) -> dict[str, Tensor]:
        terms = super().loss(now, advantage, batch)
        if self.weight and "laser.at" in batch.signals:
            mark = now.logp.gather(1, batch.signals["laser.at"][:, None])[:, 0]
            terms["self_reward"] = self.weight * self.error(mark, batch)
        return terms

    def error(self, mark: Tensor, batch: Batch) -> Tensor:
        """The weighted squared error of the self-reward against the outcome."""
        valid, right = batch.graded & ~batch.truncated, batch.outcome >= 1
        count = valid.sum()
        kinds = [(valid & (right == kind)).sum().clamp(min=1) for kind in (True, False)]
        weight = count / (2.0 * torch.where(right, kinds[0], kinds[1]))
        squared = (self.score(mark, batch) - batch.outcome).square()
        return torch.where(valid, weight * squared, 0.0).sum() / max(batch.totals.rollouts, 1.0)
