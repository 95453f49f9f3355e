"""RL through vLLM: what the trainer computes from its rollouts, a crash in the middle, and the command as users run it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="runs in the environment of `make test-vllm`")

from harness.core.errors import EngineError
from harness.core.records import Rollout
from harness.engines.base import Engine, Request
from tests.trainers.workbench import metrics, recipe, trainer, weights
from tests.vllm.conftest import BOUND, TASKS, Rig
from trainers.rl import Trainer

FLOW = {"offline_epochs": 1, "depth": 1, "width": 32, "update_tokens": 512}
LOSS_BOUND = 1e-3
"""Largest difference of a loss, relative to its own size or to 0.01, between the two engines on the same rollouts."""


def training(rig: Rig, folder: Path, engine: Any, key: str = "rlfr", *sets: str) -> Trainer:
    """A trainer on the rig's policy that rolls out through `engine`."""
    settings = recipe(rig.folder.name, "train.steps=3", "train.checkpoint_every=1", *sets)
    made = trainer(rig.folder, folder, settings, key, options=FLOW if key == "rlfr" else {})
    return Trainer(replace(made.parts, engine=engine))


class Noted(Engine):
    """Passes everything on to vLLM and keeps what came back, call by call."""

    def __init__(self, inner: Engine) -> None:
        self.inner = inner
        self.calls: list[list[Rollout]] = []

    def generate(self, requests: Iterable[Request]) -> Iterator[Rollout]:
        self.calls.append([])
        for rollout in self.inner.generate(requests):
            self.calls[-1].append(rollout)
            yield rollout

    def sync(self, tensors: Any, version: int) -> None:
        self.inner.sync(tensors, version)


class Rescored(Engine):
    """Gives the noted rollouts again, with the log-probabilities that transformers gives their tokens."""

    def __init__(self, calls: list[list[Rollout]], reference: Any) -> None:
        self.calls, self.reference = iter(calls), reference
        self.worst = 0.0

    def generate(self, requests: Iterable[Request]) -> Iterator[Rollout]:
        prompts = {r.prompt.example_id: r.prompt for r in requests}
        for rollout in next(self.calls):
            given = Request(prompts[rollout.prompt_id], rollout.sampling, rollout.token_ids)
            scores = tuple(self.reference._prefill(given).prefix_logprobs)
            self.worst = max(self.worst, *(abs(a - b) for a, b in zip(scores, rollout.logprobs, strict=True)))
            yield replace(rollout, logprobs=scores)

    def sync(self, tensors: Any, version: int) -> None:
        self.reference.sync(tensors, version)


def test_losses_agree_with_those_over_transformers_on_the_same_rollouts(rig: Rig, tmp_path: Path) -> None:
    """rlfr for three steps, with truncated importance sampling, so that the engine's log-probabilities enter the loss."""
    noted = Noted(rig.engine)
    training(rig, tmp_path / "vllm", noted, "rlfr", "train.importance_cap=2.0").train()
    rescored = Rescored(noted.calls, rig.reference)
    training(rig, tmp_path / "transformers", rescored, "rlfr", "train.importance_cap=2.0").train()
    ours, theirs = metrics(tmp_path / "vllm"), metrics(tmp_path / "transformers")
    assert len(ours) == len(theirs) == 3
    assert rescored.worst < BOUND
    for one, other in zip(ours, theirs, strict=True):
        assert one["engine_mismatch_max"] < BOUND
        for name in ("loss", "gradient_norm", "reward", "entropy", "method/flow_loss"):
            if name in one:
                assert abs(one[name] - other[name]) <= LOSS_BOUND * max(abs(other[name]), 0.01), name
    assert any(abs(line["loss"]) > 0 and math.isfinite(line["loss"]) for line in ours)
    rig.engine.sync(rig.policy().export(), 0)
    rig.reference.sync(rig.policy().export(), 0)


