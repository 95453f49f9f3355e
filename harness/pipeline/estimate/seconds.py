"""Seconds of a step by phase: counted operations and bytes over stated rates of one GPU. An estimate, marked as one."""

from __future__ import annotations

from dataclasses import dataclass

from harness.models.memory import BYTES
from harness.pipeline.estimate.phases import PROMPT, Setup, flow_parameters

OPERATIONS = 4.0e14
"""Floating point operations a second in bfloat16: 40 % of what an H100 is sold with."""
BANDWIDTH = 2.0e12
"""Bytes a second from a GPU's memory: 60 % of an H100's."""


@dataclass(frozen=True, slots=True)
class Work:
    """A step at full length: sampled tokens, prompt tokens (once a group), seconds by phase."""

    sampled: int
    prompts: int
    seconds: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def step(setup: Setup) -> Work:
    """Every response at its full length, work dealt evenly over the GPUs."""
    recipe, shape, train = setup.recipe, setup.shape, setup.recipe.train
    rollouts = train.prompts_per_step * train.group_size
    sampled = rollouts * train.max_new_tokens
    prompts = train.prompts_per_step * min(PROMPT[recipe.modality], recipe.rendering.max_prompt_tokens)
    forward = _forward(setup, sampled, prompts)
    sweeps = len(setup.method.passes) if train.mini_batches > 1 or setup.flow is not None else 0
    backward = 3 + recipe.model.gradient_checkpointing - (setup.recipe.model.lora is not None)
    score, learn = _flow(setup, sampled)
    seconds = {
        "rollout": _decode(setup, rollouts) + 2 * (shape.parameters - shape.ends) * prompts / OPERATIONS,
        "passes": sweeps * forward / OPERATIONS + score,
        "update": backward * forward / OPERATIONS,
        "optimiser": train.mini_batches * 28 * setup.trained / BANDWIDTH,
        "sync": 3 * BYTES[recipe.model.dtype] * shape.parameters / BANDWIDTH,
    } | ({"learn": learn} if setup.learns else {})
    return Work(sampled, prompts, {name: value / setup.gpus for name, value in seconds.items()})


def _forward(setup: Setup, sampled: int, prompts: int) -> float:
    """Operations of one forward pass over a step's tokens: trunk, attention, and the head at sampled tokens."""
    shape, train = setup.shape, setup.recipe.train
    read = prompts / train.prompts_per_step + train.max_new_tokens / 2
    trunk = 2 * shape.layer * shape.layers * (sampled + prompts)
    attention = 4 * shape.queries * shape.layers * sampled * read
    return trunk + attention + 2 * shape.hidden * shape.vocabulary * sampled


def _decode(setup: Setup, rollouts: int) -> float:
    """Seconds of decoding: per token step the larger of reading weights and cache and of computing."""
    shape, train = setup.shape, setup.recipe.train
    rows = min(setup.recipe.engine.batch, max(1, rollouts // setup.gpus))
    weights = BYTES[setup.recipe.model.dtype] * (shape.parameters - shape.tower)
    cache = rows * shape.cache * (PROMPT[setup.recipe.modality] + train.max_new_tokens / 2)
    one = max((weights + cache) / BANDWIDTH, 2 * shape.parameters * rows / OPERATIONS)
    return one * train.max_new_tokens * rollouts / rows


def _flow(setup: Setup, sampled: int) -> tuple[float, float]:
    """Seconds of scoring and of learning; float32 runs at an eighth of the rate."""
    from rewards.methods.rlfr import Rlfr

    if setup.flow is None or not isinstance(setup.method, Rlfr):
        return 0.0, 0.0
    method, count = setup.method, flow_parameters(setup.flow)
    rate = OPERATIONS / (1 if method.precision == "bfloat16" else 8)
    draws = method.noise_draws * len(method.timesteps) * len(method.target.pairings)
    score = 2 * count * sampled * len(method.layers) * draws
    learnt = min(method.update_tokens, sampled) * method.flow_batch_mul * len(method.target.pairings)
    return score / rate, 6 * count * learnt * len(method.layers) / rate
