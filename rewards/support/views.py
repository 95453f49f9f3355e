"""Prompts with changed pictures, for passes that ask what a policy sees: a Prompt in, another Prompt out.

Patches are those of Qwen2.5-VL's processor: rows of one 14x14 patch each, flattened channel first, normalised by CLIP's mean
and deviation. Masking therefore follows the grid that the vision tower sees. All noise comes from the given seed.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from harness.core.records import ImagePatches, Prompt

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
STEPS = 1000
"""Steps of the noising schedule."""


def black(size: int) -> np.ndarray:
    """A black patch [size] after normalisation."""
    values = [(0.0 - m) / d for m, d in zip(MEAN, DEVIATION, strict=True)]
    return np.repeat(np.asarray(values, dtype=np.float32), size // len(values))


def mask_patches(prompt: Prompt, share: float, seed: int) -> Prompt:
    """Each patch black with probability `share`. A prompt without a picture is returned as it is."""
    if prompt.patches is None:
        return prompt
    patches = prompt.patches.patches
    hidden = np.random.default_rng(seed).random(len(patches)) < share
    return _with(prompt, np.where(hidden[:, None], black(patches.shape[1]), patches))


def noise_patches(prompt: Prompt, step: float, seed: int) -> Prompt:
    """Variance-preserving noise: `sqrt(abar) x + sqrt(1 - abar) e` after `step` of 1,000 steps of the linear schedule
    from 1e-4 to 0.02 (arXiv 2006.11239). A prompt without a picture is returned as it is."""
    if prompt.patches is None:
        return prompt
    patches = prompt.patches.patches
    kept = float(np.cumprod(1.0 - np.linspace(1e-4, 0.02, STEPS))[min(max(round(step) - 1, 0), STEPS - 1)])
    noise = np.random.default_rng(seed).standard_normal(patches.shape)
    return _with(prompt, np.sqrt(kept) * patches + np.sqrt(1.0 - kept) * noise)


def _with(prompt: Prompt, patches: np.ndarray) -> Prompt:
    assert prompt.patches is not None
    values, grid = np.ascontiguousarray(patches, dtype=np.float32), prompt.patches.grid
    sha256 = hashlib.sha256(values.tobytes() + grid.tobytes()).hexdigest()
    return replace(prompt, patches=ImagePatches(values, grid, sha256))
