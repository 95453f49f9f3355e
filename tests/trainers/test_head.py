"""The head: equal to full logits and to torch's own fused loss, whatever the budget; exact gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trainers import head
from trainers.head import token_scores

FORBIDDEN = torch.tensor([0, 5, 36])


def problem(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(23, 12, generator=generator, dtype=dtype) * 2
    weight = torch.randn(37, 12, generator=generator, dtype=dtype)
    targets = torch.randint(6, 36, (23,), generator=generator)
    return hidden.requires_grad_(), weight.requires_grad_(), targets


def plain(
    hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, forbidden: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Full logits through autograd."""
    logits = hidden @ weight.T / temperature
    if forbidden is not None:
        keep = torch.ones(weight.shape[0], dtype=torch.bool)
        keep[forbidden] = False
        places = keep.cumsum(0) - 1
        logits, targets = logits[:, keep], places[targets]
    every = logits.log_softmax(-1)
    return every.gather(1, targets[:, None])[:, 0], -(every.exp() * every).sum(-1)


def slopes(scores: tuple[Tensor, Tensor], leaves: tuple[Tensor, Tensor], kind: str) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    one, two = (torch.randn(23, generator=generator, dtype=torch.float64) for _ in range(2))
    logp, entropy = scores
    total = {"logp": (logp * one).sum(), "entropy": (entropy * two).sum(), "both": (logp * one + entropy * two).sum()}
    return torch.autograd.grad(total[kind], leaves)


@pytest.mark.parametrize("forbidden", [None, FORBIDDEN])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize(
    ("budget", "chunk"), [(2**30, 2**25), (0, 2**25), (0, 5 * 37 * 8), (2**30, 5 * 37 * 8), (0, 1)]
)
def test_equal_to_full_logits_in_values_and_gradients(
    monkeypatch: pytest.MonkeyPatch, forbidden: Tensor | None, temperature: float, budget: int, chunk: int
) -> None:
    monkeypatch.setattr(head, "CHUNK_BYTES", {"cpu": chunk})
    hidden, weight, targets = problem()
    options: dict[str, Any] = {"temperature": temperature, "forbidden": forbidden, "budget_bytes": budget}
    ours, theirs = (
        token_scores(hidden, weight, targets, **options),
        plain(hidden, weight, targets, temperature, forbidden),
    )
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    for kind in ("logp", "entropy", "both"):
        mine = slopes(token_scores(hidden, weight, targets, **options), (hidden, weight), kind)
        other = slopes(plain(hidden, weight, targets, temperature, forbidden), (hidden, weight), kind)
        torch.testing.assert_close(mine, other, atol=1e-12, rtol=0)


def test_gradients_are_those_of_finite_differences() -> None:
    hidden, weight, targets = problem()
    small = (hidden[:4].detach().requires_grad_(), weight.detach().requires_grad_())
    assert torch.autograd.gradcheck(
        lambda h, w: token_scores(h, w, targets[:4], temperature=0.9, forbidden=FORBIDDEN), small
    )


def test_log_probabilities_equal_torchs_linear_cross_entropy() -> None:
    oracle = getattr(torch.nn.functional, "linear_cross_entropy", None)
    if oracle is None:
        pytest.skip("this torch has no linear_cross_entropy")
    hidden, weight, targets = problem(torch.float32)
    theirs = -oracle(hidden, weight, targets, reduction="none")
    ours = token_scores(hidden, weight, targets, budget_bytes=0)[0]
    torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=0)
    leaves = (hidden, weight)
    for mine, other in zip(
        torch.autograd.grad(ours.sum(), leaves), torch.autograd.grad(theirs.sum(), leaves), strict=True
    ):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("budget", "kept"), [(23 * 37 * 8, True), (23 * 37 * 8 - 1, False)])
def test_logits_are_kept_only_within_the_budget(budget: int, kept: bool) -> None:
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    hidden, weight, targets = problem()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        token_scores(hidden, weight, targets, budget_bytes=budget)
    assert (23 * 37 in sizes) == kept


def test_half_precision_sums_in_float32() -> None:
    hidden, weight, targets = problem(torch.float32)
    half = (hidden.detach().bfloat16(), weight.detach().bfloat16())
    exact = plain(half[0].double(), half[1].double(), targets, 1.0, None)[0]
    with torch.autocast("cpu", torch.bfloat16):
        cast = token_scores(hidden.detach(), weight.detach(), targets)[0]
    for found in (token_scores(*half, targets)[0], cast):  # the inputs are rounded, nothing behind them is
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), exact, atol=1e-5, rtol=0)


def test_frozen_weights_get_no_gradient_and_no_rows_are_fine() -> None:
    hidden, weight, targets = problem()
    logp, _ = token_scores(hidden, weight.detach(), targets)
    logp.sum().backward()
    assert hidden.grad is not None and weight.grad is None
    logp, entropy = token_scores(hidden[:0], weight, targets[:0])
    assert logp.shape == entropy.shape == (0,)


def test_forbidden_tokens_have_no_probability() -> None:
    hidden, weight, _ = problem()
    every = torch.stack([token_scores(hidden, weight, torch.full((23,), t), forbidden=FORBIDDEN)[0] for t in range(37)])
    torch.testing.assert_close(every.exp().sum(0), torch.ones(23, dtype=torch.float64))
    assert (every[FORBIDDEN] < -1e29).all()
