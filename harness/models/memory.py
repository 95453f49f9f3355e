"""Does a policy fit the machine? Answered from its configuration alone, before any weight is read or downloaded.

A policy's name or configuration flows in; a lower bound of the bytes it needs flows out, or a ResourceError with what to
do. Activations and key-value caches come on top, so what is refused here cannot work.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import ModelError, ResourceError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

GIB = 1024**3
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

KNOWN_PARAMETERS = {
    "Qwen/Qwen2.5-Math-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-Math-7B": 7_615_616_512,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "Qwen/Qwen2.5-VL-3B-Instruct": 3_754_622_976,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8_292_166_656,
}
"""Parameters of the recipes' policies, for when the hub cannot be reached."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes that a policy needs at least. `engine`: the copy that generates while another one is trained."""

    parameters: int
    weights: int
    gradients: int = 0
    optimiser: int = 0
    engine: int = 0

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimiser + self.engine


def memory_estimate(
    policy: PreTrainedConfig | int, train: bool, lora: bool = False, dtype: str = "float32"
) -> MemoryEstimate:
    """What a configuration (or a number of parameters) needs: weights, and in training gradients, AdamW's two moments
    and the engine's copy, all in `dtype`. With LoRA gradients and moments of the adapter (under 1 %) are left out.
    """
    count = policy if isinstance(policy, int) else count_parameters(policy)
    size = count * BYTES[dtype]
    if not train:
        return MemoryEstimate(count, size)
    full = 0 if lora else size
    return MemoryEstimate(count, size, gradients=full, optimiser=2 * full, engine=size)


def count_parameters(config: PreTrainedConfig) -> int:
    """Parameters of a configuration, tied ones once, by building it without storage."""
    import torch

    from harness.models.hub import model_class

    with torch.device("meta"):
        model = model_class(config).from_config(config)
    model.tie_weights()
    return sum(p.numel() for p in model.parameters())


def preflight(
    policy: str | Path | PreTrainedConfig,
    device: str = "cpu",
    train: bool = False,
    lora: Any = None,
    dtype: str = "float32",
    revision: str | None = None,
) -> MemoryEstimate | None:
    """The estimate for a policy that may fit `device`; reads no weights. None when its size cannot be known.

    `lora` is anything true for low-rank training. Raises ResourceError, with what to do, when memory cannot suffice,
    also when the hub cannot be reached (then the size comes from the policy's name), and ModelError for a wrong path.
    """
    size = _size(policy, revision)
    if size is None:
        return None
    estimate = memory_estimate(size, train, bool(lora), dtype)
    capacity = memory_capacity(device)
    if estimate.total > capacity:
        parts = {n: getattr(estimate, n) for n in ("weights", "gradients", "optimiser", "engine")}
        split = ", ".join(f"{name} {amount / GIB:.0f}" for name, amount in parts.items() if amount)
        name = policy if isinstance(policy, str | Path) else policy.model_type
        size_text = f"{estimate.parameters / 1e9:.1f} billion parameters, {dtype}"
        raise ResourceError(
            f"{'training' if train else 'evaluating'} {name} ({size_text}) needs at least "
            f"{estimate.total / GIB:.0f} GiB ({split}), {device} has {capacity / GIB:.0f}",
            _remedy(str(name), estimate.parameters, capacity, train, bool(lora)),
        )
    return estimate


def _remedy(name: str, parameters: int, capacity: int, train: bool, lora: bool) -> str:
    """A smaller policy, or those cheaper settings that would fit."""
    options = ["a smaller policy (--model tiny-vl)" if "vl" in name.lower() else "a smaller policy (--model tiny-lm)"]
    half = "--set model.dtype=bfloat16"
    cheaper = {
        half: (lora, "bfloat16"),
        "--set model.lora.rank=16": (True, "float32"),
        f"{half} --set model.lora.rank=16": (True, "bfloat16"),
    }
    for setting, (low_rank, dtype) in cheaper.items():
        if (train or not low_rank) and memory_estimate(parameters, train, low_rank, dtype).total <= capacity:
            options.append(setting)
            break
    return "use " + ", ".join([*options, "or a machine with more memory"])


def _size(policy: str | Path | PreTrainedConfig, revision: str | None) -> int | None:
    """Parameters of a policy: from its configuration, else from what is known of its name."""
    from harness.models import hub, tiny

    if not isinstance(policy, str | Path):
        return count_parameters(policy)
    if str(policy) in tiny.NAMES:
        return 10**6
    try:
        folder, _ = hub.resolve(policy, revision, weights=False)
        while (folder / "adapter_config.json").is_file():
            base, base_revision = hub.adapter_base(folder)
            policy = base
            folder, _ = hub.resolve(base, base_revision, weights=False)
        return count_parameters(hub.read_config(folder))
    except ModelError:
        known = KNOWN_PARAMETERS.get(str(policy)) or _size_in_name(str(policy))
        if known is None and Path(policy).expanduser().is_dir():
            raise
        return known


def _size_in_name(name: str) -> int | None:
    """`Qwen2.5-VL-7B-Instruct` -> 7e9: the last number before a B that stands for itself."""
    found = re.findall(
        r"(?<![\w.])(\d+(?:\.\d+)?)[bB](?![a-zA-Z0-9])", name.rsplit("/", 1)[-1].replace("-", " ").replace("_", " ")
    )
    return int(float(found[-1]) * 1e9) if found else None


def memory_capacity(device: str = "cpu") -> int:
    """Bytes that `device` has in all: RAM or the control group's limit, or the memory of the GPU. Raises ResourceError."""
    if device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise ResourceError("no CUDA device is available", "run on the cpu, or install a CUDA build of torch")
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for file in (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")):
        if file.is_file() and (text := file.read_text().strip()).isdigit():
            limits.append(int(text))
    return min(limits)
