"""Training in bfloat16 (autocast over float32 weights, on the CPU): sweeps and training see the same numbers, everything
that is summed or kept is float32, every method keeps its promises.

A few methods run in the default suite; `make test-bf16` runs all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from harness.core.config import Lora
from leaderboards.regress import conformance
from leaderboards.regress.bench import Bench
from rewards.method import Batch, Progress, method
from tests.trainers import small
from tests.trainers.test_gradient import general, gradient, grads
from tests.trainers.workbench import metrics, recipe, trainer
from trainers.gradient import Gradient, advantage_of
from trainers.passes import run_passes
from trainers.rl import Trainer

HALF = "model.dtype=bfloat16"
SHARE = ("grpo", "gspo", "rlfr")
TRAINED = [entry.key for entry in method.entries() if method.get(entry.key).trains]
METHODS = [key if key in SHARE else pytest.param(key, marks=pytest.mark.bf16) for key in TRAINED]
FLOW: dict[str, Any] = {"offline_epochs": 1, "depth": 1, "width": 32, "noise_draws": 2}

WAYS = 2e-2
"""Relative distance of gradients between the ways of a step: slopes reach the head in another order of rounding."""
EXACT = 5e-2
"""Relative distance of a bfloat16 gradient from the float32 one."""


def options(key: str) -> dict[str, Any]:
    return FLOW if key == "rlfr" else {}


def rollouts(start: Path, folder: Path, *sets: str, key: str = "grpo") -> tuple[Trainer, Batch]:
    made = trainer(start, folder, recipe("tiny-lm", HALF, *sets), key, options=options(key))
    made.prepare()
    made.sampler.start(0)
    return made, made.collect(Progress())


@pytest.fixture(scope="module")
def half(tiny_lm: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Batch]:
    return rollouts(tiny_lm, tmp_path_factory.mktemp("half"))


@pytest.mark.parametrize("key", SHARE)
def test_before_any_update_the_ratio_is_one(tiny_lm: Path, tmp_path: Path, key: str) -> None:
    """Old log-probabilities come from a sweep, the new ones from the training forward: both in bfloat16."""
    made, batch = rollouts(tiny_lm, tmp_path, "train.mini_batches=2", key=key)
    train = made.recipe.train
    full = run_passes(made.policy, made.method, made.method.passes, batch, 0, train.micro_batch_tokens, 1.0)
    with torch.no_grad():
        advantage = advantage_of(made.method, full)
    for mini, part in made.method.steps(full, advantage):
        tally = made.gradient.grouped(mini, part) or made.gradient.coefficients(mini, part, first=False)
        assert tally.tokens > 0
        assert tally.ratio_max == 1.0 and tally.ratio_sum == tally.tokens
        logp, _ = made.gradient._values(mini, mini.graded.nonzero().squeeze(-1).tolist())
        assert torch.equal(logp[mini.mask], mini.old_logp[mini.mask])


def test_an_autocast_around_the_call_changes_nothing(half: tuple[Trainer, Batch]) -> None:
    """The policy decides: float32 stays float32 under a caller's autocast, bfloat16 needs none."""
    exact, rough = small.policy("qwen2"), small.policy("qwen2", dtype="bfloat16")
    (mb,) = exact.plan(small.items("qwen2"), 10_000)
    with torch.no_grad():
        plain = [exact(mb).logp, rough(mb).logp]
        with torch.autocast("cpu", torch.bfloat16):
            inside = [exact(mb).logp, rough(mb).logp]
    assert all(torch.equal(a, b) for a, b in zip(plain, inside, strict=True))
    assert not torch.equal(plain[0], plain[1])


