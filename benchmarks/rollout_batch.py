"""A random policy and a rollout batch for benchmarks of training: sizes, models, prompts with responses of given lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from harness.core.records import ImagePatches, Prompt
from harness.models import tiny
from rewards import losses
from trainers.batching import Item

VOCABULARY, FIRST_TOKEN = 8192, 300


@dataclass(frozen=True)
class Size:
    """A policy and a rollout batch. Image patches form a square-ish grid of `grid` patches, four to a token."""

    hidden: int
    layers: int
    tower: int
    tower_hidden: int
    grid: tuple[int, int]
    text_prompt: int
    image_prompt: int
    groups: int
    group: int
    mean: int
    longest: int


SIZES = {
    "small": Size(128, 4, 2, 64, (12, 10), 60, 60, 2, 4, 24, 64),
    "full": Size(512, 8, 8, 320, (40, 30), 200, 400, 2, 8, 128, 384),
}


def text_config(size: Size) -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": size.hidden,
        "intermediate_size": 3 * size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.hidden // 64,
        "num_key_value_heads": size.hidden // 128,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "eos_token_id": VOCABULARY - 1,
    }


def make_model(multimodal: bool, size: Size, seed: int = 0) -> Any:
    """A random Qwen2 or Qwen2.5-VL; the same seed gives the same weights."""
    rope = {"rope_type": "default", "rope_theta": 10_000.0}
    torch.manual_seed(seed)
    if not multimodal:
        model: Any = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**text_config(size), rope_parameters=rope))
    else:
        vision = {
            "depth": size.tower,
            "hidden_size": size.tower_hidden,
            "intermediate_size": 3 * size.tower_hidden,
            "num_heads": size.tower_hidden // 32,
            "out_hidden_size": size.hidden,
            "fullatt_block_indexes": [size.tower // 2 - 1, size.tower - 1],
        }
        text = {**text_config(size), "rope_parameters": {**rope, "mrope_section": [8, 12, 12]}}
        special = {name: 256 + tiny.CONTROL_TOKENS.index(token) for name, token in SPECIAL.items()}
        config = transformers.Qwen2_5_VLConfig(
            text_config=text, vision_config=vision, tie_word_embeddings=True, **special
        )
        model = transformers.Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config = transformers.GenerationConfig(eos_token_id=VOCABULARY - 1, pad_token_id=256)
    return model


SPECIAL = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}


@dataclass(frozen=True)
class Work:
    """A rollout batch: prompts with responses, an advantage per rollout."""

    items: tuple[Item, ...]
    advantage: Tensor

    @property
    def lengths(self) -> list[int]:
        return [len(r) for item in self.items for r in item.responses]

    def with_responses(self, responses: Sequence[Sequence[int]]) -> Work:
        rows = iter(responses)
        return replace(
            self, items=tuple(replace(i, responses=tuple(tuple(next(rows)) for _ in i.responses)) for i in self.items)
        )


def make_work(multimodal: bool, size: Size, equal: bool, seed: int) -> Work:
    """Lognormal response lengths (mean and largest as in `size`), or all of the mean length; random tokens."""
    random = np.random.default_rng(seed)
    count = size.groups * size.group
    raw = np.exp(random.standard_normal(count) * 0.8)
    lengths = np.clip(np.round(raw / raw.mean() * size.mean), 4, size.longest).astype(int)
    lengths[int(lengths.argmax())] = size.longest
    if equal:
        lengths[:] = size.mean
    items, row = [], 0
    for number in range(size.groups):
        prompt = make_prompt(multimodal, size, random, f"p{number}")
        rows = range(row, row + size.group)
        responses = tuple(tuple(random.integers(FIRST_TOKEN, VOCABULARY - 1, lengths[r]).tolist()) for r in rows)
        items.append(Item(prompt, responses, tuple(rows)))
        row += size.group
    reward = torch.tensor([float(k % 3 == 0) for k in range(count)])
    group = torch.arange(count) // size.group
    advantage = losses.group_normalise(reward, group, torch.ones(count, dtype=torch.bool))
    return Work(tuple(items), advantage)


def make_prompt(multimodal: bool, size: Size, random: np.random.Generator, name: str) -> Prompt:
    """Text, with an image in the middle where the policy is multimodal."""
    height, width = size.grid
    images = height * width // 4 if multimodal else 0
    words = random.integers(
        FIRST_TOKEN, VOCABULARY - 1, (size.image_prompt if multimodal else size.text_prompt) - images
    )
    if not multimodal:
        ids = tuple(words.tolist())
        return Prompt(example_id=name, ids=ids, engine_ids=ids, text="", template_hash="")
    middle = len(words) // 2
    pad = 256 + tiny.CONTROL_TOKENS.index("<|image_pad|>")
    ids = (*words[:middle].tolist(), *[pad] * images, *words[middle:].tolist())
    patches = random.standard_normal((height * width, 1176)).astype(np.float32)
    return Prompt(
        example_id=name,
        ids=ids,
        engine_ids=ids,
        text="",
        template_hash="",
        patches=ImagePatches(patches, np.asarray([[1, height, width]], dtype=np.int64), name),
        mm_token_type_ids=tuple(int(i == pad) for i in ids),
    )
