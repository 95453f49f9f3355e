"""RLFR as a method: off switch, shaping from logged scores, set-up and cache, the online update, resume."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.core.errors import ConfigError, ModelError, TrainingError
from rewards.flow import fit
from rewards.method import Batch, Chunk, Now, Progress, method
from tests.rewards.conftest import FakeContext, make_batch, make_chunk, make_example

LENGTHS = [5, 3, 4, 2]


def rlfr(**options: Any) -> Any:
    return method.get("rlfr")(**{"offline_epochs": 0, "offline_lr": 3e-3, "flow_lr": 3e-3, **options})


def built(tmp_path: Path, **options: Any) -> tuple[Any, FakeContext]:
    ctx, made = FakeContext(tmp_path), rlfr(**options)
    made.setup(ctx)
    return made, ctx


def chunk_of(step: int = 0, **changed: Any) -> Chunk:
    return make_chunk(LENGTHS, outcome=[1, 0, 0, 1], step=step, **changed)


def batch_of(signals: dict[str, torch.Tensor], step: int = 0, **changed: Any) -> Batch:
    return make_batch([1, 0, 0, 1], LENGTHS, signals=signals, progress=Progress(step=step, total=10), **changed)


def prefixed(signals: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"old.{k}": v for k, v in signals.items()}


def random_signals(seed: int = 0) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {f"old.{k}": torch.rand(4, 5, generator=draw) for k in ("logp", "entropy", "score")}


def test_worked_advantage() -> None:
    """The group part of the catalogue's numbers, then the reward-to-go of the worked scores on top."""
    signals = random_signals()
    score = torch.zeros(4, 5)
    score[0] = torch.tensor([1.0, 3.0, 2.0, 5.0, 4.0])
    batch, made = batch_of({**signals, "old.score": score}), rlfr()
    plain = made.advantage(made.reward(batch), batch)
    torch.testing.assert_close(plain[:, 0], torch.tensor([0.866024, -0.866024, -0.866024, 0.866024]), atol=1e-6, rtol=0)
    shaped = made.shape(plain, batch)
    togo = torch.tensor([-0.0175, -0.0175, -0.0175, -0.0175, -0.0075])
    torch.testing.assert_close(shaped[0], plain[0] + togo, atol=1e-6, rtol=0)
    assert torch.equal(shaped[1:], plain[1:]), "constant rows get nothing"
    assert torch.equal(batch.signals["old.score"], score), "the logged scores stay unfiltered"


def test_beta_zero_is_grpo_bitwise(tmp_path: Path) -> None:
    assert method.get("rlfr").identity is not None
    base_key, overrides = method.get("rlfr").identity  # type: ignore[misc]
    off, base = method.get("rlfr")(**overrides), method.get(base_key)()
    off.setup(FakeContext(tmp_path))
    assert off.passes == base.passes and off.networks == {} and off.optimisers == {}
    batch = batch_of(random_signals())
    results = []
    for made in (off, base):
        logp = random_signals(5)["old.logp"].requires_grad_()
        advantage = made.shape(made.advantage(made.reward(batch), batch), batch)
        loss = sum(made.loss(Now(logp, logp), advantage, batch).values())
        loss.backward()  # type: ignore[union-attr]
        results.append((advantage, loss.detach(), logp.grad))  # type: ignore[union-attr]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert off.learn(batch, FakeContext(tmp_path)) == {}
    on = rlfr()
    assert not torch.equal(on.shape(on.advantage(on.reward(batch), batch), batch), results[0][0])


def test_rewards_recompute_from_the_log(tmp_path: Path) -> None:
    """Scores repeat bitwise from (seed, step, latents); shaped advantages repeat from logged scores and mask alone."""
    made, _ = built(tmp_path, noise_draws=2)
    signals = made.score(chunk_of())
    assert set(signals) == {"logp", "entropy", "score", "noise_variance"}
    batch = batch_of(prefixed(signals))
    shaped = made.shape(made.advantage(made.reward(batch), batch), batch)
    again, _ = built(tmp_path, noise_draws=2)
    assert torch.equal(again.score(chunk_of())["score"], signals["score"])
    logged = batch_of({"old.score": torch.tensor(batch.signals["old.score"].tolist())})
    assert torch.equal(again.shape(again.advantage(again.reward(logged), logged), logged), shaped)


