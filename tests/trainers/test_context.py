"""What a method gets from the trainer's context."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rewards.method import Pass
from tests.trainers.workbench import recipe, trainer
from trainers import context


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


def test_solutions_beyond_the_bound_are_cut_and_counted(tiny_lm: Path, tmp_path: Path) -> None:
    """What is left has the states that it has in the whole solution, and plans are made window by window."""
    made = trainer(tiny_lm, tmp_path, recipe("tiny-lm", "train.micro_batch_tokens=64"))
    made.prepare()
    ctx, solved = made.context, made.context.expert()
    assert ctx.expert_tokens == made.policy.context
    asked = Pass(name="old", hidden=(0.5,))
    whole = {k: c.hidden[2][i] for c in ctx.scan(solved, asked) for i, k in enumerate(c.keys)}
    sizes = {k: int(m.sum()) for c in ctx.scan(solved, asked) for k, m in zip(c.keys, c.mask, strict=True)}
    assert ctx.cut == {}
    prompts = {e.id: len(ctx.render(e).ids) for e in solved}
    ctx.expert_tokens = max(prompts.values()) + 3
    for chunk in ctx.scan(solved, asked):
        for row, key in enumerate(chunk.keys):
            kept = int(chunk.mask[row].sum())
            assert kept == min(sizes[key], ctx.expert_tokens - prompts[key])
            torch.testing.assert_close(chunk.hidden[2][row, : kept + 1], whole[key][: kept + 1], atol=1e-4, rtol=1e-4)
    assert sum(ctx.cut.values()) == sum(max(0, n - ctx.expert_tokens + prompts[k]) for k, n in sizes.items()) > 0
    ctx.expert_tokens = min(prompts.values())
    kept_keys = [k for c in ctx.scan(solved, asked) for k in c.keys]
    assert kept_keys == [], "a prompt that fills the bound alone has no solution to read"


def test_few_expert_solutions_are_planned_at_once(
    tiny_lm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer(tiny_lm, tmp_path, recipe("tiny-lm"))
    made.prepare()
    ctx = made.context
    solved = [replace(e, id=f"{e.id}-{n}") for n in range(4) for e in ctx.expert()]
    rendered: list[str] = []
    inner = ctx.renderer.render
    monkeypatch.setattr(ctx.renderer, "render", lambda e: rendered.append(e.id) or inner(e))  # type: ignore[func-returns-value]
    monkeypatch.setattr(context, "SCAN_WINDOW", 6)
    chunks = ctx.scan(solved, Pass(name="old"))
    next(chunks)
    assert len(rendered) == 6
    assert sorted(int(r) for c in [*chunks] for r in c.rows) == list(range(6, len(solved)))
