"""Small random models and hand-made prompts for tests of the packed layout, and gradients by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.core.records import ImagePatches, Prompt
from trainers.batching import Item
from trainers.policy import Policy

VOCABULARY = 96
IMAGE = 90
FORBIDDEN = (IMAGE, 91, 95)
TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
ROPE: dict[str, Any] = {"rope_type": "default", "rope_theta": 10_000.0}
VISION: dict[str, Any] = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "out_hidden_size": 48,
    "fullatt_block_indexes": [1],
    "patch_size": 14,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "window_size": 56,
}
KINDS = ("qwen2", "qwen3", "llama", "qwen2_5_vl")


def model(kind: str, tied: bool = False, seed: int = 0) -> Any:
    """A model with weights large enough that a wrong layout moves log-probabilities by whole numbers."""
    import transformers as hf

    if kind == "qwen2_5_vl":
        text = {**TEXT, "rope_parameters": {**ROPE, "mrope_section": [1, 1, 2]}, "tie_word_embeddings": tied}
        config: Any = hf.Qwen2_5_VLConfig(
            text_config=text, vision_config=VISION, image_token_id=IMAGE, video_token_id=91, tie_word_embeddings=tied
        )
        cls: Any = hf.Qwen2_5_VLForConditionalGeneration
    elif kind == "llama":
        config = hf.LlamaConfig(**TEXT, rope_parameters=ROPE, tie_word_embeddings=tied)
        cls = hf.LlamaForCausalLM
    elif kind == "qwen3":
        config = hf.Qwen3Config(**TEXT, head_dim=8, rope_parameters=ROPE, tie_word_embeddings=tied)
        cls = hf.Qwen3ForCausalLM
    else:
        config = hf.Qwen2Config(**TEXT, rope_parameters=ROPE, tie_word_embeddings=tied)
        cls = hf.Qwen2ForCausalLM
    with torch.random.fork_rng(devices=[]):
        made = cls(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in made.parameters():
            spread = 0.2 if parameter.ndim == 1 else 1.0 / parameter.shape[-1] ** 0.5
            centre = 1.0 if parameter.ndim == 1 else 0.0
            parameter.copy_(centre + spread * torch.randn(parameter.shape, generator=generator))
    return made.eval()


def policy(kind: str, **options: Any) -> Policy:
    """A policy over a model of its own; options beside `tied` and `seed` go to Policy."""
    made = model(kind, options.pop("tied", False), options.pop("seed", 0))
    return Policy(made, tokenizer=None, **{"forbidden": FORBIDDEN, **options})


def text_prompt(length: int, seed: int) -> Prompt:
    ids = tuple(torch.randint(2, 90, (length,), generator=torch.Generator().manual_seed(seed)).tolist())
    return Prompt(example_id=f"t{seed}", ids=ids, engine_ids=ids, text="", template_hash="h")


def image_prompt(grids: Sequence[tuple[int, int, int]], seed: int, around: int = 5) -> Prompt:
    """Text, then every image followed by text; patches are noise."""
    random = np.random.default_rng(seed)
    ids: list[int] = random.integers(2, 90, around).tolist()
    kinds = [0] * around
    for t, h, w in grids:
        size = t * h * w // 4
        ids += [IMAGE] * size + random.integers(2, 90, 3).tolist()
        kinds += [1] * size + [0] * 3
    grid = np.asarray(grids, dtype=np.int64)
    patches = random.standard_normal((int(grid.prod(1).sum()), 1176)).astype(np.float32)
    return with_patches(tuple(ids), tuple(kinds), patches, grid, f"i{seed}")


def with_patches(
    ids: tuple[int, ...], kinds: tuple[int, ...] | None, patches: np.ndarray, grid: np.ndarray, name: str
) -> Prompt:
    digest = hashlib.sha256(patches.tobytes() + grid.tobytes()).hexdigest()
    return Prompt(
        example_id=name,
        ids=ids,
        engine_ids=ids,
        text="",
        template_hash="h",
        patches=ImagePatches(patches, grid, digest),
        mm_token_type_ids=kinds,
    )


def item(prompt: Prompt, lengths: Sequence[int], first_row: int = 0) -> Item:
    generator = torch.Generator().manual_seed(sum(prompt.ids) + len(lengths))
    responses = tuple(tuple(torch.randint(2, 90, (n,), generator=generator).tolist()) for n in lengths)
    return Item(prompt, responses, tuple(range(first_row, first_row + len(lengths))))


def items(kind: str) -> list[Item]:
    """Several groups in a row: ragged prompts and responses, one-token responses, a group of one, images."""
    groups = [
        item(text_prompt(11, 1), (7, 1, 19, 4)),
        item(text_prompt(3, 2), (5,), 4),
        item(text_prompt(1, 3), (2, 30, 1), 5),
    ]
    if kind == "qwen2_5_vl":
        groups += [
            item(image_prompt([(1, 4, 6)], 4), (9, 2, 14), 8),
            item(image_prompt([(1, 8, 4), (1, 2, 2)], 5), (1, 12), 11),
        ]
    return groups


def gradients(module: torch.nn.Module, loss: Callable[[], Tensor]) -> dict[str, Tensor]:
    """Gradients of a scalar by parameter name; the module is left without gradients."""
    module.zero_grad(set_to_none=True)
    loss().backward()
    found = {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
    module.zero_grad(set_to_none=True)
    return found


def distance(one: dict[str, Tensor], two: dict[str, Tensor]) -> float:
    """Relative L2 distance of two gradients over all parameters."""
    assert one.keys() == two.keys()
    square = sum(float((one[n].double() - two[n].double()).square().sum()) for n in one)
    return (square / sum(float(two[n].double().square().sum()) for n in two)) ** 0.5
