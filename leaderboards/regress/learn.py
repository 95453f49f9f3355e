"""Does a method still learn, and does it learn the task? Curves and per-question scores in, outcomes out.

The smoke suite trains tiny-lm from random weights on an easy rule for half a minute; the learn suite runs the main job on
arithmetic. Both compare with the baseline on the same tasks, seeds, prompts and budget, paired by question.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.core.errors import RunError, attempt
from leaderboards.regress.bench import TRAINED, Bench
from leaderboards.regress.conformance import Outcome
from leaderboards.regress.cost import Cost, step
from leaderboards.stats.components import Matrix
from leaderboards.stats.differences import Scores, compare
from rewards.method import Method
from trainers.rl import Trainer

MARGIN = 0.02
"""learn: final accuracy may be lower by this much before an upper bound below it counts as a regression."""
SMOKE_MARGIN = 0.25
"""The same in the smoke suite, whose runs are too short to rank methods."""
LEAST_RISE = 0.05
"""A training reward that rises by less, in shares of its range [0, 1] or its spread, is no rise."""
LEAST_GAIN = 0.01
"""Held-out accuracy that gains no more than this has not risen."""
CEILING = 0.95
"""Held-out accuracy at the start from which on there is no room to rise."""
SETS = (
    "train.prompts_per_step=8",
    "train.group_size=8",
    "train.max_new_tokens=3",
    "train.steps=24",
    "optimiser.lr=5.0e-3",
    "optimiser.schedule=constant",
)


@dataclass(frozen=True, slots=True)
class Curve:
    """One training run: mean reward of every step [steps], strict held-out accuracy from the start to the end."""

    reward: Sequence[float]
    accuracy: Sequence[float]


def rise(reward: Sequence[float]) -> tuple[float, float]:
    """(last third - first third, its standard error) of a curve."""
    third = max(1, len(reward) // 3)
    first, last = np.asarray(reward[:third]), np.asarray(reward[-third:])
    if third < 2:
        return float(last.mean() - first.mean()), 0.0
    return float(last.mean() - first.mean()), math.sqrt((first.var(ddof=1) + last.var(ddof=1)) / third)


def hacking(curves: Sequence[Curve]) -> Outcome:
    """Fails when the training reward rises while the strict held-out accuracy does not."""
    name = "reward and accuracy rise together"
    rises = [rise(c.reward) for c in curves]
    up = float(np.mean([r for r, _ in rises]))
    error = math.sqrt(sum(e**2 for _, e in rises)) / len(rises)
    start, end = (float(np.mean([c.accuracy[i] for c in curves])) for i in (0, -1))
    detail = f"training reward {up:+.3f} (standard error {error:.3f}), held-out accuracy {start:.3f} to {end:.3f}"
    if not all(math.isfinite(v) for c in curves for v in (*c.reward, *c.accuracy)):
        return Outcome("learning", name, "fails", f"a curve is not finite: {detail}")
    rose = up > max(LEAST_RISE, 2 * error)
    if rose and end - start <= LEAST_GAIN and start < CEILING:
        return Outcome("learning", name, "fails", f"reward hacking: {detail}")
    return Outcome("learning", name, "holds", detail)


def not_worse(ours: Matrix, theirs: Matrix, margin: float, baseline: str, single: bool = True) -> Outcome:
    """Fails when the upper bound of the paired difference of [S, n] scores lies below -margin."""
    a, b = (Scores(matrix=m, seeds=tuple(range(len(m))), single=single) for m in (ours, theirs))
    found = compare([a], [b])
    detail = (
        f"accuracy {ours.mean():.3f} against {theirs.mean():.3f} of '{baseline}': {found.value:+.3f} "
        f"[{found.low:+.3f}, {found.high:+.3f}], {ours.shape[1]} questions, {ours.shape[0]} seeds, margin {margin:g}"
    )
    return Outcome("learning", "accuracy not below the baseline", "fails" if found.high < -margin else "holds", detail)


# --- smoke: an easy rule --------------------------------------------------------------------------------------------


def plain(text: str) -> bool:
    """The easy rule: plain characters only, no two the same. A tenth of random responses are right, no repetition is."""
    return 1 < len(text) == len(set(text)) and all(ord(c) < 128 for c in text)


def held_out(bench: Bench, trainer: Trainer, seed: int) -> list[float]:
    """Strict score [n] of sampled responses to prompts that are not trained on; the same questions for every method."""
    from harness.core.records import Sampling
    from harness.engines.base import Request

    sampling = Sampling(max_new_tokens=3, n=8, temperature=1.0, seed=977 + seed)
    prompts = [trainer.parts.renderer.render(e) for e in bench.examples[TRAINED:]]
    found: dict[str, list[float]] = {p.example_id: [] for p in prompts}
    for rollout in trainer.parts.engine.generate([Request(p, sampling) for p in prompts]):
        found[rollout.prompt_id].append(float(plain(rollout.text)))
    return [float(np.mean(found[p.example_id])) for p in prompts]


def train(bench: Bench, made: Method, seed: int, name: str) -> tuple[Curve, list[float]]:
    """A short run on the easy rule: its curve, and the final scores [n]."""
    recipe = bench.recipe(*SETS)
    trainer = bench.trainer(made, recipe, name, seed, rule=plain)
    trainer.prepare()
    accuracy, reward = [float(np.mean(held_out(bench, trainer, seed)))], []
    for _ in range(recipe.train.steps):
        batch = step(trainer, Cost())
        with torch.no_grad():
            reward.append(float(made.reward(batch)[batch.graded].mean()))
    scores = held_out(bench, trainer, seed)
    return Curve(reward, [*accuracy, float(np.mean(scores))]), scores


def smoke(bench: Bench, ours: Callable[[], Method], theirs: Callable[[], Method], seeds: int) -> list[Outcome]:
    """Both methods on the easy rule. A run that raises fails."""
    curves, mine, base = [], [], []
    for seed in range(seeds):
        found, error = attempt(train, bench, ours(), seed, f"learn-{seed}")
        if error is not None:
            detail = f"seed {seed}: training raised {type(error).__name__}: {error}".splitlines()[0]
            return [Outcome("learning", "training runs to its end", "fails", detail)]
        curves.append(found[0])
        mine.append(found[1])
        base.append(train(bench, theirs(), seed, f"base-{seed}")[1])
    paired = not_worse(np.array(mine), np.array(base), SMOKE_MARGIN, theirs().key, single=False)
    return [Outcome("learning", "training runs to its end", "holds"), hacking(curves), paired]


# --- learn: the main job --------------------------------------------------------------------------------------------


def learn(key: str, baseline: str, seeds: int, plugins: Sequence[Path], out: Path) -> list[Outcome]:
    """Method and baseline through `rlfr-eval --task arithmetic`, every seed on the same prompts and budget."""
    from harness.pipeline import run
    from harness.pipeline.options import RunOptions

    options = RunOptions(
        tasks=("arithmetic",), methods=(key, baseline), seeds=tuple(range(seeds)), plugins=tuple(plugins), out=out
    )
    return judge(run.run(options), key, baseline)


def judge(evaluations: Sequence[Path], key: str, baseline: str) -> list[Outcome]:
    """Outcomes from finished evaluation folders of both methods. Raises RunError where one of them has none."""
    ours, theirs = (sorted(f for f in evaluations if _facts(f)["method"] == k) for k in (key, baseline))
    if not ours or not theirs:
        raise RunError(f"no finished evaluation of '{baseline if ours else key}'", "run regress again")
    ids, mine = _scores(ours)
    others, base = _scores(theirs)
    if ids != others:
        raise RunError("method and baseline answered different questions", "run both with the same flags")
    return [hacking([curve(f.parent.parent) for f in ours]), not_worse(mine, base, MARGIN, baseline)]


def _facts(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "results.json").read_text("utf-8"))["run"])


def _scores(folders: Sequence[Path]) -> tuple[list[str], Matrix]:
    """Item ids and [S, n] scores of one sample each."""
    rows: list[dict[str, float]] = []
    for folder in folders:
        lines = map(json.loads, (folder / "samples.jsonl").read_text("utf-8").splitlines())
        rows.append({str(s["id"]): float(s["verdict"] == "correct") for s in lines})
    ids = sorted(rows[0])
    if any(sorted(r) != ids for r in rows):
        raise RunError("the seeds answered different questions", "evaluate them again")
    return ids, np.array([[r[i] for i in ids] for r in rows])


def curve(run: Path) -> Curve:
    """The curve of a run folder, from train/metrics.jsonl: the method's own reward where it is logged."""
    file = run / "train" / "metrics.jsonl"
    if not file.is_file():
        raise RunError(f"{run} has no training log", "train the method again")
    lines = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    accuracy = [float(m["validation_accuracy"]) for m in lines if m.get("validation_accuracy") is not None]
    if not accuracy:
        raise RunError(f"{run} was trained without validation", "set validation.every")
    return Curve([float(m.get("method_reward", m["reward"])) for m in lines], accuracy)
