"""vLLM gives what transformers and the trainer give: tokens, log-probabilities, end tokens, for text and for pictures."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("vllm", reason="runs in the environment of `make test-vllm`")

import torch

from harness.core.errors import EngineError
from harness.core.records import Finish, Sampling
from harness.engines.base import Request
from harness.models.codec import Codec
from tests.vllm.conftest import BOUND, Rig, keyed
from trainers.batching import Item


def difference(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    assert len(one) == len(other) > 0
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def test_greedy_tokens_equal_those_of_transformers(rig: Rig) -> None:
    ours, theirs = keyed(rig.engine.generate(rig.requests())), keyed(rig.reference.generate(rig.requests()))
    assert ours.keys() == theirs.keys()
    assert len({r.token_ids for r in ours.values()}) > 1, "answers without variety prove little"
    for key, rollout in ours.items():
        assert rollout.token_ids == theirs[key].token_ids
        assert (rollout.text, rollout.finish) == (theirs[key].text, theirs[key].finish)
        assert difference(rollout.logprobs, theirs[key].logprobs) < BOUND


def test_sampled_log_probabilities_are_the_trainers_at_that_temperature(rig: Rig) -> None:
    policy = rig.policy()
    rollouts = list(rig.engine.generate(rig.requests(3, temperature=0.7, n=4, seed=1)))
    assert len(rollouts) == 12
    prompts = {p.example_id: p for p in rig.prompts}
    for rollout in rollouts:
        (mb,) = policy.plan([Item(prompts[rollout.prompt_id], (rollout.token_ids,), (0,))], 4096)
        with torch.no_grad():
            ours = policy(mb, (), 0.7).logp
        assert difference(tuple(ours.tolist()), rollout.logprobs) < BOUND


def test_a_rollout_ends_with_an_end_token_or_at_its_length(rig: Rig) -> None:
    rollouts = list(rig.engine.generate(rig.requests(temperature=1.5, n=8, max_new_tokens=40)))
    assert {r.finish for r in rollouts} == {Finish.STOP, Finish.LENGTH}
    ends = set(rig.engine.codec.end_ids)
    for rollout in rollouts:
        stopped = rollout.token_ids[-1] in ends
        assert not ends & set(rollout.token_ids[:-1])
        assert rollout.finish is (Finish.STOP if stopped else Finish.LENGTH)
        assert stopped or len(rollout.token_ids) == 40


def test_samples_of_a_prompt_share_its_prefill(rig: Rig) -> None:
    rig.engine._llm.reset_prefix_cache()
    rig.engine.reused_tokens = 0
    list(rig.engine.generate(rig.requests(2, temperature=1.0, n=4)))
    whole = [len(r.prompt.ids) // 32 * 32 for r in rig.requests(2)]
    assert sum(whole) > 0
    assert rig.engine.reused_tokens >= 3 * sum(whole)


def test_rollouts_come_as_they_finish(rig: Rig) -> None:
    long, short = rig.requests(1, max_new_tokens=60, temperature=1.0, seed=2), rig.requests(2, max_new_tokens=3)
    seen = [r.prompt_id for r in rig.engine.generate([*long, short[1]])]
    assert seen[0] == short[1].prompt.example_id


def test_the_same_call_gives_the_same_tokens_whatever_the_global_stream(rig: Rig) -> None:
    requests = rig.requests(2, temperature=1.0, n=4, seed=3)
    before = torch.random.get_rng_state()
    first = keyed(rig.engine.generate(requests))
    assert torch.equal(torch.random.get_rng_state(), before), "the engine moved the global stream"
    with torch.random.fork_rng():
        torch.manual_seed(99)
        second = keyed(rig.engine.generate(requests))
    assert first == second
    other = keyed(rig.engine.generate(rig.requests(2, temperature=1.0, n=4, seed=4)))
    assert {r.token_ids for r in first.values()} != {r.token_ids for r in other.values()}
    assert len({r.token_ids for r in first.values()}) > 2


def test_a_prompt_that_vllm_reads_otherwise_is_an_error(rig: Rig) -> None:
    prompt = replace(rig.prompts[0], ids=(*rig.prompts[0].ids, 7))
    with pytest.raises(EngineError, match=rf"item {prompt.example_id}: vLLM reads \d+ prompt tokens"):
        list(rig.engine.generate([Request(prompt, Sampling(max_new_tokens=2))]))
    assert len(list(rig.engine.generate(rig.requests(1)))) == 1, "the engine goes on"


def test_a_forbidden_token_cannot_be_drawn(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    (request,) = rig.requests(1, max_new_tokens=6)
    (free,) = rig.engine.generate([request])
    favourite = free.token_ids[0]
    codec = rig.engine.codec
    monkeypatch.setattr(rig.engine, "codec", Codec(codec.tokenizer, codec.generation_config, codec.rows))
    monkeypatch.setitem(vars(rig.engine.codec), "forbidden_ids", (*codec.forbidden_ids, favourite))
    with pytest.raises(
        EngineError, match=rf"item {request.prompt.example_id} contains the forbidden token {favourite}"
    ):
        list(rig.engine.generate([request]))
    monkeypatch.setattr(rig.engine, "_bias", rig.engine._bias | {favourite: float("-inf")})
    (kept,) = rig.engine.generate([request])
    assert favourite not in kept.token_ids


def test_forbidden_ids_carry_no_probability(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all but the two likeliest tokens forbidden, their probabilities add up to one: the mask lies before the softmax."""
    everything = dict.fromkeys(range(rig.engine.codec.rows), float("-inf"))

    def draw(free: set[int], **sampling: object) -> dict[int, float]:
        monkeypatch.setattr(rig.engine, "_bias", {i: v for i, v in everything.items() if i not in free})
        requests = rig.requests(1, max_new_tokens=1, **sampling)
        return {r.token_ids[0]: r.logprobs[0] for r in rig.engine.generate(requests)}

    allowed = set(everything) - set(rig.engine.codec.forbidden_ids)
    (first,) = draw(allowed)
    (second,) = draw(allowed - {first})
    found = draw({first, second}, temperature=1.0, n=64)
    assert set(found) == {first, second}
    assert sum(torch.tensor(list(found.values())).exp()).item() == pytest.approx(1.0, abs=1e-5)


def test_impossible_requests_are_refused_before_any_work(rig: Rig) -> None:
    prompt = rig.prompts[0]
    filling = replace(prompt, ids=(70,) * rig.engine.context)
    for request, message in (
        (Request(filling, Sampling(max_new_tokens=1)), "leave no room in the context"),
        (Request(prompt, Sampling(max_new_tokens=0)), "must be 1 or more"),
    ):
        with pytest.raises(EngineError, match=message):
            rig.engine.generate([request])
    running = rig.engine.generate(rig.requests(2, temperature=1.0, n=2))
    next(running)
    with pytest.raises(EngineError, match="generating already"):
        rig.engine.generate(rig.requests(1))
    running.close()
    assert not rig.engine._llm.llm_engine.has_unfinished_requests(), "what was given up still runs"
    assert len(list(rig.engine.generate(rig.requests(1)))) == 1
