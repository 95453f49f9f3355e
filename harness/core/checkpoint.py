"""State on disk that survives a kill, a full disk and a damaged file: atomic, synced, with a checksum, newest kept.

A folder of `step-N.pt` with `step-N.sha256` beside each. Training keeps its state in one, an offline fit in another.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from harness.core.errors import RunError, attempt
from harness.core.files import sha256, write_text


class _Hashed:
    """A binary file that hashes what is written to it, so that a checkpoint need not be read again."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.digest = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def save(folder: Path, step: int, state: Mapping[str, Any], keep: int = 2) -> Path:
    """Write `step-N.pt` and its checksum under temporary names, sync, move into place; drop all but the newest `keep`.

    `state`: what torch reads back with weights_only (tensors, numbers, strings, containers).
    """
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"step-{step:06d}.pt"
    partial = target.with_suffix(".partial")
    with partial.open("wb") as file:
        hashed = _Hashed(file)
        torch.save(dict(state), hashed)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())
    write_text(target.with_suffix(".sha256"), hashed.digest.hexdigest() + "\n")
    os.replace(partial, target)
    _sync(folder)
    for old in _files(folder)[keep:]:
        old.unlink()
        old.with_suffix(".sha256").unlink(missing_ok=True)
    return target


def newest(folder: Path) -> dict[str, Any] | None:
    """The newest state that is whole, on the CPU (a second copy never reaches the GPU), or None where there is none.

    A damaged file is passed over with a warning. Raises RunError when files are there and all of them are damaged.
    """
    damaged: list[str] = []
    for file in _files(folder):
        state, fault = _read(file)
        if state is not None:
            if damaged:
                warnings.warn(f"{'; '.join(damaged)}; going on from {file}", stacklevel=2)
            return state
        damaged.append(f"checkpoint {file} cannot be read ({fault})")
    if damaged:
        raise RunError("; ".join(damaged), f"no earlier one is kept; remove {folder} to start anew")
    return None


def _files(folder: Path) -> list[Path]:
    """Newest first."""
    return sorted(folder.glob("step-*.pt"), reverse=True)


def _read(file: Path) -> tuple[dict[str, Any] | None, str]:
    """The state of one file, or None and what is wrong with it."""
    import torch

    checksum = file.with_suffix(".sha256")
    if checksum.is_file() and checksum.read_text("utf-8").strip() != sha256(file):
        return None, "its checksum does not match"
    state, error = attempt(torch.load, file, map_location="cpu", weights_only=True)
    return state, "" if error is None else type(error).__name__


def _sync(folder: Path) -> None:
    """The folder's entries to disk: without it a rename may be lost with the power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
