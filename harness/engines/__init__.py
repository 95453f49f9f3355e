"""Engines turn prompts into rollouts: transformers, recorded. `create` makes the one that a recipe names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.engines.base import Engine, engine
from harness.errors import ConfigError

AUTO = ("transformers",)
"""What `auto` tries, in this order; the first whose class says that it can run here is taken."""


def create(
    name: str,
    *,
    path: str | Path,
    revision: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    batch: int = 64,
    say: Callable[[str], Any] = lambda text: None,
) -> Engine:
    """The engine called `name` over the policy at `path`; `auto` picks one and says which through `say`.

    Raises UnknownNameError for a name that is not registered, ConfigError for one that runs no policy.
    """
    if name == "auto":
        known = engine.keys()
        name = next(n for n in AUTO if n in known and getattr(engine.get(n), "available", lambda device: True)(device))
        say(f"engine: {name}")
    kind = engine.get(name)
    if not hasattr(kind, "open"):
        raise ConfigError(
            f"engine '{name}' runs no policy", "use --engine auto; recorded responses are graded by `rlfr-eval score`"
        )
    return kind.open(path, revision=revision, dtype=dtype, device=device, batch=batch)
