"""A small policy with everything around it, on which a method is tried: tiny-lm with random weights, no download.

The rollouts of the contract and of the pinned numbers are recorded (references/batch.json), so they depend on no sampler.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from harness.core.config import Recipe, load
from harness.core.errors import ConfigError
from harness.core.records import Answer, AnswerType, Example, Finish, Rollout, Status, Verdict
from harness.models import loading, tiny
from harness.pipeline import policies
from harness.pipeline.journal import Journal
from leaderboards.regress.conformance import Subject
from rewards.method import Batch, Group, Method, Progress, method
from tasks.base import user
from trainers.assemble import assemble
from trainers.gradient import Gradient, advantage_of
from trainers.passes import run_passes
from trainers.rl import Parts, Trainer

REFERENCES = Path(__file__).parent / "references"
RECORDED = REFERENCES / "batch.json"
TRAINED = 8
SMALL = (
    "train.prompts_per_step=4",
    "train.group_size=4",
    "train.max_new_tokens=48",
    "train.steps=8",
    "train.kl_every=0",
    "train.log_rollouts=false",
    "validation=null",
)
APART = {"float32": 1e-4, "bfloat16": 2e-2}
"""Relative distance of gradients between the ways of a step that rounding makes, by what the policy computes in."""
Grader = Callable[[str], bool]


def even(text: str) -> bool:
    """A verdict with spread, decided by the response alone."""
    return sum(map(ord, text)) % 2 == 0


class Verdicts:
    """A verifier that grades by a rule on the text."""

    def __init__(self, rule: Grader) -> None:
        self.rule = rule

    def submit(self, job: Any) -> Future[dict[str, Verdict]]:
        done: Future[dict[str, Verdict]] = Future()
        done.set_result({"strict": verdict(self.rule(job.response), job.response)})
        return done

    @staticmethod
    def clusters(answers: Sequence[str | None], type: AnswerType, choices: Sequence[str] = ()) -> list[int]:
        return [answers.index(a) for a in answers]


def verdict(right: bool, extracted: str | None) -> Verdict:
    status = Status.CORRECT if right else Status.INCORRECT
    return Verdict(status=status, protocol="strict", reason="match" if right else "mismatch", extracted=extracted)


def quiet(items: Iterable[Any], *_: Any) -> Iterator[Any]:
    yield from items


def options_of(key: str, given: Mapping[str, Any] | None = None) -> Method:
    return method.get(key)(**(given or {}))


@dataclass
class Bench:
    """Trainers on tiny-lm with random weights, writing below `folder`; `dtype` is what they compute in."""

    folder: Path
    dtype: str = "float32"

    @cached_property
    def start(self) -> Path:
        return tiny.build("tiny-lm", self.folder / "tiny-lm")

    def recipe(self, *sets: str) -> Recipe:
        return load("tiny-lm", sets=[*SMALL, f"model.dtype={self.dtype}", *sets])

    @cached_property
    def examples(self) -> list[Example]:
        """Items with fixed texts, the first TRAINED to train on: a generated task may change, a recorded prompt may not."""
        return [_example(n) for n in range(20)]

    def trainer(
        self, made: Method, recipe: Recipe, name: str, seed: int = 0, rule: Grader = even, engine: bool = True
    ) -> Trainer:
        """A trainer of `made` on weights of its own; `name` separates its folder."""
        from harness.engines.transformers import TransformersEngine

        loaded = loading.load(self.start)
        renderer = policies.renderer(loaded, recipe, made)
        sampler: Any = TransformersEngine.open(path=str(self.start), batch=64) if engine else None
        folder = self.folder / name
        return Trainer(
            Parts(
                recipe=recipe,
                method=made,
                policy=policies.trainable(loaded, recipe.model, renderer.forbidden_ids),
                engine=sampler,
                renderer=renderer,
                verifier=Verdicts(rule),
                examples=self.examples[:TRAINED],
                expert=lambda: self.examples,
                validate=None,
                journal=Journal(folder / "train"),
                folder=folder,
                cache=self.folder / "cache",
                seed=seed,
                digest=loaded.digest,
                track=quiet,
            )
        )

    @cached_property
    def home(self) -> Trainer:
        """The trainer whose policy and context the contract uses."""
        made = self.trainer(options_of("grpo"), self.recipe(), "home")
        made.prepare()
        made.policy.keep_start()
        made.context.resumed = False
        return made

    @cached_property
    def batch(self) -> Batch:
        """The recorded rollouts, without signals."""
        return recorded(self.home, self.examples)

    def made(self, key: str, given: Mapping[str, Any] | None = None) -> Method:
        """A method, set up on the bench's policy."""
        built = options_of(key, given)
        self.home.context.resumed = False
        built.setup(self.home.context)
        return built

    def sweep(self, made: Method, batch: Batch) -> Batch:
        """The batch with the readings of the method's passes."""
        train = self.home.recipe.train
        return run_passes(self.home.policy, made, made.passes, batch, 0, train.micro_batch_tokens, train.temperature)

    def gradient(self, made: Method) -> Gradient:
        return Gradient(self.home.policy, made, self.home.recipe, 0)

    def taken(self) -> Tensor:
        """The policy's gradient as one vector [P], which is cleared."""
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for _, p in self.home.policy.trainable()]
        self.home.optimiser.zero_grad(set_to_none=True)
        return torch.cat(parts).double()

    def ways(self, made: Method, batch: Batch) -> dict[str, Tensor]:
        """Gradient [P] of the first mini-batch by every way that applies to the method."""
        work, full = self.gradient(made), self.sweep(made, batch)
        with torch.no_grad():
            advantage = advantage_of(made, full)
        mini, part = next(iter(made.steps(full, advantage)))
        work.coefficients(mini, part, first=True)
        found = {"general": self.taken()}
        if made.loss_scope != "batch" and work.grouped(mini, part) is not None:
            found["group by group"] = self.taken()
        if work.one_forward() and work.single(batch) is not None:
            found["one forward"] = self.taken()
        return found

    def subject(self, key: str, given: Mapping[str, Any] | None = None) -> Subject:
        """The method as the contract's properties see it."""
        return Subject(
            make=lambda **options: self.made(key, {**(given or {}), **options}),
            other=self.made,
            sweep=self.sweep,
            context=self.home.context,
            ways=self.ways,
            apart=APART[self.dtype],
        )


