"""Attention over a packed row of prompts with their responses: the implementation `grouped` of transformers.

A prompt is causal on itself, a response causal on its prompt and itself; nothing else is read, and no mask over the row
exists. The layout comes as the keyword argument `segments` of the text trunk. Two bodies: `by_segment` (scaled dot
product per segment, any device and dtype) and `by_varlen` (torch.nn.attention.varlen, CUDA in half precision). The
second has been written against its documented interface without a GPU at hand; before its first use on a device it must
reproduce the first body's outputs and gradients on a small layout, else the first body serves.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from harness.core.errors import TrainingError
from trainers.batching import Segments

NAME = "grouped"
"""The key under which transformers knows this implementation."""

SELF_CHECK_BOUND = 3e-2
"""Largest relative difference allowed between the two bodies in half precision."""

log = logging.getLogger(__name__)


class Layout:
    """The segments of one forward pass, with what its layers share: the mask of the longest response, index tensors."""

    def __init__(self, segments: Segments, device: torch.device) -> None:
        self.segments, self.device = segments, device
        self._masks: dict[torch.dtype, Tensor] = {}
        self._varlen: tuple[Tensor, Tensor, Tensor, int, int] | None = None

    def mask(self, prompt: int, response: int, dtype: torch.dtype) -> Tensor:
        """Additive mask [response, prompt + response], causal with the last query at the last key.

        A view of one mask for the longest prompt and response: shifting its columns aligns the diagonal.
        """
        longest = max(self.segments.prompts)
        if dtype not in self._masks:
            rows = max(n for rs in self.segments.responses for n in rs)
            full = torch.full((rows, longest + rows), -torch.inf, device=self.device, dtype=dtype)
            self._masks[dtype] = full.triu_(longest + 1)
        return self._masks[dtype][:response, longest - prompt : longest + response]

    def varlen(self) -> tuple[Tensor, Tensor, Tensor, int, int]:
        """Key places [K] in order of reading, cumulative query and key lengths (int32), longest query, longest key."""
        if self._varlen is None:
            reads = self.segments.reads()
            queries = torch.tensor([0, *self.segments.lengths()])
            keys = torch.tensor([0, *(sum(stop - start for start, stop in spans) for spans in reads)])
            places = torch.cat([torch.arange(start, stop) for spans in reads for start, stop in spans])
            ends, key_ends = (t.cumsum(0).to(self.device, torch.int32) for t in (queries, keys))
            self._varlen = (places.to(self.device), ends, key_ends, int(queries.max()), int(keys.max()))
        return self._varlen


def register() -> None:
    """Make `grouped` known to transformers. It gets no mask function, so that no mask is ever built for it."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, grouped_attention)


def grouped_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    segments: Layout | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """query [1, H, N, d], key and value [1, Hkv, N, d] -> [1, N, H, d]. Raises TrainingError without a layout."""
    if segments is None or attention_mask is not None or sliding_window is not None or dropout:
        raise TrainingError(
            "grouped attention was called without a layout, or with a mask, a window or dropout",
            "call the policy through trainers.policy.Policy",
        )
    if query.shape[0] != 1 or query.shape[2] != sum(segments.segments.lengths()):
        raise TrainingError(f"the layout does not fit a row of shape {tuple(query.shape)}", "pass its own micro-batch")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    half = _half_precision(query)
    if half is not None and varlen_works(query.device, half, query.shape[1], key.shape[1], query.shape[-1]):
        out = by_varlen(query.to(half), key.to(half), value.to(half), segments, scale)
    else:
        out = by_segment(query, key, value, segments, scale)
    return out, None


def by_segment(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
    """One scaled dot product per segment; shapes as in `grouped_attention`.

    `torch.split` and not slices: the backward of a slice allocates the whole row each time.
    """
    repeat = query.shape[1] // key.shape[1]
    if repeat > 1:
        key, value = key.repeat_interleave(repeat, dim=1), value.repeat_interleave(repeat, dim=1)
    lengths = layout.segments.lengths()
    parts = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    outputs: list[Tensor] = []
    for prompt, responses in zip(layout.segments.prompts, layout.segments.responses, strict=True):
        q, k_prompt, v_prompt = next(parts)
        outputs.append(scaled_dot_product_attention(q, k_prompt, v_prompt, is_causal=True, scale=scale))
        for length in responses:
            q, k, v = next(parts)
            if not length:
                continue
            k, v = torch.cat((k_prompt, k), dim=2), torch.cat((v_prompt, v), dim=2)
            mask = layout.mask(prompt, length, _mask_dtype(q))
            outputs.append(scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale))
    return torch.cat(outputs, dim=2).transpose(1, 2)


def by_varlen(query: Tensor, key: Tensor, value: Tensor, layout: Layout, scale: float) -> Tensor:
    """One call over all segments; every response gets a copy of its prompt's keys and values in front of its own.

    Two distinct cumulative lengths make torch take the kernel whose causal diagonal ends at the last key.
    """
    from torch.nn.attention.varlen import varlen_attn

    places, queries_end, keys_end, longest_query, longest_key = layout.varlen()
    out = varlen_attn(
        query[0].transpose(0, 1).contiguous(),
        key[0].transpose(0, 1).index_select(0, places),
        value[0].transpose(0, 1).index_select(0, places),
        queries_end,
        keys_end,
        longest_query,
        longest_key,
        scale=scale,
        window_size=(-1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(out, Tensor)
    return out[None]


def _mask_dtype(query: Tensor) -> torch.dtype:
    kind = query.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else query.dtype


def _half_precision(query: Tensor) -> torch.dtype | None:
    """The half precision in which attention would run on CUDA, else None."""
    dtype = _mask_dtype(query)
    return dtype if query.is_cuda and dtype in (torch.bfloat16, torch.float16) else None


@cache
def varlen_works(device: torch.device, dtype: torch.dtype, heads: int, key_heads: int, width: int) -> bool:
    """Whether the second body reproduces the first on this device: outputs and gradients of a small ragged layout."""
    layout = Layout(Segments((5, 1), ((7, 1, 130), (3,))), device)
    size = sum(layout.segments.lengths())
    generator = torch.Generator().manual_seed(0)
    shapes = ((heads, size), (key_heads, size), (key_heads, size))
    inputs = [torch.randn(1, *shape, width, generator=generator).to(device, dtype) for shape in shapes]
    weight = torch.randn(1, size, heads, width, generator=generator).to(device, dtype)
    found = []
    with torch.autocast(device.type, enabled=False), torch.enable_grad():
        for body in (by_segment, by_varlen):
            q, k, v = (t.clone().requires_grad_() for t in inputs)
            try:
                out = body(q, k, v, layout, width**-0.5)
                gradients = torch.autograd.grad((out * weight).sum(), (q, k, v))
            except (RuntimeError, ImportError, NotImplementedError, TypeError, ValueError) as error:
                log.warning("varlen attention does not run on %s (%s): one call per segment instead", device, error)
                return False
            found.append([out.detach(), *gradients])
    worst = max(_distances(*found))
    if worst > SELF_CHECK_BOUND:
        log.warning("varlen attention differs by %.2g on %s: one call per segment instead", worst, device)
    return worst <= SELF_CHECK_BOUND


def _distances(one: Iterable[Tensor], two: Iterable[Tensor]) -> list[float]:
    """Largest difference of each pair, relative to the largest value."""
    return [
        float((a.float() - b.float()).abs().max() / a.float().abs().max().clamp(min=1e-6))
        for a, b in zip(one, two, strict=True)
    ]
