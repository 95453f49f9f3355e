"""What the author of a method is told when a hook breaks its contract."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.core.errors import ConfigError, TrainingError
from rewards.hooks import call_hook
from rewards.method import Batch, Method
from tests.rewards.conftest import make_batch
from trainers.gradient import advantage_of

LOGP = torch.full((4, 3), -1.0)


class Tried(Method):
    key = "tried"


def batch() -> Batch:
    return make_batch(signals={"old.logp": LOGP, "old.entropy": -LOGP})


@pytest.mark.parametrize(
    ("hook", "value", "said"),
    [
        ("reward", torch.ones(4, 1), r"reward\(\) of method 'tried' returned a tensor \[4, 1\], not \[B\] = \[4\]"),
        ("reward", [1.0, 0.0, 0.0, 0.0], r"reward\(\) of method 'tried' returned list, not a tensor \[B\] = \[4\]"),
        ("advantage", torch.ones(4), r"advantage\(\) .* a tensor \[4\], not \[B, T\] = \[4, 3\]"),
        ("shape", torch.ones(4, 2), r"shape\(\) .* a tensor \[4, 2\], not \[B, T\] = \[4, 3\]"),
        ("shape", torch.full((4, 3), torch.nan), "non-finite advantage at step 0"),
    ],
)
def test_a_wrong_shape_is_named_with_its_hook(
    monkeypatch: pytest.MonkeyPatch, hook: str, value: Any, said: str
) -> None:
    monkeypatch.setattr(Tried, hook, lambda *_: value, raising=False)
    with pytest.raises(TrainingError, match=said):
        advantage_of(Tried(), batch())


class Faulty(Method):
    key = "faulty"

    def reward(self, batch: Batch) -> Tensor:
        return batch.base_reward + torch.ones(7)  # the faulty line

    def shape(self, advantage: Tensor, batch: Batch) -> Tensor:
        raise ConfigError("an error of its own", "stays")


def test_a_fault_inside_a_hook_shows_file_and_line_once() -> None:
    line = next(n for n, t in enumerate(Path(__file__).read_text().splitlines(), 1) if "# the faulty line" in t)
    with pytest.raises(TrainingError) as caught:
        advantage_of(Faulty(), batch())
    text = str(caught.value)
    assert text.startswith("reward() of method 'faulty' raised RuntimeError: The size of tensor a (4)")
    assert text.count(__file__) == 1 and f"line {line})" in text and "\n" not in text


def test_an_error_of_the_project_stays_what_it_is() -> None:
    with pytest.raises(ConfigError, match="an error of its own"):
        call_hook(Faulty(), "shape", LOGP, batch())


def test_an_option_without_annotation_is_named() -> None:
    with pytest.raises(ConfigError, match=r"class Loose .*'weight' has no annotation.*`weight: float = 0.5`"):

        class Loose(Method):
            weight = 0.5


def test_an_option_keeps_the_annotation_of_its_base() -> None:
    class Narrow(Method):
        clip_high = 0.1

    assert Narrow().settings()["clip_high"] == 0.1
