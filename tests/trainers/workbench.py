"""A small policy with everything around it, for tests of the trainer: tiny-lm or tiny-vl with random weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch

from harness.core.config import Recipe, load
from harness.core.records import AnswerType, Example, Status, Verdict
from harness.models import loading
from harness.pipeline import policies
from harness.pipeline.journal import Journal
from rewards.method import Method, method
from tasks.base import task
from trainers.rl import Parts, Trainer

SMALL = (
    "train.prompts_per_step=4",
    "train.group_size=4",
    "train.max_new_tokens=12",
    "train.steps=4",
    "train.checkpoint_every=2",
    "train.kl_every=2",
    "validation=null",
    "expert.limit=8",
)


class CountingVerifier:
    """Right when the response holds an even number of the letter that the random policy likes: a reward with spread,
    decided by content alone."""

    def submit(self, job: Any) -> Future[dict[str, Verdict]]:
        right = sum(map(ord, job.response)) % 2 == 0
        done: Future[dict[str, Verdict]] = Future()
        status = Status.CORRECT if right else Status.INCORRECT
        done.set_result({"strict": Verdict(status=status, protocol="strict", reason="match", extracted=job.response)})
        return done

    def clusters(self, answers: Sequence[str | None], type: AnswerType, choices: Sequence[str] = ()) -> list[int]:
        return [answers.index(a) for a in answers]


def track(items: Iterable[Any], *_: Any) -> Iterator[Any]:
    yield from items


def recipe(name: str = "tiny-lm", *sets: str) -> Recipe:
    return load(name, sets=[*SMALL, *sets])


def trainer(
    start: Path,
    folder: Path,
    settings: Recipe,
    key: str = "grpo",
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Trainer:
    """A trainer on the policy at `start`, writing to `folder`."""
    from harness.engines.transformers import TransformersEngine

    made: Method = method.get(key)(**(options or {}))
    loaded = loading.load(start)
    renderer = policies.renderer(loaded, settings, made)
    policy = policies.trainable(loaded, settings.model, renderer.forbidden_ids)
    return Trainer(
        Parts(
            recipe=settings,
            method=made,
            policy=policy,
            engine=TransformersEngine.open(path=str(start), batch=16),
            renderer=renderer,
            verifier=CountingVerifier(),
            examples=examples(settings),
            expert=lambda: task.get(settings.expert.task)(settings.expert.split).load()[:8] if settings.expert else [],
            validate=None,
            journal=Journal(folder / "train"),
            folder=folder,
            cache=folder / "cache",
            seed=seed,
            digest=loaded.digest,
            track=track,
        )
    )


def examples(settings: Recipe) -> list[Example]:
    return task.get(settings.train.task)(settings.train.split).load()[:16]


def weights(made: Trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in made.policy.trainable()}


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "train" / "metrics.jsonl").read_text().splitlines()]
