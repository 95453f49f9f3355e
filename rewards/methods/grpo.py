"""Group relative policy optimisation, the RLVR baseline (GRPO).

Paper: arXiv 2402.03300. `A = (R - mean_g) / (std_g + eps)` over the graded rows of a group, Bessel-corrected std; loss
`-min(ratio A, clip(ratio, 1 - low, 1 + high) A)`, mean per rollout and then over rollouts. Assumes G >= 2: a group with
one graded row carries no signal.
"""

from __future__ import annotations

from typing import ClassVar

from rewards.method import Method, method


@method.register("grpo")
class Grpo(Method):
    """The defaults of `Method` are GRPO; the KL term of the paper is the recipe's (`train.kl`)."""

    paper: ClassVar[str] = "arXiv 2402.03300"
    provenance: ClassVar[str] = "peer: TRL (loss_type grpo), verl"
    family: ClassVar[str] = "estimator"
