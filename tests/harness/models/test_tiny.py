"""The built-in policies are ordinary hub folders, the same on every build."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.core.errors import UnknownNameError
from harness.models import tiny


def test_two_builds_are_equal_and_leave_the_global_stream_alone(tmp_path: Path) -> None:
    for name in tiny.NAMES:
        hashes = []
        for attempt in range(2):
            before = torch.get_rng_state()
            folder = tiny.build(name, tmp_path / f"{name}-{attempt}")
            assert torch.equal(before, torch.get_rng_state())
            hashes.append(hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())
            torch.rand(1)  # the global stream moves between the builds
        assert hashes[0] == hashes[1]
    assert not list(tmp_path.glob(".*")), "scratch folders are left"


def test_a_folder_that_is_there_is_kept(tmp_path: Path) -> None:
    folder = tiny.build("tiny-lm", tmp_path / "p")
    (folder / "generation_config.json").write_text('{"eos_token_id": 1}')
    assert tiny.build("tiny-lm", tmp_path / "p") == folder
    assert (folder / "generation_config.json").read_text() == '{"eos_token_id": 1}'


def test_unknown_name_has_near_matches(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tiny-vl'"):
        tiny.build("tiny-vlm", tmp_path / "p")


@pytest.mark.parametrize("name", tiny.NAMES)
def test_loads_through_the_auto_classes(name: str, tiny_folders: dict[str, Path]) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

    folder = tiny_folders[name]
    kind: Any = AutoModelForImageTextToText if name == "tiny-vl" else AutoModelForCausalLM
    model, info = kind.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert 0.5e6 < sum(p.numel() for p in model.parameters()) < 1e6
    tokens = AutoTokenizer.from_pretrained(folder)
    assert len(tokens) <= AutoConfig.from_pretrained(folder).get_text_config().vocab_size
    assert model.generation_config.eos_token_id == [
        tokens.convert_tokens_to_ids(t) for t in ("<|im_end|>", "<|endoftext|>")
    ]
    if name == "tiny-vl":
        processor = AutoProcessor.from_pretrained(folder)
        assert processor.image_token_id == model.config.image_token_id == tokens.convert_tokens_to_ids("<|image_pad|>")


@pytest.mark.parametrize("name", tiny.NAMES)
def test_config_states_what_other_engines_read(name: str, tiny_folders: dict[str, Path]) -> None:
    config = json.loads((tiny_folders[name] / "config.json").read_text())
    text = config.get("text_config", config)
    assert config["architectures"] == [
        {"tiny-lm": "Qwen2ForCausalLM", "tiny-vl": "Qwen2_5_VLForConditionalGeneration"}[name]
    ]
    assert config["dtype"] == "float32" and config["tie_word_embeddings"] is True
    assert (
        text["rope_parameters"]["rope_type"] == "default" and text["rope_parameters"]["rope_theta"] == tiny.ROPE_THETA
    )
    if name == "tiny-vl":
        head = text["hidden_size"] // text["num_attention_heads"]
        assert sum(text["rope_parameters"]["mrope_section"]) == head // 2
        assert config["vision_config"]["out_hidden_size"] == text["hidden_size"]


def test_tokenizer_is_one_token_per_byte(tiny_folders: dict[str, Path]) -> None:
    from transformers import AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(tiny_folders["tiny-lm"])
    text = "3 + 4 = 7\n\\boxed{é} 日本\t\r\n"
    ids = tokens(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(text.encode()) and tokens.decode(ids, clean_up_tokenization_spaces=False) == text
    assert tokens("<|im_end|>", add_special_tokens=False)["input_ids"] == [258]
