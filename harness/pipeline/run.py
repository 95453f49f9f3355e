"""The main job: start policy, training (or the finished run of the same content), evaluation, one table.

Knows no method and no task by name. Gives trainer and evaluator the same renderer, engine and verifier.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core import config
from harness.core.clock import SESSIONS, Clock, Peak
from harness.core.config import Recipe
from harness.core.files import write_text
from harness.core.locks import Lock
from harness.core.progress import Progress
from harness.core.records import Example
from harness.core.runs import RunFacts, finished, run_folder, write_manifest
from harness.evaluation.evaluate import evaluate
from harness.evaluation.overlap import overlap
from harness.models import hub, loading, tiny
from harness.models.memory import preflight
from harness.pipeline import plan, policies
from harness.pipeline.journal import Journal
from tasks.support.selection import select

if TYPE_CHECKING:
    from harness.engines.base import Engine
    from harness.pipeline.options import RunOptions
    from rewards.method import Method
    from rewards.verifier.pool import Verifier
    from tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Job:
    """One method at one seed of a plan."""

    recipe: Recipe
    method: str
    seed: int
    start: policies.Start
    folder: Path
    key: str
    device: str
    options: RunOptions
    tasks: tuple[tuple[Task, list[Example]], ...]
    overlaps: Mapping[str, Any]
    trains: bool


def run(options: RunOptions, progress: Progress | None = None) -> list[Path]:
    """Do what the flags ask for; returns the evaluation folders, in the order of the table."""
    from rewards.verifier.pool import Verifier

    progress = progress or Progress()
    found: list[Path] = []
    work = plan.plans(options)
    device = default_device()
    for part in work:
        check_memory(part, options, device)
    if device == "cpu":
        leave_room(work)
    with Verifier(plugins=[str(p) for p in options.plugins]) as verifier:
        for part in work:
            examples = tuple((t, select(t.load(), options.limit, options.ids, t.name)) for t in part.tasks)
            for job in jobs(part, examples, options, progress, device):
                found += Runner(job, verifier, progress).run()
    return found


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


def jobs(
    part: plan.Plan,
    examples: tuple[tuple[Task, list[Example]], ...],
    options: RunOptions,
    progress: Progress,
    device: str,
) -> list[Job]:
    """Every method and seed of a plan. An untrained policy that decodes greedily is the same for every seed."""
    recipe = part.recipe
    overlaps = {}
    if options.policy:
        start = policies.Start(str(options.policy), None, loading.digest(options.policy))
    else:
        start = policies.start(recipe, progress, device)
        trained = (
            [] if all(not plan.build_method(recipe, k).trains for k in part.methods) else training(recipe, options)
        )
        overlaps = {t.name: overlap(items, trained) for t, items in examples} if trained else {}
    found = []
    for key in part.methods:
        trains = not options.policy and plan.build_method(recipe, key).trains
        repeated = trains or recipe.evaluation.temperature > 0
        for seed in part.seeds if repeated else part.seeds[:1]:
            found.append(job_of(part, key, seed, start, options, device, examples, overlaps, trains))
    return found


def training(recipe: Recipe, options: RunOptions) -> list[Example]:
    return plan.training_data(recipe.train, options)


def job_of(
    part: plan.Plan,
    key: str,
    seed: int,
    start: policies.Start,
    options: RunOptions,
    device: str,
    examples: tuple[tuple[Task, list[Example]], ...],
    overlaps: Mapping[str, Any],
    trains: bool,
) -> Job:
    """The run's place is a hash of what makes its policy; of an untrained one, of the policy and the rendering."""
    recipe = part.recipe if options.policy else plan.papered(part.recipe, key, options)
    if trains:
        settings = plan.build_method(recipe, key).settings()
        content = [plan.without_evaluation(recipe), key, settings, seed, start.digest]
        where = {"method": key, "train_task": recipe.train.task}
    else:
        content = [recipe.rendering.model_dump(), start.digest]
        where = {"method": options.label or key, "train_task": "none"}
    name = config.digest(*content)
    folder = run_folder(options.out, model=str(options.policy or recipe.model.path), seed=seed, key=name, **where)
    return Job(
        recipe=recipe,
        method=key,
        seed=seed,
        start=start,
        folder=folder,
        key=name,
        device=device,
        options=options,
        tasks=examples,
        overlaps=overlaps if trains else {},
        trains=trains,
    )


