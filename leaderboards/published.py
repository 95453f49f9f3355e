"""Numbers that others published (published.yaml), to stand beside ours: marked, with their source, never ranked with ours."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "published.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One published figure. `score` in [0, 1]; `protocol`: grader, prompt and decoding as far as the source says them;
    `metric`: what it is where it is not accuracy; `same_model`: our table has rows of that start policy."""

    task: str
    model: str
    method: str
    score: float
    protocol: str
    source: str
    metric: str
    same_model: bool = False


@lru_cache(maxsize=1)
def _rows() -> tuple[dict[str, Any], ...]:
    import yaml

    return tuple(yaml.safe_load(FILE.read_text("utf-8"))["rows"])


def published(task: str, models: Collection[str] = ()) -> tuple[Published, ...]:
    """The published rows of a task (`task-split`), those of our tables' models first."""
    short = {m.rpartition("/")[2].lower() for m in models}
    found = [
        Published(
            task=task,
            model=str(r["model"]),
            method=str(r.get("method", "")),
            score=float(r["score"]) / 100,
            protocol=str(r.get("protocol", "not said")),
            source=str(r["source"]),
            metric=str(r.get("metric", "")),
            same_model=str(r["model"]).lower() in short,
        )
        for r in _rows()
        if r["task"] == task
    ]
    return tuple(sorted(found, key=lambda r: not r.same_model))
