"""Loading is strict, identity is content, and what cannot fit is refused before anything is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.core.errors import ModelError, ResourceError
from harness.models import kind, loading, memory, tiny
from harness.models.weights import named_weights


@pytest.fixture
def copy(tiny_folders: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folders["tiny-lm"], tmp_path / "copy"))


def rewrite(folder: Path, change) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


def test_loads_what_was_saved(tiny_folders: dict[str, Path], tiny_lm: loading.Loaded, tiny_vl: loading.Loaded) -> None:
    stored = load_file(tiny_folders["tiny-lm"] / "model.safetensors")
    weights = named_weights(tiny_lm.model)
    assert set(weights) == set(stored) and all(torch.equal(weights[k], stored[k]) for k in stored)
    assert not tiny_lm.multimodal and tiny_lm.processor is None and not tiny_lm.model.training
    assert tiny_vl.multimodal and tiny_vl.processor is not None and tiny_vl.processor.tokenizer is tiny_vl.tokenizer
    assert tiny_lm.generation_config.eos_token_id == [258, 256]


def test_built_in_name_needs_no_folder() -> None:
    loaded = loading.load("tiny-lm")
    assert loaded.path == tiny.shipped("tiny-lm").resolve()


NORM = "model.layers.1.input_layernorm.weight"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop(NORM), f"tensor {NORM} is missing"),
        (lambda t: t.update({NORM: torch.ones(7)}), f"tensor {NORM} has shape \\[7\\], not \\[128\\]"),
        (
            lambda t: t.update({"model.layers.9.mlp.up_proj.weight": torch.ones(2)}),
            "layers.9.mlp.up_proj.weight is unexpected",
        ),
    ],
)
def test_weights_that_do_not_match_stop_the_work(copy: Path, change, says: str) -> None:
    rewrite(copy, change)
    with pytest.raises(ModelError, match=says):
        loading.load(copy)


def test_an_untied_head_may_not_be_missing(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    with pytest.raises(ModelError, match=r"tensor lm_head.weight is missing"):
        loading.load(copy)


def test_broken_files_are_one_line_errors(copy: Path, tmp_path: Path) -> None:
    weights = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    cases = {copy: "weights cannot be read", tmp_path: "holds no policy", tmp_path / "nosuch": "no such policy folder"}
    for folder, says in cases.items():
        with pytest.raises(ModelError, match=says) as caught:
            loading.load(folder)
        assert "\n" not in str(caught.value)
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="weights cannot be read"):
        loading.load(copy)
    (copy / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(ModelError, match=r"'mamba' is not supported.*qwen2_5_vl"):
        loading.load(copy)


def test_unreachable_hub_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", _unreachable)
    with pytest.raises(ModelError, match="hub cannot be reached: give a local copy with --model PATH"):
        loading.load("someone/some-policy")


def _unreachable(*args: object, **kwargs: object) -> str:
    from huggingface_hub.errors import LocalEntryNotFoundError

    raise LocalEntryNotFoundError("no network")


def test_digest_follows_content_not_path(copy: Path, tiny_lm: loading.Loaded) -> None:
    assert loading.digest(copy) == tiny_lm.digest
    (copy / "README.md").write_text("notes are not the policy")
    assert loading.digest(copy) == tiny_lm.digest
    rewrite(copy, lambda t: t[NORM].add_(1e-3))
    changed = loading.digest(copy)
    assert changed != tiny_lm.digest
    assert loading.digest(copy) == changed  # from the cache
    assert loading.digest(copy, "repo/name@abc") == "repo/name@abc"


def test_digest_of_a_hub_policy_needs_no_weights(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    folder = copy.rename(copy.parent / "0123abc")

    def snapshot(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision, "*.safetensors" in allow_patterns))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert loading.digest("someone/policy", revision="main") == "someone/policy@0123abc"
    assert loading.load("someone/policy").digest == "someone/policy@0123abc"
    assert asked == [("someone/policy", "main", False), ("someone/policy", None, True)]


@pytest.fixture
def adapter(copy: Path, tmp_path: Path) -> Path:
    """A rank-2 adapter with non-zero effect on a copy of tiny-lm."""
    import peft

    wrapped = peft.get_peft_model(
        loading.load(copy).model, peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "down_proj"])
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if "lora_" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    wrapped.save_pretrained(str(tmp_path / "adapter"))
    settings = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    (tmp_path / "adapter/adapter_config.json").write_text(
        json.dumps({**settings, "base_model_name_or_path": str(copy)})
    )
    return tmp_path / "adapter"


def test_adapter_is_merged_exactly(adapter: Path, copy: Path) -> None:
    base, merged = loading.load(copy), loading.load(adapter)
    low = load_file(adapter / "adapter_model.safetensors")
    before, after = named_weights(base.model), named_weights(merged.model)
    assert set(before) == set(after)
    for name, weight in before.items():
        key = "base_model.model." + name.removesuffix(".weight") + ".lora_{}.weight"
        delta = 2.0 * low[key.format("B")] @ low[key.format("A")] if key.format("A") in low else torch.zeros(())
        torch.testing.assert_close(after[name], weight + delta, rtol=1e-6, atol=1e-7)
    assert merged.digest != base.digest and merged.path == adapter


def test_adapter_identity_covers_the_base_and_not_its_place(adapter: Path, copy: Path, tmp_path: Path) -> None:
    first = loading.digest(adapter)
    moved = copy.rename(tmp_path / "elsewhere")
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": str(moved)}))
    assert loading.digest(adapter) == first
    rewrite(moved, lambda t: t[NORM].add_(1e-3))
    assert loading.digest(adapter) != first


def test_an_adapter_of_an_adapter_is_refused(adapter: Path, tmp_path: Path) -> None:
    second = Path(shutil.copytree(adapter, tmp_path / "second"))
    settings = json.loads((second / "adapter_config.json").read_text())
    (second / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": str(adapter)}))
    for read in (loading.load, loading.reading, kind.read):
        with pytest.raises(ModelError, match="an adapter itself"):
            read(second)


def test_adapter_that_does_not_fit_is_refused(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    low = load_file(file)
    gone = sorted(low)[0]
    save_file({k: v for k, v in low.items() if k != gone}, file)
    with pytest.raises(ModelError, match=r"does not match its base: tensor .* is missing"):
        loading.load(adapter)


def test_saved_policy_is_the_same_policy(tiny_vl: loading.Loaded, tmp_path: Path) -> None:
    again = loading.load(loading.save(tiny_vl, tmp_path / "policy"))
    first, second = named_weights(tiny_vl.model), named_weights(again.model)
    assert list(first) == list(second) and all(torch.equal(first[k], second[k]) for k in first)
    assert again.tokenizer.chat_template == tiny_vl.tokenizer.chat_template and again.multimodal


@pytest.mark.parametrize("name", sorted(memory.KNOWN_PARAMETERS))
def test_what_cannot_fit_is_refused_without_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", _unreachable)
    monkeypatch.setattr(memory, "memory_capacity", lambda device: 2 * memory.GIB)
    with pytest.raises(ResourceError, match=r"GiB.*use a smaller policy") as caught:
        memory.preflight(name, train=True, dtype="bfloat16")
    assert "\n" not in str(caught.value)


def test_size_comes_from_the_name_when_nothing_else_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", _unreachable)
    estimate = memory.preflight("someone/Some2-VL-0.5B-Chat")
    assert estimate is not None and estimate.parameters == 500_000_000 and estimate.total == 2_000_000_000
    assert memory.preflight("someone/nameless") is None


def test_estimate_counts_the_configuration(tiny_folders: dict[str, Path], tiny_vl: loading.Loaded) -> None:
    count = sum(p.numel() for p in tiny_vl.model.parameters())
    full, low = (memory.preflight(tiny_folders["tiny-vl"], train=True, lora=lora) for lora in (None, {"rank": 4}))
    assert full is not None and low is not None
    assert (
        full.parameters == count and full.total == 4 * count * 5
    )  # weights, gradients, two moments, the engine's copy
    assert low.total == 4 * count * 2


def test_remedies_would_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.snapshot_download", _unreachable)
    for capacity, expected in (
        (40, "--set model.dtype=bfloat16 --set model.lora.rank=16"),
        (80, "--set model.dtype=bfloat16,"),
        (20, None),
    ):
        monkeypatch.setattr(memory, "memory_capacity", lambda device, c=capacity: c * memory.GIB)
        with pytest.raises(ResourceError) as caught:
            memory.preflight("Qwen/Qwen2.5-Math-7B", train=True)
        assert (expected in str(caught.value)) if expected else ("--set" not in str(caught.value))


@pytest.mark.parametrize("name", ["tiny-lm", "tiny-vl"])
def test_a_policy_reads_alike_with_and_without_its_weights(name: str, tiny_folders: dict[str, Path]) -> None:
    from harness.core.records import PixelBudget, PromptStyle
    from harness.models.renderer import Renderer
    from tests.harness.models.test_renderer import example, picture

    folder, style, budget = tiny_folders[name], PromptStyle(system="Think."), PixelBudget(3136, 50_176)
    loaded, unloaded = Renderer.of(loading.load(folder), style, budget), Renderer.read(folder, None, style, budget)
    assert loaded.hash == unloaded.hash
    for part in ("end_ids", "pad_id", "forbidden_ids"):
        assert getattr(loaded, part) == getattr(unloaded, part)
    item = example(images=(picture(),) if name == "tiny-vl" else ())
    assert loaded.render(item).ids == unloaded.render(item).ids
    (folder / "model.safetensors").rename(folder / "hidden")
    try:
        assert Renderer.read(folder, None, style, budget).render(item).ids == loaded.render(item).ids
    finally:
        (folder / "hidden").rename(folder / "model.safetensors")


def test_end_tokens_come_from_config_json_where_nothing_else_names_them(copy: Path) -> None:
    (copy / "generation_config.json").unlink()
    assert loading.reading(copy).generation_config.eos_token_id == loading.load(copy).generation_config.eos_token_id


def test_a_quantised_checkpoint_is_called_so(copy: Path) -> None:
    values = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(values | {"quantization_config": {"quant_method": "gptq", "bits": 4}}))
    with pytest.raises(ModelError, match=r"is quantised \(gptq\), which is not read here: use the checkpoint"):
        loading.load(copy)
    assert loading.reading(copy).rows == values["vocab_size"]
