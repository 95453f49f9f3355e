"""How far training is: of its budget, be it steps or sampled tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rewards.method import Progress, method
from tests.rewards.conftest import make_batch
from tests.trainers.workbench import recipe, trainer


def test_fractions_follow_the_budget() -> None:
    steps = Progress(step=3, total=10)
    assert (steps.fraction, steps.fraction_after) == (0.3, 0.4)
    tokens = Progress(step=3, total=10_000, spent=0.6)
    assert (tokens.fraction, tokens.fraction_after) == (0.6, pytest.approx(0.8))
    assert Progress(step=4, total=10, spent=0.95).fraction_after == 1.0
    assert Progress(total=8, spent=0.0).fraction_after == 1 / 8


def test_schedules_run_under_a_token_budget() -> None:
    """The recipe's steps are no bound of such a run, so a schedule by steps would stand still."""
    advantage = torch.ones(1, 3)
    shaped = []
    for spent in (0.4, 0.6):
        progress = Progress(step=2, total=100_000, spent=spent)
        batch = make_batch([1], [3], signals={"old.logp": torch.zeros(1, 3)}, progress=progress)
        shaped.append(method.get("position-shaping")(start=0.5).shape(advantage, batch))
    assert torch.equal(shaped[0], advantage) and not torch.equal(shaped[1], advantage)


def test_the_trainer_tells_the_share_of_the_tokens(tmp_path: Path, tiny_lm: Path) -> None:
    made = trainer(tiny_lm, tmp_path, recipe("tiny-lm", "train.sampled_tokens=400", "train.steps=100000"))
    made.step, made.sampler.sampled_tokens = 2, 100
    assert made.progress().fraction == 0.25
    plain = trainer(tiny_lm, tmp_path, recipe("tiny-lm", "train.steps=4"))
    plain.step, plain.sampler.sampled_tokens = 2, 100
    assert plain.progress().fraction == 0.5
