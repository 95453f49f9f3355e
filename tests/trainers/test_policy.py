"""The policy: packed and padded passes agree in log-probabilities and gradients, and what must not go wrong silently."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from harness.core.config import Lora
from harness.core.errors import ModelError, TrainingError
from harness.models import loading
from tests.trainers import small
from trainers.batching import MicroBatch, gather, scatter, scatter_states
from trainers.padded_oracle import padded_logits, padded_logp
from trainers.policy import Policy

LOGP_BOUND, GRADIENT_BOUND = 4e-6, 5e-6


def packed(policy: Policy, kind: str, budget: int = 100_000) -> list[MicroBatch]:
    return policy.plan(small.items(kind), budget)


def padded(policy: Policy, mb: MicroBatch) -> Tensor:
    with policy._ordinary():
        return padded_logp(policy.model, mb, None, policy.forbidden)


def weighted(logp: Tensor) -> Tensor:
    return (logp * torch.randn(logp.shape, generator=torch.Generator().manual_seed(7))).sum()


def compare(policy: Policy, kind: str) -> None:
    """Packed against padded: every log-probability, and the gradient of a random weighting of them."""
    (mb,) = packed(policy, kind)
    with torch.no_grad():
        difference = float((policy(mb).logp - padded(policy, mb)).abs().max())
    assert difference <= LOGP_BOUND
    ours = small.gradients(policy, lambda: weighted(policy(mb).logp))
    policy._checkpoint(on=False)
    theirs = small.gradients(policy, lambda: weighted(padded(policy, mb)))
    assert small.distance(ours, theirs) <= GRADIENT_BOUND


@pytest.mark.parametrize("kind", small.KINDS)
@pytest.mark.parametrize("tied", [False, True])
def test_packed_equals_padded(kind: str, tied: bool) -> None:
    compare(small.policy(kind, tied=tied, freeze_vision=False), kind)


@pytest.mark.parametrize("kind", ["qwen2", "qwen2_5_vl"])
@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("lora", [None, Lora(rank=3, alpha=6)])
def test_packed_equals_padded_under_both_kinds_of_checkpointing(kind: str, reentrant: bool, lora: Lora | None) -> None:
    policy = small.policy(kind, gradient_checkpointing=True, lora=lora)
    if reentrant:
        policy._checkpoint(reentrant=True)
    policy.eval()  # as the trainer leaves it
    disturb(policy)
    runs = count_layer_runs(policy, lambda: compare(policy, kind))
    assert runs > 0  # the first layer was computed again in the backward pass


def count_layer_runs(policy: Policy, work: Callable[[], None]) -> int:
    """How often the first decoder layer's attention ran in a backward pass."""
    counted = [0]

    def count(*_: Any) -> None:
        counted[0] += bool(torch._C._current_graph_task_id() != -1)

    handle = policy.parts.trunk.layers[0].self_attn.register_forward_hook(count)
    work()
    handle.remove()
    return counted[0]


