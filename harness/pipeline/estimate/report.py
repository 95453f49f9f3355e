"""One estimate as a whole: phases, the peak, what to change where it does not fit, seconds, tokens, disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from harness.core import config
from harness.core.config import Recipe
from harness.models import hub
from harness.models.memory import GIB
from harness.pipeline.estimate import phases, seconds, shape
from harness.pipeline.estimate.phases import Phase, Setup
from harness.pipeline.estimate.seconds import Work

if TYPE_CHECKING:
    from rewards.method import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """phases in their order; `peak` of them; `advice`: settings that fit, "" where it fits as it is; `checkpoint`: bytes of
    one on disk, of which two are kept; `host`: bytes that the trainer keeps in the host's memory."""

    setup: Setup
    phases: tuple[Phase, ...]
    advice: str
    work: Work
    checkpoint: int
    host: int

    @property
    def peak(self) -> Phase:
        return phases.peak(self.phases)

    @property
    def fits(self) -> bool:
        return self.peak.total <= self.setup.memory


def estimate(
    recipe: Recipe, method: Method, gpus: int = 1, memory: int = 80 * GIB, kind: str = "cuda", policy: Any = None
) -> Estimate:
    """The estimate of training a recipe with a method. policy: a configuration in place of the recipe's.

    Raises ModelError where the recipe's policy cannot be read and its shape is not known.
    """
    made = policy or shape.read(recipe.model.path, recipe.model.revision)
    cache = hub.cache_dir() / "plans"
    setup = Setup(
        recipe=recipe,
        method=method,
        config=made,
        shape=shape.of(made),
        gpus=gpus,
        memory=memory,
        kind=kind,
        cache=cache,
    )
    found = phases.phases(setup)
    flow = 0 if setup.flow is None else 12 * phases.flow_parameters(setup.flow)
    start = 4 * setup.trained if recipe.model.lora is None and (recipe.train.kl or recipe.train.kl_every) else 0
    return Estimate(
        setup=setup,
        phases=found,
        advice="" if phases.peak(found).total <= memory else _advice(setup, found),
        work=seconds.step(setup),
        checkpoint=12 * setup.trained + flow,
        host=start,
    )


def _advice(setup: Setup, found: tuple[Phase, ...]) -> str:
    """The first cheaper settings that fit, as the command line takes them."""
    for words, recipe in _cheaper(setup, found):
        if phases.peak(phases.phases(replace(setup, recipe=recipe))).total <= setup.memory:
            return words
    return "a smaller policy"


def _cheaper(setup: Setup, found: tuple[Phase, ...]) -> Iterator[tuple[str, Recipe]]:
    share = _engine_share(setup, found)
    smaller = {"train.micro_batch_tokens": min(8192, setup.recipe.train.micro_batch_tokens)}
    layers = {"model.gradient_checkpointing": True}
    low = {"model.lora.rank": 16}
    tried: list[dict[str, Any]] = [share, smaller | share, layers | share, low, low | smaller]
    for values in tried:
        if values:
            words = " ".join(f"--set {k}={str(v).lower()}" for k, v in values.items())
            plain = setup.recipe.model_dump(mode="json")
            for key, value in values.items():
                config.assign(plain, key, value)
            yield words, config.build(plain, "plan")


def _engine_share(setup: Setup, found: tuple[Phase, ...]) -> dict[str, Any]:
    """vLLM's share that fits beside the trainer, where it still holds the weights and a few full-length rows."""
    if setup.kind != "cuda":
        return {}
    rollout = next(p for p in found if p.name == "rollout")
    room = setup.memory - (rollout.total - rollout.parts["engine"])
    weights = 2 * setup.shape.parameters
    rows = 16 * setup.shape.cache * (setup.recipe.rendering.max_prompt_tokens + setup.recipe.train.max_new_tokens)
    fits = int(100 * room / setup.memory) / 100 - 0.02
    asked = phases.share(setup.recipe)
    return {"engine.gpu_memory": round(fits, 2)} if weights + rows <= fits * setup.memory and fits < asked else {}
