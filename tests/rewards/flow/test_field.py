"""The velocity network: its start, its shapes, its loss, and that it draws from nobody else's random stream."""

from __future__ import annotations

import torch

from rewards.flow.field import FieldConfig, VelocityField, default_depth
from rewards.flow.matching import Pairs, deviation, flow_loss, interpolate
from rewards.flow.noise import gaussian, logit_normal
from rewards.flow.score import debias
from rewards.support.seeds import stable_hash


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def net(seed: int = 0, size: int = 16, width: int = 24, depth: int = 4) -> VelocityField:
    return VelocityField(FieldConfig(size, width, depth), seeded(seed))


def perturbed(seed: int = 0) -> VelocityField:
    field, draw = net(), seeded(seed)
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.1)
    return field


def test_worked_deviation() -> None:
    a, e, t = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, -1.0]]), torch.tensor([0.8])
    x, u = interpolate(a, e, t)
    torch.testing.assert_close(x, torch.tensor([[0.9, 1.4]]))
    torch.testing.assert_close(u, torch.tensor([[0.5, 3.0]]))
    d = deviation(torch.tensor([[0.1, 2.5]]), u)
    torch.testing.assert_close(d, torch.tensor([0.205]))
    torch.testing.assert_close(debias(0.8) * d, torch.tensor([0.82]))


def test_a_new_field_predicts_zero_and_is_a_function_of_its_seed() -> None:
    state = torch.get_rng_state()
    first, again, other = net(1), net(1), net(2)
    assert torch.equal(torch.get_rng_state(), state), "the global stream was used"
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.enter.weight, other.enter.weight)
    x, t = torch.randn(5, 16, generator=seeded(0)), torch.full((5,), 0.8)
    assert torch.equal(first(x, t, x, t), torch.zeros(5, 16))


def test_every_input_matters_and_rows_are_independent() -> None:
    field, draw = perturbed(), seeded(3)
    x, c = torch.randn(2, 6, 16, generator=draw)
    t, layer = torch.rand(2, 6, generator=draw)
    base = field(x, t, c, layer)
    for changed in (
        field(x + 1, t, c, layer),
        field(x, t / 2, c, layer),
        field(x, t, c + 1, layer),
        field(x, t, c, layer / 2),
    ):
        assert bool(((changed - base).abs().amax(-1) > 1e-4).all())
    torch.testing.assert_close(field(x[2:3], t[2:3], c[2:3], layer[2:3]), base[2:3])


def test_modulation_can_be_shared_between_draws() -> None:
    field, draw = perturbed(), seeded(4)
    x, c = torch.randn(2, 6, 16, generator=draw)
    once = field.modulation(torch.full((1,), 0.8), c, torch.full((1,), 0.5))
    torch.testing.assert_close(field.velocity(x, once), field(x, torch.full((6,), 0.8), c, torch.full((6,), 0.5)))


def test_depth_by_policy_size() -> None:
    assert default_depth(64, 4) == 4
    assert default_depth(2048, 36) == 4  # Qwen2.5-3B
    assert default_depth(3584, 28) == 6  # Qwen2.5-7B
    assert default_depth(4096, 32) == 6  # Llama-3.1-8B


def sets(count: int = 40, seed: int = 0) -> list[Pairs]:
    draw = seeded(seed)
    target, condition = torch.randn(2, count, 16, generator=draw)
    return [Pairs.of(target, condition, torch.ones(count), layer) for layer in (0.25, 0.5)]


def test_loss_at_the_start_is_the_velocity_variance() -> None:
    """v = 0, so the loss is mean |a - e|^2 / D = 2 for standard normal latents."""
    loss = flow_loss(net(), sets(4000), 0)
    assert abs(float(loss.detach()) - 2.0) < 0.05


def test_loss_and_gradient_do_not_depend_on_the_chunk() -> None:
    field, values = perturbed(), []
    for chunk in (10_000, 7):
        field.zero_grad()
        loss = flow_loss(field, sets(), 5, batch_mul=2, chunk=chunk)
        loss.backward()  # type: ignore[no-untyped-call]
        values.append((loss.detach(), [p.grad.clone() for p in field.parameters() if p.grad is not None]))
    torch.testing.assert_close(values[0][0], values[1][0])
    for one, two in zip(values[0][1], values[1][1], strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-4)


def test_token_weights_select() -> None:
    """Weight 0 equals absence, weights are relative, and a set without weight is left out of the mean."""
    part = sets()[0]
    field = perturbed()
    halved = [Pairs.of(part.target, part.condition, part.weight * 0.5, part.layer)]
    torch.testing.assert_close(flow_loss(field, [part], 6), flow_loss(field, halved, 6))
    weight = torch.zeros(40)
    weight[3] = 1.0
    single = flow_loss(field, [Pairs.of(part.target, part.condition, weight, part.layer)], 6)
    place, key = torch.arange(40), stable_hash(6, 0)
    t = logit_normal(stable_hash("time", key), place)
    noise = gaussian(torch.tensor([stable_hash("noise", key)]), place, 16)
    x, u = interpolate(part.target, noise, t)
    expected = deviation(field(x, t, part.condition, torch.full((40,), part.layer)), u)[3]
    torch.testing.assert_close(single, expected)
    empty = Pairs.of(part.target, part.condition, torch.zeros(40), 0.5)
    torch.testing.assert_close(flow_loss(field, [part, empty], 6), flow_loss(field, [part], 6))
    nothing = flow_loss(field, [empty], 6)
    nothing.backward()  # type: ignore[no-untyped-call]
    assert float(nothing.detach()) == 0.0 and all(p.grad is not None for p in field.parameters())


def test_training_times_are_logit_normal() -> None:
    t = logit_normal(0, torch.arange(20_000))
    assert bool(((t > 0) & (t < 1)).all())
    logits = torch.logit(t)
    assert abs(float(logits.mean())) < 0.03 and abs(float(logits.std()) - 1) < 0.03