def _example(number: int) -> Example:
    left, right = 7 + 5 * number % 23, 3 + 11 * number % 19
    return Example(
        id=f"sum-{number}",
        task="regress",
        messages=user(f"What is {left} + {right}?"),
        answer=Answer(type=AnswerType.INTEGER, golds=(str(left + right),)),
        solution=f"{left} + {right} = {left + right}. \\boxed{{{left + right}}}",
    )


def write_recorded(file: Path = RECORDED, seed: int = 20_251_010) -> None:
    """Four prompts with four responses each, of all lengths, from Python's own random stream; the last group is all wrong."""
    stream = random.Random(seed)
    rows = []
    for prompt in range(4):
        gold = int(_example(prompt).answer.golds[0])
        for sample in range(4):
            right = prompt < 3 and sample in (0, 1 + prompt)
            answer = str(gold if right else gold + stream.randint(1, 3))
            steps = " ".join(str(stream.randint(0, 99)) for _ in range(stream.randint(0, 4)))
            form = stream.choice(["<think>{s}</think><answer>\\boxed{{{a}}}</answer>", "{s} \\boxed{{{a}}}", "{a}"])
            text = form.format(s=steps, a=answer)
            rows.append({"prompt": prompt, "text": text, "answer": answer, "right": right, "cut": sample == 3})
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"schema": 1, "rollouts": rows}, indent=1) + "\n", "utf-8")


def recorded(home: Trainer, examples: Sequence[Example], file: Path = RECORDED) -> Batch:
    """The recorded rollouts as a batch. Raises ConfigError where they are missing."""
    if not file.is_file():
        raise ConfigError(f"no recorded rollouts at {file}", "install the project again, or run regress --update")
    rows = json.loads(file.read_text("utf-8"))["rollouts"]
    renderer = home.parts.renderer
    groups = []
    for number in sorted({r["prompt"] for r in rows}):
        mine = [r for r in rows if r["prompt"] == number]
        prompt = renderer.render(examples[number])
        rollouts = tuple(_rollout(renderer, prompt.example_id, k, r) for k, r in enumerate(mine))
        groups.append(
            Group(
                example=examples[number],
                prompt=prompt,
                rollouts=rollouts,
                verdicts=tuple(verdict(r["right"], r["answer"]) for r in mine),
                components=tuple({"outcome": float(r["right"])} for r in mine),
            )
        )
    return assemble(
        groups, home.recipe, Progress(step=3, total=8), home.policy.device, Verdicts.clusters, renderer.decode
    )


def _rollout(renderer: Any, prompt: str, sample: int, row: Mapping[str, Any]) -> Rollout:
    ids = tuple(renderer.encode(row["text"]))
    if not row["cut"]:
        ids = (*ids, sorted(renderer.end_ids)[0])
    return Rollout(
        prompt_id=prompt,
        sample_index=sample,
        token_ids=ids,
        logprobs=(0.0,) * len(ids),
        finish=Finish.LENGTH if row["cut"] else Finish.STOP,
        text=row["text"],
    )
