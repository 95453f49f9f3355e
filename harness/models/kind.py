"""What a model is, as its configuration says: a folder or hub name in, family, size, context and precision out.

Reads configuration files only; nothing of the weights is fetched or opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import ModelError
from harness.models import hub


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A model by its config.json.

    family: its `model_type`. hidden, layers: width and depth of the decoder. context: most tokens of a prompt and its
    response together. dtype: in which its weights are stored, "" where config.json does not say. multimodal: whether it
    reads images.
    """

    family: str
    hidden: int
    layers: int
    context: int
    dtype: str = ""
    multimodal: bool = False

    @property
    def size(self) -> str:
        """`llama with 30 layers of width 576`."""
        return f"{self.family} with {self.layers} layers of width {self.hidden}"


def read(path: str | Path, revision: str | None = None) -> Kind:
    """The kind of the policy at `path`; of an adapter, its base model's. Raises ModelError as `hub.resolve` and
    `hub.read_config` do, and for a configuration without one of the sizes."""
    folder = hub.base_folder(hub.resolve(path, revision, weights=False)[0], weights=False)
    config = hub.read_config(folder)
    text = config.get_text_config()
    try:
        hidden, layers, context = (
            int(getattr(text, name)) for name in ("hidden_size", "num_hidden_layers", "max_position_embeddings")
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(f"{folder}/config.json does not give the model's size ({error})", "mend it") from error
    return Kind(
        family=str(config.model_type),
        hidden=hidden,
        layers=layers,
        context=context,
        dtype=_dtype(hub.read_json(folder / "config.json")),
        multimodal=hub.ARCHITECTURES[config.model_type],
    )


def _dtype(values: Mapping[str, Any]) -> str:
    """`dtype`, or `torch_dtype` as older files call it, of the model or of its text part."""
    for place in (values, values.get("text_config") or {}):
        found = place.get("dtype") or place.get("torch_dtype")
        if found:
            return str(found).removeprefix("torch.")
    return ""
