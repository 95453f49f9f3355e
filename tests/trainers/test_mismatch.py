"""What the trainer does about an engine whose probabilities are not its own: log, stop, or weigh."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.core.errors import EngineError
from rewards.method import Batch, Progress, method
from tests.trainers.workbench import metrics, recipe, trainer
from trainers.gradient import Gradient, advantage_of, importance
from trainers.passes import run_passes
from trainers.rl import Trainer

THIRD = float(torch.tensor(1 / 3).log())


@pytest.fixture(scope="module")
def bench(tiny_lm: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Batch]:
    made = trainer(tiny_lm, tmp_path_factory.mktemp("mismatch"), recipe())
    made.prepare()
    made.sampler.start(0)
    return made, made.collect(Progress())


def gradient(made: Trainer, batch: Batch, way: str, key: str = "grpo", **changes: Any) -> torch.Tensor:
    settings = made.recipe.model_copy(update={"train": made.recipe.train.model_copy(update=changes)})
    work = Gradient(made.policy, method.get(key)(), settings, 0)
    made.optimiser.zero_grad(set_to_none=True)
    if way == "single":
        assert work.single(batch) is not None
    else:
        full = run_passes(made.policy, work.method, work.method.passes, batch, 0, work.budget, 1.0)
        advantage = advantage_of(work.method, full)
        if way == "grouped":
            assert work.grouped(full, advantage) is not None
        else:
            work.coefficients(full, advantage, first=way == "first")
    return torch.cat([p.grad.flatten() for _, p in made.policy.trainable() if p.grad is not None])


@pytest.mark.parametrize("way", ["single", "grouped", "first", "later"])
def test_a_cap_of_two_doubles_the_gradient_of_tokens_that_the_engine_found_a_third_as_likely(
    bench: tuple[Trainer, Batch], way: str
) -> None:
    made, batch = bench
    plain = gradient(made, batch, way)
    assert float(plain.norm()) > 0
    rarer = replace(batch, engine_logp=batch.engine_logp + THIRD)
    torch.testing.assert_close(gradient(made, rarer, way), plain)
    torch.testing.assert_close(gradient(made, rarer, way, importance_cap=2.0), 2 * plain, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(gradient(made, rarer, way, importance_cap=9.0), 3 * plain, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(gradient(made, batch, way, importance_cap=2.0), plain, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("key", ["gspo", "copo", "drpo", "rapo"])
def test_importance_weights_reach_every_term_of_every_loss(bench: tuple[Trainer, Batch], key: str) -> None:
    """Also those that do not read the advantage."""
    made, batch = bench
    made.policy.keep_start()
    rarer = replace(batch, engine_logp=batch.engine_logp + THIRD)
    plain = gradient(made, rarer, "later", key)
    assert float(plain.norm()) > 0
    capped = gradient(made, rarer, "later", key, importance_cap=9.0)
    torch.testing.assert_close(capped, 3 * plain, rtol=1e-3, atol=1e-6)


def test_weights_are_truncated_ratios_by_hand() -> None:
    old, engine = torch.tensor([[-1.0, -1.0, -2.0]]), torch.tensor([[-1.0, -2.0, -1.0]])
    expected = torch.tensor([[1.0, 2.0, 0.36787944]])
    torch.testing.assert_close(importance(old, engine, 2.0), expected)


def test_a_step_beyond_the_bound_stops_the_run_before_its_checkpoint(
    tiny_lm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(tiny_lm, tmp_path, recipe("tiny-lm", "train.checkpoint_every=1", "train.mismatch_bound=0.2"))
    collect = made.collect

    def drifting(progress: Progress) -> Batch:
        batch = collect(progress)
        return replace(batch, engine_logp=batch.engine_logp - (0.3 if made.step == 1 else 0.1))

    monkeypatch.setattr(made, "collect", drifting)
    with pytest.raises(EngineError, match=r"step 2: .* differ by 0.3 .*bound 0.2.*train.importance_cap"):
        made.train()
    assert [line["engine_mismatch_mean"] for line in metrics(tmp_path)] == pytest.approx([0.1, 0.3], abs=1e-3)
    assert len(list((tmp_path / "checkpoints").glob("*.pt"))) == 1


def test_without_a_bound_of_its_own_the_dtype_decides(tiny_lm: Path, tmp_path: Path) -> None:
    made = trainer(tiny_lm, tmp_path, recipe())
    made.demand_match(None)
    made.demand_match(9e-4)
    with pytest.raises(EngineError, match=r"bound 0\.001"):
        made.demand_match(2e-3)
    with pytest.raises(EngineError):
        made.demand_match(float("nan"))
