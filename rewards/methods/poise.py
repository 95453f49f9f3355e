"""Two rollouts per prompt and a baseline read off the policy's own hidden states (value estimation, POISE).

Paper: arXiv 2605.07579. `phi = [mean state of the last tokens of the prompt; of the response; mean, max, std of its
entropy]` of one layer; `A_i = R_i - g(phi_j)`, j the other rollout, so that the baseline does not know R_i. g: standardised
ridge regression, clipped to what the recipe pays, refitted after every step on the last batches; phi_j has R_i as its target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from harness.core.records import Example
from rewards.method import Batch, Chunk, Context, Draw, Draws, Group, Method, Pass, Progress, method
from rewards.support.ridge import Ridge


@method.register("poise")
class Poise(Method):
    """With more rollouts per prompt the baseline is the mean over the others, and the target the mean of the others' rewards."""

    paper: ClassVar[str] = "arXiv 2605.07579"
    provenance: ClassVar[str] = "paper; layer, entropy statistics and buffer are a reconstruction"
    family: ClassVar[str] = "estimator"

    clip_high: float = 0.28
    rollouts: int = 2
    layer: float = 0.53
    tokens: int = 10
    ridge: float = 0.01
    buffer: int = 4

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._probe: Ridge | None = None
        self._seen: list[tuple[Tensor, Tensor]] = []

    @property
    def scope(self) -> Literal["row", "group", "batch"]:
        return "batch"

    @property
    def passes(self) -> tuple[Pass, ...]:
        return (Pass(name="old", hidden=(self.layer,), tail=self.tokens - 1, read="features", rows=("phi",)),)

    @property
    def advantage_needs_signals(self) -> bool:
        return True

    def collect(self, draw: Draws, prompts: Sequence[Example], progress: Progress) -> list[Group]:
        return draw([Draw(example=e, n=self.rollouts) for e in prompts])

    def features(self, chunk: Chunk) -> dict[str, Tensor]:
        """`phi` [b, 2D+3]."""
        states = next(iter(chunk.hidden.values())).float()
        mask, entropy = chunk.mask[:, chunk.tail :], chunk.entropy[:, chunk.tail :]
        place = torch.arange(mask.shape[1], device=mask.device)
        length = mask.sum(-1, keepdim=True)
        last = mask & (place >= length - self.tokens)
        count = length.clamp(min=1)
        said = (states[:, chunk.tail + 1 :] * last[..., None]).sum(1) / last.sum(-1, keepdim=True).clamp(min=1)
        mean = torch.where(mask, entropy, 0.0).sum(-1, keepdim=True) / count
        spread = (torch.where(mask, entropy - mean, 0.0).square().sum(-1, keepdim=True) / count).sqrt()
        most = torch.where(mask, entropy, 0.0).amax(-1, keepdim=True)
        return {"phi": torch.cat([states[:, : chunk.tail + 1].mean(1), said, mean, most, spread], -1)}

    def advantage(self, reward: Tensor, batch: Batch) -> Tensor:
        """[B, T]; 0 for a rollout without another graded one."""
        others = others_of(batch)
        if self._probe is None:
            values = (reward * batch.graded).sum() / batch.graded.sum().clamp(min=1) * torch.ones_like(reward)
        else:
            values = self._predict(batch.signals["old.phi"], batch).to(reward.dtype)
        baseline = others @ values
        return ((reward - baseline) * (others.sum(-1) > 0))[:, None] * batch.mask

    def _predict(self, phi: Tensor, batch: Batch) -> Tensor:
        """g [n], within what the recipe can pay: components lie in [0, 1], so the bounds are sums of weights."""
        assert self._probe is not None
        low, high = (sum(sign * max(sign * w, 0.0) for w in batch.weights.values()) for sign in (-1.0, 1.0))
        return self._probe(phi).clamp(low, high)

    def learn(self, batch: Batch, ctx: Context) -> dict[str, float]:
        """Refit the probe on this batch and those before it; its error is that of the fit that the step used."""
        reward, others = self.reward(batch), others_of(batch)
        rows = others.sum(-1) > 0
        phi, target = batch.signals["old.phi"][rows], (others @ reward)[rows]
        metrics = {}
        if self._probe is not None and bool(rows.any()):
            metrics["probe_error"] = float((self._predict(phi, batch) - target).square().mean())
        if bool(rows.any()):
            self._seen = [*self._seen, (phi.cpu(), target.cpu())][-(self.buffer + 1) :]
            x, y = (torch.cat(parts) for parts in zip(*self._seen, strict=True))
            self._probe = Ridge.fit(x, y, self.ridge)
        return metrics

    def state_dict(self) -> dict[str, Any]:
        probe = None if self._probe is None else self._probe.state()
        return {**super().state_dict(), "probe": probe, "seen": [list(pair) for pair in self._seen]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._probe = None if state["probe"] is None else Ridge(**state["probe"])
        self._seen = [(x.cpu(), y.cpu()) for x, y in state["seen"]]


def others_of(batch: Batch) -> Tensor:
    """[B, B]: row i averages over the other graded rollouts of its prompt; 0 where there is none or i is not graded."""
    same = (batch.group[:, None] == batch.group[None]) & batch.graded[:, None] & batch.graded[None]
    same = (same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)).float()
    return same / same.sum(-1, keepdim=True).clamp(min=1)
