"""What a step costs: two methods in, seconds, sampled tokens and forward passes per step out, measured in turns."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

from harness.core.errors import attempt
from leaderboards.regress.bench import Bench
from leaderboards.regress.conformance import Outcome
from rewards.method import Method
from trainers.rl import Trainer

ROUNDS = 6


@dataclass
class Cost:
    """Per step: seconds, sampled tokens, and forward passes in units of the step's rollouts (1: each rollout once)."""

    seconds: list[float] = field(default_factory=list)
    tokens: list[float] = field(default_factory=list)
    passes: list[float] = field(default_factory=list)

    def medians(self) -> dict[str, float]:
        named = {"seconds": self.seconds, "sampled_tokens": self.tokens, "forward_passes": self.passes}
        return {name: statistics.median(values) for name, values in named.items()}


def step(trainer: Trainer, cost: Cost) -> Any:
    """One step of training as the trainer does it, without journal and checkpoint; returns its batch."""
    before, rows = trainer.sampler.sampled_tokens, 0

    def count(_: Any, inputs: Any, __: Any) -> None:
        nonlocal rows
        rows += len(inputs[0].rows)

    hook = trainer.policy.register_forward_hook(count)
    start = time.perf_counter()
    try:
        trainer.sampler.start(trainer.step)
        batch = trainer.collect(trainer.progress())
        first = rows
        batch, _, _ = trainer.update(batch)
        trainer.method.learn(batch, trainer.context)
        trainer.step += 1
    finally:
        hook.remove()
    trainer.sync()
    cost.seconds.append(time.perf_counter() - start)
    cost.tokens.append(float(trainer.sampler.sampled_tokens - before))
    cost.passes.append((rows - first) / max(len(batch.rollouts), 1))
    return batch


def measure(bench: Bench, ours: Method, theirs: Method, rounds: int = ROUNDS) -> tuple[Cost, Cost]:
    """Both methods on policies of their own, step by step in turns; a first step of each is thrown away."""
    recipe = bench.recipe("train.max_new_tokens=16")
    trainers = [bench.trainer(m, recipe, f"cost-{n}") for n, m in enumerate((ours, theirs))]
    costs = [Cost(), Cost()]
    for trainer in trainers:
        trainer.prepare()
        step(trainer, Cost())
    turns = list(zip(trainers, costs, strict=True))
    for _ in range(rounds):
        for trainer, cost in turns:
            step(trainer, cost)
        turns.reverse()
    return costs[0], costs[1]


def check(bench: Bench, ours: Method, theirs: Method) -> tuple[list[Outcome], dict[str, dict[str, float]]]:
    """A cost is reported, not judged: a dearer method may be worth it. A step that raises fails."""
    found, error = attempt(measure, bench, ours, theirs)
    if error is not None:
        detail = f"a training step raised {type(error).__name__}: {error}".splitlines()[0]
        return [Outcome("cost", "a step can be taken", "fails", detail)], {}
    mine, base = (c.medians() for c in found)
    more = mine["forward_passes"] - base["forward_passes"]
    ratio = statistics.median(a / max(b, 1e-9) for a, b in zip(found[0].seconds, found[1].seconds, strict=True))
    detail = (
        f"{ratio:.2f} times the seconds of '{theirs.key}' "
        f"({mine['seconds']:.3f} against {base['seconds']:.3f}), {mine['sampled_tokens']:.0f} sampled tokens "
        f"against {base['sampled_tokens']:.0f}, {more:+.2f} forward passes per rollout"
    )
    return [Outcome("cost", "a step can be taken", "holds", detail)], {"method": mine, "baseline": base}
