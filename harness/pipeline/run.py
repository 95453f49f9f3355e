"""The main job: start policy, training (or the finished run of the same content), evaluation, one table.

Knows no method and no task by name. Gives trainer and evaluator the same renderer, engine and verifier.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core import config
from harness.core.clock import SESSIONS, Clock, Peak
from harness.core.errors import TrainingError
from harness.core.files import write_json, write_text
from harness.core.locks import Lock
from harness.core.progress import ProgressBars
from harness.core.records import Example
from harness.core.runs import CONFIG, IDENTITY, RunFacts, finished, write_manifest
from harness.evaluation.evaluate import Experiment, decoding, evaluate
from harness.evaluation.results import TaskFacts
from harness.models import hub, loading, tiny
from harness.models.memory import preflight
from harness.models.renderer import Renderer
from harness.pipeline import jobs, plan, policies
from harness.pipeline.journal import Journal, TensorBoard
from harness.rollout.protocols import Renders, Tools

if TYPE_CHECKING:
    from harness.engines.base import Engine
    from harness.pipeline.jobs import RunJob
    from harness.pipeline.options import RunOptions
    from rewards.verifier.pool import Verifier
    from tasks.base import Task

SHOWN = 1200
"""Characters of the first prompt that are shown."""


def run(options: RunOptions, progress: ProgressBars | None = None) -> list[Path]:
    """Do what the flags ask for; returns the evaluation folders, in the order of the table."""
    from rewards.verifier.pool import Verifier

    progress = progress or ProgressBars()
    found: list[Path] = []
    work = plan.plans(options)
    device = default_device()
    for part in work:
        progress.say(part.in_words)
        check_memory(part, options, device)
    if device == "cpu":
        leave_room(work)
    with Verifier(plugins=[str(p) for p in options.plugins]) as verifier:
        for part in work:
            for job in jobs.jobs(part, part.tasks, options, progress, device):
                found += Runner(job, verifier, progress).run()
    return found


def shortened(text: str) -> str:
    """A prompt for the eye: a long one without its middle."""
    if len(text) <= SHOWN:
        return text
    half = SHOWN // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters ...]\n{text[-half:]}"


def default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def leave_room(work: Sequence[plan.Plan]) -> None:
    """Built-in policies take half of the cores: their small matrices gain little from more threads, and a thread that
    waits for a busy core holds up the others (two threads on two busy cores were ten times slower than one, measured).
    OMP_NUM_THREADS rules."""
    import torch

    if all(part.recipe.model.path in tiny.NAMES for part in work) and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))


def check_memory(part: plan.Plan, options: RunOptions, device: str) -> None:
    """Refuse what cannot fit before anything is downloaded or started."""
    recipe = part.recipe
    if options.policy:
        preflight(options.policy, device, False, None, recipe.model.dtype)
        return
    trains = any(plan.build_method(recipe, key).trains for key in part.methods)
    dtype = policies.training_dtype(recipe) if trains else recipe.model.dtype
    preflight(recipe.model.path, device, trains, recipe.model.lora, dtype, recipe.model.revision)


class Runner:
    """Carries out one job: train where the run has no finished training, then evaluate every task."""

    def __init__(self, job: RunJob, verifier: Verifier, progress: ProgressBars) -> None:
        self.job, self.shared, self.recipe = job, job.shared, job.recipe
        self.verifier, self.progress = verifier, progress
        self.method = job.build()

    def run(self) -> list[Path]:
        job = self.job
        with Lock(job.folder):
            trained: dict[str, Any] = {}
            if job.trains:
                done = finished(job.folder / "train")
                self._announce(done)
                if done is None:
                    self._describe()
                trained = self._train() if done is None else done
            else:
                self._describe()
            return self._evaluate(trained)

    def _announce(self, done: Mapping[str, Any] | None) -> None:
        """Whether the run is trained, gone on with or reused, and what keeps a near one from being reused."""
        job = self.job
        name = f"{job.method} seed {job.seed}"
        if done is not None:
            self.progress.say(f"reuse {name}, finished {done['finished']}, from {job.folder}")
            return
        self.progress.say(f"train {name} in {job.folder}")
        if (near := jobs.nearest(job)) is not None and not (job.folder / IDENTITY).is_file():
            shown = ", ".join(near[1][:4]) + (f" and {len(near[1]) - 4} more" if len(near[1]) > 4 else "")
            self.progress.say(f"the finished run {near[0]} is not reused: it differs in {shown}")

    def _describe(self) -> None:
        """What the run is and what it is trained with; each evaluation keeps the settings that it was made with."""
        write_json(self.job.folder / IDENTITY, self.job.identity.parts)
        write_text(self.job.folder / CONFIG, self._settings())

    def _settings(self) -> str:
        """The settings in use, as `core.runs.read_settings` reads them back."""
        about = {"method": self.job.method, "seed": self.job.seed, "key": self.job.identity.key}
        options = {"method_options": self.method.settings()} if self.method else {}
        prompt = {"prompt": asdict(policies.style(self.recipe, self.method))}
        return config.to_yaml(self.recipe.model_dump(mode="json") | about | options | prompt)

    def _show_prompt(self, renderer: Renders) -> None:
        """The first evaluated item as the policy reads it, once for each way of writing it."""
        for item, examples in self.shared.tasks[:1]:
            for example in examples[:1]:
                prompt = renderer.render(example)
                text = textwrap.indent(shortened(prompt.text), "    ", lambda line: True)
                self.progress.say_once(
                    f"the first prompt ({item.name} item {example.id}, {len(prompt.ids)} tokens):\n{text}"
                )

    # --- training -----------------------------------------------------------------------------------------------------

    def _train(self) -> dict[str, Any]:
        from trainers.rl import Parts, Trainer

        recipe, job = self.recipe, self.job
        assert self.method is not None
        clock = Clock(job.folder / "train" / SESSIONS, job.folder / "train" / "metrics.jsonl")
        peak = Peak(self.shared.device == "cuda")
        loaded = loading.load(
            self.shared.start.path, self.shared.start.revision, policies.training_dtype(recipe), self.shared.device
        )
        board = TensorBoard(job.folder / "train" / "tensorboard")
        renderer = policies.renderer(loaded, recipe, self.method)
        self._show_prompt(renderer)
        policy = policies.trainable(loaded, recipe.model, renderer.forbidden_ids)
        engine = self._engine(self.shared.start.path, self.shared.start.revision, training=True)
        data = plan.read_data(recipe.train, self.shared.options)
        try:
            trainer = Trainer(
                Parts(
                    recipe=recipe,
                    method=self.method,
                    policy=policy,
                    engine=engine,
                    renderer=renderer,
                    verifier=self.verifier,
                    examples=data.examples,
                    task_version=data.version,
                    expert=self._expert,
                    validate=self._validation(engine, renderer),
                    journal=Journal(job.folder / "train", board, recipe.train.log_rollouts, self.progress.note),
                    folder=job.folder,
                    cache=hub.cache_dir() / "methods",
                    seed=job.seed,
                    digest=config.digest(self.shared.start.digest, renderer.hash),
                    track=self.progress.track,
                )
            )
            summary = trainer.train()
            policy.save(job.folder / "policy")
        finally:
            engine.close()
            board.close()
        facts = summary | {
            "seconds": round(clock.seconds + self.method.spared_seconds, 3),
            "peak_bytes": peak.bytes,
            "start": self.shared.start.digest,
        }
        done = write_manifest(job.folder / "train", facts, ["metrics.jsonl"])
        shutil.rmtree(job.folder / "checkpoints", ignore_errors=True)  # the policy is saved; nothing is left to resume
        return done

    def _engine(self, path: str, revision: str | None, training: bool) -> Engine:
        from harness.engines import create
        from harness.engines.choose import settings

        recipe = self.recipe
        return create(
            recipe.engine.name,
            path=path,
            revision=revision,
            dtype=recipe.model.dtype,
            device=self.shared.device,
            batch=recipe.engine.batch,
            say=self.progress.say_once,
            settings=settings(recipe, training),
        )

    def _expert(self) -> list[Example]:
        if self.method is None or not self.method.uses_expert:
            raise TrainingError(
                f"method '{self.job.method}' reads expert solutions without saying so", "let its uses_expert be True"
            )
        return plan.read_data(self.recipe.expert, self.shared.options).examples if self.recipe.expert else []

    def _validation(self, engine: Engine, renderer: Renders) -> Callable[[int], float] | None:
        """Held-out accuracy by the evaluator itself: greedy, strict, nothing written."""
        settings = self.recipe.validation
        if settings is None or not settings.every:
            return None
        greedy = self.recipe.evaluation.model_copy(update={"n": 1, "temperature": 0.0, "top_p": 1.0})
        data = plan.read_data(settings, self.shared.options)
        experiment = Experiment(
            task=f"{settings.task}-{settings.split}",
            examples=data.examples,
            sampling=decoding(greedy),
            protocol="strict",
            max_prompt_tokens=self.recipe.rendering.max_prompt_tokens,
            version=data.version,
        )

        def validate(step: int) -> float:
            results = evaluate(experiment, Tools(renderer, engine, self.verifier))
            return float(results["metrics"]["accuracy"]["value"])

        return validate

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def _evaluate(self, trained: Mapping[str, Any]) -> list[Path]:
        job = self.job
        path = str(job.folder / "policy") if job.trains else self.shared.start.path
        revision = None if job.trains else self.shared.start.revision
        digest = loading.digest(path) if job.trains else self.shared.start.digest
        renderer = Renderer.read(path, revision, policies.style(self.recipe, self.method), policies.budget(self.recipe))
        self._show_prompt(renderer)
        engine = self._engine(path, revision, training=False)
        folders = []
        try:
            for item, examples in self.shared.tasks:
                results = evaluate(
                    self._experiment(item, examples),
                    Tools(renderer, engine, self.verifier),
                    folder=job.folder / "eval",
                    policy=digest,
                    run=self._facts(item, trained, digest),
                    progress=self.progress.console(),
                )
                folders.append(found := Path(results["folder"]))
                if not (found / CONFIG).is_file():
                    write_text(found / CONFIG, self._settings())
        finally:
            engine.close()
        return folders

    def _experiment(self, item: Task, examples: Sequence[Example]) -> Experiment:
        recipe = self.recipe
        return Experiment(
            task=item.name,
            version=item.version,
            examples=examples,
            sampling=decoding(recipe.evaluation, self.job.seed),
            protocol=recipe.evaluation.protocol,
            max_prompt_tokens=recipe.rendering.max_prompt_tokens,
            facts=TaskFacts(categories=item.categories, aggregate=item.aggregate),
            revision=item.revision,
            format_style=recipe.rewards.format_style,
        )

    def _facts(self, item: Task, trained: Mapping[str, Any], digest: str) -> RunFacts:
        job, recipe = self.job, self.recipe
        setting, whole = jobs.setting(job)
        return RunFacts(
            model=str(self.shared.options.policy or recipe.model.path),
            method=job.method,
            seed=job.seed,
            train_task="" if not job.trains else f"{recipe.train.task}-{recipe.train.split}",
            recipe=recipe.name,
            setting=setting,
            config=whole,
            label=self.shared.options.label or "",
            paper=bool(self.shared.options.paper and self.method and self.method.paper_recipe),
            policy=digest,
            train_seconds=trained.get("seconds", 0.0),
            train_tokens=trained.get("sampled_tokens", 0),
            train_steps=trained.get("steps", 0),
            peak_bytes=trained.get("peak_bytes"),
            overlap=self.shared.overlaps.get(item.name) if job.trains else None,
        )
