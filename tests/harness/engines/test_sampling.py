"""Draws are a function of logits and key: checked against hand computation, frequencies, and the stream's definition."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from harness.core.errors import EngineError
from harness.core.records import ImagePatches, Prompt, Sampling
from harness.engines.support.sampling import CHUNK, Decoding, Uniforms, draw, score

PROMPT = Prompt(example_id="a", ids=(5, 6), engine_ids=(5, 6), text="", template_hash="")
NONE = torch.tensor([], dtype=torch.long)
PROBABILITIES = [0.1, 0.4, 0.3, 0.2]


def tokens(uniforms: list[float], forbidden: tuple[int, ...] = (), **settings: float) -> tuple[list[int], list[float]]:
    logits = torch.tensor(PROBABILITIES).log().expand(len(uniforms), -1)
    sampling = Sampling(max_new_tokens=1, **settings)  # type: ignore[arg-type]
    decoding = Decoding.of([sampling] * len(uniforms), torch.device("cpu"))
    return draw(logits, uniforms, decoding, torch.tensor(forbidden, dtype=torch.long))


def test_inverse_cdf_by_hand() -> None:
    drawn, logprobs = tokens([0.0, 0.0999, 0.1001, 0.4999, 0.5001, 0.7999, 0.8001, 1 - 2**-53])
    assert drawn == [0, 0, 1, 1, 2, 2, 3, 3]
    assert logprobs == pytest.approx([math.log(PROBABILITIES[t]) for t in drawn], abs=1e-6)


def test_cuts_by_hand_and_logprobs_before_them() -> None:
    assert tokens([0.0, 0.57, 0.58], top_k=2)[0] == [1, 1, 2]  # 0.4 and 0.3 remain: boundary at 4/7
    assert tokens([0.0, 0.44, 0.45, 0.77, 0.78], top_p=0.75)[0] == [1, 1, 2, 2, 3]  # 0.4 + 0.3 < 0.75: 0.2 stays too
    assert tokens([0.0, 0.999], top_p=0.4)[0] == [1, 1]  # the first token reaches 0.4 alone
    assert tokens([0.0, 0.999], top_p=1e-9)[0] == [1, 1]
    assert tokens([0.3], top_k=1)[1] == pytest.approx([math.log(0.4)], abs=1e-6)


def test_forbidden_ids_leave_the_distribution_before_it_is_normalised() -> None:
    drawn, logprobs = tokens([0.0, 0.166, 0.167, 0.66, 0.67, 0.999], forbidden=(1,))
    assert drawn == [0, 0, 2, 2, 3, 3]
    assert logprobs == pytest.approx([math.log(PROBABILITIES[t] / 0.6) for t in drawn], abs=1e-6)
    assert tokens([0.5], forbidden=(1,), temperature=0.0)[0] == [2]


def test_temperature_and_greedy() -> None:
    powered = np.array(PROBABILITIES) ** 2 / np.sum(np.array(PROBABILITIES) ** 2)
    drawn, logprobs = tokens([0.5], temperature=0.5)
    assert drawn == [1] and logprobs == pytest.approx([math.log(powered[1])], abs=1e-6)
    assert tokens([0.99], temperature=0.0) == ([1], pytest.approx([math.log(0.4)], abs=1e-6))  # at temperature 1
    tie = Decoding.of([Sampling(max_new_tokens=1, temperature=0.0)], torch.device("cpu"))
    assert draw(torch.tensor([[0.0, 1.0, 1.0]]), [0.9], tie, NONE)[0] == [1]


def test_rows_keep_their_own_settings() -> None:
    samplings = [
        Sampling(max_new_tokens=1, temperature=t, top_p=p, top_k=k)
        for t, p, k in ((1, 1, 0), (0, 1, 0), (1, 0.4, 0), (1, 1, 1))
    ]
    logits = torch.tensor(PROBABILITIES).log().expand(4, -1)
    assert draw(logits, [0.95] * 4, Decoding.of(samplings, torch.device("cpu")), NONE)[0] == [3, 1, 1, 1]


def test_frequencies_follow_the_probabilities() -> None:
    stream = Uniforms(0, 0, PROMPT, 0)
    drawn, _ = tokens([stream.at(i) for i in range(20_000)])
    shares = np.bincount(drawn, minlength=4) / 20_000
    assert np.abs(shares - PROBABILITIES).max() < 0.015  # four standard errors


def test_score_agrees_with_draw() -> None:
    logits = torch.randn(5, 9, generator=torch.Generator().manual_seed(0))
    forbidden = torch.tensor([0, 8])
    decoding = Decoding.of([Sampling(max_new_tokens=1, temperature=0.7)] * 5, torch.device("cpu"))
    drawn, logprobs = draw(logits, [0.1, 0.3, 0.5, 0.7, 0.9], decoding, forbidden)
    assert score(logits, torch.tensor(drawn), 0.7, forbidden) == pytest.approx(logprobs, abs=1e-12)


def test_damaged_logits_stop_the_run() -> None:
    with pytest.raises(EngineError, match="not finite"):
        draw(
            torch.tensor([[0.0, float("nan")]]),
            [0.5],
            Decoding.of([Sampling(max_new_tokens=1)], torch.device("cpu")),
            NONE,
        )


def test_stream_is_keyed_by_content_and_counted_by_position() -> None:
    def first(prompt: Prompt = PROMPT, seed: int = 0, version: int = 0, index: int = 0) -> float:
        return Uniforms(seed, version, prompt, index).at(0)

    def pictured(sha: str) -> Prompt:
        return dataclasses.replace(PROMPT, patches=ImagePatches(np.zeros((4, 1)), np.ones((1, 3)), sha))

    values = [first(), first(seed=1), first(version=1), first(index=1), first(dataclasses.replace(PROMPT, ids=(56,)))]
    values += [first(pictured("x")), first(pictured("y"))]
    assert len(set(values)) == len(values)
    assert first(dataclasses.replace(PROMPT, example_id="b")) == values[0]
    forwards, backwards = Uniforms(0, 0, PROMPT, 0), Uniforms(0, 0, PROMPT, 0)
    late = backwards.at(3 * CHUNK + 1)
    assert [forwards.at(i) for i in range(3 * CHUNK + 2)][-1] == late and forwards.at(0) == backwards.at(0) == values[0]
    state = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    first()
    assert (np.random.get_state()[1] == state).all()  # type: ignore[index]
