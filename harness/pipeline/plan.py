"""From the flags of `run` to what will be done: tasks with their data, the recipe of each modality, methods, checks.

Nothing here loads a model. Every mistake that can be seen before work starts is found here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core import config, identity
from harness.core.config import Recipe
from harness.core.errors import ConfigError, UnknownNameError, near
from harness.core.records import Example
from harness.core.registry import load_plugin
from harness.models import tiny
from harness.pipeline import choice
from harness.pipeline.choice import Choice
from tasks.base import Task
from tasks.resolve import resolve

if TYPE_CHECKING:
    from harness.pipeline.options import RunOptions
    from rewards.method import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One table: tasks that share a recipe, evaluated for every method and seed.

    recipe: the resolved settings. why: why it is this recipe. tasks: what is evaluated. methods: keys of what is trained
    or evaluated as it is, or `policy` for --policy. seeds: of training and sampling.
    """

    recipe: Recipe
    why: str = ""
    tasks: tuple[Task, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def in_words(self) -> str:
        """The recipe in one line, for the user to see before anything starts."""
        trains = self.methods != ("policy",) and any(build_method(self.recipe, key).trains for key in self.methods)
        return choice.in_words(self.recipe, self.why, trains)


def plans(options: RunOptions) -> list[Plan]:
    """The work that the flags ask for, one Plan per recipe. Raises ConfigError or UnknownNameError."""
    for file in options.plugins:
        load_plugin(file)
    tasks = [resolve(name, data_dir(options, name)) for name in options.tasks]
    methods = ("policy",) if options.policy else tuple(dict.fromkeys(options.methods))
    grouped: dict[str, tuple[Choice, list[Task]]] = {}
    for item in tasks:
        chosen = choice.choose(options, item)
        grouped.setdefault(config.digest(chosen.values), (chosen, []))[1].append(item)
    found = []
    for chosen, members in grouped.values():
        recipe = _recipe(options, chosen, members[0].modality)
        check_data(recipe)
        for item in members:
            check_separate(recipe, item)
        if not options.policy:
            check_methods(recipe, methods)
        found.append(Plan(recipe=recipe, why=chosen.why, tasks=tuple(members), methods=methods, seeds=options.seeds))
    check_data_dirs(options, found)
    return found


def data_dir(options: RunOptions, name: str, everywhere: bool = True) -> Path | None:
    """The folder given for a task: `TASK=DIR` by full name or by any leading part of it, else, `everywhere`, a bare DIR.

    A bare DIR holds what is evaluated; what is trained on has to be named.
    """
    parts = name.split("-")
    for size in range(len(parts), 0, -1):
        if (leading := "-".join(parts[:size])) in options.data_dirs:
            return options.data_dirs[leading]
    return options.data_dirs.get("") if everywhere else None


def _recipe(options: RunOptions, chosen: Choice, modality: str) -> Recipe:
    """The resolved recipe with the flags applied; --set comes last."""
    over = options.overrides()
    if options.model in tiny.NAMES:
        del over["model.path"]
    elif options.model:
        over["cold_start"] = None
    recipe = config.resolve(chosen.values, options.config, options.sets, over)
    if modality == "multimodal" and recipe.modality == "language":
        raise ConfigError(
            f"recipe '{recipe.name}' trains a language policy, the task needs images",
            "use --recipe or --model of a vision policy",
        )
    if recipe.evaluation.n > 1 and recipe.evaluation.temperature == 0:
        raise ConfigError(
            f"evaluation.n={recipe.evaluation.n} at temperature 0 draws the same sample {recipe.evaluation.n} times",
            "raise evaluation.temperature, or use --n, which does",
        )
    return recipe


def _roles(recipe: Recipe) -> list[tuple[str, config.Data]]:
    """What is read beside the evaluated task, and what for."""
    roles = (
        ("trained", recipe.train),
        ("validated", recipe.validation),
        ("fitted to expert data", recipe.expert),
    )
    return [(role, data) for role, data in roles if data is not None]


def check_data(recipe: Recipe) -> None:
    """The tasks that are trained on, validated on and fitted to are tasks that can be."""
    from tasks.base import task

    for role, data in _roles(recipe):
        if data.task.startswith(("file:", "lm_eval/")):
            raise ConfigError(
                f"'{data.task}' can be evaluated, it cannot be {role} on",
                "write it as a task of its own (docs/adding-a-task.md) and give --plugin",
            )
        task.get(data.task)


def check_data_dirs(options: RunOptions, found: Sequence[Plan]) -> None:
    """Every folder of --data-dir is for a task that the command reads. Raises ConfigError with near matches."""
    read = {*options.tasks, *(item.name for part in found for item in part.tasks)}
    read |= {f"{data.task}-{data.split}" for part in found for _, data in _roles(part.recipe)}
    for name in options.data_dirs:
        if name and not any(known == name or known.startswith(f"{name}-") for known in read):
            raise ConfigError(f"--data-dir {name}=...: this command reads no task '{name}'", near(name, sorted(read)))


def check_separate(recipe: Recipe, item: Task) -> None:
    """Training or validating on what is evaluated is an error."""
    for role, data in _roles(recipe):
        if (data.task, data.split) == (item.key, item.split):
            raise ConfigError(
                f"{item.name} would be {role} on and evaluated", "evaluate another split, or set train.split"
            )


def check_methods(recipe: Recipe, methods: Sequence[str]) -> None:
    """Every method exists, and so do the options that the recipe gives it."""
    from rewards.method import method

    for key in methods:
        method.get(key)
    for key, options in recipe.methods.items():
        if key not in set(method.keys()):
            raise UnknownNameError(
                f"the configuration sets options of unknown method '{key}'", near(key, method.keys())
            )
        if key in methods:
            method.get(key)(**options)


def build_method(recipe: Recipe, key: str) -> Method:
    from rewards.method import method

    return method.get(key)(**recipe.methods.get(key, {}))


def papered(recipe: Recipe, key: str, options: RunOptions) -> Recipe:
    """Under --paper: the recipe with the values of the method's paper; --set still wins."""
    from rewards.method import method

    values = method.get(key).paper_recipe
    if not options.paper or not values:
        return recipe
    plain = recipe.model_dump(mode="json")
    for name, value in values.items():
        config.assign(plain, name, value)
    for item in options.sets:
        config.assign(plain, *config.parse_set(item))
    return config.build(plain, f"--paper of {key}")


@dataclass(frozen=True, slots=True)
class DataSet:
    """A training, validation or expert split as it was read.

    examples: in file order, cut to the recipe's limit. identity: its task, version and content. version: the
    task's.
    """

    examples: list[Example]
    identity: Mapping[str, Any]
    version: int


def read_data(data: config.Data, options: RunOptions) -> DataSet:
    """The examples of a training, validation or expert split; --data-dir counts for it where it names its task."""
    from tasks.base import task

    source = task.get(data.task)(data.split, data_dir(options, f"{data.task}-{data.split}", everywhere=False))
    examples = source.load()[: data.limit]
    return DataSet(examples, identity.of_data(source.name, source.version, examples), source.version)
