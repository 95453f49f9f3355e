"""The shapes of the recipes' policies, so that their memory is known, and benchmarks run, without the hub.

A hub name in, a transformers configuration of that architecture out. Sizes are those of the published config.json files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TOKENS = 151_643
"""Ordinary tokens of Qwen2.5; its control tokens follow."""

TEXTS: Mapping[str, Mapping[str, Any]] = {
    "Qwen/Qwen2.5-Math-1.5B": {"hidden": 1536, "inner": 8960, "layers": 28, "heads": 12, "kv": 2, "rows": 151_936},
    "Qwen/Qwen2.5-Math-7B": {"hidden": 3584, "inner": 18_944, "layers": 28, "heads": 28, "kv": 4, "rows": 152_064},
    "Qwen/Qwen2.5-VL-3B-Instruct": {
        "hidden": 2048,
        "inner": 11_008,
        "layers": 36,
        "heads": 16,
        "kv": 2,
        "rows": 151_936,
    },
    "Qwen/Qwen2.5-VL-7B-Instruct": {
        "hidden": 3584,
        "inner": 18_944,
        "layers": 28,
        "heads": 28,
        "kv": 4,
        "rows": 152_064,
    },
}
"""Text trunks of the recipes' policies; the smaller of each kind ties its embeddings."""

LLAMA: Mapping[str, Any] = {
    "meta-llama/Llama-3.1-8B": {"hidden": 4096, "inner": 14_336, "layers": 32, "heads": 32, "kv": 8, "rows": 128_256}
}

TIED = ("Qwen/Qwen2.5-Math-1.5B", "Qwen/Qwen2.5-VL-3B-Instruct")

VISION: Mapping[str, Any] = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "fullatt_block_indexes": [7, 15, 23, 31],
    "patch_size": 14,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "window_size": 112,
}


def configuration(name: str) -> Any:
    """The configuration of a policy by its hub name. Raises KeyError for one that is not in TEXTS or LLAMA."""
    from transformers import LlamaConfig, Qwen2_5_VLConfig, Qwen2Config

    from harness.models import tiny

    size, tied = {**TEXTS, **LLAMA}[name], name in TIED
    ends: dict[str, Any] = {"bos_token_id": None, "eos_token_id": TOKENS + 2, "pad_token_id": TOKENS}
    text: dict[str, Any] = {
        "vocab_size": size["rows"],
        "hidden_size": size["hidden"],
        "intermediate_size": size["inner"],
        "num_hidden_layers": size["layers"],
        "num_attention_heads": size["heads"],
        "num_key_value_heads": size["kv"],
        "max_position_embeddings": 16_384,
        "tie_word_embeddings": tied,
        **ends,
    }
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 1_000_000.0}
    if name in LLAMA:
        text |= {
            "max_position_embeddings": 131_072,
            "bos_token_id": 128_000,
            "eos_token_id": 128_001,
            "pad_token_id": None,
        }
        return LlamaConfig(**text, rope_parameters={**rope, "rope_theta": 500_000.0})
    if "-VL-" not in name:
        return Qwen2Config(**text, rope_parameters=rope)
    place = {token: TOKENS + number for number, token in enumerate(tiny.CONTROL_TOKENS)}
    return Qwen2_5_VLConfig(
        text_config={**text, "rope_parameters": {**rope, "mrope_section": [16, 24, 24]}},
        vision_config={**VISION, "out_hidden_size": size["hidden"]},
        tie_word_embeddings=tied,
        image_token_id=place["<|image_pad|>"],
        video_token_id=place["<|video_pad|>"],
        vision_start_token_id=place["<|vision_start|>"],
        vision_end_token_id=place["<|vision_end|>"],
        **ends,
    )
