"""Truncation as the only length penalty, with batch-wide scaling, dynamic sampling and a wider upper clip (DLER).

Paper: arXiv 2510.15110. A truncated response has no answer and earns 0. `a = R - mean_g` on every token, whitened over all
response tokens of the batch; groups without spread are drawn again; clip bounds 0.2 and 0.28, mean over all tokens.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import Tensor

from rewards.method import Batch, method
from rewards.methods.dapo import Dapo
from rewards.methods.reinforce_pp_baseline import ReinforcePpBaseline


@method.register("dler")
class Dler(Dapo):
    """The limit is the recipe's `train.max_new_tokens`; evaluation keeps its own."""

    paper: ClassVar[str] = "arXiv 2510.15110"
    provenance: ClassVar[str] = "code: NVlabs/DLER@ea7d4f7"
    family: ClassVar[str] = "reward level"
    identity: ClassVar[tuple[str, dict[str, Any]] | None] = (
        "reinforce-pp-baseline",
        {"clip_high": 0.2, "dynamic_sampling": False},
    )

    overlong_cache: float = 0.0
    mask_truncated: bool = False

    @property
    def scope(self) -> Literal["row", "group", "batch"]:
        return "batch"

    def advantage(self, reward: Tensor, batch: Batch) -> Tensor:
        return ReinforcePpBaseline.advantage(self, reward, batch)  # type: ignore[arg-type]