class Runner:
    """Carries out one job: train where the run has no finished training, then evaluate every task."""

    def __init__(self, job: Job, verifier: Verifier, progress: Progress) -> None:
        self.job, self.verifier, self.progress = job, verifier, progress
        self.recipe = job.recipe
        self.method: Method | None = None if job.options.policy else plan.build_method(job.recipe, job.method)

    def run(self) -> list[Path]:
        job = self.job
        with Lock(job.folder):
            self._write_config()
            trained: dict[str, Any] = {}
            if job.trains:
                done = finished(job.folder / "train")
                if done is None:
                    self.progress.say(f"train {job.method} seed {job.seed} in {job.folder}")
                    done = self._train()
                else:
                    self.progress.say(f"reuse {job.method} seed {job.seed} from {job.folder}")
                trained = done
            return self._evaluate(trained)

    def _write_config(self) -> None:
        """The resolved configuration, beside the results; a folder of another configuration is never continued."""
        values = self.recipe.model_dump(mode="json") | {
            "method": self.job.method,
            "seed": self.job.seed,
            "key": self.job.key,
        }
        if self.method is not None:
            values["method_options"] = self.method.settings()
        path = self.job.folder / "config.yaml"
        if not path.is_file():
            write_text(path, config.to_yaml(values))

    # --- training -----------------------------------------------------------------------------------------------------

    def _train(self) -> dict[str, Any]:
        from accelerate import Accelerator

        from trainers.rl import Parts, Trainer

        recipe, job = self.recipe, self.job
        assert self.method is not None
        clock = Clock(job.folder / "train" / SESSIONS, job.folder / "train" / "metrics.jsonl")
        peak = Peak(job.device == "cuda")
        loaded = loading.load(job.start.path, job.start.revision, policies.training_dtype(recipe), job.device)
        accelerator = Accelerator(
            mixed_precision="bf16" if recipe.model.dtype == "bfloat16" else "no",
            cpu=job.device == "cpu",
            log_with="tensorboard",
            project_dir=str(job.folder / "train"),
        )
        accelerator.init_trackers("tensorboard")
        renderer = policies.renderer(loaded, recipe, self.method)
        policy = policies.trainable(loaded, recipe.model, renderer.forbidden_ids)
        engine = self._engine(job.start.path, job.start.revision, training=True)
        try:
            trainer = Trainer(
                Parts(
                    recipe=recipe,
                    method=self.method,
                    policy=policy,
                    engine=engine,
                    renderer=renderer,
                    verifier=self.verifier,
                    examples=training(recipe, job.options),
                    expert=self._expert,
                    validate=self._validation(engine, renderer),
                    journal=Journal(job.folder / "train", accelerator, recipe.train.log_rollouts, self.progress.note),
                    accelerator=accelerator,
                    folder=job.folder,
                    cache=hub.cache_dir() / "methods",
                    seed=job.seed,
                    digest=config.digest(job.start.digest, renderer.hash),
                    track=self.progress.track,
                )
            )
            summary = trainer.train()
            policy.save(job.folder / "policy")
        finally:
            engine.close()
            accelerator.end_training()
        facts = summary | {
            "seconds": round(clock.seconds + self.method.spared_seconds, 3),
            "peak_bytes": peak.bytes,
            "start": job.start.digest,
        }
        return write_manifest(job.folder / "train", facts, ["metrics.jsonl"])

    def _engine(self, path: str, revision: str | None, training: bool) -> Engine:
        from harness.engines import create
        from harness.engines.choose import settings

        recipe = self.recipe
        return create(
            recipe.engine.name,
            path=path,
            revision=revision,
            dtype=recipe.model.dtype,
            device=self.job.device,
            batch=recipe.engine.batch,
            say=self.progress.say_once,
            settings=settings(recipe, training),
        )

    def _expert(self) -> list[Example]:
        return plan.training_data(self.recipe.expert, self.job.options) if self.recipe.expert else []

    def _validation(self, engine: Engine, renderer: Any) -> Any:
        """Held-out accuracy by the evaluator itself: greedy, strict, nothing written."""
        settings = self.recipe.validation
        if settings is None or not settings.every:
            return None
        examples = plan.training_data(settings, self.job.options)
        decoding = replace_model(self.recipe.evaluation, n=1, temperature=0.0, top_p=1.0, protocol="strict")

        def validate(step: int) -> float:
            results = evaluate(
                task_name=f"{settings.task}-{settings.split}",
                examples=examples,
                renderer=renderer,
                engine=engine,
                verifier=self.verifier,
                sampling=decoding,
                max_prompt_tokens=self.recipe.rendering.max_prompt_tokens,
                batch=self.recipe.engine.batch,
            )
            return float(results["metrics"]["accuracy"]["value"])

        return validate

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def _evaluate(self, trained: Mapping[str, Any]) -> list[Path]:
        job = self.job
        path = str(job.folder / "policy") if job.trains else job.start.path
        revision = None if job.trains else job.start.revision
        digest = loading.digest(path) if job.trains else job.start.digest
        loaded = loading.load(path, revision, self.recipe.model.dtype, job.device)
        renderer = policies.renderer(loaded, self.recipe, self.method)
        del loaded
        engine = self._engine(path, revision, training=False)
        folders = []
        try:
            for item, examples in job.tasks:
                results = evaluate(
                    task_name=item.name,
                    examples=examples,
                    renderer=renderer,
                    engine=engine,
                    verifier=self.verifier,
                    sampling=self.recipe.evaluation,
                    max_prompt_tokens=self.recipe.rendering.max_prompt_tokens,
                    folder=job.folder / "eval",
                    progress=self.progress.console(),
                    seed=job.seed,
                    task_version=item.version,
                    categories=item.categories,
                    aggregate=item.aggregate,
                    revision=item.revision,
                    policy=digest,
                    run=self._facts(item, trained, digest),
                    batch=self.recipe.engine.batch,
                    format_style=self.recipe.rewards.format_style,
                )
                folders.append(Path(results["folder"]))
        finally:
            engine.close()
        return folders

    def _facts(self, item: Task, trained: Mapping[str, Any], digest: str) -> RunFacts:
        job, recipe = self.job, self.recipe
        settings = self.method.settings() if self.method else {}
        shared = plan.without_evaluation(recipe)
        return RunFacts(
            model=str(job.options.policy or recipe.model.path),
            method=job.method,
            seed=job.seed,
            train_task="" if not job.trains else f"{recipe.train.task}-{recipe.train.split}",
            recipe=recipe.name,
            setting=config.digest(shared, job.start.digest),
            config=config.digest(shared, job.start.digest, job.method, settings),
            label=job.options.label or "",
            paper=bool(job.options.paper and self.method and self.method.paper_recipe),
            policy=digest,
            train_seconds=trained.get("seconds", 0.0),
            train_tokens=trained.get("sampled_tokens", 0),
            train_steps=trained.get("steps", 0),
            peak_bytes=trained.get("peak_bytes"),
            overlap=job.overlaps.get(item.name),
        )


def replace_model(section: Any, **values: Any) -> Any:
    return section.model_copy(update=values)
