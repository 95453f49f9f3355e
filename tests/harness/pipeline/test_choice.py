"""Which recipe a model takes: by family and size, by the run that trained it, else the neutral one; never one in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core import config
from harness.core.errors import ConfigError, ModelError, RunError
from harness.core.runs import CONFIG, IDENTITY
from harness.models import kind, tiny
from harness.pipeline import choice, plan
from harness.pipeline.options import RunOptions
from tasks.base import task

SMOL = {
    "model_type": "llama",
    "hidden_size": 576,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
}
SIZES = ("model_type", "hidden_size", "num_hidden_layers", "max_position_embeddings")


def described(folder: Path, **values: Any) -> Path:
    """A folder that says what model it holds, and holds none."""
    folder.mkdir(parents=True)
    if values.get("model_type") == "qwen2_5_vl":
        values = {"model_type": "qwen2_5_vl", "text_config": {k: v for k, v in values.items() if k != "model_type"}}
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def planned(name: str = "arithmetic", methods: tuple[str, ...] = ("grpo",), **options: Any) -> plan.Plan:
    (found,) = plan.plans(RunOptions(tasks=(name,), methods=methods, **options))
    return found


@pytest.mark.parametrize("recipe", sorted(choice.FITS))
def test_a_copy_of_a_recipes_model_takes_that_recipe(recipe: str, tmp_path: Path) -> None:
    folder = described(tmp_path / "copy", **dict(zip(SIZES, choice.FITS[recipe], strict=True)))
    found = planned(model=str(folder))
    assert (found.recipe.name, found.recipe.model.path, found.recipe.cold_start) == (recipe, str(folder), None)
    assert "layers of width" in found.in_words and f"recipe {recipe} (made for models like this one" in found.in_words


def test_the_built_in_policies_have_the_sizes_that_their_recipes_are_made_for(tmp_path: Path) -> None:
    for name in tiny.NAMES:
        assert planned(model=str(tiny.build(name, tmp_path / name))).recipe.name == name


@pytest.mark.parametrize("change", [{"max_position_embeddings": 131_072}, {"num_hidden_layers": 24}])
def test_a_relative_of_a_recipes_model_does_not_take_its_recipe(change: dict[str, int], tmp_path: Path) -> None:
    values = dict(zip(SIZES, choice.FITS["qwen2.5-math-7b"], strict=True)) | change
    assert planned(model=str(described(tmp_path / "relative", **values))).recipe.name == "neutral"


def test_an_unknown_model_takes_nothing_of_a_paper(tmp_path: Path) -> None:
    found = planned(model=str(described(tmp_path / "smol", **SMOL)), methods=("grpo", "rlfr"))
    recipe = found.recipe
    assert (recipe.name, recipe.model.dtype, recipe.modality) == ("neutral", "bfloat16", "language")
    assert (recipe.rendering.system, recipe.rendering.default_system) == (None, True)
    assert (recipe.rendering.max_prompt_tokens, recipe.evaluation.max_new_tokens) == (2048, 2048)
    assert recipe.methods == {} and recipe.optimiser == config.Optimiser()
    for data, split in ((recipe.train, "train"), (recipe.expert, "expert"), (recipe.validation, "validation")):
        assert data is not None and (data.task, data.split) == ("arithmetic", split)
    assert found.in_words == (
        "recipe neutral (no recipe is made for llama with 30 layers of width 576); bfloat16; the policy's chat template "
        "with its own system turn; answers up to 2048 tokens; training on arithmetic-train"
    )


def test_lengths_stay_within_a_short_context(tmp_path: Path) -> None:
    recipe = planned(model=str(described(tmp_path / "short", **SMOL | {"max_position_embeddings": 1024}))).recipe
    assert (recipe.rendering.max_prompt_tokens, recipe.evaluation.max_new_tokens, recipe.train.max_new_tokens) == (
        512,
        512,
        512,
    )


@pytest.mark.parametrize(
    ("says", "dtype"),
    [
        ({"torch_dtype": "float32"}, "float32"),
        ({"dtype": "bfloat16", "torch_dtype": None}, "bfloat16"),
        ({"torch_dtype": "float16"}, "float32"),
        ({"torch_dtype": None}, "float32"),
    ],
)
def test_the_precision_is_the_weights_own(says: dict[str, Any], dtype: str, tmp_path: Path) -> None:
    values = {k: v for k, v in (SMOL | says).items() if v is not None}
    assert planned(model=str(described(tmp_path / "m", **values))).recipe.model.dtype == dtype


@pytest.mark.parametrize(
    ("name", "train"),
    [
        ("gsm8k-test", ("gsm8k", "train")),
        ("gsm8k-train", ("math-lvl3to5-8k", "train")),
        ("geometry3k-test", ("geometry3k", "train")),
        ("math500-test", ("math-lvl3to5-8k", "train")),
        ("mathvista-testmini", ("rlfr-dataset-vlm", "train")),
    ],
)
def test_training_data_are_the_tasks_own_and_never_what_is_evaluated(name: str, train: tuple[str, str]) -> None:
    key, _, split = name.rpartition("-")
    found = choice.data(task.get(key)(split))
    assert (found["train"]["task"], found["train"]["split"]) == train
    assert all((v["task"], v["split"]) != (key, split) for v in found.values())


def test_tasks_with_data_of_their_own_are_tables_of_their_own(tmp_path: Path) -> None:
    folder = described(tmp_path / "smol", **SMOL)
    found = plan.plans(RunOptions(tasks=("arithmetic", "gsm8k", "math500"), methods=("base",), model=str(folder)))
    assert [p.recipe.train.task for p in found] == ["arithmetic", "gsm8k", "math-lvl3to5-8k"]
    assert all(p.in_words.endswith("; no training") for p in found)


def test_a_text_model_is_not_given_a_task_with_images(tmp_path: Path) -> None:
    folder = described(tmp_path / "smol", **SMOL)
    with pytest.raises(ConfigError, match="recipe 'neutral' trains a language policy, the task needs images"):
        planned("charts", model=str(folder))


def run_of(folder: Path, **prompt: Any) -> Path:
    """A run folder that holds a description of a policy, without weights."""
    described(folder / "policy", **SMOL)
    settings = config.load("tiny-lm", sets=["evaluation.max_new_tokens=33", "model.dtype=bfloat16"]).model_dump(
        mode="json"
    )
    about = {"method": "rlpr", "seed": 1, "key": "0", "method_options": {}, "prompt": prompt}
    (folder / CONFIG).write_text(config.to_yaml(settings | about))
    (folder / IDENTITY).write_text("{}")
    return folder / "policy"


@pytest.mark.parametrize("flag", ["policy", "model"])
def test_a_policy_of_ours_keeps_its_runs_recipe_and_its_methods_prompt(flag: str, tmp_path: Path) -> None:
    policy = run_of(tmp_path / "run", system="Think.", prefix="", suffix="!")
    found = planned(**({"policy": policy, "methods": ()} if flag == "policy" else {"model": str(policy)}))
    rendering = found.recipe.rendering
    assert (rendering.system, rendering.suffix, rendering.max_prompt_tokens) == ("Think.", "!", 256)
    assert (found.recipe.name, found.recipe.evaluation.max_new_tokens, found.recipe.model.dtype) == (
        "tiny-lm",
        33,
        "bfloat16",
    )
    assert planned(policy=policy, methods=(), max_new_tokens=44).recipe.evaluation.max_new_tokens == 44, "a flag rules"


def test_a_config_beside_a_policy_counts_only_where_it_is_a_runs(tmp_path: Path) -> None:
    policy = run_of(tmp_path / "run")
    (tmp_path / "run" / IDENTITY).unlink()
    assert planned(policy=policy, methods=()).recipe.name == "neutral"
    broken = run_of(tmp_path / "other")
    (tmp_path / "other" / CONFIG).write_text("just: text\n")
    with pytest.raises(RunError, match="holds no configuration of a run"):
        planned(policy=broken, methods=())


def test_the_same_sample_is_not_drawn_twice() -> None:
    """Finding 8: the configuration is checked, not the flags."""
    with pytest.raises(ConfigError, match=r"evaluation\.n=3 at temperature 0 draws the same sample 3 times"):
        planned(sets=("evaluation.n=3",))
    assert planned(sets=("evaluation.n=3", "evaluation.temperature=0.5")).recipe.evaluation.n == 3


def test_a_configuration_without_sizes_is_named(tmp_path: Path) -> None:
    folder = described(tmp_path / "m", model_type="gpt9", hidden_size=4)
    with pytest.raises(ModelError, match="architecture 'gpt9' is not supported"):
        kind.read(folder)
