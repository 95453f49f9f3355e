"""Scores: reproducible noise, invariance to batching, padding and order, unbiased estimators, and the diagnostic."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from harness.core.errors import TrainingError
from rewards.flow.field import FieldConfig, VelocityField
from rewards.flow.matching import deviation, interpolate
from rewards.flow.noise import gaussian
from rewards.flow.score import Estimator, Scoring, noise_keys, score_chunk, separation
from rewards.method import Chunk
from rewards.support.layers import layer_index, layer_indices
from rewards.support.stats import auroc
from tests.rewards.conftest import make_chunk

LAYERS = (0.25, 0.5, 0.75)


def field(size: int = 16) -> VelocityField:
    net, draw = (
        VelocityField(FieldConfig(size, size, 2), torch.Generator().manual_seed(0)),
        torch.Generator().manual_seed(1),
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.15)
    return net


def rows(chunk: Chunk, index: list[int], length: int | None = None) -> Chunk:
    """Some rows of a chunk, in another order, cut to `length`."""
    t = length or chunk.mask.shape[1]
    changed = {n: getattr(chunk, n)[index, :t] for n in ("ids", "mask", "logp", "entropy")}
    return replace(
        chunk, **changed, rows=chunk.rows[index], keys=tuple(chunk.keys[i] for i in index),
        hidden={k: v[index, : t + 1] for k, v in chunk.hidden.items()},
        outcome=chunk.outcome[index], graded=chunk.graded[index],
    )  # fmt: skip


def test_layers_by_percentile() -> None:
    assert layer_indices(LAYERS, 28) == (7, 14, 21)
    assert layer_indices(LAYERS, 36) == (9, 18, 27)
    assert layer_indices(LAYERS, 2) == (0, 1)
    assert layer_index(1.0, 4) == 3 and layer_index(-1, 4) == 3 and layer_index(2, 4) == 2


def test_noise_is_standard_normal_and_a_pure_function() -> None:
    keys = noise_keys(0, 0, [f"k{i}" for i in range(200)], 3)
    noise = gaussian(keys, torch.arange(200), 301)
    assert noise.shape == (200, 301)
    assert abs(float(noise.mean())) < 0.02 and abs(float(noise.std()) - 1) < 0.01
    assert abs(float((noise**4).mean()) - 3) < 0.1
    correlation = torch.corrcoef(noise)[~torch.eye(200, dtype=torch.bool)]
    assert float(correlation.abs().max()) < 0.3 and abs(float(correlation.mean())) < 0.002
    assert torch.equal(gaussian(keys[7:8], torch.tensor([7]), 301), noise[7:8])
    assert torch.equal(gaussian(keys[7:9], torch.tensor([7, 8]), 301), noise[7:9])


@pytest.mark.parametrize("changed", [{"seed": 1}, {"step": 1}, {"keys": ["a", "b", "c"]}])
def test_noise_differs_across_run_step_and_rollout(changed: dict[str, object]) -> None:
    base = score_chunk(field(), make_chunk(), LAYERS, Scoring()).mean
    again = score_chunk(field(), make_chunk(), LAYERS, Scoring()).mean
    other = score_chunk(field(), make_chunk(**changed), LAYERS, Scoring()).mean  # type: ignore[arg-type]
    mask = make_chunk().mask
    assert torch.equal(base, again)
    assert bool((base[mask] != other[mask]).all())


def test_noise_differs_across_layers() -> None:
    """Identical latents at two layers and a field that ignores the layer: only the noise can tell them apart."""
    chunk = make_chunk()
    chunk = replace(chunk, hidden={1: chunk.hidden[1], 2: chunk.hidden[1]})
    net = VelocityField(FieldConfig(16, 16, 2), torch.Generator().manual_seed(0))
    table = score_chunk(net, chunk, (1, 2), Scoring()).table
    assert bool((table[0, 0][chunk.mask] != table[1, 0][chunk.mask]).all())


@pytest.mark.parametrize("estimator", ["independent", "antithetic", "shared", "shared-antithetic"])
def test_scores_do_not_depend_on_batching_padding_or_order(estimator: Estimator) -> None:
    how = Scoring(estimator=estimator, draws=2, timesteps=(0.6, 0.8), pairings=("previous", "next"))
    net, chunk = field(), make_chunk([5, 3, 4])
    whole = score_chunk(net, chunk, LAYERS, how)
    padded = score_chunk(net, make_chunk([5, 3, 4], padding=6), LAYERS, how)
    small = score_chunk(net, chunk, LAYERS, replace(how, tokens=2))
    order = [2, 0, 1]
    permuted = score_chunk(net, rows(chunk, order), LAYERS, how)
    torch.testing.assert_close(padded.mean[:, :5], whole.mean)
    torch.testing.assert_close(small.mean, whole.mean)
    torch.testing.assert_close(permuted.mean, whole.mean[order])
    for row, length in enumerate([5, 3, 4]):
        alone = score_chunk(net, rows(chunk, [row], length), LAYERS, how)
        torch.testing.assert_close(alone.mean[0], whole.mean[row, :length])
    assert float(padded.mean[:, 5:].abs().max()) == 0.0 and float(whole.mean[~chunk.mask].abs().max()) == 0.0


def test_score_is_the_formula() -> None:
    """One token worked out from the parts: noise, interpolant, network, deviation, debiasing, means."""
    chunk, net = make_chunk([4, 2]), field()
    how = Scoring(timesteps=(0.5, 0.8))
    found = score_chunk(net, chunk, LAYERS, how).mean[1, 0]
    terms = []
    for layer in (1, 2, 3):
        noise = gaussian(noise_keys(0, 0, ["p0#1"], layer), torch.tensor([0]), 16)
        target, condition = chunk.hidden[layer][1:2, 1], chunk.hidden[layer][1:2, 0]
        for t in how.timesteps:
            x, u = interpolate(target, noise, torch.tensor([t]))
            d = deviation(net(x, torch.tensor([t]), condition, torch.tensor([layer / 4])), u)
            terms.append(t / (1 - t) * d)
    torch.testing.assert_close(found, torch.stack(terms).mean())


def test_partners() -> None:
    """`next` has none for the last token; `identity` conditions on the target itself; several pairings are averaged
    over those that a token has."""
    chunk, net = make_chunk([4, 2]), field()
    scores = {p: score_chunk(net, chunk, LAYERS, Scoring(pairings=(p,))).mean for p in ("previous", "next", "identity")}
    assert float(scores["next"][0, 3]) == 0.0 and float(scores["next"][1, 1]) == 0.0
    assert bool((scores["next"][0, :3] > 0).all())
    both = score_chunk(net, chunk, LAYERS, Scoring(pairings=("previous", "next"))).mean
    torch.testing.assert_close(both[0, :3], (scores["previous"] + scores["next"])[0, :3] / 2)
    torch.testing.assert_close(both[0, 3], scores["previous"][0, 3])
    moved = replace(chunk, hidden={k: torch.cat([v[:, :1] + 9, v[:, 1:]], dim=1) for k, v in chunk.hidden.items()})
    changed = score_chunk(net, moved, LAYERS, Scoring()).mean != scores["previous"]
    assert changed[0].tolist() == [True, False, False, False], (
        "the state before the response conditions its first token"
    )
    assert torch.equal(score_chunk(net, moved, LAYERS, Scoring(pairings=("identity",))).mean, scores["identity"])


def test_estimators_are_unbiased_and_report_their_variance() -> None:
    chunk, net = make_chunk([6]), field()
    truth = score_chunk(net, chunk, (0.5,), Scoring(draws=2000))
    assert truth.variance is not None
    for estimator in ("antithetic", "shared", "shared-antithetic"):
        found = score_chunk(net, chunk, (0.5,), Scoring(estimator=estimator, draws=2000))  # type: ignore[arg-type]
        assert found.variance is not None
        error = (found.mean - truth.mean).abs() / (found.variance + truth.variance).sqrt()
        assert float(error.max()) < 4.5, estimator
    # the reported variance is that of the mean: it agrees with the spread of repeated scorings
    repeats = torch.stack([score_chunk(net, replace(chunk, step=s), (0.5,), Scoring(draws=4)).mean for s in range(300)])
    reported = torch.stack(
        [score_chunk(net, replace(chunk, step=s), (0.5,), Scoring(draws=4)).variance for s in range(300)]  # type: ignore[misc]
    ).mean(0)
    torch.testing.assert_close(repeats.var(0), reported, rtol=0.3, atol=0)
    assert score_chunk(net, chunk, (0.5,), Scoring()).variance is None
    assert score_chunk(net, chunk, (0.5,), Scoring(estimator="antithetic", draws=2)).variance is None


def test_scores_carry_no_gradient_and_a_missing_layer_is_named() -> None:
    assert not score_chunk(field(), make_chunk(), LAYERS, Scoring()).mean.requires_grad
    with pytest.raises(TrainingError, match=r"\[2\]"):
        score_chunk(field(), make_chunk(layers=(1, 3)), LAYERS, Scoring())


def test_autocast_around_the_call_does_not_change_the_scores() -> None:
    plain = score_chunk(field(), make_chunk(), LAYERS, Scoring()).mean
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = score_chunk(field(), make_chunk(), LAYERS, Scoring()).mean
    assert torch.equal(plain, inside)
    rough = score_chunk(field(), make_chunk(), LAYERS, Scoring(precision="bfloat16")).mean
    assert not torch.equal(plain, rough)
    torch.testing.assert_close(rough, plain, rtol=0.05, atol=0.05)


def test_auroc() -> None:
    q, c = torch.tensor([0.95, 0.85, 0.85, 0.35, 0.15]), torch.tensor([True, True, False, True, False])
    assert auroc(q, c) == pytest.approx(0.75)
    assert math.isnan(auroc(q, torch.ones(5, dtype=torch.bool)))
    assert auroc(torch.zeros(4), torch.tensor([True, False, True, False])) == 0.5


def test_separation_finds_deviating_rollouts() -> None:
    """Latents of wrong rollouts are blown up; a field that predicts 0 then deviates more on them, at every layer."""
    net = VelocityField(FieldConfig(16, 16, 2), torch.Generator().manual_seed(0))
    chunk = make_chunk([5, 4, 6, 3], outcome=[1, 0, 1, 0])
    scale = torch.tensor([1.0, 3.0, 1.0, 3.0])[:, None, None]
    chunk = replace(chunk, hidden={k: v * scale for k, v in chunk.hidden.items()})
    table = separation(
        net, [chunk, make_chunk([4], outcome=[1], graded=[False])], LAYERS, Scoring(timesteps=(0.5, 0.8))
    )
    assert table == {(layer, t): 1.0 for layer in (1, 2, 3) for t in (0.5, 0.8)}
