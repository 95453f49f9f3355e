"""Weights on their way into vLLM: strict names, fingerprints as they are sent, and the same read back from the engine.

vLLM only warns of a missing tensor and packs several into one, so nothing it says is taken on trust. A stream of (name,
tensor) flows through `Sent`; afterwards `differing` reads every parameter of vLLM's model, cuts it into the tensors of the
policy's files and compares.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import EngineError, ModelError

if TYPE_CHECKING:
    import torch

PACKED = {
    "q_proj": ("qkv_proj", 0),
    "k_proj": ("qkv_proj", 1),
    "v_proj": ("qkv_proj", 2),
    "gate_proj": ("gate_up_proj", 0),
    "up_proj": ("gate_up_proj", 1),
}
"""Tensors that vLLM stacks by rows into one, and their places in it."""

PADDED = ("embed_tokens.weight", "lm_head.weight")
"""vLLM rounds the rows of these up; the rows behind the policy's own are no weights."""

CHUNK = 1 << 22
"""Entries fingerprinted at a time, so that the check needs little memory of its own."""

SAME = "trainer and engine must hold the same policy"

Fingerprint = tuple[int, int, int]


def canonical(name: str) -> str:
    """The one name of a tensor whose state dict and files call it differently (transformers renamed Qwen2.5-VL's)."""
    for new, old in (("model.language_model.", "model."), ("model.visual.", "visual.")):
        if name.startswith(new):
            return old + name.removeprefix(new)
    return name


def plain_folder(path: str | Path, revision: str | None, dtype: str) -> Path:
    """A folder that vLLM loads as it is: the policy's own, or for an adapter a merged copy kept in the cache."""
    from harness.core.config import digest
    from harness.models import hub, loading

    folder, origin = hub.resolve(path, revision)
    if not (folder / "adapter_config.json").is_file():
        return folder
    merged = hub.cache_dir() / "merged" / digest(loading.digest(folder, origin), dtype)
    if not (merged / "config.json").is_file():
        loading.save(loading.load(path, revision, dtype), merged)
    return merged


@dataclass(frozen=True, slots=True)
class Names:
    """Canonical names and shapes of the tensors in a policy's files; of tied embeddings only the input's."""

    shapes: dict[str, tuple[int, ...]]

    @classmethod
    def of(cls, folder: Path) -> Names:
        """Read from the headers of the safetensors files. Raises ModelError."""
        from harness.models import hub

        shapes: dict[str, tuple[int, ...]] = {}
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise ModelError(f"{folder} holds no safetensors file", "save the policy with save_pretrained")
        for file in files:
            with file.open("rb") as stream:
                (size,) = struct.unpack("<Q", stream.read(8))
                header = json.loads(stream.read(size))
            shapes |= {canonical(n): tuple(v["shape"]) for n, v in header.items() if n != "__metadata__"}
        if hub.read_config(folder).get_text_config().tie_word_embeddings:
            shapes.pop("lm_head.weight", None)
        return cls(shapes)


