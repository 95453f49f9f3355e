"""GRPO here equals TRL's GRPOTrainer: advantages, loss and gradients on the same rollouts, text and images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.core.records import Prompt
from harness.models import loading
from rewards.method import Batch, Now
from rewards.methods.grpo import Grpo
from tests.rewards.conftest import make_batch
from tests.trainers import small
from trainers.batching import Item, scatter
from trainers.policy import Policy

trl = pytest.importorskip("trl", reason="TRL is a development dependency")

REWARDS = (1.0, 0.0, 0.0, 1.0, 0.25, 0.5, 0.5, 1.0)
LENGTHS = (7, 1, 12, 5, 3, 9, 2, 4)
GROUP = (0, 0, 0, 0, 1, 1, 1, 1)
LOSS_BOUND = {"float32": 1e-6, "bfloat16": 5e-3}
GRADIENT_BOUND = {"float32": 1e-5, "bfloat16": 5e-2}
"""Largest difference of the loss and relative distance of the gradients, by what both sides compute in: in bfloat16 they
round at different places (packed and padded rows, the head)."""


@pytest.fixture(autouse=True)
def _own_streams() -> Iterator[None]:
    """TRL seeds the global streams."""
    with torch.random.fork_rng(devices=[]):
        yield


def grpo_trainer(model: Any, processing: Any, folder: Path, prompts: list[str], **options: Any) -> Any:
    from datasets import Dataset

    settings = {
        "output_dir": str(folder), "use_cpu": True, "report_to": "none", "bf16": False, "gradient_checkpointing": False,
        "per_device_train_batch_size": 8, "num_generations": 4, "max_completion_length": 16, "loss_type": "grpo",
        "beta": 0.0, "epsilon": 0.2, "epsilon_high": 0.2, "scale_rewards": "group", "temperature": 1.0,
        "disable_tqdm": True, "logging_strategy": "no", "save_strategy": "no",
    }  # fmt: skip
    made = trl.GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: list(REWARDS[: len(completions)]),
        args=trl.GRPOConfig(**(settings | options)),
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=processing,
    )
    made.model.train()
    made.current_gradient_accumulation_steps = 1
    return made


def ours(
    policy: Policy, items: list[Item], batch: Batch, method: Grpo, budget: int
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Advantage [B], loss and gradients by parameter name, in micro-batches within `budget` tokens."""
    with torch.no_grad():
        advantage = method.shape(method.advantage(method.reward(batch), batch), batch)
    policy.zero_grad(set_to_none=True)
    total = torch.zeros(())
    for mb in policy.plan(items, budget):
        rows = torch.tensor(mb.rows)
        part = batch.select(rows, keep_totals=True)
        out = policy(mb)
        wide = torch.nn.functional.pad(scatter(out.logp, mb), (0, batch.ids.shape[1] - max(mb.lengths)))
        if not batch.signals_ready:
            part = part.with_signals({"old.logp": wide.detach()})
        terms = method.loss(Now(wide, torch.zeros_like(wide)), advantage[rows], part)
        terms["policy"].backward()
        total += terms["policy"].detach()
    found = {n.removeprefix("model."): p.grad.clone() for n, p in policy.named_parameters() if p.grad is not None}
    return advantage[:, 0], total, found


def theirs(trainer: Any, inputs: dict[str, Any], dtype: str = "float32") -> tuple[Tensor, dict[str, Tensor]]:
    trainer.model.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
        loss = trainer.compute_loss(trainer.model, inputs)
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("budget", "dtype"), [(10_000, "float32"), (60, "float32"), (60, "bfloat16")])
def test_text_from_rewards_to_gradients(
    tiny_lm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, budget: int, dtype: str
) -> None:
    loaded = loading.load(tiny_lm)
    texts = ["2 + 3 = ", "the sum of 10 and 32 is "]
    prompts = []
    for text in texts:
        ids = tuple(loaded.tokenizer(text)["input_ids"])
        prompts.append(Prompt(example_id=text, ids=ids, engine_ids=ids, text=text, template_hash="h"))
    items = [small.item(prompts[0], LENGTHS[:4]), small.item(prompts[1], LENGTHS[4:], 4)]
    responses = [list(r) for item in items for r in item.responses]
    policy = Policy(loaded.model, tokenizer=loaded.tokenizer, dtype=dtype)
    batch = make_batch(outcome=REWARDS, reward=REWARDS, lengths=LENGTHS, group=GROUP)
    advantage, loss, gradients = ours(policy, items, batch, Grpo(eps=1e-4), budget)

    fresh = loading.load(tiny_lm)
    trainer = grpo_trainer(fresh.model, fresh.tokenizer, tmp_path, texts)
    monkeypatch.setattr(trainer, "_generate_single_turn", lambda *_, **__: (responses, None))
    inputs = trainer._generate_and_score_completions([{"prompt": texts[g]} for g in GROUP])
    assert inputs["completion_mask"].sum(-1).tolist() == list(LENGTHS)
    torch.testing.assert_close(advantage, inputs["advantages"], atol=1e-6, rtol=0)
    reference, expected = theirs(trainer, inputs, dtype)
    assert abs(float(loss - reference)) <= LOSS_BOUND[dtype]
    assert small.distance(gradients, expected) <= GRADIENT_BOUND[dtype]


