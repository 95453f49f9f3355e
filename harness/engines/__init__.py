"""Engines turn prompts into rollouts: vllm, served, transformers, recorded. `create` makes the one that a recipe names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from harness.core.errors import ConfigError
from harness.engines.base import Engine, engine
from harness.engines.choose import choose


def create(
    name: str,
    *,
    path: str | Path,
    revision: str | None = None,
    dtype: str = "float32",
    device: str = "cpu",
    batch: int = 64,
    say: Callable[[str], Any] = lambda text: None,
    settings: Mapping[str, Any] | None = None,
) -> Engine:
    """The engine called `name` over the policy at `path`; `auto` picks one and says which, and why, through `say`.

    `settings`: of one kind of engine alone (harness.engines.choose.settings); others leave them out. Raises
    UnknownNameError for a name that is not registered, ConfigError for one that runs no policy, EngineError for one that
    cannot run here.
    """
    own = dict(settings or {})
    key, reason = choose(name, device, own.get("server"))
    if key != name:
        say(f"engine: {key} ({reason})")
    kind = engine.get(key)
    if not hasattr(kind, "open"):
        raise ConfigError(
            f"engine '{name}' runs no policy", "use --engine auto; recorded responses are graded by `rlfr-eval score`"
        )
    own = {name: value for name, value in own.items() if name in kind.options}
    return kind.open(path, revision=revision, dtype=dtype, device=device, batch=batch, **own)
