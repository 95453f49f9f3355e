"""The size of a policy by its parts, from its configuration alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import ModelError
from harness.models import hub, shapes, tiny


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Parameters of a policy: all (tied ones once), of one decoder layer, of embedding and head, of the tower, of the linear
    matrices of a layer as (in + out); its hidden size, layers, query width, vocabulary, cache bytes a token in bfloat16."""

    parameters: int
    layer: int
    ends: int
    tower: int
    factors: int
    hidden: int
    layers: int
    queries: int
    vocabulary: int
    cache: int

    def adapters(self, rank: int) -> int:
        """Parameters of adapters of this rank on every linear matrix of the trunk."""
        return rank * self.factors * self.layers


def read(path: str, revision: str | None = None) -> Any:
    """The configuration of a policy: a known shape, a built-in policy's, or its config.json. Raises ModelError."""
    if path in shapes.TEXTS or path in shapes.LLAMA:
        return shapes.configuration(path)
    if path in tiny.NAMES:
        return _tiny(path)
    folder, _ = hub.resolve(path, revision, weights=False)
    while (folder / "adapter_config.json").is_file():
        base, base_revision = hub.adapter_base(folder)
        folder, _ = hub.resolve(base, base_revision, weights=False)
    return hub.read_config(Path(folder))


def _tiny(name: str) -> Any:
    """The sizes of a built-in policy; its tokens have no meaning here."""
    from transformers import Qwen2_5_VLConfig, Qwen2Config

    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": tiny.ROPE_THETA}
    if name == "tiny-lm":
        return Qwen2Config(**tiny.TEXT, rope_parameters=rope, tie_word_embeddings=True)
    text = {**tiny.TEXT, "rope_parameters": {**rope, "mrope_section": tiny.MROPE_SECTION}, "tie_word_embeddings": True}
    return Qwen2_5_VLConfig(text_config=text, vision_config=dict(tiny.VISION), tie_word_embeddings=True)


def of(config: Any) -> Shape:
    """Raises ModelError for an architecture that the trainer does not know."""
    import torch
    from torch import nn

    from trainers.policy import Parts

    with torch.device("meta"):
        model = hub.model_class(config).from_config(config)
    model.tie_weights()
    parts = Parts.of(model)
    text = parts.trunk.config
    if not len(parts.trunk.layers):
        raise ModelError("the policy has no decoder layer", "check its config.json")
    layer = parts.trunk.layers[0]
    linear = [m for m in layer.modules() if isinstance(m, nn.Linear)]
    width = int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
    ends = {id(p): p.numel() for p in (parts.trunk.embed_tokens.weight, parts.head.weight)}
    return Shape(
        parameters=sum(p.numel() for p in model.parameters()),
        layer=sum(p.numel() for p in layer.parameters()),
        ends=sum(ends.values()),
        tower=sum(p.numel() for p in parts.visual.parameters()) if parts.visual is not None else 0,
        factors=sum(m.in_features + m.out_features for m in linear),
        hidden=int(text.hidden_size),
        layers=len(parts.trunk.layers),
        queries=width * int(text.num_attention_heads),
        vocabulary=int(text.vocab_size),
        cache=2 * 2 * len(parts.trunk.layers) * width * int(text.num_key_value_heads),
    )
