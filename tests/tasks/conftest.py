"""Fixtures of the tasks' tests: the benchmark data beside the repository, small pictures, a hub that is a folder."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"no benchmark data at {SHARED}")
    return SHARED


def png(colour: tuple[int, ...] = (200, 30, 30), size: tuple[int, int] = (40, 32), mode: str = "RGB") -> dict[str, Any]:
    """A picture as a hub column holds it."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new(mode, size, colour).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


Write = Callable[[Path, Sequence[Mapping[str, Any]]], Path]


@pytest.fixture
def parquet() -> Write:
    """Writes rows as the hub does: pictures as a struct of bytes and path, described in the file's metadata."""
    import datasets

    def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        columns = {key: [row.get(key) for row in rows] for key in {k: None for row in rows for k in row}}
        data = datasets.Dataset.from_dict(columns)
        for key, values in columns.items():
            sample = next((v for v in values if v), None)
            if isinstance(sample, dict) and set(sample) == {"bytes", "path"}:
                data = data.cast_column(key, datasets.Image())
            elif isinstance(sample, list) and isinstance(sample[0], dict) and set(sample[0]) == {"bytes", "path"}:
                data = data.cast_column(key, datasets.List(datasets.Image()))
        data.to_parquet(path)
        return path

    return write


@pytest.fixture
def quiet_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `datasets` cache of the test's own."""
    import datasets

    cache = tmp_path / "datasets-cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    return cache
