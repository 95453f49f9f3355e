"""The jobs of a plan: every method and seed with its identity and its place, before any of them starts.

In: a plan and the flags. Out: jobs, each naming the finished run of the same content where there is one, and where there
is none, what differs from the nearest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core import config, identity
from harness.core.config import Recipe
from harness.core.files import read_json
from harness.core.identity import Identity
from harness.core.records import Example
from harness.core.runs import IDENTITY, finished, run_folder
from harness.evaluation.overlap import overlap
from harness.models import loading
from harness.pipeline import plan, policies

if TYPE_CHECKING:
    from harness.core.progress import ProgressBars
    from harness.pipeline.options import RunOptions
    from rewards.method import Method
    from tasks.base import Task


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What the jobs of one plan have in common.

    part: the plan. options: the flags. start: the start policy. device: `cpu` or `cuda`. tasks: what is evaluated, with its
    items. overlaps: by task, how many of its items share text with the training data. data: identities of the data sets
    that trained policies depend on, by role.
    """

    part: plan.Plan
    options: RunOptions
    start: policies.Start
    device: str
    tasks: tuple[tuple[Task, list[Example]], ...]
    overlaps: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunJob:
    """One method at one seed.

    recipe: with the values of the method's paper under --paper. method: its key, or `policy` for --policy. seed: of
    training and sampling. identity: what the policy is. folder: where the run is. trains: whether the method trains.
    """

    shared: Shared
    recipe: Recipe
    method: str
    seed: int
    identity: Identity
    folder: Path
    trains: bool

    def build(self) -> Method | None:
        """A fresh method object; None for --policy."""
        return None if self.shared.options.policy else plan.build_method(self.recipe, self.method)


def jobs(
    part: plan.Plan, tasks: Sequence[Task], options: RunOptions, progress: ProgressBars, device: str
) -> list[RunJob]:
    """Every method and seed of a plan. An untrained policy that decodes greedily is the same for every seed."""
    from tasks.support.selection import select

    examples = tuple((t, select(t.load(), options.limit, options.ids, t.name)) for t in tasks)
    if options.policy:
        start = policies.Start(str(options.policy), None, loading.digest(options.policy))
        shared = Shared(part=part, options=options, start=start, device=device, tasks=examples)
    else:
        start = policies.start(part.recipe, progress, device)
        shared = Shared(
            part=part, options=options, start=start, device=device, tasks=examples, **_data(part, options, examples)
        )
    return list(_jobs(shared))


def _data(
    part: plan.Plan, options: RunOptions, tasks: Sequence[tuple[Task, list[Example]]]
) -> dict[str, Mapping[str, Any]]:
    """Identities of training and validation data, and the overlap of what is evaluated with what is trained on."""
    if not any(plan.build_method(part.recipe, key).trains for key in part.methods):
        return {}
    recipe = part.recipe
    trained = plan.read_data(recipe.train, options)
    data = {"train": trained.identity}
    if recipe.validation is not None and recipe.validation.every:
        data["validation"] = plan.read_data(recipe.validation, options).identity
    return {"data": data, "overlaps": {t.name: overlap(items, trained.examples) for t, items in tasks}}


def _jobs(shared: Shared) -> Iterator[RunJob]:
    part, options = shared.part, shared.options
    for key in part.methods:
        trains = not options.policy and plan.build_method(part.recipe, key).trains
        repeated = trains or part.recipe.evaluation.temperature > 0
        for seed in part.seeds if repeated else part.seeds[:1]:
            recipe = part.recipe if options.policy else plan.papered(part.recipe, key, options)
            found = _trained(shared, recipe, key, seed) if trains else untrained(shared, recipe)
            folder = _folder(shared, key if trains else options.label or key, seed, found, trains)
            yield RunJob(
                shared=shared, recipe=recipe, method=key, seed=seed, identity=found, folder=folder, trains=trains
            )


def _trained(shared: Shared, recipe: Recipe, key: str, seed: int) -> Identity:
    from harness.engines.choose import choose

    method = plan.build_method(recipe, key)
    expert = None
    if method.uses_expert and recipe.expert is not None:
        expert = dict(plan.read_data(recipe.expert, shared.options).identity)
        if recipe.expert.max_tokens is not None:
            expert["max_tokens"] = recipe.expert.max_tokens
    return identity.of_run(
        recipe=recipe,
        engine=choose(recipe.engine.name, shared.device, recipe.engine.server)[0],
        start=shared.start.digest,
        data=shared.data,
        method=identity.of_method(key, method.settings(), type(method), expert),
        seed=seed,
    )


def untrained(shared: Shared, recipe: Recipe) -> Identity:
    """The identity of a policy that is evaluated as it is."""
    return identity.of_untrained(shared.start.digest, recipe.rendering.model_dump(mode="json"))


def _folder(shared: Shared, name: str, seed: int, found: Identity, trains: bool) -> Path:
    """The run's place: where the same content is already, whatever its model's path was called then, else a new one."""
    options, recipe = shared.options, shared.part.recipe
    for place in options.out.glob(f"*/{name}/*/s{seed}-{found.key[:8]}"):
        if (place / IDENTITY).is_file() and not found.differences(read_json(place / IDENTITY)):
            return place
    task = recipe.train.task if trains else "none"
    model = str(options.policy or recipe.model.path)
    return run_folder(options.out, model=model, method=name, train_task=task, seed=seed, key=found.key)


def nearest(job: RunJob) -> tuple[Path, tuple[str, ...]] | None:
    """The finished run of the same method and seed that differs in the fewest parts, and in which."""
    found = []
    for file in job.shared.options.out.glob(f"*/{job.method}/*/s{job.seed}-*/{IDENTITY}"):
        if file.parent != job.folder and finished(file.parent / "train") is not None:
            found.append((job.identity.differences(read_json(file)), file.parent))
    if not found:
        return None
    parts, folder = min(found, key=lambda pair: (len(pair[0]), str(pair[1])))
    return folder, parts


def setting(job: RunJob) -> tuple[str, str]:
    """Content hashes of what is equal for the methods of a table, and of all but the seed (records.RunFacts)."""
    if not job.trains:
        key = config.digest(job.identity.parts)
        return key, config.digest(key, job.method, job.shared.options.label or "")
    return job.identity.without("method", "seed").key[:12], job.identity.without("seed").key[:12]
