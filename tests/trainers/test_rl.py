"""The RL trainer: repeatability, resume, the off-switch of rlfr, every optimiser moves its own, logs recompute."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.core import checkpoint
from harness.core.errors import EngineError, RunError, TrainingError
from rewards.method import Method, Now, method
from tests.trainers.workbench import metrics, recipe, trainer, weights

FLOW = {"offline_epochs": 1, "depth": 1, "width": 32, "update_tokens": 512}
NOT_NUMBERS = ("seconds/", "lr")


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def comparable(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if not k.startswith("seconds/")} for line in metrics(folder)]


@pytest.mark.parametrize("key", ["grpo", "rlfr"])
def test_a_fixed_seed_repeats_bitwise_and_another_does_not(tiny_lm: Path, tmp_path: Path, key: str) -> None:
    options = FLOW if key == "rlfr" else {}
    runs = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        made = trainer(tiny_lm, tmp_path / name, recipe("tiny-lm", "train.steps=2"), key, seed, options)
        made.train()
        runs.append(weights(made))
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])
    assert comparable(tmp_path / "a") == comparable(tmp_path / "b")


@pytest.mark.parametrize("key", ["grpo", "rlfr", "dapo"])
def test_kill_and_resume_equals_an_uninterrupted_run(tiny_lm: Path, tmp_path: Path, key: str) -> None:
    options = FLOW if key == "rlfr" else {}
    settings = recipe("tiny-lm", "train.mini_batches=2")
    straight = trainer(tiny_lm, tmp_path / "straight", settings, key, 0, options)
    straight.train()
    broken = trainer(tiny_lm, tmp_path / "broken", settings, key, 0, options)
    log = broken.log

    def die(*args: Any) -> None:
        log(*args)
        if broken.step == 3:  # after the checkpoint of step 2, with a third step already logged
            raise KeyboardInterrupt

    broken.log = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = trainer(tiny_lm, tmp_path / "broken", settings, key, 0, options)
    resumed.train()
    assert same(weights(straight), weights(resumed))
    assert comparable(tmp_path / "straight") == comparable(tmp_path / "broken")
    for name, network in straight.method.networks.items():
        assert same(dict(network.state_dict()), dict(resumed.method.networks[name].state_dict()))


def test_rlfr_without_flow_reward_is_grpo_bitwise(tiny_lm: Path, tmp_path: Path) -> None:
    settings = recipe("tiny-lm", "train.steps=2")
    grpo = trainer(tiny_lm, tmp_path / "grpo", settings, "grpo")
    rlfr = trainer(tiny_lm, tmp_path / "rlfr", settings, "rlfr", options=FLOW | {"beta": 0.0})
    grpo.train()
    rlfr.train()
    assert same(weights(grpo), weights(rlfr))


@pytest.mark.parametrize("name", ["tiny-lm", "tiny-vl"])
def test_every_optimiser_moves_exactly_its_own_parameters(
    tiny_lm: Path, tiny_vl: Path, tmp_path: Path, name: str
) -> None:
    start = tiny_lm if name == "tiny-lm" else tiny_vl
    # four steps: the flow's zero-initialised output and gates pass a gradient inwards one step after the other
    settings = recipe(name, "train.steps=4", "model.gradient_checkpointing=true")
    made = trainer(start, tmp_path, settings, "rlfr", options=FLOW | {"rejected_weight": 0.5})
    made.prepare()
    made.prepare = lambda: None  # type: ignore[method-assign]
    flow = made.method.networks["flow"]
    before = {n: p.detach().clone() for n, p in made.policy.named_parameters()}
    flow_before = {n: p.detach().clone() for n, p in flow.named_parameters()}
    trained = {n for n, _ in made.policy.trainable()}
    made.train()
    moved = {n for n, p in made.policy.named_parameters() if not torch.equal(p, before[n])}
    assert moved == trained
    assert (len(trained) < len(before)) == (name == "tiny-vl")  # the vision tower is frozen
    assert all(not torch.equal(p, flow_before[n]) for n, p in flow.named_parameters())


def test_rewards_recompute_from_the_log(tiny_lm: Path, tmp_path: Path) -> None:
    from rewards.flow.filter import flow_reward, fluctuation

    made = trainer(tiny_lm, tmp_path, recipe("tiny-lm", "train.steps=2"), "rlfr", options=FLOW)
    made.train()
    rlfr = made.method
    for file in sorted((tmp_path / "train" / "rollouts").glob("*.npz")):
        log = {k: torch.from_numpy(v) for k, v in np.load(file).items() if v.dtype.kind != "U"}
        mask = log["mask"]
        kept = fluctuation(log["signal/old.score"], mask, rlfr.eta, rlfr.top_k, rlfr.norm, rlfr.norm_power)
        dense = flow_reward(kept, mask, rlfr.beta, rlfr.gamma)
        rows = [log["base_reward"][log["group"] == g] for g in log["group"].unique()]
        outcome = torch.cat([(r - r.mean()) / (r.std() + 1e-6) for r in rows])[:, None] * mask
        torch.testing.assert_close(log["advantage"], torch.where(mask, outcome + dense, 0.0), atol=1e-5, rtol=0)


def test_metrics_hold_what_a_user_looks_for(tiny_lm: Path, tmp_path: Path) -> None:
    trainer(tiny_lm, tmp_path, recipe("tiny-lm", "train.steps=2"), "rlfr", options=FLOW).train()
    lines = metrics(tmp_path)
    assert [line["step"] for line in lines] == [1, 2]
    wanted = {
        "reward", "reward/outcome", "reward/format", "accuracy", "ungraded", "truncated", "entropy", "kl_start", "ratio_mean",
        "gradient_norm", "length_mean", "active_groups", "sampled_tokens", "seconds/collect", "seconds/update", "loss/policy",
        "method/flow/loss", "engine_mismatch_max", "dropped",
    }  # fmt: skip
    assert wanted <= lines[0].keys()
    assert lines[1]["sampled_tokens"] > lines[0]["sampled_tokens"] > 0
    assert lines[0]["ratio_mean"] == pytest.approx(1.0)
    assert lines[0]["engine_mismatch_max"] < 1e-4
    assert lines[0]["kl_start"] > 0  # measured after the update


def test_kl_penalty_pulls_back_to_the_start(tiny_lm: Path, tmp_path: Path) -> None:
    distances = []
    for kl in (0.0, 5.0):
        settings = recipe("tiny-lm", "train.steps=6", f"train.kl={kl}", "train.kl_every=6", "optimiser.lr=0.002")
        folder = tmp_path / str(kl)
        trainer(tiny_lm, folder, settings).train()
        distances.append(metrics(folder)[-1]["kl_start"])
    assert distances[1] < distances[0]


def test_engine_with_other_weights_stops_the_run(tiny_lm: Path, tmp_path: Path) -> None:
    made = trainer(tiny_lm, tmp_path, recipe())
    sync = made.parts.engine.sync
    made.parts.engine.sync = lambda tensors, version: sync(((n, t * 1.1) for n, t in tensors), version)  # type: ignore[method-assign]
    with pytest.raises(EngineError, match="engine and trainer differ"):
        made.train()


def test_a_method_that_returns_nan_is_named(tiny_lm: Path, tmp_path: Path) -> None:
    class Broken(Method):
        key = "broken-test"

        def loss(self, now: Now, advantage: torch.Tensor, batch: Any) -> dict[str, torch.Tensor]:
            return {"policy": super().loss(now, advantage, batch)["policy"] * float("nan")}

    made = trainer(tiny_lm, tmp_path, recipe())
    made.method = made.gradient.method = Broken()
    with pytest.raises(TrainingError, match="loss term 'policy' of method 'broken-test' is nan at step 0"):
        made.train()


def test_a_broken_checkpoint_is_named_and_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, {"step": step}, keep=2)
    kept = ["step-000002.pt", "step-000002.sha256", "step-000003.pt", "step-000003.sha256"]
    assert [f.name for f in sorted(tmp_path.iterdir())] == kept
    assert checkpoint.newest(tmp_path) == {"step": 3}
    whole = (tmp_path / "step-000003.pt").read_bytes()
    for damaged in (b"torn", whole[:-1], bytes([whole[0] ^ 1]) + whole[1:], whole[:-40] + b"\0" + whole[-39:]):
        (tmp_path / "step-000003.pt").write_bytes(damaged)
        with pytest.warns(UserWarning, match=r"checkpoint .*step-000003.pt cannot be read .*going on from .*000002"):
            assert checkpoint.newest(tmp_path) == {"step": 2}
    (tmp_path / "step-000002.pt").write_bytes(b"torn")
    with pytest.raises(RunError, match=r"step-000003.pt cannot be read .*no earlier one is kept"):
        checkpoint.newest(tmp_path)


def test_budget_in_sampled_tokens_ends_the_run(tiny_lm: Path, tmp_path: Path) -> None:
    made = trainer(tiny_lm, tmp_path, recipe("tiny-lm", "train.sampled_tokens=300", "train.steps=100"))
    found = made.train()
    before_last = metrics(tmp_path)[-2]["sampled_tokens"] if found["steps"] > 1 else 0
    assert found["sampled_tokens"] >= 300 > before_last


def test_registered_methods_are_found() -> None:
    assert {"base", "grpo", "rlfr"} <= set(method.keys())


@pytest.mark.parametrize("key", ["grpo", "rlfr"])
@pytest.mark.parametrize("mini_batches", [1, 2])
def test_a_step_of_which_nothing_can_be_graded_moves_nothing(
    tiny_lm: Path, tmp_path: Path, key: str, mini_batches: int
) -> None:
    settings = recipe("tiny-lm", "train.steps=2", f"train.mini_batches={mini_batches}")
    made = trainer(tiny_lm, tmp_path, settings, key, options=FLOW if key == "rlfr" else {})
    collect = made.collect

    def broken(progress: Any) -> Any:
        batch = collect(progress)
        if made.step == 1:
            return batch
        none = torch.zeros_like(batch.graded)
        return replace(batch, graded=none, mask=batch.mask & none[:, None], outcome=torch.zeros_like(batch.outcome))

    made.collect = broken  # type: ignore[method-assign]
    made.prepare()
    made.prepare = lambda: None  # type: ignore[method-assign]
    before = weights(made)
    optimise = made.optimise
    steps: list[int] = []
    made.optimise = lambda number, of: steps.append(made.step) or optimise(number, of)  # type: ignore[func-returns-value, method-assign]
    made.train()
    assert set(steps) == {1} and not same(weights(made), before)
    assert metrics(tmp_path)[0]["loss"] is None and metrics(tmp_path)[0]["optimiser_steps"] == 0


def test_what_needs_memory_happens_while_the_engine_rests(tiny_lm: Path, tmp_path: Path) -> None:
    """The padded check of the first batch and KL to the start policy come between rest and sync; no gradient is held
    when the engine wakes."""
    made = trainer(tiny_lm, tmp_path, recipe("tiny-lm", "train.steps=1", "train.kl_every=1"))
    seen: list[str] = []

    def noted(target: Any, name: str) -> None:
        inner = getattr(target, name)

        def call(*args: Any) -> Any:
            held = any(p.grad is not None for _, p in made.policy.trainable())
            seen.append(f"{name} with gradients" if held else name)
            return inner(*args)

        setattr(target, name, call)

    for target, name in ((made.parts.engine, "rest"), (made.policy, "check_first_batch"), (made, "kl_to_start")):
        noted(target, name)
    noted(made, "sync")
    made.train()
    assert seen == ["rest", "sync", "rest", "check_first_batch", "kl_to_start", "sync"]


@pytest.mark.parametrize("moment", ["collect", "update"])
def test_a_stopped_run_loses_no_step_and_goes_on_bitwise(tiny_lm: Path, tmp_path: Path, moment: str) -> None:
    """SIGTERM while rollouts are drawn ends the run at once, during an update at the end of the step."""
    settings = recipe("tiny-lm", "train.steps=3", "train.checkpoint_every=100")
    straight = trainer(tiny_lm, tmp_path / "straight", settings)
    straight.train()
    stopped = trainer(tiny_lm, tmp_path / "stopped", settings)
    inner = getattr(stopped, moment)

    def call(*args: Any) -> Any:
        if stopped.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return inner(*args)

    setattr(stopped, moment, call)
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert [line["step"] for line in metrics(tmp_path / "stopped")] == ([1] if moment == "collect" else [1, 2])
    resumed = trainer(tiny_lm, tmp_path / "stopped", settings)
    resumed.train()
    assert same(weights(straight), weights(resumed))
    assert comparable(tmp_path / "straight") == comparable(tmp_path / "stopped")


def test_checkpoints_come_by_the_clock_too(tiny_lm: Path, tmp_path: Path) -> None:
    sets = ("train.steps=2", "train.checkpoint_every=100")
    for minutes, wanted in ((1e-9, 2), (1e9, 1)):
        folder = tmp_path / str(minutes)
        trainer(tiny_lm, folder, recipe("tiny-lm", *sets, f"train.checkpoint_minutes={minutes}")).train()
        assert len(list((folder / "checkpoints").glob("*.pt"))) == wanted
