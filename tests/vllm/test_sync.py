"""New weights in vLLM: what it then generates, and that nothing but the whole of them is ever used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("vllm", reason="runs in the environment of `make test-vllm`")

import torch

from harness.core.errors import EngineError
from harness.engines.support.weight_names import fingerprint
from harness.engines.vllm import VLLMEngine
from tests.vllm.conftest import BOUND, Rig, keyed
from trainers.batching import Item
from trainers.policy import Policy

VICTIMS = {
    "tiny-lm": ("model.layers.2.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight"),
    "tiny-vl": (
        "model.layers.0.self_attn.q_proj.weight",
        "visual.blocks.1.attn.qkv.weight",
        "visual.merger.ln_q.weight",
    ),
}


@pytest.fixture
def engine(rig: Rig) -> Iterator[VLLMEngine]:
    """The rig's engine, given its first weights back afterwards whatever a test did to them."""
    yield rig.engine
    rig.engine._broken = ""
    rig.engine.sync(rig.policy().export(), 0)


def moved(policy: Policy, scale: float, only: str = "") -> Policy:
    """Noise on every weight whose name contains `only`."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, weight in policy.trainable():
            if only in name:
                weight.add_(torch.randn(weight.shape, generator=generator) * scale)
    return policy


def stepped(policy: Policy, rig: Rig) -> Policy:
    """One optimiser step on the policy's own greedy answers."""
    optimiser = torch.optim.AdamW([p for _, p in policy.trainable()], lr=5e-3)
    rollouts = list(rig.reference.generate(rig.requests(4, max_new_tokens=8)))
    prompts = {p.example_id: p for p in rig.prompts}
    items = [Item(prompts[r.prompt_id], (r.token_ids,), (row,)) for row, r in enumerate(rollouts)]
    loss = sum(policy(mb).logp.sum() for mb in policy.plan(items, 4096))
    loss.backward()  # type: ignore[union-attr]
    optimiser.step()
    return policy


def probe(policy: Policy, rig: Rig, engine: VLLMEngine) -> float:
    """Largest difference of a log-probability between engine and policy on the engine's own answers."""
    worst = 0.0
    prompts = {p.example_id: p for p in rig.prompts}
    for rollout in engine.generate(rig.requests(max_new_tokens=8)):
        (mb,) = policy.plan([Item(prompts[rollout.prompt_id], (rollout.token_ids,), (0,))], 4096)
        with torch.no_grad():
            worst = max(worst, float((policy(mb).logp - torch.tensor(rollout.logprobs)).abs().max()))
    return worst


def test_an_optimiser_step_changes_what_vllm_says(rig: Rig, engine: VLLMEngine) -> None:
    before = keyed(engine.generate(rig.requests()))
    policy = stepped(rig.policy(), rig)
    changed = {
        n for (n, a), (_, b) in zip(policy.export(), rig.policy().export(), strict=True) if not torch.equal(a, b)
    }
    assert len(changed) > 40, "the step moved too little to prove anything"
    engine.sync(policy.export(), 1)
    after = keyed(engine.generate(rig.requests()))
    assert {k: r.token_ids for k, r in after.items()} != {k: r.token_ids for k, r in before.items()}
    assert {r.policy_version for r in after.values()} == {1}
    assert probe(policy, rig, engine) < BOUND
    rig.reference.sync(policy.export(), 1)
    theirs = keyed(rig.reference.generate(rig.requests()))
    rig.reference.sync(rig.policy().export(), 0)
    assert {k: r.token_ids for k, r in after.items()} == {k: r.token_ids for k, r in theirs.items()}


@pytest.mark.parametrize("part", ["embed_tokens", "visual", "mlp", "self_attn", "norm"])
def test_every_part_of_the_policy_arrives(rig: Rig, engine: VLLMEngine, part: str) -> None:
    """Caches of prompts and pictures are warm with the old weights; only one part moves; engine and policy still agree."""
    list(engine.generate(rig.requests()))
    policy = moved(rig.policy(), 0.05, part)
    engine.sync(policy.export(), 1)
    assert probe(policy, rig, engine) < BOUND


