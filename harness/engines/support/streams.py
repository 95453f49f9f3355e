"""Random streams of an engine that is not ours: keyed seeds for its samples, and the global streams left as they were."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from harness.engines.base import Request


class CallStream:
    """The random stream of one call on a CPU, where vLLM draws from torch's global one: that is swapped for ours and back.

    On a GPU every request has its own seed and nothing is swapped.
    """

    def __init__(self, requests: Iterable[Request], version: int, device: str) -> None:
        import torch

        self._own: torch.Tensor | None = None
        if not device.startswith("cuda"):
            seeds = ",".join(str(request_seed(request, version)) for request in requests)
            number = int.from_bytes(hashlib.sha256(seeds.encode()).digest()[:8], "big") >> 1
            self._own = torch.Generator().manual_seed(number).get_state()

    @contextmanager
    def entered(self) -> Iterator[None]:
        import torch

        if self._own is None:
            yield
            return
        outside = torch.get_rng_state()
        torch.set_rng_state(self._own)
        try:
            yield
        finally:
            self._own = torch.get_rng_state()
            torch.set_rng_state(outside)


def request_seed(request: Request, version: int) -> int:
    """Of a request's first sample; vLLM adds the sample index."""
    from harness.engines.support.sampling import prompt_key

    text = f"{request.sampling.seed}\x1f{version}\x1f{prompt_key(request.prompt)}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")


@contextmanager
def streams_kept() -> Iterator[None]:
    """vLLM seeds every global random stream when it starts; afterwards they are where they were."""
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
