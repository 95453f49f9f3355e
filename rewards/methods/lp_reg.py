"""GRPO that does not punish unlikely but sensible tokens out of existence (low-probability regularisation, Lp-Reg).

Paper: arXiv 2510.03222. Proxy q: the old policy's distribution without tokens of `p < kappa max p`, renormalised. S: the
`int(k_neg N)` least likely of the N valid tokens with A < 0, of these the ones with `logp < log q`. On S the loss is
`-A ratio + beta min(k3, 10)`, `k3 = exp(log q - logp) - (log q - logp) - 1`, in place of the clipped surrogate.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rewards import losses
from rewards.method import Batch, Chunk, Method, Now, Pass, method

DROPPED = -1e4
"""Log-probability of a token that the filter removes."""


@method.register("lp-reg")
class LpReg(Method):
    """The clip bounds are as wide as the authors': practically off. S is taken over the whole mini-batch."""

    paper: ClassVar[str] = "arXiv 2510.03222"
    provenance: ClassVar[str] = "code: CarlanLark/Lp-Reg-dev@33b27e2"
    family: ClassVar[str] = "token level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = (
        "grpo",
        {"k_neg": 0.0, "clip_low": 0.2, "clip_high": 0.2, "reduction": "rollout"},
    )

    clip_low: float = 1.0
    clip_high: float = 9.0
    reduction: Literal["rollout", "token", "constant"] = "token"
    kappa: float = 0.02
    k_neg: float = 0.01
    beta: float = 1.0
    k3_max: float = 10.0

    @property
    def scope(self) -> Literal["row", "group", "batch"]:
        return "batch"

    @property
    def passes(self) -> tuple[Pass, ...]:
        return (Pass(name="old", head=True, read="proxy"),) if self.k_neg else (Pass(name="old"),)

    def proxy(self, chunk: Chunk) -> dict[str, Tensor]:
        """`proxy_logp` [b, S]: log q of the sampled tokens."""
        return {"proxy_logp": chunk.per_token(self.filtered)}

    def filtered(self, logits: Tensor, ids: Tensor) -> Tensor:
        """log q [n] of `ids` under logits [n, V]; -1e4 where the filter removes the token."""
        bound = logits.amax(-1, keepdim=True) + torch.tensor(self.kappa).log().item()
        kept = logits.masked_fill(logits < bound, -torch.inf)
        found = kept.gather(1, ids[:, None])[:, 0] - kept.logsumexp(-1)
        return found.clamp(min=DROPPED)

    def loss(self, now: Now, advantage: Tensor, batch: Batch) -> dict[str, Tensor]:
        if not self.k_neg:
            return super().loss(now, advantage, batch)
        proxy = batch.signals["old.proxy_logp"]
        chosen = self.chosen(now.logp.detach(), proxy, advantage, batch.mask)
        plain = losses.clipped_surrogate(
            now.logp, batch.old_logp, advantage, self.clip_low, self.clip_high, batch.ratio_cap
        )
        pull = self.beta * losses.kl_k3(now.logp, proxy).clamp(max=self.k3_max)
        open_ = pull - advantage * losses.ratio(now.logp, batch.old_logp, batch.ratio_cap)
        return {"policy": self.reduce(torch.where(chosen, open_, plain), batch)}

    def chosen(self, logp: Tensor, proxy: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
        """S [B, T]; empty where it would hold fewer than two tokens before the comparison with the proxy."""
        negative = mask & (advantage < 0)
        count = int(self.k_neg * int(negative.sum()))
        if count <= 1:
            return torch.zeros_like(mask)
        bound = logp[negative].kthvalue(count).values
        return negative & (logp <= bound) & (logp < proxy)
