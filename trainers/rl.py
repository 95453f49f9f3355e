"""The RL trainer: named phases from prompts to a better policy.

    collect -> passes -> reward -> advantage -> shape -> (loss, step)* -> learn -> sync -> log -> checkpoint

Engine, renderer, verifier and validation come as objects, so that training and evaluation are one path. No method is
known by name here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from harness.core import checkpoint
from harness.core.config import Recipe
from harness.core.errors import EngineError, TrainingError
from harness.core.records import Example, Prompt, Sampling
from harness.engines.base import Engine, Request
from harness.rollout.protocols import Encodes, Grades, Tools
from rewards.hooks import call_hook
from rewards.method import Batch, Group, Method, Progress
from rewards.support.schedule import cosine
from trainers.assemble import assemble
from trainers.batching import Item
from trainers.context import TrainerContext
from trainers.gradient import START, Gradient, Tally, advantage_of, unread
from trainers.interrupts import Interrupts
from trainers.passes import items, run_passes
from trainers.policy import Policy
from trainers.sampling import Sampler, prompts_at
from trainers.step_metrics import step_metrics

PROBE_BOUND = {"float32": 1e-3, "bfloat16": 0.3}
"""Largest allowed difference of a log-probability between engine and trainer on the probe prompts, by dtype."""

MISMATCH_BOUND = {"float32": 1e-3, "bfloat16": 0.1}
"""Largest allowed mean difference over a step's rollouts where train.mismatch_bound is not set, by dtype."""