def test_one_sweep_or_micro_batches_give_the_same(tmp_path: Path) -> None:
    """Scores, and what the flow learns from, do not depend on how the rollouts were cut into chunks."""
    results = []
    for cuts in ([[0, 1, 2, 3]], [[2, 3], [0, 1]]):
        made, ctx = built(tmp_path, update_tokens=6)
        score = torch.zeros(4, 5)
        for rows in cuts:
            part = make_chunk([LENGTHS[i] for i in rows], keys=[f"p0#{i}" for i in rows], outcome=[1] * len(rows))
            whole = make_chunk(LENGTHS)
            part = replace(part, hidden={k: v[rows, : part.mask.shape[1] + 1] for k, v in whole.hidden.items()})
            score[rows, : part.mask.shape[1]] = made.score(part)["score"]
        batch = make_batch([1] * 4, LENGTHS, signals={"old.score": score})
        metrics = made.learn(batch, ctx)
        results.append((score, metrics["flow/loss"], list(made.networks["flow"].parameters())))
    torch.testing.assert_close(results[0][0], results[1][0])
    assert results[0][1] == results[1][1] > 0
    assert all(torch.equal(p, q) for p, q in zip(results[0][2], results[1][2], strict=True))


def test_a_signal_read_before_its_pass_is_named() -> None:
    batch = replace(batch_of({}), signals_ready=False)
    with pytest.raises(TrainingError, match=r"before the forward pass.*advantage_needs_signals"):
        rlfr().shape(torch.zeros(4, 5), batch)


def test_flow_learns_online_and_only_from_the_chosen(tmp_path: Path) -> None:
    made, ctx = built(tmp_path)
    start = {n: p.detach().clone() for n, p in made.networks["flow"].named_parameters()}
    held = []
    for step in range(40):
        rows = list(range(10))
        chunk = make_chunk([12] * 10, outcome=[1.0] * 8 + [0.0] * 2, step=step, content=step)
        signals = prefixed(made.score(chunk))
        batch = make_batch([1] * 8 + [0] * 2, [12] * 10, signals=signals, progress=Progress(step=step, total=40))
        metrics = made.learn(batch, ctx)
        assert metrics["flow/tokens"] == 8 * 12 and len(rows) == 10
        held.append(metrics["flow/held_out"])
    assert held[-1] < 0.8 * held[0]
    assert [n for n, p in made.networks["flow"].named_parameters() if torch.equal(p, start[n])] == []
    assert {"flow/loss", "flow/grad_norm", "flow/score", "flow/kept", "flow/reward", "flow/auroc"} <= set(metrics)


def test_frozen_flow_keeps_no_latents_and_no_optimiser(tmp_path: Path) -> None:
    made, ctx = built(tmp_path, online=False)
    signals = made.score(chunk_of())
    before = [p.clone() for p in made.networks["flow"].parameters()]
    metrics = made.learn(batch_of(prefixed(signals)), ctx)
    assert made.optimisers == {} and "flow/loss" not in metrics
    assert all(torch.equal(p, q) for p, q in zip(before, made.networks["flow"].parameters(), strict=True))


def test_rejection_metrics() -> None:
    entropy = torch.zeros(4, 5)
    entropy[:, 0] = torch.tensor([5.0, 0.3, 8.0, 0.2])  # means 1, .1, 2, .1
    batch = batch_of({"old.entropy": entropy})
    assert rlfr().selection(batch).tolist() == [1, 0, 0, 1]
    assert rlfr(rejected_weight=0.25).selection(batch).tolist() == [1, 0.25, 0.25, 1]
    assert rlfr(rejection="trajectory_entropy").selection(batch).tolist() == [1, 0, 1, 0]
    half = rlfr(rejection="trajectory_entropy", entropy_quantile=0.9, rejected_weight=0.5)
    assert half.selection(batch).tolist() == [0.5, 0.5, 1, 0.5]
    ungraded = make_batch([1, 0], [2, 2], graded=[False, True], signals={"old.entropy": torch.ones(2, 2)})
    assert rlfr(rejected_weight=0.5).selection(ungraded).tolist() == [0, 0.5]
    assert rlfr(rejection="trajectory_entropy").selection(ungraded).tolist() == [0, 1]


def test_unusual_rows_give_finite_advantages(tmp_path: Path) -> None:
    made, ctx = built(tmp_path, noise_draws=2, pairing=("previous", "next"))
    chunk = make_chunk([1, 4, 1], outcome=[0, 0, 0], graded=[True, False, True])
    signals = prefixed(made.score(chunk))
    batch = make_batch([0, 0, 0], [1, 4, 1], graded=[True, False, True], truncated=[True] * 3, signals=signals)
    shaped = made.shape(made.advantage(made.reward(batch), batch), batch)
    assert torch.equal(shaped, torch.zeros(3, 4))
    metrics = made.learn(batch, ctx)
    assert metrics["flow/tokens"] == 0 and "flow/auroc" not in metrics