def padded_inputs(items: list[Item], advantage: Tensor, old: Tensor | None = None) -> dict[str, Any]:
    """TRL's batch: prompts padded in front, completions behind, images repeated for every rollout."""
    pairs = [(item.prompt, r) for item in items for r in item.responses]
    before, behind = max(len(p.ids) for p, _ in pairs), max(len(r) for _, r in pairs)
    ids = [[0] * (before - len(p.ids)) + list(p.ids) for p, _ in pairs]
    kinds = [
        [0] * (before - len(p.ids)) + list(p.mm_token_type_ids or [0] * len(p.ids)) + [0] * behind for p, _ in pairs
    ]
    inputs: dict[str, Any] = {
        "prompt_ids": torch.tensor(ids),
        "prompt_mask": torch.tensor([[0] * (before - len(p.ids)) + [1] * len(p.ids) for p, _ in pairs]),
        "completion_ids": torch.tensor([list(r) + [0] * (behind - len(r)) for _, r in pairs]),
        "completion_mask": torch.tensor([[1] * len(r) + [0] * (behind - len(r)) for _, r in pairs]),
        "advantages": advantage,
        "num_items_in_batch": torch.tensor(sum(len(r) for _, r in pairs)),
    }
    seen = [p.patches for p, _ in pairs if p.patches is not None]
    if seen:
        inputs["pixel_values"] = torch.cat([torch.from_numpy(p.patches) for p in seen])
        inputs["image_grid_thw"] = torch.cat([torch.from_numpy(p.grid) for p in seen])
        inputs["num_images"] = [0 if p.patches is None else len(p.patches.grid) for p, _ in pairs]
        inputs["mm_token_type_ids"] = torch.tensor(kinds)
    if old is not None:
        inputs["old_per_token_logps"] = old
    return inputs


@pytest.mark.parametrize(("freeze", "dtype"), [(True, "float32"), (False, "float32"), (False, "bfloat16")])
def test_images_and_a_policy_that_has_moved_away_from_its_rollouts(
    tiny_vl: Path, tmp_path: Path, freeze: bool, dtype: str
) -> None:
    loaded = loading.load(tiny_vl)
    image = loaded.model.config.image_token_id
    one, two = small.image_prompt([(1, 4, 6)], 1), small.image_prompt([(1, 2, 4), (1, 4, 4)], 2, around=9)
    one, two = (replace(p, ids=tuple(image if t == small.IMAGE else t for t in p.ids)) for p in (one, two))
    items = [small.item(one, LENGTHS[:4]), small.item(two, LENGTHS[4:], 4)]
    policy = Policy(loaded.model, tokenizer=loaded.tokenizer, freeze_vision=freeze, dtype=dtype)
    (mb,) = policy.plan(items, 10_000)
    with torch.no_grad():
        old = scatter(policy(mb).logp, mb)
    old = old + 0.3 * torch.randn(
        old.shape, generator=torch.Generator().manual_seed(0)
    )  # ratios on both sides of the clip
    batch = make_batch(outcome=REWARDS, reward=REWARDS, lengths=LENGTHS, group=GROUP, signals={"old.logp": old})
    advantage, loss, gradients = ours(policy, items, batch, Grpo(), 60)

    fresh = loading.load(tiny_vl)
    if freeze:
        fresh.model.model.visual.requires_grad_(False)
    trainer = grpo_trainer(fresh.model, fresh.processor, tmp_path, ["unused"])
    reference, expected = theirs(trainer, padded_inputs(items, advantage, old), dtype)
    assert any("visual" in name for name in expected) != freeze
    assert abs(float(loss - reference)) <= LOSS_BOUND[dtype]
    assert small.distance(gradients, expected) <= GRADIENT_BOUND[dtype]


@pytest.mark.parametrize(
    ("loss_type", "options"), [("dapo", {"reduction": "token"}), ("dr_grpo", {"reduction": "constant"})]
)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_other_reductions(
    tiny_lm: Path, tmp_path: Path, loss_type: str, options: dict[str, Any], dtype: str
) -> None:
    loaded = loading.load(tiny_lm)
    items = [small.item(small.text_prompt(9, 1), LENGTHS[:4]), small.item(small.text_prompt(4, 2), LENGTHS[4:], 4)]
    policy = Policy(loaded.model, tokenizer=loaded.tokenizer, dtype=dtype)
    batch = make_batch(outcome=REWARDS, reward=REWARDS, lengths=LENGTHS, group=GROUP, max_new_tokens=16)
    advantage, loss, gradients = ours(policy, items, batch, Grpo(**options), 10_000)
    fresh = loading.load(tiny_lm)
    trainer = grpo_trainer(fresh.model, fresh.tokenizer, tmp_path, ["unused"], loss_type=loss_type)
    reference, expected = theirs(trainer, padded_inputs(items, advantage), dtype)
    assert abs(float(loss - reference)) <= LOSS_BOUND[dtype]
    assert small.distance(gradients, expected) <= GRADIENT_BOUND[dtype]