def test_swapped_weights_are_seen_in_bfloat16(half: tuple[Trainer, Batch]) -> None:
    """Autocast keeps casts of weights: one held open over a swap would compute with the old ones."""
    policy = small.policy("qwen2", dtype="bfloat16")
    (mb,) = policy.plan(small.items("qwen2"), 10_000)
    with torch.no_grad():
        start = policy(mb).logp
        policy.keep_start()
        for _, parameter in policy.trainable():
            parameter.mul_(1.1)
        assert not torch.equal(policy(mb).logp, start)
        with policy.weights("start"):
            assert torch.equal(policy(mb).logp, start)


@pytest.mark.parametrize("lora", [None, Lora(rank=4, alpha=8)])
def test_what_is_summed_or_kept_is_float32(tiny_lm: Path, tmp_path: Path, lora: Lora | None) -> None:
    sets = ("train.steps=2", "train.mini_batches=2", "train.kl=0.01", "train.kl_every=1")
    given = ("model.lora={rank: 4, alpha: 8}",) if lora else ()
    made = trainer(
        tiny_lm, tmp_path, recipe("tiny-lm", HALF, *sets, *given), "rlfr", options=FLOW | {"precision": "bfloat16"}
    )
    dtypes = set()
    read = made.policy.forward

    def noted(*args: Any, **more: Any) -> Any:
        out = read(*args, **more)
        dtypes.update({out.logp.dtype, out.entropy.dtype})
        return out

    made.policy.forward = noted  # type: ignore[method-assign]
    made.train()
    assert dtypes == {torch.float32}
    kept = [*made.method.optimisers.values(), made.optimiser]
    states = [v for o in kept for s in o.state.values() for v in s.values() if v.is_floating_point()]
    masters = [p for o in kept for g in o.param_groups for p in g["params"]]
    assert states and {v.dtype for v in [*states, *masters]} == {torch.float32}
    line = metrics(tmp_path)[0]
    assert line["ratio_mean"] == pytest.approx(1.0, abs=0.02) and line["kl_start"] >= 0
    assert 0 < line["engine_mismatch_mean"] < 0.1


@pytest.mark.parametrize("key", METHODS)
def test_every_way_of_a_step_gives_nearly_the_same_gradient(half: tuple[Trainer, Batch], key: str) -> None:
    made, batch = half
    work = gradient(made, key)
    full = run_passes(made.policy, work.method, work.method.passes, batch, 0, work.budget, 1.0)
    if not bool((advantage_of(work.method, full) != 0).any()):
        pytest.skip("this method has no signal on the recorded batch")
    first = general(made, work, batch, "first")
    if not bool((first != 0).any()):
        pytest.skip("no token that this method keeps has an advantage on the recorded batch")
    found = {"later": general(made, work, batch, "later")}
    if work.method.scope != "batch":
        found["grouped"] = general(made, work, batch, "grouped")
    if work.one_forward() and work.single(batch) is not None:
        found["single"] = grads(made)
    apart = {name: float((g - first).norm() / first.norm()) for name, g in found.items()}
    assert all(d <= WAYS for d in apart.values()), apart
    exact = _in_float32(made, work, full)
    assert float((first - exact).norm() / exact.norm()) <= EXACT


def _in_float32(made: Trainer, work: Gradient, full: Batch) -> torch.Tensor:
    """The gradient of the same losses through a float32 forward: what bfloat16 costs."""
    made.policy.dtype = "float32"
    try:
        with torch.no_grad():
            advantage = advantage_of(work.method, full)
        mini, part = next(iter(work.method.steps(full, advantage)))
        work.coefficients(mini, part, first=True)
        return grads(made)
    finally:
        made.policy.dtype = "bfloat16"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), dtype="bfloat16")


@pytest.mark.parametrize("key", METHODS)
def test_every_method_keeps_its_promises(bench: Bench, key: str) -> None:
    subject = bench.subject(key, options(key))
    swept = bench.sweep(subject.make(), bench.batch)
    found = conformance.check(subject, conformance.cases(swept))
    assert [o for o in found if o.status == "fails"] == []
    assert "holds" in {o.status for o in found}