def disturb(policy: Policy, amount: float = 0.2) -> None:
    """Give adapters an effect (B starts at zero)."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in policy.trainable():
            if "lora_" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=amount)


@pytest.mark.parametrize("kind", ["qwen2", "qwen2_5_vl"])
def test_packed_equals_padded_with_adapters(kind: str) -> None:
    policy = small.policy(kind, lora=Lora(rank=3, alpha=6))
    names = [name for name, _ in policy.trainable()]
    assert names and all(".lora_" in name and "visual" not in name for name in names)
    (mb,) = packed(policy, kind)
    with torch.no_grad():
        assert torch.equal(policy(mb).logp, small.policy(kind)(mb).logp)  # B is zero: the policy starts unchanged
    disturb(policy)
    compare(policy, kind)


@pytest.mark.parametrize("kind", ["qwen2", "qwen2_5_vl"])
@pytest.mark.parametrize("budget", [1, 25, 45])
def test_splitting_groups_over_micro_batches_changes_nothing(kind: str, budget: int) -> None:
    policy = small.policy(kind, freeze_vision=False)
    (whole,) = packed(policy, kind)
    parts = packed(policy, kind, budget)
    assert len(parts) >= 2
    weight = torch.randn(len(whole.rows), max(whole.lengths), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        wide = scatter(policy(whole).logp, whole)

    def by_parts() -> Tensor:
        total = torch.zeros(())
        for mb in parts:
            logp = policy(mb).logp
            rows = torch.tensor(mb.rows)
            torch.testing.assert_close(logp.detach(), gather(wide[rows], mb), atol=LOGP_BOUND, rtol=0)
            total = total + (logp * gather(weight[rows], mb)).sum()
        return total

    def at_once() -> Tensor:
        return (policy(whole).logp * gather(weight, whole)).sum()

    assert small.distance(small.gradients(policy, at_once), small.gradients(policy, by_parts)) <= GRADIENT_BOUND


@pytest.mark.parametrize("kind", ["llama", "qwen2_5_vl"])
def test_entropy_temperature_and_forbidden_tokens_are_those_of_full_logits(kind: str) -> None:
    policy = small.policy(kind)
    (mb,) = packed(policy, kind)
    with torch.no_grad():
        out = policy(mb, temperature=0.6)
        with policy._ordinary():
            logits, targets = padded_logits(policy.model, mb)
    keep = [t for t in range(small.VOCABULARY) if t not in small.FORBIDDEN]
    every = (logits[:, keep] / 0.6).log_softmax(-1)
    places = torch.tensor([keep.index(t) for t in targets.tolist()])
    torch.testing.assert_close(out.logp, every.gather(1, places[:, None])[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(out.entropy, -(every.exp() * every).sum(-1), atol=1e-5, rtol=0)


def test_a_small_logit_budget_changes_no_gradient() -> None:
    found = []
    for budget in (2**30, 0):
        policy = small.policy("qwen2", tied=True, logits_budget_bytes=budget)
        (mb,) = packed(policy, "qwen2")
        out = policy(mb)
        found.append(small.gradients(policy, partial(torch.add, weighted(out.logp), 0.3 * out.entropy.sum())))
    assert small.distance(*found) <= 1e-7


@pytest.mark.parametrize("kind", ["llama", "qwen2_5_vl"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_latents_are_the_decoder_layers_outputs_detached(kind: str, checkpointing: bool) -> None:
    policy = small.policy(kind, gradient_checkpointing=checkpointing)
    (mb,) = packed(policy, kind)
    plain = small.gradients(policy, lambda: weighted(policy(mb).logp))
    kept: dict[int, Tensor] = {}

    def loss() -> Tensor:
        out = policy(mb, (0, 2))
        kept.update(out.latents)
        return weighted(out.logp)

    tapped = small.gradients(policy, loss)
    assert all(torch.equal(plain[name], tapped[name]) for name in plain)
    assert set(kept) == {0, 2} and not any(t.requires_grad for t in kept.values())
    for k, (length, prompt) in enumerate(
        zip(mb.lengths, [p for p, n in zip(mb.prompts, mb.responses_of, strict=True) for _ in range(n)], strict=True)
    ):
        (alone,) = policy.plan([small.Item(prompt, (tuple(mb.targets[mb.rollout == k].tolist()),), (0,))], 999)
        with torch.no_grad(), policy._ordinary():
            states = hidden_states(policy, alone)
        for layer in (0, 2):
            found = scatter_states(kept[layer], mb)[k, : length + 1]
            torch.testing.assert_close(found, states[layer + 1][0, len(prompt.ids) - 1 :], atol=2e-5, rtol=1e-5)


def hidden_states(policy: Policy, mb: MicroBatch) -> list[Tensor]:
    """Inputs of every layer and outputs of the last one, by hooks of the oracle's own pass (before the final norm)."""
    found: list[Tensor] = []
    layers = policy.parts.trunk.layers
    handles = [layers[0].register_forward_pre_hook(lambda m, args: found.append(args[0]))]
    handles += [layer.register_forward_hook(lambda m, a, out: found.append(out)) for layer in layers]
    padded_logits(policy.model, mb)
    for handle in handles:
        handle.remove()
    return found


