"""GRPO that spares tokens of wrong responses which carry right ones along (negative token hidden reward, NTHR).

Papers: "negative gradient in group RL" (NeurIPS 2025), arXiv 2510.03669. Per prompt, with V* the ids in its responses:
`g = onehot(y) - p` on V*, h the head's input, `M = sum over right tokens of g h^T`, `s = g^T M h`. Tokens of wrong rollouts with
`s > beta min over right rollouts of mean_t s` get `A' = eta A`, `eta = 2 |1/2 - N_right / G|`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from rewards.method import Batch, Chunk, Method, Pass, method


@method.register("nthr")
class Nthr(Method):
    """Prompts without both kinds are left as they are."""

    paper: ClassVar[str] = "arXiv 2510.03669"
    provenance: ClassVar[str] = "note: implementation note and paper text"
    family: ClassVar[str] = "token level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("grpo", {"eta": 1.0})

    beta: float = 1.0
    eta: float | None = None

    @property
    def passes(self) -> tuple[Pass, ...]:
        return (Pass(name="old", head=True, read="slices") if self.eta != 1.0 else Pass(name="old"),)

    @property
    def advantage_needs_signals(self) -> bool:
        return True

    def slices(self, chunk: Chunk) -> dict[str, Tensor]:
        """`state` [b, S, D] and `residual` [b, S, W]: g on the W ids of the row's group, on the host where there is a device."""
        assert chunk.head is not None and chunk.seen is not None
        seen = [chunk.seen(row).to(chunk.ids.device) for row in range(len(chunk.rows))]
        width = max(1, *map(len, seen))
        residual = torch.zeros(*chunk.ids.shape, width)
        columns = torch.zeros(len(seen), width, dtype=torch.long, device=chunk.ids.device)
        valid = torch.zeros(len(seen), width, dtype=torch.bool, device=chunk.ids.device)
        for number, ids in enumerate(seen):
            columns[number, : len(ids)], valid[number, : len(ids)] = ids, True
        for (row, place), logits in chunk.logits():
            there = columns[row]
            p = (logits - logits.logsumexp(-1, keepdim=True)).gather(1, there).exp()
            g = (there == chunk.ids[row, place][:, None]).to(p.dtype) - p
            residual[row.cpu(), place.cpu()] = (g * valid[row]).float().cpu()
        return {"state": chunk.head.float().cpu(), "residual": residual}

    def shape(self, advantage: Tensor, batch: Batch) -> Tensor:
        if self.eta == 1.0:
            return advantage
        right = batch.outcome >= 1
        factor = torch.ones_like(advantage)
        for number in range(int(batch.group.max().item()) + 1):
            rows = (batch.group == number) & batch.graded & batch.mask.any(-1)
            good, bad = (rows & right).nonzero().squeeze(-1), (rows & ~right).nonzero().squeeze(-1)
            if not len(good) or not len(bad):
                continue
            bound, found = self.influence(good, bad, batch)
            share = len(good) / (len(good) + len(bad))
            eta = self.eta if self.eta is not None else 2.0 * abs(0.5 - share)
            factor[bad] = torch.where(batch.mask[bad] & (found > bound), eta, 1.0)
        return advantage * factor

    def influence(self, good: Tensor, bad: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The threshold, and s [n, T] of the wrong rollouts' tokens."""
        g, h = (self._masked(batch.signals[f"old.{name}"], good, batch) for name in ("residual", "state"))
        matrix = torch.einsum("btw,btd->wd", g, h)
        own = torch.einsum("btw,wd,btd->bt", g, matrix, h)
        mean = own.sum(-1) / batch.mask[good].sum(-1)
        g, h = (self._masked(batch.signals[f"old.{name}"], bad, batch) for name in ("residual", "state"))
        return self.beta * mean.min(), torch.einsum("btw,wd,btd->bt", g, matrix, h)

    def _masked(self, values: Tensor, rows: Tensor, batch: Batch) -> Tensor:
        found = values[rows.to(values.device)][:, : batch.mask.shape[1]].to(batch.mask.device)
        return torch.where(batch.mask[rows][..., None], found, 0.0)