def on_the_way(monkeypatch: pytest.MonkeyPatch, engine: VLLMEngine, change: Callable[[str, Any], Any]) -> None:
    """Tampers with weights between their fingerprint and vLLM; `change` gives the tensor to pass on, or None to lose it."""
    rpc = engine._llm.collective_rpc

    def tampered(method: str, **settings: Any) -> Any:
        found = ((name, change(name, tensor)) for name, tensor in settings["kwargs"]["weights_iterator"])
        return rpc(method, kwargs={"weights_iterator": ((n, t) for n, t in found if t is not None)})

    monkeypatch.setattr(engine._llm, "collective_rpc", tampered)


def refused(engine: VLLMEngine, rig: Rig, message: str, weights: Any) -> None:
    with pytest.raises(EngineError, match=message):
        engine.sync(weights, 1)
    with pytest.raises(EngineError, match="did not arrive whole"):
        engine.generate(rig.requests(1))
    assert engine.version == 0


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_corrupted_tensor_stops_the_run(
    rig: Rig, engine: VLLMEngine, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One entry of one tensor changes on the way by a hundredth."""
    victim = VICTIMS[rig.folder.name][place]

    def corrupt(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if name != victim:
            return tensor
        damaged = tensor.clone()
        damaged.view(-1)[3] += 0.01
        return damaged

    on_the_way(monkeypatch, engine, corrupt)
    refused(engine, rig, f"tensor {victim} reads back from vLLM other than it was sent", rig.policy().export())


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_lost_tensor_stops_the_run(rig: Rig, engine: VLLMEngine, place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = VICTIMS[rig.folder.name][place]
    on_the_way(monkeypatch, engine, lambda name, tensor: None if name == victim else tensor)
    refused(engine, rig, "reads back from vLLM other than it was sent", moved(rig.policy(), 0.01).export())


@pytest.mark.parametrize("place", [0, 1])
def test_a_tensor_that_is_never_sent_stops_the_run(rig: Rig, engine: VLLMEngine, place: int) -> None:
    victim = VICTIMS[rig.folder.name][place]
    weights = [(n, t) for n, t in rig.policy().export() if n != victim]
    refused(engine, rig, f"tensor {victim} did not come", weights)


def test_names_and_shapes_are_strict(rig: Rig, engine: VLLMEngine) -> None:
    weights = list(rig.policy().export())
    name, tensor = weights[-1]
    for wrong, message in (
        ([*weights, ("model.layers.9.extra.weight", tensor)], "the engine has no tensor model.layers.9.extra.weight"),
        ([*weights, (name, tensor)], f"tensor {name} came twice"),
        ([*weights[:-1], (name, tensor[:-1])], rf"tensor {name} has shape \["),
    ):
        engine._broken = ""
        refused(engine, rig, message, wrong)


def test_weights_do_not_change_under_a_running_generation(rig: Rig, engine: VLLMEngine) -> None:
    running = engine.generate(rig.requests(2, temperature=1.0))
    next(running)
    with pytest.raises(EngineError, match="generating already"):
        engine.sync(rig.policy().export(), 1)
    running.close()


def test_a_fingerprint_tells_values_and_places_apart() -> None:
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    swapped = values.clone()
    swapped[[3, 4]] = values[[4, 3]]
    nudged = values.clone()
    nudged[7] = torch.nextafter(nudged[7], torch.tensor(9.0))
    prints = [fingerprint(t) for t in (values, swapped, nudged, values[:-1])]
    assert len(set(prints)) == 4
    assert fingerprint(values.reshape(10, 100)) == prints[0]
    assert fingerprint(values.bfloat16()) != prints[0]
    assert fingerprint(torch.tensor([0.0, -0.0])) == fingerprint(torch.tensor([-0.0, 0.0]))