def test_decoder_layers_that_return_tuples_are_read_and_wrong_shapes_refused() -> None:
    policy = small.policy("qwen2")
    (mb,) = packed(policy, "qwen2")
    expected = policy(mb, (2,)).latents[2]
    last = policy.parts.trunk.layers[2]
    handles = [
        last.register_forward_hook(lambda module, inputs, output: (output, None)),  # as older versions return it
        policy.parts.trunk.norm.register_forward_pre_hook(lambda module, inputs: (inputs[0][0],)),
    ]
    assert torch.equal(policy(mb, (2,)).latents[2], expected)
    handles.append(last.register_forward_hook(lambda module, inputs, output: (output[0][0], None)))
    with pytest.raises(TrainingError, match="decoder layer 2 gave"):
        policy(mb, (2,))
    for handle in handles:
        handle.remove()


# --- images ---------------------------------------------------------------------------------------------------------


def test_another_or_a_blank_image_changes_log_probabilities() -> None:
    policy = small.policy("qwen2_5_vl")
    right, other = small.image_prompt([(1, 4, 6)], 4), small.image_prompt([(1, 4, 6)], 9)
    assert right.patches is not None and other.patches is not None
    blank = replace(right.patches, patches=right.patches.patches * 0)
    with torch.no_grad():
        logp = {}
        for name, patches in {
            "right": right.patches,
            "again": right.patches,
            "other": other.patches,
            "blank": blank,
        }.items():
            (mb,) = policy.plan([small.item(replace(right, patches=patches), (6, 3))], 999)
            logp[name] = policy(mb).logp
    assert torch.equal(logp["right"], logp["again"])
    for name in ("other", "blank"):
        assert float((logp["right"] - logp[name]).abs().min()) > 1e-3


def test_images_belong_to_their_own_prompt() -> None:
    policy = small.policy("qwen2_5_vl")
    one, two = (
        small.item(small.image_prompt([(1, 4, 6)], 4), (6, 3)),
        small.item(small.image_prompt([(1, 4, 6)], 9), (5,), 2),
    )
    with torch.no_grad():
        (both,) = policy.plan([one, two], 999)
        (turned,) = policy.plan([two, one], 999)
        (alone,) = policy.plan([two], 999)
        last = policy(both).logp[both.rollout == 2]
        torch.testing.assert_close(last, policy(alone).logp, atol=LOGP_BOUND, rtol=0)
        torch.testing.assert_close(last, policy(turned).logp[:5], atol=LOGP_BOUND, rtol=0)


@pytest.mark.parametrize("freeze", [True, False])
def test_a_frozen_tower_runs_without_gradient_and_a_trained_one_learns(freeze: bool) -> None:
    policy = small.policy("qwen2_5_vl", freeze_vision=freeze)
    (mb,) = packed(policy, "qwen2_5_vl")
    grads = small.gradients(policy, lambda: weighted(policy(mb).logp))
    tower = {name for name, _ in policy.named_parameters() if "visual" in name}
    assert tower and (tower.isdisjoint(grads) if freeze else tower <= grads.keys())
    assert {name for name, _ in policy.trainable()} == set(grads)


def test_a_response_that_holds_an_image_token_is_no_image() -> None:
    policy = small.policy("qwen2_5_vl", forbidden=())
    item = small.item(small.image_prompt([(1, 4, 4)], 4), (4,))
    item = replace(item, responses=((5, small.IMAGE, 6, 7),))
    (mb,) = policy.plan([item], 999)
    with torch.no_grad():
        assert torch.isfinite(policy(mb).logp).all()


# --- guards ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["qwen2", "qwen2_5_vl"])
@pytest.mark.parametrize("name", ["sdpa", "eager"])
def test_another_attention_implementation_is_refused(kind: str, name: str) -> None:
    policy = small.policy(kind)
    (mb,) = packed(policy, kind)
    policy._implement(name)
    with pytest.raises(TrainingError, match=f"runs '{name}' attention"):
        policy(mb)


def test_the_tower_keeps_its_own_attention() -> None:
    config = small.policy("qwen2_5_vl").model.config
    assert (config.text_config._attn_implementation, config.vision_config._attn_implementation) == ("grouped", "sdpa")


@pytest.mark.parametrize("kind", small.KINDS)
def test_the_first_batch_check_passes_and_leaves_no_trace(kind: str) -> None:
    policy = small.policy(kind)
    (mb,) = packed(policy, kind)
    before = policy(mb).logp
    policy.check_first_batch(mb)
    assert torch.equal(policy(mb).logp, before)
    assert getattr(policy.model.model, "rope_deltas", None) is None


