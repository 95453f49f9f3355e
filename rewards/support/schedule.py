"""The schedule of learning rates: a share of training in, a factor out."""

from __future__ import annotations

import math


def cosine(fraction: float, warmup: float, final: float, floor: float = 0.0) -> float:
    """Linear warm-up to 1 over the first `warmup` of training, from `floor` on, then a cosine down to `final`.

    >>> [round(cosine(x, 0.1, 0.2), 3) for x in (0.0, 0.05, 0.1, 0.55, 1.0)]
    [0.0, 0.5, 1.0, 0.6, 0.2]
    """
    if fraction < warmup:
        return max(fraction / warmup, floor)
    place = min((fraction - warmup) / max(1.0 - warmup, 1e-12), 1.0)
    return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * place))