@dataclass(slots=True)
class Sent:
    """What has been sent: fingerprints by canonical name, in `dtype` (the engine's), and the first thing that was wrong."""

    names: Names
    dtype: str
    prints: dict[str, Fingerprint] = field(default_factory=dict)
    problem: str = ""

    def stream(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
        """The same tensors under their canonical names, checked and fingerprinted one by one.

        At the first problem the stream ends, so that vLLM is not interrupted half-way; `demand_whole` raises it.
        """
        import torch

        for name, tensor in tensors:
            known = canonical(name)
            self.problem = self._wrong(name, known, tensor)
            if self.problem:
                return
            self.prints[known] = fingerprint(tensor.detach().to(getattr(torch, self.dtype)))
            yield known, tensor.detach()
        missing = [name for name in self.names.shapes if name not in self.prints]
        if missing:
            self.problem = f"tensor {missing[0]} did not come"

    def _wrong(self, name: str, known: str, tensor: torch.Tensor) -> str:
        if known not in self.names.shapes:
            return f"the engine has no tensor {name}"
        if tuple(tensor.shape) != self.names.shapes[known]:
            return f"tensor {name} has shape {list(tensor.shape)}, the engine's {list(self.names.shapes[known])}"
        return f"tensor {name} came twice" if known in self.prints else ""

    def demand_whole(self) -> None:
        """Raises EngineError for what `stream` found."""
        if self.problem:
            raise EngineError(f"weight sync: {self.problem}", SAME)


def fingerprint(tensor: torch.Tensor) -> Fingerprint:
    """(entries, sum, sum weighted by place) of the bit patterns, in wrapping integers: the same on every device.

    A zero has one sign here, since a product with it loses it.
    """
    import torch

    flat = tensor.detach().reshape(-1)
    total, weighted = 0, 0
    kind = torch.int16 if flat.element_size() == 2 else torch.int32
    for start in range(0, flat.numel(), CHUNK):
        bits = (flat[start : start + CHUNK] + 0.0).contiguous().view(kind).long()
        place = torch.arange(start + 1, start + 1 + bits.numel(), device=bits.device)
        place = (place * 2654435761) ^ (place << 17)
        total += int(bits.sum())
        weighted += int((bits * place).sum())
    return flat.numel(), total % 2**64, weighted % 2**64


def differing(model: torch.nn.Module, sent: Sent) -> str:
    """What is wrong with the weights that vLLM's model holds, in words; "" when each is what was sent, and nothing else."""
    import torch

    layout = _layout(model, sent)
    homes = {id(parameter): name for name, parameter in model.named_parameters()}
    seen: set[str] = set()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        parts = layout.get(homes[id(parameter)])
        if parts is None:
            return f"vLLM holds a tensor {name} that was not sent"
        for tensor in _readings(model, name, parameter):
            wrong = _part_differs(tensor.to(getattr(torch, sent.dtype)), name, parts, sent)
            if wrong:
                return wrong
        seen.update(parts)
    missing = sorted(set(sent.prints) - seen)
    return f"vLLM has no place for tensor {missing[0]}" if missing else ""


def _part_differs(tensor: torch.Tensor, name: str, parts: list[str], sent: Sent) -> str:
    """What is wrong with one of vLLM's tensors, cut by rows into the parts that were sent; "" when nothing is."""
    start = 0
    for part in parts:
        rows = sent.names.shapes[part][0]
        if fingerprint(tensor[start : start + rows]) != sent.prints[part]:
            return f"tensor {part} reads back from vLLM other than it was sent"
        start += rows
    if start != tensor.shape[0] and not name.endswith(PADDED):
        return f"vLLM holds {tensor.shape[0]} rows in {name}, {start} were sent"
    return ""


def repack(model: torch.nn.Module) -> None:
    """On a CPU vLLM multiplies with packed copies of its matrices and forgets to renew that of a tied output head."""
    layer: Any
    for layer in model.modules():
        weight = getattr(layer, "weight", None)
        if hasattr(layer, "cpu_linear") and weight is not None and weight.numel():
            layer.quant_method.process_weights_after_loading(layer)


def _layout(model: torch.nn.Module, sent: Sent) -> dict[str, list[str]]:
    """The policy's tensors in each of vLLM's, in the order of their rows."""
    nested = any(name.startswith("language_model.") for name, _ in model.named_parameters())
    found: dict[str, list[tuple[int, str]]] = {}
    for name in sent.prints:
        *path, module, kind = name.split(".")
        target, place = PACKED.get(module, (module, 0))
        inside = ".".join([*path, target, kind])
        if nested and not inside.startswith("visual."):
            inside = f"language_model.{inside}"
        found.setdefault(inside, []).append((place, name))
    return {name: [part for _, part in sorted(parts)] for name, parts in found.items()}


def _readings(model: torch.nn.Module, name: str, parameter: torch.Tensor) -> Iterator[torch.Tensor]:
    """The values behind a parameter, in every form that vLLM keeps.

    Its CPU build multiplies with packed matrices, often all that is left; such a form times the unit vectors is the
    matrix, exactly.
    """
    import torch

    if parameter.numel():
        yield parameter
    layer: Any = model.get_submodule(name.rpartition(".")[0])
    if not name.endswith(".weight") or not hasattr(layer, "cpu_linear"):
        return
    inputs = int(parameter.shape[1] if parameter.numel() else layer.input_size_per_partition)
    step = max(1, CHUNK // inputs)
    columns = []
    for start in range(0, inputs, step):
        size = min(step, inputs - start)
        unit = torch.zeros(size, inputs, dtype=parameter.dtype)
        unit[torch.arange(size), torch.arange(start, start + size)] = 1
        columns.append(layer.cpu_linear(unit, parameter, None).T)
    yield torch.cat(columns, dim=1)
