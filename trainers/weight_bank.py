"""A policy's weights on their way in and out: adapters, the start policy, export under hub names, hub folders.

Adapters (peft) are never merged into the policy: rounds of merging and unmerging in half precision change its weights.
Merged tensors are computed aside.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from harness.core.config import Lora
from harness.models.weights import hub_names

ADAPTER = "default"


def add_adapters(model: nn.Module, trunk: nn.Module, settings: Lora) -> None:
    """Freeze everything and put float32 adapters on the linear layers of `trunk`, in place.

    A starts as in peft (Kaiming uniform) from a stream of its own, B at zero, so that the policy starts unchanged.
    """
    from peft import LoraConfig, inject_adapter_in_model

    model.requires_grad_(False)
    inside = {id(m) for m in trunk.modules() if isinstance(m, nn.Linear)}
    targets = [name for name, module in model.named_modules() if id(module) in inside]
    config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, lora_dropout=0.0, target_modules=targets)
    with torch.random.fork_rng():
        inject_adapter_in_model(config, model, adapter_name=ADAPTER)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, layer in _adapted(model):
            for factor in (layer.lora_A, layer.lora_B):
                factor[ADAPTER].to(torch.float32)
            first = layer.lora_A[ADAPTER].weight
            bound = 1 / math.sqrt(first.shape[1])
            first.copy_((torch.rand(first.shape, generator=generator) * 2 - 1) * bound)


def _adapted(model: nn.Module) -> list[tuple[str, Any]]:
    return [(name, m) for name, m in model.named_modules() if hasattr(m, "lora_A") and hasattr(m, "base_layer")]


@contextmanager
def without_adapters(model: nn.Module) -> Iterator[None]:
    """The base model for a while. Which parameters train stays as it was."""
    layers = [layer for _, layer in _adapted(model)]
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


@contextmanager
def swapped(parameters: Sequence[tuple[str, nn.Parameter]], other: Mapping[str, Tensor]) -> Iterator[None]:
    """Parameters with the values of `other` for a while; the own storage comes back untouched."""
    own = {name: parameter.data for name, parameter in parameters}
    try:
        for name, parameter in parameters:
            parameter.data = other[name].to(parameter.device)
        yield
    finally:
        for name, parameter in parameters:
            parameter.data = own[name]


def export(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Every weight once under its name in a hub folder, detached, on its device; adapters merged aside in float32."""
    merged = {f"{name}.weight": layer for name, layer in _adapted(model)}
    stored = _stored(model)
    for name, key in hub_names(model, list(stored)).items():
        tensor = stored[name].detach()
        if name in merged:
            with torch.no_grad():
                delta = merged[name].get_delta_weight(ADAPTER)
                tensor = (tensor.float() + delta.float()).to(tensor.dtype)
        yield key, tensor


def _stored(model: nn.Module) -> dict[str, Tensor]:
    """The model's own tensors by the names they have without adapters; of tied ones the first."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict(keep_vars=True).items():
        if ".lora_" in name or id(tensor) in seen:
            continue
        seen.add(id(tensor))
        found[name.replace(".base_layer.", ".")] = tensor
    return found


def save(model: Any, tokenizer: Any, processor: Any, folder: Path) -> None:
    """Write an ordinary hub folder beside its place, then rename it; the merged weights where there are adapters."""
    from harness.models.quiet import quiet

    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with quiet():
            model.save_pretrained(scratch, state_dict=_merged(model))
            for part in (processor, tokenizer):
                if part is not None:
                    part.save_pretrained(scratch)
        scratch.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _merged(model: Any) -> dict[str, Tensor]:
    """State dict by module names, adapters merged aside."""
    back = {key: name for name, key in hub_names(model, list(_stored(model))).items()}
    return {back[key]: tensor for key, tensor in export(model)}
