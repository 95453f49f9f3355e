"""Start policies: shipped for the built-in recipes, trained once for every other cold start, known by content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from harness.core import config
from harness.core.errors import ConfigError, ModelError, UnknownNameError
from harness.core.progress import ProgressBars
from harness.models import loading, tiny
from harness.models.weights import named_weights
from harness.pipeline import policies, ship

QUIET = ProgressBars(quiet=True)
SHORT = ("cold_start.steps=2", "cold_start.batch=4")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLFR_EVAL_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("name", tiny.NAMES)
def test_the_shipped_policy_is_that_of_the_present_recipe(name: str, tmp_path: Path) -> None:
    """A changed recipe, task or architecture needs `make tiny-policies`: this is where it shows."""
    recipe = config.load(name)
    assert policies.cold_start_key(recipe) == tiny.made(name)["cold_start"], f"run {ship.MAKE}"
    found = policies.start(recipe, QUIET)
    assert found.path == str(tiny.shipped(name)) and found.digest == loading.digest(tiny.shipped(name))
    assert policies.start(config.load(name, sets=["cold_start=null"]), QUIET) == found
    assert policies.start(config.load(name, sets=["rendering.max_prompt_tokens=99"]), QUIET) == found
    assert not (tmp_path / "cache" / "policies").exists(), "something was trained"


@pytest.mark.parametrize("name", tiny.NAMES)
def test_reading_the_shipped_weights_changes_no_number(name: str) -> None:
    stored = load_file(tiny.shipped(name) / "model.safetensors")
    assert {t.dtype for t in stored.values()} == {torch.float16}
    raw = loading.load(tiny.shipped(name)).model
    loaded = named_weights(raw)
    assert len(loaded) == len(stored) and {t.dtype for t in loaded.values()} == {torch.float32}
    wanted = sorted(float(t.double().sum()) for t in stored.values())
    assert sorted(float(t.double().sum()) for t in loaded.values()) == wanted
    assert all(torch.equal(t, t.half().float()) for t in loaded.values())


def test_the_package_stays_small() -> None:
    assert sum(f.stat().st_size for f in tiny.SHIPPED.rglob("*") if f.is_file()) < 4e6


def test_another_cold_start_is_trained_once_and_known_by_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    carry_out = policies.cold_start

    def counted(recipe: config.Recipe, folder: Path, *rest: Any) -> None:
        trained.append(folder.name)
        carry_out(recipe, folder, *rest)

    monkeypatch.setattr(policies, "cold_start", counted)
    first = policies.start(config.load("tiny-lm", sets=SHORT), QUIET)
    assert policies.start(config.load("tiny-lm", sets=SHORT), QUIET) == first and len(trained) == 1
    other = policies.start(config.load("tiny-lm", sets=[*SHORT, "rendering.suffix= Think."]), QUIET)
    assert len(trained) == 2 and other.digest != first.digest
    assert first.digest != loading.digest(tiny.shipped("tiny-lm"))
    assert loading.load(first.path).model.config.model_type == "qwen2"


def test_a_policy_of_ones_own_is_made_rounded_measured_and_recorded(tmp_path: Path) -> None:
    sets = [*SHORT, "evaluation.max_new_tokens=4"]
    record = ship.ship("tiny-lm", tmp_path / "made", sets)
    assert record["cold_start"] == policies.cold_start_key(config.load("tiny-lm", sets=sets))
    assert record["measured"]["n"] == 200 and record["measured"]["accuracy"] == 0.0
    assert {t.dtype for t in load_file(tmp_path / "made" / "tiny-lm" / "model.safetensors").values()} == {torch.float16}
    assert "tiny-lm" in (tmp_path / "made" / "made.yaml").read_text()
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == ["made.yaml", "tiny-lm"], "scratch is left"


def test_a_missing_or_unknown_policy_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'tiny-vl'"):
        tiny.shipped("tiny-vlm")
    monkeypatch.setattr(tiny, "SHIPPED", tmp_path)
    with pytest.raises(ModelError, match=r"lacks the built-in policy tiny-lm .*install rlfr-eval again"):
        tiny.shipped("tiny-lm")
    with pytest.raises(ModelError, match="lacks the record of tiny-lm"):
        tiny.made("tiny-lm")


@pytest.mark.parametrize("lessons", ["[]", "[{until: 0.5}]", "[{until: 0.5}, {until: 0.5}, {until: 1}]"])
def test_lessons_that_do_not_fill_the_cold_start_are_refused(lessons: str) -> None:
    with pytest.raises(ConfigError, match="must rise and end at 1"):
        config.load("tiny-lm", sets=[f"cold_start.lessons={lessons}"])


@pytest.mark.policies
@pytest.mark.parametrize("name", tiny.NAMES)
def test_the_documented_command_gives_the_shipped_policy(name: str, tmp_path: Path) -> None:
    """Bit for bit where processor and torch are those of the record; elsewhere sums round otherwise, and scores agree."""
    ship.main([name, "--to", str(tmp_path)])
    found, known = ship.recorded(tmp_path)[name], tiny.made(name)
    assert found["cold_start"] == known["cold_start"]
    stored, again = (load_file(f / name / "model.safetensors") for f in (tiny.SHIPPED, tmp_path))
    if all(found[k] == known[k] for k in ("torch", "processor")):
        assert all(torch.equal(stored[k], again[k]) for k in stored)
    assert found["measured"]["marked"] > 99
    assert abs(found["measured"]["sampled"]["right_worked"] - known["measured"]["sampled"]["right_worked"]) < 8
