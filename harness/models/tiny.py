"""The built-in policies `tiny-lm` and `tiny-vl`: under a million parameters, each an ordinary hub folder.

`shipped` names the folder of the cold-started policy in this package (made by `make tiny-policies`); `build` writes one
with random weights, which are a function of the name: what a cold start begins with. Either is a folder that any loader
of hub models reads: config, generation config, byte-level tokenizer with Qwen's control tokens, chat template, image
processor, safetensors.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from harness.core.errors import ModelError, UnknownNameError, near

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NAMES = ("tiny-lm", "tiny-vl")
"""Names that `build` knows."""

SHIPPED = Path(__file__).parent / "shipped"
"""A folder per policy, and the record."""

RECORD = "made.yaml"
"""Says how each shipped policy was made and what it scored."""

VERSION = 1
"""Version of what `build` writes; a change of architecture, tokenizer or template raises it."""

CONTROL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>"),
    *("<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"),
    *("<|image_pad|>", "<|video_pad|>"),
)
"""Qwen's control tokens in Qwen's order, behind the 256 bytes."""

VOCABULARY = 288
"""Rows of the embedding: a multiple of 32, as engines like; the rows behind the tokenizer are never sampled."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML as Qwen2.5-VL writes it, its default system turn included."""

TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32_768,
    "rms_norm_eps": 1e-6,
}

VISION: dict[str, Any] = {
    "depth": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_heads": 4,
    "out_hidden_size": TEXT["hidden_size"],
    "fullatt_block_indexes": [1],
    "patch_size": 14,
    "temporal_patch_size": 2,
    "spatial_merge_size": 2,
    "window_size": 112,
}

ROPE_THETA = 10_000.0
MROPE_SECTION = [4, 6, 6]
"""Rotary pairs for time, height and width: together half of the head dimension of 32."""


def shipped(name: str) -> Path:
    """The folder of the cold-started policy `name` in this package. Raises UnknownNameError, and ModelError where the
    installation lacks it."""
    if name not in NAMES:
        raise UnknownNameError(f"unknown built-in policy '{name}'", near(name, NAMES))
    folder = SHIPPED / name
    if not (folder / "model.safetensors").is_file():
        raise ModelError(f"the installation lacks the built-in policy {name} ({folder})", "install rlfr-eval again")
    return folder


def made(name: str) -> dict[str, Any]:
    """How the shipped policy `name` was made: `cold_start` (the key of its settings and data) and what was measured."""
    try:
        return dict(yaml.safe_load((SHIPPED / RECORD).read_text("utf-8"))[name])
    except (OSError, KeyError) as error:
        raise ModelError(
            f"the installation lacks the record of {name} in {SHIPPED}", "install rlfr-eval again"
        ) from error


def build(name: str, folder: str | Path) -> Path:
    """Write the policy `name` to `folder` and return it; a folder that is already there is left as it is.

    The folder appears whole or not at all: it is written beside its place and renamed. Raises UnknownNameError.
    """
    if name not in NAMES:
        raise UnknownNameError(f"unknown built-in policy '{name}'", near(name, NAMES))
    target = Path(folder)
    if (target / "config.json").is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _save(name, scratch)
        scratch.chmod(0o755)
        scratch.rename(target)
    except OSError:
        if not (target / "config.json").is_file():  # another process may have been first, with the same content
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _save(name: str, folder: Path) -> None:
    from transformers import GenerationConfig

    from harness.models.quiet import quiet

    tokens = tokenizer()
    model = _vision_language(tokens) if name == "tiny-vl" else _language(tokens)
    _initialise(model, seed=NAMES.index(name))
    stops = [_id(tokens, "<|im_end|>"), _id(tokens, "<|endoftext|>")]
    model.generation_config = GenerationConfig(eos_token_id=stops, pad_token_id=stops[1])
    with quiet():
        model.save_pretrained(folder)
        if name == "tiny-vl":
            _processor(tokens).save_pretrained(folder)
        tokens.save_pretrained(folder)


def tokenizer() -> PreTrainedTokenizerBase:
    """One token per byte (no merges) plus Qwen's control tokens; ends at <|im_end|>, pads with <|endoftext|>."""
    from tokenizers import AddedToken
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    vocabulary = {character: number for number, character in enumerate(sorted(ByteLevel.alphabet()))}
    tokens = Qwen2Tokenizer(
        vocab={**vocabulary, **{t: 256 + n for n, t in enumerate(CONTROL_TOKENS)}},
        merges=[],
        unk_token=None,  # type: ignore[arg-type]  # every byte is known
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=TEXT["max_position_embeddings"],
    )
    tokens.add_special_tokens(
        {"additional_special_tokens": [AddedToken(t, special=True, normalized=False) for t in CONTROL_TOKENS]}
    )
    tokens.chat_template = CHAT_TEMPLATE
    return tokens


def _id(tokens: PreTrainedTokenizerBase, token: str) -> int:
    return int(tokens.convert_tokens_to_ids(token))  # type: ignore[arg-type]


def _stops(tokens: PreTrainedTokenizerBase) -> dict[str, Any]:
    return {
        "bos_token_id": None,
        "eos_token_id": _id(tokens, "<|im_end|>"),
        "pad_token_id": _id(tokens, "<|endoftext|>"),
    }


def _language(tokens: PreTrainedTokenizerBase) -> PreTrainedModel:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    rope = {"rope_type": "default", "rope_theta": ROPE_THETA}
    config = Qwen2Config(**TEXT, **_stops(tokens), rope_parameters=rope, tie_word_embeddings=True)
    return _construct(Qwen2ForCausalLM, config)


def _vision_language(tokens: PreTrainedTokenizerBase) -> PreTrainedModel:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    rope = {"rope_type": "default", "rope_theta": ROPE_THETA, "mrope_section": MROPE_SECTION}
    stops = _stops(tokens)
    config = Qwen2_5_VLConfig(
        text_config={**TEXT, **stops, "rope_parameters": rope, "tie_word_embeddings": True},
        vision_config=dict(VISION),
        tie_word_embeddings=True,
        image_token_id=_id(tokens, "<|image_pad|>"),
        video_token_id=_id(tokens, "<|video_pad|>"),
        vision_start_token_id=_id(tokens, "<|vision_start|>"),
        vision_end_token_id=_id(tokens, "<|vision_end|>"),
        **stops,
    )
    return _construct(Qwen2_5_VLForConditionalGeneration, config)


def _construct(kind: Any, config: Any) -> PreTrainedModel:
    """An instance whose construction leaves the global random stream where it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        return kind(config)


def _initialise(model: PreTrainedModel, seed: int) -> None:
    """Weights from `seed` and the parameter's place alone: ones for norms, zeros for biases, N(0, 0.02) otherwise."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.02)


def _processor(tokens: PreTrainedTokenizerBase) -> Any:
    from transformers import Qwen2_5_VLProcessor, Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(),
        tokenizer=tokens,
        video_processor=Qwen2VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )
