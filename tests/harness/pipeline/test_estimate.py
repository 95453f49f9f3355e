"""Memory of a recipe by phase: equal to what real steps hold, right in its arithmetic, and the table of docs/gpu.md."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import plan_table
from harness.cli import app
from harness.core import config
from harness.models.memory import GIB, KNOWN_PARAMETERS
from harness.pipeline import plan
from harness.pipeline.estimate import phases, shape
from harness.pipeline.estimate.phases import Setup
from harness.pipeline.estimate.report import estimate
from tests.conftest import ROOT
from tests.harness.pipeline import rss

CASES = ((True, 4, 120), (True, 4, 480), (False, 4, 480), (True, 1, 64))
"""Gradient checkpointing, responses, their length; prompts of 128 tokens."""

PLAIN = {"MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "262144"}
"""glibc returns what is freed: resident memory is memory in use."""


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLFR_EVAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def setup(made: Any, sets: list[str], kind: str = "cpu", method: str = "grpo") -> Setup:
    recipe = config.load("tiny-lm", None, sets)
    built = plan.build_method(recipe, method)
    return Setup(recipe=recipe, method=built, config=made, shape=shape.of(made), gpus=1, memory=80 * GIB, kind=kind)


@pytest.mark.parametrize(
    "checkpointing, responses, length",
    [pytest.param(*case, marks=[pytest.mark.plan] if number else []) for number, case in enumerate(CASES)],
)
def test_the_peak_is_that_of_real_steps(checkpointing: bool, responses: int, length: int) -> None:
    """Bytes in use, hence with freed blocks given back at once: glibc's defaults keep more (docs/gpu.md)."""
    sets = [
        "rendering.max_prompt_tokens=128",
        f"train.group_size={max(2, responses)}",
        f"train.max_new_tokens={length}",
        f"train.micro_batch_tokens={128 + responses * length}",
        f"model.gradient_checkpointing={str(checkpointing).lower()}",
    ]
    asked = setup(rss.configuration(), sets)
    assert (asked.row.prompt, asked.row.responses, asked.row.length) == (128, responses, length)
    found = [p for p in phases.phases(asked) if p.name in ("update", "optimiser")]
    counted = max(p.total - p.parts["engine"] for p in found)  # the steps run without an engine
    what = {"checkpointing": checkpointing, "prompt": 128, "responses": responses, "length": length}
    command = [sys.executable, str(Path(rss.__file__)), json.dumps(what)]
    environment = os.environ | PLAIN | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert counted == pytest.approx(int(done.stdout), rel=0.15)


def test_weights_gradients_and_moments_are_shared_and_nothing_else() -> None:
    one = setup(rss.configuration(), [], "cuda")
    four = replace(one, gpus=4)
    for alone, shared in zip(phases.phases(one), phases.phases(four), strict=True):
        for name, amount in alone.parts.items():
            divided = name in ("weights", "gradients", "moments", "start copy")
            assert shared.parts[name] == (amount // 4 if divided else amount), (alone.name, name)
        assert shared.parts["gathered"] > 0


def test_trained_parameters_follow_the_recipe() -> None:
    made = shape.read("Qwen/Qwen2.5-VL-3B-Instruct")
    whole = shape.of(made)
    recipe = config.load("qwen2.5-vl-3b")
    frozen = Setup(
        recipe=recipe,
        method=plan.build_method(recipe, "grpo"),
        config=made,
        shape=whole,
        gpus=1,
        memory=GIB,
        kind="cuda",
    )
    assert whole.parameters == KNOWN_PARAMETERS["Qwen/Qwen2.5-VL-3B-Instruct"]
    assert frozen.trained == whole.parameters - whole.tower
    low = replace(frozen, recipe=config.load("qwen2.5-vl-3b", None, ["model.lora.rank=16"]))
    # q, o: 2,048 in and out; k, v: 2,048 in, 256 out; gate, up, down: 2,048 and 11,008
    assert low.trained == 36 * 16 * (2 * 4096 + 2 * 2304 + 3 * 13056)


def test_the_fields_parameters_are_counted_without_building_it() -> None:
    import torch

    from rewards.flow.field import FieldConfig, VelocityField

    for made in (FieldConfig(24, 40, 3), FieldConfig(64, 64, 2)):
        field = VelocityField(made, torch.Generator().manual_seed(0))
        assert phases.flow_parameters(made) == sum(p.numel() for p in field.parameters())


@pytest.mark.parametrize("recipe", ["tiny-lm", "tiny-vl"])
def test_the_command_shows_every_phase(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["plan", "--recipe", recipe, "--gpus", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = ["set-up", "rollout", "passes", "update", "optimiser", "learn", "kl", "sync"]
    assert list(found["phases"]) == names and found["peak"] == "rollout" and found["fits"]
    assert app.main(["plan", "--recipe", recipe, "--gpus", "4"]) == 0
    said = capsys.readouterr().out
    assert "training on several is not there yet" in said and "seconds (estimate)" in said
    assert all(f"\n{name} " in said for name in names)


def test_what_is_advised_fits() -> None:
    """A GPU on which the trainer fits and vLLM's usual share beside it does not."""
    short = ["train.group_size=2", "train.max_new_tokens=16"]
    recipe, memory = config.load("tiny-lm", None, short), 6 * GIB // 10
    method = plan.build_method(recipe, "grpo")
    found = estimate(recipe, method, memory=memory, policy=rss.configuration())
    assert not found.fits and found.peak.name == "rollout"
    flag, setting = found.advice.split()
    assert flag == "--set" and setting.startswith("engine.gpu_memory=")
    changed = config.load("tiny-lm", None, [*short, setting])
    assert estimate(changed, method, memory=memory, policy=rss.configuration()).fits
    hopeless = estimate(recipe, method, memory=GIB // 100, policy=rss.configuration())
    assert not hopeless.fits and hopeless.advice == "a smaller policy"


@pytest.mark.plan
def test_the_table_of_the_guide_is_what_the_command_says() -> None:
    assert plan_table.written() == plan_table.table()


def test_the_guide_has_a_row_for_every_recipe_and_number_of_gpus() -> None:
    rows = [line.split("|")[1].strip() for line in plan_table.written().splitlines()[2:]]
    assert rows == [f"{name}, {gpus}" for name in plan_table.recipes() for gpus in plan_table.GPUS]