class Journals(Protocol):
    """Keeps what training did, step by step."""

    def rewind(self, step: int) -> None:
        """Forget what was written after `step`."""
        ...

    def step(self, metrics: Mapping[str, Any], batch: Batch, advantage: Tensor, dropped: Sequence[str]) -> None:
        """Append one step: its numbers, its rollouts, and the ids of prompts that were too long."""
        ...


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the pipeline hands to the trainer."""

    recipe: Recipe
    method: Method
    policy: Policy
    engine: Engine
    renderer: Encodes
    verifier: Grades
    examples: Sequence[Example]
    expert: Callable[[], list[Example]]
    validate: Callable[[int], float] | None
    journal: Journals
    folder: Path
    cache: Path
    seed: int
    digest: str
    track: Callable[..., Iterator[Any]]
    task_version: int = 1


class Trainer:
    """Trains `parts.policy` in place. `train()` resumes from the newest checkpoint of the folder."""

    def __init__(self, parts: Parts) -> None:
        recipe = parts.recipe
        self.parts, self.recipe, self.method, self.policy = parts, recipe, parts.method, parts.policy
        self.sampler = Sampler(
            Tools(parts.renderer, parts.engine, parts.verifier),
            recipe,
            parts.seed,
            parts.task_version,
            parts.examples,
        )
        parameters = [p for _, p in parts.policy.trainable()]
        settings = recipe.optimiser
        fused = parts.policy.device.type == "cuda"  # the multi-tensor step holds one more copy of all parameters
        self.optimiser = torch.optim.AdamW(
            parameters, lr=settings.lr, betas=settings.betas, weight_decay=settings.weight_decay, fused=fused
        )
        self.gradient = Gradient(parts.policy, parts.method, recipe, parts.seed)
        self.step, self.norm, self.saved, self.saved_at = 0, 0.0, 0, time.monotonic()
        self.interrupts = Interrupts()
        self.validation: float | None = None
        self.seconds: dict[str, float] = {}

    # --- the loop ---------------------------------------------------------------------------------------------------

    def train(self) -> dict[str, Any]:
        """Run to the end of the budget; returns what the manifest records. Ctrl-C and SIGTERM leave a checkpoint of the last
        whole step and raise KeyboardInterrupt."""
        with Interrupts() as self.interrupts:
            return self._train()

    def _train(self) -> dict[str, Any]:
        with self.interrupts.free():
            self.prepare()
        for _ in self.parts.track(self._until_spent(), f"train {self.method.key}", self.recipe.train.steps):
            self.seconds = {k: v for k, v in self.seconds.items() if k == "checkpoint"}  # of the step before
            self.sampler.start(self.step)
            progress = self.progress()
            with self.phase("collect"):
                batch = self.interruptible(progress)
                self.parts.engine.rest()
            if self.step == 0:
                self.check_layout(batch)
            with self.phase("update"):
                batch, advantage, tallies = self.update(batch)
            with self.phase("learn"):
                learned = call_hook(self.method, "learn", batch, self.context) if tallies else {}
            self.step += 1
            with self.phase("kl"):
                kl = self.measured_kl(batch) if tallies else None
            with self.phase("sync"):
                self.sync()
            with self.phase("validate"):
                self.validate()
            self.log(batch, advantage, tallies, learned, kl)
            with self.phase("checkpoint"):
                self.checkpoint()
            if self.interrupts.asked:
                raise KeyboardInterrupt
        return {"steps": self.step, "sampled_tokens": self.sampler.sampled_tokens, "validation": self.validation}

    def prepare(self) -> None:
        """Method set-up, resume, weights into the engine, the first-batch check."""
        self.parts.engine.rest()  # the method's set-up has the device to itself
        state = checkpoint.newest(self.parts.folder / "checkpoints")
        self.context = TrainerContext(
            policy=self.policy,
            renderer=self.parts.renderer,
            expert=self.parts.expert,
            cache=self.parts.cache,
            seed=self.parts.seed,
            digest=self.parts.digest,
            total_steps=self.recipe.train.steps,
            policy_steps=self.recipe.train.mini_batches,
            budget=self.recipe.train.micro_batch_tokens,
            grad_clip=self.recipe.optimiser.grad_clip,
            track=self.parts.track,
            resumed=state is not None,
            expert_tokens=self.recipe.expert.max_tokens if self.recipe.expert else None,
        )
        train = self.recipe.train
        if train.kl or train.kl_every or any(p.weights == "start" for p in self.method.passes):
            self.policy.keep_start()
        self.policy.eval()
        self.method.setup(self.context)
        if state is not None:
            self.restore(state)
        self.parts.journal.rewind(self.step)
        self.sync()

    def interruptible(self, progress: Progress) -> Batch:
        """`collect`, which may be interrupted anywhere: a checkpoint of the step before is left then."""
        before = self.state()
        try:
            with self.interrupts.free():
                return self.collect(progress)
        except KeyboardInterrupt:
            if self.step > self.saved:
                checkpoint.save(self.parts.folder / "checkpoints", self.step, before)
            raise

    def collect(self, progress: Progress) -> Batch:
        """Rollouts of this step, graded, as a batch."""
        train = self.recipe.train
        prompts = prompts_at(self.parts.examples, self.parts.seed, self.step, train.prompts_per_step)
        unique = list({e.id: e for e in prompts}.values())
        groups: list[Group] = self.method.collect(self.sampler, unique, progress)
        clusters, decode = self.parts.verifier.clusters, self.parts.renderer.decode
        return assemble(groups, self.recipe, progress, self.policy.device, clusters, decode)

    def check_layout(self, batch: Batch) -> None:
        """Packed against padded log-probabilities on a few rollouts, while the engine rests: the padded pass holds whole
        logits. Raises TrainingError."""
        train = self.recipe.train
        rows = batch.graded.nonzero().squeeze(-1).tolist()[: 2 * train.group_size]
        for mb in self.policy.plan(items(batch, rows), train.micro_batch_tokens)[:1]:
            self.policy.check_first_batch(mb)

    def update(self, batch: Batch) -> tuple[Batch, Tensor, list[Tally]]:
        """Gradients and optimiser steps: the cheapest of the equal ways that applies. None without a graded rollout."""
        if not bool(batch.graded.any()):
            self.norm = 0.0
            return unread(batch), torch.zeros_like(batch.engine_logp), []
        if self.gradient.one_forward():
            self.optimiser.zero_grad(set_to_none=True)
            done = self.gradient.single(batch)
            if done is not None:
                self.optimise(0, 1)
                return done[0], done[1], [done[2]]
        train = self.recipe.train
        passes = (
            *self.method.passes,
            *((START,) if train.kl and "start" not in {p.name for p in self.method.passes} else ()),
        )
        batch = run_passes(
            self.policy, self.method, passes, batch, self.parts.seed, train.micro_batch_tokens, train.temperature
        )
        with torch.no_grad():
            advantage = advantage_of(self.method, batch)
        tallies = []
        for number, (mini, part) in enumerate(self.method.steps(batch, advantage)):
            self.optimiser.zero_grad(set_to_none=True)
            tally = None if self.method.loss_scope == "batch" else self.gradient.grouped(mini, part)
            tallies.append(tally or self.gradient.coefficients(mini, part, first=number == 0))
            self.optimise(number, train.mini_batches)
        return batch, advantage, tallies

    def optimise(self, number: int, of: int) -> None:
        """Clip and step. A parameter without gradient gets zeros, so that every way of a step moves it alike."""
        parameters = [p for _, p in self.policy.trainable()]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.recipe.optimiser.grad_clip))
        if not math.isfinite(self.norm):
            raise TrainingError(
                f"gradient norm is {self.norm} at step {self.step}",
                "lower optimiser.lr, or look at train/metrics.jsonl",
            )
        settings = self.recipe.optimiser
        fraction = self.spent() + number / of / max(self.recipe.train.steps, 1)
        scale = (
            cosine(fraction, settings.warmup, settings.final_lr, floor=1e-3) if settings.schedule == "cosine" else 1.0
        )
        for group in self.optimiser.param_groups:
            group["lr"] = settings.lr * scale
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)  # gradients are not held while the engine wakes

    def sync(self) -> None:
        """Weights into the engine, then the probe: both sides must give the same log-probabilities."""
        self.parts.engine.sync(self.policy.export(), self.step)
        difference = self.probe()
        bound = PROBE_BOUND[self.recipe.model.dtype]
        if not difference <= bound:
            raise EngineError(
                f"after sync {self.step} engine and trainer differ by {difference:.2g} in a log-probability (bound {bound:g})",
                "the engine does not run the trainer's weights; check the versions of the engine",
            )

    # --- smaller parts ----------------------------------------------------------------------------------------------

    def probe(self) -> float:
        """Largest difference of log-probabilities over a few greedy tokens of the first prompts (text and image)."""
        prompts: dict[bool, Prompt] = {}
        for example in self.parts.examples[:16]:
            prompt = self.parts.renderer.render(example)
            if len(prompt.ids) <= self.recipe.rendering.max_prompt_tokens:
                prompts.setdefault(prompt.patches is not None, prompt)
        sampling = Sampling(max_new_tokens=4, temperature=0.0, seed=0)
        worst = 0.0
        for prompt in prompts.values():
            (rollout,) = self.parts.engine.generate([Request(prompt, sampling)])
            with torch.no_grad():
                (mb,) = self.policy.plan(
                    [Item(prompt, (rollout.token_ids,), (0,))], self.recipe.train.micro_batch_tokens
                )
                ours = self.policy(mb).logp.float().cpu()
            worst = max(worst, float((ours - torch.tensor(rollout.logprobs)).abs().max()))
        return worst

    def validate(self) -> None:
        settings = self.recipe.validation
        if self.parts.validate and settings and settings.every and self.step % settings.every == 0:
            self.validation = self.parts.validate(self.step)

    def log(
        self, batch: Batch, advantage: Tensor, tallies: list[Tally], learned: dict[str, float], kl: float | None
    ) -> None:
        metrics = step_metrics(batch, advantage, tallies, kl)
        metrics |= {f"method/{k}": v for k, v in learned.items()}
        with torch.no_grad():
            own = self.method.reward(batch)[batch.graded].mean() if tallies else None
        metrics |= {
            "method_reward": None if own is None else float(own),
            "step": self.step,
            "gradient_norm": self.norm,
            "lr": self.optimiser.param_groups[0]["lr"],
            "sampled_tokens": self.sampler.sampled_tokens,
            "dropped_prompts": len(self.sampler.dropped),
            "validation_accuracy": self.validation,
            **{f"seconds/{k}": v for k, v in self.seconds.items()},
        }
        self.parts.journal.step(metrics, batch, advantage, self.sampler.dropped)
        self.demand_match(metrics.get("engine_mismatch_mean"))

    def demand_match(self, mismatch: float | None) -> None:
        """Stop before the checkpoint of a step whose rollouts the engine and the trainer score differently."""
        bound = self.recipe.train.mismatch_bound or MISMATCH_BOUND[self.recipe.model.dtype]
        if mismatch is not None and not mismatch <= bound:
            raise EngineError(
                f"step {self.step}: engine and trainer differ by {mismatch:.2g} in the mean log-probability of a token "
                f"(bound {bound:g})",
                "check the engine's versions and dtype, or raise train.mismatch_bound and set train.importance_cap",
            )

    def measured_kl(self, batch: Batch) -> float | None:
        """KL to the start policy where this step measures it, before the engine wakes: the start weights need its room."""
        every = self.recipe.train.kl_every
        return self.kl_to_start(batch) if every and (self.step % every == 0 or self.step == 1) else None

    def kl_to_start(self, batch: Batch, rollouts: int = 32) -> float:
        """KL(policy || start) by k3 over the first graded rollouts, per token; measured after this step's update."""
        rows = batch.graded.nonzero().squeeze(-1)[:rollouts].tolist()
        total, tokens = 0.0, 0
        with torch.no_grad():
            for mb in self.policy.plan(items(batch, rows), self.recipe.train.micro_batch_tokens):
                now = self.policy(mb).logp
                with self.policy.weights("start"):
                    difference = self.policy(mb).logp - now
                total += float((difference.exp() - difference - 1).sum())
                tokens += len(mb.targets)
        return total / max(tokens, 1)

    def checkpoint(self) -> None:
        """Every so many steps, every so many minutes, at the end, and when a signal asks the run to stop."""
        train = self.recipe.train
        due = self.step % train.checkpoint_every == 0 or self.spent() >= 1 or self.interrupts.asked
        late = time.monotonic() - self.saved_at >= 60 * train.checkpoint_minutes
        if due or late:
            checkpoint.save(self.parts.folder / "checkpoints", self.step, self.state())
            self.saved, self.saved_at = self.step, time.monotonic()

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "sampled_tokens": self.sampler.sampled_tokens,
            "validation": self.validation,
            "norm": self.norm,
            "policy": {name: p.detach() for name, p in self.policy.trainable()},
            "optimiser": self.optimiser.state_dict(),
            "method": self.method.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        parameters = dict(self.policy.trainable())
        if set(parameters) != set(state["policy"]):
            raise TrainingError(
                "the checkpoint holds other parameters than the policy trains", "start a new run with --out"
            )
        with torch.no_grad():
            for name, value in state["policy"].items():
                parameters[name].copy_(value)
        self.optimiser.load_state_dict(state["optimiser"])
        self.method.load_state_dict(state["method"])
        self.step, self.validation, self.norm = state["step"], state["validation"], state["norm"]
        self.sampler.sampled_tokens = state["sampled_tokens"]
        self.saved = self.step

    def progress(self) -> Progress:
        train = self.recipe.train
        epoch = self.step * train.prompts_per_step / len(self.parts.examples)
        return Progress(
            step=self.step,
            total=train.steps,
            spent=self.spent() if train.sampled_tokens else None,
            epoch=epoch,
            validation=self.validation,
            gradients={"total": self.norm},
        )

    def spent(self) -> float:
        """Fraction of the budget used: of sampled tokens where the recipe names them, else of steps."""
        train = self.recipe.train
        if train.sampled_tokens:
            return self.sampler.sampled_tokens / train.sampled_tokens
        return self.step / train.steps if train.steps else 1.0

    def _until_spent(self) -> Iterator[int]:
        while self.spent() < 1:
            yield self.step

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
