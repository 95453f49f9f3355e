"""What a method gets from the trainer's context."""

from __future__ import annotations

from pathlib import Path

import torch

from rewards.method import Pass
from tests.trainers.workbench import recipe, trainer


def test_reading_expert_states_leaves_gradients_on(tiny_lm: Path, tmp_path: Path) -> None:
    """A method fits its own networks between chunks, and may stop reading before the last."""
    made = trainer(tiny_lm, tmp_path, recipe("tiny-lm", "train.micro_batch_tokens=64"))
    made.prepare()
    solved = made.context.expert()[:4]
    chunks = made.context.scan(solved, Pass(name="old", hidden=(0.5,)))
    first = next(chunks)
    assert torch.is_grad_enabled()
    assert not first.logp.requires_grad
    assert len(list(chunks)) > 0, "one chunk alone proves nothing"
