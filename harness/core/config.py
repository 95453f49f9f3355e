"""The recipe: everything that is the same for every method of a table. Frozen, typed, closed.

Sources, later ones win: a YAML recipe of harness/recipes/, `--config FILE`, `--set section.key=value`. An unknown key is
an error with near matches. Method options live apart, under `methods.<key>`, because they are the algorithm.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from harness.core.errors import ConfigError, UnknownNameError, near
from harness.core.records import SCHEMA

Protocol = Literal["official", "strict"]
"""Names of the answer rules: the benchmark authors' own, and the marked final answer alone."""

RECIPES = Path(__file__).parents[1] / "recipes"


class Section(BaseModel):
    """A closed, immutable group of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Lora(Section):
    """Low-rank adapters instead of full fine-tuning (peft). Without dropout: it would part old and new log-probs."""

    rank: int = Field(16, gt=0)
    alpha: int = Field(32, gt=0)


class Model(Section):
    """The start policy: `tiny-lm`, `tiny-vl`, a hub name or a folder."""

    path: str = "tiny-lm"
    revision: str | None = None
    dtype: Literal["float32", "bfloat16"] = "float32"
    lora: Lora | None = None
    freeze_vision: bool = True
    gradient_checkpointing: bool = False


class Rendering(Section):
    """Chat template surroundings and the one pixel budget. `system` null: no system turn, or with `default_system` the one
    that the policy's own template inserts."""

    system: str | None = None
    prefix: str = ""
    suffix: str = ""
    default_system: bool = False
    min_pixels: int = Field(3136, gt=0)
    max_pixels: int = Field(501_760, gt=0)
    max_prompt_tokens: int = Field(3000, gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_pixels > self.max_pixels:
            raise ValueError("min_pixels is above max_pixels; swap them")
        if self.system is not None and self.default_system:
            raise ValueError(
                "default_system keeps the policy's own system turn, and system replaces it; set one of them"
            )
        return self


class Data(Section):
    """A task and the split of it that is read; `limit` takes the first items."""

    task: str
    split: str
    limit: int | None = Field(None, gt=0)


class Expert(Data):
    """Worked solutions that a method may start from. `max_tokens`: longest prompt with its solution, what is beyond is cut
    (null: the policy's context)."""

    max_tokens: int | None = Field(None, gt=0)


class Validation(Data):
    """Scored by the evaluator every `every` steps (0: never), greedily; never the evaluated split."""

    every: int = Field(0, ge=0)


class Rewards(Section):
    """Weights of the named reward components. `format_style`: what counts as well formed."""

    outcome: float = 1.0
    format: float = 0.0
    format_style: Literal["boxed", "think-answer"] = "boxed"


class Train(Data):
    """Rollouts and steps. The budget is `steps`, or `sampled_tokens` where given (methods draw unequally many)."""

    steps: int = Field(200, ge=0)
    sampled_tokens: int | None = Field(None, gt=0)
    prompts_per_step: int = Field(128, gt=0)
    group_size: int = Field(8, gt=0)
    temperature: float = Field(1.0, gt=0)
    max_new_tokens: int = Field(1024, gt=0)
    mini_batches: int = Field(1, gt=0)
    """Optimiser steps per rollout batch."""
    micro_batch_tokens: int = Field(16_384, gt=0)
    """Text and image tokens in one forward pass."""
    kl: float = Field(0.0, ge=0)
    """Coefficient of the k3 penalty to the start policy, in the loss."""
    kl_every: int = Field(10, ge=0)
    """Every how many steps KL to the start policy is measured for the log (on 32 rollouts; 0: never)."""
    mismatch_bound: float | None = Field(None, gt=0)
    """Largest mean difference of a log-probability between engine and trainer in a step; above it the run stops (null:
    by model.dtype, 1e-3 in float32 and 0.1 in bfloat16)."""
    importance_cap: float | None = Field(None, gt=0)
    """Truncated importance sampling: a token's advantage is multiplied by min(trainer's / engine's probability, this cap)
    (null: off)."""
    ratio_cap: float | None = Field(None, ge=1)
    """Upper bound of the importance ratio before a method's own clipping, for every method alike (null: none). It bounds
    what one token of a bad rollout can do: there the clipped surrogate has no upper bound."""
    checkpoint_every: int = Field(10, gt=0)
    """Steps between checkpoints; one is also written when checkpoint_minutes have passed, and when the run is stopped."""
    checkpoint_minutes: float = Field(5.0, gt=0)
    log_rollouts: bool = True
    """Whether token ids, log-probabilities and signals of every step are kept, so that rewards can be recomputed."""


class Optimiser(Section):
    """AdamW. `final_lr` is the fraction of `lr` that the cosine ends at."""

    lr: float = Field(1e-6, gt=0)
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(0.0, ge=0)
    grad_clip: float = Field(1.0, gt=0)
    warmup: float = Field(0.03, ge=0, le=1)
    schedule: Literal["cosine", "constant"] = "cosine"
    final_lr: float = Field(0.1, ge=0, le=1)


class Lesson(Section):
    """A stretch of a cold start, up to the share `until` of its steps. `level`: the one level of the task it shows (null:
    all); `direct`: the share of solutions that give the marked answer at once instead of working it out."""

    until: float = Field(1.0, gt=0, le=1)
    level: int | None = None
    direct: float = Field(0.0, ge=0, le=1)


class ColdStart(Section):
    """Supervised training of a built-in policy on its task's expert split; cached by content, and shipped for the settings
    of the built-in recipes. Lessons that start where every step of a question is written down teach soonest to read
    and to compute; direct answers at the end make a policy that, like a base model, often answers without thinking, so
    that RL has reasoning to find."""

    task: str
    split: str = "expert"
    steps: int = Field(300, gt=0)
    batch: int = Field(48, gt=0)
    lr: float = Field(3e-3, gt=0)
    matrix_lr: float = Field(2e-2, gt=0)
    """Learning rate of weight matrices (Muon)."""
    lessons: tuple[Lesson, ...] = (Lesson(),)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        ends = [lesson.until for lesson in self.lessons]
        if not ends or ends[-1] != 1.0 or any(a >= b for a, b in itertools.pairwise(ends)):
            raise ValueError("the lessons' `until` must rise and end at 1")
        return self


class Evaluation(Section):
    """Decoding of evaluated samples; greedy with one sample unless n > 1 (then temperature 0.6, top_p 0.95)."""

    n: int = Field(1, gt=0)
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int = Field(8192, gt=0)
    protocol: Protocol = "official"


class EngineSettings(Section):
    """`auto` picks the engine; `batch` is how many rollouts decode together. The rest is vLLM's (docs/gpu.md)."""

    name: str = "auto"
    batch: int = Field(64, gt=0)
    context: int | None = Field(None, gt=0)
    """Most tokens of a prompt and its response (null: what the recipe can fill)."""
    gpu_memory: float | None = Field(None, gt=0, le=1)
    """Share of the GPU's memory for vLLM's weights and cache (null: 0.45 beside a trainer, 0.9 in evaluation)."""
    tensor_parallel: int = Field(1, gt=0)
    """GPUs that share one policy in evaluation; training uses one."""
    server: str | None = None
    """Address of a running `vllm serve` for evaluation, such as http://127.0.0.1:8000."""
    seeded: bool = True
    """Whether requests to the server carry a seed; vLLM's CPU build crashes on one."""


class Recipe(Section):
    """A whole configuration. `methods` holds method options by method key."""

    name: str = "custom"
    modality: Literal["language", "multimodal"] = "language"
    source: str = ""
    model: Model = Model()
    rendering: Rendering = Rendering()
    train: Train
    expert: Expert | None = None
    validation: Validation | None = None
    rewards: Rewards = Rewards()
    optimiser: Optimiser = Optimiser()
    cold_start: ColdStart | None = None
    evaluation: Evaluation = Evaluation()
    engine: EngineSettings = EngineSettings()
    methods: Mapping[str, Mapping[str, Any]] = {}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.train.prompts_per_step < self.train.mini_batches:
            raise ValueError("train.mini_batches is above train.prompts_per_step; a mini-batch holds whole groups")
        if self.validation and (self.validation.task, self.validation.split) == (self.train.task, self.train.split):
            raise ValueError("validation reads the split that is trained on; name another split")
        return self


def recipes() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(f.stem for f in RECIPES.glob("*.yaml"))


def load(
    recipe: str, file: Path | None = None, sets: Sequence[str] = (), overrides: Mapping[str, Any] | None = None
) -> Recipe:
    """The resolved recipe. `overrides` are dotted keys applied before `--set` (from flags or a method's --paper)."""
    return resolve(read(recipe), file, sets, overrides)


def read(recipe: str) -> dict[str, Any]:
    """The plain values of a shipped recipe."""
    path = RECIPES / f"{recipe}.yaml"
    if not path.is_file():
        raise UnknownNameError(f"unknown recipe '{recipe}'", near(recipe, recipes()))
    return _read(path)


def resolve(
    values: Mapping[str, Any],
    file: Path | None = None,
    sets: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
) -> Recipe:
    """Plain recipe values with a file, `overrides` and `--set` laid over them, validated."""
    found = _merge({}, values)
    if file is not None:
        found = _merge(found, _read(file))
    for key, value in (overrides or {}).items():
        assign(found, key, value)
    for item in sets:
        assign(found, *parse_set(item))
    return build(found, str(file or f"recipe {found.get('name', '')}".strip()))


def build(values: Mapping[str, Any], where: str) -> Recipe:
    """Validated settings. Raises ConfigError naming the key, with near matches for an unknown one."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(p) for p in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigError(
                f"{where}: unknown key '{key}'", near(str(first["loc"][-1]), _siblings(first["loc"]))
            ) from error
        remedy = "" if first["type"] == "value_error" else f"got {first.get('input')!r}"
        raise ConfigError(f"{where}: {key or 'recipe'}: {first['msg']}", remedy) from error


def to_yaml(values: Mapping[str, Any]) -> str:
    """YAML of plain settings, in order."""
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)


def digest(*parts: Any, length: int = 12) -> str:
    """Content hash of JSON-able parts; the schema version is part of it."""
    text = json.dumps([SCHEMA, *parts], sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path} ({error.strerror})", "check --config") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML ({' '.join(str(error).split())})", "mend the file") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no settings", "write section: {key: value}")
    return values


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def parse_set(item: str) -> tuple[str, Any]:
    """`section.key=value` as key and YAML value."""
    key, sep, text = item.partition("=")
    if not sep:
        raise ConfigError(f"--set {item}: no '='", "write --set section.key=value")
    return key.strip(), yaml.safe_load(text)


def assign(values: dict[str, Any], dotted: str, value: Any) -> None:
    """Set `section.key` in plain settings, making sections on the way."""
    *sections, leaf = dotted.split(".")
    for section in sections:
        if not isinstance(values.get(section), dict):
            values[section] = {}
        values = values[section]
    values[leaf] = value


def _siblings(location: Sequence[Any]) -> list[str]:
    """Names that are known where an unknown key stands."""
    model: Any = Recipe
    for part in location[:-1]:
        annotation = model.model_fields[part].annotation if part in getattr(model, "model_fields", {}) else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        model = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
    return list(model.model_fields) if model else []
