"""What a step reports: ratios, entropy and the KL penalty over the rows that they are said to run over."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from harness.core.records import Side, Status, Verdict
from rewards.method import Batch, Now, Progress
from tests.rewards.conftest import make_batch
from tests.trainers.test_gradient import gradient
from tests.trainers.workbench import metrics, recipe, trainer, weights
from trainers.gradient import Tally, advantage_of
from trainers.passes import run_passes
from trainers.rl import Trainer
from trainers.step_metrics import step_metrics


@pytest.fixture(scope="module")
def bench(tiny_lm: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Batch]:
    made = trainer(tiny_lm, tmp_path_factory.mktemp("metrics"), recipe())
    made.prepare()
    made.sampler.start(0)
    return made, made.collect(Progress())


@pytest.mark.parametrize("key", ["ppl-shaping", "delta"])
def test_ratios_before_any_update_are_one(bench: tuple[Trainer, Batch], key: str) -> None:
    """Rows without advantage are in no forward pass of a later mini-batch, and in no ratio."""
    made, batch = bench
    flat = torch.where(batch.group == 0, torch.ones_like(batch.base_reward), batch.base_reward)
    batch = replace(batch, base_reward=flat)
    work = gradient(made, key)
    full = run_passes(made.policy, work.method, work.method.passes, batch, 0, work.budget, 1.0)
    with torch.no_grad():
        advantage = advantage_of(work.method, full)
    tally = work.coefficients(full, advantage, first=False)
    made.optimiser.zero_grad(set_to_none=True)
    assert 0 < tally.rows < len(batch.rollouts)
    assert tally.ratio_max == pytest.approx(1.0, abs=1e-4)
    assert tally.ratio_sum / tally.tokens == pytest.approx(1.0, abs=1e-4)


def test_tokens_of_log_probability_zero_count() -> None:
    """float32 gives exactly 0 to a token of probability 1 - e^-18: it is a token like any other."""
    logp = torch.tensor([[0.0, -1.0], [0.0, 0.0]])
    entropy = torch.tensor([[0.0, 1.0], [0.0, 0.6]])
    batch = make_batch([1, 0], [2, 2], signals={"old.logp": logp, "old.entropy": entropy})
    batch = replace(batch, engine_logp=torch.full((2, 2), -0.5))
    found = step_metrics(batch, torch.ones(2, 2), [Tally()], None)
    assert found["entropy"] == pytest.approx(0.4)
    assert found["engine_mismatch_mean"] == pytest.approx(0.5)
    only_first = step_metrics(batch, torch.ones(2, 2), [Tally(forwarded=(0,))], None)
    assert only_first["entropy"] == pytest.approx(0.5)


@pytest.mark.parametrize("key", ["psr", "nsr"])
def test_the_kl_penalty_is_over_all_graded_rows(bench: tuple[Trainer, Batch], key: str) -> None:
    """The method's own mean runs over right or wrong rows alone; the recipe's penalty does not."""
    made, _ = bench
    outcome = [1, 1] if key == "nsr" else [0, 0]
    logp, start = torch.tensor([[-1.0, -1.0], [-1.0, -1.0]]), torch.tensor([[-1.5, -1.0], [-1.0, -1.0]])
    batch = make_batch(outcome, [2, 2], signals={"old.logp": logp, "old.entropy": logp, "start.logp": start})
    terms = gradient(made, key, kl=2.0).loss(Now(logp, -logp), torch.zeros(2, 2), batch)
    d = torch.tensor(-0.5)
    assert float(terms["kl"]) == pytest.approx(2.0 * float(d.exp() - d - 1) / 4)


@pytest.mark.parametrize("sets", [(), ("train.mini_batches=2", "train.kl=0.1")])
@pytest.mark.parametrize("key", ["grpo", "rlfr"])
def test_a_step_without_a_graded_rollout_trains_nothing(
    tiny_lm: Path, tmp_path: Path, key: str, sets: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"offline_epochs": 1, "depth": 1, "width": 32} if key == "rlfr" else {}
    settings = recipe("tiny-lm", "train.steps=1", "train.kl_every=1", *sets)
    made = trainer(tiny_lm, tmp_path, settings, key, options=options)
    failed = Verdict(status=Status.UNGRADED, protocol="strict", reason="judge-failed", side=Side.INSTRUMENT)

    def down(job: object) -> Future[dict[str, Verdict]]:
        done: Future[dict[str, Verdict]] = Future()
        done.set_result({"strict": failed})
        return done

    monkeypatch.setattr(made.parts.verifier, "submit", down)
    before = weights(made)
    made.train()
    assert all(torch.equal(before[name], p) for name, p in weights(made).items())
    (line,) = metrics(tmp_path)
    assert line["ungraded"] == 1.0 and line["optimiser_steps"] == 0.0
    assert line["loss"] is None and line["kl_start"] is None and "entropy" not in line
