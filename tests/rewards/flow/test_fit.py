"""Fitting a flow: it learns, every parameter moves, weights keep their pairing, and the latent store is deterministic."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.core.errors import ModelError
from rewards.flow import fit
from rewards.flow.field import FieldConfig, VelocityField
from rewards.flow.latents import Sample, Store, Trajectory, pairs, trajectories
from rewards.support.schedule import cosine
from tests.rewards.conftest import FakeContext, make_chunk, make_example

TARGET = fit.Target(("previous",), (0.25, 0.5, 0.75))
SHAPE = FieldConfig(16, 16, 2)


def net(seed: int = 0) -> VelocityField:
    return VelocityField(SHAPE, torch.Generator().manual_seed(seed))


def examples(count: int) -> list:  # type: ignore[type-arg]
    return [make_example(str(i), "steps") for i in range(count)]


def latents(rows: int = 12, length: int = 20, content: int = 0) -> list[Trajectory]:
    chunk = make_chunk([length] * rows, content=content, keys=[f"k{i}" for i in range(rows)])
    return trajectories(chunk.keys, [chunk.hidden[layer] for layer in (1, 2, 3)], chunk.mask, range(rows))


def offline(tmp_path: Path, count: int, how: fit.Fit) -> tuple[VelocityField, fit.Report, FakeContext]:
    ctx, field = FakeContext(tmp_path), net()
    report = fit.offline(field, examples(count), TARGET, how, around(ctx))
    return field, report, ctx


def around(ctx: FakeContext, **more: Any) -> fit.Around:
    return fit.Around(**{"scan": lambda e: ctx.scan(e, None), "step": ctx.step, "track": ctx.track, **more})  # type: ignore[arg-type]


def test_offline_fit_lowers_the_loss_on_held_out_solutions(tmp_path: Path) -> None:
    field, report, _ = offline(tmp_path, 60, fit.Fit(lr=3e-3, epochs=12, batch=8))
    assert report.steps == 12 * 8 and report.tokens == 12 * 57 * 6
    assert report.held_out_before and report.held_out_after and report.loss
    assert report.held_out_after < 0.75 * report.held_out_before
    assert report.loss < 0.8 * report.losses[0]
    start = dict(net().named_parameters())
    still = [n for n, p in field.named_parameters() if torch.equal(p, start[n])]
    assert still == [], f"never moved: {still}"


def test_offline_fit_repeats_bitwise_and_leaves_the_global_stream(tmp_path: Path) -> None:
    state = torch.get_rng_state()
    first, _, _ = offline(tmp_path, 12, fit.Fit(batch=5))
    again, _, _ = offline(tmp_path, 12, fit.Fit(batch=5))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), again.parameters(), strict=True))


def test_condition_helps(tmp_path: Path) -> None:
    """The state before explains most of a state here: with shuffled partners the fitted field deviates much more."""
    field, _, _ = offline(tmp_path, 60, fit.Fit(lr=3e-3, epochs=12, batch=8))
    items = latents(content=99)
    matched = fit.held_out_loss(field, items, [0.25, 0.5, 0.75], ("previous",), fit.Fit())
    backwards = [Trajectory(i.key, i.states.flip(1)) for i in items]
    assert matched is not None
    assert matched < 0.8 * fit.held_out_loss(field, backwards, [0.25, 0.5, 0.75], ("previous",), fit.Fit())


@pytest.mark.parametrize("stop", [1, 5, 9])
def test_a_fit_that_was_killed_goes_on_to_the_same_weights(tmp_path: Path, stop: int) -> None:
    how = fit.Fit(batch=5, epochs=2)
    straight, wanted, _ = offline(tmp_path, 30, how)

    def killed(items: Iterable[Any], *_: Any) -> Iterator[Any]:
        for number, item in enumerate(items):
            if number == stop:
                raise KeyboardInterrupt
            yield item

    ctx, kept = FakeContext(tmp_path), tmp_path / "state"
    with pytest.raises(KeyboardInterrupt):
        fit.offline(net(), examples(30), TARGET, how, around(ctx, track=killed, state=kept, save_seconds=0.0))
    again, again_ctx = net(7), FakeContext(tmp_path)
    found = fit.offline(again, examples(30), TARGET, how, around(again_ctx, state=kept, save_seconds=0.0))
    assert all(torch.equal(p, q) for p, q in zip(straight.parameters(), again.parameters(), strict=True))
    assert (found.steps, found.losses, found.held_out_after) == (wanted.steps, wanted.losses, wanted.held_out_after)


def test_the_fit_does_not_depend_on_how_solutions_are_scanned(tmp_path: Path) -> None:
    def backwards(given: Sequence[Any]) -> Iterator[Any]:
        yield from FakeContext(tmp_path).scan(list(reversed(given)), None)  # type: ignore[arg-type]

    how = fit.Fit(batch=5)
    fields = [net(), net()]
    for field, scan in zip(fields, (lambda e: FakeContext(tmp_path).scan(e, None), backwards), strict=True):  # type: ignore[arg-type]
        fit.offline(field, examples(30), TARGET, how, around(FakeContext(tmp_path), scan=scan))
    assert all(torch.equal(p, q) for p, q in zip(*(f.parameters() for f in fields), strict=True))


def test_few_solutions_are_in_memory_at_once(tmp_path: Path) -> None:
    """However many there are, a window of them is scanned together."""
    sizes = []

    def scan(given: Sequence[Any]) -> Iterator[Any]:
        sizes.append(len(given))
        yield from FakeContext(tmp_path).scan(given, None)  # type: ignore[arg-type]

    fit.offline(
        net(), examples(200), TARGET, fit.Fit(batch=8, epochs=1, held_out=0.0), around(FakeContext(tmp_path), scan=scan)
    )
    assert max(sizes) == fit.WINDOW and sum(sizes) == 200


def test_the_held_out_sample_is_bounded_and_the_same_however_it_comes() -> None:
    items, found = latents(12, 20), []
    for cuts in ([items], [[i] for i in items], [items[7:], items[:7]]):
        sample = Sample(50)
        for cut in cuts:
            sample.add(cut)
        (one, *_) = sample.pairs([0.25, 0.5, 0.75], ("previous",))
        assert len(one.own) == 50
        found.append({tuple(t.tolist()) for t in torch.cat([one.target, one.condition], 1)})
    assert found[0] == found[1] == found[2]
    whole = Sample(10_000)
    whole.add(items)
    for mine, plain in zip(
        whole.pairs([0.25, 0.5, 0.75], ("previous", "next")),
        pairs(items, [1.0] * 12, [0.25, 0.5, 0.75], ("previous", "next")),
        strict=True,
    ):
        assert torch.equal(mine.target, plain.target) and torch.equal(mine.condition, plain.condition)


def test_schedule() -> None:
    assert [round(cosine(x, 0.1, 0.0), 6) for x in (0.0, 0.05, 0.1, 0.55, 1.0)] == [0, 0.5, 1, 0.5, 0]
    assert cosine(1.0, 0.03, 0.1) == pytest.approx(0.1)


def test_online_steps_lower_the_loss_and_move_every_parameter(tmp_path: Path) -> None:
    ctx, field = FakeContext(tmp_path), net()
    optimiser = torch.optim.AdamW(field.parameters(), lr=3e-3)
    start = {n: p.detach().clone() for n, p in field.named_parameters()}
    depths, held = [0.25, 0.5, 0.75], []
    for step in range(25):
        items = latents(content=step)
        how = fit.Fit(seed=step)
        held.append(
            fit.online(field, optimiser, items, [1.0] * 12, depths, ("previous",), how, 4, ctx.step)["flow/held_out"]
        )
    assert held[-1] < 0.7 * held[0]
    assert [n for n, p in field.named_parameters() if torch.equal(p, start[n])] == []


def test_online_takes_exactly_the_policys_steps(tmp_path: Path) -> None:
    ctx, field, calls = FakeContext(tmp_path), net(), []
    optimiser = torch.optim.AdamW(field.parameters())

    def step(loss: torch.Tensor, opt: torch.optim.Optimizer) -> float:
        calls.append(float(loss.detach()))
        return ctx.step(loss, opt)

    for items in (latents(2), latents(1, 3), []):
        calls.clear()
        metrics = fit.online(
            field, optimiser, items, [1.0] * len(items), [0.25, 0.5, 0.75], ("next",), fit.Fit(), 5, step
        )
        assert len(calls) == 5 and metrics["flow/tokens"] == sum(i.tokens for i in items)


def test_pairs_follow_the_pairing() -> None:
    one, two = latents(2, 3)[0], latents(2, 4)[1]
    found = pairs([one, two], [1.0, 0.5], [0.25, 0.5, 0.75], ("previous", "next", "identity"))
    assert [p.layer for p in found] == [0.25, 0.5, 0.75] * 3
    s, r = one.states[0].float(), two.states[0].float()
    assert torch.equal(found[0].target, torch.cat([s[1:], r[1:]])) and torch.equal(
        found[0].condition, torch.cat([s[:-1], r[:-1]])
    )
    assert torch.equal(found[3].target, torch.cat([s[1:-1], r[1:-1]])) and torch.equal(
        found[3].condition, torch.cat([s[2:], r[2:]])
    )
    assert torch.equal(found[6].target, found[6].condition)
    assert found[0].weight.tolist() == [1.0] * 3 + [0.5] * 4 and found[3].weight.tolist() == [1.0] * 2 + [0.5] * 3
    some = pairs([one, two], [1.0, 0.5], [0.25, 0.5, 0.75], ("previous",), torch.tensor([4, 0]))
    assert torch.equal(some[0].target, torch.stack([r[2], s[1]])) and some[0].weight.tolist() == [0.5, 1.0]


def test_store_keeps_the_same_latents_in_any_order() -> None:
    items = [Trajectory(f"k{i}", torch.randn(1, 1 + 3 + i % 4, 2)) for i in range(20)]
    kept = []
    for order in (items, items[::-1], items[7:] + items[:7]):
        store = Store(25)
        store.open(0, 1)
        for start in range(0, 20, 3):
            store.add(order[start : start + 3])
        store.add(order[:2])  # once more: nothing changes
        kept.append([(i.key, i.tokens) for i in store.take()])
    assert kept[0] == kept[1] == kept[2] and sum(n for _, n in kept[0]) == 25
    assert store.take() == []
    store.add(items)
    store.open(0, 2)
    assert store.take() == [], "latents of another step are forgotten"


def test_latents_are_copies_in_bf16_on_the_host() -> None:
    chunk = make_chunk([3])
    item = trajectories(chunk.keys, [chunk.hidden[1]], chunk.mask, [0])[0]
    before = item.states.clone()
    chunk.hidden[1].zero_()
    assert item.states.dtype == torch.bfloat16 and item.states.device.type == "cpu" and torch.equal(item.states, before)


def test_weights_round_trip_and_keep_their_pairing(tmp_path: Path) -> None:
    field = net(3)
    fit.save(tmp_path / "flow", field, TARGET, fit.Report(steps=2, loss=0.5))
    again, report = fit.load(tmp_path / "flow", TARGET, SHAPE)
    assert all(torch.equal(p, q) for p, q in zip(field.parameters(), again.parameters(), strict=True))
    assert report["loss"] == 0.5 and json.loads((tmp_path / "flow" / "flow.json").read_text())["pairing"] == [
        "previous"
    ]
    for target, word in (
        (fit.Target(("next",), TARGET.layers), "pairing"),
        (fit.Target(("previous",), (0.5,)), "layers"),
    ):
        with pytest.raises(ModelError, match=word):
            fit.load(tmp_path / "flow", target, SHAPE)
    with pytest.raises(ModelError, match="size"):
        fit.load(tmp_path / "flow", TARGET, FieldConfig(8, 16, 2), exact=False)
    with pytest.raises(ModelError, match="depth"):
        fit.load(tmp_path / "flow", TARGET, FieldConfig(16, 16, 3))
    assert fit.load(tmp_path / "flow", TARGET, FieldConfig(16, 99, 9), exact=False)[0].config == SHAPE
    with pytest.raises(ModelError, match="nowhere"):
        fit.load(tmp_path / "nowhere", TARGET, SHAPE)
    assert [p.name for p in tmp_path.iterdir()] == ["flow"], "no half-written folder is left"