def plain_causal(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, *, scaling: float, **_: Any) -> Any:
    key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], 1) for t in (key, value))
    out = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    return out.transpose(1, 2), None


@pytest.mark.parametrize("fault", ["one response reads another", "positions restart", "one axis"])
def test_the_first_batch_check_finds_the_silent_faults(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AttentionInterface

    kind = "qwen2_5_vl"
    policy = small.policy(kind)
    (mb,) = packed(policy, kind)
    if fault == "one response reads another":
        monkeypatch.setitem(AttentionInterface._global_mapping, "grouped", plain_causal)
    elif fault == "positions restart":
        places = mb.position_ids.clone()
        for k in range(len(mb.rows)):
            at = mb.state_at[(mb.state_at[:, None] == mb.score_at[mb.rollout == k]).any(1)]
            places[:, at[1:]] = torch.arange(len(at) - 1)
        mb = replace(mb, position_ids=places)
    else:
        mb = replace(mb, position_ids=torch.arange(mb.tokens).expand(3, -1).clone())
    with pytest.raises(
        TrainingError, match=r"packed and padded log-probabilities differ by [0-9.]+ in the first batch"
    ):
        policy.check_first_batch(mb)


def test_image_prompts_need_positions_on_three_axes() -> None:
    policy = small.policy("qwen2_5_vl")
    prompt = small.image_prompt([(1, 4, 6)], 4)
    rows = policy.positions(prompt)
    assert rows.shape == (3, len(prompt.ids)) and len({tuple(r.tolist()) for r in rows}) == 3
    assert policy.positions(prompt) is rows  # remembered
    for broken in (replace(prompt, mm_token_type_ids=None), replace(prompt, mm_token_type_ids=(0,) * len(prompt.ids))):
        policy._positions.clear()
        with pytest.raises(TrainingError, match="have no positions of their own on three axes"):
            policy.positions(broken)
    with pytest.raises(TrainingError, match="has images, the policy reads text only"):
        small.policy("qwen2").positions(prompt)


@pytest.mark.parametrize("kind", ["qwen2", "qwen2_5_vl"])
@pytest.mark.parametrize("lora", [None, Lora(rank=3, alpha=6)])
def test_autocast_to_bfloat16_stays_near_and_trains_float32_weights(kind: str, lora: Lora | None) -> None:
    policy = small.policy(kind, lora=lora)
    (mb,) = packed(policy, kind)
    exact = policy(mb, (1,))
    policy.dtype = "bfloat16"
    rough = policy(mb, (1,))
    policy.check_first_batch(mb)
    assert rough.logp.dtype == rough.entropy.dtype == torch.float32
    assert 0 < float((rough.logp - exact.logp).detach().abs().max()) < 0.3
    grads = small.gradients(policy, lambda: weighted(rough.logp))
    assert {g.dtype for g in grads.values()} == {torch.float32} and all(torch.isfinite(g).all() for g in grads.values())
    assert small.distance(grads, small.gradients(policy, lambda: weighted(exact.logp))) < 0.1


def test_a_sliding_window_is_refused() -> None:
    model = small.model("qwen2")
    model.config.layer_types = ["full_attention", "sliding_attention", "full_attention"]
    with pytest.raises(ModelError, match="only full attention can be trained"):
        Policy(model, tokenizer=None)


# --- weights --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [None, Lora(rank=3, alpha=6)])
def test_start_weights_are_those_of_the_beginning_and_go_away_again(lora: Lora | None) -> None:
    policy = small.policy("qwen2", lora=lora)
    (mb,) = packed(policy, "qwen2")
    with torch.no_grad():
        start = policy(mb).logp
        policy.keep_start()
        for _, parameter in policy.trainable():
            parameter.add_(0.05)
        policy.keep_start()  # a second call keeps what the first one took
        now = policy(mb).logp
        assert float((now - start).abs().max()) > 1e-2
        with policy.weights("start"):
            assert torch.equal(policy(mb).logp, start)
        with policy.weights("old"):
            assert torch.equal(policy(mb).logp, now)
        assert torch.equal(policy(mb).logp, now)
    assert all(p.requires_grad for _, p in policy.trainable()) and policy.trainable()


def test_start_weights_must_be_kept_first() -> None:
    with pytest.raises(TrainingError, match="start policy was not kept"), small.policy("qwen2").weights("start"):
        pass


@pytest.fixture(params=["tiny_lm", "tiny_vl"])
def folder(request: pytest.FixtureRequest) -> Path:
    return Path(request.getfixturevalue(request.param))


def of(folder: Path, **options: Any) -> Policy:
    loaded = loading.load(folder)
    return Policy(loaded.model, tokenizer=loaded.tokenizer, processor=loaded.processor, **options)


def test_exported_names_and_values_are_the_checkpoints(folder: Path) -> None:
    policy = of(folder)
    files = load_file(folder / "model.safetensors")
    found = dict(policy.export())
    assert found.keys() == files.keys()
    assert all(torch.equal(found[name], files[name]) and not found[name].requires_grad for name in files)


def test_adapters_are_merged_aside(folder: Path) -> None:
    policy = of(folder, lora=Lora(rank=2, alpha=8))
    disturb(policy)
    before = {name: t.clone() for name, t in policy.state_dict().items()}
    files, found = load_file(folder / "model.safetensors"), dict(policy.export())
    assert found.keys() == files.keys()
    assert all(torch.equal(t, before[name]) for name, t in policy.state_dict().items())
    changed = {name for name in files if not torch.equal(found[name], files[name])}
    assert changed == {n for n in files if n.startswith("model.layers.") and "proj.weight" in n}
    name = "model.layers.1.mlp.down_proj"
    layer = policy.parts.trunk.layers[1].mlp.down_proj
    delta = 4.0 * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    torch.testing.assert_close(found[f"{name}.weight"], files[f"{name}.weight"] + delta)


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=8)])
def test_a_saved_policy_is_an_ordinary_folder(folder: Path, tmp_path: Path, lora: Lora | None) -> None:
    policy = of(folder, lora=lora)
    disturb(policy)
    with torch.no_grad():
        for _, parameter in policy.trainable():
            parameter.mul_(1.01)
    target = tmp_path / "deep" / "policy"
    policy.save(target)
    policy.save(target)  # again, over itself
    assert [f.name for f in target.parent.iterdir()] == ["policy"]
    assert {f.name for f in target.iterdir()} == {f.name for f in folder.iterdir()}
    again = loading.load(target)
    assert again.generation_config.eos_token_id == loading.load(folder).generation_config.eos_token_id
    assert again.tokenizer.chat_template == policy.tokenizer.chat_template
    saved = dict(Policy(again.model, tokenizer=None).export())
    for name, tensor in policy.export():
        assert torch.equal(saved[name], tensor)


