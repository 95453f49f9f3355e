"""Peak memory of every phase of a run on one device, from sizes and traces; nothing is allocated.

Weights, gradients and moments follow from the parameters; what a pass needs above them is traced (trace.py). Out of it stay
the context of CUDA, the allocator's fragmentation, what a pass of the vision tower or of adapters needs beside their weights,
and networks of methods other than the flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.config import Recipe
from harness.models.memory import BYTES
from harness.pipeline.estimate import trace
from harness.pipeline.estimate.shape import Shape

if TYPE_CHECKING:
    from rewards.method import Method

PROMPT = {"language": 256, "multimodal": 768}
"""Tokens of a usual prompt, by modality: text, or text and one picture at the recipes' pixel budget."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What a device holds at the peak of a phase, in bytes by what it is for."""

    name: str
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is estimated: a recipe with a method on a policy of a shape, on `gpus` devices of `memory` bytes each. `kind`:
    cuda, with vLLM beside the trainer, or cpu, with the engine's own copy of the policy."""

    recipe: Recipe
    method: Method
    config: Any
    shape: Shape
    gpus: int
    memory: int
    kind: str
    cache: Path | None = None

    @property
    def trained(self) -> int:
        """Parameters with a gradient."""
        model = self.recipe.model
        if model.lora is not None:
            return self.shape.adapters(model.lora.rank)
        return self.shape.parameters - (self.shape.tower if model.freeze_vision else 0)

    @property
    def weights(self) -> int:
        """Bytes of the policy: float32 where it is trained, base weights in the recipe's dtype under adapters."""
        if self.recipe.model.lora is None:
            return 4 * self.shape.parameters
        return BYTES[self.recipe.model.dtype] * self.shape.parameters + 4 * self.trained

    @property
    def row(self) -> trace.Row:
        """The largest micro-batch: full-length responses of one prompt as far as they fit, at least one."""
        train = self.recipe.train
        prompt = min(PROMPT[self.recipe.modality], self.recipe.rendering.max_prompt_tokens)
        fit = (train.micro_batch_tokens - prompt) // train.max_new_tokens
        return trace.Row(prompt, max(1, min(fit, train.group_size)), train.max_new_tokens)

    @property
    def flow(self) -> Any:
        """The shape of rlfr's field (FieldConfig), or None."""
        from rewards.flow.field import FieldConfig, default_depth
        from rewards.methods.rlfr import Rlfr

        method = self.method
        if not isinstance(method, Rlfr) or not method.active:
            return None
        size = self.shape.hidden
        return FieldConfig(size, method.width or size, method.depth or default_depth(size, self.shape.layers))

    @property
    def learns(self) -> bool:
        """Whether rlfr's field is fitted to every step's rollouts."""
        return self.flow is not None and bool(self.method.settings()["online"])


def phases(setup: Setup) -> tuple[Phase, ...]:
    """Set-up, then the phases of a step in their order."""
    state, layer = _state(setup), _share(setup)
    how = trace.How(
        setup.recipe.model.dtype,
        setup.recipe.model.gradient_checkpointing,
        setup.recipe.model.lora is not None,
        setup.kind,
    )
    traced = trace.policy(setup.config, setup.row, how, setup.cache)
    flow = _flow(setup)
    always = {"weights": state["weights"], **layer, **_engine(setup, awake=False)}
    kept = {**always, "moments": state["moments"], "flow": flow["state"]}
    captured = {"latents": flow["latents"]} if flow["latents"] else {}
    start = {} if setup.recipe.model.lora is not None else {"start copy": state["start"]}
    # fused AdamW on CUDA needs nothing; on a CPU the step's temporaries are two of the largest matrix
    spare = 0 if setup.kind == "cuda" else 8 * min(setup.trained, setup.shape.hidden * setup.shape.vocabulary)
    found = [
        Phase(
            "set-up", {**always, "flow": flow["fit"], "activations": max(traced.sweep + flow["latents"], flow["learn"])}
        ),
        Phase("rollout", {**kept, **_engine(setup, awake=True)}),
        Phase("passes", {**kept, **captured, "activations": max(traced.sweep, flow["score"])}),
        Phase("update", {**kept, "gradients": state["gradients"], "activations": traced.training}),
        Phase("optimiser", {**kept, "gradients": state["gradients"], "activations": spare}),
        Phase("learn", {**kept, "flow": flow["fit"], "activations": flow["learn"]}),
        Phase("kl", {**kept, **start, "activations": traced.sweep}),
        Phase("sync", {**kept, **_engine(setup, awake=True, cache=False)}),
    ]
    return tuple(p for p in found if p.name != "learn" or setup.learns)


def _state(setup: Setup) -> dict[str, int]:
    """Weights, gradients, AdamW's moments, the start policy: shared by the devices under FSDP."""
    trained, each = setup.trained, setup.gpus
    return {
        "weights": setup.weights // each,
        "gradients": 4 * trained // each,
        "moments": 8 * trained // each,
        "start": 4 * trained // each,
    }


def _share(setup: Setup) -> dict[str, int]:
    """What FSDP2 gathers beside the shares: embedding, head and tower, and two layers, in bfloat16 (arithmetic)."""
    if setup.gpus == 1:
        return {}
    return {"gathered": 2 * (setup.shape.ends + setup.shape.tower + 2 * setup.shape.layer)}


def _engine(setup: Setup, awake: bool, cache: bool = True) -> dict[str, int]:
    """vLLM's share of a GPU while it is awake (its weights alone in a sync); the transformers engine's copy always."""
    weights = BYTES[setup.recipe.model.dtype] * setup.shape.parameters
    if setup.kind == "cpu":
        return {"engine": weights}
    if not awake:
        return {}
    return {"engine": max(int(share(setup.recipe) * setup.memory), weights) if cache else weights}


def share(recipe: Recipe) -> float:
    """vLLM's share of the memory beside a trainer."""
    from harness.engines.choose import GPU_SHARE

    return recipe.engine.gpu_memory or GPU_SHARE["training"]


def _flow(setup: Setup) -> dict[str, int]:
    """Bytes of the flow: at rest, while it is fitted, its latents in a sweep, one piece scored and learnt."""
    config = setup.flow
    if config is None:
        return dict.fromkeys(("state", "fit", "latents", "score", "learn"), 0)
    from rewards.methods.rlfr import Rlfr

    method = setup.method
    assert isinstance(method, Rlfr)
    count = flow_parameters(config)
    score, learn = trace.flow(config.size, config.width, config.depth, method.chunk_tokens, method.precision)
    state = (4 + 8 * method.online) * count
    # states of the row and once more by rollout, float32
    latents = 2 * 4 * len(method.layers) * setup.row.tokens * config.size
    # weights and moments, the gradient, and the sum of the pieces' gradients
    return {"state": state, "fit": 4 * 5 * count, "latents": latents, "score": score, "learn": learn}


def flow_parameters(config: Any) -> int:
    """Parameters of a velocity field."""
    import torch

    from rewards.flow.field import Block, Embedding

    with torch.device("meta"):
        block, embedding = Block(config.width, config.eps), Embedding(config.width)
    inner = sum(p.numel() for p in block.parameters())
    times = 2 * sum(p.numel() for p in embedding.parameters())
    ends = 2 * (config.size * config.width + config.width) + config.width * config.size + config.size
    return config.depth * inner + times + ends + config.width + 2 * config.width * config.width + 2 * config.width


def peak(found: tuple[Phase, ...]) -> Phase:
    return max(found, key=lambda p: p.total)
