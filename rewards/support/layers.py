"""Decoder layers by name: fractions of the depth or indices in, indices out."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.errors import TrainingError


def layer_index(layer: float | int, depth: int) -> int:
    """A fraction p is layer `min(round(p * depth), depth - 1)`; a negative index counts from the end. Raises TrainingError
    for a layer that the policy does not have."""
    index = min(round(layer * depth), depth - 1) if isinstance(layer, float) else layer + depth * (layer < 0)
    if not 0 <= index < depth:
        raise TrainingError(
            f"no decoder layer {layer}: the policy has {depth}", "name layers as fractions, such as 0.5"
        )
    return index


def layer_indices(layers: Sequence[float | int], depth: int) -> tuple[int, ...]:
    """Indices of all layers, ascending and distinct.

    >>> layer_indices((0.25, 0.5, -1, 1.0), 8)
    (2, 4, 7)
    """
    return tuple(sorted({layer_index(layer, depth) for layer in layers}))
