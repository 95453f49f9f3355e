"""Configuration: every shipped recipe parses, unknown keys are errors with near matches, later sources win."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core import config
from harness.core.errors import ConfigError, UnknownNameError
from rewards.method import method


@pytest.mark.parametrize("name", config.recipes())
def test_every_recipe_parses_and_sets_only_options_that_methods_have(name: str) -> None:
    recipe = config.load(name)
    assert recipe.name == name
    for key, options in recipe.methods.items():
        method.get(key)(**options)


def test_the_papers_settings_are_in_the_paper_recipes() -> None:
    for name in ("qwen2.5-math-7b", "qwen2.5-math-1.5b", "llama3.1-8b", "qwen2.5-vl-3b", "qwen2.5-vl-7b"):
        recipe = config.load(name)
        train, optimiser = recipe.train, recipe.optimiser
        assert (train.prompts_per_step, train.group_size, train.temperature, train.kl) == (128, 8, 1.0, 0.0)
        assert (train.mini_batches, recipe.rendering.max_prompt_tokens) == (8, 3000)
        assert (optimiser.lr, optimiser.betas, optimiser.warmup, optimiser.final_lr) == (1e-6, (0.9, 0.95), 0.03, 0.1)
        assert (recipe.evaluation.temperature, recipe.evaluation.max_new_tokens) == (0.0, 8192)
        assert train.max_new_tokens == (3072 if name == "qwen2.5-vl-7b" else 1024)


def test_unknown_key_names_the_key_and_near_matches() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'train\.group_sise'.*did you mean 'group_size'"):
        config.load("tiny-lm", sets=["train.group_sise=4"])
    with pytest.raises(UnknownNameError, match=r"did you mean .*'tiny-lm'"):
        config.load("tiny-ml")


def test_wrong_value_names_key_and_value() -> None:
    with pytest.raises(ConfigError, match=r"train\.group_size.*got 'many'"):
        config.load("tiny-lm", sets=["train.group_size=many"])
    with pytest.raises(ConfigError, match="no '='"):
        config.load("tiny-lm", sets=["train.group_size"])


def test_set_wins_over_file_over_overrides_over_recipe(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text("train: {steps: 7, group_size: 3}\noptimiser: {lr: 0.5}\n")
    recipe = config.load("tiny-lm", file, ["train.steps=9"], {"train.steps": 8, "evaluation.n": 2})
    assert (recipe.train.steps, recipe.train.group_size, recipe.optimiser.lr, recipe.evaluation.n) == (9, 3, 0.5, 2)
    assert recipe.train.prompts_per_step == config.load("tiny-lm").train.prompts_per_step


def test_contradictions_say_why() -> None:
    with pytest.raises(ConfigError, match="a mini-batch holds whole groups"):
        config.load("tiny-lm", sets=["train.mini_batches=99"])
    with pytest.raises(ConfigError, match="validation reads the split that is trained on"):
        config.load("tiny-lm", sets=["validation.split=train"])


def test_resolved_configuration_reads_back_the_same() -> None:
    recipe = config.load("qwen2.5-vl-7b")
    again = config.build(config.yaml.safe_load(config.to_yaml(recipe.model_dump(mode="json"))), "again")
    assert again == recipe


def test_digest_depends_on_content_not_on_order() -> None:
    assert config.digest({"a": 1, "b": 2}) == config.digest({"b": 2, "a": 1}) != config.digest({"a": 1, "b": 3})


def test_a_recipe_has_few_knobs() -> None:
    def leaves(values: dict) -> int:
        return sum(leaves(v) if isinstance(v, dict) and v else 1 for v in values.values())

    plain = config.load("qwen2.5-math-7b").model_dump()
    plain.pop("methods")
    assert leaves(plain) <= 66
