"""Pictures of items for the sample browser: from the task itself, where its data are at hand."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.core.errors import RlfrEvalError

LARGEST = 900
"""Pixels of the longer side; larger pictures are made smaller for the page."""


class Pictures:
    """Items with pictures by task; a task whose data are not at hand has none, and says why once."""

    def __init__(self, data_dirs: Mapping[str, Path] | None = None) -> None:
        self.data_dirs = dict(data_dirs or {})
        self.why: dict[str, str] = {}
        self._items: dict[str, Mapping[str, Any]] = {}

    def task(self, name: str) -> Mapping[str, Any]:
        """Examples by id; empty where the task has no pictures or its data are not at hand."""
        if name not in self._items:
            try:
                self._items[name] = self._load(name)
            except RlfrEvalError as error:
                self._items[name], self.why[name] = {}, f"pictures are not at hand: {error}"
        return self._items[name]

    def _load(self, name: str) -> Mapping[str, Any]:
        from tasks.resolve import resolve

        parts = name.split("-")
        keys = ["-".join(parts[:k]) for k in range(len(parts), 0, -1)]
        folder = next((self.data_dirs[k] for k in (*keys, "") if k in self.data_dirs), None)
        task = resolve(name, folder)
        if task.modality != "multimodal":
            return {}
        if folder is None and not task.generated:
            self.why[name] = "pictures are not at hand: give --data-dir with the benchmark's files"
            return {}
        return {e.id: e for e in task.load() if e.images}

    def items(self, task: str) -> list[str]:
        """Ids of the items with pictures, in the task's order; a picture is named by its place here."""
        return list(self.task(task))

    def count(self, task: str, item: str) -> int:
        """How many pictures an item has."""
        example = self.task(task).get(item)
        return len(example.images) if example else 0

    def png(self, task: str, place: int, number: int) -> bytes:
        """One picture. Raises IndexError where there is none, ImageError where it is broken."""
        item = self.items(task)[place]
        return _png(self.task(task)[item].images[number], item)


@lru_cache(maxsize=256)
def _png(image: Any, item: str) -> bytes:
    picture = image.open(item)
    picture.thumbnail((LARGEST, LARGEST))
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return out.getvalue()
