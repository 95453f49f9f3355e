"""The start policy of a recipe: a hub model or folder as it is, or a built-in policy after its cold start.

The cold start of a built-in recipe is shipped; another one is cached by content: the same settings and data give the
same folder, built once.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core import config
from harness.core.config import Recipe
from harness.core.locks import Lock
from harness.core.progress import ProgressBars
from harness.core.records import PixelBudget, PromptStyle
from harness.models import hub, loading, tiny
from tasks.base import task

if TYPE_CHECKING:
    from harness.models.loading import Loaded
    from harness.models.renderer import Renderer
    from trainers.policy import Policy


@dataclass(frozen=True, slots=True)
class Start:
    """Where the start policy is (a folder or hub name) and its content identity."""

    path: str
    revision: str | None
    digest: str


def style(recipe: Recipe, method: Any = None) -> PromptStyle:
    """The method's prompt where it has one, else the recipe's."""
    own, asked = getattr(method, "prompt", None), recipe.rendering
    return own or PromptStyle(
        system=asked.system, prefix=asked.prefix, suffix=asked.suffix, default_system=asked.default_system
    )


def budget(recipe: Recipe) -> PixelBudget:
    return PixelBudget(recipe.rendering.min_pixels, recipe.rendering.max_pixels)


def renderer(loaded: Loaded, recipe: Recipe, method: Any = None) -> Renderer:
    """The one renderer for a policy under a recipe (and a method's own prompt)."""
    from harness.models.renderer import Renderer

    return Renderer.of(loaded, style(recipe, method), budget(recipe))


def trainable(loaded: Loaded, settings: config.Model, forbidden: Sequence[int]) -> Policy:
    """The policy module over a loaded model, with the recipe's adapters and freezing."""
    from trainers.policy import Policy

    return Policy(
        loaded.model,
        tokenizer=loaded.tokenizer,
        processor=loaded.processor,
        forbidden=forbidden,
        freeze_vision=settings.freeze_vision,
        lora=settings.lora,
        gradient_checkpointing=settings.gradient_checkpointing,
        dtype=settings.dtype,
    )


def training_dtype(recipe: Recipe) -> str:
    """Trained weights are kept in float32 (a step of 1e-6 would vanish in bfloat16); frozen ones in the recipe's dtype."""
    return recipe.model.dtype if recipe.model.lora else "float32"


def start(recipe: Recipe, progress: ProgressBars, device: str = "cpu") -> Start:
    """The policy that training starts from and that `base` evaluates.

    A built-in policy is the shipped one where the recipe's cold start is the one that made it (or is null); any other
    cold start is carried out, once.
    """
    path = recipe.model.path
    if path not in tiny.NAMES:
        return Start(path, recipe.model.revision, loading.digest(path, revision=recipe.model.revision))
    shipped = recipe.cold_start is None or cold_start_key(recipe) == tiny.made(path)["cold_start"]
    folder = tiny.shipped(path) if shipped else _cold_started(recipe, progress, device)
    return Start(str(folder), None, loading.digest(folder))


def cold_start_key(recipe: Recipe) -> str:
    """Content hash of what a cold start depends on: policy, settings, prompts and data."""
    settings = recipe.cold_start
    assert settings is not None
    data = task.get(settings.task)
    shown = recipe.rendering.model_dump(exclude={"max_prompt_tokens"})
    parts = (recipe.model.path, tiny.VERSION, settings.model_dump(), shown, data.key, data.version)
    return config.digest("cold start", *parts)


def _cold_started(recipe: Recipe, progress: ProgressBars, device: str) -> Path:
    """The folder of the cold-started built-in policy, made where it is missing."""
    folder = hub.cache_dir() / "policies" / f"{recipe.model.path}-{cold_start_key(recipe)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    if (folder / "config.json").is_file():
        return folder
    with Lock(folder.parent / f".{folder.name}"):
        if not (folder / "config.json").is_file():
            cold_start(recipe, folder, progress, device)
    return folder


def cold_start(recipe: Recipe, folder: Path, progress: ProgressBars, device: str = "cpu") -> None:
    """Train the recipe's built-in policy from random weights and write it to `folder`."""
    from trainers import sft

    settings = recipe.cold_start
    assert settings is not None
    data = task.get(settings.task)(settings.split)
    raw = tiny.build(recipe.model.path, folder.parent / f".{folder.name}" / "raw")
    loaded = loading.load(raw, device=device)
    shown = renderer(loaded, recipe)
    full = recipe.model.model_copy(update={"lora": None, "freeze_vision": False, "dtype": "float32"})
    policy = trainable(loaded, full, shown.forbidden_ids)
    progress.say(f"cold start of {recipe.model.path} on {data.name} (once; kept in {folder})")
    sft.train(
        policy,
        shown,
        data.load(),
        settings,
        seed=0,
        budget=recipe.train.micro_batch_tokens,
        track=progress.track,
    )
    policy.save(folder)
    shutil.rmtree(raw)
