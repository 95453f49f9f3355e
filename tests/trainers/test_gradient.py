"""The three ways of a step give one gradient, for every registered method, text and images, however it is cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rewards.method import Batch, Progress, method
from tests.trainers.workbench import recipe, trainer
from trainers.gradient import Gradient, advantage_of
from trainers.passes import run_passes
from trainers.rl import Trainer

SMALL_FLOW = {"offline_epochs": 1, "depth": 1, "width": 32, "noise_draws": 2}
TRAINED = [entry.key for entry in method.entries() if method.get(entry.key).trains]
TOLERANCE = 2e-5


def options(key: str) -> dict[str, Any]:
    return {k: v for k, v in SMALL_FLOW.items() if k in method.get(key).options()} if key == "rlfr" else {}


@pytest.fixture(scope="module")
def bench(tiny_lm: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Batch]:
    made = trainer(tiny_lm, tmp_path_factory.mktemp("steps"), recipe())
    made.prepare()
    made.sampler.start(0)
    return made, made.collect(Progress())


def gradient(made: Trainer, key: str, **changes: Any) -> Gradient:
    settings = made.recipe.model_copy(update={"train": made.recipe.train.model_copy(update=changes)})
    built = method.get(key)(**options(key))
    made.context.resumed = False
    built.setup(made.context)
    return Gradient(made.policy, built, settings, 0)


def grads(made: Trainer) -> torch.Tensor:
    flat = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for _, p in made.policy.trainable()]
    )
    made.optimiser.zero_grad(set_to_none=True)
    return flat.double()


def general(made: Trainer, work: Gradient, batch: Batch, way: str) -> torch.Tensor:
    """Gradient of the first mini-batch through a sweep of the passes, by the way named."""
    budget = work.budget
    full = run_passes(made.policy, work.method, work.method.passes, batch, 0, budget, 1.0)
    with torch.no_grad():
        advantage = advantage_of(work.method, full)
    mini, part = next(iter(work.method.steps(full, advantage)))
    found = work.grouped(mini, part) if way == "grouped" else work.coefficients(mini, part, first=way == "first")
    assert found is not None
    return grads(made)


def close(one: torch.Tensor, two: torch.Tensor) -> bool:
    scale = max(float(one.norm()), float(two.norm()))
    return scale > 0 and float((one - two).norm()) <= TOLERANCE * scale


@pytest.mark.parametrize("key", TRAINED)
def test_every_way_of_a_step_gives_the_same_gradient(bench: tuple[Trainer, Batch], key: str) -> None:
    made, batch = bench
    work = gradient(made, key)
    if not any((advantage_of(work.method, b) != 0).any() for b in [_signalled(made, work, batch)]):
        pytest.skip("this method has no signal on the recorded batch")
    exact = general(made, work, batch, "first")
    if not bool((exact != 0).any()):
        pytest.skip("no token that this method keeps has an advantage on the recorded batch")
    assert close(exact, general(made, work, batch, "later"))
    if work.method.loss_scope != "batch":
        assert close(exact, general(made, work, batch, "grouped"))
    if work.one_forward():
        assert work.single(batch) is not None
        assert close(exact, grads(made))


def _signalled(made: Trainer, work: Gradient, batch: Batch) -> Batch:
    return run_passes(made.policy, work.method, work.method.passes, batch, 0, work.budget, 1.0)


@pytest.mark.parametrize("key", TRAINED)
def test_micro_batches_do_not_change_the_gradient(bench: tuple[Trainer, Batch], key: str) -> None:
    made, batch = bench
    whole = general(made, gradient(made, key), batch, "first")
    cut = general(made, gradient(made, key, micro_batch_tokens=120), batch, "first")
    assert torch.allclose(whole, cut, rtol=1e-4, atol=1e-6 * max(float(whole.abs().max()), 1e-9))


@pytest.mark.parametrize("key", ["grpo", "rlfr"])
def test_ungraded_rows_do_not_change_the_gradient(bench: tuple[Trainer, Batch], key: str) -> None:
    """A row whose instrument failed leaves everything: the same as a batch without it."""
    made, batch = bench
    rows = torch.arange(len(batch.rollouts))
    broken = rows == 1
    graded = batch.graded & ~broken
    mask = batch.mask & ~broken[:, None]
    failed = replace(batch, graded=graded, mask=mask, outcome=batch.outcome * ~broken).select(rows)
    without = batch.select(rows[~broken])
    work = gradient(made, key)
    assert close(general(made, work, failed, "grouped"), general(made, work, without, "grouped"))


@pytest.mark.parametrize("key", ["grpo", "rlfr"])
def test_groups_in_another_order_give_the_same_gradient(bench: tuple[Trainer, Batch], key: str) -> None:
    made, batch = bench
    work = gradient(made, key)
    turned = batch.select(torch.argsort(-batch.group, stable=True))
    assert close(general(made, work, batch, "grouped"), general(made, work, turned, "grouped"))


@pytest.mark.parametrize("key", ["grpo", "rlfr"])
def test_image_prompts_too(tiny_vl: Path, tmp_path: Path, key: str) -> None:
    made = trainer(tiny_vl, tmp_path, recipe("tiny-vl", "train.prompts_per_step=3"))
    made.prepare()
    made.sampler.start(0)
    batch = made.collect(Progress())
    work = gradient(made, key)
    exact = general(made, work, batch, "first")
    assert work.single(batch) is not None
    assert close(exact, grads(made))
    assert close(exact, general(made, gradient(made, key, micro_batch_tokens=200), batch, "first"))


def test_rows_without_advantage_stay_out_of_the_backward_pass(bench: tuple[Trainer, Batch]) -> None:
    made, batch = bench
    flat = replace(
        batch, base_reward=torch.where(batch.group == 0, torch.ones_like(batch.base_reward), batch.base_reward)
    )
    work = gradient(made, "grpo")
    assert work.single(flat) is not None
    thin = grads(made)
    found = work.single(flat)
    assert found is not None
    made.optimiser.zero_grad(set_to_none=True)
    assert found[2].rows <= len(batch.rollouts) - made.recipe.train.group_size
    work.method.inert = False  # type: ignore[misc]
    assert work.single(flat) is not None
    assert close(thin, grads(made))
