"""Training state on disk: weights, optimiser, the method's own networks, the place in the data. Atomic, newest kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from harness.core.errors import RunError, attempt


def save(folder: Path, step: int, state: Mapping[str, Any], keep: int = 2) -> Path:
    """Write `step-N.pt` under a temporary name and move it into place; drop all but the newest `keep`."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{step:06d}.pt"
    partial = target.with_suffix(".partial")
    torch.save(dict(state), partial)
    os.replace(partial, target)
    for old in sorted(folder.glob("step-*.pt"))[:-keep]:
        old.unlink()
    return target


def newest(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """The newest checkpoint's state on `device`, or None. Raises RunError for a file that cannot be read."""
    files = sorted(folder.glob("step-*.pt"))
    if not files:
        return None
    state, error = attempt(torch.load, files[-1], map_location=device, weights_only=True)
    if error is not None:
        what = f"checkpoint {files[-1]} cannot be read ({type(error).__name__})"
        raise RunError(what, "remove it to go on from the one before") from error
    return state
