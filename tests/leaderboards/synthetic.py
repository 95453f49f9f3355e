"""Finished runs with known answers, written by the code that writes real ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.core.records import Finish, Rollout, Sampling, Side, Status, Verdict
from harness.core.runs import RunFacts, run_folder
from harness.evaluation.results import TaskFacts, finish, results_of
from harness.rollout.loop import Graded
from harness.rollout.samples import SampleLog, to_sample
from tests.harness.fakes import Exact, example


def evaluation(
    out: Path,
    facts: RunFacts,
    right: Sequence[Sequence[bool | None]],
    *,
    task: str = "toy-test",
    protocol: str = "official",
    cut: float = 0.0,
    note: Sequence[int] = (),
) -> Path:
    """One evaluation folder; `right[i][k]`: is sample k of item i right (None: ungraded). `cut`: share truncated."""
    n = len(right[0])
    folder = run_folder(
        out, model=facts.model, method=facts.name, train_task=facts.train_task, seed=facts.seed, key=facts.config
    )
    target = folder / "eval" / f"{task}-{abs(hash((task, n))) % 10**8:08d}"
    examples = [
        example(str(i), note="gold is wrong" if i in note else "", subject=f"subject {i % 3}")
        for i in range(len(right))
    ]
    stream = random.Random(facts.seed)
    with SampleLog(target) as log:
        for item, row in zip(examples, right, strict=True):
            for k, value in enumerate(row):
                log.add(_sample(item, k, value, protocol, stream.random() < cut))
    sampling = asdict(Sampling(max_new_tokens=96, n=n, temperature=0.6 if n > 1 else 0.0, seed=facts.seed))
    described: dict[str, Any] = {
        "task": task,
        "task_version": 1,
        "verifier": 1,
        "protocol": protocol,
        "generation": {
            "content": "c",
            "prompt": "p",
            "sampling": sampling,
            "engine": {"engine": "slow"},
            "policy": "d",
        },
        "run": asdict(facts),
        "cost": {"seconds": 12.5, "sampled_tokens": sum(s.tokens for s in log.samples)},
    }
    results = results_of(log.samples, examples, described, TaskFacts(categories=("subject",)), Exact())
    finish(target, results, {})
    return target


def _sample(item: Any, k: int, value: bool | None, protocol: str, cut: bool) -> Any:
    text = "1" if value else "2"
    rollout = Rollout(
        prompt_id=item.id,
        sample_index=k,
        token_ids=(1, 2, 3) * 7,
        logprobs=(0.0,) * 21,
        finish=Finish.LENGTH if cut else Finish.STOP,
        text=f"I think it is {text}",
    )
    status = Status.UNGRADED if value is None else Status.CORRECT if value else Status.INCORRECT
    verdicts = {
        p: Verdict(
            status=status,
            protocol=p,
            reason="worker_lost" if value is None else "match" if value else "mismatch",
            extracted=None if value is None else text,
            side=Side.INSTRUMENT if value is None else None,
        )
        for p in ("official", "strict")
    }
    return to_sample(Graded(item, rollout, verdicts), protocol, categories={"subject": item.metadata["subject"]})


def facts(method: str, seed: int = 0, **fields: Any) -> RunFacts:
    trained = method != "base" and "label" not in fields
    values: dict[str, Any] = {
        "model": "tiny-lm",
        "method": method,
        "seed": seed,
        "recipe": "tiny-lm",
        "setting": "1a2b3c4d5e6f",
        "config": f"{method}-config",
        "train_task": "arithmetic-train" if trained else "",
        "train_seconds": 61.2 if trained else 0.0,
        "train_tokens": 123_456 if trained else 0,
        "train_steps": 30 if trained else 0,
    }
    return RunFacts(**{**values, **fields})


def draw(n: int, share: float, seed: int, samples: int = 1) -> list[list[bool]]:
    """Items of one difficulty each, so that rows are paired; `seed` moves the answers a little."""
    hard, own = random.Random(0), random.Random(seed + 1)
    levels = [hard.random() for _ in range(n)]
    return [[0.85 * level + 0.15 * own.random() < share for _ in range(samples)] for level in levels]


def runs(out: Path, n: int = 300) -> None:
    """A folder as a user would have it: three methods, two seeds, an outside policy, a paper's recipe, repeats."""
    evaluation(out, facts("base"), draw(n, 0.4, 0), cut=0.05)
    for seed in (0, 1):
        evaluation(out, facts("grpo", seed), draw(n, 0.55, 10 + seed))
        evaluation(out, facts("rlfr", seed), draw(n, 0.57, 20 + seed), note=(1, 2))
        evaluation(out, facts("entropy-adv", seed), [[None], *draw(n - 1, 0.5, 30 + seed)])
    evaluation(out, facts("rlfr", paper=True, config="paper", setting="ffeeddccbbaa"), draw(n, 0.6, 40))
    evaluation(out, facts("policy", label="verl-7b", model="/models/verl-7b", config="v"), draw(n, 0.5, 50))
    lost: list[list[bool | None]] = [[None] for _ in range(n // 10)]
    evaluation(out, facts("dapo", config="dapo"), [*lost, *draw(n - n // 10, 0.6, 60)])
    evaluation(out, facts("base"), draw(n, 0.4, 70, 8), task="toy-hard")
    evaluation(out, facts("rlfr"), draw(n, 0.6, 80, 8), task="toy-hard")
