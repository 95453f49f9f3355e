"""A key-value cache for rows that come and go, in one preallocated buffer per layer.

All rows write their next token into the same column, so a prompt enters right-aligned before that column and rows of any
length decode together. A finished row costs one copy: the last row takes its place and the batch becomes a shorter view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

KeyValues = Sequence[tuple[Tensor, Tensor]]
"""Per layer keys and values [1, heads, length, dim] of one prefilled prompt."""

ROOM = 64
"""Columns allocated ahead at least."""


class RowCache(Cache):
    """Keys and values [rows, heads, columns, dim] per layer; row r holds columns `starts[r]` to `end`.

    `low` is the first column that any row uses: attention sees [low, end]. Positions are rotated into the keys already,
    so a column number means nothing to the model.
    """

    def __init__(self, rows: int) -> None:
        super().__init__(layers=[])
        self.rows, self.starts, self.end = rows, list[int](), 0
        self._keys: list[Tensor] = []
        self._values: list[Tensor] = []

    @property
    def low(self) -> int:
        return min(self.starts, default=self.end)

    def insert(self, prefilled: KeyValues, count: int) -> None:
        """Append `count` rows that all hold the prefilled prompt."""
        length = prefilled[0][0].shape[2]
        if not self._keys:
            self._allocate(prefilled, length)
        if not self.starts:
            self.end = 0
        if length > self.end:
            self._make_room(length, ROOM)
        first, start = len(self.starts), self.end - length
        for buffers, side in ((self._keys, 0), (self._values, 1)):
            for buffer, layer in zip(buffers, prefilled, strict=True):
                buffer[first : first + count, :, start : self.end] = layer[side]
        self.starts += [start] * count

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one token of every row [A, heads, 1, dim]; returns what attention sees, that token included."""
        rows, low = len(self.starts), self.low
        if layer_idx == 0 and self.end >= self._keys[0].shape[2]:
            self._make_room(self.end - low, max(ROOM, self.end - low))
            low = self.low
        keys, values = self._keys[layer_idx], self._values[layer_idx]
        keys[:rows, :, self.end] = key_states[:, :, 0]
        values[:rows, :, self.end] = value_states[:, :, 0]
        return keys[:rows, :, low : self.end + 1], values[:rows, :, low : self.end + 1]

    def advance(self) -> None:
        """The token written into every layer is part of the past now."""
        self.end += 1

    def remove(self, row: int) -> None:
        """Drop a row; the last row takes its number."""
        last = len(self.starts) - 1
        if row != last:
            low = self.starts[last]
            for buffer in (*self._keys, *self._values):
                buffer[row, :, low : self.end] = buffer[last, :, low : self.end]
            self.starts[row] = self.starts[last]
        self.starts.pop()

    def mask(self, device: torch.device) -> Tensor:
        """[A, 1, 1, columns] true where a row may look, for a token about to be written at `end`."""
        columns = torch.arange(self.low, self.end + 1, device=device)
        starts = torch.tensor(self.starts, device=device)
        return (columns >= starts[:, None])[:, None, None, :]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self.end - self.low

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def _allocate(self, prefilled: KeyValues, length: int) -> None:
        """Buffers for every layer, of the prefill's type and device."""
        for buffers, side in ((self._keys, 0), (self._values, 1)):
            for layer in prefilled:
                _, heads, _, dim = layer[side].shape
                buffers.append(layer[side].new_zeros(self.rows, heads, length + ROOM, dim))

    def _make_room(self, before: int, behind: int) -> None:
        """Move the used columns so that `before` columns lie before `end` and `behind` from it on; grow if they do not fit."""
        low, width, rows = self.low, self.end - self.low, len(self.starts)
        end = max(width, before)
        columns = self._keys[0].shape[2]
        for buffers in (self._keys, self._values):
            for place, buffer in enumerate(buffers):
                used = buffer[:rows, :, low : self.end]
                if end + behind > columns:
                    grown = buffer.new_zeros(self.rows, buffer.shape[1], end + behind, buffer.shape[3])
                    grown[:rows, :, end - width : end] = used
                    buffers[place] = grown
                else:
                    buffer[:rows, :, end - width : end] = used.clone()
        self.starts = [start + end - width - low for start in self.starts]
        self.end = end
