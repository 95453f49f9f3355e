"""Grouped attention: equal to a dense mask over the whole row, nothing else is read, and it refuses to run blindly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harness.core.errors import TrainingError
from trainers import attention
from trainers.attention import Layout, by_segment, grouped_attention
from trainers.batching import Segments

SEGMENTS = Segments((5, 1, 3), ((7, 1, 20), (3,), (2, 0, 4)))
SIZE = sum(SEGMENTS.lengths())


def inputs(heads: int = 4, key_heads: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((heads, SIZE), (key_heads, SIZE), (key_heads, SIZE))
    return [torch.randn(1, *s, 8, generator=generator, dtype=torch.float64).requires_grad_() for s in shapes]


def visible() -> Tensor:
    """[N, N]: which token reads which, written down token by token."""
    owner: list[tuple[int, int]] = []  # group, response (-1: prompt)
    for group, (prompt, responses) in enumerate(zip(SEGMENTS.prompts, SEGMENTS.responses, strict=True)):
        owner += [(group, -1)] * prompt
        for number, length in enumerate(responses):
            owner += [(group, number)] * length
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    for reader, (group, part) in enumerate(owner):
        for read, (other, source) in enumerate(owner[: reader + 1]):
            mask[reader, read] = group == other and source in (-1, part)
    return mask


def dense(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    key, value = (t.repeat_interleave(query.shape[1] // t.shape[1], 1) for t in (key, value))
    scores = (query @ key.transpose(-1, -2) * 8**-0.5).masked_fill(~visible(), -torch.inf)
    return (scores.softmax(-1) @ value).transpose(1, 2)


@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_equal_to_a_dense_mask_in_values_and_gradients(key_heads: int) -> None:
    leaves = inputs(4, key_heads)
    layout = Layout(SEGMENTS, torch.device("cpu"))
    ours = by_segment(leaves[0], leaves[1], leaves[2], layout, 8**-0.5)
    theirs = dense(*leaves)
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    one, two = (torch.autograd.grad((out * weight).sum(), leaves) for out in (ours, theirs))
    torch.testing.assert_close(one, two, atol=1e-12, rtol=0)


def test_key_places_of_the_second_body_are_what_the_mask_shows() -> None:
    places, queries, keys, longest_query, longest_key = Layout(SEGMENTS, torch.device("cpu")).varlen()
    mask = visible()
    assert (longest_query, longest_key) == (20, 25)
    for k, length in enumerate(SEGMENTS.lengths()):
        start, stop = queries[k : k + 2].tolist()
        read = places[keys[k] : keys[k + 1]]
        assert stop - start == length
        for back in range(1, length + 1):  # the last query at the last key, as the kernel aligns them
            shown = torch.zeros(SIZE, dtype=torch.bool)
            shown[read[: len(read) - back + 1]] = True
            assert torch.equal(shown, mask[stop - back])


def test_it_refuses_a_row_without_a_layout_or_with_another_ones() -> None:
    module = torch.nn.Module()
    query, key, value = (t.detach() for t in inputs())
    layout = Layout(SEGMENTS, torch.device("cpu"))
    with pytest.raises(TrainingError, match="without a layout"):
        grouped_attention(module, query, key, value, None)
    with pytest.raises(TrainingError, match="with a mask"):
        grouped_attention(module, query, key, value, torch.ones(1), segments=layout)
    with pytest.raises(TrainingError, match="a window"):
        grouped_attention(module, query, key, value, None, segments=layout, sliding_window=4)
    with pytest.raises(TrainingError, match="does not fit"):
        grouped_attention(module, query[:, :, 1:], key, value, None, segments=layout)


def test_where_the_second_body_does_not_run_or_differs_the_first_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    check = attention.varlen_works.__wrapped__
    assert check(torch.device("cpu"), torch.bfloat16, 4, 2, 8) is False  # its kernels need a GPU
    monkeypatch.setattr(attention, "by_varlen", by_segment)
    assert check(torch.device("cpu"), torch.bfloat16, 4, 2, 8) is True
    monkeypatch.setattr(attention, "by_varlen", lambda q, k, v, layout, scale: by_segment(q, k, v, layout, scale * 1.5))
    assert check(torch.device("cpu"), torch.bfloat16, 4, 2, 8) is False


def test_transformers_builds_no_mask_for_it() -> None:
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    attention.register()
    assert attention.NAME not in ALL_MASK_ATTENTION_FUNCTIONS
