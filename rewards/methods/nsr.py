"""Learning from wrong rollouts only (negative sample reinforcement, NSR).

Paper: arXiv 2506.01347. `A = -1` for a wrong rollout, 0 for a right one; no baseline; the mean runs over the tokens of the
wrong rollouts of the mini-batch (`denominator` "subset") or over all (`"all"`).
"""

from __future__ import annotations

from typing import ClassVar

from rewards.method import method
from rewards.methods.psr import Psr


@method.register("nsr")
class Nsr(Psr):
    """A mini-batch of right rollouts has loss 0."""

    paper: ClassVar[str] = "arXiv 2506.01347"
    provenance: ClassVar[str] = "code: TianHongZXY/RLVR-Decomposed@a5d4e7c"
    family: ClassVar[str] = "estimator"
    learns_from: ClassVar[bool] = False