def test_training_moves_the_policy_and_the_engine_with_it(rig: Rig, tmp_path: Path) -> None:
    noted = Noted(rig.engine)
    made = training(rig, tmp_path, noted, "grpo")
    before = weights(made)
    made.train()
    moved = [name for name, weight in weights(made).items() if not weight.equal(before[name])]
    assert len(moved) > len(before) // 2
    assert {r.policy_version for call in noted.calls for r in call} == {0, 1, 2, 3}
    rig.engine.sync(rig.policy().export(), 0)


def test_a_crash_of_vllm_is_told_and_the_run_resumes(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM dies while it decodes in the third step: a clear error, what was logged stays, the next run goes on from there."""
    straight = training(rig, tmp_path / "straight", rig.engine, "grpo")
    straight.train()
    worker = rig.engine._llm.llm_engine.model_executor.driver_worker.worker
    execute, made = worker.execute_model, training(rig, tmp_path / "broken", rig.engine, "grpo")
    collect, passes = made.collect, [-1]

    def third(progress: Any) -> Any:
        passes[0] = 0 if made.step == 2 else -1
        return collect(progress)

    def dying(*args: Any, **settings: Any) -> Any:
        passes[0] += passes[0] >= 0
        if passes[0] > 3:
            raise RuntimeError("out of memory, so to speak")
        return execute(*args, **settings)

    monkeypatch.setattr(made, "collect", third)
    monkeypatch.setattr(worker, "execute_model", dying)
    with pytest.raises(EngineError, match=r"vLLM failed with \d+ rollouts unfinished .*run the same command again"):
        made.train()
    monkeypatch.undo()
    with pytest.raises(EngineError, match="vLLM failed"):
        rig.engine.generate(rig.requests(1))
    kept = metrics(tmp_path / "broken")
    assert [line["step"] for line in kept] == [1, 2]
    revive(rig)
    resumed = training(rig, tmp_path / "broken", rig.engine, "grpo")
    resumed.train()
    ours, theirs = metrics(tmp_path / "broken"), metrics(tmp_path / "straight")
    assert ours[:2] == kept
    assert [line["step"] for line in ours] == [1, 2, 3]
    for name in ("reward", "length_mean", "sampled_tokens"):
        assert [line[name] for line in ours] == [line[name] for line in theirs]
    rig.engine.sync(rig.policy().export(), 0)


def revive(rig: Rig) -> None:
    """A new vLLM in the place of the dead one."""
    from harness.engines.vllm import VLLMEngine

    rig.engine.close()
    rig.engine.__dict__.update(VLLMEngine.open(rig.folder, batch=16).__dict__)


def test_a_crash_keeps_the_samples_of_an_evaluation(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.core.records import Sampling
    from harness.evaluation.evaluate import Experiment, evaluate
    from harness.rollout.protocols import Tools
    from rewards.verifier.pool import Verifier
    from tasks.base import task

    examples = task.get(TASKS[rig.folder.name])("test").load()[:12]
    plan = Experiment(
        task=f"{TASKS[rig.folder.name]}-test",
        examples=examples,
        sampling=Sampling(max_new_tokens=16, n=8),
        protocol="strict",
        max_prompt_tokens=512,
    )
    core = rig.engine._llm.llm_engine
    step, calls = core.step, [0]

    def dying() -> Any:
        calls[0] += 1
        if calls[0] > 25:
            raise RuntimeError("engine core died")
        return step()

    with Verifier(workers=1) as verifier:
        monkeypatch.setattr(core, "step", dying)
        with pytest.raises(EngineError, match=r"rollouts unfinished \(RuntimeError: engine core died\)"):
            evaluate(plan, Tools(rig.renderer, rig.engine, verifier), folder=tmp_path)
        monkeypatch.undo()
        (log,) = tmp_path.glob("*/samples.jsonl")
        kept = [json.loads(line)["id"] for line in log.read_text().splitlines()]
        assert 0 < len(kept) < 96
        revive(rig)
        results = evaluate(plan, Tools(rig.renderer, rig.engine, verifier), folder=tmp_path)
        ids = [json.loads(line)["id"] for line in log.read_text().splitlines()]
    assert ids[: len(kept)] == kept
    assert sorted(ids) == sorted(e.id for e in examples for _ in range(8))
    assert results["generation"]["engine"]["engine"] == "vllm"
