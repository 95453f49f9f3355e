"""vLLM's CPU build on policies of under a million parameters: one engine at a time, one thread, one GiB of cache."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

BOUND = 1e-4
"""Largest allowed difference of a log-probability between vLLM, transformers and the trainer, all in float32. Seen: 2e-5 on
these deliberately noisy weights, 1e-6 on a policy as it is initialised."""

TASKS = {"tiny-lm": "arithmetic", "tiny-vl": "charts"}


@dataclass(frozen=True)
class Rig:
    """A policy with lively random weights: its folder, prompts of its own modality, vLLM and what vLLM is held against."""

    folder: Path
    loaded: Any
    renderer: Any
    prompts: tuple[Any, ...]
    engine: Any
    reference: Any

    def policy(self) -> Any:
        """The trainer's view of the policy, with weights of its own."""
        from harness.models import loading
        from trainers.policy import Policy

        loaded = loading.load(self.folder)
        return Policy(
            loaded.model,
            tokenizer=loaded.tokenizer,
            processor=loaded.processor,
            forbidden=self.renderer.forbidden_ids,
            freeze_vision=False,
        )

    def requests(self, count: int | None = None, **sampling: Any) -> list[Any]:
        from harness.core.records import Sampling
        from harness.engines.base import Request

        settings = {"max_new_tokens": 24, "temperature": 0.0} | sampling
        return [Request(prompt, Sampling(**settings)) for prompt in self.prompts[:count]]


def lively(name: str, folder: Path, scale: float = 0.15) -> Path:
    """A built-in policy whose greedy answers differ: noise on every matrix of its random weights."""
    import torch

    from harness.models import loading, tiny

    loaded = loading.load(tiny.build(name, folder / "raw"))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in loaded.model.parameters():
            if weight.ndim > 1:
                weight.add_(torch.randn(weight.shape, generator=generator) * scale)
    return loading.save(loaded, folder / name)


@pytest.fixture(scope="session", params=sorted(TASKS))
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    from harness.core.records import PixelBudget, PromptStyle
    from harness.engines.transformers import TransformersEngine
    from harness.engines.vllm import VLLMEngine
    from harness.models import loading
    from harness.models.renderer import Renderer
    from tasks.base import task

    folder = lively(request.param, tmp_path_factory.mktemp("policies"))
    loaded = loading.load(folder)
    style = PromptStyle(prefix="Work this out in short steps and put the answer into a box. ")
    renderer = Renderer.of(loaded, style, PixelBudget(3136, 50176))
    examples = task.get(TASKS[request.param])("train").load()[:6]
    engine = VLLMEngine.open(folder, batch=16)
    yield Rig(
        folder,
        loaded,
        renderer,
        tuple(renderer.render(e) for e in examples),
        engine,
        TransformersEngine.open(folder, batch=16),
    )
    engine.close()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The server's tests first: it has stopped before an engine starts in this process, and one of them runs at a time."""
    items.sort(key=lambda item: "serving" not in getattr(item, "fixturenames", ()))


def keyed(rollouts: Any) -> dict[tuple[str, int], Any]:
    return {(r.prompt_id, r.sample_index): r for r in rollouts}