def expert(count: int = 25) -> list[Any]:
    return [make_example(str(i), f"solution {i}") for i in range(count)]


def test_offline_fit_is_cached_by_content(tmp_path: Path) -> None:
    fitted, scans = [], []
    runs: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, {}), ({}, {"seed": 7}), ({"pairing": "next"}, {}), ({}, {"policy_digest": "other"}), ({}, {"examples": expert(24)}),
    ]  # fmt: skip
    for options, context in runs:
        ctx = FakeContext(tmp_path, **{"examples": expert(), **context})
        made = rlfr(offline_epochs=1, **options)
        made.setup(ctx)
        fitted.append(list(made.networks["flow"].parameters()))
        scans.append(ctx.scans > 0)
        assert made.learn(make_batch(signals={"old.score": torch.zeros(4, 3)}), ctx)["flow/offline_held_out"] > 0
    assert scans == [True, False, True, True, True], "the same start, options and solutions are fitted once"
    assert all(torch.equal(p, q) for p, q in zip(fitted[0], fitted[1], strict=True))
    assert len(list(tmp_path.glob("flow-*"))) == 4


def test_flow_path_and_its_errors(tmp_path: Path) -> None:
    made, _ = built(tmp_path, width=8, depth=1)
    fit.save(tmp_path / "mine", made.networks["flow"], made.target)
    loaded, _ = built(tmp_path, flow_path=str(tmp_path / "mine"))
    assert loaded.networks["flow"].config == made.networks["flow"].config
    with pytest.raises(ModelError, match="pairing"):
        built(tmp_path, flow_path=str(tmp_path / "mine"), pairing="next")
    with pytest.raises(ModelError, match="absent"):
        built(tmp_path, flow_path=str(tmp_path / "absent"))
    with pytest.raises(ConfigError, match="expert"):
        rlfr(offline_epochs=1).setup(FakeContext(tmp_path))


@pytest.mark.parametrize(
    "options",
    [
        {"noise_draws": 0},
        {"estimator": "antithetic"},
        {"timesteps": (1.0,)},
        {"layers": ()},
        {"norm": "max"},
        {"betta": 1},
    ],
)
def test_nonsense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        rlfr(**options)


def test_resume_equals_an_uninterrupted_run(tmp_path: Path) -> None:
    def steps(made: Any, ctx: FakeContext, numbers: range) -> None:
        for step in numbers:
            signals = prefixed(made.score(chunk_of(step, content=step)))
            made.learn(batch_of(signals, step), ctx)

    whole, ctx = built(tmp_path, flow_seed=3)
    steps(whole, ctx, range(4))
    first, _ = built(tmp_path, flow_seed=3)
    steps(first, ctx, range(2))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    resumed = rlfr(flow_seed=4, offline_epochs=2)
    resumed.setup(FakeContext(tmp_path, resumed=True))  # no expert data: the offline fit is skipped
    resumed.load_state_dict(torch.load(tmp_path / "state.pt"))
    steps(resumed, ctx, range(2, 4))
    for p, q in zip(whole.networks["flow"].parameters(), resumed.networks["flow"].parameters(), strict=True):
        assert torch.equal(p, q)
    other = rlfr(pairing="next")
    other.setup(FakeContext(tmp_path, resumed=True))
    with pytest.raises(ModelError, match="pairing"):
        other.load_state_dict(torch.load(tmp_path / "state.pt"))


def test_a_run_with_a_flow_of_another_shape_resumes(tmp_path: Path) -> None:
    """`flow_path` decides the shape in the first session; a resumed one takes it from the checkpoint."""
    first, _ = built(tmp_path / "fitted", depth=3, width=24)
    fit.save(tmp_path / "flow", first.networks["flow"], first.target)
    made, ctx = built(tmp_path, flow_path=str(tmp_path / "flow"))
    signals = made.score(chunk_of())
    made.learn(batch_of(prefixed(signals)), ctx)
    resumed, again = rlfr(flow_path=str(tmp_path / "flow")), FakeContext(tmp_path)
    again.resumed = True
    resumed.setup(again)
    resumed.load_state_dict(deepcopy(made.state_dict()))
    assert resumed.networks["flow"].config == first.networks["flow"].config
    for step in (1, 2):
        scores = [m.score(chunk_of(step))["score"] for m in (made, resumed)]
        assert torch.equal(*scores)
        batch = batch_of({"old.score": scores[0]}, step)
        assert made.learn(batch, ctx)["flow/loss"] == resumed.learn(batch, again)["flow/loss"]
