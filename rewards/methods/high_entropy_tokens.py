"""DAPO whose policy gradient comes from the fifth of the tokens with the highest entropy (Beyond the 80/20 rule).

Paper: arXiv 2506.01939. `tau` is the (1 - rho) quantile of the entropies of all valid tokens of the mini-batch; tokens with
`H >= tau` keep their loss. The denominator is still every valid token.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from rewards.method import Batch, Now, method
from rewards.methods.dapo import Dapo


@method.register("high-entropy-tokens")
class HighEntropyTokens(Dapo):
    """The recipe's KL penalty stays on all tokens. Ties at the threshold are all kept."""

    paper: ClassVar[str] = "arXiv 2506.01939"
    provenance: ClassVar[str] = "peer: TRL (top_entropy_quantile)"
    family: ClassVar[str] = "token level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = ("dapo", {"rho": 1.0})
    inert: ClassVar[bool] = False
    """Rows without advantage count in the quantile."""

    rho: float = 0.2

    @property
    def scope(self) -> Literal["row", "group", "batch"]:
        return "batch"

    def loss(self, now: Now, advantage: Tensor, batch: Batch) -> dict[str, Tensor]:
        return super().loss(now, advantage * self.kept(now.entropy.detach(), batch.mask), batch)

    def kept(self, entropy: Tensor, mask: Tensor) -> Tensor:
        """Valid tokens at or above the threshold, [B, T]."""
        if not bool(mask.any()):
            return mask
        return mask & (entropy >= quantile(entropy[mask], 1.0 - self.rho))


def quantile(values: Tensor, q: float) -> Tensor:
    """The q quantile with linear interpolation, for any number of values (torch.quantile stops at 16 million)."""
    ordered = values.sort().values
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return torch.lerp(ordered[low], ordered[high], place - low)
