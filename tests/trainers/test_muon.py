"""Muon in float32: torch's own update, without the rounding of bfloat16."""

from __future__ import annotations

import pytest
import torch

from trainers.muon import Muon, orthogonal

COEFFICIENTS, STEPS, EPS = (3.4445, -4.7750, 2.0315), 5, 1e-7


def _trained(kind: type[torch.optim.Optimizer], shape: tuple[int, int], **options: float | bool) -> torch.Tensor:
    """A matrix after four updates of 0.1 each from random gradients, as the difference from its start."""
    stream = torch.Generator().manual_seed(0)
    start = torch.randn(shape, generator=stream)
    weight = torch.nn.Parameter(start.clone())
    optimiser = kind([weight], lr=0.1, **options)  # type: ignore[call-arg]
    for _ in range(4):
        weight.grad = torch.randn(shape, generator=stream)
        optimiser.step()
    return weight.detach() - start


@pytest.mark.parametrize("shape", [(24, 24), (16, 48), (64, 8)])
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.3, "nesterov": False, "momentum": 0.8}])
def test_four_steps_equal_torchs_own_up_to_bfloat16(shape: tuple[int, int], options: dict[str, float]) -> None:
    ours, theirs = _trained(Muon, shape, **options), _trained(torch.optim.Muon, shape, **options)
    assert float((ours - theirs).norm() / theirs.norm()) < 0.02


def test_the_iteration_is_not_rounded_to_bfloat16() -> None:
    """Against the same polynomial applied to the singular values in float64: bfloat16 is off by a hundredth."""
    matrix = torch.randn(20, 50, generator=torch.Generator().manual_seed(1))
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = values / values.norm()
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        values = a * values + b * values**3 + c * values**5
    exact = left @ torch.diag(values) @ right
    for given, wanted in ((matrix, exact), (matrix.T, exact.T)):
        found = orthogonal(given, COEFFICIENTS, STEPS, EPS).double()
        assert float((found - wanted).abs().max()) < 1e-4
    assert float(values.min()) > 0.6 and float(values.max()) < 1.3


def test_a_closure_is_called_with_gradients_and_a_parameter_without_one_stays() -> None:
    moved, still = torch.nn.Parameter(torch.eye(3)), torch.nn.Parameter(torch.eye(3))
    optimiser = Muon([moved, still], lr=0.1)

    def loss() -> torch.Tensor:
        value = moved.square().sum()
        value.backward()
        return value

    assert float(optimiser.step(loss)) == 3.0
    assert not torch.equal(moved, torch.eye(3)) and torch.equal(still, torch.eye(3))
