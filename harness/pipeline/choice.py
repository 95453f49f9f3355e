"""Which recipe a model and a task take, and why: flags in, plain recipe values out.

A model gets a recipe that was made for its family and size, one of our own policies that of its run, every other model the
neutral recipe: the precision of its weights, lengths within its context, its own chat template, the task's own training data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core import config
from harness.core.config import Recipe
from harness.core.runs import CONFIG, IDENTITY, POLICY, read_settings
from harness.models import kind, tiny
from harness.models.kind import Kind

if TYPE_CHECKING:
    from harness.pipeline.options import RunOptions
    from tasks.base import Task

NEUTRAL = "neutral"
PAPER_RECIPES = {"language": "qwen2.5-math-7b", "multimodal": "qwen2.5-vl-7b"}
TINY_RECIPES = {"language": "tiny-lm", "multimodal": "tiny-vl"}

_TINY = (tiny.TEXT["hidden_size"], tiny.TEXT["num_hidden_layers"], tiny.TEXT["max_position_embeddings"])
FITS: Mapping[str, tuple[str, int, int, int]] = {
    "qwen2.5-math-1.5b": ("qwen2", 1536, 28, 4096),
    "qwen2.5-math-7b": ("qwen2", 3584, 28, 4096),
    "llama3.1-8b": ("llama", 4096, 32, 131_072),
    "qwen2.5-vl-3b": ("qwen2_5_vl", 2048, 36, 128_000),
    "qwen2.5-vl-7b": ("qwen2_5_vl", 3584, 28, 128_000),
    "tiny-lm": ("qwen2", *_TINY),
    "tiny-vl": ("qwen2_5_vl", *_TINY),
}
"""Family, width, layers and context of the models that a recipe was made for. The context tells Qwen2.5-Math from Qwen2.5."""

LONGEST_PROMPT, LONGEST_RESPONSE = 2048, 2048
"""Of the neutral recipe, in tokens, where the model's context has room for them."""

GENERAL_DATA = {
    "language": {
        "train": {"task": "math-lvl3to5-8k", "split": "train"},
        "expert": {"task": "openr1-math", "split": "train", "limit": 2048},
    },
    "multimodal": {
        "train": {"task": "rlfr-dataset-vlm", "split": "train"},
        "expert": {"task": "rlfr-dataset-vlm", "split": "expert", "limit": 2048},
    },
}
"""What the neutral recipe trains on for a task that has no training split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A recipe before --config, the flags and --set. values: its plain settings. why: half a sentence."""

    values: Mapping[str, Any]
    why: str

    @property
    def name(self) -> str:
        return str(self.values.get("name", "custom"))


def choose(options: RunOptions, item: Task) -> Choice:
    """--recipe, else by --model or --policy, else the tiny recipe for a generated task and the paper's for a real one.

    Raises ModelError for a model whose configuration cannot be read, RunError for a run whose config.yaml cannot be.
    """
    model = str(options.policy or options.model or "")
    if options.recipe:
        if options.recipe == NEUTRAL and model and model not in tiny.NAMES:
            return neutral(kind.read(model), item, "as asked")
        return Choice(values=config.read(options.recipe), why="as asked")
    if not model:
        what, names = ("generated task", TINY_RECIPES) if item.generated else ("benchmark", PAPER_RECIPES)
        return Choice(values=config.read(names[item.modality]), why=f"no --model is given and {item.name} is a {what}")
    if model in tiny.NAMES:
        return Choice(values=config.read(model), why=f"made for {model}")
    for name in config.recipes():
        if (values := config.read(name))["model"]["path"] == model:
            return Choice(values=values, why=f"made for {model}")
    if (run := own_run(model)) is not None:
        return of_run(run)
    found = kind.read(model)
    for name, fits in FITS.items():
        if fits == (found.family, found.hidden, found.layers, found.context):
            return Choice(values=config.read(name), why=f"made for models like this one, {found.size}")
    return neutral(found, item, f"no recipe is made for {found.size}")


def own_run(model: str) -> Path | None:
    """The run that trained the policy in this folder, where its config.yaml lies beside the folder."""
    folder = Path(model).expanduser().resolve()
    run = folder.parent
    return run if folder.name == POLICY and (run / CONFIG).is_file() and (run / IDENTITY).is_file() else None


def of_run(run: Path) -> Choice:
    """The run's own recipe, with the prompt that its method was trained and scored with."""
    settings = read_settings(run)
    rendering = {**settings.recipe.get("rendering", {}), **settings.prompt}
    model = {**settings.recipe.get("model", {}), "revision": None}
    return Choice(values={**settings.recipe, "rendering": rendering, "model": model}, why=f"as in {run / CONFIG}")


def neutral(found: Kind, item: Task, why: str) -> Choice:
    """The neutral recipe for one model and one task."""
    values = config.read(NEUTRAL)
    prompt = min(LONGEST_PROMPT, found.context // 2)
    for name, value in {
        "modality": "multimodal" if found.multimodal else "language",
        "model.dtype": found.dtype if found.dtype in ("float32", "bfloat16") else "float32",
        "rendering.max_prompt_tokens": prompt,
        "evaluation.max_new_tokens": min(LONGEST_RESPONSE, found.context - prompt),
        "train.max_new_tokens": min(LONGEST_RESPONSE // 2, found.context - prompt),
        **{f"train.{key}": value for key, value in data(item)["train"].items()},
        "expert": data(item)["expert"],
        "validation": data(item).get("validation"),
    }.items():
        config.assign(values, name, value)
    return Choice(values=values, why=why)


def data(item: Task) -> dict[str, Any]:
    """The task's own training, expert and validation splits, none of them evaluated; general data where it has none."""
    general = GENERAL_DATA[item.modality]
    if "train" not in item.splits or item.split == "train":
        return dict(general)
    found: dict[str, Any] = {**general, "train": {"task": item.key, "split": "train"}}
    if "expert" in item.splits and item.split != "expert":
        found["expert"] = {"task": item.key, "split": "expert", "limit": 512}
    if "validation" in item.splits and item.split != "validation":
        found["validation"] = {"task": item.key, "split": "validation", "limit": 100, "every": 10}
    return found


def in_words(recipe: Recipe, why: str, trains: bool) -> str:
    """One line: recipe, precision, prompt and training data."""
    asked = recipe.rendering
    if asked.system is not None:
        short = " ".join(asked.system.split())
        prompt = f"with the system turn '{short[:57] + '...' if len(short) > 60 else short}'"
    else:
        prompt = f"{'with its own' if asked.default_system else 'without a'} system turn"
    around = " and text around the question" if asked.prefix or asked.suffix else ""
    training = f"training on {recipe.train.task}-{recipe.train.split}" if trains else "no training"
    return (
        f"recipe {recipe.name} ({why}); {recipe.model.dtype}; the policy's chat template {prompt}{around}; "
        f"answers up to {recipe.evaluation.max_new_tokens} tokens; {training}"
    )