def test_a_broken_save_leaves_the_old_folder(tiny_lm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = of(tiny_lm)
    policy.save(tmp_path / "policy")
    before = sorted((f.name, f.stat().st_mtime_ns) for f in (tmp_path / "policy").iterdir())

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(policy.tokenizer, "save_pretrained", fail, raising=False)
    with pytest.raises(OSError, match="disk full"):
        policy.save(tmp_path / "policy")
    assert sorted((f.name, f.stat().st_mtime_ns) for f in (tmp_path / "policy").iterdir()) == before
    assert [f.name for f in tmp_path.iterdir()] == ["policy"]


def test_building_a_policy_leaves_the_global_random_stream_alone() -> None:
    model = small.model("qwen2")
    state = torch.get_rng_state()
    one = Policy(model, tokenizer=None, lora=Lora(rank=3, alpha=6))
    assert torch.equal(torch.get_rng_state(), state)
    two = small.policy("qwen2", lora=Lora(rank=3, alpha=6))
    assert all(torch.equal(p, q) for (_, p), (_, q) in zip(one.trainable(), two.trainable(), strict=True))


def test_dropout_stays_off_in_training() -> None:
    model = small.model("qwen2")
    model.config.attention_dropout = 0.5
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    policy = Policy(model, tokenizer=None)
    (mb,) = packed(policy, "qwen2")
    policy.train()
    assert torch.equal(policy(mb).logp, policy(mb).logp)
