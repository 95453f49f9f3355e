"""Parsed golds, kept between processes: one file per task version below $RLFR_EVAL_CACHE (else ~/.cache/rlfr-eval).

An entry is addressed by the gold's text, and a file by the versions of the parsers, so that a stale entry cannot be read. A
file that cannot be read counts as empty; a folder that cannot be written only costs time.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import pickle
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.core.errors import attempt
from rewards.verifier import VERSION

MAX_ENTRIES = 50_000
SAVE_EVERY = 64
"""New entries before the file is written again."""


def folder() -> Path:
    """Where the files are."""
    return Path(os.environ.get("RLFR_EVAL_CACHE") or Path.home() / ".cache" / "rlfr-eval") / "golds"


@lru_cache(maxsize=1)
def versions() -> str:
    """A short digest of everything that decides what a parsed gold looks like."""
    names = ("sympy", "math-verify", "latex2sympy2_extended", "antlr4-python3-runtime")
    found = [f"{name}={importlib.metadata.version(name)}" for name in names]
    source = Path(__file__).parent.joinpath("answers", "symbolic.py").read_bytes()
    return hashlib.sha256(" ".join([str(VERSION), *found]).encode() + source).hexdigest()[:12]


class Golds:
    """The parsed golds of one task version. `task` is its name with its version; "" is shared by all without one."""

    def __init__(self, task: str, root: Path | None = None) -> None:
        name = "".join(c if c.isalnum() or c in "-_." else "_" for c in task) or "any"
        self.file = (root or folder()) / f"{name}-{versions()}.pickle"
        self.entries: dict[str, Any] = self._read()
        self.fresh = 0

    def get(self, text: str) -> Any:
        """What was kept for a gold, None when nothing was."""
        return self.entries.get(text)

    def put(self, text: str, value: Any) -> None:
        if len(self.entries) < MAX_ENTRIES:
            self.entries[text] = value
            self.fresh += 1

    def save(self, least: int = SAVE_EVERY) -> None:
        """Write the file when at least `least` entries are new; what other workers wrote meanwhile is kept."""
        if self.fresh < max(1, least):
            return
        self.fresh = 0
        merged = self._read() | self.entries
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.file.parent, prefix=".golds")
            with os.fdopen(handle, "wb") as stream:
                pickle.dump(merged, stream, protocol=pickle.HIGHEST_PROTOCOL)
            Path(name).replace(self.file)

    def _read(self) -> dict[str, Any]:
        found, error = attempt(lambda: pickle.loads(self.file.read_bytes()))
        return found if error is None and isinstance(found, dict) else {}
